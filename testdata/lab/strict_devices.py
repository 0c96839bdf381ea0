#!/usr/bin/env python3
"""Captures of real stacks behind devices that compare timestamps, change windows, or starve the host behind them.

    sudo python3 testdata/lab/strict_devices.py OUTPUT_FOLDER [CASE...]

Makes captures of timestamp-rejected, window-violation and slow-ack. The device is the relay, or netfilter of the server: kernels no longer compare
timestamps per address (Linux until 4.11 did, with tcp_tw_recycle), none sends beyond a window that it was shown, and one
machine cannot take its processor from one host alone.
"""
import contextlib
import os
import socket
import struct
import time

from actors import compress, connect, http_get, http_ok, http_server, in_threads, read_exactly, run_cases, serve_threads
from net import CLIENT, CLIENT6, SERVER, SERVER6, Net, pair, write_truth
from parts import lab_name
from relay import Way, Wire, rewritten

MADE = lab_name(__file__)
PORT = 8080
SYN, ACK = 2, 16


def path_of(folder, kind, name):
    return os.path.join(folder, kind, name + ".pcap")


def options(tcp):
    """Where each option of a TCP header stands: kind -> (start, length)."""
    found, at, end = {}, 20, (tcp[12] >> 4) * 4
    while at < end and tcp[at]:
        if tcp[at] == 1:
            at += 1
            continue
        found[tcp[at]] = (at, tcp[at + 1])
        at += tcp[at + 1]
    return found


def header(raw):
    """The TCP header and payload of a frame."""
    return raw[14 + (raw[14] & 15) * 4:] if raw[12:14] == b"\x08\0" else raw[54:]


# --- timestamp-rejected -----------------------------------------------------------------------

def checked_per_address(raw_frames):
    """Drops SYNs whose timestamp is older than that of a SYN it has let pass from the same address, within a minute."""
    newest = {}

    def change(frame, raw):
        tcp = header(raw)
        place = options(tcp).get(8)
        if frame.protocol != "tcp" or not frame.flags & SYN or place is None:
            return [raw]
        value = struct.unpack_from("!I", tcp, place[0] + 2)[0]
        host = frame.source.rsplit(":", 1)[0]
        known, when = newest.get(host, (value, 0.0))
        if (value - known) & 0x80000000 and time.monotonic() - when < 60:
            raw_frames.write(frame.source)
            return []
        newest[host] = (value, time.monotonic())
        return [raw]
    return change


class Dropped:
    """Which SYNs the device dropped, shared between processes through a file."""

    def __init__(self, path):
        self.path = path + ".dropped"

    def write(self, source):
        with open(self.path, "a") as handle:
            handle.write(source + "\n")

    def read(self):
        with contextlib.suppress(FileNotFoundError), open(self.path) as handle:
            return handle.read().split()
        return []

    def remove(self):
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.path)


