#!/usr/bin/env python3
"""Captures of real stacks behind devices that mark, damage, rewrite, forge and answer for others, and of small buffers.

    sudo python3 testdata/lab/devices.py OUTPUT_FOLDER [CASE...]

Makes captures of corruption, data-conflict, ecn-congestion, sequence-rewritten, small-window, syn-proxy and
timeout-recovery. The device is the relay, or the server's netfilter.
"""
import contextlib
import os
import socket
import struct
import time

from actors import compress, connect, http_get, http_ok, http_server, read_exactly, run_cases, serve_threads
from net import SERVER, SERVER6, Net, write_truth
from parts import lab_name
from relay import Way, Wire, rewritten

MADE = lab_name(__file__)
PORT = 8080


def record(net, folder, kind, name, act, story, found=None, may=(), side="client", **more):
    """`found`: what its finding must be beside its rule; nothing for a look-alike."""
    path = os.path.join(folder, kind, name + ".pcap")
    with net.capture(side, path, expression="tcp or icmp or icmp6 or arp", **more):
        act()
        time.sleep(0.5)
    findings = [{"rule": kind, "figures": {}, **found}] if found else []
    write_truth(path, story, MADE, findings, may=list(may), capture_point=side)
    compress(path)


def swallow(connection):
    while connection.recv(1 << 16):
        pass


def upload(address, size):
    with connect(address, PORT) as connection:
        connection.sendall(bytes(size))
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)


def download(address, size):
    with connect(address, PORT) as connection:
        connection.sendall(b"all\n")
        read_exactly(connection, size)


def give(size):
    def talk(connection):
        connection.recv(100)
        connection.sendall(bytes(size))
    return talk


def web(net, address=SERVER):
    net.spawn("server", http_server, address, PORT, lambda *_: http_ok(b"item" * 20))


def get(address, number, gap_s=0.05):
    with connect(address, PORT) as connection:
        for nth in range(number):
            http_get(connection, f"/{nth}", "shop.example")
            time.sleep(gap_s)


# --- corruption ------------------------------------------------------------------------------

def flip(every):
    """Damages the first copy of every so-manieth data segment, without a new checksum."""
    seen = set()

    def change(frame, raw):
        if frame.payload_len < 100 or frame.seq in seen:
            return [raw]
        seen.add(frame.seq)
        if len(seen) % every:
            return [raw]
        damaged = bytearray(raw)
        damaged[-50 - len(seen) % 7] ^= 1 << len(seen) % 8
        return [bytes(damaged)]
    return change


def readings(address, number):
    """Sends messages of 200 bytes, which make small segments: longer ones are not summed."""
    with connect(address, PORT) as connection:
        for nth in range(number):
            connection.sendall(b"%199d\n" % nth)
            time.sleep(0.01)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)


def give_readings(connection):
    for nth in range(120):
        connection.sendall(b"%199d\n" % nth)
        time.sleep(0.01)


DAMAGED = {"severity_at_least": "low"}
REPAIRS = ["packet-loss", "retransmit-hol", "timeout-recovery", "spurious-retransmission", "stream-framing"]


def bits_flip(folder):
    with Net(Wire(up=Way(delay_ms=4), down=Way(delay_ms=4, change=flip(12)))) as net:
        net.spawn("server", serve_threads, SERVER, PORT, give_readings)
        record(net, folder, "corruption", "bits-flip", lambda: net.call("client", download, SERVER, 120 * 200),
               "A device damages every twelfth message of a server; the client's kernel discards them.", DAMAGED, REPAIRS)


def bits_flip_ipv6(folder):
    with Net(Wire(up=Way(delay_ms=4, change=flip(10)), down=Way(delay_ms=4))) as net:
        net.spawn("server", serve_threads, SERVER6, PORT, swallow)
        record(net, folder, "corruption", "bits-flip-ipv6-server", lambda: net.call("client", readings, SERVER6, 120),
               "A device damages every tenth message of a client; the server's kernel discards them.", DAMAGED, REPAIRS, side="server")


def not_damaged_here(folder):
    with Net(Wire(up=Way(delay_ms=4, change=flip(10)), down=Way(delay_ms=4))) as net:
        net.spawn("server", serve_threads, SERVER, PORT, swallow)
        record(net, folder, "corruption", "not-before-the-device", lambda: net.call("client", readings, SERVER, 120),
               "A device damages messages behind the capture point: they were whole when they passed it.", may=REPAIRS)


