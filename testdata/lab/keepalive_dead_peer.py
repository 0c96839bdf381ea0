#!/usr/bin/env python3
"""TCP keep-alive probes that nobody answers, and probes that are answered.

    sudo python3 testdata/lab/keepalive_dead_peer.py OUTPUT_FOLDER
"""
import os
import socket
import sys
import threading
import time

from net import SERVER, SERVER6, Net, pair
from parts import REQUEST, answer, connect, lab_name, points, read_request, read_response, serve, together, truths
from relay import Way, Wire

MADE = lab_name(__file__)


def hello(connection, _peer):
    while read_request(connection):
        connection.sendall(answer())
    time.sleep(60)


def prober(index, address, idle_s, interval_s, count, wait_s):
    """One exchange, then keep-alive probes; gives the ends and what the waiting read brought."""
    connection = connect(address, 8080)
    ends = pair(connection)
    for option, value in ((socket.TCP_KEEPIDLE, idle_s), (socket.TCP_KEEPINTVL, interval_s), (socket.TCP_KEEPCNT, count)):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.sendall(REQUEST % index)
    read_response(connection)
    connection.settimeout(wait_s)
    try:
        connection.recv(1)
        result = "end of file"
    except TimeoutError as error:
        result = "gave up" if error.errno else "still open"
    return ends, result


def vanished(folder):
    """The server's host goes off the network after the first exchange."""
    for case, address, point in (("vanished", SERVER, "client"), ("vanished-ipv6", SERVER6, "client-any")):
        with Net() as net:
            net.spawn("server", serve, address, 8080, hello)

            def probe():
                return together(3, prober, address, 3, 2, 4, 30)
            with points(net, folder, case, point) as paths:
                deaf = ("ip6tables" if ":" in address else "iptables", "-A", "INPUT", "-p", "tcp", "-j", "DROP")
                threading.Timer(1.5, net.exec, ("server", *deaf)).start()
                seen = net.call("client", probe)
        lost = [ends for ends, result in seen if result == "gave up"]
        assert len(lost) == 3, seen
        truths(paths, "The peer of three idle connections vanishes; TCP keep-alive gives them up.",
               f"{MADE}: TCP_KEEPIDLE 3, TCP_KEEPINTVL 2, TCP_KEEPCNT 4; the server's host drops everything",
               findings=[{"rule": "keepalive-dead-peer", "occurrences": 3, "connections": lost, "figures": {
                   "probes": (4, 0), "idle_ms": (3000, 150)}}], tcp_connections=3)


def answered(folder):
    """Probes every second, all answered."""
    with Net(Wire(Way(delay_ms=10), Way(delay_ms=10))) as net:
        net.spawn("server", serve, SERVER, 8080, hello)
        with points(net, folder, "answered-probes", "server") as paths:
            seen = net.call("client", lambda: together(3, prober, SERVER, 1, 1, 3, 6))
    truths(paths, "Three idle connections are probed every second and answered.", MADE, tcp_connections=3,
           results=[result for _, result in seen])


def closed(folder):
    """Probes are answered until the server closes the idle connections."""
    def brief(connection, _peer):
        read_request(connection)
        connection.sendall(answer(b"ok"))
        time.sleep(4)
        connection.close()

    with Net() as net:
        net.spawn("server", serve, SERVER6, 8080, brief)
        with points(net, folder, "not-closed-by-server-ipv6", "client") as paths:
            net.call("client", lambda: together(2, prober, SERVER6, 1, 1, 3, 8))
    truths(paths, "Two idle connections are probed and answered until their server closes them.", MADE, tcp_connections=2)


if __name__ == "__main__":
    target = os.path.join(sys.argv[1], "keepalive-dead-peer")
    only = sys.argv[2:]
    for scenario in (vanished, answered, closed):
        if not only or scenario.__name__ in only:
            print(scenario.__name__, flush=True)
            scenario(target)
