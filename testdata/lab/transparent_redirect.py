#!/usr/bin/env python3
"""Captures of connections that end at another server than the one they were meant for.

    sudo python3 testdata/lab/transparent_redirect.py OUTPUT_FOLDER [CASE...]

The rules of a sidecar redirect outgoing connections to the client's own host: iptables with a chain of its
own, as found in the field. Programs on the client hold the truth: which address they connected to, and
which program answered.
"""
import os
import socket
import struct

import time

from actors import compress, connect, http_get, http_ok, http_server, in_threads, run_cases
from net import CLIENT, SERVER, SERVER6, Net, pair, write_truth


INTENDED = "123.56.0.0"
OTHER = "203.0.113.80"


def place(folder, name):
    return os.path.join(folder, "transparent-redirect", name + ".pcap")


def iptables(net, *rules, tool="iptables"):
    for rule in rules:
        net.exec("client", tool, "-w", "-t", "nat", *rule.split())


def sidecar(net, to_port=80, destination=INTENDED, port=80):
    """The very rules of the incident."""
    iptables(net, "-N SIDECAR_OUTBOUND", "-A OUTPUT -p tcp -j SIDECAR_OUTBOUND",
             f"-A SIDECAR_OUTBOUND -p tcp -d {destination} --dport {port} -j REDIRECT --to-port {to_port}")


def routes(net, *addresses):
    """Addresses of the far side that the server answers for as well."""
    for address in addresses:
        net.ip("server", "addr", "add", f"{address}/32", "dev", "lo")
        net.ip("client", "route", "add", f"{address}/32", "via", SERVER)


