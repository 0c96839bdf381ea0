#!/usr/bin/env python3
"""Captures that say of their packets what no packet says: processes, pods, causes of resets.

    python3 testdata/lab/marked.py testdata/marked

The tools and devices that write such marks (Apple's tcpdump, ptcpdump, rustnet, Wireshark, F5 BIG-IP, a kernel with
Multipath TCP behind a firewall) are not at hand: the files follow their published formats, octet by octet.
"""
import ipaddress, pathlib, struct, sys

from packets import ACK, CLIENT, PSH, RST, SERVER, SYN, TCP, Capture, tcp

REQUEST = b"GET /report HTTP/1.1\r\nHost: shop.example\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n" + b"x" * 900
#: Options of enhanced packets and of the blocks that describe processes.
COMMENT, FLAGS, PROCESS, DARWIN = 1, 2, 8, 0x8001
INBOUND, OUTBOUND = 1, 2


class Frames(Capture):
    """The frames themselves, with their times, and whether the client sent them."""

    def __init__(self):
        super().__init__()
        self.frames = []

    def write(self, frame):
        self.now += 20
        self.frames.append((self.now, frame, frame[26:30] == ipaddress.ip_address(CLIENT).packed))


def conversations(reset_options=b""):
    """Three downloads that the server aborts in the middle."""
    all_of_them = Frames()
    for number in range(3):
        client, server = (CLIENT, 40_000 + number), (SERVER, 80)

        def send(up, flags, seq, ack, payload=b"", after=0.2, extra=b""):
            src, dst = (client, server) if up else (server, client)
            all_of_them.wait(after)
            segment = tcp(src, dst, flags, seq, ack, payload, extra=extra)
            all_of_them.write(all_of_them.ipv4(src[0], dst[0], TCP, segment))

        send(True, SYN, 100, 0)
        send(False, SYN | ACK, 500, 101)
        send(True, ACK, 101, 501)
        send(True, PSH | ACK, 101, 501, REQUEST)
        send(False, PSH | ACK, 501, 101 + len(REQUEST), ANSWER, after=5)
        send(True, ACK, 101 + len(REQUEST), 501 + len(ANSWER))
        send(False, RST | ACK, 501 + len(ANSWER), 101 + len(REQUEST), after=400, extra=reset_options)
        all_of_them.wait(200)
    return all_of_them.frames


def pcap(frames, link_type=1):
    file = struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, link_type)
    for now, frame, _ in frames:
        file += struct.pack("<IIII", *divmod(now, 1_000_000), len(frame), len(frame)) + frame
    return file


def block(kind, body, order="<"):
    body += b"\0" * (-len(body) % 4)
    return struct.pack(order + "II", kind, 12 + len(body)) + body + struct.pack(order + "I", 12 + len(body))


def options(pairs, order="<"):
    octets = b"".join(struct.pack(order + "HH", code, len(value)) + value + b"\0" * (-len(value) % 4) for code, value in pairs)
    return octets + b"\0" * 4 if pairs else b""


def pcapng(frames, blocks, marks, order="<"):
    """One section with these blocks before its packets; `marks` gives the options of a packet."""
    file = block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)
    file += block(1, struct.pack(order + "HHI", 1, 0, 262144), order) + b"".join(blocks)
    for now, frame, up in frames:
        head = struct.pack(order + "IIIII", 0, now >> 32, now & 0xFFFFFFFF, len(frame), len(frame))
        file += block(6, head + frame + b"\0" * (-len(frame) % 4) + options(marks(up), order), order)
    return file


def number(value, order="<"):
    return struct.pack(order + "I", value)


def of_client(up):
    return OUTBOUND if up else INBOUND


def darwin():
    """draft of Apple's tcpdump: blocks of type 0x80000001, number and options (2 name, 4 UUID)."""
    blocks = [block(0x80000001, number(pid) + options([(2, name), (4, bytes(16))]))
              for pid, name in ((1, b"launchd"), (501, b"curl"))]
    return pcapng(conversations(), blocks, lambda up: [(FLAGS, number(of_client(up))), (DARWIN, number(1))])


def wireshark_entry(pid, pairs, order):
    """Custom block of the Wireshark Foundation (32622), entry 3; the entry is little-endian in any section."""
    entry = number(pid) + options(pairs)
    body = number(32622, order) + struct.pack("<II", 3, len(entry)) + entry
    return block(0xBAD, body, order)


def process_option(order="<"):
    blocks = [wireshark_entry(4212, [(2, b"java"), (3, b"/opt/jdk/bin/java"), (4, b"java\0-jar\0shop.jar")], order)]
    at_server = lambda up: INBOUND if up else OUTBOUND
    return pcapng(conversations(), blocks, lambda up: [
        (FLAGS, number(at_server(up), order)), (PROCESS, struct.pack(order + "II", 4212, 4230))], order)


