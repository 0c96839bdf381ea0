#!/usr/bin/env python3
"""A server that never closes what its clients have closed, and half-closes in use.

    sudo python3 testdata/lab/close_wait_leak.py OUTPUT_FOLDER
"""
import contextlib
import os
import socket
import sys
import time

from net import SERVER, SERVER6, Net, pair
from parts import REQUEST, answer, connect, lab_name, points, read_request, read_response, serve, together, truths
from relay import Way, Wire

MADE = lab_name(__file__)


def leaky(connection, _peer):
    while read_request(connection):
        connection.sendall(answer())
    time.sleep(600)  # end of file was read, close() is never called


def ask(index, stay_s):
    time.sleep(0.2 * index)
    connection = connect(SERVER, 8080)
    ends = pair(connection)
    connection.sendall(REQUEST % index)
    read_response(connection)
    connection.close()
    time.sleep(stay_s)
    return ends


def leak(folder):
    with Net(Wire(Way(delay_ms=2), Way(delay_ms=2)), sysctls={"net.ipv4.tcp_fin_timeout": 120}) as net:
        net.spawn("server", serve, SERVER, 8080, leaky)
        with points(net, folder, "never-closed", "server") as paths:
            ends = net.call("client", lambda: together(4, ask, 66))
            ends += [net.call("client", ask, 0, 0)]
        waiting = net.exec("server", "ss", "-Htn", "state", "close-wait").count("\n")
    assert waiting == 5, waiting
    truths(paths, "A server keeps the sockets of clients that closed; four are in CLOSE-WAIT for more than a minute, one just came.",
           f"{MADE}: 67 s", findings=[{"rule": "close-wait-leak", "occurrences": 4, "connections": ends[:4], "figures": {"sockets": (4, 0)}}],
           tcp_connections=5)


def stream_after_half_close(folder):
    """The client half-closes and the server goes on sending for more than a minute."""
    def ticker(connection, _peer):
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(65):
            time.sleep(1)
            connection.sendall(b"tick\n")
        connection.close()

    def listen(_index):
        connection = connect(SERVER, 8080)
        connection.sendall(REQUEST % 1)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1000):
            pass
        connection.close()
    with Net() as net:
        net.spawn("server", serve, SERVER, 8080, ticker)
        with points(net, folder, "half-closed-stream", "client") as paths:
            net.call("client", lambda: together(3, listen))
    truths(paths, "Three clients half-close after their request and read a stream for 65 s.", MADE, tcp_connections=3)


def pool_over_ipv6(folder):
    """The server closes connections that are idle for a second; the client's pool never looks at them again."""
    def impatient(connection, _peer):
        with contextlib.suppress(TimeoutError):
            while read_request(connection, 1):
                connection.sendall(answer())
        connection.close()

    def pool(number):
        held = [connect(SERVER6, 8080) for _ in range(number)]
        for nth, connection in enumerate(held):
            connection.sendall(REQUEST % nth)
            read_response(connection)
        # One is in use, as most of a pool is not.
        for nth in range(88):
            time.sleep(0.75)
            held[0].sendall(REQUEST % nth)
            read_response(held[0])
        return [pair(connection) for connection in held]

    with Net() as net:
        net.spawn("server", serve, SERVER6, 8080, impatient)
        with points(net, folder, "pool-over-ipv6-client", "client") as paths:
            ends = net.call("client", pool, 4)
    truths(paths, "A pool of a client keeps three connections that the server closed after a second, and uses a fourth.", f"{MADE}: 66 s",
           findings=[{"rule": "close-wait-leak", "occurrences": 3, "connections": ends[1:], "figures": {"sockets": (3, 0)}}], tcp_connections=4)


def not_answered_late(folder):
    """Clients half-close after their request; the handler needs 66 s for its response and then closes."""
    def thorough(connection, _peer):
        read_request(connection)
        time.sleep(66)
        connection.sendall(answer(b"report" * 200))
        connection.close()

    def order(_index):
        connection = connect(SERVER, 8080)
        connection.sendall(REQUEST % 1)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass
        connection.close()

    with Net() as net:
        net.spawn("server", serve, SERVER, 8080, thorough)
        with points(net, folder, "not-answered-late", "server") as paths:
            net.call("client", lambda: together(3, order))
    truths(paths, "Three clients half-close after their request; the server computes for 66 s, answers and closes.", MADE, may=["slow-response"], tcp_connections=3)


if __name__ == "__main__":
    target = os.path.join(sys.argv[1], "close-wait-leak")
    only = sys.argv[2:]
    for scenario in (leak, stream_after_half_close, pool_over_ipv6, not_answered_late):
        if not only or scenario.__name__ in only:
            print(scenario.__name__, flush=True)
            scenario(target)
