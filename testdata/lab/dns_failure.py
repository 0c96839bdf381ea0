#!/usr/bin/env python3
"""Captures of name servers that fail, of datagrams that lose a fragment, and of ports that nobody serves.

    sudo python3 testdata/lab/dns_failure.py OUTPUT_FOLDER [CASE...]

Makes the captures of dns-failure, ip-fragment-loss and icmp-unreachable.
"""
import contextlib
import os
import random
import select
import socket
import struct
import time

from actors import compress, connect, http_get, http_ok, http_server, run_cases
from asymmetric_path import A, Routed
from asymmetric_path import SERVER as FAR
from net import SERVER, SERVER6, Net, endpoint, write_truth
from relay import Way, Wire

NOERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5


def place(folder, kind, name):
    return os.path.join(folder, kind, name + ".pcap")


def udp(address):
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)


def name_server(address, judge):
    """Answers A questions: `judge(name) -> response code, None (no answer) or (code, seconds)`."""
    server = udp(address)
    server.bind((address, 53))
    while True:
        question, client = server.recvfrom(4096)
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1 : at + 1 + question[at]].decode())
            at += 1 + question[at]
        verdict = judge(".".join(labels))
        if verdict is None:
            continue
        answers = 1 if verdict == NOERROR else 0
        record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + bytes([192, 0, 2, 7])
        server.sendto(question[:2] + struct.pack("!5H", 0x8180 | verdict, 1, answers, 0, 0) + question[12 : at + 5] + record * answers, client)


