#!/usr/bin/env python3
"""Captures of clients that make full TLS handshakes where they could resume sessions, and of clients that need to.

    sudo python3 testdata/lab/tls_no_resumption.py OUTPUT_FOLDER [CASE...]

The server is nginx or OpenSSL under Python, the clients are OpenSSL under Python: each connection in a context of its own, as a
program does that is started for every request, or with the session of the one before.
"""
import os
import socket
import ssl
import subprocess
import tempfile
import time

import actors
from actors import compress, run_cases
from net import SERVER, Net, write_truth
from parts import lab_name, self_signed, wait_for_port
from relay import Way, Wire

PORT, NAME = 8443, "shop.example"
MADE = lab_name(__file__)


def server(address, certificate, key, options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.options |= options
    if options & ssl.OP_NO_TICKET:
        context.num_tickets = 0

    def talk(connection):
        with context.wrap_socket(connection, server_side=True) as secure:
            while request := secure.recv(1_000):
                secure.sendall(request)

    actors.serve_threads(address, PORT, talk)


def client(times, version, keeps_session, pause_s=0.05):
    """One request a connection; with `keeps_session` each asks for the session of the one before."""
    session, context = None, None
    for _ in range(times):
        if context is None or not keeps_session:
            context = ssl._create_unverified_context()
            context.maximum_version = version
        with socket.create_connection((SERVER, PORT)) as plain:
            with context.wrap_socket(plain, server_hostname=NAME, session=session) as secure:
                secure.sendall(b"GET /orders HTTP/1.1\r\nHost: shop.example\r\n\r\n")
                secure.recv(1_000)
                session = secure.session if keeps_session else None
        time.sleep(pause_s)


def run(folder, name, story, findings, version, keeps_session=False, options=0, times=25, pause_s=0.05, before=None):
    path = os.path.join(folder, "tls-no-resumption", name + ".pcap")
    certificate, key = self_signed(NAME)
    with Net(Wire(up=Way(delay_ms=10), down=Way(delay_ms=10))) as net:
        net.spawn("server", server, SERVER, certificate, key, options)
        with net.capture("client", path, expression=f"tcp port {PORT}"):
            net.call("client", client, times, version, keeps_session, pause_s)
    write_truth(path, story, MADE, findings, may=["connection-churn"], capture_point="client", tcp_connections=times)
    compress(path)


def nginx(folder):
    """A real server with its usual settings."""
    path = os.path.join(folder, "tls-no-resumption", "new-context-nginx.pcap")
    certificate, key = self_signed(NAME)
    with Net() as net:
        root = tempfile.mkdtemp(prefix="pd-nginx")
        configuration = os.path.join(root, "nginx.conf")
        with open(configuration, "w") as out:
            out.write(f"""daemon off; pid {root}/pid; error_log {root}/error; events {{}}
                http {{ access_log off; server {{ listen {PORT} ssl; ssl_certificate {certificate}; ssl_certificate_key {key};
                ssl_protocols TLSv1.2; location / {{ return 200 "orders"; }} }} }}""")
        net.popen("server", "nginx", "-c", configuration, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_port(net, "server", PORT)
        with net.capture("client", path, expression=f"tcp port {PORT}"):
            net.call("client", client, 30, ssl.TLSVersion.TLSv1_3, False)
    write_truth(path, "A program is started for each of 30 requests and makes a full TLS 1.2 handshake with nginx, which gives tickets.", MADE,
                found(30), may=["connection-churn"], capture_point="client", tcp_connections=30)
    compress(path)


def found(handshakes):
    return [{"rule": "tls-no-resumption", "severity_at_least": "info", "severity_at_most": "info", "figures": {"full_handshakes": (handshakes, 0)}}]


def new_context(folder):
    run(folder, "new-context", "A client makes a new context for each of 25 connections (TLS 1.2); the server gives tickets.", found(25),
        ssl.TLSVersion.TLSv1_2)


def not_kept_sessions(folder):
    run(folder, "not-sessions-kept", "A client asks for the session of the connection before, 25 times (TLS 1.2).", [], ssl.TLSVersion.TLSv1_2,
        keeps_session=True)


def not_without_tickets(folder):
    run(folder, "not-without-tickets", "A server without tickets: 25 full handshakes are all that is possible (TLS 1.2).", [], ssl.TLSVersion.TLSv1_2,
        options=ssl.OP_NO_TICKET)


def not_a_few(folder):
    run(folder, "not-a-few", "Ten full handshakes (TLS 1.2).", [], ssl.TLSVersion.TLSv1_2, times=10)


def not_shown(folder):
    run(folder, "not-shown-tls13", "A client makes a new context for each of 25 connections (TLS 1.3): nothing shows that the server resumes sessions.", [],
        ssl.TLSVersion.TLSv1_3)


if __name__ == "__main__":
    run_cases([nginx, new_context, not_kept_sessions, not_without_tickets, not_a_few, not_shown])
