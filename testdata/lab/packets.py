#!/usr/bin/env python3
"""Captures written packet by packet: what no real stack sends, and what no lab can be made to capture.

    python3 testdata/lab/packets.py DIR [CASE...]    writes DIR/<folder>/<case>.pcap and its truth file

Takes nothing but Python, and gives the same bytes whenever it runs.
"""
import ipaddress, json, pathlib, struct, sys

CLIENT, SERVER, RESOLVER = "10.9.0.1", "10.9.0.2", "10.9.0.53"
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
UDP, TCP, ICMPV6, FRAGMENT = 17, 6, 58, 44


def ones(octets):
    """The one's complement sum (RFC 1071)."""
    octets += b"\0" * (len(octets) % 2)
    total = sum(struct.unpack(f">{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


class Capture:
    """A classic capture with microseconds."""

    def __init__(self):
        self.file = struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)
        self.now = 1_700_000_000_000_000
        self.ids = {}

    def wait(self, ms):
        self.now += round(ms * 1000)

    def write(self, frame):
        self.now += 20
        seconds, micros = divmod(self.now, 1_000_000)
        self.file += struct.pack("<IIII", seconds, micros, len(frame), len(frame)) + frame

    def ipv4(self, src, dst, protocol, payload, flags=0x4000, identification=None, hop_limit=64, tos=0):
        """An IPv4 packet with its Ethernet header; `flags` with the offset in its low bits."""
        if identification is None:
            identification = self.ids[src] = self.ids.get(src, 0) + 1
        ends = ipaddress.ip_address(src).packed + ipaddress.ip_address(dst).packed
        head = struct.pack(">BBHHHBB", 0x45, tos, 20 + len(payload), identification, flags, hop_limit, protocol)
        check = 0xFFFF - ones(head + b"\0\0" + ends)
        return b"\2\0\0\0\0\2\2\0\0\0\0\1\x08\0" + head + struct.pack(">H", check) + ends + payload

    def ipv6(self, src, dst, protocol, payload):
        ends = ipaddress.ip_address(src).packed + ipaddress.ip_address(dst).packed
        head = struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64)
        return b"\2\0\0\0\0\2\2\0\0\0\0\1\x86\xdd" + head + ends + payload


def summed(src, dst, protocol, segment, at, offloaded=False):
    """A transport's packet with its checksum, or with what a network card is to complete."""
    ends = ipaddress.ip_address(src).packed + ipaddress.ip_address(dst).packed
    pseudo = ends + struct.pack(">II", len(segment), protocol)
    check = ones(pseudo) if offloaded else 0xFFFF - ones(pseudo + segment)
    return segment[:at] + struct.pack(">H", check) + segment[at + 2:]


def udp(src, dst, payload, offloaded=False):
    (src, sport), (dst, dport) = src, dst
    datagram = struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload
    return summed(src, dst, UDP, datagram, 6, offloaded)


def tcp(src, dst, flags, seq, ack, payload=b"", offloaded=False, stamps=None, window=64240, extra=b""):
    (src, sport), (dst, dport) = src, dst
    options = bytes([2, 4, 5, 180]) if flags & SYN else b""
    if stamps:
        options += struct.pack(">BBBBII", 1, 1, 8, 10, *stamps)
    options += extra
    words = 5 + len(options) // 4
    head = struct.pack(">HHIIBBHHH", sport, dport, seq, ack, words << 4, flags, window, 0, 0)
    return summed(src, dst, TCP, head + options + payload, 16, offloaded)


