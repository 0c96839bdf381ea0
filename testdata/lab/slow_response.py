#!/usr/bin/env python3
"""Captures of HTTP servers that answer late or with errors, and of traffic that only looks slow.

    sudo python3 testdata/lab/slow_response.py OUTPUT_FOLDER [CASE...]

Makes the captures of slow-response and http-error.
"""
import os
import subprocess
import tempfile
import time

from actors import compress, connect, http_get, http_ok, http_server, in_threads, read_exactly, read_head, run_cases, serve_threads
from net import CLIENT, SERVER, SERVER6, Net, pair, write_truth
from parts import nginx
from relay import Way, Wire

PORT = 8080


def place(folder, kind, name):
    return os.path.join(folder, kind, name + ".pcap")


def slow_report(folder):
    """A handler takes 1.6 s for one target of many."""
    path = place(folder, "slow-response", "slow-report")

    def answer(_, target, __):
        time.sleep(1.6 if "report" in target else 0.012)
        return http_ok(b"x" * 300)

    def ask(number):
        connection, slow = connect(SERVER, PORT), 0
        for request in range(6):
            target = "/report" if number % 3 == 0 and request == 3 else f"/item/{request}"
            http_get(connection, target, "shop.example")
            slow += target == "/report"
        ends = pair(connection)
        connection.close()
        return ends if slow else None

    with Net(Wire(up=Way(delay_ms=2), down=Way(delay_ms=2))) as net:
        net.spawn("server", http_server, SERVER, PORT, answer)
        with net.capture("client", path, expression=f"tcp port {PORT}"):
            ends = net.call("client", in_threads, ask, range(9))
    write_truth(path, "One target of a server takes 1.6 s, the others 12 ms.", "testdata/lab/slow_response.py, nine connections of six requests",
                [{"rule": "slow-response", "connections": [one for one in ends if one], "severity_at_least": "medium",
                  "figures": {"response_ms_max": (1604, 20), "response_ms_p50": (16.5, 3)}}], capture_point="client", tcp_connections=9)
    compress(path)


def not_event_stream(folder):
    """Server-sent events and long polls wait for something to happen."""
    path = place(folder, "slow-response", "not-event-stream")

    def talk(connection):
        head = read_head(connection).decode()
        if "/events" in head:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\r\n")
            for number in range(4):
                time.sleep(0.7)
                connection.sendall(b"data: %d\n\n" % number)

    def listen_to(_):
        connection = connect(SERVER, PORT)
        connection.sendall(b"GET /events HTTP/1.1\r\nHost: news.example\r\nAccept: text/event-stream\r\n\r\n")
        while connection.recv(1000):
            pass
        connection.close()

    with Net() as net:
        net.spawn("server", serve_threads, SERVER, PORT, talk)
        with net.capture("server", path):
            net.call("client", in_threads, listen_to, range(3))
    write_truth(path, "Three clients listen to server-sent events.", "testdata/lab/slow_response.py", capture_point="server", tcp_connections=3)
    compress(path)


def not_lost(folder):
    """The response is late because it was lost."""
    path = place(folder, "slow-response", "not-lost")
    with Net(Wire(up=Way(delay_ms=5), down=Way(delay_ms=5, choose=lambda frame: "drop" if frame.payload_len and frame.data_number in (6, 7, 8, 9) else None))) as net:
        net.spawn("server", http_server, SERVER, PORT, lambda *_: http_ok(b"x" * 300))

        def ask():
            connection = connect(SERVER, PORT)
            for number in range(12):
                http_get(connection, f"/item/{number}", "shop.example")
            connection.close()

        with net.capture("client", path):
            net.call("client", ask)
    write_truth(path, "A response is lost four times over and arrives after more than a second; the server was prompt.", "testdata/lab/slow_response.py",
                may=["packet-loss"], capture_point="client", tcp_connections=1)
    compress(path)


def cold_start(folder):
    """nginx before a program that loads its data at the first request of each of its two workers."""
    path = place(folder, "slow-response", "cold-start-ipv6-server")

    def program():
        loaded = set()

        def answer(_, target, __):
            worker = target.rsplit("/", 1)[1]
            if worker not in loaded:
                time.sleep(1.3)
                loaded.add(worker)
            return http_ok(b"x" * 500)

        http_server("127.0.0.1", 9000, answer)

    def ask(number):
        connection, slow = connect(SERVER6, PORT), []
        for request in range(12):
            begin = time.time()
            http_get(connection, f"/list/{number}", "shop.example")
            slow.append((time.time() - begin) * 1e3)
        ends = pair(connection)
        connection.close()
        return ends, slow

    with Net(Wire(up=Way(delay_ms=4), down=Way(delay_ms=4))) as net:
        net.spawn("server", program)
        nginx(net, "server", f"server {{ listen [::]:{PORT}; location / {{ proxy_pass http://127.0.0.1:9000; }} }}", PORT)
        with net.capture("server", path, expression=f"tcp port {PORT}"):
            seen = [net.call("client", ask, number) for number in range(2)]
    waits = sorted(wait for _, slow in seen for wait in slow)
    # The client waits a round trip longer than the server's side shows.
    write_truth(path, "A program behind nginx loads its data at the first request for it: 1.3 s, others a few milliseconds; over IPv6.",
                "testdata/lab/slow_response.py, nginx, 24 requests",
                [{"rule": "slow-response", "connections": [ends for ends, _ in seen], "severity_at_least": "medium",
                  "figures": {"response_ms_max": (round(waits[-1] - 8), 20)}}], capture_point="server", tcp_connections=2, waits_ms=[round(wait, 1) for wait in waits])
    compress(path)