def name_server(address, names):
    """A DNS server for A records of a few names, over UDP."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    while True:
        question, client = server.recvfrom(512)
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1 : at + 1 + question[at]].decode())
            at += 1 + question[at]
        addresses = names.get(".".join(labels), [])
        head = question[:2] + struct.pack("!5H", 0x8180 if addresses else 0x8183, 1, len(addresses), 0, 0)
        records = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton(one) for one in addresses)
        server.sendto(head + question[12 : at + 5] + records, client)


def lookup(name, server=SERVER):
    """Asks for a name's A record; gives the first address."""
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(2)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    client.sendto(struct.pack("!6H", os.getpid() & 0xFFFF, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1", (server, 53))
    return socket.inet_ntoa(client.recvfrom(512)[0][-4:])


def calls(address, port, host, count, requests=2, gap_s=0.02):
    """Connections one after another; gives their (client, server) as the program sees them, and the bodies."""
    seen, bodies = [], set()
    for number in range(count):
        connection = connect(address, port, timeout=5)
        for request in range(requests):
            bodies.add(http_get(connection, f"/order/{number}.{request}", host)[1].decode())
        seen.append(pair(connection))
        connection.close()
        time.sleep(gap_s)
    return seen, sorted(bodies)


def redirected(connections, intended, actual, severity="high", **more):
    return {"rule": "transparent-redirect", "occurrences": len(connections), "connections": connections, "severity_at_least": severity,
            "figures": {"intended": intended, "actual": actual}, **more}


def say(text):
    return lambda *_: http_ok(text.encode())


def local_case(folder, name, story, interface, expression="", count=4, port=80, to_port=80, host="orders.example", healthy=0, snaplen=None, dns=False, may=()):
    path = place(folder, name)
    with Net() as net:
        routes(net, INTENDED, OTHER)
        sidecar(net, to_port=to_port, port=port)
        net.spawn("client", http_server, "0.0.0.0", to_port, say("sidecar"))
        net.spawn("server", http_server, "0.0.0.0", port, say("orders"))
        if dns:
            net.spawn("server", name_server, SERVER, {"orders.example": [INTENDED], "shop.example": [OTHER]})
        with net.capture("client", path, interface=interface, expression=expression, snaplen=snaplen):
            def talk():
                if dns:
                    assert lookup("orders.example") == INTENDED
                return calls(INTENDED, port, host, count), calls(OTHER, port, "shop.example", healthy)
            (hijacked, bodies), (fine, right) = net.call("client", talk)
    assert bodies == ["sidecar"] and (not fine or right == ["orders"]), (bodies, right)
    write_truth(path, story, f"testdata/lab/transparent_redirect.py, iptables REDIRECT of {INTENDED}:{port} to port {to_port}",
                [redirected(hijacked, f"{host} ({INTENDED}:{port})", f"127.0.0.1:{to_port}")], may=may, capture_point="client",
                tcp_connections=count + (healthy if interface == "any" else 0))
    compress(path)


def sidecar_lo(folder):
    local_case(folder, "sidecar-lo", "Every call to 123.56.0.0:80 is answered by a program on the client's own port 80; captured on lo.", "lo")


def sidecar_any(folder):
    local_case(folder, "sidecar-any", "The same on the any interface, with calls to another address that are answered rightly.", "any", healthy=3, dns=True)


def sidecar_port_snaplen(folder):
    local_case(folder, "sidecar-port-snaplen", "Port 8080 is redirected to port 18080; frames are cut to 128 octets.", "any", port=8080, to_port=18080, snaplen=128, healthy=2)


def sidecar_ipv6_lo(folder):
    path = place(folder, "sidecar-ipv6-lo")
    with Net() as net:
        iptables(net, f"-A OUTPUT -p tcp -d {SERVER6} --dport 80 -j REDIRECT --to-port 8081", tool="ip6tables")
        net.spawn("client", http_server, "::", 8081, say("sidecar"))
        with net.capture("client", path, interface="lo"):
            hijacked, bodies = net.call("client", calls, SERVER6, 80, "api.example", 3)
    assert bodies == ["sidecar"], bodies
    write_truth(path, "The same over IPv6.", "testdata/lab/transparent_redirect.py, ip6tables REDIRECT to port 8081",
                [redirected(hijacked, f"api.example ([{SERVER6}]:80)", "[::1]:8081")], capture_point="client", tcp_connections=3)
    compress(path)


def dnat_elsewhere(folder):
    """DNAT to another host: on the wire both directions bear the new address; DNS and Host tell."""
    path = place(folder, "dnat-elsewhere")
    with Net() as net:
        routes(net, INTENDED, OTHER)
        net.spawn("server", http_server, INTENDED, 80, say("orders"))
        net.spawn("server", http_server, OTHER, 80, say("somebody else"))
        net.spawn("server", name_server, SERVER, {"orders.example": [INTENDED]})

        def hijacked_calls():
            lookup("orders.example")
            return calls(INTENDED, 80, "orders.example", 4)

        with net.capture("client", path):
            # One worker was started before the rule, the others after it.
            fine, right = net.call("client", calls, INTENDED, 80, "orders.example", 2)
            iptables(net, f"-A OUTPUT -p tcp -d {INTENDED} --dport 80 -j DNAT --to-destination {OTHER}:80")
            hijacked, bodies = net.call("client", hijacked_calls)
    assert right == ["orders"] and bodies == ["somebody else"], (right, bodies)
    connections = [(client, f"{OTHER}:80") for client, _ in hijacked]
    write_truth(path, "A DNAT rule sends calls for orders.example to another host; DNS named the right address, which others still reach.",
                f"testdata/lab/transparent_redirect.py, iptables DNAT to {OTHER}",
                [redirected(connections, f"orders.example ({INTENDED}:80)", f"{OTHER}:80", severity="medium")], capture_point="client", tcp_connections=6)
    compress(path)


def redirect_some(folder):
    """Ten workers; the rule covers one of two destinations."""
    path = place(folder, "some-of-many-any")
    with Net() as net:
        routes(net, INTENDED, OTHER)
        sidecar(net, to_port=15000, port=80)
        net.spawn("client", http_server, "0.0.0.0", 15000, say("sidecar"))
        net.spawn("server", http_server, "0.0.0.0", 80, say("right"))

        def worker(number):
            return calls(INTENDED if number % 3 == 0 else OTHER, 80, "a.example" if number % 3 == 0 else "b.example", 2)

        with net.capture("client", path, interface="any"):
            results = net.call("client", in_threads, worker, range(10))
    hijacked = [one for number, (seen, _) in enumerate(results) if number % 3 == 0 for one in seen]
    write_truth(path, "Ten workers call two services at once; only one service's calls are redirected.", "testdata/lab/transparent_redirect.py",
                [redirected(hijacked, f"a.example ({INTENDED}:80)", "127.0.0.1:15000")], capture_point="client", tcp_connections=20)
    compress(path)


def datagrams_any(folder):
    """UDP has no handshake: answers bear the address that the questions were meant for."""
    path = place(folder, "datagrams-any")

    def answer(address, port):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind((address, port))
        while True:
            question, client = server.recvfrom(2000)
            server.sendto(b"answer to " + question[:20], client)

    def ask(address, port, count):
        seen = []
        for _ in range(count):
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            client.settimeout(1)
            client.connect((address, port))
            seen.append(pair(client))
            for number in range(4):
                client.send(b"question %d" % number)
                client.recv(2000)
                time.sleep(0.02)
            client.close()
        return seen

    with Net() as net:
        routes(net, INTENDED, OTHER)
        iptables(net, f"-A OUTPUT -p udp -d {INTENDED} --dport 9125 -j REDIRECT --to-port 19125")
        net.spawn("client", answer, "127.0.0.1", 19125)
        net.spawn("server", answer, SERVER, 9126)
        with net.capture("client", path, interface="any"):
            hijacked, _ = net.call("client", lambda: (ask(INTENDED, 9125, 3), ask(SERVER, 9126, 2)))
    finding = redirected(hijacked, f"{INTENDED}:9125", "127.0.0.1:19125")
    write_truth(path, "Datagrams to one service are redirected to a program on the client's host; those to another are not.",
                f"testdata/lab/transparent_redirect.py, iptables REDIRECT of {INTENDED}:9125", [{**finding, "transport": "udp"}], capture_point="client")
    compress(path)


def quiet(folder, name, story, prepare, talk, interface="any", may=(), **facts):
    path = place(folder, name)
    with Net() as net:
        routes(net, INTENDED, OTHER)
        prepare(net)
        with net.capture("client", path, interface=interface):
            net.call("client", talk)
    write_truth(path, story, "testdata/lab/transparent_redirect.py", may=may, capture_point="client", **facts)
    compress(path)


def not_loopback(folder):
    """Plain traffic to 127.0.0.1 and to an own address."""
    def prepare(net):
        net.spawn("client", http_server, "0.0.0.0", 8080, say("local"))

    def talk():
        calls("127.0.0.1", 8080, "localhost:8080", 3)
        calls(CLIENT, 8080, "me.example", 3)

    quiet(folder, "not-loopback", "A program talks to its own host by loopback and by the host's address.", prepare, talk, tcp_connections=6)


def not_proxy(folder):
    """A client that knows its proxy: absolute URIs and CONNECT."""
    def prepare(net):
        net.spawn("server", http_server, SERVER, 3128, say("proxied"))
        net.spawn("server", http_server, INTENDED, 80, say("orders"))
        net.spawn("server", name_server, SERVER, {"orders.example": [INTENDED]})

    def talk():
        lookup("orders.example")
        calls(INTENDED, 80, "orders.example", 1)
        for _ in range(3):
            connection = connect(SERVER, 3128)
            http_get(connection, "http://orders.example/order/1", "orders.example")
            connection.close()
        connection = connect(SERVER, 3128)
        connection.sendall(b"CONNECT orders.example:443 HTTP/1.1\r\nHost: orders.example:443\r\n\r\n")
        connection.recv(1000)
        connection.close()

    quiet(folder, "not-proxy", "A client speaks to a proxy as to a proxy.", prepare, talk, interface=None)


def not_virtual_hosts(folder):
    """Many names, two addresses in DNS, all right."""
    names = {f"site{number}.example": [INTENDED, OTHER] for number in range(6)}

    def prepare(net):
        net.spawn("server", http_server, "0.0.0.0", 80, say("site"))
        net.spawn("server", name_server, SERVER, names)

    def talk():
        for number, name in enumerate(names):
            lookup(name)
            calls([INTENDED, OTHER][number % 2], 80, name, 2)

    quiet(folder, "not-virtual-hosts", "Six names on two addresses, each in the names' DNS answers.", prepare, talk, interface=None, tcp_connections=12)


def not_hairpin(folder):
    """A service called by the host's own public name."""
    def prepare(net):
        net.spawn("client", http_server, "0.0.0.0", 80, say("self"))
        net.spawn("server", name_server, SERVER, {"me.example": [CLIENT]})

    def talk():
        lookup("me.example")
        calls(CLIENT, 80, "me.example", 3)

    quiet(folder, "not-hairpin", "A host calls a service of its own by its own address.", prepare, talk, tcp_connections=3)


if __name__ == "__main__":
    run_cases([sidecar_lo, sidecar_any, sidecar_port_snaplen, sidecar_ipv6_lo, dnat_elsewhere, redirect_some, datagrams_any, not_loopback, not_proxy, not_virtual_hosts,
               not_hairpin])
