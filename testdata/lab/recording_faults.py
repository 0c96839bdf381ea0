#!/usr/bin/env python3
"""Recordings that are wrong about order, direction or time, of connections that are well.

    python3 testdata/lab/recording_faults.py DIR [CASE...]    writes DIR/<folder>/<case>.pcap and its truth file
"""
import json
import pathlib
import sys

from packets import ACK, CLIENT, FIN, PSH, RESOLVER, SERVER, SYN, TCP, UDP, Capture, question, tcp, udp, write_cases

MADE = "testdata/lab/recording_faults.py"
REQUEST = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
# A ClientHello of TLS 1.2 that offers one cipher and asks for no name.
HELLO = bytes([22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3]) + bytes(range(32)) + bytes([0, 0, 2, 0xC0, 0x2F, 1, 0])


class Taps:
    """Two taps, one of each direction: the clock of the client's is behind by `late` ms."""

    def __init__(self, late=3.0):
        self.late, self.now, self.frames, self.ids = late, 0.0, [], Capture()

    def send(self, from_client, port, flags, seq, ack, payload=b"", wait=0.2, stamps=None):
        client, server = (CLIENT, port), (SERVER, 8443)
        src, dst = (client, server) if from_client else (server, client)
        frame = self.ids.ipv4(src[0], dst[0], TCP, tcp(src, dst, flags, seq, ack, payload, stamps=stamps))
        self.frames.append((self.now + (self.late if from_client else 0), len(self.frames), frame))
        self.now += wait

    def capture(self):
        capture = Capture()
        begin = capture.now
        for at, _, frame in sorted(self.frames):
            capture.now = begin + round(at * 1000)
            capture.write(frame)
        return capture

    def healthy(self, port):
        """A connection that a server serves, as most are."""
        self.send(True, port, SYN, 100, 0)
        self.send(False, port, SYN | ACK, 900, 101)
        self.send(True, port, ACK, 101, 901)
        self.send(True, port, PSH | ACK, 101, 901, REQUEST)
        seq, ack = 101 + len(REQUEST), 901 + len(ANSWER)
        self.send(False, port, PSH | ACK, 901, seq, ANSWER)
        self.send(True, port, FIN | ACK, seq, ack)
        self.send(False, port, FIN | ACK, ack, seq + 1)
        self.send(True, port, ACK, seq + 1, ack + 1, wait=400)


def client_closes(hello):
    """The client closes; in the recording the server's FIN, which acknowledges the client's, stands before it."""
    taps = Taps()
    for port in range(40_000, 40_006):
        taps.send(True, port, SYN, 100, 0)
        taps.send(False, port, SYN | ACK, 900, 101)
        taps.send(True, port, ACK, 101, 901, wait=30)
        if hello:
            taps.send(True, port, PSH | ACK, 101, 901, hello)
            taps.send(False, port, ACK, 901, 101 + len(hello), wait=2_000)
        end = 101 + len(hello)
        taps.send(True, port, FIN | ACK, end, 901)
        taps.send(False, port, FIN | ACK, 901, end + 1)
        taps.send(True, port, ACK, end + 1, 902, wait=500)
    return taps.capture()


def hello_withdrawn():
    story = "A client gives up after its ClientHello; the clocks of two taps differ, so the server seems to close first."
    return client_closes(HELLO), story, [], []


def unused():
    story = "A client opens connections and closes them unused; the clocks of two taps differ, so the server seems to close first."
    return client_closes(b""), story, [], ["connection-churn"]