def question(number, name, answer=False):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    flags, count = (0x8180, 1) if answer else (0x0100, 0)
    message = struct.pack(">HHHHHH", number, flags, 1, count, 0, 0) + labels + b"\0\0\1\0\1"
    return message + (b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\1" if answer else b"")


def lookup(capture, number, name, answered=True, offloaded=False):
    client, resolver = (CLIENT, 40_000 + number), (RESOLVER, 53)
    capture.write(capture.ipv4(CLIENT, RESOLVER, UDP, udp(client, resolver, question(number, name), offloaded)))
    capture.wait(3)
    if answered:
        capture.write(capture.ipv4(RESOLVER, CLIENT, UDP, udp(resolver, client, question(number, name, True))))
    capture.wait(200)


def damaged_questions():
    capture = Capture()
    for number in range(40):
        lookup(capture, number, f"host{number}.example")
        if number % 6 == 5:
            # What an interface with a fault makes of a packet: one octet of it is another one.
            client, resolver = (CLIENT, 50_000 + number), (RESOLVER, 53)
            frame = bytearray(capture.ipv4(CLIENT, RESOLVER, UDP, udp(client, resolver, question(number, "lost.example"))))
            frame[[14 + 18, 14 + 22][number // 6 % 2]] ^= 0x51 + number
            capture.write(bytes(frame))
    return capture, "Questions that a faulty interface damaged ask nobody: no such resolver exists.", []


def offloaded_questions():
    capture = Capture()
    for number in range(30):
        lookup(capture, number, f"host{number}.example", number % 3 > 0, offloaded=True)
        if number % 3 == 0:
            capture.wait(5_000)
            lookup(capture, number, f"host{number}.example", False, offloaded=True)
    return capture, "The network card completes the client's checksums: its questions are real ones, a third of them unanswered.", [
        {"rule": "dns-failure", "severity_at_least": "medium"}]


def fragments():
    """Datagrams in two pieces that arrive whole, and pieces that no network makes."""
    capture = Capture()
    pair = ((CLIENT, 5_000), (SERVER, 9_300))
    for number in range(3):
        whole = udp(*pair, bytes(1_992))
        for flags, part in ((0x2000, whole[:1480]), (185, whole[1480:])):
            capture.write(capture.ipv4(CLIENT, SERVER, UDP, part, flags, 100 + number))
        capture.wait(500)
    # The second lies within the first (teardrop); the datagram is all in the first.
    one = udp((CLIENT, 31_915), (SERVER, 20_197), bytes(28))
    capture.write(capture.ipv4(CLIENT, SERVER, UDP, one, 0x2000, 242))
    capture.write(capture.ipv4(CLIENT, SERVER, UDP, one[24:28], 3, 242))
    # More fragments follow, says the flag alone: the length that UDP states is there.
    capture.write(capture.ipv4(CLIENT, SERVER, UDP, udp((CLIENT, 5_001), (SERVER, 9_300), bytes(592)), 0x2000, 243))
    # Not to be fragmented, and a fragment; and pieces shorter than any network makes.
    long = udp((CLIENT, 5_002), (SERVER, 9_300), bytes(1_992))
    capture.write(capture.ipv4(CLIENT, SERVER, UDP, long[:1480], 0x6000, 244))
    capture.write(capture.ipv4(CLIENT, SERVER, UDP, long[:24], 0x2000, 245))
    # Another host's: the capture takes none of its later pieces.
    capture.write(capture.ipv4("10.9.0.7", SERVER, UDP, udp(("10.9.0.7", 5_003), (SERVER, 9_300), bytes(1_992))[:1480], 0x2000, 7))
    capture.wait(40_000)
    for number in range(20):
        lookup(capture, number, f"host{number}.example")
    return capture, "Pieces that overlap, contradict themselves or are complete are no lost fragments.", []


def reassembly_timeout():
    capture = Capture()
    client, server = ("2001:db8::1", 5_000), ("2001:db8::2", 9_300)
    for number in range(3):
        whole = udp(client, server, bytes(1_992))
        first = struct.pack(">BBHI", UDP, 0, 1, 100 + number) + whole[:1_232]
        capture.write(capture.ipv6(client[0], server[0], FRAGMENT, first))
        last = struct.pack(">BBHI", UDP, 0, 1_232, 100 + number) + whole[1_232:]
        capture.write(capture.ipv6(client[0], server[0], FRAGMENT, last))
        capture.wait(60_000)
        quoted = capture.ipv6(client[0], server[0], FRAGMENT, first)[14:][:1_232]
        error = summed(server[0], client[0], ICMPV6, struct.pack(">BBHI", 3, 1, 0, 0) + quoted, 2)
        capture.write(capture.ipv6(server[0], client[0], ICMPV6, error))
        capture.wait(1_000)
    return capture, "At the sender all fragments are seen; the receiver says by ICMPv6 that some did not come.", [
        {"rule": "ip-fragment-loss", "severity_at_least": "medium", "figures": {"datagrams": {"value": 3, "tolerance": 0}}}]


def acks_first():
    """A download whose acknowledgements another queue wrote, now and then before what they acknowledge."""
    capture = Capture()
    client, server = (CLIENT, 40_000), (SERVER, 80)
    sent = []

    def send(way, flags, seq, ack, payload=b""):
        src, dst = (client, server) if way else (server, client)
        sent.append(capture.ipv4(src[0], dst[0], TCP, tcp(src, dst, flags, seq, ack, payload)))

    send(True, SYN, 100, 0)
    send(False, SYN | ACK, 500, 101)
    send(True, ACK, 101, 501)
    send(True, PSH | ACK, 101, 501, b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
    seq, ack = 501, 136
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 43440\r\n\r\n"
    body = head + bytes(43_440)
    for at in range(0, len(body), 1448):
        part = body[at:at + 1448]
        send(False, ACK, seq, ack, part)
        seq += len(part)
        send(True, ACK, ack, seq)
        if at // 1448 % 5 == 4:
            sent[-2:] = reversed(sent[-2:])
    send(True, FIN | ACK, ack, seq)
    send(False, FIN | ACK, seq, ack + 1)
    send(True, ACK, ack + 1, seq + 1)
    for frame in sent:
        capture.wait(0.2)
        capture.write(frame)
    return capture, "Two queues wrote the capture: some acknowledgements stand before what they acknowledge. Nothing was lost.", []


def counted_padding():
    """A device that counts the padding of short frames into the IP packet, but not into the checksum."""
    capture = Capture()
    client, server = (CLIENT, 40_000), (SERVER, 502)

    def send(way, flags, seq, ack, payload=b""):
        src, dst = (client, server) if way else (server, client)
        segment = tcp(src, dst, flags, seq, ack, payload)
        padding = b"" if way else bytes(max(0, 26 - len(segment)))
        capture.write(capture.ipv4(src[0], dst[0], TCP, segment + padding))
        capture.wait(2)

    send(True, SYN, 100, 0)
    send(False, SYN | ACK, 500, 101)
    send(True, ACK, 101, 501)
    for number in range(20):
        seq, ack = 101 + 12 * number, 501 + 40 * number
        send(True, PSH | ACK, seq, ack, bytes([0, number, 0, 0, 0, 6, 1, 3, 0, 0, 0, 1]))
        send(False, ACK, ack, seq + 12)
        send(False, PSH | ACK, ack, seq + 12, bytes([number] * 40))
        send(True, ACK, seq + 12, ack + 40)
        capture.wait(100)
    send(True, FIN | ACK, 341, 1301)
    send(False, FIN | ACK, 1301, 342)
    send(True, ACK, 342, 1302)
    return capture, "The zeros behind the device's acknowledgements are padding of their frames: no octet was sent twice.", []


CASES = {
    "capture-quality/counted-padding": counted_padding,
    "capture-quality/damaged-questions": damaged_questions,
    "capture-quality/offloaded-questions": offloaded_questions,
    "capture-quality/acks-written-first": acks_first,
    "ip-fragment-loss/not-such-as-a-network-makes": fragments,
    "ip-fragment-loss/reassembly-timeout-ipv6": reassembly_timeout,
}


# Limits of the capture that are to be told.
LIMITS = {"damaged-questions": ["bad-checksum"], "acks-written-first": ["capture-disorder"]}


def write_cases(cases, made, folder, *wanted):
    """Writes captures and truth files of `cases`, all or those whose last name is wanted."""
    for name, make in cases.items():
        if wanted and name.split("/")[1] not in wanted:
            continue
        capture, story, findings, may = make()
        path = pathlib.Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".pcap").write_bytes(capture.file)
        truth = {
            "capture_point": "client",
            "expect": {"findings": findings, "may": may, "none_at_or_above": "medium"},
            "made": made,
            "story": story,
        }
        path.with_suffix(".json").write_text(json.dumps(truth, indent=1, sort_keys=True) + "\n")


def main(folder, *wanted):
    for name, make in CASES.items():
        if wanted and name.split("/")[1] not in wanted:
            continue
        capture, story, findings = make()
        path = pathlib.Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".pcap").write_bytes(capture.file)
        truth = {
            "capture_point": "client",
            "expect": {"findings": findings, "may": [], "none_at_or_above": "medium"},
            "made": "testdata/lab/packets.py",
            "story": story,
        }
        if path.parent.name == "capture-quality":
            truth["quality"] = LIMITS.get(path.name, [])
        path.with_suffix(".json").write_text(json.dumps(truth, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
