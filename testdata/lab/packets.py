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


def twice(capture):
    """What a port mirrored in both directions makes of it: every frame twice, the second a microsecond later."""
    head, rest, frames = capture.file[:24], capture.file[24:], b""
    while rest:
        seconds, micros, length, full = struct.unpack("<IIII", rest[:16])
        frames += rest[:16 + length]
        seconds, micros = divmod(seconds * 1_000_000 + micros + 1, 1_000_000)
        frames += struct.pack("<IIII", seconds, micros, length, full) + rest[16:16 + length]
        rest = rest[16 + length:]
    capture.file = head + frames
    return capture


def unmarked_twice():
    """Nothing in these packets tells a second copy from a repeat: IPv6 has no identification."""
    capture = Capture()
    client, resolver, server = "2001:db8::1", "2001:db8::53", "2001:db8::2"

    def datagram(src, dst, payload):
        capture.write(capture.ipv6(src[0], dst[0], UDP, udp(src, dst, payload)))

    for number in range(20):
        asks, answers = (client, 40_000 + number), (resolver, 53)
        datagram(asks, answers, question(number, f"host{number}.example"))
        capture.wait(4)
        datagram(answers, asks, question(number, f"host{number}.example", True))
        one, other = (client, 50_000 + number), (server, 80)

        def send(way, flags, seq, ack, payload=b""):
            src, dst = (one, other) if way else (other, one)
            capture.write(capture.ipv6(src[0], dst[0], TCP, tcp(src, dst, flags, seq, ack, payload)))
            capture.wait(5)

        send(True, SYN, 100, 0)
        send(False, SYN | ACK, 500, 101)
        send(True, ACK, 101, 501)
        send(True, PSH | ACK, 101, 501, b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
        body = b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + bytes(2_000)
        send(False, ACK, 501, 136, body[:1_400])
        send(False, PSH | ACK, 1_901, 136, body[1_400:])
        end = 501 + len(body)
        send(True, ACK, 136, end)
        send(True, FIN | ACK, 136, end)
        send(False, FIN | ACK, end, 137)
        send(True, ACK, 137, end + 1)
        capture.wait(300)
    return twice(capture), "The recording holds every frame twice: nothing was sent again, and nothing lost.", []


def answers_first():
    """What a client sends lies in a queue that is written a millisecond late, times included."""
    capture = Capture()
    client, server, resolver = (CLIENT, 40_000), (SERVER, 80), (RESOLVER, 53)
    sent, now = [], 0

    def pass_(after, late, frame):
        nonlocal now
        now += after
        sent.append((now + (1.2 if late else 0), len(sent), frame))

    def send(way, flags, seq, ack, payload=b"", after=0.3):
        src, dst = (client, server) if way else (server, client)
        pass_(after, way, capture.ipv4(src[0], dst[0], TCP, tcp(src, dst, flags, seq, ack, payload)))

    for number in range(30):
        asks = (CLIENT, 50_000 + number)
        message = question(number, f"host{number}.example")
        pass_(200, True, capture.ipv4(CLIENT, RESOLVER, UDP, udp(asks, resolver, message)))
        message = question(number, f"host{number}.example", True)
        pass_(0.4, False, capture.ipv4(RESOLVER, CLIENT, UDP, udp(resolver, asks, message)))
    for number in range(8):
        client = (CLIENT, 41_000 + number)
        send(True, SYN, 100, 0, after=100)
        send(False, SYN | ACK, 500, 101)
        send(True, ACK, 101, 501)
        seq, ack = 501, 101
        for exchange in range(6):
            send(True, PSH | ACK, ack, seq, b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", after=20)
            ack += 35
            send(False, PSH | ACK, seq, ack, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
            seq += 41
            send(True, ACK, ack, seq)
        send(True, FIN | ACK, ack, seq, after=5)
        send(False, FIN | ACK, seq, ack + 1)
        send(True, ACK, ack + 1, seq + 1)
    begin = capture.now
    for at, _, frame in sorted(sent):
        capture.now = begin + round(at * 1000)
        capture.write(frame)
    return capture, "Two queues wrote the capture: answers stand before their questions, up to a millisecond. Nothing was lost or slow.", []


def link_still():
    """For 1.4 s nothing reaches the client; then all that waited comes at once."""
    capture = Capture()
    peers = [(f"198.51.100.{number}", 6_881) for number in range(1, 7)]
    own = (CLIENT, 6_881)

    def datagram(src, dst, payload):
        capture.write(capture.ipv4(src[0], dst[0], UDP, udp(src, dst, payload)))

    for number in range(12):
        for peer in peers:
            datagram(own, peer, b"ping%04d" % number + bytes(24))
            capture.wait(15)
            datagram(peer, own, b"pong%04d" % number + bytes(24))
            capture.wait(5)
        lookup(capture, number, f"host{number}.example")
    for peer in peers:
        datagram(own, peer, b"ping9999" + bytes(24))
        capture.wait(20)
    asks, answers = (CLIENT, 45_000), (RESOLVER, 53)
    datagram(asks, answers, question(77, "late.example"))
    capture.wait(1_300)
    datagram(asks, answers, question(77, "late.example"))
    for peer in peers:
        datagram(peer, own, b"pong9999" + bytes(24))
    datagram(answers, asks, question(77, "late.example", True))
    capture.wait(300)
    for number in range(20, 24):
        lookup(capture, number, f"host{number}.example")
    return capture, "The client's link stood still for a second: all that it had sent is answered at one moment, not the resolver's question alone.", []


def translated_resolver():
    """The gateway sends questions on to a resolver where no program listens; its errors quote what reached it."""
    capture = Capture()
    behind = "203.0.113.53"
    for number in range(3):
        client, gateway = (CLIENT, 40_000 + number), (RESOLVER, 53)
        for _ in range(2):
            datagram = udp(client, gateway, question(number, "a.example"))
            capture.write(capture.ipv4(CLIENT, RESOLVER, UDP, datagram))
            identification = capture.ids[CLIENT]
            moved = udp(client, (behind, 53), question(number, "a.example"))
            quoted = capture.ipv4(CLIENT, behind, UDP, moved, identification=identification, hop_limit=62)[14:]
            error = struct.pack(">BBHI", 3, 3, 0, 0) + quoted
            error = error[:2] + struct.pack(">H", 0xFFFF - ones(error)) + error[4:]
            capture.wait(20)
            capture.write(capture.ipv4(behind, CLIENT, 1, error))
            capture.wait(5_000)
    return capture, "The resolver behind the gateway refuses by ICMP, which quotes the address that the gateway put in.", [
        {"rule": "icmp-unreachable", "severity_at_least": "low"}]


def one_direction():
    """A tap of one direction: what comes back to the client is not there."""
    capture = Capture()

    def send(port, flags, seq, ack, payload=b""):
        src, dst = (CLIENT, 40_000 + port), (SERVER, 80)
        capture.write(capture.ipv4(CLIENT, SERVER, TCP, tcp(src, dst, flags, seq, ack, payload)))

    for port in range(6):
        send(port, SYN, 100, 0)
        if port % 3 == 1:
            # Its SYN-ACKs came late, or were lost: the client asks again, and is answered at last.
            for pause in (1_000, 2_000, 4_000):
                capture.wait(pause)
                send(port, SYN, 100, 0)
            continue
        capture.wait(20)
        send(port, ACK, 101, 501)
        send(port, PSH | ACK, 101, 501, b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
        capture.wait(40)
        send(port, ACK, 136, 1_541)
        send(port, FIN | ACK, 136, 1_541)
        if port == 5:
            # It refuses a late segment of an older connection, and goes on.
            send(7, SYN, 900, 0)
            capture.wait(10)
            send(7, RST, 901, 0)
            capture.wait(1_000)
            send(7, SYN, 900, 0)
            capture.wait(10)
            send(7, ACK, 901, 501)
            send(7, PSH | ACK, 901, 501, b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
    return capture, "Only what the client sends was captured: which SYNs were answered, and what its RST refuses, is not known.", []


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


def fragments_uncaptured():
    """The capture misses fragments that arrived: what they are part of is answered like the rest."""
    capture = Capture()
    client, server = (CLIENT, 5_000), (SERVER, 9_300)
    for number in range(60):
        whole = udp(client, server, struct.pack(">I", number) + bytes(1_988))
        for flags, part in ((0x2000, whole[:1480]), (185, whole[1480:])):
            if number % 15 != 7 or flags == 0x2000:
                capture.write(capture.ipv4(CLIENT, SERVER, UDP, part, flags, 100 + number))
        capture.wait(3)
        capture.write(capture.ipv4(SERVER, CLIENT, UDP, udp(server, client, struct.pack(">I", number) + b"done")))
        capture.wait(100)
    return capture, "The capture misses some fragments; their datagrams arrived, for each is answered.", []


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
    "capture-quality/acks-written-first": acks_first,
    "capture-quality/answers-written-first": answers_first,
    "capture-quality/counted-padding": counted_padding,
    "capture-quality/damaged-questions": damaged_questions,
    "capture-quality/every-frame-twice": unmarked_twice,
    "capture-quality/offloaded-questions": offloaded_questions,
    "dns-failure/not-link-still": link_still,
    "icmp-unreachable/translated-resolver": translated_resolver,
    "ip-fragment-loss/not-captured": fragments_uncaptured,
    "ip-fragment-loss/not-such-as-a-network-makes": fragments,
    "ip-fragment-loss/reassembly-timeout-ipv6": reassembly_timeout,
    "syn-unanswered/not-one-direction": one_direction,
}


# Limits of the capture that are to be told.
LIMITS = {
    "acks-written-first": ["capture-disorder"],
    "answers-written-first": ["capture-disorder"],
    "damaged-questions": ["bad-checksum"],
    "every-frame-twice": ["duplicate-frames"],
}


# What one direction of the capture by itself shows: questions asked again, and no answer of anybody.
MAY = {"not-link-still": ["dns-failure"], "translated-resolver": ["dns-failure"]}


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
            "expect": {"findings": findings, "may": MAY.get(path.name, []), "none_at_or_above": "medium"},
            "made": "testdata/lab/packets.py",
            "story": story,
        }
        if path.parent.name == "capture-quality":
            truth["quality"] = LIMITS.get(path.name, [])
        path.with_suffix(".json").write_text(json.dumps(truth, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
