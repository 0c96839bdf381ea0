#!/usr/bin/env python3
"""Captures of HTTP/2 sessions that a server ends, with streams under way and without.

    sudo python3 testdata/lab/http2_goaway.py OUTPUT_FOLDER [CASE...]

The server is nginx with a limit on requests of a session; the client writes frames itself, several streams at once.
"""
import os
import struct
import time

from actors import compress, connect, run_cases
from net import SERVER, Net, pair, write_truth
from parts import lab_name, nginx

PORT = 8080
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, SETTINGS, GOAWAY = 1, 4, 7
MADE = lab_name(__file__)


def frame(kind, flags, stream, body=b""):
    return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body


def request(stream):
    """GET / of shop.example by indices of the static table, ended at once."""
    host = b"shop.example"
    return frame(HEADERS, 0x5, stream, b"\x82\x86\x84\x41" + bytes([len(host)]) + host)


def session(streams, wait=0.0):
    """Opens a session, sends requests on `streams` in one write and reads to the end; gives the ends, the streams that were
    answered and the last stream that GOAWAY names."""
    connection = connect(SERVER, PORT)
    connection.settimeout(1.0)
    connection.sendall(PREFACE + frame(SETTINGS, 0, 0) + b"".join(request(stream) for stream in streams))
    octets, answered, last = b"", set(), None
    try:
        while True:
            more = connection.recv(65536)
            if not more:
                break
            octets += more
    except TimeoutError:
        pass
    while len(octets) >= 9:
        length, kind, stream = int.from_bytes(octets[:3]), octets[3], int.from_bytes(octets[5:9])
        if kind == HEADERS:
            answered.add(stream)
        if kind == GOAWAY:
            last = int.from_bytes(octets[9:13])
        octets = octets[9 + length:]
    ends = pair(connection)
    connection.close()
    time.sleep(wait)
    return ends, answered, last


def run(folder, name, streams, story, found):
    path = os.path.join(folder, "http2-goaway", name + ".pcap")
    with Net() as net:
        nginx(net, "server", f"server {{ listen {PORT} http2; keepalive_requests 3; location / {{ return 200 fine; }} }}", PORT)
        with net.capture("server", path, expression=f"tcp port {PORT}"):
            ends, answered, last = net.call("client", session, streams, 1.5)
    unanswered = [stream for stream in streams if stream not in answered]
    assert last is not None and bool(unanswered) == found, (last, unanswered)
    findings = [{"rule": "http2-goaway", "connections": [ends], "severity_at_least": "low",
                 "figures": {"streams": (len(unanswered), 0), "sessions": (1, 0)}}] if found else []
    write_truth(path, story, MADE, findings, may=["unread-data-reset", "linger-zero-reset"], capture_point="server", tcp_connections=1)
    compress(path)


def requests_limit(folder):
    """Eight streams are sent at once; the server ends the session after three and never processes the others."""
    run(folder, "requests-limit", range(1, 17, 2), "nginx ends an HTTP/2 session after three requests; the client had sent eight.", True)


def not_orderly(folder):
    """Three streams are sent, all are answered, and the server says that it wants no more."""
    run(folder, "not-orderly", range(1, 7, 2), "nginx ends an HTTP/2 session after three requests, all of which it answered.", False)


if __name__ == "__main__":
    run_cases([requests_limit, not_orderly])
