#!/usr/bin/env python3
"""Captures of HTTP/2 without encryption whose DATA waits for a window, and of others that are slow for other reasons or not at all.

    sudo python3 testdata/lab/http2_stall.py OUTPUT_FOLDER [CASE...]

Server and client are nghttpd and nghttp.
"""
import os
import signal
import subprocess
import tempfile
import time

from actors import compress, run_cases
from net import SERVER, Net, write_truth
from parts import lab_name, wait_for_port
from relay import Way, Wire

PORT = 8080
MADE = lab_name(__file__)


def server(net, octets):
    folder = tempfile.mkdtemp(prefix="pd-h2")
    with open(os.path.join(folder, "file"), "wb") as handle:
        handle.write(bytes(octets))
    net.popen("server", "nghttpd", "--no-tls", "-d", folder, str(PORT), stdout=subprocess.DEVNULL)
    wait_for_port(net, "server", PORT)


def distance(ms):
    """A wire that takes so long each way."""
    return Wire(up=Way(delay_ms=ms), down=Way(delay_ms=ms))


def write(net, folder, name, story, findings, act, may=(), side="client"):
    path = os.path.join(folder, "http2-stall", name + ".pcap")
    with net.capture(side, path, snaplen=2000, expression=f"tcp port {PORT}"):
        act()
    write_truth(path, story, MADE, findings, may=list(may), capture_point=side, tcp_connections=1)
    compress(path)


def found(at_least, at_most, **figures):
    return [{"rule": "http2-stall", "severity_at_least": at_least, "severity_at_most": at_most, "figures": figures}]


def get(net, *words):
    net.exec("client", "nghttp", "-n", *words, f"http://{SERVER}:{PORT}/file")


def stopped_reader(folder):
    with Net(distance(5)) as net:
        server(net, 400_000)

        def act():
            # Rate-limited by its own stops: nghttp is halted twice in mid-download.
            child = net.popen("client", "nghttp", "-n", "-w", "15", "-W", "15", f"http://{SERVER}:{PORT}/file", stdout=subprocess.DEVNULL)
            time.sleep(0.13)
            for _ in range(2):
                child.send_signal(signal.SIGSTOP)
                time.sleep(0.7)
                child.send_signal(signal.SIGCONT)
                time.sleep(0.03)
            child.wait()

        write(net, folder, "stopped-reader", "The client's program is stopped for 0.7 s twice while its windows of 32 kB fill up.",
              found("low", "medium", longest_ms=(700, 150)), act, may=["slow-response"])


def small_windows(folder):
    with Net(distance(30)) as net:
        server(net, 300_000)
        write(net, folder, "small-windows", "The client announces windows of 4 kB over a path of 60 ms: most of the time the server waits for the next.",
              found("low", "low"), lambda: get(net, "-w", "12", "-W", "12"), side="server")


def not_wide(folder):
    with Net(distance(30)) as net:
        server(net, 300_000)
        write(net, folder, "not-wide", "The client announces windows of 1 MB over a path of 60 ms.", [], lambda: get(net, "-w", "20", "-W", "20"))


def not_near(folder):
    with Net() as net:
        server(net, 300_000)
        write(net, folder, "not-near", "The default windows of 64 kB to a server next to the client.", [], lambda: get(net))


if __name__ == "__main__":
    run_cases([stopped_reader, small_windows, not_wide, not_near])
