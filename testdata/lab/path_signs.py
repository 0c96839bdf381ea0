#!/usr/bin/env python3
"""Captures of what routers, devices and small stacks do to connections, and of what looks like it.

    python3 testdata/lab/path_signs.py DIR [CASE...]    writes DIR/<rule>/<case>.pcap and its truth file

Written packet by packet, like those of packets.py: takes nothing but Python, and gives the same bytes whenever it runs.
"""
import struct, sys

from contradictions import ANSWER, REQUEST, ends
from packets import ACK, CLIENT, FIN, PSH, RESOLVER, RST, SERVER, SYN, TCP, UDP, Capture, ones, question, tcp, udp, write_cases

ICMP, ROUTER = 1, "10.9.0.254"
ECE, CWR, CE, ECT = 0x40, 0x80, 3, 2
SCALE = bytes([1, 3, 3, 0])
SACK_PERMITTED = bytes([1, 1, 4, 2])


class Stream:
    """One TCP connection with window scaling and SACK agreed on."""

    def __init__(self, capture, port=40_000, server=(SERVER, 80)):
        self.capture, self.client, self.server = capture, (CLIENT, port), server

    def send(self, way, flags, seq, ack, payload=b"", wait=5.0, window=64240, extra=b"", tos=0, hop_limit=64):
        src, dst = (self.client, self.server) if way else (self.server, self.client)
        segment = tcp(src, dst, flags & 0x3F, seq, ack, payload, window=window, extra=extra)
        if flags & 0xC0:
            segment = segment[:13] + bytes([flags]) + segment[14:16] + self.check(segment[16:18], flags & 0xC0) + segment[18:]
        self.capture.write(self.capture.ipv4(src[0], dst[0], TCP, segment, tos=tos, hop_limit=hop_limit))
        self.capture.wait(wait)

    @staticmethod
    def check(before, flags):
        """The checksum after these flags were added (RFC 1624)."""
        total = (~int.from_bytes(before, "big") & 0xFFFF) + flags
        return (~((total & 0xFFFF) + (total >> 16)) & 0xFFFF).to_bytes(2, "big")

    def open(self, window=64240, answer_window=64240, answer_hops=64):
        self.send(True, SYN, 100, 0, wait=20, window=window, extra=SCALE + SACK_PERMITTED)
        self.send(False, SYN | ACK, 900, 101, wait=0.1, window=answer_window, extra=SCALE + SACK_PERMITTED, hop_limit=answer_hops)
        self.send(True, ACK, 101, 901, wait=0.1, window=window)

    def close(self, seq, ack, window=64240):
        self.send(True, FIN | ACK, seq, ack, wait=20, window=window)
        self.send(False, FIN | ACK, ack, seq + 1, wait=0.1)
        self.send(True, ACK, seq + 1, ack + 1, window=window)


def sack(left, right):
    return struct.pack(">BBBBII", 1, 1, 5, 10, left & 0xFFFFFFFF, right & 0xFFFFFFFF)


def found(rule, severity, port=40_000, server=(SERVER, 80), **more):
    return [{"rule": rule, "severity_at_least": severity, "severity_at_most": severity, "connections": ends(port, server), "figures": {}, **more}]


def losses(shift):
    """A download of which every fifth segment is lost and repeated; the SACK blocks are shifted by so much."""
    capture = Capture()
    stream = Stream(capture)
    stream.open()
    stream.send(True, PSH | ACK, 101, 901, REQUEST, wait=20)
    seq, ack = 901, 101 + len(REQUEST)
    for _ in range(4):
        for at in range(5):
            stream.send(False, ACK, seq + 1000 * at, ack, bytes(1000), wait=0.1)
            if at == 0:
                stream.send(True, ACK, ack, seq, wait=0.1)
            else:
                stream.send(True, ACK, ack, seq, wait=0.1, extra=sack(seq + 1000 + shift, seq + 1000 * (at + 1) + shift))
        capture.wait(250)
        stream.send(False, ACK, seq, ack, bytes(1000), wait=0.1)
        seq += 5000
        stream.send(True, ACK, ack, seq, wait=20)
    stream.close(ack, seq)
    return capture


MAY_LOSE = ["packet-loss", "retransmit-hol", "timeout-recovery", "spurious-retransmission", "slow-response", "reordering"]


def shifted_sack():
    return losses(1_000_000_000), "A firewall shifts the server's sequence numbers and leaves those in SACK blocks as they are.", found("sequence-rewritten", "low"), MAY_LOSE


