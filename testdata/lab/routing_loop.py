#!/usr/bin/env python3
"""Captures of packets that two routers send to each other until their hop limit ends, and of what looks like it.

    sudo python3 testdata/lab/routing_loop.py OUTPUT_FOLDER [CASE...]

Both hosts forward, and each names the other for the next hop to an address that neither has. What was sent is
known from the sender; how often it passed from its hop limit.
"""
import os
import socket
import time

from actors import compress, connect, http_get, http_ok, http_server, run_cases
from asymmetric_path import A, Routed
from asymmetric_path import SERVER as FAR
from net import CLIENT, SERVER, Net, write_truth

NOWHERE = "203.0.113.77"
# A host behind the first router: neither router drops its packets as its own.
BEHIND = "10.9.0.50"
IP_TRANSPARENT = 19


def behind(kind, port):
    """A socket of that host."""
    one = socket.socket(socket.AF_INET, kind)
    one.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
    one.bind((BEHIND, port))
    return one


def place(folder, name):
    return os.path.join(folder, "routing-loop", name + ".pcap")


def circle(net):
    """Routes to `NOWHERE` that point at each other."""
    for side, other in (("client", SERVER), ("server", CLIENT)):
        for key in ("all", "eth0"):
            net.sysctl(side, f"net.ipv4.conf.{key}.send_redirects", 0)
            net.sysctl(side, f"net.ipv4.conf.{key}.rp_filter", 0)
        net.sysctl(side, "net.ipv4.ip_forward", 1)
        net.ip(side, "route", "add", f"{NOWHERE}/32", "via", other)


def looped(packets, connections, transport, first, last):
    return {"rule": "routing-loop", "connections": [{"transport": transport, "client": one, "server": two} for one, two in connections],
            "severity_at_least": "medium", "figures": {"packets": (packets, 0), "ttl_first": (first, 0), "ttl_last": (last, 0)}}


def datagrams(folder):
    """A metrics client sends to an address behind the circle."""
    path = place(folder, "datagrams")

    def send():
        client = behind(socket.SOCK_DGRAM, 45_000)
        for number in range(6):
            client.sendto(b"app.requests:%d|c" % number, (NOWHERE, 8125))
            time.sleep(0.2)

    with Net() as net:
        circle(net)
        with net.capture("client", path):
            net.call("client", send)
    write_truth(path, "Six datagrams go round between two routers until their hop limit ends.", "testdata/lab/routing_loop.py",
                [looped(6, [(f"{BEHIND}:45000", f"{NOWHERE}:8125")], "udp", 64, 1)], may=["icmp-unreachable"], capture_point="client")
    compress(path)


def connection_attempt(folder):
    """A client cannot connect; others at another address can. Captured at the far router on `any`."""
    path = place(folder, "connection-attempt-any")

    def attempt():
        client = behind(socket.SOCK_STREAM, 45_001)
        client.settimeout(3.5)
        try:
            client.connect((NOWHERE, 443))
        except OSError:
            pass
        client.close()
        connection = connect(SERVER, 8080)
        for number in range(3):
            http_get(connection, f"/item/{number}", "shop.example")
        connection.close()

    with Net() as net:
        circle(net)
        net.spawn("server", http_server, SERVER, 8080, lambda *_: http_ok(b"fine"))
        with net.capture("server", path, interface="any"):
            before = net.counters("client")
            net.call("client", attempt)
            syns = net.counters("client")["TcpRetransSegs"] - before["TcpRetransSegs"] + 1
    write_truth(path, "The SYNs of a connection attempt go round; other traffic is healthy.", "testdata/lab/routing_loop.py",
                [looped(syns, [(f"{BEHIND}:45001", f"{NOWHERE}:443")], "tcp", 64, 1)], may=["icmp-unreachable", "syn-unanswered"], capture_point="server")
    compress(path)


def not_sent_back(folder):
    """A router sends packets back to their sender, which drops them: each is seen twice, the second time one hop poorer."""
    path = place(folder, "not-sent-back")

    def send():
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for number in range(20):
            client.sendto(b"app.requests:%d|c" % number, (NOWHERE, 8125))
            time.sleep(0.02)

    with Net() as net:
        circle(net)
        with net.capture("client", path):
            net.call("client", send)
    write_truth(path, "A router sends datagrams back where they came from; their own sender drops them.", "testdata/lab/routing_loop.py", capture_point="client")
    compress(path)


def not_on_every_link(folder):
    """Recorded on all links of the first of two routers that packets pass in a row, while a path of eight hops is explored with one and the same datagram."""
    path = place(folder, "not-on-every-link-any")

    def explore():
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.bind((CLIENT, 45_003))
        # As Doubletree does: from the far end to the near one.
        for hops in range(8, 0, -1):
            client.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
            for _ in range(2):
                client.sendto(b"probe", (FAR, 33_999))
            time.sleep(0.1)

    with Routed(A, A) as net:
        net.spawn("server", http_server, FAR, 8080, lambda *_: http_ok(b"fine" * 30))

        def act():
            connection = connect(FAR, 8080)
            for number in range(6):
                http_get(connection, f"/item/{number}", "shop.example")
            connection.close()
            explore()

        with net.capture("a", path, interface="any", expression="ip"):
            net.call("client", act)
    write_truth(path, "A router's links show each packet twice; a client explores a path with datagrams whose hop limit falls from eight to one.",
                "testdata/lab/routing_loop.py", may=["icmp-unreachable"], none_at_or_above="low", capture_point="router")
    compress(path)


if __name__ == "__main__":
    run_cases([datagrams, connection_attempt, not_sent_back, not_on_every_link])