def ptcpdump():
    return pcapng(conversations(), [], lambda up: [
        (COMMENT, b"PID: 4212\nCmd: /opt/jdk/bin/java\nArgs: java -jar shop.jar"),
        (COMMENT, b"ParentPID: 1\nParentCmd: /sbin/init\nParentArgs: init"),
        (COMMENT, b"ContainerName: web\nContainerId: 0123abcd\nContainerImage: web:1\nContainerLabels: {}"),
        (COMMENT, b"PodName: web-0\nPodNamespace: shop\nPodUID: 7\nPodLabels: {}\nPodAnnotations: {}"),
        (FLAGS, number(INBOUND if up else OUTBOUND))])


def rustnet():
    return pcapng(conversations(), [], lambda up: [
        (COMMENT, b"rustnet process=curl pid=501 ppid=1 uid=1000 attr=exact pod=job-1 ns=batch direction=outgoing app=HTTP")])


def pktap():
    """Apple's PKTAP header of 108 octets: process number at 52, its name at 56, direction in the flags at 36."""
    def wrapped(frame, up):
        head = struct.pack("<III24sIIIIi20s", 108, 1, 1, b"en0", 2 if up else 1, 2, 14, 0, 501, b"curl")
        return head.ljust(108, b"\0") + frame
    return pcap([(now, wrapped(frame, up), up) for now, frame, up in conversations()], 258)


def mapped(address):
    return bytes(10) + b"\xff\xff" + ipaddress.ip_address(address).packed


def f5_parts(up, is_reset):
    """Low, medium and high part without their heads: virtual server; flows and cause; the other side."""
    low = struct.pack(">BBBB", int(up), 0, 1, 11) + b"/Common/vip"
    medium = struct.pack(">QQIIBBHHB", 0x1000, 0x2000, 0, 0, 1, 0, 1, 2, 3)
    text = b"Flow expired (sweeper) (idle timeout)"
    cause = struct.pack(">BQ", 0, 0x0123456789AB0042) + text if is_reset else b""
    medium += bytes([len(cause)]) + cause
    high = struct.pack(">BH", 6, 4093) + mapped("10.20.0.8") + mapped("10.20.0.1") + struct.pack(">HH", 8080, 51000)
    return low, medium, high


def f5(with_magic):
    frames = []
    for now, frame, up in conversations():
        parts = f5_parts(up, bool(frame[14 + 20 + 13] & RST))
        if with_magic:
            body = b"".join(struct.pack(">HHHH", 1, kind, 8 + len(part), version) + part
                            for kind, version, part in zip((1, 2, 3), (3, 4, 1), parts))
            trailer = struct.pack(">IHH", 0xF5DEB0F5, 8 + len(body), 1) + body
        else:
            trailer = b"".join(bytes([kind, len(part) + 1, version]) + part
                               for kind, version, part in zip((1, 2, 3), (1, 3, 0), parts))
        # The payload of the frame is padded before the trailer.
        frames.append((now, frame.ljust(60, b"\0") + trailer, up))
    return pcap(frames)


def multipath_reset():
    """MP_TCPRST, transient, administratively prohibited (RFC 8684 section 3.6)."""
    return pcap(conversations(bytes([30, 4, 0x81, 3])))


def hostile():
    """Names that would steer a terminal or a page, and blocks whose lengths lie."""
    blocks = [wireshark_entry(666, [(2, b"<script>q\x1b[2J\x07\"'|")], "<"),
              block(0xBAD, number(32622) + struct.pack("<II", 3, 0xFFFFFFFF) + b"\xff" * 8),
              block(0x80000001, number(7) + struct.pack("<HH", 2, 0xFFFF)),
              block(0x80000001, b"")]
    return pcapng(conversations(), blocks, lambda up: [
        (COMMENT, b"PodName: \x1b]0;x\x07<img src=x>\nPodNamespace: `|[x](y)"), (PROCESS, b"\1"),
        (FLAGS, b""), (DARWIN, number(0xFFFFFFFF)), (PROCESS, struct.pack("<II", 666, 0))])


CASES = {
    "darwin-blocks.pcapng": darwin,
    "process-option.pcapng": process_option,
    "process-option-be.pcapng": lambda: process_option(">"),
    "ptcpdump.pcapng": ptcpdump,
    "rustnet.pcapng": rustnet,
    "pktap.pcap": pktap,
    "f5-magic.pcap": lambda: f5(True),
    "f5-old.pcap": lambda: f5(False),
    "multipath-reset.pcap": multipath_reset,
    "hostile.pcapng": hostile,
}

if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, case in CASES.items():
        (folder / name).write_bytes(case())
