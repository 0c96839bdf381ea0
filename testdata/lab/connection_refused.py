#!/usr/bin/env python3
"""Connections that are refused: a service that restarts, a port nobody serves, a scan.

    sudo python3 testdata/lab/connection_refused.py OUTPUT_FOLDER
"""
import os
import socket
import sys
import time

from net import SERVER, SERVER6, Net
from parts import LINGER_ZERO, REQUEST, answer, lab_name, points, read_request, read_response, serve, truths
from relay import Way, Wire

MADE = lab_name(__file__)


def hello(connection, _peer):
    while read_request(connection):
        connection.sendall(answer())
    connection.close()


def attempt(address, port):
    """One connection with one request; gives the client's end and the result."""
    connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    connection.bind(("", 0))
    local_port = connection.getsockname()[1]
    try:
        connection.connect((address, port))
        connection.sendall(REQUEST % 1)
        result = "answered" if read_response(connection) else "end of file"
    except OSError as error:
        result = type(error).__name__
    connection.close()
    return local_port, result


def restart(folder):
    """A service is stopped for a second; attempts in between are refused."""
    with Net(Wire(Way(delay_ms=4), Way(delay_ms=4))) as net:
        server = net.spawn("server", serve, SERVER, 8080, hello)
        results = []
        with points(net, folder, "restart", "client") as paths:
            for number in range(20):
                if number == 6:
                    server.kill()
                    server.join()
                if number == 14:
                    net.spawn("server", serve, SERVER, 8080, hello)
                results.append(net.call("client", attempt, SERVER, 8080))
                time.sleep(0.1)
    refused = [(f"10.9.0.1:{port}", "10.9.0.2:8080") for port, result in results if result == "ConnectionRefusedError"]
    truths(paths, "A service is down for a second; attempts in that time are refused.", f"{MADE}: SIGKILL and start",
           findings=[{"rule": "connection-refused", "occurrences": len(refused), "connections": refused,
                      "figures": {"attempts": (len(refused), 0)}}], tcp_connections=20)


def never(folder):
    """Nobody listens, over IPv6, captured on `any` at the server."""
    with Net() as net:
        with points(net, folder, "never-ipv6", "server-any") as paths:
            results = [net.call("client", attempt, SERVER6, 5432) for _ in range(5)]
    refused = [(f"[fd09::1]:{port}", "[fd09::2]:5432") for port, result in results if result == "ConnectionRefusedError"]
    assert len(refused) == 5
    truths(paths, "Nobody listens on the port that a client tries five times.", f"{MADE}: IPv6",
           findings=[{"rule": "connection-refused", "occurrences": 5, "connections": refused, "figures": {"attempts": (5, 0)}}],
           tcp_connections=5)


def scan(folder):
    """One client tries forty ports."""
    with Net() as net:
        net.spawn("server", serve, SERVER, 8080, hello)

        def walk():
            return [attempt(SERVER, port)[1] for port in range(8060, 8100) if port != 8080]
        with points(net, folder, "port-scan", "server") as paths:
            net.call("client", walk)
    truths(paths, "One client tries thirty-nine closed ports in a row.", f"{MADE}: connect() to ports 8060 to 8099", tcp_connections=39)


def aborted(folder):
    """RSTs right after the handshake, from the other end."""
    with Net() as net:
        net.spawn("server", serve, SERVER, 8080, hello)
        with points(net, folder, "not-closed-at-once", "server") as paths:
            for _ in range(5):
                net.call("client", hang_up, SERVER, 8080)
    truths(paths, "Clients abort five connections that were accepted: the RSTs are theirs.", f"{MADE}: SO_LINGER 0", may=["linger-zero-reset"], tcp_connections=5)


def hang_up(address, port):
    connection = socket.create_connection((address, port))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
    connection.close()


if __name__ == "__main__":
    target = os.path.join(sys.argv[1], "connection-refused")
    only = sys.argv[2:]
    for scenario in (restart, never, scan, aborted):
        if not only or scenario.__name__ in only:
            print(scenario.__name__, flush=True)
            scenario(target)
