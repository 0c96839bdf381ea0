"""The wire between the two hosts, in userspace: forwards every frame, and does to it what it is told.

A `Wire` holds one `Way` per direction. The relay reads frames with AF_PACKET sockets, hands them on
after the way's delay, and books every frame that it dropped, delayed beyond the plan, duplicated or
let overtake others: the books are truth for the tests.
"""
import dataclasses
import heapq
import itertools
import random
import select
import socket
import struct
import time

from ledger import Ledger

ETH_P_ALL = 3
PACKET_OUTGOING = 4
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23


@dataclasses.dataclass
class Way:
    """What happens to frames of one direction. Rates and shares are per frame that carries TCP or UDP."""

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    # Whether jitter may let frames overtake each other.
    jitter_reorders: bool = False
    loss: float = 0.0
    # Frames lost in a row once one is lost.
    burst: int = 1
    # Loss only of frames with payload, or only of those without.
    loss_of: str = "all"  # all, data, acks
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_by_ms: float = 3.0
    rate_bps: float = 0.0
    queue_bytes: int = 64_000
    # Called as choose(frame) -> None | "drop" | "duplicate" | ("delay", ms) | ("until", a moment of the monotonic clock); see `Frame`.
    # What is held until the same moment is handed on in the order in which it came.
    choose: object = None
    # Called as change(frame, raw) -> the frames (bytes) that go on in its place; see `rewritten`.
    change: object = None
    # Book every data frame that was handed on, with the time: entries "passed".
    note_passed: bool = False


@dataclasses.dataclass
class Wire:
    """Both ways: `up` from client to server, `down` from server to client."""

    up: Way = dataclasses.field(default_factory=Way)
    down: Way = dataclasses.field(default_factory=Way)
    seed: int = 1
    # Book every TCP and UDP frame that was handed on: entries "handed-on" with `nth`, its number (from 0)
    # among the frames of its sender's direction of the connection.
    trace: bool = False


@dataclasses.dataclass
class Frame:
    """What the relay reads of a frame, for `choose` and for the books."""

    direction: str
    number: int  # count of TCP/UDP frames in this direction, from 1
    data_number: int  # count of those with payload
    protocol: str
    source: str
    destination: str
    seq: int
    ack: int
    flags: int
    payload_len: int
    payload: bytes


def parse(direction, raw):
    """Reads TCP or UDP over IPv4 or IPv6, and IPv4 fragments behind the first (protocol `fragment`, no ports); `None` for anything else."""
    kind = struct.unpack_from("!H", raw, 12)[0]
    if kind == 0x0800:
        header = (raw[14] & 15) * 4
        protocol, total = raw[23], struct.unpack_from("!H", raw, 16)[0]
        addresses = [socket.inet_ntop(socket.AF_INET, raw[at : at + 4]) for at in (26, 30)]
        start, end = 14 + header, 14 + total
        if struct.unpack_from("!H", raw, 20)[0] & 0x1FFF:
            return Frame(direction, 0, 0, "fragment", *addresses, 0, 0, 0, end - start, bytes(raw[start:end]))
    elif kind == 0x86DD:
        protocol, length = raw[20], struct.unpack_from("!H", raw, 18)[0]
        addresses = ["[" + socket.inet_ntop(socket.AF_INET6, raw[at : at + 16]) + "]" for at in (22, 38)]
        start, end = 54, 54 + length
    else:
        return None
    if protocol not in (6, 17):
        return None
    ports = struct.unpack_from("!HH", raw, start)
    source, destination = (f"{address}:{port}" for address, port in zip(addresses, ports))
    seq = ack = flags = 0
    payload = start + 8
    if protocol == 6:
        seq, ack = struct.unpack_from("!II", raw, start + 4)
        flags, payload = raw[start + 13], start + (raw[start + 12] >> 4) * 4
    return Frame(direction, 0, 0, "tcp" if protocol == 6 else "udp", source, destination, seq, ack, flags,
                 end - payload, bytes(raw[payload:end]))


def _sum(*parts):
    """The checksum of the internet (RFC 1071)."""
    octets = b"".join(parts)
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets[: len(octets) & ~1])) + (octets[-1] << 8 if len(octets) & 1 else 0)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def rewritten(raw, edit):
    """A TCP frame after `edit(ip, tcp)`, which changes two bytearrays in place, with right lengths and checksums again."""
    ipv4 = raw[12:14] == b"\x08\0"
    end = 14 + (struct.unpack_from("!H", raw, 16)[0] if ipv4 else 40 + struct.unpack_from("!H", raw, 18)[0])
    start = 14 + ((raw[14] & 15) * 4 if ipv4 else 40)
    ip, tcp = bytearray(raw[14:start]), bytearray(raw[start:end])
    edit(ip, tcp)
    struct.pack_into("!H", ip, 2 if ipv4 else 4, len(tcp) + (len(ip) if ipv4 else 0))
    if ipv4:
        ip[10:12] = bytes(2)
        ip[10:12] = struct.pack("!H", _sum(bytes(ip)))
    addresses = bytes(ip[12:20] if ipv4 else ip[8:40])
    tcp[16:18] = bytes(2)
    tcp[16:18] = struct.pack("!H", _sum(addresses, struct.pack("!HH", 6, len(tcp)), bytes(tcp)))
    return bytes(raw[:14] + ip + tcp)


