#!/usr/bin/env python3
"""Captures of clients that speak TLS to a port of plain HTTP, plain HTTP to a port of TLS, and of both done right.

    sudo python3 testdata/lab/wrong_protocol.py OUTPUT_FOLDER [CASE...]

The servers are nginx and vsftpd, the client is curl.
"""
import os

from actors import compress, run_cases
from net import SERVER, Net, write_truth
from parts import lab_name, nginx, self_signed
from service_error_hosts import vsftpd

PLAIN, TLS = 8080, 8443
MADE = lab_name(__file__)


def run(folder, name, url, port, story, found, may=()):
    path = os.path.join(folder, "wrong-protocol", name + ".pcap")
    certificate, key = self_signed("shop.example")
    with Net() as net:
        nginx(net, "server", f"server {{ listen {PLAIN}; return 200 fine; }}\n"
              f"server {{ listen {TLS} ssl; ssl_certificate {certificate}; ssl_certificate_key {key}; return 200 fine; }}", TLS)
        with net.capture("client", path, expression=f"tcp port {port}"):
            for _ in range(2):
                net.exec("client", "curl", "-sk", "--max-time", "3", url, check=False)
    findings = [{"rule": "wrong-protocol", "severity_at_least": "low", "severity_at_most": "medium",
                 "figures": {"connections": (2, 0)}}] if found else []
    write_truth(path, story, MADE, findings, may=list(may), capture_point="client", tcp_connections=2)
    compress(path)


def tls_to_http(folder):
    run(folder, "tls-to-http", f"https://{SERVER}:{PLAIN}/", PLAIN, "curl speaks TLS to a port of plain HTTP, which answers 400.", True,
        ["tls-handshake-failure", "http-error"])


def tls_to_ftp(folder):
    path = os.path.join(folder, "wrong-protocol", "tls-to-ftp.pcap")
    with Net() as net:
        vsftpd(net)
        with net.capture("client", path, expression="tcp port 21"):
            for _ in range(2):
                net.exec("client", "curl", "-sk", "--max-time", "3", f"https://{SERVER}:21/", check=False)
    write_truth(path, "curl speaks TLS to vsftpd, which greets it as FTP does.", MADE,
                [{"rule": "wrong-protocol", "severity_at_least": "low", "severity_at_most": "medium", "figures": {"connections": (2, 0)}}],
                may=["tls-handshake-failure", "service-error"], capture_point="client", tcp_connections=2)
    compress(path)


def not_tls(folder):
    run(folder, "not-tls", f"https://{SERVER}:{TLS}/", TLS, "curl speaks TLS to a port of TLS.", False)


def not_http_to_tls(folder):
    """nginx takes the request apart and answers in plain HTTP: both speak HTTP, and the answer says what is wrong."""
    run(folder, "not-http-to-nginx-tls", f"http://{SERVER}:{TLS}/", TLS, "curl speaks plain HTTP to a port of TLS, and nginx answers 400 in plain HTTP.",
        False)


if __name__ == "__main__":
    run_cases([tls_to_http, tls_to_ftp, not_tls, not_http_to_tls])
