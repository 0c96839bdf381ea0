#!/usr/bin/env python3
"""Captures of two hosts behind two routers, where each direction takes another one, and of look-alikes.

    sudo python3 testdata/lab/asymmetric_path.py OUTPUT_FOLDER [CASE...]

The client (10.9.0.1) and the server (10.8.0.2) each have a segment with both routers, which end in .11 and .12.
"""
import os
import time

from actors import compress, connect, http_get, http_ok, http_server, run_cases
from net import Net, pair, run, write_truth
from parts import lab_name

MADE = lab_name(__file__)
SERVER, PORT = "10.8.0.2", 8080
A, B = 11, 12


class Routed(Net):
    """Both ends and two routers; `there` and `back`: which of them each end uses."""

    def __init__(self, there, back):
        super().__init__()
        self.there, self.back = there, back
        for side in ("a", "b", "switch"):
            self.names[side] = f"{self.tag}{side}"

    def _build(self):
        for side in ("client", "server", "a", "b", "switch"):
            run("ip", "netns", "add", self.names[side])
            self.ip(side, "link", "set", "lo", "up")
        for segment in ("near", "far"):
            self.ip("switch", "link", "add", segment, "type", "bridge")
            self.ip("switch", "link", "set", segment, "up")
        for side, link, address, segment in (("client", "eth0", "10.9.0.1", "near"), ("server", "eth0", SERVER, "far"), ("a", "eth0", "10.9.0.11", "near"),
                                             ("a", "eth1", "10.8.0.11", "far"), ("b", "eth0", "10.9.0.12", "near"), ("b", "eth1", "10.8.0.12", "far")):
            port = f"{side}-{link}"
            self._link(side, link, "switch", port)
            self.ip("switch", "link", "set", port, "master", segment)
            self.ip(side, "addr", "add", f"{address}/24", "dev", link)
        for router in ("a", "b"):
            for key, value in (("ip_forward", 1), ("conf.all.send_redirects", 0), ("conf.all.rp_filter", 0)):
                self.sysctl(router, f"net.ipv4.{key}", value)
            for link in ("eth0", "eth1"):
                self.sysctl(router, f"net.ipv4.conf.{link}.send_redirects", 0)
                self.sysctl(router, f"net.ipv4.conf.{link}.rp_filter", 0)
        self.ip("client", "route", "add", "10.8.0.0/24", "via", f"10.9.0.{self.there}")
        self.ip("server", "route", "add", "10.9.0.0/24", "via", f"10.8.0.{self.back}")
        time.sleep(1)


def get_all(number, patience_s=5):
    """Asks in one connection after the other; gives their ends."""
    ends = []
    for nth in range(number):
        connection = connect(SERVER, PORT, patience_s)
        ends.append(pair(connection))
        try:
            for item in range(3):
                http_get(connection, f"/{nth}/{item}", "shop.example")
        except TimeoutError:
            pass
        connection.close()
    return ends


def record(net, folder, name, story, found, may=(), number=3, side="client", at_most="info"):
    net.spawn("server", http_server, SERVER, PORT, lambda *_: http_ok(b"item" * 20))
    path = os.path.join(folder, "asymmetric-path", name + ".pcap")
    with net.capture(side, path, expression="tcp or icmp or arp"):
        ends = net.call("client", get_all, number)
        time.sleep(1)
    findings = [{"rule": "asymmetric-path", "severity_at_least": "info", "severity_at_most": at_most, "connections": ends,
                 "figures": {"connections": (number, 0)}}] if found else []
    write_truth(path, story, MADE, findings, may=list(may), capture_point=side, tcp_connections=number)
    compress(path)


def two_routers(folder):
    with Routed(A, B) as net:
        record(net, folder, "two-routers", "Requests go through one router, responses come back through another.", True)


def two_routers_server(folder):
    with Routed(B, A) as net:
        record(net, folder, "two-routers-server", "Requests come through one router, responses go back through another; recorded at the server.", True,
               side="server")


def half_seen(folder):
    """The firewall's state lacks the SYN-ACK, so that nothing that follows fits it."""
    with Routed(A, B) as net:
        net.exec("a", "iptables", "-A", "FORWARD", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP")
        net.exec("a", "iptables", "-A", "FORWARD", "-m", "conntrack", "--ctstate", "NEW,ESTABLISHED", "-j", "ACCEPT")
        record(net, folder, "half-seen", "A firewall on the way to the server never sees its SYN-ACKs and drops what follows the SYN.", True,
               may=["listen-overflow", "connection-died", "client-timeout-close", "packet-loss"], number=2, at_most="medium")


def not_one_router(folder):
    with Routed(A, A) as net:
        record(net, folder, "not-one-router", "Both directions go through the same of two routers.", False)


def not_vrrp(folder):
    """As redundant routers do (RFC 9568 §7.3): it receives with the shared hardware address and sends with its own."""
    with Routed(A, A) as net:
        net.ip("a", "link", "add", "vrrp", "link", "eth0", "type", "macvlan", "mode", "bridge")
        net.ip("a", "link", "set", "vrrp", "address", "00:00:5e:00:01:07")
        net.ip("a", "addr", "add", "10.9.0.13/32", "dev", "vrrp")
        for key, value in (("all.arp_ignore", 1), ("vrrp.rp_filter", 0), ("vrrp.accept_local", 1), ("vrrp.send_redirects", 0)):
            net.sysctl("a", f"net.ipv4.conf.{key}", value)
        net.ip("a", "link", "set", "vrrp", "up")
        net.ip("client", "route", "replace", "10.8.0.0/24", "via", "10.9.0.13")
        time.sleep(1)
        record(net, folder, "not-vrrp", "A router receives with the hardware address of VRRP and sends with its own.", False)


if __name__ == "__main__":
    run_cases([two_routers, two_routers_server, half_seen, not_one_router, not_vrrp])
