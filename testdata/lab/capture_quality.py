#!/usr/bin/env python3
"""Healthy traffic, captured badly: each capture has one limit, and no rule may take it for a fault.

    sudo python3 testdata/lab/capture_quality.py OUTPUT_FOLDER [CASE...]

The traffic is always the same: web clients that load items, and an upload and a download of 150 kB.
"""
import contextlib
import os
import time

from actors import compress, connect, http_get, http_ok, http_server, in_threads, listen, read_exactly, run_cases
from net import CLIENT, SERVER, Net, write_truth
from relay import Way, Wire

PORT, BULK_PORT, BULK = 8080, 8081, 150_000
ALL = "tcp or udp or icmp"


def bulk_server():
    listener = listen(SERVER, BULK_PORT)
    while True:
        connection, _ = listener.accept()
        read_exactly(connection, BULK)
        connection.sendall(bytes(BULK))
        connection.close()


def browse(number):
    connection = connect(SERVER, PORT)
    for request in range(4):
        http_get(connection, f"/item{number}/{request}", "shop.example")
        time.sleep(0.02)
    connection.close()


def transfer(begun):
    connection = connect(SERVER, BULK_PORT)
    for at in range(10):
        connection.sendall(bytes(BULK // 10))
        if at == 1:
            begun()
    read_exactly(connection, BULK)
    connection.close()


def talk():
    in_threads(browse, range(3))
    transfer(lambda: None)


@contextlib.contextmanager
def servers(wire=None):
    with Net(wire) as net:
        net.spawn("server", bulk_server)
        net.spawn("server", http_server, SERVER, PORT, lambda _method, target, _headers: http_ok(target.encode() * 300))
        yield net


def book(folder, name, story, quality, **facts):
    """Writes the truth; `quality`: the kinds of caveat that must be told, and no other."""
    path = os.path.join(folder, "capture-quality", name + ".pcap")
    write_truth(path, story, "testdata/lab/capture_quality.py", quality=quality, **facts)
    compress(path)


def captured(folder, name, story, quality, point="client", wire=None, prepare=None, **options):
    path = os.path.join(folder, "capture-quality", name + ".pcap")
    with servers(wire) as net:
        if prepare:
            prepare(net)
        with net.capture(point, path, **{"expression": ALL, **options}):
            net.call("client", talk)
    book(folder, name, story, quality, capture_point=point)


def slow():
    return Wire(up=Way(delay_ms=5), down=Way(delay_ms=5))


def bridge_any(folder):
    captured(folder, "bridge-any", "Both ports of a bridge are captured: every frame is there twice, 5 ms apart.", ["duplicate-frames"],
             "relay", slow(), interface="any")


def offload(folder):
    def on(net):
        for side in ("client", "server"):
            net.exec(side, "ethtool", "-K", "eth0", "tso", "on", "gso", "on", "gro", "on", "tx", "on")

    captured(folder, "offload", "Segmentation is left to the interface: frames are larger than any on the wire.", ["offload"], prepare=on)


def cut(folder):
    captured(folder, "snaplen", "Frames are cut to 80 octets: headers with their options, hardly any payload.", ["snaplen"], wire=slow(), snaplen=80)


def cut_in_options(folder):
    captured(folder, "snaplen-options", "Frames are cut to 60 octets, in the middle of the TCP options.", ["snaplen"], wire=slow(), snaplen=60)


def one_sided_client(folder):
    captured(folder, "one-sided-client", "Only what the client sent was captured.", ["one-sided"], wire=slow(), expression=f"src host {CLIENT}")


def one_sided_server(folder):
    captured(folder, "one-sided-server", "Only what the server sent was captured.", ["one-sided"], wire=slow(), expression=f"src host {SERVER}")


def mid_stream(folder):
    """The handshakes and their options are not there: the windows' scales are unknown."""
    name, path = "mid-stream", os.path.join(folder, "capture-quality", "mid-stream.pcap")
    with servers(slow()) as net:
        def late():
            def begun():
                with open(path + ".go", "w"):
                    pass
                time.sleep(1.5)

            transfer(begun)

        child = net.spawn("client", late, settle=0)
        while not os.path.exists(path + ".go"):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            time.sleep(0.05)
        with net.capture("client", path, expression=ALL):
            child.join()
        os.unlink(path + ".go")
    book(folder, name, "The capture begins in the middle of a transfer.", [], capture_point="client")


if __name__ == "__main__":
    run_cases([bridge_any, offload, cut, cut_in_options, one_sided_client, one_sided_server, mid_stream])
