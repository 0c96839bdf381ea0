#!/usr/bin/env python3
"""Makes a capture of a second point out of one that was taken there, as devices and clocks would have changed it.

    python3 testdata/lab/second_point.py IN.pcap[.gz] OUT.pcap CHANGE...

Changes, applied in order:
    offset=MS           the clock is ahead by so many milliseconds
    skew=PPM            and gains so many parts per million from the first frame on
    step=AT_S:MS        and is set forward by so many milliseconds after so many seconds
    nat=CLIENT_IP       the client's address is another, and its ports as well (every port plus 1000)
    dnat=SERVER_IP:PORT the server's address and port are others
    renumber=SEED       sequence numbers are rewritten, one distance per connection and direction
    drop=SHARE:SEED     the capture missed frames
    dscp=VALUE          every packet bears this DSCP
    ce=SHARE:SEED       ECN-capable or not, some packets bear CE
    mss=VALUE           SYNs bear at most this MSS
    strip=KIND          TCP options of this kind are overwritten with padding
    snap=OCTETS         frames are cut
    only=up|down        frames of one direction alone (up: to the port given by the smaller port)
    from=S, to=S        frames from or up to so many seconds after the first
    merge=up|down       consecutive segments of one direction are one large segment (before segmentation)
    reset=COUNT:SEED    as many connections get a reset in mid-life, which neither end sent (towards the client)
Prints what was done as JSON.
"""
import gzip
import json
import random
import struct
import sys


def read(path):
    opened = gzip.open(path) if path.endswith(".gz") else open(path, "rb")
    with opened as handle:
        data = handle.read()
    magic = struct.unpack_from("<I", data)[0]
    nano = magic == 0xA1B23C4D
    assert magic in (0xA1B2C3D4, 0xA1B23C4D), hex(magic)
    link = struct.unpack_from("<I", data, 20)[0]
    at, frames = 24, []
    while at + 16 <= len(data):
        sec, frac, cap, orig = struct.unpack_from("<IIII", data, at)
        frames.append([sec * 10**9 + frac * (1 if nano else 1000), orig, bytearray(data[at + 16 : at + 16 + cap])])
        at += 16 + cap
    return link, frames


