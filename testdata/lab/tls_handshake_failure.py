#!/usr/bin/env python3
"""Captures of TLS handshakes that fail, and of TLS that works.

    sudo python3 testdata/lab/tls_handshake_failure.py OUTPUT_FOLDER [CASE...]

Servers are openssl s_server and Python; clients are openssl s_client and Python.
"""
import os
import ssl
import subprocess
import tempfile
import time

from actors import compress, connect, run_cases
from net import SERVER, SERVER6, Net, endpoint, pair, write_truth

PORT = 8443


def certificate(folder):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", folder + "/key", "-out", folder + "/cert", "-days", "2",
                    "-subj", "/CN=shop.example"], check=True, capture_output=True)


def tls_case(folder, name, story, options, attempts, finds=True, address=SERVER, side="client", may=(), severity="medium"):
    """`attempts`: functions of (address) that give (pair, whether it failed)."""
    path = os.path.join(folder, "tls-handshake-failure", name + ".pcap")
    with tempfile.TemporaryDirectory() as home, Net() as net:
        certificate(home)
        net.popen("server", "openssl", "s_server", "-accept", endpoint((address, PORT)), "-cert", home + "/cert", "-key", home + "/key", "-www", *options,
                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.7)
        with net.capture(side, path):
            results = [net.call("client", attempt, address) for attempt in attempts]
    failed = [ends for ends, bad in results if bad]
    findings = []
    if finds:
        assert failed, "no handshake failed"
        findings = [{"rule": "tls-handshake-failure", "connections": failed, "severity_at_least": severity, "figures": {"failures": (len(failed), 0)}}]
    write_truth(path, story, f"testdata/lab/tls_handshake_failure.py, openssl s_server {' '.join(options)}", findings, may=may, capture_point=side,
                tcp_connections=len(attempts))
    compress(path)


def https(minimum=None, maximum=None, verify=False, name="shop.example"):
    def attempt(address):
        context = ssl.create_default_context() if verify else ssl._create_unverified_context()
        if minimum:
            context.minimum_version = minimum
        if maximum:
            context.maximum_version = maximum
        raw = connect(address, PORT)
        ends = pair(raw)
        try:
            with context.wrap_socket(raw, server_hostname=name) as secure:
                secure.sendall(b"GET / HTTP/1.0\r\n\r\n")
                while secure.recv(4096):
                    pass
        except (ssl.SSLError, OSError) as error:
            return ends, isinstance(error, ssl.SSLError)
        return ends, False

    return attempt


def node_https(address):
    """Node.js, which knows no issuer of the lab."""
    script = f"""const socket = require('tls').connect({{host: '{address}', port: {PORT}, servername: 'shop.example'}});
let local; socket.on('connect', () => {{ local = socket.localAddress + ':' + socket.localPort }});
socket.on('error', () => console.log(local));"""
    local = subprocess.run(["node", "-e", script], capture_output=True, text=True).stdout.strip()
    return (local, endpoint((address, PORT))), bool(local)


def probe(address):
    """A health check that only opens the port."""
    raw = connect(address, PORT)
    ends = pair(raw)
    raw.close()
    return ends, False


V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def version(folder):
    tls_case(folder, "protocol-version", "A server that only speaks TLS 1.3 meets clients that only speak TLS 1.2.", ["-tls1_3"],
             [https(maximum=V12), https(), https(maximum=V12), https(), https(maximum=V12)])


def unknown_ca_ipv6(folder):
    tls_case(folder, "unknown-ca-tls12-ipv6", "Clients do not know the certificate's issuer; TLS 1.2 shows the alert.", ["-tls1_2"],
             [https(maximum=V12, verify=True) for _ in range(3)], address=SERVER6, side="server")


def not_working(folder):
    tls_case(folder, "not-working-tls", "Handshakes of TLS 1.2 and 1.3 that work, and health checks that only connect.", [],
             [https(), https(maximum=V12), https(), probe, probe, https()], finds=False)


def not_resumed(folder):
    tls_case(folder, "not-working-tls13-ipv6", "Handshakes of TLS 1.3 over IPv6 that work, with a verified name each.", ["-tls1_3"],
             [https(), https(), probe, https()], address=SERVER6, side="server", finds=False)


def node_refuses(folder):
    tls_case(folder, "node-refuses-tls13", "Node.js does not trust the certificate: in TLS 1.3 it closes without a word.", [],
             [node_https, https(), node_https, https(), node_https])


def client_certificate(folder):
    tls_case(folder, "client-certificate-tls13", "The server wants a client certificate; in TLS 1.3 it refuses after the client's Finished, in cipher.",
             ["-Verify", "1", "-verify_return_error", "-tls1_3"], [https() for _ in range(3)], side="server")


if __name__ == "__main__":
    run_cases([version, unknown_ca_ipv6, node_refuses, client_certificate, not_working, not_resumed])
