#!/usr/bin/env python3
"""Incidents with what the hosts' tools said beside the capture.

    sudo python3 testdata/lab/host_evidence.py OUTPUT_FOLDER [SCENARIO...]

Each scenario makes a folder: `capture.pcap`, what was collected in `client/` and `server/` (ss, nstat, strace, lsof,
iptables-save, conntrack, logs of nginx), and `expect.json`: which rule must be found, with which line of which file, and what the line says.
"""
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from net import CLIENT, SERVER, Net, write_truth
from parts import lab_name
from relay import Way, Wire

MADE = lab_name(__file__)
PYTHON = "/usr/bin/python3"
ACTORS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "host_actors.py")
CALLS = "trace=network,read,write,close,shutdown,epoll_ctl,clone,clone3,execve"


class Case:
    """The folder of one incident."""

    def __init__(self, folder, name):
        self.folder = os.path.join(folder, name)
        for side in ("client", "server"):
            os.makedirs(os.path.join(self.folder, side), exist_ok=True)
        self.capture = os.path.join(self.folder, "capture.pcap")

    def path(self, side, file):
        return os.path.join(self.folder, side, file)

    def write(self, side, file, text, mode="w"):
        with open(self.path(side, file), mode) as handle:
            handle.write(text)

    def collect(self, net, side, file, *command):
        """Runs a tool on a host and keeps what it says."""
        self.write(side, file, net.exec(side, *command, check=False), "a")

    def expect(self, story, **facts):
        for side in ("client", "server"):
            folder = os.path.join(self.folder, side)
            for file in os.listdir(folder):
                if os.path.getsize(os.path.join(folder, file)) == 0:
                    os.remove(os.path.join(folder, file))
            if not os.listdir(folder):
                os.rmdir(folder)
        with open(os.path.join(self.folder, "expect.json"), "w") as handle:
            json.dump({"story": story, "made": MADE, **facts}, handle, indent=1, sort_keys=True)
            handle.write("\n")


def actor(net, side, *arguments):
    """Starts an actor; gives its process."""
    child = net.popen(side, PYTHON, "-I", "-S", ACTORS, *map(str, arguments))
    time.sleep(0.4)
    return child


def trace(net, case, side, child, *options):
    """Attaches strace to an actor's process."""
    out = case.path(side, "strace.txt")
    options = options or ("-ttt", "-yy")
    tracer = net.popen(side, "strace", "-f", *options, "-e", CALLS, "-o", out, "-p", str(child.pid), stderr=subprocess.PIPE)
    time.sleep(0.6)
    return tracer


def traced(net, case, side, *arguments, options=("-ttt", "-yy")):
    """Starts an actor under strace."""
    out = case.path(side, "strace.txt")
    child = net.popen(side, "strace", "-f", *options, "-e", CALLS, "-o", out, PYTHON, "-I", "-S", ACTORS, *map(str, arguments))
    time.sleep(0.4)
    return child


def stop(child):
    child.send_signal(signal.SIGINT)
    child.wait()


def without_noise(case, side):
    """Leaves out the calls by which the interpreter starts: they name files of the lab's host."""
    path = case.path(side, "strace.txt")
    keep = re.compile(r"<(TCP|UDP)|AF_INET|clone|socket|\+\+\+|resumed|EPOLL|htons")
    with open(path) as handle:
        lines = [line for line in handle if keep.search(line)]
    with open(path, "w") as handle:
        handle.writelines(lines)


def ask(address, port, payload=b"GET / HTTP/1.1\r\nHost: api\r\n\r\n", wait_s=0.5, timeout=4):
    """One request; gives what became of it."""
    connection = socket.create_connection((address, port), timeout=timeout)
    try:
        connection.sendall(payload)
        connection.recv(4096)
        time.sleep(wait_s)
        connection.recv(1)
        result = "closed"
    except OSError as error:
        result = type(error).__name__
    connection.close()
    return result


