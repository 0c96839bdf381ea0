#!/usr/bin/env python3
"""Captures of real stacks behind routers with small links, routers that loop, and hosts that hold one address.

    sudo python3 testdata/lab/routers.py OUTPUT_FOLDER [CASE...]

Makes captures of mtu-reduced, mtu-black-hole, ttl-expired and duplicate-address.
"""
import contextlib
import socket
import time

import devices
from actors import connect, http_ok, http_server, run_cases, serve_threads
from asymmetric_path import A, SERVER as FAR, Routed
from devices import PORT, download, get, give, record, swallow, upload
from parts import lab_name

devices.MADE = lab_name(__file__)


# --- mtu-reduced --------------------------------------------------------------------------------

def smaller_mtu(folder, name, side, act, serve, story):
    with Routed(A, A) as net:
        # Only the router's link is smaller: both ends offer what their own links carry.
        near = side == "client"
        link = "eth1" if near else "eth0"
        net.ip("a", "link", "set", link, "mtu", "1300")
        net.spawn("server", serve_threads, FAR, PORT, serve)
        record(net, folder, "mtu-reduced", name, lambda: net.call("client", act, FAR, 60_000), story, {"severity_at_least": "info", "severity_at_most": "info"},
               ["packet-loss", "icmp-unreachable"], side=side)


def upload_shrinks(folder):
    smaller_mtu(folder, "upload-shrinks", "client", upload, swallow, "A router's link carries 1,300 bytes: it says so to the client, whose segments shrink.")


def download_shrinks(folder):
    smaller_mtu(folder, "download-shrinks-server", "server", download, give(60_000),
                "A router's link carries 1,300 bytes: it says so to the server, whose segments shrink.")


def not_offered(folder):
    with Routed(A, A) as net:
        net.ip("client", "link", "set", "eth0", "mtu", "1300")
        net.spawn("server", serve_threads, FAR, PORT, swallow)
        record(net, folder, "mtu-reduced", "not-offered", lambda: net.call("client", upload, FAR, 60_000), "The client's own link carries 1,300 bytes.")


def not_needed(folder):
    """Every handshake passes a router that lowers the segment size, so that none becomes too large."""
    with Routed(A, A) as net:
        net.ip("a", "link", "set", "eth1", "mtu", "1300")
        net.exec("a", "iptables", "-t", "mangle", "-A", "FORWARD", "-p", "tcp", "--tcp-flags", "SYN,RST", "SYN", "-j", "TCPMSS", "--clamp-mss-to-pmtu")
        net.spawn("server", serve_threads, FAR, PORT, swallow)
        record(net, folder, "mtu-reduced", "not-needed", lambda: net.call("client", upload, FAR, 60_000), "A router lowers the segment size in both SYNs.")


def swallowed(folder):
    """As by a firewall that drops all of ICMP."""
    with Routed(A, A) as net:
        net.ip("a", "link", "set", "eth1", "mtu", "1300")
        net.exec("a", "iptables", "-A", "OUTPUT", "-p", "icmp", "-j", "DROP")
        net.sysctl("client", "net.ipv4.tcp_mtu_probing", 0)
        net.spawn("server", serve_threads, FAR, PORT, swallow)
        record(net, folder, "mtu-black-hole", "router-is-silent", lambda: net.call("client", stuck),
               "A router's link carries 1,300 bytes, and what it says of it is dropped: large segments vanish.", {"severity_at_least": "low"},
               ["packet-loss", "connection-died", "timeout-recovery", "retransmit-hol"])


def stuck():
    """Small messages pass; a large one does not, and the client gives up."""
    with connect(FAR, PORT) as connection:
        for _ in range(3):
            connection.sendall(bytes(300))
            time.sleep(0.1)
        connection.sendall(bytes(4_000))
        time.sleep(6)


def not_swallowed(folder):
    with Routed(A, A) as net:
        net.ip("a", "link", "set", "eth1", "mtu", "1300")
        net.spawn("server", serve_threads, FAR, PORT, swallow)
        record(net, folder, "mtu-black-hole", "not-swallowed", lambda: net.call("client", stuck),
               "A router's link carries 1,300 bytes, and the client hears of it.", may=["mtu-reduced"])


# --- ttl-expired ------------------------------------------------------------------------------