def right_sack():
    return losses(0), "The same losses with SACK blocks that fit.", [], MAY_LOSE


def download(window, segments=40):
    capture = Capture()
    stream = Stream(capture)
    stream.open(window=window)
    stream.send(True, PSH | ACK, 101, 901, REQUEST, wait=20, window=window)
    seq, ack = 901, 101 + len(REQUEST)
    for _ in range(segments):
        stream.send(False, PSH | ACK, seq, ack, bytes(1000), wait=1)
        seq += 1000
        stream.send(True, ACK, ack, seq, wait=20, window=window)
    stream.close(ack, seq, window)
    return capture


def one_segment():
    return download(1_200), "A receiver with a buffer of 1,200 bytes: one segment in each round trip.", found("small-window", "low"), ["window-limited"]


def two_segments():
    return download(8_760), "A receiver with room for six segments.", [], ["window-limited"]


def proxied():
    capture = Capture()
    stream = Stream(capture)
    stream.open(answer_window=0, answer_hops=255)
    capture.wait(30)
    stream.send(False, ACK, 901, 101, wait=1)
    stream.send(True, PSH | ACK, 101, 901, REQUEST, wait=20)
    ack = 101 + len(REQUEST)
    stream.send(False, PSH | ACK, 901, ack, ANSWER, wait=1)
    stream.send(True, ACK, ack, 901 + len(ANSWER))
    stream.close(ack, 901 + len(ANSWER))
    return capture, "A firewall answers the SYN with a window of zero and opens it when the server has answered.", found("syn-proxy", "info"), ["zero-window-stall"]


def answered():
    capture = Capture()
    stream = Stream(capture)
    stream.open()
    stream.send(True, PSH | ACK, 101, 901, REQUEST, wait=20)
    ack = 101 + len(REQUEST)
    stream.send(False, PSH | ACK, 901, ack, ANSWER, wait=1)
    stream.send(True, ACK, ack, 901 + len(ANSWER), window=0)
    capture.wait(30)
    stream.send(True, ACK, ack, 901 + len(ANSWER))
    stream.close(ack, 901 + len(ANSWER))
    return capture, "A server answers itself; the client's window closes for a moment later on.", [], ["zero-window-stall"]


def flight(window):
    capture = Capture()
    stream = Stream(capture)
    stream.open(window=window)
    stream.send(True, PSH | ACK, 101, 901, REQUEST, wait=20, window=window)
    seq, ack = 901, 101 + len(REQUEST)
    for _ in range(3):
        for _ in range(12):
            stream.send(False, ACK, seq, ack, bytes(1000), wait=0.05)
            seq += 1000
        capture.wait(20)
        stream.send(True, ACK, ack, seq, wait=20, window=window)
    stream.close(ack, seq, window)
    return capture


def beyond():
    return flight(5_000), "A device lowers the receiver's window in its acknowledgments; the sender has not seen that.", found("window-violation", "info"), ["window-limited", "small-window"]


def within():
    return flight(12_000), "The same flights into a window that has room for them.", [], ["window-limited"]


def icmp(capture, kind, code, word, quoted):
    body = struct.pack(">BBHI", kind, code, 0, word) + quoted[14:14 + 28]
    check = 0xFFFF - ones(body)
    capture.write(capture.ipv4(ROUTER, CLIENT, ICMP, body[:2] + struct.pack(">H", check) + body[4:]))


def tunnel():
    """An upload over a tunnel of 1,400 bytes."""
    capture = Capture()
    stream = Stream(capture)
    stream.open()
    large = capture.ipv4(CLIENT, SERVER, TCP, tcp(stream.client, stream.server, PSH | ACK, 101, 901, bytes(1460)))
    capture.write(large)
    capture.wait(10)
    icmp(capture, 3, 4, 1400, large)
    capture.wait(1)
    for start, length in ((101, 1360), (1461, 100)):
        stream.send(True, PSH | ACK, start, 901, bytes(length), wait=0.1)
    capture.wait(20)
    stream.send(False, PSH | ACK, 901, 1561, ANSWER)
    stream.send(True, ACK, 1561, 901 + len(ANSWER))
    stream.close(1561, 901 + len(ANSWER))
    return capture, "A router before a tunnel refuses a packet of 1,500 bytes; the client goes on with 1,400.", found("mtu-reduced", "info", figures={"mtu_bytes": {"value": 1400, "tolerance": 0}}), MAY_LOSE


def no_tunnel():
    return download(64_240, 10), "Full segments get through unrefused.", [], []


