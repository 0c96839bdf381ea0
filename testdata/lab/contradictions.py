#!/usr/bin/env python3
"""Captures of what no honest stack sends: two hosts that answer for one, data that changes, and what looks like it.

    python3 testdata/lab/contradictions.py DIR [CASE...]    writes DIR/<rule>/<case>.pcap and its truth file

Written packet by packet, like those of packets.py: takes nothing but Python, and gives the same bytes whenever it runs.
"""
import sys

from packets import ACK, CLIENT, FIN, PSH, RST, SERVER, SYN, TCP, UDP, Capture, question, tcp, udp, write_cases

FORGED = b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\nContent-Length: 0\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n"
REQUEST = b"GET /news HTTP/1.1\r\nHost: news.example\r\n\r\n"


class Talk:
    """One TCP connection, whose packets bear timestamps of the capture's clock."""

    def __init__(self, capture, port=40_000, server=(SERVER, 80), stamped=True, clock=0):
        self.capture, self.client, self.server = capture, (CLIENT, port), server
        self.stamped, self.clock = stamped, clock

    def send(self, way, flags, seq, ack, payload=b"", hop_limit=64, stamped=None, identification=None, wait=5, window=64240):
        src, dst = (self.client, self.server) if way else (self.server, self.client)
        stamped = self.stamped if stamped is None else stamped
        now = self.capture.now // 1000 % 1_000_000_000 + self.clock
        stamps = (now, 0 if flags == SYN else now - 5) if stamped else None
        segment = tcp(src, dst, flags, seq, ack, payload, stamps=stamps, window=window)
        self.capture.write(self.capture.ipv4(src[0], dst[0], TCP, segment, hop_limit=hop_limit, identification=identification))
        self.capture.wait(wait)

    def open(self):
        self.send(True, SYN, 100, 0, wait=20)
        self.send(False, SYN | ACK, 900, 101, wait=0.1)
        self.send(True, ACK, 101, 901, wait=0.1)

    def ask(self):
        self.send(True, PSH | ACK, 101, 901, REQUEST, wait=20)
        return 101 + len(REQUEST)

    def close(self, seq, ack):
        self.send(True, FIN | ACK, seq, ack, wait=20)
        self.send(False, FIN | ACK, ack, seq + 1, wait=0.1)
        self.send(True, ACK, seq + 1, ack + 1)


def ends(port=40_000, server=(SERVER, 80)):
    return [{"transport": "tcp", "client": f"{CLIENT}:{port}", "server": f"{server[0]}:{server[1]}"}]


def forged_answer():
    """A device answers from four hops away, without timestamps and before the server."""
    capture = Capture()
    talk = Talk(capture)
    talk.open()
    seq = talk.ask()
    capture.now -= 12_000
    talk.send(False, PSH | ACK, 901, seq, FORGED, hop_limit=60, stamped=False, identification=7, wait=0.1)
    talk.send(True, ACK, seq, 901 + len(FORGED), wait=12)
    talk.send(False, PSH | ACK, 901, seq, ANSWER, wait=0.1)
    talk.send(True, ACK, seq, 901 + len(FORGED), wait=50)
    talk.close(seq, 901 + len(FORGED))
    return capture, "A forged answer wins against the server's own; the client takes it.", [
        {"rule": "data-conflict", "severity_at_least": "medium", "occurrences": 1, "connections": ends(), "figures": {"conflicts": {"value": 1, "tolerance": 0}}}], ["spurious-retransmission"]


def late_forged_answer():
    capture = Capture()
    talk = Talk(capture)
    talk.open()
    seq = talk.ask()
    talk.send(False, PSH | ACK, 901, seq, ANSWER, wait=0.1)
    talk.send(True, ACK, seq, 901 + len(ANSWER), wait=3)
    talk.send(False, PSH | ACK, 901, seq, FORGED, hop_limit=60, stamped=False, identification=7, wait=3)
    talk.send(True, ACK, seq, 901 + len(ANSWER), wait=50)
    talk.close(seq, 901 + len(ANSWER))
    return capture, "A forged answer comes after the server's own: the client drops it.", [
        {"rule": "data-conflict", "severity_at_least": "low", "severity_at_most": "low", "occurrences": 1, "connections": ends(), "figures": {}}], ["spurious-retransmission"]


def equal_repeats():
    """Answers that are sent again as they were, whole, in pieces and with more; and keep-alive probes with an octet of their own."""
    capture = Capture()
    for number in range(3):
        talk = Talk(capture, 40_000 + number)
        talk.open()
        seq = talk.ask()
        talk.send(False, PSH | ACK, 901, seq, ANSWER, wait=250)
        pieces = [[(901, ANSWER)], [(901, ANSWER[:40]), (941, ANSWER[40:])], [(901, ANSWER + b"and more\n")]][number]
        end = 901 + len(ANSWER)
        for start, payload in pieces:
            talk.send(False, PSH | ACK, start, seq, payload, wait=0.1)
            end = max(end, start + len(payload))
        talk.send(True, ACK, seq, end, wait=10_000)
        for _ in range(2):
            talk.send(True, ACK, seq - 1, end, b"\xa5", wait=20)
            talk.send(False, ACK, end, seq, wait=5_000)
        talk.close(seq, end)
    return capture, "What is sent again is equal to what was lost; keep-alive probes carry one octet of anything.", [], ["packet-loss"]