def ask(address, name, identifier, tries=2, wait_s=0.6):
    """A resolver: asks, and asks again from the same socket; gives its endpoint and the response code or None."""
    client = udp(address)
    client.connect((address, 53))
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    code = None
    for _ in range(tries):
        client.send(struct.pack("!6H", identifier, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1")
        if select.select([client], [], [], wait_s)[0]:
            code = client.recv(4096)[3] & 15
            break
    return endpoint(client.getsockname()), code


def dns_case(folder, name, story, judge, names, failed, address=SERVER, finds=True, side="client", severity="medium"):
    path = place(folder, "dns-failure", name)
    with Net() as net:
        net.spawn("server", name_server, address, judge)

        def talk():
            return [ask(address, one, 1000 + number) for number, one in enumerate(names)]

        with net.capture(side, path):
            results = net.call("client", talk)
    findings = []
    if finds:
        bad = [client for client, code in results if failed(code)]
        findings = [{"rule": "dns-failure", "transport": "udp", "connections": [(client, endpoint((address, 53))) for client in bad],
                     "severity_at_least": severity, "figures": {"failures": (len(bad), 0)}}]
    write_truth(path, story, f"testdata/lab/dns_failure.py, {len(names)} questions", findings, capture_point=side)
    compress(path)


def servfail(folder):
    names = [f"host{number}.{'broken' if number % 3 == 0 else 'fine'}.example" for number in range(24)]
    dns_case(folder, "servfail", "Names of one zone get SERVFAIL.", lambda name: SERVFAIL if "broken" in name else NOERROR, names, lambda code: code == SERVFAIL)


def unanswered_ipv6(folder):
    names = [f"host{number}.{'gone' if number in (5, 11, 12) else 'fine'}.example" for number in range(16)]
    dns_case(folder, "unanswered-ipv6", "Three questions and their repetitions get no answer, over IPv6.", lambda name: None if "gone" in name else NOERROR, names,
             lambda code: code is None, address=SERVER6)


def not_search_list(folder):
    names = [one for number in range(8) for one in (f"api{number}.example.ns.svc.cluster.local", f"api{number}.example.svc.cluster.local", f"api{number}.example.cluster.local",
                                                    f"api{number}.example")]
    dns_case(folder, "not-search-list", "A resolver tries its search list: NXDOMAIN before every answer.", lambda name: NXDOMAIN if name.endswith(".local") else NOERROR, names,
             None, finds=False)


def not_healthy(folder):
    dns_case(folder, "not-healthy", "Everything is answered.", lambda name: NOERROR, [f"host{number}.example" for number in range(30)], None, finds=False, side="server")


def fragments(folder, name, story, drop_share, size, finds, seed=6, side="server"):
    path, draw = place(folder, "ip-fragment-loss", name), random.Random(seed)
    lost = {number for number in range(30) if draw.random() < drop_share}
    counter = {"number": -1}

    def choose(frame):
        # The first fragment bears the ports; the ones behind it do not.
        if frame.protocol == "udp":
            counter["number"] += 1
        return "drop" if frame.protocol == "fragment" and counter["number"] in lost and frame.payload_len < 1400 else None

    with Net(Wire(up=Way(delay_ms=2, choose=choose), down=Way(delay_ms=2))) as net:
        def serve():
            server = udp(SERVER)
            server.bind((SERVER, 9300))
            while True:
                data, client = server.recvfrom(65535)
                server.sendto(data[:4], client)

        def talk():
            client = udp(SERVER)
            client.connect((SERVER, 9300))
            for number in range(30):
                client.send(struct.pack("!I", number) + draw.randbytes(size - 4))
                if select.select([client], [], [], 0.1)[0]:
                    client.recv(100)
            return endpoint(client.getsockname())

        net.spawn("server", serve)
        with net.capture(side, path, snaplen=200):
            client = net.call("client", talk)
    findings = []
    if finds:
        findings = [{"rule": "ip-fragment-loss", "transport": "udp", "connections": [(client, endpoint((SERVER, 9300)))], "severity_at_least": "medium",
                     "figures": {"datagrams": (len(lost), 0), "fragments_missing": (len(lost), 0)}}]
    write_truth(path, story, f"testdata/lab/dns_failure.py, 30 datagrams of {size} octets", findings, capture_point=side)
    compress(path)


def last_fragment_lost(folder):
    fragments(folder, "last-fragment-lost", "The last fragment of some datagrams of 4000 octets never arrives.", 0.3, 4000, True)


def not_whole(folder):
    fragments(folder, "not-whole", "Every fragment arrives.", 0.0, 5000, False)


def answers_filtered(folder):
    """A device drops every fragment behind the first: small answers pass, large ones never do, and the client's kernel says what it waits for."""
    path = place(folder, "ip-fragment-loss", "answers-filtered-client")
    sizes = [(120, 3000)[number % 3 == 0] for number in range(24)]
    large = sum(size > 1400 for size in sizes)

    def serve():
        server = udp(SERVER)
        server.bind((SERVER, 9300))
        while True:
            data, client = server.recvfrom(65535)
            server.sendto(data[:4] + bytes(int.from_bytes(data[4:6], "big")), client)

    def talk():
        client = udp(SERVER)
        client.connect((SERVER, 9300))
        for number, size in enumerate(sizes):
            client.send(struct.pack("!IH", number, size))
            if select.select([client], [], [], 0.15)[0]:
                client.recv(65535)
        time.sleep(2.5)
        return endpoint(client.getsockname())

    with Net(Wire(up=Way(delay_ms=2), down=Way(delay_ms=2, choose=lambda frame: "drop" if frame.protocol == "fragment" else None))) as net:
        net.sysctl("client", "net.ipv4.ipfrag_time", 1)
        net.spawn("server", serve)
        with net.capture("client", path, snaplen=200):
            client = net.call("client", talk)
        # The kernel limits how often it complains; of what it says nothing, the capture filter may be the reason.
        reported = net.counters("client")["IcmpOutTimeExcds"]
    write_truth(path, "A device drops all fragments behind the first: a service's small answers arrive, those of 3,000 bytes never do.",
                f"testdata/lab/dns_failure.py, 24 requests, {large} large answers",
                [{"rule": "ip-fragment-loss", "transport": "udp", "connections": [(client, endpoint((SERVER, 9300)))], "severity_at_least": "medium",
                  "figures": {"datagrams": (reported, 0)}}], may=["udp-truncation", "udp-unanswered"], capture_point="client")
    compress(path)


def not_in_order(folder):
    """The first fragment of some datagrams comes last, a quarter of a second behind the others; recorded at the client, answers too are large."""
    path = place(folder, "ip-fragment-loss", "not-in-order")
    count = {"first": 0}

    def choose(frame):
        if frame.protocol != "udp":
            return None
        count["first"] += 1
        return ("delay", 250) if count["first"] % 3 == 0 else None

    def serve():
        server = udp(SERVER)
        server.bind((SERVER, 9300))
        while True:
            data, client = server.recvfrom(65535)
            server.sendto(data, client)

    def talk():
        client = udp(SERVER)
        client.connect((SERVER, 9300))
        for number in range(15):
            client.send(struct.pack("!I", number) * 900)
            client.recv(65535)

    with Net(Wire(up=Way(delay_ms=2), down=Way(delay_ms=2, choose=choose))) as net:
        net.spawn("server", serve)
        with net.capture("client", path, snaplen=200):
            net.call("client", talk)
    write_truth(path, "The first fragment of every third answer arrives 250 ms after the others; every answer arrives whole.",
                "testdata/lab/dns_failure.py, 15 datagrams of 3600 octets", capture_point="client")
    compress(path)


def icmp_case(folder, name, story, talk, findings, side="client", may=()):
    path = place(folder, "icmp-unreachable", name)
    with Net() as net:
        with net.capture(side, path):
            ends = net.call("client", talk)
    write_truth(path, story, "testdata/lab/dns_failure.py", findings(ends), may=may, capture_point=side)
    compress(path)


def closed_port(folder):
    def talk():
        client = udp(SERVER)
        client.connect((SERVER, 8125))
        for number in range(12):
            try:
                client.send(b"metric.%d:1|c" % number)
            except ConnectionRefusedError:
                pass
            time.sleep(0.25)  # The kernel limits how often it complains.
        return endpoint(client.getsockname())

    icmp_case(folder, "closed-port", "Metrics go to a UDP port that nobody serves.", talk, lambda client: [
        {"rule": "icmp-unreachable", "transport": "udp", "connections": [(client, endpoint((SERVER, 8125)))], "severity_at_least": "low", "figures": {}}])


def not_traceroute(folder):
    def talk():
        for hop in range(3):
            for probe in range(3):
                client = udp(SERVER)
                client.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hop + 1)
                client.sendto(bytes(32), (SERVER, 33434 + hop * 3 + probe))
                time.sleep(0.05)

    icmp_case(folder, "not-traceroute", "A traceroute: its probes are meant to draw errors.", talk, lambda _: [])


def prohibited(folder):
    """A router rejects what goes to a network, by RFC 1812 §5.2.7.1; another service on the same router's far side works."""
    path = place(folder, "icmp-unreachable", "prohibited-by-router")

    def metrics():
        ends = []
        for number in range(4):
            client = udp(FAR)
            client.connect((FAR, 8125))
            for count in range(3):
                with contextlib.suppress(OSError):
                    client.send(b"metric.%d:%d|c" % (number, count))
                time.sleep(0.25)
            ends.append((endpoint(client.getsockname()), endpoint((FAR, 8125))))
        connection = connect(FAR, 8080)
        for number in range(4):
            http_get(connection, f"/item/{number}", "shop.example")
        connection.close()
        return ends

    with Routed(A, A) as net:
        net.exec("a", "iptables", "-A", "FORWARD", "-p", "udp", "--dport", "8125", "-j", "REJECT", "--reject-with", "icmp-admin-prohibited")
        net.spawn("server", http_server, FAR, 8080, lambda *_: http_ok(b"fine"))
        with net.capture("client", path, expression="ip"):
            ends = net.call("client", metrics)
    write_truth(path, "A router rejects metrics of four sockets as administratively prohibited; HTTP passes it.", "testdata/lab/dns_failure.py, iptables REJECT",
                [{"rule": "icmp-unreachable", "transport": "udp", "connections": ends, "severity_at_least": "medium", "figures": {}}], capture_point="client")
    compress(path)


def not_late_answers(folder):
    """A client asks two resolvers at once, takes the first answer and closes: the second one's answer finds no port."""
    path = place(folder, "icmp-unreachable", "not-late-answers")

    def race():
        for number in range(10):
            client = udp(SERVER)
            for port in (9301, 9302):
                client.sendto(b"who is host%d" % number, (SERVER, port))
            client.recv(100)
            client.close()
            time.sleep(0.3)

    def serve(port, after_s):
        server = udp(SERVER)
        server.bind((SERVER, port))
        while True:
            data, client = server.recvfrom(4096)
            time.sleep(after_s)
            server.sendto(b"192.0.2.7 for " + data, client)

    with Net() as net:
        net.spawn("server", serve, 9301, 0.004)
        net.spawn("server", serve, 9302, 0.060)
        with net.capture("client", path):
            net.call("client", race)
    write_truth(path, "A client asks two servers at once and closes its port at the first answer; its kernel refuses the second.", "testdata/lab/dns_failure.py",
                none_at_or_above="low", capture_point="client")
    compress(path)


if __name__ == "__main__":
    run_cases([servfail, unanswered_ipv6, not_search_list, not_healthy, last_fragment_lost, not_whole, answers_filtered, not_in_order,
               closed_port, prohibited, not_traceroute, not_late_answers])
