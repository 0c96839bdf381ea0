#!/usr/bin/env python3
"""Captures of traffic in which nothing is wrong, of many kinds: no rule may cry wolf.

    sudo python3 testdata/lab/healthy.py OUTPUT_FOLDER [CASE...]

Servers are nginx, HAProxy, node, Python and openssl; clients are curl, node and Python.
"""
import contextlib
import os
import random
import socket
import ssl
import struct
import subprocess
import tempfile
import time

from actors import compress, connect, http_get, http_ok, http_server, in_threads, read_exactly, run_cases, serve_threads
from net import CLIENT, SERVER, SERVER6, Net, write_truth
from relay import Way, Wire

PORT = 8080


@contextlib.contextmanager
def healthy(folder, name, story, point=("client", None), wire=None, snaplen=None, may=(), made="", **facts):
    """A lab whose traffic is captured and must give no finding; yields (net, capture), the latter to be entered."""
    path = os.path.join(folder, "healthy", name + ".pcap")
    with Net(wire) as net:
        yield net, lambda: net.capture(point[0], path, interface=point[1], snaplen=snaplen, expression="tcp or udp or icmp")
    write_truth(path, story, f"testdata/lab/healthy.py{made}", may=may, capture_point=point[0], **facts)
    compress(path)


@contextlib.contextmanager
def nginx(net, server, more=""):
    """nginx on the server; `{home}` in the configuration is its folder."""
    with tempfile.TemporaryDirectory() as home:
        os.chmod(home, 0o755)
        os.makedirs(home + "/www")
        for number in range(8):
            with open(f"{home}/www/item{number}", "wb") as handle:
                handle.write(random.Random(number).randbytes(1500 * (number + 1)))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", home + "/key", "-out", home + "/cert", "-days", "2",
                        "-subj", "/CN=shop.example"], check=True, capture_output=True)
        temporary = "".join(f"{kind}_temp_path {home}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        with open(home + "/conf", "w") as handle:
            handle.write(f"master_process off; daemon off; pid {home}/pid; error_log {home}/error; events {{}} http {{ access_log off; {temporary} {more} "
                         f"server {{ root {home}/www; ssl_certificate {home}/cert; ssl_certificate_key {home}/key; {server} }} }}")
        net.popen("server", "nginx", "-c", home + "/conf", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.8)
        yield home


def curl(net, *arguments):
    net.exec("client", "curl", "-s", "-k", "-o", "/dev/null", *arguments)


def web_load(folder):
    with healthy(folder, "web-load", "Sixteen keep-alive clients load pages from nginx.", wire=Wire(up=Way(delay_ms=5), down=Way(delay_ms=5))) as (net, capture):
        with nginx(net, f"listen {PORT};"), capture():
            def browse(number):
                connection = connect(SERVER, PORT)
                for request in range(6):
                    http_get(connection, f"/item{(request + number) % 4}", "shop.example")
                    time.sleep(0.02)
                connection.close()

            net.call("client", in_threads, browse, range(16))


def tls_and_http2(folder):
    with healthy(folder, "tls-and-http2", "curl over TLS 1.2, TLS 1.3, HTTP/2 over TLS and in clear text, IPv4 and IPv6.", point=("server", "any"), snaplen=256) as (net, capture):
        with nginx(net, "listen 443 ssl http2; listen [::]:443 ssl http2; listen 8081 http2;"), capture():
            for _ in range(3):
                curl(net, "--tls-max", "1.2", f"https://{SERVER}/item1")
                curl(net, "-o", "/dev/null", f"https://{SERVER}/item2", f"https://{SERVER}/item3")
                curl(net, f"https://[{SERVER6}]/item4")
                curl(net, "--http1.1", f"https://{SERVER}/item5")
                curl(net, "--http2-prior-knowledge", f"http://{SERVER}:8081/item3")


def reverse_proxy(folder):
    backend = f"upstream b {{ server {CLIENT}:9001; keepalive 8; }}"
    place = "location / { proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection ''; }"
    with healthy(folder, "reverse-proxy-any", "nginx passes requests on over pooled connections; both sides are captured.", point=("server", "any")) as (net, capture):
        net.spawn("client", http_server, CLIENT, 9001, lambda _, target, __: http_ok(target.encode() * 20))
        with nginx(net, f"listen {PORT}; {place}", backend), capture():
            def browse(_):
                connection = connect(SERVER, PORT)
                for request in range(8):
                    http_get(connection, f"/cart/{request}", "shop.example")
                connection.close()

            net.call("client", in_threads, browse, range(6))


def health_checks(folder):
    """HAProxy checks a TCP server once in 200 ms: its checks end in RST."""
    config = (f"defaults\n mode http\n timeout client 5s\n timeout server 5s\n timeout connect 1s\nfrontend f\n bind :{PORT}\n default_backend b\n"
              f"backend b\n server s1 {SERVER}:9002 check inter 200ms\n")
    with healthy(folder, "health-checks", "HAProxy at the client checks its server and passes requests on.", point=("client", "any")) as (net, capture):
        net.spawn("server", http_server, SERVER, 9002, lambda *_: http_ok(b"fine"))
        with tempfile.NamedTemporaryFile("w", suffix=".cfg") as handle:
            handle.write(config)
            handle.flush()
            net.popen("client", "haproxy", "-db", "-f", handle.name, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(1)
            with capture():
                def browse(_):
                    connection = connect(CLIENT, PORT)
                    for request in range(5):
                        http_get(connection, f"/cart/{request}", "shop.example")
                        time.sleep(0.2)
                    connection.close()

                net.call("client", in_threads, browse, range(3))


def bulk(folder):
    wire = Wire(up=Way(delay_ms=8), down=Way(delay_ms=8))
    with healthy(folder, "bulk-snaplen", "A download and an upload of 3 MB each.", wire=wire, snaplen=96) as (net, capture):
        def talk(connection):
            if connection.recv(1) == b"d":
                connection.sendall(bytes(3_000_000))
            else:
                read_exactly(connection, 3_000_000)
            connection.sendall(b"!")

        def move():
            for kind in (b"d", b"u"):
                connection = connect(SERVER, PORT)
                connection.sendall(kind)
                if kind == b"u":
                    connection.sendall(bytes(3_000_000))
                read_exactly(connection, 3_000_001 if kind == b"d" else 1)
                connection.close()

        net.spawn("server", serve_threads, SERVER, PORT, talk)
        with capture():
            net.call("client", move)


def long_poll(folder):
    with healthy(folder, "long-poll", "Clients poll and wait up to 2.5 s for something to happen.") as (net, capture):
        def answer(_, target, __):
            time.sleep(random.Random(target).choice([0.3, 1.2, 2.5]) if "poll" in target else 0.005)
            return http_ok(b"[]")

        def poll(number):
            connection = connect(SERVER, PORT)
            for request in range(4):
                http_get(connection, f"/poll?since={number * 10 + request}", "chat.example")
                http_get(connection, f"/send/{request}", "chat.example")
            connection.close()

        net.spawn("server", http_server, SERVER, PORT, answer)
        with capture():
            net.call("client", in_threads, poll, range(4))


def web_socket(folder):
    node = """
const http = require('http'); const s = http.createServer();
s.on('upgrade', (q, c) => { c.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Accept: x\\r\\n\\r\\n');
  let n = 0; const t = setInterval(() => { c.write(Buffer.from([0x81, 2, 0x68, 0x69])); if (++n == 5) { clearInterval(t); c.end(); } }, 600); c.on('error', () => {}); });
s.listen(8080, '0.0.0.0');
"""
    with healthy(folder, "web-socket", "A node server pushes messages over WebSockets.") as (net, capture):
        net.popen("server", "node", "-e", node, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.8)

        def follow(_):
            connection = connect(SERVER, PORT)
            connection.sendall(b"GET /live HTTP/1.1\r\nHost: live.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                               b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
            while connection.recv(1000):
                pass
            connection.close()

        with capture():
            net.call("client", in_threads, follow, range(3))


def interactive(folder):
    """A terminal session: a banner, then key strokes and echoes with long pauses."""
    with healthy(folder, "interactive", "A line-oriented session with pauses of a second and more.", wire=Wire(up=Way(delay_ms=20), down=Way(delay_ms=20))) as (net, capture):
        def talk(connection):
            connection.sendall(b"welcome\r\nlogin: ")
            while data := connection.recv(100):
                connection.sendall(data)

        def keys():
            draw, connection = random.Random(1), connect(SERVER, 2323)
            connection.recv(100)
            for _ in range(40):
                connection.sendall(bytes([draw.randrange(97, 123)]))
                connection.recv(1)
                time.sleep(draw.choice([0.02, 0.05, 0.1, 1.2]) if draw.random() < 0.9 else 0.3)
            connection.close()

        net.spawn("server", serve_threads, SERVER, 2323, talk)
        with capture():
            net.call("client", keys)


def half_close(folder):
    with healthy(folder, "half-close", "Clients send, shut their side and then read the whole answer.") as (net, capture):
        def talk(connection):
            read_exactly(connection, 1 << 30)
            time.sleep(0.3)
            connection.sendall(b"r" * 20_000)

        def ask(_):
            connection = connect(SERVER, PORT)
            connection.sendall(b"q" * 5000)
            connection.shutdown(socket.SHUT_WR)
            read_exactly(connection, 1 << 30)
            connection.close()

        net.spawn("server", serve_threads, SERVER, PORT, talk)
        with capture():
            net.call("client", in_threads, ask, range(5))


def tls_tickets(folder):
    """TLS 1.3 clients that close without reading the session tickets: the kernel resets."""
    with healthy(folder, "tls13-close", "TLS 1.3 clients close early, without the session tickets: a harmless reset.", point=("server", None)) as (net, capture):
        with nginx(net, "listen 443 ssl;"), capture():
            def visit(_):
                raw = connect(SERVER, 443)
                secure = ssl._create_unverified_context().wrap_socket(raw, server_hostname="shop.example")
                secure.sendall(b"GET /item0 HTTP/1.1\r\nHost: shop.example\r\n\r\n")
                secure.recv(1000)
                raw.close()
                secure.close()

            net.call("client", in_threads, visit, range(6))


def udp_mix(folder):
    """Time, metrics, a game and a call, all over UDP."""
    with healthy(folder, "udp-mix", "Several kinds of UDP: time queries, one-way metrics, a game's updates, a call.", snaplen=128) as (net, capture):
        def serve(port):
            server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            server.bind((SERVER, port))
            while True:
                data, client = server.recvfrom(65535)
                if port in (123, 27015):
                    server.sendto(data[:4] + bytes(44), client)

        def talk():
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            draw = random.Random(2)
            for number in range(400):
                if number % 100 == 0:
                    client.sendto(b"\x23" + bytes(47), (SERVER, 123))
                client.sendto(b"app.requests:%d|c" % number, (SERVER, 8125))
                client.sendto(struct.pack("!I", number) + draw.randbytes(draw.randrange(20, 400)), (SERVER, 27015))
                client.sendto(struct.pack("!BBHII", 0x80, 0, number, number * 160, 77) + bytes(160), (SERVER, 16384))
                time.sleep(0.005)

        for port in (123, 8125, 27015, 16384):
            net.spawn("server", serve, port, settle=0.05)
        with capture():
            net.call("client", talk)


def pipelines(folder):
    """A Redis-like protocol: pipelined commands with prompt answers."""
    with healthy(folder, "pipelined-commands", "Clients pipeline small commands and read all the answers.") as (net, capture):
        def talk(connection):
            pending = b""
            while data := connection.recv(4096):
                pending += data
                complete = pending.rsplit(b"\r\n", 1)[0] if pending.endswith(b"\r\n") else b""
                if complete:
                    connection.sendall(b"+OK\r\n" * max(1, pending.count(b"*3\r\n")))
                    pending = b""

        def ask(number):
            connection = connect(SERVER, 6379)
            for turn in range(15):
                commands = [b"*3\r\n$3\r\nSET\r\n$4\r\nk%03d\r\n$5\r\nvalue\r\n" % one for one in range(turn % 4 + 1)]
                connection.sendall(b"".join(commands))
                read_exactly(connection, 5 * len(commands))
                time.sleep(0.01)
            connection.close()

        net.spawn("server", serve_threads, SERVER, 6379, talk)
        with capture():
            net.call("client", in_threads, ask, range(4))


if __name__ == "__main__":
    run_cases([web_load, tls_and_http2, reverse_proxy, health_checks, bulk, long_poll, web_socket, interactive, half_close, tls_tickets, udp_mix, pipelines])