def ask_from(source, address, patience_s):
    """One request from a source address; gives whether it was answered."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.settimeout(patience_s)
        connection.bind((source, 0))
        try:
            connection.connect((address, PORT))
        except TimeoutError:
            return False
        return http_get(connection, "/", "shop.example")[0] == 200


def translated(folder, name, checks, story, rounds=4, hosts=2, side="client", clock=1):
    """Hosts that share an address (netfilter's SNAT) connect by turns. Each has a clock of its own: the kernel's differs per pair of addresses."""
    path = path_of(folder, "timestamp-rejected", name)
    dropped = Dropped(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    wire = Wire(up=Way(delay_ms=3, change=checked_per_address(dropped) if checks else None), down=Way(delay_ms=3))
    sources = [f"10.9.0.{50 + number}" for number in range(hosts)]
    with Net(wire, sysctls={"net.ipv4.tcp_timestamps": clock}) as net:
        net.spawn("server", http_server, SERVER, PORT, lambda *_: http_ok(b"item" * 20))
        for source in sources:
            net.ip("client", "addr", "add", f"{source}/24", "dev", "eth0")
        net.exec("client", "iptables", "-t", "nat", "-A", "POSTROUTING", "-o", "eth0", "-p", "tcp", "-j", "SNAT", "--to-source", f"{CLIENT}:20000-40000")

        def act():
            return [ask_from(source, SERVER, 3.2) for _ in range(rounds) for source in sources]

        with net.capture(side, path, expression=f"tcp port {PORT}"):
            answers = net.call("client", act)
    gone = sorted(set(dropped.read()))
    dropped.remove()
    assert answers.count(False) == len(gone) and bool(gone) == checks, (answers, gone)
    findings = [{"rule": "timestamp-rejected", "severity_at_least": "medium", "occurrences": len(gone), "connections": [(one, f"{SERVER}:{PORT}") for one in gone],
                 "figures": {"ignored": (len(gone), 0)}}] if checks else []
    may = ["syn-unanswered"] if checks else []
    write_truth(path, story, MADE, findings, may=may, capture_point=side, tcp_connections=len(answers), answered=answers)
    compress(path)


def clocks_apart(folder):
    translated(folder, "clocks-apart", True, "Two hosts behind one address connect by turns; a firewall takes SYNs of the one whose clock is behind for old duplicates.")


def three_hosts(folder):
    translated(folder, "three-hosts", True, "Three hosts behind one address connect by turns; a firewall lets only the one with the newest clock in.", rounds=3, hosts=3)


def not_checked(folder):
    translated(folder, "not-checked", False, "Two hosts with clocks of their own share an address; nobody compares their timestamps.", side="server")


def not_by_timestamp(folder):
    """SYNs are lost by chance, of both hosts."""
    path = path_of(folder, "timestamp-rejected", "not-by-timestamp")
    count = {"syns": 0}

    def choose(frame):
        if not frame.flags & SYN:
            return None
        # Each third attempt is lost with all of its SYNs.
        if frame.source not in count:
            count["syns"] += 1
            count[frame.source] = count["syns"] % 3 == 2
        return "drop" if count[frame.source] else None

    with Net(Wire(up=Way(delay_ms=3, choose=choose), down=Way(delay_ms=3))) as net:
        net.spawn("server", http_server, SERVER, PORT, lambda *_: http_ok(b"item" * 20))
        for source in ("10.9.0.50", "10.9.0.51"):
            net.ip("client", "addr", "add", f"{source}/24", "dev", "eth0")
        net.exec("client", "iptables", "-t", "nat", "-A", "POSTROUTING", "-o", "eth0", "-p", "tcp", "-j", "SNAT", "--to-source", f"{CLIENT}:20000-40000")

        def act():
            return [ask_from(source, SERVER, 3.2) for _ in range(4) for source in ("10.9.0.50", "10.9.0.51")]

        with net.capture("client", path, expression=f"tcp port {PORT}"):
            answers = net.call("client", act)
    write_truth(path, "Two hosts with clocks of their own share an address; each third attempt is lost, whoever makes it.", MADE,
                may=["syn-unanswered", "packet-loss", "slow-connect", "listen-overflow"], capture_point="client", tcp_connections=len(answers), answered=answers)
    compress(path)


# --- window-violation -------------------------------------------------------------------------

def reader(octets, buffer):
    """A client of a small buffer that reads what a server sends, at most so much at once."""
    def fetch(address):
        connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        if buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.connect((address, PORT))
        connection.sendall(b"!")
        read_exactly(connection, octets)
        ends = pair(connection)
        connection.close()
        return ends
    return fetch


def windows(folder, name, address, story, found, rules=(), octets=400_000, buffer=None):
    """`rules`: what netfilter of the server does to windows, as lines of nft; the capture is taken before it on the way in and behind it on the way out."""
    path = path_of(folder, "window-violation", name)

    def talk(connection):
        connection.recv(1)
        connection.sendall(bytes(octets))
        connection.recv(1)

    with Net(Wire(up=Way(delay_ms=20), down=Way(delay_ms=20))) as net:
        net.exec("server", "nft", "add", "table", "inet", "box")
        for hook in ("input", "output"):
            net.exec("server", "nft", "add", "chain", "inet", "box", hook, f"{{ type filter hook {hook} priority mangle ; }}")
        for rule in rules:
            net.exec("server", "nft", "add", "rule", "inet", "box", *rule.split())
        net.spawn("server", serve_threads, address, PORT, talk)
        with net.capture("server", path, snaplen=120, expression=f"tcp port {PORT}"):
            ends = net.call("client", reader(octets, buffer), address)
    findings = [{"rule": "window-violation", "severity_at_least": "info", "severity_at_most": "info", "connections": [ends], "figures": {}}] if found else []
    may = ["packet-loss", "retransmit-hol", "spurious-retransmission", "timeout-recovery", "window-limited", "small-window", "zero-window-stall", "stream-framing",
           "bufferbloat"]
    write_truth(path, story, MADE, findings, may=may, capture_point="server", tcp_connections=1)
    compress(path)


NO_SCALE = "output tcp flags & (syn|ack) == syn|ack reset tcp option window"


def scale_forgotten(folder):
    windows(folder, "scale-forgotten", SERVER, "A firewall before the server removes the window scale from its SYN-ACK: the server takes the client's windows for many times what they are.",
            True, [NO_SCALE], octets=1_500_000)


def promised_ipv6(folder):
    windows(folder, "promised-ipv6", SERVER6, "A device before the server raises the client's windows and buffers nothing.", True,
            ["input tcp flags & (syn|ack) == ack tcp window set 60000"], buffer=12_000)


def not_scaled(folder):
    windows(folder, "not-scaled", SERVER, "A firewall removes the window scale from both SYNs, so that neither end scales.", False,
            [NO_SCALE, "input tcp flags & (syn|ack) == syn reset tcp option window"], octets=1_500_000)


def not_beyond(folder):
    windows(folder, "not-beyond-ipv6", SERVER6, "A client with a small buffer, which the server fills to the last byte and no further.", False, buffer=12_000)


# --- slow-ack ---------------------------------------------------------------------------------

def starved(moments_ms):
    """Holds everything that comes at these times (start, length) after the first frame with payload, as the queue of a virtual machine that
    does not get the processor."""
    state = {}

    def choose(frame):
        if frame.payload_len:
            state.setdefault("begin", time.monotonic())
        begin = state.get("begin", time.monotonic())
        since = (time.monotonic() - begin) * 1e3
        ends = [begin + (start + length) / 1e3 for start, length in moments_ms if start <= since < start + length]
        return ("until", ends[0]) if ends else None
    return choose


def messages(address, number, size, gap_s):
    """Sends messages of some segments; gives the connection's ends."""
    connection = connect(address, PORT)
    for _ in range(number):
        connection.sendall(bytes(size))
        time.sleep(gap_s)
    ends = pair(connection)
    connection.close()
    return ends


def hypervisor(folder, name, address, wire, story, late, number=60, size=6_000, gap_s=0.05, link="to_client", may=()):
    """Recorded where the relay receives: between the client's host and the virtual machine."""
    path = path_of(folder, "slow-ack", name)

    def swallow(connection):
        while connection.recv(1 << 16):
            pass

    with Net(wire) as net:
        net.spawn("server", serve_threads, address, PORT, swallow)
        with net.capture("relay", path, interface=link, snaplen=120, expression=f"tcp port {PORT}"):
            ends = net.call("client", messages, address, number, size, gap_s)
    findings = [{"rule": "slow-ack", "severity_at_least": "low", "severity_at_most": "low", "connections": [ends], "figures": late}] if late else []
    write_truth(path, story, MADE, findings, may=["spurious-retransmission", "timeout-recovery", "packet-loss", "retransmit-hol", *may], capture_point="hypervisor", tcp_connections=1)
    compress(path)


def no_processor(folder):
    moments = [(300 + 600 * nth, 320) for nth in range(5)]
    hypervisor(folder, "no-processor-hypervisor", SERVER, Wire(up=Way(choose=starved(moments))),
               "A virtual machine does not get the processor for 320 ms, five times; recorded at its host.", {"late_ms_max": (320, 60)})


def paused_ipv6(folder):
    moments = [(400, 450), (1300, 450), (2200, 450), (3100, 450)]
    hypervisor(folder, "paused-ipv6-hypervisor", SERVER6, Wire(up=Way(choose=starved(moments))),
               "A virtual machine is paused for 450 ms, four times; recorded at its host, over IPv6.", {"late_ms_max": (340, 120)}, number=80)


def not_far_away(folder):
    """The same pauses behind a path of 25 ms."""
    moments = [(300 + 600 * nth, 320) for nth in range(5)]
    hypervisor(folder, "not-far-away", SERVER, Wire(up=Way(delay_ms=25, choose=starved(moments))), "The same pauses 25 ms away from the capture point.", None)


def not_delayed_singles(folder):
    """Messages of one small segment, acknowledged after the delayed acknowledgment's 40 ms."""
    hypervisor(folder, "not-delayed-singles", SERVER, Wire(), "Small messages whose acknowledgments the server's kernel delays by 40 ms.", None, size=200, gap_s=0.06)


if __name__ == "__main__":
    run_cases([clocks_apart, three_hosts, not_checked, not_by_timestamp, scale_forgotten, promised_ipv6, not_scaled, not_beyond, no_processor, paused_ipv6,
               not_far_away, not_delayed_singles])
