#!/usr/bin/env python3
"""Captures, packet by packet, of Kafka brokers that state errors: Debian has no Kafka.

    python3 testdata/lab/service_error_packets.py OUTPUT_FOLDER [CASE...]
"""
import struct
import sys

from packets import ACK, CLIENT, FIN, PSH, SERVER, SYN, TCP, Capture, tcp, write_cases

MADE = "testdata/lab/service_error_packets.py"
PRODUCE, HEARTBEAT, API_VERSIONS, SASL_HANDSHAKE, SASL_AUTHENTICATE = 0, 12, 18, 17, 36


class Broker:
    """A connection of a Kafka client."""

    def __init__(self, port=40_000):
        self.capture, self.number = Capture(), 0
        self.client, self.server, self.seq, self.ack = (CLIENT, port), (SERVER, 9_092), 101, 501
        self.send(True, SYN, 100, 0)
        self.send(False, SYN | ACK, 500, 101)
        self.send(True, ACK, 101, 501)

    def send(self, up, flags, seq, ack, payload=b""):
        src, dst = (self.client, self.server) if up else (self.server, self.client)
        self.capture.wait(1)
        self.capture.write(self.capture.ipv4(src[0], dst[0], TCP, tcp(src, dst, flags, seq, ack, payload)))

    def exchange(self, key, version, request, response):
        """A request with its header, and the body of its response."""
        self.number += 1
        body = struct.pack(">HHIH4s", key, version, self.number, 4, b"shop") + request
        body = struct.pack(">I", len(body)) + body
        self.send(True, PSH | ACK, self.seq, self.ack, body)
        self.seq += len(body)
        answer = struct.pack(">II", len(response) + 4, self.number) + response
        self.send(False, PSH | ACK, self.ack, self.seq, answer)
        self.ack += len(answer)
        self.capture.wait(50)

    def end(self):
        self.send(True, FIN | ACK, self.seq, self.ack)
        self.send(False, FIN | ACK, self.ack, self.seq + 1)
        self.send(True, ACK, self.seq + 1, self.ack + 1)
        return self.capture


def versions(code=0):
    return struct.pack(">HI", code, 1) + struct.pack(">HHH", PRODUCE, 0, 9)


def produced(code):
    """Of version 7: one topic, one partition."""
    return struct.pack(">IH6sIIHQQQI", 1, 6, b"orders", 1, 0, code, 0, 0, 0, 0)


def produce(broker, code, times):
    for _ in range(times):
        broker.exchange(PRODUCE, 7, struct.pack(">HHII", 0xFFFF, 0xFFFF, 30_000, 0), produced(code))


def kafka_not_enough_replicas():
    broker = Broker()
    broker.exchange(API_VERSIONS, 0, b"", versions())
    produce(broker, 0, 5)
    produce(broker, 19, 3)
    return broker.end(), "A topic has lost replicas: three of eight messages are refused with NOT_ENOUGH_REPLICAS.", [finding(3, "medium")], []


def kafka_log_in_refused():
    broker = Broker()
    broker.exchange(API_VERSIONS, 0, b"", versions())
    broker.exchange(SASL_HANDSHAKE, 1, struct.pack(">H5s", 5, b"PLAIN"), struct.pack(">HIH5s", 0, 1, 5, b"PLAIN"))
    broker.exchange(SASL_AUTHENTICATE, 1, struct.pack(">I5s", 5, b"\0me\0x"), struct.pack(">HH6sIQ", 58, 6, b"denied", 0, 0))
    return broker.end(), "The broker does not accept the password.", [finding(1, "low")], []


def not_kafka():
    broker = Broker()
    broker.exchange(API_VERSIONS, 3, b"\0\0\0\0", versions(35))
    broker.exchange(API_VERSIONS, 0, b"", versions())
    produce(broker, 0, 6)
    for code in (0, 27, 0):
        broker.exchange(HEARTBEAT, 1, b"\0\1g\0\0\0\1\0\1m", struct.pack(">IH", 0, code))
    return broker.end(), "A newer client agrees on a version with its broker, produces, and its group rebalances.", [], []


def finding(errors, at_least):
    return {"rule": "service-error", "severity_at_least": at_least, "severity_at_most": "medium",
            "figures": {"errors": {"value": errors, "tolerance": 0}}}


CASES = {
    "service-error/kafka-not-enough-replicas": kafka_not_enough_replicas,
    "service-error/kafka-log-in-refused": kafka_log_in_refused,
    "service-error/not-kafka": not_kafka,
}


if __name__ == "__main__":
    write_cases(CASES, MADE, *sys.argv[1:])
