#!/usr/bin/env python3
"""Clients that give up on a pending answer, and clients that close for other reasons.

    sudo python3 testdata/lab/client_timeout_close.py OUTPUT_FOLDER

Real clients (Go, Node.js, curl, nginx and HAProxy as proxies) against servers that answer late or
never. Truth is what each client reported: which connections it gave up, with its own port.
"""
import os
import random
import socket
import subprocess
import sys
import threading
import time

from net import Net
from parts import (ADDRESSES, LINGER_ZERO, answer, connect, go_program, haproxy, lab_name, nginx, points, read_request, read_response,
                   serve, together, truths)
from relay import Way, Wire

MADE = lab_name(__file__)

GO_CLIENT = """
package main

import ("fmt"; "io"; "net/http"; "net/http/httptrace"; "os"; "strconv"; "sync"; "time")

func main() {
	timeout, _ := time.ParseDuration(os.Args[2])
	client := &http.Client{Timeout: timeout}
	var group sync.WaitGroup
	for _, path := range os.Args[3:] {
		group.Add(1)
		go func(path string) {
			defer group.Done()
			local := ""
			trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { local = info.Conn.LocalAddr().String() }}
			request, _ := http.NewRequest("GET", os.Args[1]+path, nil)
			request = request.WithContext(httptrace.WithClientTrace(request.Context(), trace))
			response, err := client.Do(request)
			if err == nil { _, err = io.Copy(io.Discard, response.Body); response.Body.Close() }
			fmt.Println(local, err == nil)
		}(path)
		time.Sleep(time.Duration(len(os.Args)%3+20) * time.Millisecond)
	}
	group.Wait()
	if seconds, err := strconv.Atoi(os.Getenv("STAY")); err == nil { time.Sleep(time.Duration(seconds) * time.Second) }
}
"""

NODE_CLIENT = """
const http = require('http');
const [url, timeout, ...paths] = process.argv.slice(1);
for (const path of paths) {
  const request = http.get(url + path, {timeout: +timeout}, response => { response.resume(); response.on('end', () => console.log(local, true)) });
  let local; request.on('socket', s => s.on('connect', () => { local = s.localAddress + ':' + s.localPort }));
  request.on('timeout', () => { console.log(local, false); request.destroy() }); request.on('error', () => {});
}
"""


def waiting_server(address, port):
    """Answers `/MS` after so many milliseconds; `/never` never; `/part` with half a response."""
    def handle(connection, _peer):
        try:
            while head := read_request(connection):
                path = head.split()[1].decode().lstrip("/")
                if path == "never":
                    time.sleep(3600)
                if path == "part":
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 1200)
                    time.sleep(3600)
                time.sleep(int(path) / 1e3)
                connection.sendall(answer(b"x" * 3000))
        except ConnectionError:
            pass
        connection.close()
    serve(address, port, handle)


def given_up(lines, server):
    """`(client, server)` of the connections that a client program reported as failed."""
    return [(local, server) for local, good in (line.split() for line in lines) if good.lower() == "false"]


def run_client(net, *command, **environment):
    child = net.popen("client", *command, stdout=subprocess.PIPE, text=True, env=dict(os.environ, **environment))
    lines = child.stdout.read().splitlines()
    child.wait()
    return lines


def finding(lost, timeout_ms, late, tolerance=None):
    figures = {"timeout_ms": (timeout_ms, tolerance or max(timeout_ms * 0.03, 8)), "connections": (len(lost), 0),
               "late_responses": (late, 0)}
    return {"rule": "client-timeout-close", "occurrences": len(lost), "connections": lost, "figures": figures}


def go_timeout(folder):
    """Go's http.Client.Timeout of 800 ms; six answers of nine come too late."""
    with Net() as net:
        net.spawn("server", waiting_server, ADDRESSES[4][1], 8080)
        program = go_program(GO_CLIENT)
        paths = ["/1500", "/20", "/1400", "/1300", "/50", "/1600", "/1700", "/100", "/1350"]
        with points(net, folder, "go-late-answers", "server-any") as captures:
            lines = run_client(net, program, "http://10.9.0.2:8080", "800ms", *paths, STAY="2")
        lost = given_up(lines, "10.9.0.2:8080")
        assert len(lost) == 6, lines
        truths(captures, "A Go client with a timeout of 800 ms gives up on six of nine requests; their answers come later.",
               f"{MADE}: Go http.Client.Timeout 800ms", findings=[finding(lost, 800, 6)])


