#!/usr/bin/env python3
"""Responses that end before they are complete, and ends of responses that look like it.

    sudo python3 testdata/lab/response_cut_short.py OUTPUT_FOLDER [CASE...]

What was promised and what came is counted by the client, which reads to the end of the stream.
"""
import contextlib
import os
import signal
import socket
import time

from actors import compress, connect, in_threads, listen, read_head, run_cases, serve_threads
from net import SERVER, Net, pair, write_truth
from http2_goaway import PREFACE, SETTINGS, frame, request
from parts import lab_name, nginx, wait_for_port

MADE = lab_name(__file__)
PORT, BACKEND = 8080, 9000
HEAD = "HTTP/1.1 200 OK\r\nServer: lab\r\nContent-Type: text/csv\r\n{}\r\n"
PIECE = b"id,name,amount\n" * 70


def place(folder, name):
    return os.path.join(folder, "response-cut-short", name + ".pcap")


def serves(address, port, pieces, length=None, gap_s=0.02, stops_at=None, close=False):
    """A server that sends its body piece by piece: with a length, or in chunks; `stops_at` is where it waits for ever."""
    promise = "Transfer-Encoding: chunked\r\n" if length is None else f"Content-Length: {length}\r\n"
    promise += "Connection: close\r\n" if close else ""

    def talk(connection):
        while read_head(connection):
            connection.sendall(HEAD.format(promise).encode())
            for number in range(pieces):
                if number == stops_at:
                    time.sleep(60)
                connection.sendall(PIECE if length is not None else b"%x\r\n%s\r\n" % (len(PIECE), PIECE))
                time.sleep(gap_s)
            if length is None:
                connection.sendall(b"0\r\n\r\n")
            if close:
                return

    serve_threads(address, port, talk)


