#!/usr/bin/env python3
"""Captures of sockets that are closed while data for them lies unread, and of closes that only look so.

    sudo python3 testdata/lab/unread_data_reset.py OUTPUT_FOLDER

Servers reject uploads and close at once; what lay unread is what the kernel counts as TCPAbortOnClose.
"""
import os
import socket
import time

from actors import compress, read_head, run_cases
from net import Net, pair, write_truth
from parts import ADDRESSES, LINGER_ZERO, answer, connect, read_request, serve, together
from relay import Way, Wire

PORT = 8080

def place(folder, name):
    return os.path.join(folder, "unread-data-reset", name + ".pcap")


def upload(index, address, size, pause_s=0.0):
    """Sends a body of `size` octets whatever the server says; gives the ends."""
    time.sleep(0.15 * index)
    connection = connect(address, PORT)
    ends = pair(connection)
    try:
        connection.sendall(b"POST /upload HTTP/1.1\r\nHost: store.example\r\nContent-Length: %d\r\n\r\n" % size)
        time.sleep(pause_s)
        connection.sendall(bytes(size))
        connection.settimeout(2)
        while connection.recv(65536):
            pass
    except OSError:
        pass
    connection.close()
    return ends


def rejected(folder, name, story, serving, family=4, size=300_000, side="server", interface=None, snaplen=None, delay_ms=4, count=4, made=""):
    """Uploads that meet `serving(net, address)`; each is reset."""
    address, path = ADDRESSES[family][1], place(folder, name)
    with Net(Wire(Way(delay_ms=delay_ms), Way(delay_ms=delay_ms))) as net:
        serving(net, address)
        before = net.counters("server")["TcpExtTCPAbortOnClose"]
        with net.capture(side, path, interface=interface, snaplen=snaplen, expression="tcp"):
            ends = net.call("client", lambda: together(count, upload, address, size))
        aborts = net.counters("server")["TcpExtTCPAbortOnClose"] - before
    assert aborts == count, (aborts, count)
    write_truth(path, story, f"testdata/lab/unread_data_reset.py{made}",
                [{"rule": "unread-data-reset", "occurrences": count, "connections": ends, "figures": {"resets": (count, 0)}}],
                may=["http-error"], capture_point=side, tcp_connections=count, aborts=aborts)
    compress(path)


def early_answer(wait_s, body=b"too large"):
    """Reads the head alone, answers 413, waits and closes."""
    def handle(connection, _peer):
        read_head(connection)
        connection.sendall(answer(body, b"413 Payload Too Large", b"Connection: close\r\n"))
        time.sleep(wait_s)
        connection.close()
    return lambda net, address: net.spawn("server", serve, address, PORT, handle)


def upload_413_ipv6(folder):
    rejected(folder, "upload-413-ipv6", "A server answers 413 after the head of an upload and closes with the body unread.", early_answer(0.06), family=6)


def upload_413_any(folder):
    rejected(folder, "upload-413-any", "The same over a longer path, captured on the any interface with 128 octets of each frame.", early_answer(0.12),
             interface="any", snaplen=128, size=500_000, delay_ms=15, count=3)


def crashes_client_side(folder):
    """The worker reads a little and ends without a word."""
    def handle(connection, _peer):
        connection.recv(4096)
        time.sleep(0.08)
        connection.close()
    rejected(folder, "no-answer-client", "A server reads the beginning of an upload and closes without an answer; captured at the client.",
             lambda net, address: net.spawn("server", serve, address, PORT, handle), side="client", size=120_000)


def harmless(folder, name, story, handle, use, count=4, may=()):
    """Connections that end without a reset of unread data."""
    address, path = ADDRESSES[4][1], place(folder, name)
    with Net(Wire(Way(delay_ms=4), Way(delay_ms=4))) as net:
        net.spawn("server", serve, address, PORT, handle)
        with net.capture("server", path, expression="tcp"):
            net.call("client", lambda: together(count, use, address))
    write_truth(path, story, "testdata/lab/unread_data_reset.py", may=may, capture_point="server", tcp_connections=count)
    compress(path)


def not_drained(folder):
    """The cure: half-close, read to the end, close."""
    def handle(connection, _peer):
        read_head(connection)
        connection.sendall(answer(b"too large", b"413 Payload Too Large", b"Connection: close\r\n"))
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
        connection.close()
    harmless(folder, "not-drained", "The server answers 413, shuts its side and reads the rest before it closes.", handle,
             lambda index, address: upload(index, address, 300_000), may=["http-error"])


def not_stream_ended(folder):
    """A reader that keeps up ends a stream for good: what was under way is refused, nothing lay unread."""
    def handle(connection, _peer):
        total = 0
        while total < 900_000:
            total += len(connection.recv(262_144))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        connection.close()

    def stream(index, address):
        connection = connect(address, PORT)
        try:
            for _ in range(100):
                connection.sendall(bytes(20_000))
                time.sleep(0.004)
        except OSError:
            pass
        connection.close()
    harmless(folder, "not-stream-ended", "A server reads long one-way streams and ends them abruptly, as measuring programs do.", handle, stream, count=3,
             may=["linger-zero-reset"])


def not_read_all(folder):
    """Requests with bodies that are read whole; both close in order."""
    def handle(connection, _peer):
        while read_request(connection, 5):
            connection.sendall(answer(b"stored"))
        connection.close()
    harmless(folder, "not-read-all", "Uploads are read whole and answered.", handle, lambda index, address: upload(index, address, 80_000))


if __name__ == "__main__":
    run_cases([upload_413_ipv6, upload_413_any, crashes_client_side, not_drained, not_stream_ended, not_read_all])