def go_ipv6_distant(folder):
    """The same over IPv6 and 25 ms, a server that never answers, seen at the client."""
    with Net(Wire(Way(delay_ms=25), Way(delay_ms=25))) as net:
        net.spawn("server", waiting_server, ADDRESSES[6][1], 8080)
        program = go_program(GO_CLIENT)
        with points(net, folder, "go-never-ipv6", "client", snaplen=128) as captures:
            lines = run_client(net, program, "http://[fd09::2]:8080", "2s", "/never", "/10", "/never", "/never", "/30", STAY="1")
        lost = given_up(lines, "[fd09::2]:8080")
        # The timeout runs from before the handshake of 50 ms.
        truths(captures, "A Go client gives up after 2 s on a server that never answers three of its five requests.",
               f"{MADE}: Go http.Client.Timeout 2s, 25 ms each way, snap length 128",
               findings=[finding(lost, 1950, 0, 20)], tcp_connections=5)


def node_timeout(folder):
    """Node.js destroys requests after 1.2 s of silence; one answer stops half way."""
    with Net(Wire(Way(delay_ms=8), Way(delay_ms=8))) as net:
        net.spawn("server", waiting_server, ADDRESSES[4][1], 8080)
        paths = ["/3000", "/2500", "/40", "/2800", "/3300"]
        with points(net, folder, "node-destroys", "client-any") as captures:
            lines = run_client(net, "node", "-e", NODE_CLIENT, "http://10.9.0.2:8080", "1200", *paths)
            time.sleep(2.5)
        lost = given_up(lines, "10.9.0.2:8080")
        assert len(lost) == 4, lines
        truths(captures, "A Node.js client destroys four requests after 1.2 s of silence; the answers come later.",
               f"{MADE}: http.get timeout 1200, 8 ms each way", findings=[finding(lost, 1200, 4, 40)], tcp_connections=5)


def haproxy_504(folder):
    """HAProxy gives up on its server with RST after `timeout server` and answers 504."""
    with Net() as net:
        net.spawn("server", waiting_server, ADDRESSES[4][1], 9000)
        proxy = haproxy(net, "client", """
  timeout client 20s
  timeout server 1500ms
  log stdout format raw local0
  log-format "%bi:%bp %ST"
listen front
  bind 127.0.0.1:80
  retries 0
  server back 10.9.0.2:9000
""", 80)
        with points(net, folder, "haproxy-504", "server") as captures:
            for path in ("never", "30", "never", "2500", "never"):
                net.exec("client", "curl", "-s", "-o", "/dev/null", f"http://127.0.0.1/{path}", check=False)
            time.sleep(1.5)
        with open(os.path.join(proxy, "log")) as handle:
            log = handle.read().splitlines()
        lost = [(line.split()[0], "10.9.0.2:9000") for line in log if line.endswith(" 504")]
        assert len(lost) == 4, log
        truths(captures, "HAProxy aborts four of five requests to its server after timeout server and answers 504 itself.",
               f"{MADE}: timeout server 1500ms; the abort is a RST, so the late answer never leaves the server", findings=[finding(lost, 1500, 0)])


def curl_partial(folder):
    """curl --max-time on a response that stops half way."""
    with Net(Wire(Way(delay_ms=3), Way(delay_ms=3))) as net:
        net.spawn("server", waiting_server, ADDRESSES[4][1], 8080)
        lost = []
        with points(net, folder, "curl-partial", "client") as captures:
            for path in ("part", "part", "10", "part"):
                ends = net.exec("client", "curl", "-s", "-o", "/dev/null", "--max-time", "1", "-w", "%{local_ip}:%{local_port}",
                                f"http://10.9.0.2:8080/{path}", check=False)
                lost += [(ends, "10.9.0.2:8080")] if path == "part" else []
        truths(captures, "curl gives up after a second on three responses that stopped half way.",
               f"{MADE}: curl --max-time 1, 3 ms each way", findings=[finding(lost, 994, 0, 15)], tcp_connections=4)


def curl_http2(folder):
    """curl --max-time on HTTP/2 in clear text, where the last octets that it sent are no request."""
    with Net(Wire(Way(delay_ms=4), Way(delay_ms=4))) as net:
        net.spawn("server", waiting_server, "127.0.0.1", 9000)
        nginx(net, "server", "server { listen 8080 http2; location / { proxy_pass http://127.0.0.1:9000; } }", 8080)
        lost = []
        with points(net, folder, "curl-http2", "client", "server") as captures:
            for path in ("3000", "20", "2500", "30", "2800"):
                ends = net.exec("client", "curl", "-s", "-o", "/dev/null", "--http2-prior-knowledge", "--max-time", "1.2", "-w",
                                "%{local_ip}:%{local_port}", f"http://10.9.0.2:8080/{path}", check=False)
                lost += [(ends, "10.9.0.2:8080")] if int(path) > 1200 else []
        truths(captures, "curl gives up after 1.2 s on three of five HTTP/2 requests.",
               f"{MADE}: curl --http2-prior-knowledge --max-time 1.2 to nginx, 4 ms each way", findings=[finding(lost, 1190, 0, 15)],
               tcp_connections=5)