def port_reused():
    """The next connection from the same port begins with the server's SYN-ACK, as the taps' clocks show it."""
    taps = Taps()
    for number in range(12):
        port, first, start, stamp = 40_000, 100 + number * 900_000_000, 900 + number * 70_000, 5_000 + round(taps.now)
        taps.send(True, port, SYN, first % 2**32, 0, stamps=(stamp, 0))
        taps.send(False, port, SYN | ACK, start, (first + 1) % 2**32, stamps=(stamp, stamp))
        seq, ack = (first + 1) % 2**32, start + 1
        taps.send(True, port, ACK, seq, ack, stamps=(stamp, stamp))
        taps.send(True, port, PSH | ACK, seq, ack, REQUEST, stamps=(stamp, stamp))
        seq += len(REQUEST)
        taps.send(False, port, FIN | PSH | ACK, ack, seq, ANSWER, stamps=(stamp + 1, stamp))
        ack += len(ANSWER) + 1
        taps.send(True, port, FIN | ACK, seq, ack, stamps=(stamp + 1, stamp + 1))
        taps.send(False, port, ACK, ack, seq + 1, wait=4_000, stamps=(stamp + 1, stamp + 1))
        taps.healthy(41_000 + number)
    return taps.capture(), "One port is used again every four seconds; the clocks of two taps differ.", [], ["port-reuse-collision", "slow-response"]


def last_words():
    """A client says its last words and closes; the server's FIN acknowledges both and stands before them."""
    taps = Taps()
    for port in range(40_000, 40_004):
        taps.send(True, port, SYN, 100, 0)
        taps.send(False, port, SYN | ACK, 900, 101)
        taps.send(True, port, ACK, 101, 901)
        seq, ack = 101, 901
        for _ in range(2):
            taps.send(True, port, PSH | ACK, seq, ack, REQUEST)
            seq += len(REQUEST)
            taps.send(False, port, PSH | ACK, ack, seq, ANSWER)
            ack += len(ANSWER)
        taps.send(True, port, ACK, seq, ack, wait=3_000)
        taps.send(True, port, PSH | ACK, seq, ack, REQUEST[:31])
        taps.send(False, port, FIN | ACK, ack, seq + 31)
        taps.send(True, port, FIN | ACK, seq + 31, ack)
        taps.send(False, port, 4, ack + 1, 0, wait=500)
    return taps.capture(), "The clocks of two taps differ: the server had the client's last message when it closed.", [], ["linger-zero-reset", "unread-data-reset"]