def errors(folder):
    """A backend fails for one target in five."""
    path = place(folder, "http-error", "backend-fails")

    def answer(_, target, __):
        number = int(target.rsplit("/", 1)[1])
        if number % 5 == 0:
            return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"
        return http_ok(b"fine")

    def ask(start):
        connection, failed = connect(SERVER, PORT), 0
        for number in range(start * 10, start * 10 + 10):
            failed += http_get(connection, f"/item/{number}", "shop.example")[0] == 503
        ends = pair(connection)
        connection.close()
        return ends, failed

    with Net() as net:
        net.spawn("server", http_server, SERVER, PORT, answer)
        with net.capture("server", path):
            results = net.call("client", in_threads, ask, range(8))
    failed = sum(count for _, count in results)
    write_truth(path, "A server answers one request in five with 503.", "testdata/lab/slow_response.py, 80 requests",
                [{"rule": "http-error", "connections": [ends for ends, _ in results], "severity_at_least": "medium",
                  "figures": {"responses": (80, 0), "errors": (failed, 0), "share_percent": (failed * 100 / 80, 0.5)}}], capture_point="server", tcp_connections=8)
    compress(path)


def bad_gateway(folder):
    """nginx before a backend that is not there: 502 to the client, refused connections behind it."""
    path = place(folder, "http-error", "bad-gateway-any")
    with tempfile.TemporaryDirectory() as home, Net() as net:
        os.chmod(home, 0o755)
        with open(home + "/conf", "w") as handle:
            handle.write(f"master_process off; daemon off; pid {home}/pid; error_log {home}/error; events {{}} http {{ access_log off; "
                         + "".join(f"{kind}_temp_path {home}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
                         + f"server {{ listen {PORT}; location / {{ proxy_pass http://{CLIENT}:9999; }} }} }}")
        net.popen("server", "nginx", "-c", home + "/conf", stderr=subprocess.DEVNULL)
        time.sleep(0.8)

        def ask(_):
            connection = connect(SERVER, PORT)
            statuses = [http_get(connection, f"/cart/{number}", "shop.example")[0] for number in range(3)]
            ends = pair(connection)
            connection.close()
            return ends, statuses

        with net.capture("server", path, interface="any", expression="tcp"):
            results = net.call("client", in_threads, ask, range(4))
    assert all(status == 502 for _, statuses in results for status in statuses)
    write_truth(path, "A reverse proxy answers 502 because its backend refuses connections; both sides of it are in the capture.", "testdata/lab/slow_response.py, nginx",
                [{"rule": "http-error", "connections": [ends for ends, _ in results], "severity_at_least": "medium",
                  "figures": {"responses": (12, 0), "errors": (12, 0), "share_percent": (100, 0.5)}}], may=["connection-refused"], capture_point="server")
    compress(path)


def not_found(folder):
    path = place(folder, "http-error", "not-found")
    with Net() as net:
        net.spawn("server", http_server, SERVER, PORT, lambda _, target, __: http_ok(b"ok") if "item" in target else
                  b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

        def ask():
            connection = connect(SERVER, PORT)
            for number in range(30):
                http_get(connection, f"/item/{number}" if number % 3 else "/favicon.ico", "shop.example")
            connection.close()

        with net.capture("client", path):
            net.call("client", ask)
    write_truth(path, "A browser asks for an icon that is not there.", "testdata/lab/slow_response.py", capture_point="client", tcp_connections=1)
    compress(path)


def not_in_a_log(folder):
    """What a server sends are lines of another server's log: status lines and header fields, each in a segment of its own."""
    path, lines = place(folder, "http-error", "not-in-a-log"), 40
    line = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n"

    def talk(connection):
        while head := read_head(connection):
            chunked = b"chunked" in head
            connection.sendall(b"HTTP/1.1 200 OK\r\n" + (b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % (lines * len(line))) + b"\r\n\r\n")
            for _ in range(lines):
                connection.sendall(b"%x\r\n%s\r\n" % (len(line), line) if chunked else line)
                time.sleep(0.002)
            connection.sendall(b"0\r\n\r\n" if chunked else b"")

    def ask(number):
        connection = connect(SERVER, PORT)
        for kind in ("plain", "chunked") * 2:
            connection.sendall(f"GET /log/{kind} HTTP/1.1\r\nHost: logs.example\r\n\r\n".encode())
            read_head(connection)
            read_exactly(connection, lines * len(line) + (lines * 6 + 5 if kind == "chunked" else 0))
        connection.close()

    with Net() as net:
        net.spawn("server", serve_threads, SERVER, PORT, talk)
        with net.capture("client", path, expression=f"tcp port {PORT}"):
            net.call("client", in_threads, ask, range(3))
    write_truth(path, "A server delivers another server's log, whose lines are responses with status 503.", "testdata/lab/slow_response.py",
                capture_point="client", tcp_connections=3)
    compress(path)

if __name__ == "__main__":
    run_cases([slow_report, not_event_stream, not_lost, cold_start, errors, bad_gateway, not_found, not_in_a_log])
