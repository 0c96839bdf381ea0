#!/usr/bin/env python3
"""Captures of TLS servers whose certificate has expired or soon will have, and of others in good order.

    sudo python3 testdata/lab/certificate_expiry.py OUTPUT_FOLDER [CASE...]

The server is nginx with certificates of a throw-away authority, the client curl.
"""
import datetime
import os
import subprocess
import tempfile

from actors import compress, run_cases
from net import SERVER, Net, write_truth
from parts import lab_name, nginx

PORT, NAME = 8443, "shop.example"
MADE = lab_name(__file__)


def signed(behind, ahead):
    """Certificate, key and authority, as paths: valid since and for so many days."""
    folder = tempfile.mkdtemp(prefix="pd-ca")
    path = {name: os.path.join(folder, name) for name in ("ca.crt", "ca.key", "crt", "key", "csr", "conf", "index", "serial")}

    def openssl(*words):
        subprocess.run(("openssl",) + words, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", path["ca.key"], "-out", path["ca.crt"], "-subj", "/CN=Lab CA", "-days", "365")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", path["key"], "-out", path["csr"], "-subj", f"/CN={NAME}")
    open(path["index"], "w").close()
    with open(path["serial"], "w") as handle:
        handle.write("1000\n")
    with open(path["conf"], "w") as handle:
        handle.write(f"[ca]\ndefault_ca = own\n[own]\ndatabase = {path['index']}\nserial = {path['serial']}\nnew_certs_dir = {folder}\n"
                     f"default_md = sha256\npolicy = any\nx509_extensions = leaf\n[any]\ncommonName = supplied\n[leaf]\nsubjectAltName = DNS:{NAME}\n")
    now = datetime.datetime.now(datetime.timezone.utc)
    times = [(now + datetime.timedelta(days=days)).strftime("%Y%m%d%H%M%SZ") for days in (-behind, ahead)]
    openssl("ca", "-batch", "-config", path["conf"], "-cert", path["ca.crt"], "-keyfile", path["ca.key"], "-in", path["csr"], "-out", path["crt"],
            "-startdate", times[0], "-enddate", times[1], "-notext")
    return path["crt"], path["key"], path["ca.crt"]


def run(folder, name, story, life, findings, checks=True, times=3, tls="1.2", may=(), mode="medium"):
    path = os.path.join(folder, "certificate-expiry", name + ".pcap")
    certificate, key, authority = signed(*life)
    with Net() as net:
        nginx(net, "server", f"server {{ listen {PORT} ssl; ssl_certificate {certificate}; ssl_certificate_key {key};"
              " ssl_protocols TLSv1.2 TLSv1.3; return 200 fine; }", PORT)
        with net.capture("client", path, expression=f"tcp port {PORT}"):
            for _ in range(times):
                trust = ("--cacert", authority) if checks else ("-k",)
                net.exec("client", "curl", "-s", "--max-time", "5", *trust, "--tls-max", tls, "--resolve", f"{NAME}:{PORT}:{SERVER}",
                         f"https://{NAME}:{PORT}/", check=False)
    write_truth(path, story, MADE, findings, may=list(may), none_at_or_above=mode, capture_point="client", tcp_connections=times)
    compress(path)


def found(days, refused, at_least="low", at_most="low"):
    return [{"rule": "certificate-expiry", "severity_at_least": at_least, "severity_at_most": at_most,
             "figures": {"days_left": (days, 0.6), "refused": (refused, 0)}}]


def expired_and_refused(folder):
    run(folder, "expired-and-refused", "The certificate expired three days ago; curl refuses it three times with the alert certificate_expired.", (87, -3),
        found(-3, 3, "medium", "high"), may=["tls-handshake-failure"])


def expired_and_accepted(folder):
    run(folder, "expired-and-accepted", "The certificate expired 40 days ago; the client does not check it.", (325, -40), found(-40, 0), checks=False)


def ends_in_five_days(folder):
    run(folder, "ends-in-five-days", "The certificate of 90 days ends in five.", (85, 5), found(5, 0))


def not_forty_days(folder):
    run(folder, "not-forty-days", "The certificate of 90 days has 40 left.", (50, 40), [])


def not_short_lived(folder):
    run(folder, "not-short-lived", "A certificate of six days, four of them left, is renewed in time.", (2, 4), [])


def not_visible(folder):
    run(folder, "not-visible", "TLS 1.3 encrypts the certificate, which expired three days ago; the client does not check it.", (87, -3), [], checks=False,
        tls="1.3")


if __name__ == "__main__":
    run_cases([expired_and_refused, expired_and_accepted, ends_in_five_days, not_forty_days, not_short_lived, not_visible])
