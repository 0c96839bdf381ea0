#!/usr/bin/env python3
"""Closes by reset, and the resets that other causes send.

    sudo python3 testdata/lab/linger_zero_reset.py OUTPUT_FOLDER

Servers and clients that close with SO_LINGER on and zero seconds (Go, Python, nginx's
reset_timedout_connection, HAProxy health checks), beside closes with unread data, ordinary closes and killed processes.
`bytes_unacked` of the truth is the kernel's count of the socket right before the close (TCP_INFO).
"""
import os
import socket
import ssl
import sys
import threading
import time

from net import Net, endpoint, pair, tcp_info
from parts import (ADDRESSES, LINGER_ZERO, REQUEST, Book, answer, connect, delta, go_program, haproxy, lab_name, nginx, points,
                   read_request, read_response, self_signed, serve, together, truths)
from relay import Way, Wire

MADE = lab_name(__file__)

GO_SERVER = """
package main

import ("bufio"; "fmt"; "net"; "net/http"; "os"; "strings"; "time")

func handle(connection net.Conn) {
	reader := bufio.NewReader(connection)
	for {
		request, err := http.ReadRequest(reader)
		if err != nil { connection.Close(); return }
		body := strings.Repeat("x", 2000)
		fmt.Fprintf(connection, "HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s", len(body), body)
		if request.URL.Path == "/last" {
			time.Sleep(300 * time.Millisecond)
			connection.(*net.TCPConn).SetLinger(0)
			connection.Close()
			return
		}
	}
}

func main() {
	listening, err := net.Listen("tcp", os.Args[1])
	if err != nil { panic(err) }
	for { connection, _ := listening.Accept(); go handle(connection) }
}
"""


def unacknowledged(info, opened=0):
    """Bytes that left the host and were not acknowledged. Who opened the connection counts its SYN as acknowledged."""
    return info["bytes_sent"] - info["bytes_retrans"] - (info["bytes_acked"] - opened)


def abort(connection):
    """Closes with SO_LINGER 0."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
    connection.close()


def abrupt_server(address, port, book, body, wait_s):
    """Answers with `body` and aborts `wait_s` later, with whatever is still on its way."""
    def handle(connection, peer):
        if not read_request(connection):
            return connection.close()
        connection.sendall(answer(b"x" * body))
        time.sleep(wait_s)
        info = tcp_info(connection)
        book.write(endpoint(peer), unacknowledged(info))
        abort(connection)
    serve(address, port, handle)


def fetch(index, address, port):
    """One download; gives the client's ends and what it saw."""
    time.sleep(0.12 * index)
    connection = connect(address, port)
    ends = pair(connection)
    connection.sendall(REQUEST % index)
    try:
        result = "complete" if read_response(connection) else "end of file"
        connection.settimeout(3)
        connection.recv(1)
    except TimeoutError:
        result += ", open"
    except ConnectionError:
        result = "reset"
    connection.close()
    return ends, result


def aborted(lost, bytes_unacked=None, tolerance=0, severity="high"):
    figures = {"resets": (len(lost), 0)}
    if bytes_unacked is not None:
        figures["bytes_unacked"] = (bytes_unacked, tolerance)
    return {"rule": "linger-zero-reset", "occurrences": len(lost), "connections": lost, "figures": figures,
            "severity_at_least": severity}


def mid_download(folder):
    """A server aborts while its response is on the way; the client's ACKs are 30 ms away."""
    for family, point in ((4, "server"), (6, "server-any")):
        book, address = Book(), ADDRESSES[family][1]
        with Net(Wire(Way(delay_ms=30), Way(delay_ms=30))) as net:
            net.spawn("server", abrupt_server, address, 8080, book, 9000, 0.005)
            with points(net, folder, f"mid-download-ipv{family}", point) as paths:
                seen = net.call("client", lambda: together(4, fetch, address, 8080))
        unacked = {line[0]: int(line[1]) for line in book.lines()}
        lost = [ends for ends, _ in seen]
        truths(paths, "A server closes with SO_LINGER 0 while its responses are on the way.",
               f"{MADE}: 9,000 bytes sent, abort 5 ms later, 30 ms each way",
               findings=[aborted(lost, sum(unacked.values()), 0)], may=[], tcp_connections=4,
               unacked=unacked, results=[result for _, result in seen])


def go_after_exchange(folder):
    """A Go server ends each connection with SetLinger(0), everything acknowledged long before."""
    program = go_program(GO_SERVER)
    with Net() as net:
        net.popen("server", program, "10.9.0.2:8080")
        time.sleep(0.5)

        def talk(index):
            connection = connect(ADDRESSES[4][1], 8080)
            ends = pair(connection)
            for path in (b"/a", b"/last" if index < 4 else b"/b"):
                connection.sendall(b"GET %s HTTP/1.1\r\nHost: shop.example\r\n\r\n" % path)
                read_response(connection)
            time.sleep(0.6)
            connection.close()
            return ends
        with points(net, folder, "go-after-exchange", "client") as paths:
            ends = net.call("client", lambda: together(6, talk))
    truths(paths, "A Go server closes four of six connections with SetLinger(0) after complete exchanges.",
           f"{MADE}: SetLinger(0), 300 ms after the last response",
           findings=[{**aborted(ends[:4], 0, 0, "low"), "severity_at_most": "low"}], tcp_connections=6)


