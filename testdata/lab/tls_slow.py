#!/usr/bin/env python3
"""Captures of TLS handshakes in which one end takes long, and of others that are long for other reasons.

    sudo python3 testdata/lab/tls_slow.py OUTPUT_FOLDER [CASE...]

Both ends are OpenSSL under Python: the server looks something up before it chooses its certificate (a callback on the
server name), the client before it answers the server's flight.
"""
import os
import ssl
import time

import actors
from actors import compress, run_cases
from net import SERVER, Net, write_truth
from parts import lab_name, self_signed
from relay import Way, Wire

PORT, NAME = 8443, "shop.example"
MADE = lab_name(__file__)


def server(address, certificate, key, delay_s, version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.maximum_version = version
    context.sni_callback = lambda *_: time.sleep(delay_s)

    def talk(connection):
        with context.wrap_socket(connection, server_side=True) as secure:
            while request := secure.recv(1_000):
                secure.sendall(request)

    actors.serve_threads(address, PORT, talk)


def client(times, delay_s):
    """Shakes hands on a memory buffer, so that it can wait with the server's flight in its hand."""
    context = ssl._create_unverified_context()
    for _ in range(times):
        connection = actors.connect(SERVER, PORT)
        received, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        secure = context.wrap_bio(received, to_send, server_hostname=NAME)
        while True:
            try:
                secure.do_handshake()
                break
            except ssl.SSLWantReadError:
                connection.sendall(to_send.read())
                received.write(connection.recv(16_384))
                time.sleep(delay_s)
        secure.write(b"hello")
        connection.sendall(to_send.read())
        connection.settimeout(5)
        while True:
            received.write(connection.recv(16_384))
            try:
                if secure.read(100):
                    break
            except ssl.SSLWantReadError:
                continue
        connection.close()
        time.sleep(0.1)


def run(folder, name, story, findings, at_server=0.0, at_client=0.0, version=ssl.TLSVersion.TLSv1_3, wire=None, times=3, may=()):
    path = os.path.join(folder, "tls-slow", name + ".pcap")
    certificate, key = self_signed(NAME)
    with Net(wire) as net:
        net.spawn("server", server, SERVER, certificate, key, at_server, version)
        with net.capture("client", path, expression=f"tcp port {PORT}"):
            net.call("client", client, times, at_client)
    write_truth(path, story, MADE, findings, may=list(may), capture_point="client", tcp_connections=times)
    compress(path)


def found(slow_ms, at_least, at_most):
    return [{"rule": "tls-slow", "severity_at_least": at_least, "severity_at_most": at_most,
             "figures": {"handshakes": (3, 0), "slow_ms_max": (slow_ms, 120)}}]


def slow_server(folder):
    run(folder, "slow-server", "The server waits 1.2 s for a look-up before it chooses its certificate (TLS 1.3).", found(1200, "medium", "high"), 1.2,
        may=["slow-response"])


def slow_server_tls12(folder):
    run(folder, "slow-server-tls12", "The server waits 0.5 s for a look-up before it chooses its certificate (TLS 1.2).", found(500, "low", "low"), 0.5,
        version=ssl.TLSVersion.TLSv1_2, may=["slow-response"])


def slow_client(folder):
    run(folder, "slow-client", "The client takes 0.8 s with the server's flight before it answers (TLS 1.3).", found(800, "low", "low"), 0.0, 0.8)


def not_far(folder):
    way = Way(delay_ms=120)
    run(folder, "not-far", "A prompt server 240 ms away (TLS 1.2: two round trips).", [], version=ssl.TLSVersion.TLSv1_2, wire=Wire(up=way, down=way))


def not_lost(folder):
    """The first copy of each ClientHello is lost."""
    lost = set()

    def choose(frame):
        if frame.direction == "up" and frame.payload_len > 200 and frame.source not in lost:
            lost.add(frame.source)
            return "drop"
        return None

    run(folder, "not-lost", "A prompt server; the first copy of each ClientHello is lost.", [], wire=Wire(up=Way(delay_ms=5, choose=choose), down=Way(delay_ms=5)),
        may=["packet-loss", "retransmit-hol", "timeout-recovery"])


if __name__ == "__main__":
    run_cases([slow_server, slow_server_tls12, slow_client, not_far, not_lost])