def one_way():
    """A mirror port of one direction, with clients whose answers pass in the other one."""
    capture = Capture()
    for number in range(8):
        # Servers answer this client; what it sends is not there.
        src, dst = ("10.9.1.2", 443), ("10.9.1.9", 40_000 + number)
        capture.write(capture.ipv4(src[0], dst[0], TCP, tcp(src, dst, SYN | ACK, 900, 101)))
        capture.write(capture.ipv4(src[0], dst[0], TCP, tcp(src, dst, PSH | ACK, 901, 136, ANSWER)))
        asks, resolver = (CLIENT, 50_000 + number), (RESOLVER, 53)
        for pause in (1_000, 2_000, 100):
            message = udp(asks, resolver, question(number // 2, f"host{number // 2}.example"))
            capture.write(capture.ipv4(CLIENT, RESOLVER, UDP, message))
            capture.wait(pause)
        for pause in (1_000, 2_000, 100):
            src, dst = ("10.9.1.5", 41_000 + number), (SERVER, 80)
            capture.write(capture.ipv4(src[0], dst[0], TCP, tcp(src, dst, SYN, 100, 0)))
            capture.wait(pause)
    return capture, "One direction of a link was captured: nothing tells who was answered in the other one.", [], ["dns-failure"]


class Ticking:
    """Connections whose ends count milliseconds, seen by a capture with a clock of its own."""

    def __init__(self, pace=1.0):
        self.capture, self.real, self.pace = Capture(), 0.0, pace

    def send(self, way, port, flags, seq, ack, payload=b"", wait=0.2):
        client, server = (CLIENT, port), (SERVER, 80)
        src, dst = (client, server) if way else (server, client)
        own, other = (7_000 + round(self.real), 3_000 + round(self.real / 4))[::1 if way else -1]
        frame = self.capture.ipv4(src[0], dst[0], TCP, tcp(src, dst, flags, seq, ack, payload, stamps=(own, other)))
        self.capture.write(frame)
        self.pass_(wait)

    def pass_(self, ms):
        self.real += ms
        self.capture.wait(ms * self.pace)

    def open(self, port, answer=0.2):
        self.send(True, port, SYN, 100, 0, wait=answer)
        self.send(False, port, SYN | ACK, 900, 101)
        self.send(True, port, ACK, 101, 901)
        return 101, 901

    def exchange(self, port, seq, ack, wait):
        self.send(True, port, PSH | ACK, seq, ack, REQUEST)
        self.send(False, port, PSH | ACK, ack, seq + len(REQUEST), ANSWER)
        self.send(True, port, ACK, seq + len(REQUEST), ack + len(ANSWER), wait=wait)
        return seq + len(REQUEST), ack + len(ANSWER)


def clock_set():
    """The capture's clock is set forward by 1.4 s while a connection is opened and another waits."""
    ticking = Ticking()
    at = ticking.open(40_000)
    for _ in range(10):
        at = ticking.exchange(40_000, *at, wait=60)
    ticking.send(True, 40_001, SYN, 100, 0, wait=0.1)
    ticking.capture.wait(1_400)
    ticking.send(False, 40_001, SYN | ACK, 900, 101)
    ticking.send(True, 40_001, ACK, 101, 901)
    ticking.exchange(40_001, 101, 901, wait=20)
    for _ in range(10):
        at = ticking.exchange(40_000, *at, wait=60)
    return ticking.capture, "The clock of the capturing host was set forward: no connection took as long as it seems.", [], ["slow-connect"]


def clock_set_in_flight():
    """The capture's clock is set forward by a second in the midst of a burst and while two requests wait."""
    ticking = Ticking()
    first, second = ticking.open(40_000), ticking.open(40_001)
    for _ in range(10):
        first = ticking.exchange(40_000, *first, wait=30)
        second = ticking.exchange(40_001, *second, wait=30)
    (seq, ack), (other, answer) = first, second
    ticking.send(True, 40_001, PSH | ACK, other, answer, REQUEST)
    ticking.send(True, 40_000, PSH | ACK, seq, ack, REQUEST, wait=15)
    seq += len(REQUEST)
    # Of ten segments the second is lost; it is repeated a round trip later.
    for number in [0, *range(2, 10)]:
        ticking.send(False, 40_000, ACK, ack + 1_000 * number, seq, bytes(1_000), wait=0.1)
    ticking.capture.wait(1_000)
    for _ in range(3):
        ticking.send(True, 40_000, ACK, seq, ack + 1_000, wait=5)
    ticking.send(False, 40_000, ACK, ack + 1_000, seq, bytes(1_000))
    ticking.send(True, 40_000, ACK, seq, ack + 10_000)
    ticking.send(False, 40_001, PSH | ACK, answer, other + len(REQUEST), ANSWER)
    first, second = (seq, ack + 10_000), (other + len(REQUEST), answer + len(ANSWER))
    for _ in range(10):
        first = ticking.exchange(40_000, *first, wait=30)
        second = ticking.exchange(40_001, *second, wait=30)
    story = "The clock of the capturing host was set forward by a second: nobody waited so long, neither for an answer nor behind the hole."
    return ticking.capture, story, [], ["retransmit-hol", "slow-response"]


def slow_clock():
    ticking = Ticking(pace=0.9)
    at = ticking.open(40_000)
    for _ in range(40):
        at = ticking.exchange(40_000, *at, wait=400)
    return ticking.capture, "The capture's clock is slow by a tenth, as the timestamps of both ends show.", [], []


CASES = {
    "closed-after-accept/not-closed-by-client": unused,
    "dns-failure/not-one-way": one_way,
    "keepalive-race/not-last-words": last_words,
    "listen-overflow/not-reused-port": port_reused,
    "slow-connect/not-clock-set": clock_set,
    "slow-response/not-clock-set": clock_set_in_flight,
    "tls-handshake-failure/not-closed-by-client": hello_withdrawn,
}
QUALITY = {"capture-quality/slow-clock": (slow_clock, ["clock-step"])}


def main(folder, *wanted):
    write_cases(CASES, MADE, folder, *wanted)
    for name, (make, quality) in QUALITY.items():
        write_cases({name: make}, MADE, folder, *wanted)
        path = (pathlib.Path(folder) / name).with_suffix(".json")
        if path.exists():
            truth = json.loads(path.read_text()) | {"quality": quality}
            path.write_text(json.dumps(truth, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