def fin_wait_pile_up(folder):
    """A client with a deadline of its own closes; its sockets pile up in FIN-WAIT-2."""
    case = Case(folder, "fin-wait-2")
    with Net() as net:
        actor(net, "server", "slow_server", 8080, 4)
        with net.capture("client", case.capture):
            client = traced(net, case, "client", "deadline_client", SERVER, 8080, 5, 1.0)
            time.sleep(0.6)
            case.collect(net, "client", "ss-before.txt", "ss", "-tanpiemO")
            time.sleep(1.2)
            case.collect(net, "client", "ss.txt", "ss", "-tanpiemO")
            case.collect(net, "client", "netstat.txt", "netstat", "-antp")
            time.sleep(3.5)
        client.kill()
        subprocess.run(["pkill", "-P", str(client.pid)], check=False)
    without_noise(case, "client")
    case.expect("A client gives up after a second of its own clock and closes; its sockets wait in FIN-WAIT-2.",
                rule="client-timeout-close", process="python3",
                lines=[{"file": "client/ss.txt", "says": "supports", "text": "FIN-WAIT-2"},
                       {"file": "client/strace.txt", "says": "supports", "text": "close("}])


NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {log}/error.log warn;
events {{ worker_connections 64; }}
http {{
  access_log {log}/access.log combined;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream app {{ server {server}:8080; keepalive 8; }}
  server {{ listen 127.0.0.1:80;
    location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_next_upstream off; }} }}
}}
"""


def keepalive_race(folder):
    """A proxy's requests cross the FIN of a server whose idle timer runs out."""
    case = Case(folder, "keepalive-race")
    import tempfile
    with tempfile.TemporaryDirectory() as scratch, Net(Wire(Way(delay_ms=60), Way(delay_ms=60))) as net:
        server = actor(net, "server", "keepalive_server", 8080, 1.0)
        tracer = trace(net, case, "server", server)
        conf = os.path.join(scratch, "nginx.conf")
        with open(conf, "w") as handle:
            handle.write(NGINX.format(folder=scratch, log=os.path.join(case.folder, "client"), server=SERVER))
        net.popen("client", "nginx", "-c", conf, "-p", scratch, stderr=subprocess.DEVNULL)
        time.sleep(0.5)

        def users():
            for index in range(5):
                for wait_s in (0.94, 0.4):
                    try:
                        one = socket.create_connection(("127.0.0.1", 80))
                        one.sendall(b"POST /order/%d HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % index)
                        while one.recv(4096):
                            pass
                        one.close()
                    except OSError:
                        pass
                    time.sleep(wait_s)
        with net.capture("client", case.capture, expression="tcp port 8080"):
            net.call("client", users)
        case.collect(net, "server", "ss.txt", "ss", "-tanp")
        stop(tracer)
    case.expect("A server closes idle connections after a second; a proxy's requests cross its FIN.",
                rule="keepalive-race", process=None,
                lines=[{"file": "server/strace.txt", "says": "supports", "text": "close("},
                       {"file": "client/error.log", "says": "supports", "text": "upstream"}])


def hol(folder):
    """A lost segment holds back those behind it; both kernels' counts beside it."""
    case = Case(folder, "retransmit-hol")
    lost = {"left": 2}

    def choose(frame):
        if frame.payload_len > 0 and frame.data_number in (12, 40) and lost["left"]:
            lost["left"] -= 1
            return "drop"
        return None
    with Net(Wire(Way(delay_ms=20), Way(delay_ms=20, choose=choose))) as net:
        actor(net, "server", "bulk_server", 8080, 90000)

        def download():
            one = socket.create_connection((SERVER, 8080))
            one.sendall(b"GET /file HTTP/1.1\r\nHost: api\r\n\r\n")
            got = 0
            while got < 90000:
                got += len(one.recv(65536))
            time.sleep(1.5)
            one.close()
        with net.capture("server", case.capture):
            worker = threading.Thread(target=lambda: net.call("client", download))
            worker.start()
            time.sleep(1.2)
            case.collect(net, "server", "ss.txt", "ss", "-tanpiemO")
            case.collect(net, "client", "ss.txt", "ss", "-tani")
            worker.join()
    case.expect("Two segments are lost; the server's kernel counts its retransmissions.",
                rule="retransmit-hol", process="python3",
                lines=[{"file": "server/ss.txt", "says": "supports", "text": "retrans:0/2"}])


def redirect(folder):
    """A rule of a sidecar leads port 80 to the client's own host."""
    case = Case(folder, "transparent-redirect")
    with Net() as net:
        for rule in ("-N SIDECAR_OUTBOUND", "-A OUTPUT -p tcp -j SIDECAR_OUTBOUND",
                     "-A SIDECAR_OUTBOUND -p tcp -d 10.9.0.2 --dport 80 -j REDIRECT --to-ports 80"):
            net.exec("client", "iptables", "-t", "nat", *rule.split())
        actor(net, "client", "keepalive_server", 80, 3)
        with net.capture("client", case.capture, interface="any"):
            for _ in range(3):
                net.call("client", ask, SERVER, 80)
        case.collect(net, "client", "iptables.txt", "iptables-save", "-c")
        case.collect(net, "client", "nft.txt", "nft", "-a", "list", "ruleset")
        case.collect(net, "client", "conntrack.txt", "conntrack", "-L")
    case.expect("A REDIRECT of a sidecar sends calls of another host to the client itself.",
                rule="transparent-redirect", process=None,
                lines=[{"file": "client/iptables.txt", "says": "supports", "text": "REDIRECT"}])


def translated(folder):
    """A DNAT to another host shows on the wire as an ordinary connection."""
    case = Case(folder, "dnat-conntrack")
    with Net() as net:
        net.ip("client", "route", "add", "10.96.0.0/16", "via", SERVER)
        net.exec("client", "iptables", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-d", "10.96.0.10", "--dport", "80",
                 "-j", "DNAT", "--to-destination", f"{SERVER}:8080")
        actor(net, "server", "keepalive_server", 8080, 3)
        with net.capture("client", case.capture):
            for _ in range(2):
                net.call("client", ask, "10.96.0.10", 80, b"hello, whoever you are\n", 0.1)
            case.collect(net, "client", "conntrack.txt", "conntrack", "-L")
    case.expect("Connections to 10.96.0.10 are led to another host; only the connection tracker shows it.",
                rule="transparent-redirect", process=None,
                lines=[{"file": "client/conntrack.txt", "says": "supports", "text": "dst=10.96.0.10"}])


def datagrams(folder):
    """A reader's buffer of 1,024 bytes cuts datagrams of 1,400."""
    case = Case(folder, "udp-truncation")
    with Net() as net:
        server = actor(net, "server", "udp_server", 5300, 1024)
        tracer = trace(net, case, "server", server)

        def send():
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.connect((SERVER, 5300))
            for size in (200, 400, 800, 1400, 300, 1400, 1400, 700):
                one.send(b"x" * size)
                one.recv(100)
                time.sleep(0.02)
        with net.capture("client", case.capture):
            net.call("client", send)
        case.collect(net, "server", "ss.txt", "ss", "-uanpem")
        stop(tracer)
    case.expect("A server reads datagrams of 1,400 bytes into 1,024.", rule="udp-truncation", process="python3",
                lines=[{"file": "server/strace.txt", "says": "supports", "text": ", 1024, "}])


def one_socket(folder):
    """Eight threads send through one socket and wait for each other."""
    case = Case(folder, "udp-single-socket")
    with Net() as net:
        actor(net, "server", "udp_server", 5300, 2048)
        with net.capture("client", case.capture, snaplen=64):
            child = net.popen("client", "strace", "-c", "-f", "-o", case.path("client", "strace-c.txt"), PYTHON, "-I", "-S", ACTORS,
                              "udp_senders", SERVER, "5300", "8", "2.5")
            time.sleep(1.5)
            case.collect(net, "client", "lsof.txt", "lsof", "-nPi")
            case.collect(net, "client", "ss.txt", "ss", "-uanpem")
            child.wait()
    case.expect("Eight threads share one UDP socket and wait for its lock.", rule="udp-single-socket", process="python3",
                lines=[{"file": "client/strace-c.txt", "says": "supports", "text": "futex"}])


def abort(folder, name, how, story, rule, line, body=b"x" * 500, strace=True):
    case = Case(folder, name)
    with Net() as net:
        server = actor(net, "server", "aborting_server", 8080, how)
        tracer = trace(net, case, "server", server) if strace else None
        case.collect(net, "server", "nstat-before.txt", "nstat", "-asz")
        with net.capture("client", case.capture):
            for _ in range(4):
                net.call("client", ask, SERVER, 8080, b"POST / HTTP/1.1\r\nHost: api\r\nContent-Length: %d\r\n\r\n" % len(body) + body, 0.6)
        case.collect(net, "server", "nstat-after.txt", "nstat", "-asz")
        case.collect(net, "server", "ss-ltn.txt", "ss", "-ltn")
        if tracer:
            stop(tracer)
    case.expect(story, rule=rule, process=None, lines=[line])


def lingers(folder):
    abort(folder, "linger-zero", "linger", "A server closes with SO_LINGER 0.", "linger-zero-reset",
          {"file": "server/strace.txt", "says": "supports", "text": "SO_LINGER"})


def unread(folder):
    abort(folder, "unread-data", "unread", "A server closes with data unread.", "unread-data-reset",
          {"file": "server/nstat-after.txt", "says": "supports", "text": "TcpExtTCPAbortOnClose"}, b"x" * 3000, strace=False)


def contradiction(folder):
    abort(folder, "contradiction", "unread", "A close with little unread data looks like SO_LINGER 0 on the wire.", "unread-data-reset",
          {"file": "server/strace.txt", "says": "supports", "text": "close("}, b"x" * 1200)


def overflow(folder, name, lossy):
    case = Case(folder, name)

    def choose(frame):
        return "drop" if lossy and frame.flags & 0x12 == 0x02 and frame.number % 2 else None
    with Net(Wire(Way(choose=choose), Way()), sysctls={"net.ipv4.tcp_syncookies": 0}) as net:
        actor(net, "server", "lazy_server", 8080, 64 if lossy else 2, 0 if lossy else 4)
        case.collect(net, "server", "nstat-before.txt", "nstat", "-asz")

        def burst():
            def one():
                try:
                    ask(SERVER, 8080, wait_s=0.1, timeout=8)
                except OSError:
                    pass
            workers = [threading.Thread(target=one) for _ in range(10)]
            for worker in workers:
                worker.start()
                time.sleep(0.02)
            for worker in workers:
                worker.join()
        with net.capture("server" if not lossy else "client", case.capture):
            worker = threading.Thread(target=lambda: net.call("client", burst))
            worker.start()
            time.sleep(1.5)
            case.collect(net, "server", "ss-ltn.txt", "ss", "-ltn")
            worker.join()
        case.collect(net, "server", "nstat-after.txt", "nstat", "-asz")
    return case


def overflows(folder):
    case = overflow(folder, "listen-overflow", False)
    case.expect("A listener accepts nothing for four seconds.", rule="listen-overflow", process=None,
                lines=[{"file": "server/nstat-after.txt", "says": "supports", "text": "TcpExtListenOverflows"},
                       {"file": "server/ss-ltn.txt", "says": "supports", "text": "LISTEN"}])


def lost_syns(folder):
    case = overflow(folder, "lost-syns", True)
    case.expect("SYNs are lost on the way; the listener's counters stay at zero.", rule=None, absent="listen-overflow", process=None, lines=[])


def framing(folder):
    """Reads that are not one message each."""
    case = Case(folder, "stream-framing")
    with Net() as net:
        server = actor(net, "server", "framed_server", 9000)
        tracer = trace(net, case, "server", server)

        def send():
            one = socket.create_connection((SERVER, 9000))
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for index in range(60):
                message = b"m" * (40 + index % 7)
                frame = struct.pack("!I", len(message)) + message
                one.sendall(frame * 2 if index % 3 == 0 else frame)
                if index % 5 == 0:
                    one.sendall(frame[:10])
                    time.sleep(0.02)
                    one.sendall(frame[10:])
                time.sleep(0.01)
            one.close()
        with net.capture("server", case.capture):
            net.call("client", send)
        time.sleep(0.3)
        stop(tracer)
    case.expect("A reader takes what comes: two messages, or a part of one.", rule="stream-framing", process=None,
                lines=[{"file": "server/strace.txt", "says": "supports", "text": "recvfrom("}])


def buffer_full(folder):
    """A burst of datagrams finds the receive buffer of a slow server full."""
    case = Case(folder, "udp-buffer-full")
    with Net() as net:
        actor(net, "server", "slow_udp_server", 5300, 8192, 0.02)
        case.collect(net, "server", "nstat-before.txt", "nstat", "-asz")

        def burst():
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.connect((SERVER, 5300))
            one.settimeout(1.5)
            for index in range(80):
                one.send(struct.pack("!I", index) + b"x" * 600)
            try:
                while True:
                    one.recv(100)
            except TimeoutError:
                pass
        with net.capture("server", case.capture):
            net.call("client", burst)
        case.collect(net, "server", "nstat-after.txt", "nstat", "-asz")
        case.collect(net, "server", "ss.txt", "ss", "-uanpem")
    case.expect("A slow server's receive buffer is full; the wire shows datagrams without answer.", rule="udp-buffer-full", process="python3",
                lines=[{"file": "server/nstat-after.txt", "says": "supports", "text": "UdpRcvbufErrors"}])


def healthy(folder):
    """Nothing is wrong, and everything was collected."""
    case = Case(folder, "healthy")
    with Net() as net:
        server = actor(net, "server", "keepalive_server", 8080, 5)
        tracer = trace(net, case, "server", server)
        case.collect(net, "server", "nstat-before.txt", "nstat", "-asz")

        def talk():
            one = socket.create_connection((SERVER, 8080))
            for index in range(6):
                one.sendall(b"GET /%d HTTP/1.1\r\nHost: api\r\n\r\n" % index)
                one.recv(4096)
                time.sleep(0.1)
            one.close()
        with net.capture("client", case.capture):
            worker = threading.Thread(target=lambda: net.call("client", talk))
            worker.start()
            time.sleep(0.3)
            for side in ("client", "server"):
                case.collect(net, side, "ss.txt", "ss", "-tanpiemO")
                case.collect(net, side, "lsof.txt", "lsof", "-nPi")
                case.collect(net, side, "proc-net-tcp.txt", "cat", "/proc/net/tcp")
            worker.join()
        case.collect(net, "server", "nstat-after.txt", "nstat", "-asz")
        case.collect(net, "server", "iptables.txt", "iptables-save", "-c")
        stop(tracer)
    case.expect("Six requests are answered.", rule=None, process="python3", lines=[])


SCENARIOS = {function.__name__: function for function in (
    fin_wait_pile_up, keepalive_race, hol, redirect, translated, datagrams, one_socket, lingers, unread, contradiction, overflows,
    lost_syns, framing, buffer_full, healthy)}

if __name__ == "__main__":
    output, wanted = sys.argv[1], sys.argv[2:] or list(SCENARIOS)
    for name in wanted:
        print(name, flush=True)
        SCENARIOS[name](output)