def not_offloaded(folder):
    """The card would write the checksums; the capture shows what the kernel left there."""
    with Net() as net:
        net.exec("client", "ethtool", "-K", "eth0", "tx", "on")
        net.spawn("server", serve_threads, SERVER, PORT, swallow)
        record(net, folder, "corruption", "not-offloaded", lambda: net.call("client", readings, SERVER, 60),
               "Checksums of what the client sends are left to its card.")


# --- data-conflict ---------------------------------------------------------------------------

def forge(page):
    """Answers the first request before the server does, with the next sequence number of its stream."""
    done = set()

    def change(frame, raw):
        if not frame.payload.startswith(b"HTTP/1.1 200") or frame.destination in done:
            return [raw]
        done.add(frame.destination)

        def edit(ip, tcp):
            start = (tcp[12] >> 4) * 4
            # A stack of its own, and nearer: another identification and another hop limit.
            if ip[0] >> 4 == 4:
                ip[4:6], ip[8] = b"\x12\x34", 250
            else:
                ip[7] = 250
            tcp[start:] = page

        return [rewritten(raw, edit), raw]
    return change


def once(address):
    """A request whose answer is read to its end, whatever it says."""
    with connect(address, PORT, 1) as connection, contextlib.suppress(TimeoutError):
        connection.sendall(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n")
        while connection.recv(4096):
            pass


PAGE = b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\nContent-Length: 0\r\n\r\n"


def forged(folder, name, address, side):
    with Net(Wire(up=Way(delay_ms=3), down=Way(delay_ms=3, change=forge(PAGE)))) as net:
        web(net, address)
        record(net, folder, "data-conflict", name, lambda: net.call("client", once, address), "A device answers a request before the server does.",
               {"severity_at_least": "low"}, ["injected-reset", "spurious-retransmission", "sequence-rewritten"], side=side)


def answered_twice(folder):
    forged(folder, "answered-twice", SERVER, "client")


def answered_twice_ipv6(folder):
    forged(folder, "answered-twice-ipv6", SERVER6, "client")


def not_doubled(folder):
    with Net(Wire(up=Way(delay_ms=3), down=Way(delay_ms=3, duplicate=0.5))) as net:
        web(net)
        record(net, folder, "data-conflict", "not-doubled", lambda: net.call("client", get, SERVER, 30), "The network delivers packets twice, unchanged.",
               may=["spurious-retransmission"])


def not_repeated(folder):
    with Net(Wire(up=Way(delay_ms=3, loss=0.2, loss_of="acks"), down=Way(delay_ms=3, loss=0.1, loss_of="data"))) as net:
        web(net)
        record(net, folder, "data-conflict", "not-repeated", lambda: net.call("client", get, SERVER, 30), "Responses are lost and sent again, unchanged.",
               may=[*REPAIRS, "slow-connect", "slow-response"])


# --- sequence-rewritten ----------------------------------------------------------------------

SHIFT = 0x1234567


def shift(edges):
    """Moves the client's sequence numbers, as a firewall that makes them unpredictable; with or without those in SACK blocks."""
    def up(frame, raw):
        def edit(_ip, tcp):
            struct.pack_into("!I", tcp, 4, (frame.seq + SHIFT) & 0xFFFFFFFF)
        return [rewritten(raw, edit)]

    def down(frame, raw):
        def edit(_ip, tcp):
            if frame.flags & 16:
                struct.pack_into("!I", tcp, 8, (frame.ack - SHIFT) & 0xFFFFFFFF)
            at, end = 20, (tcp[12] >> 4) * 4
            while edges and at < end and tcp[at]:
                if tcp[at] == 1:
                    at += 1
                    continue
                if tcp[at] == 5:
                    for edge in range(at + 2, at + tcp[at + 1], 4):
                        struct.pack_into("!I", tcp, edge, (struct.unpack_from("!I", tcp, edge)[0] - SHIFT) & 0xFFFFFFFF)
                at += tcp[at + 1]
        return [rewritten(raw, edit)]
    return up, down


def lose(every):
    """Loses the first copy of every so-manieth data segment."""
    seen = set()

    def choose(frame):
        if frame.payload_len < 500 or frame.seq in seen:
            return None
        seen.add(frame.seq)
        return "drop" if len(seen) % every == 0 else None
    return choose


def rewrite(folder, name, address, edges, every, story, found, may=()):
    up, down = shift(edges)
    with Net(Wire(up=Way(delay_ms=5, change=up, choose=lose(every)), down=Way(delay_ms=5, change=down))) as net:
        net.spawn("server", serve_threads, address, PORT, swallow)
        record(net, folder, "sequence-rewritten", name, lambda: net.call("client", upload, address, 200_000), story,
               {"severity_at_least": "low"} if found else None, [*REPAIRS, *may])


def forgets_sack(folder):
    rewrite(folder, "forgets-sack", SERVER, False, 25, "A firewall moves sequence numbers and forgets those in SACK blocks.", True)


def forgets_sack_ipv6(folder):
    rewrite(folder, "forgets-sack-ipv6", SERVER6, False, 20, "A firewall moves sequence numbers and forgets those in SACK blocks.", True)


def not_forgotten(folder):
    rewrite(folder, "not-forgotten", SERVER, True, 25, "A firewall moves sequence numbers, also in SACK blocks.", False)


def not_lost(folder):
    rewrite(folder, "not-lost", SERVER, False, 10_000, "A firewall moves sequence numbers; nothing is lost, so there are no SACK blocks.", False)


# --- ecn-congestion --------------------------------------------------------------------------

def mark(every, most=10_000):
    count = [0, 0]

    def change(frame, raw):
        if frame.payload_len < 500:
            return [raw]
        count[0] += 1
        if count[0] % every or count[1] >= most:
            return [raw]
        count[1] += 1

        def edit(ip, _tcp):
            if ip[0] >> 4 == 4:
                ip[1] |= 3
            else:
                ip[1] |= 0x30
        return [rewritten(raw, edit)]
    return change


def congested(folder, name, address, direction, every, story, found, most=10_000):
    ways = {"up": Way(delay_ms=4), "down": Way(delay_ms=4)}
    ways[direction].change = mark(every, most)
    with Net(Wire(**ways), sysctls={"net.ipv4.tcp_ecn": 1}) as net:
        net.spawn("server", serve_threads, address, PORT, swallow if direction == "up" else give(250_000))
        act = upload if direction == "up" else download
        record(net, folder, "ecn-congestion", name, lambda: net.call("client", act, address, 250_000), story,
               {"severity_at_least": "low", "severity_at_most": "low"} if found else None, ["spurious-retransmission"])


def marked(folder):
    congested(folder, "marked-download", SERVER, "down", 8, "A router marks every eighth segment of a download.", True)


def echoed_ipv6(folder):
    congested(folder, "echoed-ipv6", SERVER6, "up", 8, "A router marks every eighth segment of an upload, behind the capture point.", True)


def not_marked(folder):
    congested(folder, "not-marked", SERVER, "down", 10_000, "Both ends can read marks; no router marks anything.", False)


def not_often(folder):
    congested(folder, "not-often", SERVER, "down", 40, "A router marks two segments of a download.", False, most=2)


# --- timeout-recovery ------------------------------------------------------------------------

def lose_tails(copies, of_last):
    """Loses the response's only segment so many times; `of_last` in how many of the first responses."""
    seen = {}

    def choose(frame):
        if not frame.payload_len:
            return None
        seen[frame.seq] = seen.get(frame.seq, 0) + 1
        return "drop" if len(seen) <= of_last and seen[frame.seq] <= copies else None
    return choose


def tails(folder, name, address, side):
    with Net(Wire(up=Way(delay_ms=5), down=Way(delay_ms=5, choose=lose_tails(2, 5)))) as net:
        web(net, address)
        record(net, folder, "timeout-recovery", name, lambda: net.call("client", get, address, 12),
               "Five responses of one segment are lost, and so are the probes that repeat them.", {"severity_at_least": "low"},
               [*REPAIRS, "slow-response", "path-outage"], side=side)


def lost_tails(folder):
    tails(folder, "lost-tails", SERVER, "server")


def lost_tails_ipv6(folder):
    tails(folder, "lost-tails-ipv6", SERVER6, "server")


def not_fast(folder):
    with Net(Wire(up=Way(delay_ms=5), down=Way(delay_ms=5, choose=lose(40)))) as net:
        net.spawn("server", serve_threads, SERVER, PORT, give(300_000))
        record(net, folder, "timeout-recovery", "not-fast-download", lambda: net.call("client", download, SERVER, 300_000),
               "Segments of a download are lost and repaired by duplicate acknowledgments.", may=["packet-loss", "retransmit-hol"], side="server")


def not_probed(folder):
    """Tail loss probes (RFC 8985) repair them before the timer."""
    with Net(Wire(up=Way(delay_ms=5), down=Way(delay_ms=5, choose=lose_tails(1, 2)))) as net:
        web(net)
        record(net, folder, "timeout-recovery", "not-probed", lambda: net.call("client", get, SERVER, 12),
               "Two responses of one segment are lost; probes repair them.", may=["packet-loss", "slow-response"], side="server")


# --- small-window ----------------------------------------------------------------------------

def tiny(address, size):
    def serve():
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
            listening.bind((address, PORT))
            listening.listen()
            while True:
                connection, _ = listening.accept()
                swallow(connection)
                connection.close()
    return serve


def buffered(folder, name, address, size, story, found, may=()):
    with Net(Wire(up=Way(delay_ms=2), down=Way(delay_ms=2))) as net:
        net.spawn("server", tiny(address, size))
        record(net, folder, "small-window", name, lambda: net.call("client", upload, address, 60_000), story,
               {"severity_at_least": "low"} if found else None, may)


def tiny_buffer(folder):
    buffered(folder, "tiny-buffer", SERVER, 1_400, "The server's program asks for a receive buffer of 1,400 bytes.", True, ["window-limited", "slow-ack"])


def tiny_buffer_ipv6(folder):
    buffered(folder, "tiny-buffer-ipv6", SERVER6, 1_000, "The server's program asks for a receive buffer of 1,000 bytes.", True,
             ["window-limited", "slow-ack"])


def not_tiny(folder):
    buffered(folder, "not-tiny", SERVER, 16_000, "The server's program asks for a receive buffer of 16,000 bytes.", False, ["window-limited"])


def not_usual(folder):
    buffered(folder, "not-usual", SERVER6, 200_000, "The server's program asks for a receive buffer of 200,000 bytes.", False)


# --- syn-proxy -------------------------------------------------------------------------------

def proxied(folder, name, address, story, found, tool=None):
    with Net(sysctls={"net.ipv4.tcp_syncookies": 2 if found else 1}) as net:
        web(net, address)
        if found:
            net.exec("server", tool, "-t", "raw", "-A", "PREROUTING", "-p", "tcp", "--dport", str(PORT), "--syn", "-j", "CT", "--notrack")
            net.exec("server", tool, "-A", "INPUT", "-p", "tcp", "--dport", str(PORT), "-m", "conntrack", "--ctstate", "INVALID,UNTRACKED", "-j", "SYNPROXY",
                     "--sack-perm", "--timestamp", "--wscale", "7", "--mss", "1440")
            net.exec("server", tool, "-A", "INPUT", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP")
            net.sysctl("server", "net.netfilter.nf_conntrack_tcp_loose", 0)
        record(net, folder, "syn-proxy", name, lambda: [net.call("client", get, address, 2) for _ in range(3)], story,
               {"severity_at_least": "info", "severity_at_most": "info"} if found else None)


def synproxy(folder):
    proxied(folder, "netfilter", SERVER, "Linux' SYNPROXY answers for the server before it lets connections through.", True, "iptables")


def synproxy_ipv6(folder):
    proxied(folder, "netfilter-ipv6", SERVER6, "Linux' SYNPROXY answers for the server before it lets connections through.", True, "ip6tables")


def not_cookies(folder):
    """SYN cookies for every connection: the server itself answers, with its window."""
    with Net(sysctls={"net.ipv4.tcp_syncookies": 2}) as net:
        web(net)
        record(net, folder, "syn-proxy", "not-cookies", lambda: [net.call("client", get, SERVER, 2) for _ in range(3)],
               "The server answers every SYN with a cookie.")


def not_closed_window(folder):
    """Accepted, and then the reader pauses until the window is closed."""
    def slow(connection):
        time.sleep(1.5)
        swallow(connection)

    with Net() as net:
        net.spawn("server", serve_threads, SERVER, PORT, slow)
        record(net, folder, "syn-proxy", "not-closed-window", lambda: net.call("client", upload, SERVER, 400_000),
               "A server reads nothing for 1.5 s: its window closes and opens again.", may=["zero-window-stall"], snaplen=128)


if __name__ == "__main__":
    run_cases([bits_flip, bits_flip_ipv6, not_damaged_here, not_offloaded, answered_twice, answered_twice_ipv6, not_doubled, not_repeated, forgets_sack,
               forgets_sack_ipv6, not_forgotten, not_lost, marked, echoed_ipv6, not_marked, not_often, lost_tails, lost_tails_ipv6, not_fast, not_probed,
               tiny_buffer, tiny_buffer_ipv6, not_tiny, not_usual, synproxy, synproxy_ipv6, not_cookies, not_closed_window])