def downloads(target, method="GET", version="1.1", until=None):
    """Asks once and reads to the end of the stream, or to `until` octets; gives the ends, the length promised and that of
    the body that came."""
    connection = connect(SERVER, PORT)
    connection.sendall(f"{method} {target} HTTP/{version}\r\nHost: reports.example\r\nUser-Agent: lab\r\n\r\n".encode())
    ends, head, came = pair(connection), read_head(connection).decode(), 0
    length = next((int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length:")), None)
    with contextlib.suppress(ConnectionResetError):
        while until is None or came < until:
            more = connection.recv(65536)
            if not more:
                break
            came += len(more)
    connection.close()
    return ends, length, came


def cut(results, **more):
    """The finding that the clients' counts call for, one server's."""
    missing = sum(length - came for _, length, came in results if length is not None)
    figures = {"responses": (len(results), 0)}
    if missing:
        figures["missing_bytes"] = (missing, 0)
        figures["promised_bytes"] = (sum(length for _, length, _ in results), 0)
    return {"rule": "response-cut-short", "occurrences": len(results), "connections": [ends for ends, _, _ in results],
            "figures": figures, **more}


def finish(path, story, findings, point, **facts):
    write_truth(path, story, MADE, findings, capture_point=point, **facts)
    compress(path)


def killed(folder):
    """A server is killed for memory while three clients download; its kernel closes with FIN."""
    path = place(folder, "killed")
    with Net() as net:
        server = net.spawn("server", serves, SERVER, PORT, 60, 60 * len(PIECE))

        def kill():
            time.sleep(0.6)
            os.kill(server.pid, signal.SIGKILL)

        with net.capture("client", path):
            results = net.call("client", lambda: in_threads(lambda one: kill() if one is None else downloads(one), ["/a.csv", "/b.csv", "/c.csv", None]))
    results = results[:3]
    assert all(came < length for _, length, came in results), results
    finish(path, "A server is killed (SIGKILL) while three clients download files; each gets a part and then FIN.",
           [cut(results, severity_at_least="high")], "client", tcp_connections=3)


def backend_dies(folder):
    """The server behind nginx is killed in the middle of a chunked response; nginx can only close as well."""
    path = place(folder, "backend-dies")
    with Net() as net:
        backend = net.spawn("server", serves, "127.0.0.1", BACKEND, 60)
        nginx(net, "server", f"server {{ listen {PORT}; location / {{ proxy_pass http://127.0.0.1:{BACKEND}; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_buffering off; }} }}", PORT)

        def kill():
            time.sleep(0.6)
            os.kill(backend.pid, signal.SIGKILL)

        with net.capture("server", path, interface="any", expression="tcp"):
            first, _ = net.call("client", lambda: in_threads(lambda one: kill() if one is None else downloads(one), ["/export", None]))
    ends, _, came = first
    assert 0 < came < 60 * len(PIECE), came
    finish(path, "nginx passes a chunked response on whose server is killed in mid-response: both connections end with FIN before the last chunk.",
           [cut([first], severity_at_least="medium"), {"rule": "response-cut-short", "occurrences": 1, "severity_at_least": "medium", "figures": {"responses": (1, 0)}}], "server")


def proxy_read_timeout(folder):
    """The server behind nginx stops in mid-response; nginx gives up after two seconds and closes both sides."""
    path = place(folder, "proxy-read-timeout")
    with Net() as net:
        net.spawn("server", serves, "127.0.0.1", BACKEND, 60, 60 * len(PIECE), 0.01, 20)
        nginx(net, "server", f"server {{ listen {PORT}; location / {{ proxy_pass http://127.0.0.1:{BACKEND}; proxy_read_timeout 2s; proxy_buffering off; }} }}", PORT)
        with net.capture("client", path):
            result = net.call("client", downloads, "/slow.csv")
    assert result[2] < result[1], result
    found = cut([result], severity_at_least="medium")
    found["figures"]["silence_ms"] = (2000, 300)  # the last piece waits for an acknowledgment on its way to the client
    finish(path, "The server behind nginx stops sending in mid-response; after proxy_read_timeout (2 s) nginx closes.", [found], "client", tcp_connections=1)


def exception(folder):
    """node throws in the middle of a response: the process ends, on a keep-alive connection that served before."""
    path = place(folder, "exception")
    program = f"""
require('http').createServer((request, response) => {{
  response.writeHead(200, {{'Content-Length': 50000}});
  if (request.url === '/fine') return response.end('x'.repeat(50000));
  response.write('x'.repeat(20000));
  setTimeout(() => {{ throw new Error('no such column') }}, 200);
}}).listen({PORT}, '{SERVER}');
"""

    def visits():
        connection = connect(SERVER, PORT)
        for target in ("/fine", "/broken"):
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: reports.example\r\n\r\n".encode())
            ends, came = pair(connection), 0
            assert read_head(connection)
            while came < 50000:
                more = connection.recv(50000 - came)
                if not more:
                    break
                came += len(more)
        connection.close()
        return ends, 50000, came

    with Net() as net:
        net.popen("server", "node", "-e", program, stderr=-3)
        time.sleep(1)
        with net.capture("server", path):
            result = net.call("client", visits)
    assert result[2] == 20000, result
    finish(path, "node throws an exception after it has sent the head and 20,000 of 50,000 octets; the process ends.",
           [cut([result], severity_at_least="medium")], "server", tcp_connections=1)


def killed_http2(folder):
    """node is killed with three streams of a session open: it has no time for GOAWAY."""
    path = place(folder, "killed-http2")
    program = f"""
require('http2').createServer().on('stream', (stream, headers) => {{
  stream.respond({{':status': 200}});
  if (headers[':path'] === '/') setInterval(() => stream.write('x'.repeat(500)), 50);
}}).listen({PORT}, '{SERVER}');
"""

    def session():
        connection = connect(SERVER, PORT)
        connection.sendall(PREFACE + frame(SETTINGS, 0, 0) + b"".join(request(stream) for stream in (1, 3, 5)))
        ends, came = pair(connection), 0
        while more := connection.recv(65536):
            came += len(more)
        connection.close()
        return ends, None, came

    with Net() as net:
        server = net.popen("server", "node", "-e", program)
        wait_for_port(net, "server", PORT)

        def kill():
            time.sleep(0.6)
            os.kill(server.pid, signal.SIGKILL)

        with net.capture("client", path):
            result, _ = net.call("client", lambda: in_threads(lambda one: one(), [session, kill]))
    assert result[2] > 3000, result
    found = cut([result], severity_at_least="high")
    found.update(occurrences=3, figures={"responses": (3, 0)})
    finish(path, "node is killed (SIGKILL) while it sends on three streams of an HTTP/2 session.", [found], "client", tcp_connections=1)


def retried(folder):
    """A worker ends in mid-response; the client asks again and gets the whole file."""
    path = place(folder, "retried")

    def serve():
        listener, fails = listen(SERVER, PORT), True
        while True:
            connection, _ = listener.accept()
            read_head(connection)
            connection.sendall(HEAD.format(f"Content-Length: {20 * len(PIECE)}\r\nConnection: close\r\n").encode())
            connection.sendall(PIECE * (7 if fails else 20))
            connection.close()
            fails = False

    with Net() as net:
        net.spawn("server", serve)
        with net.capture("client", path):
            first = net.call("client", downloads, "/report.csv")
            whole = net.call("client", downloads, "/report.csv")
    assert first[2] == 7 * len(PIECE) and whole[2] == whole[1], (first, whole)
    finish(path, "A worker ends in mid-response; the client repeats its request at once and gets the whole file.",
           [cut([first], severity_at_least="low", severity_at_most="low")], "client", tcp_connections=2)


def not_cancelled(folder):
    """Clients that have had enough: one closes with data unread, one when it has read what came."""
    path = place(folder, "not-cancelled")

    def visits():
        downloads("/film", until=3_000)
        connection = connect(SERVER, PORT)
        connection.sendall(b"GET /film HTTP/1.1\r\nHost: reports.example\r\n\r\n")
        time.sleep(0.21)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
        connection.close()

    def serve():
        """Ends a response as soon as the client has closed its side."""

        def talk(connection):
            read_head(connection)
            connection.sendall(HEAD.format(f"Content-Length: {60 * len(PIECE)}\r\n").encode())
            connection.settimeout(0.02)
            for _ in range(60):
                connection.sendall(PIECE)
                with contextlib.suppress(TimeoutError):
                    if not connection.recv(10):
                        return

        serve_threads(SERVER, PORT, talk)

    with Net() as net:
        net.spawn("server", serve)
        with net.capture("server", path):
            net.call("client", visits)
    write_truth(path, "Two clients cancel downloads: one by RST, one by FIN; the server ends its responses after that.", MADE, [],
                may=["unread-data-reset", "linger-zero-reset"], capture_point="server", tcp_connections=2)
    compress(path)


def not_without_length(folder):
    """Responses that have no body or end with the connection: HEAD, 204, 304, HTTP/1.0 without a length."""
    path = place(folder, "not-without-length")
    answers = {"/none": "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", "/same": "HTTP/1.1 304 Not Modified\r\nContent-Length: 900\r\nConnection: close\r\n\r\n",
               "/old": "HTTP/1.0 200 OK\r\n\r\n" + "x" * 900, "/head": "HTTP/1.1 200 OK\r\nContent-Length: 900\r\nConnection: close\r\n\r\n"}

    def serve():
        serve_threads(SERVER, PORT, lambda connection: connection.sendall(answers[read_head(connection).decode().split(" ")[1]].encode()))

    def visits():
        for target in answers:
            downloads(target, "HEAD" if target == "/head" else "GET")

    with Net() as net:
        net.spawn("server", serve)
        with net.capture("client", path):
            net.call("client", visits)
    finish(path, "Responses without a body (HEAD, 204, 304) and one of HTTP/1.0 that ends with its connection.", [], "client", tcp_connections=4)


def not_short_frames(folder):
    """Whole responses, of which the capture holds only the beginning of each frame."""
    path = place(folder, "not-short-frames")
    with Net() as net:
        net.spawn("server", serves, SERVER, PORT, 30, 30 * len(PIECE), 0.002, None, True)
        with net.capture("client", path, snaplen=160):
            results = net.call("client", lambda: [downloads(f"/{one}") for one in range(3)])
    assert all(came == length for _, length, came in results)
    finish(path, "Whole responses on connections that the server closes, captured with 160 octets a frame.", [], "client", tcp_connections=3)


def not_to_the_end(folder):
    """The capture ends while a response is under way."""
    path = place(folder, "not-to-the-end")
    with Net() as net:
        net.spawn("server", serves, SERVER, PORT, 60, 60 * len(PIECE), 0.02, None, True)
        client = None
        with net.capture("client", path):
            client = net.spawn("client", downloads, "/late.csv", settle=0.6)
        client.join()
    finish(path, "The capture ends in the middle of a response that is sent to its end later.", [], "client", tcp_connections=1)


if __name__ == "__main__":
    run_cases([killed, killed_http2, backend_dies, proxy_read_timeout, exception, retried, not_cancelled, not_without_length, not_short_frames, not_to_the_end])