def marked(every):
    """An upload whose packets a router marks, every so-manieth."""
    capture = Capture()
    stream = Stream(capture)
    stream.open()
    seq, told = 101, False
    for number in range(200):
        mark = number % every == every - 1
        stream.send(True, ACK | (CWR if told else 0), seq, 901, bytes(1000), wait=1, tos=CE if mark else ECT)
        told = mark
        seq += 1000
        stream.send(False, ACK | (ECE if mark else 0), 901, seq, wait=5, tos=ECT)
    stream.close(seq, 901)
    return capture


def congested():
    return marked(10), "A router marks every tenth packet; the receiver says so, and the sender slows down.", found(
        "ecn-congestion", "low", figures={"marked": {"value": 20, "tolerance": 0}, "echoes": {"value": 20, "tolerance": 0}}), []


def passing_burst():
    return marked(60), "A router marks three packets of two hundred.", [], []


def tails():
    """Requests of one segment each; four of them are lost behind the capture and repeated after the timer."""
    capture = Capture()
    stream = Stream(capture)
    stream.open()
    seq, ack = 101, 901
    for number in range(8):
        stream.send(True, PSH | ACK, seq, ack, REQUEST, wait=20 if number % 2 else 320)
        if number % 2 == 0:
            stream.send(True, PSH | ACK, seq, ack, REQUEST, wait=20)
        seq += len(REQUEST)
        stream.send(False, PSH | ACK, ack, seq, ANSWER, wait=0.1)
        ack += len(ANSWER)
        stream.send(True, ACK, seq, ack, wait=200)
    stream.close(seq, ack)
    return capture, "Four requests are lost, with nothing behind them, and wait for the timer.", found(
        "timeout-recovery", "low", occurrences=4, figures={"timeouts": {"value": 4, "tolerance": 0}}), MAY_LOSE


def middles():
    """A download with losses in the middle of flights, repaired a round trip after three duplicate acknowledgments."""
    capture = Capture()
    stream = Stream(capture)
    stream.open()
    stream.send(True, PSH | ACK, 101, 901, REQUEST, wait=20)
    seq, ack = 901, 101 + len(REQUEST)
    for _ in range(4):
        for at in range(5):
            stream.send(False, ACK, seq + 1000 * at, ack, bytes(1000), wait=0.1)
        capture.wait(19)
        for at in range(1, 5):
            stream.send(True, ACK, ack, seq, wait=0.1, extra=sack(seq + 1000, seq + 1000 * (at + 1)))
        stream.send(False, ACK, seq, ack, bytes(1000), wait=20)
        seq += 5000
        stream.send(True, ACK, ack, seq, wait=1)
    stream.close(ack, seq)
    return capture, "Four losses are repaired fast, within a round trip.", [], MAY_LOSE


def talks(damage):
    """Requests and answers of which `damage(number, frame)` makes some what they were not."""
    capture = Capture()
    for number in range(30):
        client, server = (CLIENT, 42_000 + number), (SERVER, 9_300)
        capture.write(damage(number, capture.ipv4(CLIENT, SERVER, UDP, udp(client, server, b"read %d" % number))))
        capture.wait(2)
        capture.write(capture.ipv4(SERVER, CLIENT, UDP, udp(server, client, b"value %d" % number)))
        capture.wait(100)
    return capture


def faulty_memory():
    def damage(number, frame):
        if number % 6 == 5:
            frame = bytearray(frame)
            frame[14 + 28 + number % 4] ^= 1 << number % 7
        return bytes(frame)

    return talks(damage), "A device with faulty memory flips single bits of the client's datagrams.", [
        {"rule": "corruption", "severity_at_least": "low", "severity_at_most": "low", "occurrences": 5, "figures": {"packets": {"value": 5, "tolerance": 0}}}], []


def translated_wrongly():
    def damage(number, frame):
        return frame[:14 + 26] + (int.from_bytes(frame[14 + 26:14 + 28], "big") ^ 0x0102).to_bytes(2, "big") + frame[14 + 28:] if number % 3 else frame

    return talks(damage), "A tool that changed addresses left the checksums of some datagrams wrong by one and the same amount.", [], []


def silent(hops, ports):
    """Datagrams sent with so many hops left, and what a router says when they run out."""
    capture = Capture()
    for number, port in enumerate(ports):
        packet = capture.ipv4(CLIENT, "203.0.113.9", UDP, udp((CLIENT, 43_000 + number), ("203.0.113.9", port), b"metric:1|c"), hop_limit=hops(number))
        capture.write(packet)
        capture.wait(12)
        icmp(capture, 11, 0, 0, packet)
        capture.wait(300)
    return capture


