#!/usr/bin/env python3
"""Captures of name servers that fail, of datagrams that lose a fragment, and of ports that nobody serves.

    sudo python3 testdata/lab/dns_failure.py OUTPUT_FOLDER [CASE...]

Makes the captures of dns-failure, ip-fragment-loss and icmp-unreachable.
"""
import os
import random
import select
import socket
import struct
import time

from actors import compress, run_cases
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


if __name__ == "__main__":
    run_cases([servfail, unanswered_ipv6, not_search_list, not_healthy, last_fragment_lost, not_whole, closed_port, not_traceroute])