def write(path, link, frames):
    with open(path, "wb") as handle:
        handle.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, link))
        for time, orig, raw, *_ in frames:
            handle.write(struct.pack("<IIII", time // 10**9, time % 10**9, len(raw), orig))
            handle.write(raw)


class Parsed:
    """Offsets of the headers of a frame; `None` members where it is not TCP or UDP over IP in Ethernet."""

    def __init__(self, raw):
        self.l4 = None
        kind = struct.unpack_from("!H", raw, 12)[0] if len(raw) >= 14 else 0
        if kind == 0x0800:
            self.v4, self.ip, self.l4 = True, 14, 14 + (raw[14] & 15) * 4
            self.proto = raw[23]
            self.src, self.dst = bytes(raw[26:30]), bytes(raw[30:34])
        elif kind == 0x86DD:
            self.v4, self.ip, self.l4 = False, 14, 54
            self.proto = raw[20]
            self.src, self.dst = bytes(raw[22:38]), bytes(raw[38:54])
        else:
            return
        if self.proto not in (6, 17) or len(raw) < self.l4 + 8:
            self.l4 = None
            return
        self.sport, self.dport = struct.unpack_from("!HH", raw, self.l4)
        self.tcp = self.proto == 6
        self.up = self.dport < self.sport

    def client(self):
        return (self.src, self.sport) if self.up else (self.dst, self.dport)


def options(raw, p):
    end = min(p.l4 + (raw[p.l4 + 12] >> 4) * 4, len(raw))
    at = p.l4 + 20
    while at < end:
        kind = raw[at]
        if kind == 0:
            return
        if kind == 1:
            at += 1
            continue
        if at + 1 >= end or raw[at + 1] < 2 or at + raw[at + 1] > end:
            return
        yield kind, at, raw[at + 1]
        at += raw[at + 1]


def change(frames, name, value, told):
    first = frames[0][0] if frames else 0
    if name == "offset":
        for frame in frames:
            frame[0] += int(float(value) * 1e6)
    elif name == "skew":
        for frame in frames:
            frame[0] += int((frame[0] - first) * float(value) / 1e6)
    elif name == "step":
        at, size = value.split(":")
        for frame in frames:
            if frame[0] - first >= float(at) * 1e9:
                frame[0] += int(float(size) * 1e6)
    elif name == "from":
        frames[:] = [f for f in frames if f[0] - first >= float(value) * 1e9]
    elif name == "to":
        frames[:] = [f for f in frames if f[0] - first <= float(value) * 1e9]
    elif name == "snap":
        for frame in frames:
            frame[2] = frame[2][: int(value)]
    elif name == "drop":
        share, seed = value.split(":")
        dice = random.Random(int(seed))
        kept = []
        for frame in frames:
            p = Parsed(frame[2])
            if p.l4 and dice.random() < float(share):
                key = "up" if p.up else "down"
                told[f"dropped_{key}"] = told.get(f"dropped_{key}", 0) + 1
            else:
                kept.append(frame)
        frames[:] = kept
    elif name == "only":
        frames[:] = [f for f in frames if (p := Parsed(f[2])).l4 and p.up == (value == "up")]
    elif name == "merge":
        merge(frames, value == "up", told)
    elif name == "reset":
        reset(frames, *map(int, value.split(":")), told)
    else:
        each(frames, name, value, told)


def each(frames, name, value, told):
    distances, dice = {}, random.Random(value)
    ce = value.split(":") if name == "ce" else None
    if ce:
        dice = random.Random(int(ce[1]))
    count = 0
    for frame in frames:
        raw = frame[2]
        p = Parsed(raw)
        if not p.l4:
            continue
        if name == "nat" and p.v4:
            address = bytes(map(int, value.split(".")))
            place, port = (26, p.l4) if p.up else (30, p.l4 + 2)
            raw[place : place + 4] = address
            struct.pack_into("!H", raw, port, (p.client()[1] + 1000) & 0xFFFF)
        elif name == "dnat" and p.v4:
            address, port = value.split(":")
            place, at = (30, p.l4 + 2) if p.up else (26, p.l4)
            raw[place : place + 4] = bytes(map(int, address.split(".")))
            struct.pack_into("!H", raw, at, int(port))
        elif name in ("dscp", "ce"):
            if ce and dice.random() >= float(ce[0]):
                continue
            old = raw[15] if p.v4 else (raw[14] << 4 | raw[15] >> 4) & 255
            new = (int(value) << 2 | old & 3) if name == "dscp" else (old | 3)
            count += new != old
            if p.v4:
                raw[15] = new
            else:
                raw[14], raw[15] = raw[14] & 0xF0 | new >> 4, (new & 15) << 4 | raw[15] & 15
        elif name == "renumber" and p.tcp:
            way = distances.setdefault(p.client(), [dice.getrandbits(32), dice.getrandbits(32)])
            own, other = (way[0], way[1]) if p.up else (way[1], way[0])
            seq, ack = struct.unpack_from("!II", raw, p.l4 + 4)
            struct.pack_into("!I", raw, p.l4 + 4, (seq + own) & 0xFFFFFFFF)
            if raw[p.l4 + 13] & 16:
                struct.pack_into("!I", raw, p.l4 + 8, (ack + other) & 0xFFFFFFFF)
            for kind, at, length in options(raw, p):
                if kind == 5:
                    for edge in range(at + 2, at + length - 3, 4):
                        number = struct.unpack_from("!I", raw, edge)[0]
                        struct.pack_into("!I", raw, edge, (number + other) & 0xFFFFFFFF)
        elif name == "mss" and p.tcp and raw[p.l4 + 13] & 2:
            for kind, at, _ in options(raw, p):
                if kind == 2 and struct.unpack_from("!H", raw, at + 2)[0] > int(value):
                    struct.pack_into("!H", raw, at + 2, int(value))
                    count += 1
        elif name == "strip" and p.tcp:
            for kind, at, length in list(options(raw, p)):
                if kind == int(value):
                    raw[at : at + length] = b"\x01" * length
                    count += 1
    if count:
        told[name] = told.get(name, 0) + count


def payload_len(raw, p):
    total = struct.unpack_from("!H", raw, 16)[0] if p.v4 else struct.unpack_from("!H", raw, 18)[0] + 40
    return total - (p.l4 - p.ip) - (raw[p.l4 + 12] >> 4) * 4


def merge(frames, up, told):
    """Joins consecutive segments of one sender's direction, as a capture before segmentation shows them."""
    out, open_ = [], {}
    for frame in frames:
        raw = frame[2]
        p = Parsed(raw)
        if not p.l4 or not p.tcp or p.up != up or raw[p.l4 + 13] & 7 or payload_len(raw, p) <= 0:
            if p.l4 and p.tcp:
                open_.pop(p.client(), None)
            out.append(frame)
            continue
        seq, ack = struct.unpack_from("!II", raw, p.l4 + 4)
        length = payload_len(raw, p)
        stamps = [bytes(raw[at : at + n]) for kind, at, n in options(raw, p) if kind == 8]
        known = open_.get(p.client())
        if known and known["next"] == seq and known["stamps"] == stamps and known["len"] + length < 60000 \
                and frame[0] - known["frame"][0] < 200_000 and known["ack"] == ack:
            big, known["len"] = known["frame"], known["len"] + length
            known["next"] = (seq + length) & 0xFFFFFFFF
            if p.v4:
                struct.pack_into("!H", big[2], 16, struct.unpack_from("!H", big[2], 16)[0] + length)
            else:
                struct.pack_into("!H", big[2], 18, struct.unpack_from("!H", big[2], 18)[0] + length)
            big[1] += length
            told["merged"] = told.get("merged", 0) + 1
            continue
        open_[p.client()] = {"frame": frame, "next": (seq + length) & 0xFFFFFFFF, "len": length, "stamps": stamps, "ack": ack}
        out.append(frame)
    frames[:] = out


def reset(frames, count, seed, told):
    by_client = {}
    for index, frame in enumerate(frames):
        p = Parsed(frame[2])
        if p.l4 and p.tcp and p.v4 and not p.up and frame[2][p.l4 + 13] & 7 == 0:
            by_client.setdefault(p.client(), []).append(index)
    dice = random.Random(seed)
    chosen = sorted(by_client)
    dice.shuffle(chosen)
    added = []
    for client in chosen[:count]:
        model = frames[by_client[client][len(by_client[client]) // 2]]
        p = Parsed(model[2])
        raw = bytearray(model[2][: p.l4 + 20])
        raw[p.l4 + 12], raw[p.l4 + 13] = 0x50, 0x04
        raw[22] = 250  # a hop limit of its own
        struct.pack_into("!H", raw, 18, 0)
        struct.pack_into("!H", raw, 16, p.l4 - p.ip + 20)
        added.append([model[0] + 1000, len(raw), raw])
    told["resets"] = len(added)
    frames.extend(added)
    frames.sort(key=lambda frame: frame[0])


def main():
    link, frames = read(sys.argv[1])
    told = {}
    for one in sys.argv[3:]:
        name, _, value = one.partition("=")
        change(frames, name, value, told)
    write(sys.argv[2], link, frames)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