def loop_beyond():
    return silent(lambda _: 64, [8125] * 4), "Routers beyond the capture point send datagrams round until their hop limit ends.", [
        {"rule": "ttl-expired", "severity_at_least": "medium", "occurrences": 4, "figures": {"messages": {"value": 4, "tolerance": 0}}}], []


def traceroute():
    return silent(lambda number: number // 3 + 1, [8125] * 24), "A traceroute to a port of a service.", [], []


def records(number, name, truncated):
    """An answer, whole or with the bit that says that it did not fit (TC)."""
    message = question(number, name, True)
    if truncated:
        message = message[:2] + (0x8380).to_bytes(2, "big") + struct.pack(">HHHH", 1, 0, 0, 0) + question(number, name)[12:]
    return message


def truncated(tcp_answers):
    capture = Capture()
    for number in range(3):
        client, resolver, name = (CLIENT, 44_000 + number), (RESOLVER, 53), f"large{number}.example"
        capture.write(capture.ipv4(CLIENT, RESOLVER, UDP, udp(client, resolver, question(number, name))))
        capture.wait(3)
        capture.write(capture.ipv4(RESOLVER, CLIENT, UDP, udp(resolver, client, records(number, name, True))))
        capture.wait(1)
        stream = Stream(capture, 45_000 + number, resolver)
        if tcp_answers:
            stream.open()
            ask, answer = question(number, name), records(number, name, False)
            ask, answer = len(ask).to_bytes(2, "big") + ask, len(answer).to_bytes(2, "big") + answer
            stream.send(True, PSH | ACK, 101, 901, ask, wait=3)
            stream.send(False, PSH | ACK, 901, 101 + len(ask), answer, wait=1)
            stream.close(101 + len(ask), 901 + len(answer))
        else:
            stream.send(True, SYN, 100, 0, wait=3)
            stream.send(False, RST | ACK, 0, 101, wait=10)
        capture.wait(500)
    return capture


def truncated_tcp_refused():
    return truncated(False), "Answers that do not fit into a datagram, and a resolver that refuses TCP.", [
        {"rule": "dns-failure", "severity_at_least": "high", "occurrences": 3, "figures": {"failures": {"value": 3, "tolerance": 0}}}], ["connection-refused"]


def truncated_then_tcp():
    return truncated(True), "Answers that do not fit into a datagram are fetched over TCP.", [], []


def from_elsewhere():
    capture = Capture()
    for number in range(3):
        client, name = (CLIENT, 44_000 + number), f"host{number}.example"
        for _ in range(2):
            capture.write(capture.ipv4(CLIENT, RESOLVER, UDP, udp(client, (RESOLVER, 53), question(number, name))))
            capture.wait(3)
            capture.write(capture.ipv4("10.9.0.54", CLIENT, UDP, udp(("10.9.0.54", 53), client, question(number, name, True))))
            capture.wait(2_000)
    return capture, "A resolver with two addresses answers from the one that was not asked.", [
        {"rule": "dns-failure", "severity_at_least": "high", "occurrences": 3, "figures": {"failures": {"value": 3, "tolerance": 0}}}], []


CASES = {
    "sequence-rewritten/shifted-sack": shifted_sack,
    "sequence-rewritten/not-lost-segments": right_sack,
    "small-window/one-segment": one_segment,
    "small-window/not-six-segments": two_segments,
    "syn-proxy/opens-later": proxied,
    "syn-proxy/not-the-server": answered,
    "window-violation/beyond": beyond,
    "window-violation/not-within": within,
    "mtu-reduced/tunnel": tunnel,
    "mtu-reduced/not-refused": no_tunnel,
    "ecn-congestion/marked": congested,
    "ecn-congestion/not-a-burst": passing_burst,
    "timeout-recovery/tails": tails,
    "timeout-recovery/not-fast": middles,
    "corruption/faulty-memory": faulty_memory,
    "corruption/not-rewritten": translated_wrongly,
    "ttl-expired/loop-beyond": loop_beyond,
    "ttl-expired/not-traceroute": traceroute,
    "dns-failure/truncated-tcp-refused": truncated_tcp_refused,
    "dns-failure/not-truncated-then-tcp": truncated_then_tcp,
    "dns-failure/answered-from-elsewhere": from_elsewhere,
}


if __name__ == "__main__":
    write_cases(CASES, "testdata/lab/path_signs.py", *sys.argv[1:])
