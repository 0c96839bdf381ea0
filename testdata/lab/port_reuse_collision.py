#!/usr/bin/env python3
"""New connections on a port whose earlier connection the server still holds, and legal reuse.

    sudo python3 testdata/lab/port_reuse_collision.py OUTPUT_FOLDER

The client's socket is destroyed without a word (TCP_REPAIR), as after a crash or behind a NAT that forgot it; the next
connection uses the same port.
"""
import os
import socket
import sys
import time

from net import CLIENT, CLIENT6, SERVER, SERVER6, Net
from parts import REQUEST, answer, delta, lab_name, points, read_request, read_response, serve, truths
from relay import Way, Wire

MADE = lab_name(__file__)
TCP_REPAIR = 19


def hello(connection, _peer):
    try:
        while read_request(connection):
            connection.sendall(answer())
    except ConnectionError:
        pass
    connection.close()


def from_port(port, address=SERVER):
    six = ":" in address
    connection = socket.socket(socket.AF_INET6 if six else socket.AF_INET)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    connection.bind((CLIENT6 if six else CLIENT, port))
    start = time.monotonic()
    connection.connect((address, 8080))
    took = time.monotonic() - start
    connection.sendall(REQUEST % port)
    read_response(connection)
    return connection, took


def forgetful(ports, address=SERVER):
    """Gives the connect times of the second connections."""
    times = []
    for port in ports:
        connection, _ = from_port(port, address)
        connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        connection.close()
        time.sleep(0.3)
        connection, took = from_port(port, address)
        times.append(took)
        connection.close()
        time.sleep(0.1)
    return times


def collisions(folder):
    ports = (40001, 40002, 40003)
    with Net(Wire(Way(delay_ms=2), Way(delay_ms=2))) as net:
        net.spawn("server", serve, SERVER, 8080, hello)
        before = net.counters("server")
        with points(net, folder, "forgotten-connections", "server") as paths:
            times = net.call("client", forgetful, ports)
        kernel = delta(before, net.counters("server"), "TcpExtTCPChallengeACK", "TcpExtTCPSYNChallenge")
    truths(paths, "A client forgets three connections without a word and opens new ones from the same ports.",
           f"{MADE}: TCP_REPAIR close, 2 ms each way", kernel=kernel, connect_ms=[took * 1e3 for took in times],
           findings=[{"rule": "port-reuse-collision", "occurrences": 3,
                      "connections": [(f"10.9.0.1:{port}", "10.9.0.2:8080") for port in ports], "figures": {"collisions": (3, 0), "delay_ms": (sorted(times)[1] * 1e3 - 4, 3)}, "severity_at_least": "low",
                      "severity_at_most": "low", "confidence_at_least": 0.9}])


def legal(folder):
    """A client closes and reuses its port at once: the server is in TIME-WAIT or done."""
    def again(ports):
        for port in ports:
            for _ in range(3):
                connection, _ = from_port(port)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(1)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connection.close()
                time.sleep(0.05)
    with Net() as net:
        net.spawn("server", serve, SERVER, 8080, hello)
        with points(net, folder, "legal-reuse", "client") as paths:
            net.call("client", again, (40011, 40012))
    truths(paths, "Ports are used again right after both ends closed; every SYN is accepted at once.", f"{MADE}: three rounds on two ports",
           tcp_connections=6)


def collisions_ipv6(folder):
    """A device with one fixed source port restarts; so do three more. Recorded where they are, over IPv6."""
    ports = (5001, 5002, 5003, 5004)
    with Net(Wire(Way(delay_ms=8), Way(delay_ms=8))) as net:
        net.spawn("server", serve, SERVER6, 8080, hello)
        with points(net, folder, "fixed-ports-ipv6-client", "client") as paths:
            times = net.call("client", forgetful, ports, SERVER6)
    truths(paths, "Four devices with a fixed source port each lose power and come back; the server still holds their connections.",
           f"{MADE}: TCP_REPAIR close, 8 ms each way", connect_ms=[took * 1e3 for took in times],
           findings=[{"rule": "port-reuse-collision", "occurrences": 4, "connections": [(f"[{CLIENT6}]:{port}", f"[{SERVER6}]:8080") for port in ports],
                      "figures": {"collisions": (4, 0), "delay_ms": (sorted(times)[2] * 1e3, 4)}, "severity_at_least": "low", "severity_at_most": "low"}])


def not_lost_syns(folder):
    """Ports are used again after an orderly close, and the SYN of every second connection is lost once."""
    seen = {}

    def choose(frame):
        if frame.flags & 0x12 != 2:
            return None
        seen.setdefault(frame.source, []).append(frame.seq)
        return "drop" if len(seen[frame.source]) == 2 else None

    def again(ports):
        for port in ports:
            for _ in range(2):
                connection, _ = from_port(port)
                # The server closes first and holds TIME-WAIT: the client's port is free at once.
                connection.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
                while connection.recv(4096):
                    pass
                connection.close()
                time.sleep(0.2)

    def one_answer(connection, _peer):
        for _ in range(2):
            head = read_request(connection)
            connection.sendall(answer())
            if b"close" in head:
                break
        connection.close()

    with Net(Wire(Way(delay_ms=2, choose=choose), Way(delay_ms=2))) as net:
        net.spawn("server", serve, SERVER, 8080, one_answer)
        with points(net, folder, "not-lost-syns", "client") as paths:
            net.call("client", again, (40021, 40022, 40023))
    truths(paths, "Ports are used again after both ends closed; the first SYN of each second connection is lost on the way.",
           f"{MADE}: the relay drops one SYN of each port", may=["slow-connect", "packet-loss"], tcp_connections=6)


if __name__ == "__main__":
    target = os.path.join(sys.argv[1], "port-reuse-collision")
    only = sys.argv[2:]
    for scenario in (collisions, legal, collisions_ipv6, not_lost_syns):
        if not only or scenario.__name__ in only:
            print(scenario.__name__, flush=True)
            scenario(target)
