#!/usr/bin/env python3
"""Captures, packet by packet, of a host that acknowledges late, and of others that have a reason to.

    python3 testdata/lab/slow_ack.py OUTPUT_FOLDER [CASE...]

A kernel that does not get the processor cannot be made in a lab of one machine.
"""
import os
import sys

from actors import compress
from packets import ACK, CLIENT, FIN, PSH, SERVER, SYN, TCP, Capture, tcp, write_cases

MADE = "testdata/lab/slow_ack.py"
MSS = 600


class Upload:
    """A transfer in flights, captured next to the receiver unless `far_ms` says otherwise."""

    def __init__(self, far_ms=0.2):
        self.capture, self.far_ms = Capture(), far_ms
        self.client, self.server, self.seq = (CLIENT, 40_000), (SERVER, 9_000), 101
        self.send(True, SYN, 100, 0)
        self.send(False, SYN | ACK, 500, 101, after=far_ms)
        self.send(True, ACK, 101, 501, after=20)

    def send(self, up, flags, seq, ack, payload=b"", after=0.0):
        src, dst = (self.client, self.server) if up else (self.server, self.client)
        self.capture.wait(after)
        self.capture.write(self.capture.ipv4(src[0], dst[0], TCP, tcp(src, dst, flags, seq, ack, payload)))

    def flight(self, segments, ack_after, size=MSS, pause=20):
        for place in range(segments):
            self.send(True, PSH | ACK, self.seq, 501, bytes(size), after=pause if place == 0 else 0.05)
            self.seq += size
        self.send(False, ACK, 501, self.seq, after=ack_after)

    def end(self):
        self.send(True, FIN | ACK, self.seq, 501, after=5)
        self.send(False, FIN | ACK, 501, self.seq + 1, after=self.far_ms)
        self.send(True, ACK, self.seq + 1, 502, after=20)
        return self.capture


def stolen_time():
    upload = Upload()
    for number in range(16):
        upload.flight(6, (0.3, 0.4, 260, 410)[number % 4])
    return upload.end(), "A virtual machine without processor time acknowledges half of the flights 260 and 410 ms late.", [
        finding(8)], []


def frozen_now_and_then():
    upload = Upload()
    for number in range(20):
        upload.flight(8, 900 if number % 5 == 4 else 0.2, pause=30)
    return upload.end(), "A host is frozen for 0.9 s four times, with full segments of an upload waiting.", [finding(4)], []


def not_next_door():
    upload = Upload(far_ms=35)
    for number in range(16):
        upload.flight(6, 35 if number % 3 else 300)
    return upload.end(), "The same delays a long way from the receiver: a queue can make them.", [], ["bufferbloat"]


def not_single_segments():
    upload = Upload()
    for number in range(10):
        upload.flight(1, 220, size=200)
        upload.flight(4, 0.3)
    return upload.end(), "Acknowledgements of single small segments are delayed by 220 ms, as they may be.", [], ["delayed-ack-nagle"]


def not_once():
    upload = Upload()
    for number in range(16):
        upload.flight(6, 400 if number == 9 else 0.3)
    return upload.end(), "One acknowledgement of sixteen is late.", [], []


def finding(late):
    return {"rule": "slow-ack", "severity_at_least": "low", "severity_at_most": "low",
            "figures": {"late_acks": {"value": late, "tolerance": 0}}}


CASES = {
    "slow-ack/stolen-time": stolen_time,
    "slow-ack/frozen-now-and-then": frozen_now_and_then,
    "slow-ack/not-next-door": not_next_door,
    "slow-ack/not-single-segments": not_single_segments,
    "slow-ack/not-once": not_once,
}


if __name__ == "__main__":
    write_cases(CASES, MADE, *sys.argv[1:])
    for case in CASES:
        path = os.path.join(sys.argv[1], case + ".pcap")
        if os.path.exists(path):
            compress(path)
