#!/usr/bin/env python3
"""Servers that accept connections and close them before they say anything, and closes that look like it.

    sudo python3 testdata/lab/closed_after_accept.py OUTPUT_FOLDER [CASE...]

What became of each attempt is known from its client, which counts the connections that ended without an answer.
"""
import contextlib
import os
import socket
import time

from actors import compress, http_get, http_ok, http_server, listen, run_cases
from net import CLIENT, SERVER, Net, pair, write_truth

MADE = "testdata/lab/closed_after_accept.py"
PORT = 8080


def place(folder, name):
    return os.path.join(folder, "closed-after-accept", name + ".pcap")


def asks(number, pause_s=0.0, gap_s=0.3):
    """Connections that ask after `pause_s` and get no answer; gives their ends."""
    ends = []
    for _ in range(number):
        connection = socket.create_connection((SERVER, PORT), timeout=10)
        ends.append(pair(connection))
        with contextlib.suppress(OSError):
            time.sleep(pause_s)
            connection.sendall(b"GET /item HTTP/1.1\r\nHost: shop.example\r\n\r\n")
            if connection.recv(100):
                ends.pop()
        connection.close()
        time.sleep(gap_s)
    return ends


def told(ends):
    return [{"rule": "closed-after-accept", "severity_at_least": "medium", "occurrences": len(ends),
             "connections": [{"transport": "tcp", "client": client, "server": server} for client, server in ends],
             "figures": {"connections": (len(ends), 0)}}]


def run(folder, name, serve, clients, story, expect=told, may=("unread-data-reset", "linger-zero-reset", "client-timeout-close")):
    path = place(folder, name)
    with Net() as net:
        net.spawn("server", serve)
        time.sleep(0.3)
        with net.capture("client", path):
            ends = net.call("client", clients)
    write_truth(path, story, MADE, expect(ends), may=list(may), capture_point="client")
    compress(path)


def drops_all():
    listener = listen(SERVER, PORT)
    while True:
        connection, _ = listener.accept()
        connection.close()


def connection_limit(folder):
    """A server with a list of allowed addresses: it closes what it has just accepted."""
    run(folder, "allow-list", drops_all, lambda: asks(5, pause_s=0.1), "A server closes every connection right after it has accepted it: this client is not on its list.")


def forwarder(folder):
    """A forwarder accepts and then finds that nobody listens behind it."""

    def forward():
        listener = listen(SERVER, PORT)
        while True:
            connection, _ = listener.accept()
            try:
                socket.create_connection((SERVER, 9_999), timeout=1)
            except OSError:
                connection.close()

    run(folder, "nothing-behind", forward, lambda: asks(4, pause_s=0.05), "A port forwarder accepts connections although nobody listens behind it.")


def access_check(folder):
    """A server that looks each client up for two seconds before it closes without a word."""

    def check():
        listener = listen(SERVER, PORT)
        while True:
            connection, _ = listener.accept()
            time.sleep(2)
            connection.close()

    def greeted():
        ends = []
        for _ in range(4):
            connection = socket.create_connection((SERVER, PORT), timeout=10)
            ends.append(pair(connection))
            assert not connection.recv(100)
            connection.close()
        return ends

    run(folder, "look-up", check, greeted, "A server closes every connection two seconds after it has accepted it, without a greeting.", may=[])


def not_probes(folder):
    """Probes that connect and close, beside requests that are served."""

    def visits():
        for _ in range(6):
            socket.create_connection((SERVER, PORT), timeout=10).close()
            connection = socket.create_connection((SERVER, PORT), timeout=10)
            http_get(connection, "/item", "shop.example")
            connection.close()
            time.sleep(0.2)

    run(folder, "not-probes", lambda: http_server(SERVER, PORT, lambda *_: http_ok(b"fine")), visits, "A health check connects and closes; users are served.", lambda _: [], may=[])


def not_spare_connections(folder):
    """A client opens spare connections ahead of need; the server closes the unused ones at its idle limit."""

    def serve():
        def answer(*_):
            return http_ok(b"fine")

        listener = listen(SERVER, PORT)
        while True:
            connection, _ = listener.accept()
            connection.settimeout(1.5)
            try:
                if connection.recv(1000):
                    connection.sendall(answer())
            except TimeoutError:
                pass
            connection.close()

    def visits():
        for _ in range(4):
            used, spare = (socket.create_connection((SERVER, PORT), timeout=10) for _ in range(2))
            used.sendall(b"GET /item HTTP/1.1\r\nHost: shop.example\r\n\r\n")
            assert used.recv(1000)
            used.close()
            assert not spare.recv(100)
            spare.close()

    run(folder, "not-spare-connections", serve, visits, "Spare connections that nobody used are closed at the server's idle limit.", lambda _: [], may=[])


if __name__ == "__main__":
    run_cases([connection_limit, forwarder, access_check, not_probes, not_spare_connections])
