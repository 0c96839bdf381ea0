#!/usr/bin/env python3
"""Captures of connection attempts that nobody answers, and of attempts that fail or dawdle otherwise.

    sudo python3 testdata/lab/syn_unanswered.py OUTPUT_FOLDER

Packet filters and missing hosts swallow SYNs; clients note how long they tried.
"""
import os
import socket
import time

from actors import compress, connect, http_get, http_ok, http_server, in_threads, run_cases
from net import CLIENT, SERVER, SERVER6, Net, endpoint, write_truth

NOBODY = "10.9.0.77"


def place(folder, name):
    return os.path.join(folder, "syn-unanswered", name + ".pcap")


def attempt(address, port, patience_s):
    """Tries to connect for so long; gives the ends and whether it succeeded."""
    one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    one.bind(("::" if ":" in address else CLIENT, 0))
    one.settimeout(patience_s)
    try:
        one.connect((address, port))
        good = True
    except OSError:
        good = False
    local = one.getsockname()[1]
    one.close()
    source = address.rsplit("::", 1)[0] + "::1" if ":" in address else CLIENT
    return (endpoint((source, local)), endpoint((address, port))), good


def silent(folder, name, story, prepare, address, port, point=("client", None), count=4, patience_s=4.5, healthy=False, snaplen=None, may=()):
    side, interface = point
    path = place(folder, name)
    with Net() as net:
        prepare(net)
        if healthy:
            net.spawn("server", http_server, SERVER, 8080, lambda *_: http_ok(b"fine"))

        def talk():
            def one(number):
                time.sleep(0.2 * number)
                return attempt(address, port, patience_s)
            results = in_threads(one, range(count))
            if healthy:
                connection = connect(SERVER, 8080)
                for number in range(5):
                    http_get(connection, f"/item/{number}", "shop.example")
                connection.close()
            return results

        with net.capture(side, path, interface=interface, snaplen=snaplen, expression="tcp or icmp or icmp6"):
            results = net.call("client", talk)
            time.sleep(1)
    assert not any(good for _, good in results)
    write_truth(path, story, "testdata/lab/syn_unanswered.py",
                [{"rule": "syn-unanswered", "occurrences": count, "connections": [ends for ends, _ in results], "figures": {"attempts": (count, 0)}}],
                may=may, capture_point=side)
    compress(path)


def firewall(net, tool, rule):
    net.exec("server", tool, "-w", "-A", "INPUT", *rule.split())


def dropped_port(folder):
    silent(folder, "dropped-port", "A firewall drops SYNs to one port in silence while another port serves.",
           lambda net: firewall(net, "iptables", "-p tcp --dport 5432 -j DROP"), SERVER, 5432, healthy=True)


def dropped_port_ipv6_server(folder):
    silent(folder, "dropped-port-ipv6-server", "The same over IPv6; captured at the server on the any interface with 96 octets a frame.",
           lambda net: firewall(net, "ip6tables", "-p tcp --dport 6379 -j DROP"), SERVER6, 6379, point=("server", "any"), snaplen=96, count=3)


def nobody_there(folder):
    """The address resolves, but its host is gone."""
    silent(folder, "host-gone", "A host that went away: its neighbour entry is still there.",
           lambda net: net.ip("client", "neigh", "add", NOBODY, "lladdr", "02:00:00:00:00:77", "dev", "eth0"), NOBODY, 443, count=2, patience_s=8)


def quiet(folder, name, story, prepare, talk, may=()):
    path = place(folder, name)
    with Net() as net:
        prepare(net)
        with net.capture("client", path, expression="tcp or icmp"):
            net.call("client", talk, net)
    write_truth(path, story, "testdata/lab/syn_unanswered.py", may=may, capture_point="client")
    compress(path)


def not_rejected(folder):
    """A firewall that says no."""
    quiet(folder, "not-rejected", "A firewall rejects with an ICMP error.", lambda net: firewall(net, "iptables", "-p tcp --dport 5432 -j REJECT"),
          lambda _: [attempt(SERVER, 5432, 2) for _ in range(3)], may=["connection-refused", "icmp-unreachable"])


def not_late(folder):
    """One SYN is lost; the next is answered."""
    def talk(net):
        net.exec("server", "iptables", "-w", "-A", "INPUT", "-p", "tcp", "--syn", "--dport", "8080", "-m", "limit", "--limit", "1/minute", "--limit-burst", "1", "-j", "DROP")
        connection = connect(SERVER, 8080)
        http_get(connection, "/item", "shop.example")
        connection.close()
    quiet(folder, "not-late", "The first SYN is lost on the way, its repeat is answered.",
          lambda net: net.spawn("server", http_server, SERVER, 8080, lambda *_: http_ok(b"fine")), talk, may=["packet-loss"])


def not_happy_eyeballs(folder):
    """Attempts given up at once because another was faster."""
    def talk(_):
        for number in range(4):
            slow = socket.socket()
            slow.setblocking(False)
            try:
                slow.connect((SERVER, 8080))
            except BlockingIOError:
                pass
            connection = connect(SERVER, 8080)
            http_get(connection, f"/item/{number}", "shop.example")
            connection.close()
            slow.close()
    quiet(folder, "not-raced", "Clients open two connections and use one, as browsers do.",
          lambda net: net.spawn("server", http_server, SERVER, 8080, lambda *_: http_ok(b"fine")), talk)


if __name__ == "__main__":
    run_cases([dropped_port, dropped_port_ipv6_server, nobody_there, not_rejected, not_late, not_happy_eyeballs])
