#!/usr/bin/env python3
"""Captures of receivers that do not read, and of writers that hold small segments back.

    sudo python3 testdata/lab/zero_window_stall.py OUTPUT_FOLDER [CASE...]

Makes the captures of zero-window-stall and delayed-ack-nagle.
"""
import os
import socket
import time

from actors import compress, connect, read_exactly, run_cases, serve_threads
from net import SERVER, SERVER6, Net, pair, write_truth
from relay import Way, Wire

PORT = 7200


def slow_reader(folder, name, story, pauses_s, finds, point="server", slow_writer=False):
    path, total = os.path.join(folder, "zero-window-stall", name + ".pcap"), 600_000
    with Net(Wire(up=Way(delay_ms=5), down=Way(delay_ms=5))) as net:
        def talk(connection):
            connection.recv(1)
            for _ in range(0, total, 20_000):
                connection.sendall(bytes(20_000))
                time.sleep(0.12 if slow_writer else 0)
            connection.recv(1)

        def fetch():
            connection = socket.socket()
            if not slow_writer:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
            connection.connect((SERVER, PORT))
            connection.sendall(b"!")
            ends, got = pair(connection), 0
            for pause in pauses_s:
                time.sleep(pause)
                got += len(read_exactly(connection, total // (len(pauses_s) + 1)))
            read_exactly(connection, total - got)
            connection.close()
            return ends

        net.spawn("server", serve_threads, SERVER, PORT, talk)
        with net.capture(point, path, snaplen=100, expression=f"tcp port {PORT}"):
            ends = net.call("client", fetch)
    findings = []
    if finds:
        # The window closes once the buffer is full, within a few round trips of the pause's begin.
        longest, total_ms = max(pauses_s) * 1e3, sum(pauses_s) * 1e3
        findings = [{"rule": "zero-window-stall", "connections": [ends], "severity_at_least": "medium",
                     "figures": {"stall_ms_max": (longest, longest * 0.1), "stall_ms_total": (total_ms, total_ms * 0.13)}}]
    write_truth(path, story, "testdata/lab/zero_window_stall.py", findings, capture_point=point, tcp_connections=1, may=["slow-response"])
    compress(path)


def reader_pauses(folder):
    slow_reader(folder, "reader-pauses-server", "A client with a small receive buffer does not read for 1.2 s and 0.8 s.", [1.2, 0.8], True)


def reader_pauses_client(folder):
    slow_reader(folder, "reader-pauses-client", "The same, recorded at the client, which does not read for 0.7 s three times.", [0.7, 0.7, 0.7], True, point="client")


def not_pausing(folder):
    slow_reader(folder, "not-pausing", "A client with the same small receive buffer reads all the time.", [0.0], False)


def not_slow_writer(folder):
    slow_reader(folder, "not-slow-writer", "The writer pauses; the reader always waits with an open window.", [0.1], False, slow_writer=True)


def writes(folder, name, story, nagle, finds, requests=20):
    path = os.path.join(folder, "delayed-ack-nagle", name + ".pcap")
    with Net(Wire(up=Way(delay_ms=1), down=Way(delay_ms=1))) as net:
        def talk(connection):
            while read_exactly(connection, 600):
                connection.sendall(b"r" * 100)

        def ask():
            connection = connect(SERVER, PORT)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, not nagle)
            waits = []
            for _ in range(requests):
                begin = time.time()
                # Write, write, read: the second write waits for the acknowledgement of the first.
                connection.sendall(b"h" * 200)
                connection.sendall(b"b" * 400)
                read_exactly(connection, 100)
                waits.append((time.time() - begin) * 1e3)
                time.sleep(0.03)
            ends = pair(connection)
            connection.close()
            return ends, waits

        net.spawn("server", serve_threads, SERVER, PORT, talk)
        with net.capture("client", path, expression=f"tcp port {PORT}"):
            ends, waits = net.call("client", ask)
    findings = []
    if finds:
        held = sorted(wait for wait in waits if wait > 25)
        findings = [{"rule": "delayed-ack-nagle", "connections": [ends], "severity_at_least": "low",
                     "figures": {"stalls": (len(held), max(1, len(held) // 20)), "stall_ms_median": (round(held[len(held) // 2] - 2, 1), 4)}}]
    write_truth(path, story, "testdata/lab/zero_window_stall.py", findings, capture_point="client", tcp_connections=1, waits_ms=[round(wait, 1) for wait in waits])
    compress(path)


def write_write_read(folder):
    writes(folder, "write-write-read", "Each request is written in two pieces without TCP_NODELAY: the second waits for a delayed acknowledgement.", True, True)


def not_nodelay(folder):
    writes(folder, "not-nodelay", "The same with TCP_NODELAY.", False, False)


def answers_in_two(folder, name, story, nodelay, pause_s, finds):
    """A server writes head and body of each response on their own, `pause_s` apart; the client asks for the next one when it has both."""
    path = os.path.join(folder, "delayed-ack-nagle", name + ".pcap")
    with Net(Wire(up=Way(delay_ms=2), down=Way(delay_ms=2))) as net:
        def talk(connection):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, nodelay)
            while read_exactly(connection, 100):
                connection.sendall(b"h" * 180)
                time.sleep(pause_s)
                connection.sendall(b"b" * 350)

        def ask():
            connection = connect(SERVER6, PORT)
            waits = []
            for _ in range(30):
                begin = time.time()
                connection.sendall(b"q" * 100)
                read_exactly(connection, 530)
                waits.append((time.time() - begin) * 1e3)
            ends = pair(connection)
            connection.close()
            return ends, waits

        net.spawn("server", serve_threads, SERVER6, PORT, talk)
        with net.capture("server", path, expression=f"tcp port {PORT}"):
            ends, waits = net.call("client", ask)
    findings = []
    if finds:
        held = sorted(wait for wait in waits if wait > 25)
        # The head reaches the client half a round trip after the request did.
        findings = [{"rule": "delayed-ack-nagle", "connections": [ends], "severity_at_least": "low",
                     "figures": {"stalls": (len(held), max(1, len(held) // 20)), "stall_ms_median": (round(held[len(held) // 2] - 2, 1), 5)}}]
    write_truth(path, story, "testdata/lab/zero_window_stall.py", findings, capture_point="server", tcp_connections=1, waits_ms=[round(wait, 1) for wait in waits])
    compress(path)


def head_then_body(folder):
    answers_in_two(folder, "head-then-body-ipv6-server", "A server writes head and body of its responses on their own, without TCP_NODELAY.", False, 0, True)


def not_computed(folder):
    answers_in_two(folder, "not-computed-server", "A server sends the head, computes for 45 ms and sends the body, with TCP_NODELAY.", True, 0.045, False)


if __name__ == "__main__":
    run_cases([reader_pauses, reader_pauses_client, not_pausing, not_slow_writer, write_write_read, not_nodelay, head_then_body, not_computed])
