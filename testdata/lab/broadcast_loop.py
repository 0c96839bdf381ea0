#!/usr/bin/env python3
"""Captures of broadcasts that circle between two bridges joined twice, and of stations that broadcast a lot by themselves.

    sudo python3 testdata/lab/broadcast_loop.py OUTPUT_FOLDER [CASE...]

The links between the bridges are slow (`tbf`), so that a circling frame does not stop the machine.
"""
import os
import socket
import time

from actors import compress, run_cases
from net import CLIENT, Net, write_truth
from parts import lab_name

MADE = lab_name(__file__)
RATE = "1mbit"


def segment(net):
    """Two bridges in the server's place, joined by one link; gives how to join them by a second."""
    net.ip("server", "addr", "flush", "dev", "eth0")
    for bridge in ("br0", "br1"):
        net.ip("server", "link", "add", bridge, "type", "bridge", "stp_state", "0")
        net.ip("server", "link", "set", bridge, "up")
    net.ip("server", "addr", "add", "10.9.0.2/24", "dev", "br0")
    for one, other in (("a0", "a1"), ("b0", "b1")):
        net.ip("server", "link", "add", one, "type", "veth", "peer", "name", other)
        net.ip("server", "link", "set", one, "master", "br0")
        net.ip("server", "link", "set", other, "master", "br1")
        for link in (one, other):
            net.exec("server", "tc", "qdisc", "add", "dev", link, "root", "tbf", "rate", RATE, "burst", "1600", "latency", "100ms")
    net.ip("server", "link", "set", "eth0", "master", "br0")
    for link in ("a0", "a1"):
        net.ip("server", "link", "set", link, "up")
    time.sleep(1)

    def join(is_up=True):
        for link in ("b0", "b1"):
            net.ip("server", "link", "set", link, "up" if is_up else "down")

    return join


def ask_for_nobody(net, times=1):
    net.exec("client", "ping", "-c", str(times), "-W", "1", "10.9.0.99", check=False)


def announce(times, gap_s):
    """Broadcasts one text; each datagram has an identification of its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER: IP_PMTUDISC_DONT
        sock.bind((CLIENT, 0))
        for _ in range(times):
            sock.sendto(b"here is the printer", ("10.9.0.255", 9999))
            time.sleep(gap_s)


def run(folder, name, story, findings, act, looped, expression="arp or udp"):
    path = os.path.join(folder, "broadcast-loop", name + ".pcap")
    with Net() as net:
        join = segment(net)
        if looped:
            join()
            time.sleep(0.3)
        with net.capture("client", path, expression=expression):
            act(net)
            time.sleep(0.5)
            if looped:
                join(False)
    write_truth(path, story, MADE, findings, capture_point="client")
    compress(path)


LOOP = [{"rule": "broadcast-loop", "severity_at_least": "low", "figures": {}}]


def arp_circles(folder):
    run(folder, "arp-circles", "Two bridges are joined twice: a request for an address that nobody has circles until one link is taken away.", LOOP,
        ask_for_nobody, True, "arp")


def datagram_circles(folder):
    run(folder, "datagram-circles", "Two bridges are joined twice: one broadcast datagram circles until one link is taken away.", LOOP,
        lambda net: net.call("client", announce, 1, 1), True, "udp port 9999")


def not_asked_again(folder):
    run(folder, "not-asked-again", "Two bridges are joined once: a host asks ten times for an address that nobody has.", [],
        lambda net: ask_for_nobody(net, 10), False, "arp")


def not_announced(folder):
    run(folder, "not-announced", "Two bridges are joined once: a program broadcasts the same text two hundred times, five milliseconds apart.", [],
        lambda net: net.call("client", announce, 200, 0.005), False)


if __name__ == "__main__":
    run_cases([arp_circles, datagram_circles, not_asked_again, not_announced])