class _Side:
    """One direction while the relay runs."""

    def __init__(self, name, way, seed):
        self.name, self.way, self.random = name, way, random.Random(seed)
        self.count = self.data_count = self.burst_left = 0
        self.last_due = self.wire_free = 0.0

    def judge(self, raw, now):
        """Gives `(due times, note for the books or None, frame)`."""
        frame, way = parse(self.name, raw), self.way
        if frame is None:
            return [now], None, None
        self.count += 1
        self.data_count += frame.payload_len > 0
        frame.number, frame.data_number = self.count, self.data_count
        action = way.choose(frame) if way.choose else None
        eligible = way.loss_of == "all" or (way.loss_of == "data") == (frame.payload_len > 0)
        if self.burst_left and eligible:
            self.burst_left -= 1
            action = action or "drop"
        elif way.loss and eligible and self.random.random() < way.loss:
            self.burst_left = way.burst - 1
            action = action or "drop"
        if action == "drop":
            return [], "drop", frame
        due = now + way.delay_ms / 1e3
        if way.rate_bps:
            start = max(now, self.wire_free)
            if (start - now) * way.rate_bps / 8 > way.queue_bytes:
                return [], "queue-drop", frame
            self.wire_free = start + len(raw) * 8 / way.rate_bps
            due = self.wire_free + way.delay_ms / 1e3
        note = None
        if way.jitter_ms:
            due += self.random.random() * way.jitter_ms / 1e3
        if isinstance(action, tuple) and action[0] == "until":
            due, note = max(due, self.last_due, action[1]), "delay"
            self.last_due = due
        elif isinstance(action, tuple):
            due, note = due + action[1] / 1e3, "delay"
        elif way.reorder and self.random.random() < way.reorder:
            due, note = due + way.reorder_by_ms / 1e3, "reorder"
        elif not way.jitter_reorders:
            due = max(due, self.last_due)
            self.last_due = due
        copies = 1
        if action == "duplicate" or (way.duplicate and self.random.random() < way.duplicate):
            copies, note = 2, "duplicate"
        return [due] * copies, note, frame


def _open(link):
    handle = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    handle.bind((link, 0))
    handle.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
    handle.setblocking(False)
    return handle


def relay(wire, client_link, server_link, stop, results):
    """Forwards until `stop` is set, then puts the books and the ledger's summary into `results`."""
    links = [_open(client_link), _open(server_link)]
    sides = [_Side("up", wire.up, wire.seed), _Side("down", wire.down, wire.seed + 1)]
    queue, order, books, ledger = [], itertools.count(), [], Ledger()
    sent = {}  # frames so far, per source and destination
    delivered = [0, 0]  # order number of the newest frame handed on, per side
    buffer = bytearray(70_000)
    while not stop.is_set():
        wait = max(0.0, min(queue[0][0] - time.monotonic(), 0.05)) if queue else 0.05
        if wait > 0.0002:
            select.select(links, [], [], wait)
        for at, link in enumerate(links):
            for _ in range(64):
                try:
                    length = link.recv_into(buffer)
                except BlockingIOError:
                    break
                raw = bytes(buffer[:length])
                now = time.monotonic()
                dues, note, frame = sides[at].judge(raw, now)
                arrival = next(order)
                handle = ledger.sent(frame) if frame else None
                nth = None
                if frame and wire.trace:
                    nth = sent.get((frame.source, frame.destination), 0)
                    sent[(frame.source, frame.destination)] = nth + 1
                change = sides[at].way.change
                frames = change(frame, raw) if frame and change else [raw]
                for due in dues:
                    for one in frames:
                        heapq.heappush(queue, (due, next(order), arrival, at, one, frame, handle, nth))
                if not dues:
                    ledger.dropped(handle)
                if note:
                    books.append(entry(note, frame))
        now = time.monotonic()
        while queue and queue[0][0] <= now:
            _, _, arrival, at, raw, frame, handle, nth = heapq.heappop(queue)
            ledger.delivered(handle)
            if frame is not None:
                if arrival < delivered[at]:
                    books.append(entry("late", frame))
                delivered[at] = max(delivered[at], arrival)
                if sides[at].way.note_passed and frame.payload_len:
                    books.append(entry("passed", frame))
                if nth is not None:
                    books.append(entry("handed-on", frame) | {"nth": nth})
            try:
                links[1 - at].send(raw)
            except OSError:
                books.append(entry("send-failed", frame) if frame else {"action": "send-failed"})
    results.put((books, ledger.summary()))


def entry(action, frame):
    """A line of the books."""
    return {
        "action": action, "direction": frame.direction, "number": frame.number, "protocol": frame.protocol,
        "source": frame.source, "destination": frame.destination, "seq": frame.seq, "ack": frame.ack,
        "flags": frame.flags, "payload_len": frame.payload_len, "time": time.time(),
    }
