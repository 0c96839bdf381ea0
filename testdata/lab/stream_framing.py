#!/usr/bin/env python3
"""Captures of framed byte streams whose messages share segments or span them, and of bulk that has no framing.

    sudo python3 testdata/lab/stream_framing.py OUTPUT_FOLDER [CASE...]

Writers note the size of each message and of each write; with no Nagle and writes within the MSS, one write is one
segment on the wire, so the counts of the truth follow from the writes alone.
"""
import os
import random
import socket
import struct
import time

from actors import compress, connect, read_exactly, run_cases, serve_threads
from net import SERVER, SERVER6, Net, pair, write_truth

PORT = 9500
MSS = 1440


def place(folder, name):
    return os.path.join(folder, "stream-framing", name + ".pcap")


class Writer:
    """Cuts a row of messages into writes, and counts what a reader of segments would meet."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def plan(self, messages, glue=0.25, cut=0.2):
        """Gives the writes: most of one message, some of several, some that end inside one."""
        writes, pending = [], b""
        for message in messages:
            pending += message
            if len(pending) > MSS:
                writes.append(pending[:MSS])
                pending = pending[MSS:]
            if self.random.random() < glue and len(pending) < MSS // 2:
                continue
            if len(pending) > 8 and self.random.random() < cut:
                at = self.random.randrange(1, len(pending))
                writes.append(pending[:at])
                pending = pending[at:]
            writes.append(pending)
            pending = b""
        return [write for write in writes + [pending] if write]


def counts(messages, writes):
    """(segments with more than one message start, messages over more than one segment)."""
    starts, at = [], 0
    for message in messages:
        starts.append(at)
        at += len(message)
    bounds, at = [], 0
    for write in writes:
        bounds.append((at, at + len(write)))
        at += len(write)
    coalesced = sum(sum(low <= start < high for start in starts) > 1 for low, high in bounds)
    ends = [start + len(message) for start, message in zip(starts, messages)]
    split = sum(any(start < high < end for _, high in bounds) for start, end in zip(starts, ends))
    return coalesced, split


def send(connection, writes, gap_s=0.004):
    for write in writes:
        connection.sendall(write)
        time.sleep(gap_s)


def framed_case(folder, name, story, framing, up, down=(), address=SERVER, given=None, snaplen=None, interface=None, side="client", glue=0.25, cut=0.2, finds=True, may=()):
    """The client writes the messages of `up`, then the server those of `down`."""
    path, writer = place(folder, name), Writer(name)
    up_writes, down_writes = writer.plan(up, glue, cut), writer.plan(down, glue, cut)
    total = sum(map(len, up))
    with Net() as net:
        def talk(connection):
            read_exactly(connection, total)
            send(connection, down_writes)
            connection.recv(1)

        def ask():
            connection = connect(address, PORT)
            send(connection, up_writes)
            read_exactly(connection, sum(map(len, down)))
            ends = pair(connection)
            connection.close()
            return ends

        net.spawn("server", serve_threads, address, PORT, talk)
        with net.capture(side, path, interface=interface, snaplen=snaplen):
            ends = net.call("client", ask)
    both = [one + other for one, other in zip(counts(up, up_writes), counts(down, down_writes))]
    findings = []
    if finds:
        findings = [{"rule": "stream-framing", "occurrences": 1, "connections": [ends], "severity_at_least": "info", "severity_at_most": "info",
                     "figures": {"framing": framing, "coalesced_segments": (both[0], 0), "split_messages": (both[1], 0)}}]
    facts = {"arguments": ["--framing", f"{PORT}={given}"]} if given else {}
    write_truth(path, story, f"testdata/lab/stream_framing.py, {len(up)} messages up, {len(down)} down", findings, may=may, capture_point=side, tcp_connections=1, **facts)
    compress(path)


def bodies(seed, count, least, most):
    draw = random.Random(seed)
    return [draw.randbytes(draw.randrange(least, most)) for _ in range(count)]


def u32be(folder):
    up, down = ([struct.pack("!I", len(body)) + body for body in bodies(seed, 60, 5, 500)] for seed in (1, 2))
    framed_case(folder, "u32be", "Messages with a length of four octets, both ways.", "u32be", up, down)


def u16le_offset_adjust(folder):
    """Magic, type, then a length that counts the whole header of six octets as well."""
    def frame(number, body):
        return b"\xca\xfe" + struct.pack("<H", len(body) + 6) + struct.pack("<H", number % 7) + body

    up, down = ([frame(number, body) for number, body in enumerate(bodies(seed, 70, 3, 300))] for seed in (3, 4))
    framed_case(folder, "u16le-offset-adjust", "A length in octets 2 and 3, little-endian, that counts the header; given by the user.", "u16le,offset=2,adjust=-4", up, down,
                given="u16le,offset=2,adjust=-4", side="server")


def u16be_inferred_any(folder):
    up, down = ([struct.pack("!HB", len(body), 1) + body for body in bodies(seed, 60, 8, 600)] for seed in (5, 6))
    framed_case(folder, "u16be-adjust-any", "A length of two octets, then a type octet that it does not count; on the any interface.", "u16be,adjust=1", up, down, interface="any")


def u8_ipv6(folder):
    up, down = ([bytes([len(body)]) + body for body in bodies(seed, 120, 3, 60)] for seed in (7, 8))
    framed_case(folder, "u8-ipv6", "Messages with a length of one octet, over IPv6.", "u8", up, down, address=SERVER6)


def lines(folder):
    draw = random.Random(9)
    words = "alpha beta gamma delta status=ok id=".split()
    up = [(" ".join(draw.choices(words, k=draw.randrange(2, 9))) + f" {number}\r\n").encode() for number in range(80)]
    down = [f"OK {number} {'x' * (number % 40)}\r\n".encode() for number in range(80)]
    framed_case(folder, "lines", "A line-based protocol.", "line", up, down)


def delimiter(folder):
    up = [f"{{\"op\":\"set\",\"n\":{number},\"v\":\"{'y' * (number * 7 % 90)}\"}}".encode() + b"\0" for number in range(80)]
    down = [f"{{\"ok\":{number}}}".encode() + b"\0" for number in range(80)]
    framed_case(folder, "delimiter-nul", "JSON texts that end with a zero octet.", "delimiter:00", up, down)


def fixed(folder):
    def record(number):
        return (struct.pack("!QdI", number, number * 1.25, number * 7919 & 0xFFFFFFFF) + random.Random(number).randbytes(44))[:64]

    framed_case(folder, "fixed-64", "Records of 64 octets, as the user says.", "fixed:64", [record(number) for number in range(150)], given="fixed:64")


def not_cut(folder):
    up = [struct.pack("!I", len(body)) + body for body in bodies(10, 60, 5, 400)]
    framed_case(folder, "not-cut-by-snaplen", "Framed messages in frames cut to 128 octets: borders cannot be counted, so nothing is said.", "", up, snaplen=128, finds=False)


def reader_breaks(folder):
    """A server that takes one read for one message gives up at the first coalesced segment."""
    path = place(folder, "reader-breaks")
    with Net() as net:
        def talk(connection):
            while data := connection.recv(4096):
                length = struct.unpack_from("!I", data)[0]
                if len(data) != length + 4:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                connection.sendall(struct.pack("!I", 2) + b"ok")

        def ask():
            seen = []
            for number in range(3):
                connection = connect(SERVER, PORT)
                pair_of = pair(connection)
                for message in bodies(number, 25, 20, 90):
                    connection.sendall(struct.pack("!I", len(message)) + message)
                    read_exactly(connection, 6)
                connection.sendall(b"".join(struct.pack("!I", len(message)) + message for message in bodies(number + 50, 2, 20, 90)))
                try:
                    assert not connection.recv(6)
                except ConnectionResetError:
                    seen.append(pair_of)
                connection.close()
            return seen

        net.spawn("server", serve_threads, SERVER, PORT, talk)
        with net.capture("server", path):
            ends = net.call("client", ask)
    assert len(ends) == 3
    write_truth(path, "A server takes one read for one message and resets the connection at the first segment that holds two.",
                "testdata/lab/stream_framing.py, three connections of 27 messages",
                [{"rule": "stream-framing", "occurrences": 3, "connections": ends, "severity_at_least": "medium",
                  "figures": {"framing": "u32be", "coalesced_segments": (3, 0), "split_messages": (0, 0)}}],
                may=["linger-zero-reset", "unread-data-reset"], capture_point="server", tcp_connections=3)
    compress(path)


def not_bulk(folder):
    """Random octets in bulk."""
    framed_case(folder, "not-bulk", "Random octets, 60 kB up and 60 kB down.", "", bodies(20, 60, 900, 1100), bodies(21, 60, 900, 1100), glue=0.5, finds=False)


def not_zeros(folder):
    """A file that is mostly zeros, and a row of numbers."""
    draw = random.Random(22)
    up = [bytes(draw.randrange(200, 900)) for _ in range(40)]
    down = [b"".join(struct.pack("<I", number * 40 + one) for one in range(40)) for number in range(60)]
    framed_case(folder, "not-zeros", "Zeros one way, a row of small numbers the other way.", "", up, down, finds=False)


def not_varint_noise(folder):
    """Compressed-looking octets in writes of odd sizes that begin with small numbers now and then."""
    draw = random.Random(23)
    up = [bytes([draw.randrange(128, 256), draw.randrange(1, 9)]) + draw.randbytes(draw.randrange(30, 400)) for _ in range(80)]
    framed_case(folder, "not-varint-noise", "Octets that begin with what could be a length but is not.", "", up, finds=False, glue=0.3)


if __name__ == "__main__":
    run_cases([u32be, u16le_offset_adjust, u16be_inferred_any, u8_ipv6, lines, delimiter, fixed, not_cut, reader_breaks, not_bulk, not_zeros,
               not_varint_noise])