# --- look-alikes ------------------------------------------------------------------------------

def slow_but_answered(folder):
    """Answers take up to 3 s and are waited for."""
    with Net() as net:
        net.spawn("server", waiting_server, ADDRESSES[4][1], 8080)
        program = go_program(GO_CLIENT)
        with points(net, folder, "slow-but-answered", "server") as captures:
            lines = run_client(net, program, "http://10.9.0.2:8080", "10s", "/3000", "/20", "/2500", "/30", "/10", "/2800")
        assert not given_up(lines, ""), lines
        truths(captures, "Three slow answers that the client waits for.", f"{MADE}: Go http.Client.Timeout 10s",
               may=["slow-response"])


def half_close(folder):
    """The client half-closes after its request and reads the late answer."""
    with Net() as net:
        net.spawn("server", waiting_server, ADDRESSES[4][1], 8080)

        def ask(index):
            connection = connect(ADDRESSES[4][1], 8080)
            connection.sendall(b"GET /%d HTTP/1.1\r\nHost: shop.example\r\n\r\n" % (900 + index))
            time.sleep(0.4)
            connection.shutdown(socket.SHUT_WR)
            response = read_response(connection)
            connection.close()
            return len(response)
        with points(net, folder, "half-close", "client") as captures:
            lengths = net.call("client", lambda: together(4, ask))
        assert min(lengths) > 3000
        truths(captures, "Four clients half-close 400 ms after their request and read the answer that comes later.",
               f"{MADE}: shutdown(SHUT_WR)", tcp_connections=4)


def two_way(folder):
    """Both ends tell the other what happens, and ask nothing; the client's program ends some time after its last message."""
    def tell(connection, seed, messages):
        chosen = random.Random(seed)
        for _ in range(messages):
            body = bytes(chosen.choices(b"abcdefgh", k=chosen.choice((12, 30, 130, 400))))
            connection.sendall(len(body).to_bytes(4, "big") + body)
            time.sleep(chosen.choice((0.004, 0.02)))

    def listen(connection):
        while connection.recv(1 << 16):
            pass

    def handle(connection, peer):
        threading.Thread(target=tell, args=(connection, peer[1], 25)).start()
        listen(connection)

    with Net(Wire(Way(delay_ms=1), Way(delay_ms=1))) as net:
        net.spawn("server", serve, ADDRESSES[4][1], 7000, handle)

        def stay(index):
            connection = connect(ADDRESSES[4][1], 7000)
            threading.Thread(target=listen, args=(connection,), daemon=True).start()
            tell(connection, index, 40)
            time.sleep(1.3)
        with points(net, folder, "two-way", "client", "server") as captures:
            net.call("client", lambda: together(3, stay))
        truths(captures, "Both ends of three connections send messages and wait for none. Their program ends a second and more "
               "after its last message, when the server has told all it had.", f"{MADE}: messages under a length field",
               tcp_connections=3)


def complete_then_close(folder):
    """Responses are complete; clients idle and close first, some by RST."""
    with Net() as net:
        net.spawn("server", waiting_server, ADDRESSES[4][1], 8080)

        def ask(index):
            connection = connect(ADDRESSES[4][1], 8080)
            for _ in range(2):
                connection.sendall(b"GET /%d HTTP/1.1\r\nHost: shop.example\r\n\r\n" % (10 * index))
                read_response(connection)
            time.sleep(1)
            if index % 2:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
            connection.close()
        with points(net, folder, "complete-then-close", "client") as captures:
            net.call("client", lambda: together(6, ask))
        truths(captures, "Six clients close a second after complete responses, three of them by reset.", f"{MADE}: idle 1 s",
               may=[], tcp_connections=6)


if __name__ == "__main__":
    target = os.path.join(sys.argv[1], "client-timeout-close")
    only = sys.argv[2:]
    for scenario in (go_timeout, go_ipv6_distant, node_timeout, haproxy_504, curl_partial, curl_http2, slow_but_answered, half_close,
                     two_way, complete_then_close):
        if not only or scenario.__name__ in only:
            print(scenario.__name__, flush=True)
            scenario(target)
