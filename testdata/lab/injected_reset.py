#!/usr/bin/env python3
"""Resets forged by a device on the path, and real ones.

    sudo python3 testdata/lab/injected_reset.py OUTPUT_FOLDER

A process in the server's namespace plays the device: it sees the requests (AF_PACKET) and sends a RST in the server's name to
the client, with a hop limit of its own (raw socket). The truth is what it sent.
"""
import contextlib
import os
import socket
import struct
import sys
import time

from net import CLIENT, SERVER, Net, pair
from parts import LINGER_ZERO, REQUEST, Book, answer, connect, lab_name, listener, points, read_request, read_response, serve, together, truths
from relay import Way, Wire, parse

MADE = lab_name(__file__)
TCP_REPAIR = 19


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def forged(source, destination, ports, seq, ack, ttl):
    """An IPv4 packet with a RST."""
    flags = 0x14 if ack else 0x04
    tcp = struct.pack("!HHIIBBHHH", *ports, seq, ack, 5 << 4, flags, 0, 0, 0)
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    total = checksum(addresses + struct.pack("!BBH", 0, 6, len(tcp)) + tcp)
    tcp = tcp[:16] + struct.pack("!H", total) + tcp[18:]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0x4242, 0, ttl, 6, 0) + addresses
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + tcp


def device(book, word, ttl, with_ack):
    """Resets every connection whose request contains `word`, in the server's name."""
    listening = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    listening.bind(("eth0", 0))
    out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    while True:
        raw = listening.recv(70000)
        frame = parse("up", raw)
        if frame is None or frame.protocol != "tcp" or word not in frame.payload or frame.destination.split(":")[0] != SERVER:
            continue
        client_port, server_port = (int(end.rsplit(":", 1)[1]) for end in (frame.source, frame.destination))
        next_seq = (frame.seq + frame.payload_len) % 2**32
        out.sendto(forged(SERVER, CLIENT, (server_port, client_port), frame.ack, next_seq if with_ack else 0, ttl), (CLIENT, 0))
        book.write(frame.source, ttl)


def shop(connection, _peer):
    try:
        while read_request(connection):
            time.sleep(0.03)
            connection.sendall(answer(b"item" * 300))
    except ConnectionError:
        pass
    connection.close()


def browse(index):
    time.sleep(0.05 * index)
    connection = connect(SERVER, 8080)
    ends = pair(connection)
    try:
        for path in (b"/a", b"/b", b"/banned" if index % 2 else b"/c"):
            connection.sendall(b"GET %s HTTP/1.1\r\nHost: shop.example\r\n\r\n" % path)
            result = "answered" if read_response(connection) else "end of file"
    except ConnectionError:
        result = "reset"
    connection.close()
    return ends, result


def run(folder, case, point, ttl, with_ack, wire):
    book = Book()
    with Net(wire) as net:
        net.spawn("server", serve, SERVER, 8080, shop)
        net.spawn("server", device, book, b"banned", ttl, with_ack)
        with points(net, folder, case, point) as paths:
            seen = net.call("client", lambda: together(8, browse))
            time.sleep(0.3)
    lost = [ends for ends, result in seen if result != "answered"]
    assert {ends[0] for ends in lost} == {line[0] for line in book.lines()}
    truths(paths, "A device at the server resets connections whose request it does not like, in the server's name; the server answers all the same.",
           f"{MADE}: raw RST with hop limit {ttl}, ACK bit {'set' if with_ack else 'clear'}",
           findings=[{"rule": "injected-reset", "occurrences": len(lost), "connections": lost, "figures": {
               "ttl_expected": (64, 0), "ttl_seen": (ttl, 0)}}], tcp_connections=8)


def other_hop_limit(folder):
    run(folder, "other-hop-limit", "client", 243, True, Wire(Way(delay_ms=5), Way(delay_ms=5)))


def bare(folder):
    run(folder, "bare-rst", "server", 58, False, Wire(Way(delay_ms=2), Way(delay_ms=2)))


def real_reset(folder):
    """Every packet of the client's host bears another hop limit from the middle on (a route changes), then a real reset comes."""
    def rude(connection, _peer):
        for _ in range(3):
            read_request(connection)
            connection.sendall(answer(b"item" * 300))
        connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 52)
        for _ in range(3):
            read_request(connection)
            connection.sendall(answer(b"item" * 300))
        time.sleep(0.3)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        connection.close()
    with Net() as net:
        net.spawn("server", serve, SERVER, 8080, rude)

        def ask(index):
            connection = connect(SERVER, 8080)
            ends = pair(connection)
            for number in range(6):
                connection.sendall(REQUEST % number)
                read_response(connection)
            time.sleep(0.6)
            connection.close()
            return ends
        with points(net, folder, "route-change-then-reset", "client") as paths:
            ends = net.call("client", lambda: together(3, ask))
    truths(paths, "The path to the server changes by twelve hops in the middle of three connections, which the server later ends with SO_LINGER 0.",
           f"{MADE}: IP_TTL 52 after three exchanges",
           findings=[{"rule": "linger-zero-reset", "occurrences": 3, "connections": ends, "severity_at_least": "low"}], tcp_connections=3)


def not_from_a_dead_socket(folder):
    """The server's program sends with the hop limit 255, as RFC 5082 asks of routing protocols; its host forgets the connection, and its
    kernel refuses what comes with its own 64."""
    def protected(listening):
        listening.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
        held = [listening.accept()[0] for _ in range(3)]
        for _ in range(4):
            for connection in held:
                connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
                read_request(connection)
                connection.sendall(answer(b"route" * 100))
        for connection in held:
            connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
            connection.close()
        time.sleep(60)

    def ask(_index):
        connection = connect(SERVER, 8080)
        for number in range(4):
            connection.sendall(REQUEST % number)
            read_response(connection)
            time.sleep(0.2)
        time.sleep(0.5)
        with contextlib.suppress(ConnectionError):
            connection.sendall(REQUEST % 5)
            read_response(connection)
        connection.close()

    with Net(Wire(Way(delay_ms=2), Way(delay_ms=2))) as net:
        net.spawn("server", lambda: protected(listener(SERVER, 8080)))
        with points(net, folder, "not-from-a-dead-socket", "client") as paths:
            net.call("client", lambda: together(3, ask))
    truths(paths, "A program sends with hop limit 255; its host loses three connections without a word, and its kernel answers what comes for them with RST and hop limit 64.",
           f"{MADE}: IP_TTL 255, TCP_REPAIR close", may=["half-open", "linger-zero-reset", "keepalive-race"], tcp_connections=3)


if __name__ == "__main__":
    target = os.path.join(sys.argv[1], "injected-reset")
    only = sys.argv[2:]
    for scenario in (other_hop_limit, bare, real_reset, not_from_a_dead_socket):
        if not only or scenario.__name__ in only:
            print(scenario.__name__, flush=True)
            scenario(target)