def two_stacks():
    """The SYN reaches two hosts; each repeats its own SYN-ACK, and the client's data goes to one that has given up at first."""
    capture = Capture()
    talk = Talk(capture)
    talk.send(True, SYN, 100, 0, wait=20)
    talk.send(False, SYN | ACK, 900, 101, wait=15)
    talk.send(False, SYN | ACK, 70_000, 101, wait=965)
    for repeat in range(2):
        talk.send(False, SYN | ACK, 900, 101, wait=20)
        talk.send(False, SYN | ACK, 70_000, 101, wait=1980)
    talk.send(True, ACK, 101, 70_001, wait=0.1)
    talk.send(True, PSH | ACK, 101, 70_001, REQUEST, wait=20)
    seq = 101 + len(REQUEST)
    talk.send(False, PSH | ACK, 70_001, seq, ANSWER, wait=0.1)
    talk.send(True, ACK, seq, 70_001 + len(ANSWER), wait=20)
    talk.close(seq, 70_001 + len(ANSWER))
    return capture, "Two hosts answer the same SYN, each with its own number, in turn.", [
        {"rule": "duplicate-address", "severity_at_least": "medium", "occurrences": 1, "connections": ends(), "figures": {}}], ["slow-connect"]


def forgotten_attempt():
    """A server that was restarted between two SYNs of one attempt answers the second with a new number."""
    capture = Capture()
    talk = Talk(capture)
    talk.send(True, SYN, 100, 0, wait=20)
    talk.send(False, SYN | ACK, 900, 101, wait=980)
    talk.send(True, SYN, 100, 0, wait=20)
    talk.send(False, SYN | ACK, 70_000, 101, wait=0.1)
    talk.send(True, ACK, 101, 70_001, wait=0.1)
    talk.send(True, PSH | ACK, 101, 70_001, REQUEST, wait=20)
    seq = 101 + len(REQUEST)
    talk.send(False, PSH | ACK, 70_001, seq, ANSWER, wait=0.1)
    talk.send(True, ACK, seq, 70_001 + len(ANSWER), wait=20)
    talk.close(seq, 70_001 + len(ANSWER))
    return capture, "One host forgot an attempt and answers its repeat with a new number.", [], ["slow-connect"]


def older_timestamps():
    """Two hosts behind one address, one clock a day behind; the server remembers the newest timestamp of the address."""
    capture = Capture()
    connections = []
    for number in range(8):
        ahead = number % 2 == 0
        talk = Talk(capture, 41_000 + number, clock=86_400_000 if ahead else 0)
        if ahead:
            talk.open()
            seq = talk.ask()
            talk.send(False, PSH | ACK, 901, seq, ANSWER, wait=0.1)
            talk.send(True, ACK, seq, 901 + len(ANSWER), wait=20)
            talk.close(seq, 901 + len(ANSWER))
        else:
            for wait in (1_000, 2_000, 500):
                talk.send(True, SYN, 100, 0, wait=wait)
            connections += ends(41_000 + number)
        capture.wait(500)
    return capture, "SYNs of the host whose clock is behind are ignored, those of the other are answered.", [
        {"rule": "timestamp-rejected", "severity_at_least": "medium", "occurrences": 4, "connections": connections, "figures": {"ignored": {"value": 4, "tolerance": 0}}}], ["syn-unanswered", "listen-overflow"]


def one_clock():
    """The same fates, but one clock: what is ignored is lost for another reason."""
    capture = Capture()
    for number in range(8):
        talk = Talk(capture, 41_000 + number)
        if number % 2 == 0:
            talk.open()
            seq = talk.ask()
            talk.send(False, PSH | ACK, 901, seq, ANSWER, wait=0.1)
            talk.send(True, ACK, seq, 901 + len(ANSWER), wait=20)
            talk.close(seq, 901 + len(ANSWER))
        else:
            talk.send(True, SYN, 100, 0, wait=1_000)
            talk.send(True, SYN, 100, 0, wait=20)
            talk.send(False, SYN | ACK, 900, 101, wait=0.1)
            talk.send(True, RST | ACK, 101, 901, wait=20)
        capture.wait(500)
    return capture, "SYNs of one host are lost now and then, whatever their timestamps.", [], ["slow-connect", "listen-overflow", "linger-zero-reset", "unread-data-reset"]


CASES = {
    "data-conflict/forged-answer": forged_answer,
    "data-conflict/late-forged-answer": late_forged_answer,
    "data-conflict/not-equal-repeats": equal_repeats,
    "duplicate-address/two-stacks": two_stacks,
    "duplicate-address/not-forgotten-attempt": forgotten_attempt,
    "timestamp-rejected/clock-behind": older_timestamps,
    "timestamp-rejected/not-one-clock": one_clock,
}


if __name__ == "__main__":
    write_cases(CASES, "testdata/lab/contradictions.py", *sys.argv[1:])