def call_out(address, hop_limit=None, patience_s=2.5):
    """An attempt to connect; `hop_limit` as traceroute sets it."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock, contextlib.suppress(OSError):
        if hop_limit:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hop_limit)
        sock.settimeout(patience_s)
        sock.connect((address, 80))


def looped(folder, name, act, story, found, may=()):
    """Both routers take each other for the next hop to 10.7.0.0/24."""
    with Routed(A, A) as net:
        net.ip("client", "route", "add", "10.7.0.0/24", "via", "10.9.0.11")
        net.ip("a", "route", "add", "10.7.0.0/24", "via", "10.8.0.12")
        net.ip("b", "route", "add", "10.7.0.0/24", "via", "10.8.0.11")
        record(net, folder, "ttl-expired", name, lambda: act(net), story, {"severity_at_least": "low"} if found else None, may)


def circling(folder):
    looped(folder, "circling", lambda net: [net.call("client", call_out, "10.7.0.5") for _ in range(2)],
           "Two routers send what is for a network to each other until its hop limit is used up.", True, ["syn-unanswered", "icmp-unreachable"])


def circling_https(folder):
    def ask():
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock, contextlib.suppress(OSError):
            sock.settimeout(2.5)
            sock.connect(("10.7.0.9", 443))

    looped(folder, "circling-https", lambda net: [net.call("client", ask) for _ in range(3)],
           "Two routers send what is for a network to each other; three attempts of a client.", True, ["syn-unanswered", "icmp-unreachable"])


def not_traced(folder):
    looped(folder, "not-traced", lambda net: [net.call("client", call_out, "10.7.0.5", hops, 0.3) for hops in range(1, 9)],
           "traceroute with TCP: attempts with hop limits from 1 to 8.", False, ["syn-unanswered", "icmp-unreachable"])


def not_circling(folder):
    with Routed(A, A) as net:
        net.spawn("server", http_server, FAR, PORT, lambda *_: http_ok(b"ok"))
        record(net, folder, "ttl-expired", "not-circling", lambda: net.call("client", get, FAR, 4), "Two routers with right routes.")


# --- duplicate-address -----------------------------------------------------------------------

def held_twice(folder, name, act, story, found):
    """The routers' near links get one more address, 10.9.0.50, by turns or both at once."""
    with Routed(A, A) as net:
        record(net, folder, "duplicate-address", name, lambda: act(net), story, {"severity_at_least": "low"} if found else None)


def resolve(net, times):
    for _ in range(times):
        net.ip("client", "neigh", "flush", "dev", "eth0")
        net.exec("client", "ping", "-c", "1", "-W", "1", "10.9.0.50", check=False)
        time.sleep(0.3)


def announce():
    """ARP for the own address, as a host sends it that has just got it (RFC 5227 §2.3)."""
    address = bytes((10, 9, 0, 50))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind(("eth0", 0))
        mac = sock.getsockname()[4]
        for _ in range(2):
            sock.send(b"\xff" * 6 + mac + bytes.fromhex("0806000108000604" "0001") + mac + address + bytes(6) + address)
            time.sleep(0.4)


def two_hosts(folder):
    def act(net):
        for host in ("a", "b"):
            net.ip(host, "addr", "add", "10.9.0.50/24", "dev", "eth0")
        resolve(net, 6)

    held_twice(folder, "two-hosts", act, "Two hosts hold one address: both answer each question for it.", True)


def two_hosts_announce(folder):
    def act(net):
        for host in ("a", "b"):
            net.ip(host, "addr", "add", "10.9.0.50/24", "dev", "eth0")
        for _ in range(4):
            for host in ("a", "b"):
                net.call(host, announce)

    held_twice(folder, "two-hosts-announce", act, "Two hosts announce one address by turns.", True)


def not_taken_over(folder):
    def act(net):
        net.ip("a", "addr", "add", "10.9.0.50/24", "dev", "eth0")
        resolve(net, 3)
        net.ip("a", "addr", "del", "10.9.0.50/24", "dev", "eth0")
        net.ip("b", "addr", "add", "10.9.0.50/24", "dev", "eth0")
        net.call("b", announce)
        resolve(net, 3)

    held_twice(folder, "not-taken-over", act, "A standby takes over an address for good.", False)


def not_many(folder):
    def act(net):
        for last in range(50, 58):
            net.ip("a", "addr", "add", f"10.9.0.{last}/24", "dev", "eth0")
        resolve(net, 5)

    held_twice(folder, "not-many", act, "One host holds eight addresses.", False)


if __name__ == "__main__":
    run_cases([upload_shrinks, download_shrinks, not_offered, not_needed, swallowed, not_swallowed, circling, circling_https, not_traced, not_circling, two_hosts, two_hosts_announce,
               not_taken_over, not_many])
