#!/usr/bin/env python3
"""Captures of transfers that fill a queue, or that their receiver's window holds back.

    sudo python3 testdata/lab/bufferbloat.py OUTPUT_FOLDER [CASE...]

Makes the captures of bufferbloat and window-limited: the relay is the slow link with the queue.
"""
import os
import socket
import tempfile
import threading
import time

from actors import compress, read_exactly, run_cases, serve_threads
from net import SERVER, Net, pair, tcp_info, write_truth
from relay import Way, Wire

PORT = 7300


def watch(connection, diary):
    """Writes the kernel's smoothed round trip and the shortest one down, in ms, while the transfer runs."""
    rows = []
    for _ in range(200):
        time.sleep(0.02)
        try:
            info = tcp_info(connection)
        except OSError:
            return
        rows.append((info["rtt"] / 1e3, info["min_rtt"] / 1e3))
        with open(diary, "w") as handle:
            handle.write("\n".join(f"{rtt} {least}" for rtt, least in rows))


def transfer(folder, kind, name, story, down, octets, expect, receive_buffer=None, may=(), side="server", sysctls=None):
    path, diary = os.path.join(folder, kind, name + ".pcap"), tempfile.mktemp()
    with Net(Wire(up=Way(delay_ms=down.delay_ms), down=down), sysctls=sysctls) as net:
        def talk(connection):
            for _ in range(3):  # A little at first: the empty path's round trip.
                connection.recv(1)
                connection.sendall(b"p")
            connection.recv(1)
            threading.Thread(target=watch, args=(connection, diary), daemon=True).start()
            connection.sendall(bytes(octets))
            connection.recv(1)

        def fetch():
            connection = socket.socket()
            if receive_buffer:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            connection.connect((SERVER, PORT))
            for _ in range(3):
                connection.sendall(b"?")
                connection.recv(1)
            connection.sendall(b"!")
            begin = time.time()
            read_exactly(connection, octets)
            rate = octets * 8 / (time.time() - begin)
            ends = pair(connection)
            connection.close()
            return ends, rate

        net.spawn("server", serve_threads, SERVER, PORT, talk)
        with net.capture(side, path, snaplen=80, expression=f"tcp port {PORT}"):
            ends, rate = net.call("client", fetch)
    with open(diary) as handle:
        rows = [tuple(map(float, line.split())) for line in handle]
    os.remove(diary)
    write_truth(path, story, f"testdata/lab/bufferbloat.py, {octets} octets, measured {rate / 1e6:.2f} Mbit/s", expect(ends, rate, rows), may=may, capture_point=side, tcp_connections=1)
    compress(path)


def deep_queue(folder):
    # The window allows some 150 kB in flight, which the queue takes: 300 ms at 4 Mbit/s.
    def expect(ends, _, rows):
        rtts = sorted(rtt for rtt, _ in rows)
        return [{"rule": "bufferbloat", "occurrences": 1, "connections": [ends], "severity_at_least": "medium",
                 "figures": {"rtt_ms_min": (rows[-1][1], 2), "rtt_ms_p95": (rtts[len(rtts) * 95 // 100], rtts[-1] * 0.1)}}]

    transfer(folder, "bufferbloat", "deep-queue-server", "A link of 4 Mbit/s has a deep queue before it.", Way(delay_ms=10, rate_bps=4e6, queue_bytes=400_000), 1_500_000, expect,
             receive_buffer=150_000, sysctls={"net.ipv4.tcp_congestion_control": "reno"})


def deep_queue_fast(folder):
    """The window allows some 500 kB: 400 ms at 10 Mbit/s."""
    def expect(ends, _, rows):
        return [{"rule": "bufferbloat", "occurrences": 1, "connections": [ends], "severity_at_least": "low",
                 "figures": {"rtt_ms_min": (rows[-1][1], 2)}}]

    transfer(folder, "bufferbloat", "deep-queue-fast-server", "A link of 10 Mbit/s has a deep queue before it.",
             Way(delay_ms=8, rate_bps=10e6, queue_bytes=900_000), 3_000_000, expect, receive_buffer=400_000, sysctls={"net.ipv4.tcp_congestion_control": "reno"})


def not_filled(folder):
    transfer(folder, "bufferbloat", "not-filled", "The same deep queue; the client's window of 32 kB never fills it.",
             Way(delay_ms=10, rate_bps=10e6, queue_bytes=900_000), 600_000, lambda *_: [], receive_buffer=16_384, may=["window-limited"])


def not_short_queue(folder):
    transfer(folder, "bufferbloat", "not-short-queue", "The same link with a queue of 20 kB: 40 ms at most.", Way(delay_ms=10, rate_bps=4e6, queue_bytes=20_000), 700_000,
             lambda *_: [], may=["packet-loss", "retransmit-hol", "spurious-retransmission"])


def small_buffer(folder):
    def expect(ends, rate, _):
        return [{"rule": "window-limited", "occurrences": 1, "connections": [ends], "severity_at_least": "low",
                 "figures": {"throughput_bps": (round(rate), round(rate * 0.05))}}]

    transfer(folder, "window-limited", "small-buffer-server", "The client fixed its receive buffer at 32 kB on a path of 60 ms.", Way(delay_ms=30), 900_000, expect, receive_buffer=16_384)


def small_buffer_far(folder):
    def expect(ends, rate, _):
        return [{"rule": "window-limited", "occurrences": 1, "connections": [ends], "severity_at_least": "low",
                 "figures": {"throughput_bps": (round(rate), round(rate * 0.1))}}]

    transfer(folder, "window-limited", "small-buffer-far-server", "The client fixed its receive buffer at 64 kB on a path of 120 ms.", Way(delay_ms=60), 900_000,
             expect, receive_buffer=32_768)


def not_near(folder):
    transfer(folder, "window-limited", "not-near", "The same receive buffer on a path of 1 ms.", Way(delay_ms=0.5, rate_bps=20e6, queue_bytes=200_000), 900_000, lambda *_: [],
             receive_buffer=32_768, may=["bufferbloat"])


def not_limited(folder):
    transfer(folder, "window-limited", "not-limited", "The same path with the kernel's own buffer.", Way(delay_ms=30, rate_bps=20e6, queue_bytes=60_000), 900_000, lambda *_: [],
             may=["packet-loss", "retransmit-hol", "spurious-retransmission", "bufferbloat"])


if __name__ == "__main__":
    run_cases([deep_queue, deep_queue_fast, not_filled, not_short_queue, small_buffer, small_buffer_far, not_near, not_limited])