def client_abort(folder):
    """A client uploads and aborts with bytes on the way."""
    book = Book()
    with Net(Wire(Way(delay_ms=20), Way(delay_ms=20))) as net:
        def sink(connection, _peer):
            try:
                while connection.recv(65536):
                    pass
            except ConnectionError:
                pass
            connection.close()
        net.spawn("server", serve, ADDRESSES[4][1], 9000, sink)

        def upload(index):
            time.sleep(0.1 * index)
            connection = connect(ADDRESSES[4][1], 9000)
            ends = pair(connection)
            for _ in range(4):
                connection.sendall(os.urandom(700))
                time.sleep(0.06)
            connection.sendall(os.urandom(5000))
            time.sleep(0.004)
            if index < 3:
                info = tcp_info(connection)
                book.write(ends[0], unacknowledged(info, opened=1))
                abort(connection)
            else:
                connection.close()
            return ends
        with points(net, folder, "client-uploads", "client") as paths:
            ends = net.call("client", lambda: together(5, upload))
    unacked = sum(int(line[1]) for line in book.lines())
    truths(paths, "Three of five uploading clients abort with 5,000 bytes on the way.", f"{MADE}: random bytes, 20 ms each way",
           findings=[aborted(ends[:3], unacked)], tcp_connections=5)


# --- look-alikes ------------------------------------------------------------------------------

def unread_data(folder):
    """A server answers an upload early and closes with the rest unread."""
    with Net() as net:
        def reject(connection, _peer):
            connection.recv(2000)
            connection.sendall(answer(b"too large", b"413 Content Too Large"))
            time.sleep(0.4)
            connection.close()
        net.spawn("server", serve, ADDRESSES[4][1], 8080, reject)

        def upload(index):
            connection = connect(ADDRESSES[4][1], 8080)
            ends = pair(connection)
            connection.sendall(b"POST /up HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 60000\r\n\r\n" + b"y" * 40000)
            time.sleep(0.8)
            connection.close()
            return ends
        before = net.counters("server")
        with points(net, os.path.join(folder, "../unread-data-reset"), "unread-upload", "server") as paths:
            ends = net.call("client", lambda: together(3, upload))
        kernel = delta(before, net.counters("server"), "TcpOutRsts", "TcpExtTCPAbortOnClose")
    assert kernel["TcpExtTCPAbortOnClose"] == 3, kernel
    truths(paths, "A server answers three uploads with 413 and closes with about 40,000 bytes unread.", f"{MADE}: close() with unread data",
           findings=[{"rule": "unread-data-reset", "occurrences": 3, "connections": ends, "figures": {"resets": (kernel["TcpOutRsts"], 0)}}],
           may=["http-error"], tcp_connections=3, kernel=kernel)


def health_checks(folder):
    """HAProxy's TCP health checks end in RST; the service is healthy."""
    with Net() as net:
        def hello(connection, _peer):
            try:
                while read_request(connection):
                    connection.sendall(answer())
            except ConnectionError:
                pass
            connection.close()
        net.spawn("server", serve, ADDRESSES[4][1], 9000, hello)
        with points(net, folder, "health-checks", "server") as paths:
            haproxy(net, "client", """
  timeout client 5s
  timeout server 5s
listen front
  bind 127.0.0.1:80
  server back 10.9.0.2:9000 check inter 300ms
""", 80)
            for _ in range(3):
                net.exec("client", "curl", "-s", "http://127.0.0.1/")
                time.sleep(0.5)
        truths(paths, "HAProxy checks a healthy server every 300 ms and ends each check with a reset.", f"{MADE}: server … check inter 300ms")


def killed(folder):
    """A process killed with nothing unread sends FIN, in the middle of a body."""
    with Net(Wire(Way(delay_ms=5), Way(delay_ms=5))) as net:
        def half(connection, _peer):
            read_request(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 4000)
            time.sleep(60)
        server = net.spawn("server", serve, ADDRESSES[4][1], 8080, half)
        threading.Timer(1.0, lambda: os.kill(server.pid, 9)).start()
        with points(net, folder, "killed-process", "client") as paths:
            seen = net.call("client", lambda: together(3, fetch, ADDRESSES[4][1], 8080))
        truths(paths, "A server process is killed in the middle of three responses; its kernel closes with FIN.", f"{MADE}: SIGKILL",
               tcp_connections=3, results=[result for _, result in seen],
               findings=[{"rule": "response-cut-short", "occurrences": 3, "connections": [ends for ends, _ in seen], "severity_at_least": "high",
                          "figures": {"promised_bytes": (300_000, 0), "missing_bytes": (288_000, 0)}}])


def tls_clients(folder):
    """TLS 1.3 clients that close without reading session tickets reset; harmless."""
    with Net() as net:
        certificate, key = self_signed("shop.example")
        nginx(net, "server", f"server {{ listen 443 ssl; ssl_certificate {certificate}; ssl_certificate_key {key};"
              " location / { return 200 'hello'; } }", 443)

        def ask(index):
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            raw = connect(ADDRESSES[4][1], 443)
            with context.wrap_socket(raw, server_hostname="shop.example") as secure:
                if index % 2:
                    secure.sendall(REQUEST % index)
                    secure.recv(4096)
        with points(net, folder, "tls-session-tickets", "client") as paths:
            net.call("client", lambda: together(6, ask))
        truths(paths, "Six TLS 1.3 clients close, half of them without reading what the server sent last.", f"{MADE}: nginx, Python ssl",
               tcp_connections=6)


if __name__ == "__main__":
    target = os.path.join(sys.argv[1], "linger-zero-reset")
    only = sys.argv[2:]
    for scenario in (mid_download, go_after_exchange, client_abort, unread_data, health_checks, killed, tls_clients):
        if not only or scenario.__name__ in only:
            print(scenario.__name__, flush=True)
            scenario(target)
