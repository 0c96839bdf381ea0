#!/usr/bin/env python3
"""Captures of connections that open late, that one end forgets, that die, and that are opened one for every request.

    sudo python3 testdata/lab/connection_life.py OUTPUT_FOLDER [CASE...]

Makes captures of slow-connect, half-open, connection-died, connection-churn and sender-limited.
"""
import contextlib
import os
import signal
import socket
import time

from actors import compress, connect, http_get, http_ok, http_server, read_exactly, run_cases, serve_threads
from net import SERVER, SERVER6, Net, pair, write_truth
from parts import lab_name
from relay import Way, Wire

MADE = lab_name(__file__)
PORT = 8080
SYN, ACK = 2, 16


def record(net, folder, kind, name, act, story, findings=(), may=(), side="client", more=None, **expectation):
    """`findings`: a list, or what makes it of what `act` returned."""
    path = os.path.join(folder, kind, name + ".pcap")
    with net.capture(side, path, expression="tcp or icmp or icmp6 or arp"):
        seen = act()
    findings = findings(seen) if callable(findings) else list(findings)
    write_truth(path, story, MADE, findings, may=list(may), capture_point=side, **expectation, **(more or {}))
    compress(path)


def web(net, address=SERVER, wait_s=0.0):
    def answer(*_):
        time.sleep(wait_s)
        return http_ok(b"item" * 20)

    net.spawn("server", http_server, address, PORT, answer)


def get_all(address, number, gap_s=0.2):
    """Opens a connection for each request, one after the other; gives the ends and how long each connect took."""
    seen = []
    for _ in range(number):
        begin = time.monotonic()
        with connect(address, PORT) as connection:
            took = (time.monotonic() - begin) * 1e3
            http_get(connection, "/item", "shop.example")
            seen.append((pair(connection), took))
        time.sleep(gap_s)
    return seen


# --- slow-connect ----------------------------------------------------------------------------

def lose_first(flags, copies):
    """Loses the first `copies` segments with exactly these flags of each connection."""
    count = {}

    def choose(frame):
        if frame.protocol != "tcp" or frame.flags & (SYN | ACK) != flags:
            return None
        ends = (frame.source, frame.destination)
        count[ends] = count.get(ends, 0) + 1
        return "drop" if count[ends] <= copies else None

    return choose


def late(repeats):
    def findings(seen):
        times = sorted(took for _, took in seen)
        median = (times[(len(times) - 1) // 2] + times[len(times) // 2]) / 2
        return [{"rule": "slow-connect", "severity_at_least": "low", "connections": [ends for ends, _ in seen],
                 "figures": {"connect_ms": (median, median / 5), "syn_repeats": (repeats, 0), "connections": (len(seen), 0)}}]
    return findings


def syns_lost(folder):
    with Net(Wire(up=Way(delay_ms=5, choose=lose_first(SYN, 2)), down=Way(delay_ms=5))) as net:
        web(net)
        record(net, folder, "slow-connect", "syns-lost", lambda: net.call("client", get_all, SERVER, 2),
               "The first two SYNs of each of two connections are lost.", late(4), may=["packet-loss", "syn-unanswered"], tcp_connections=2)


def answers_lost(folder):
    """Over IPv6, and recorded at the server: it sees the client's SYN again and answers it again."""
    with Net(Wire(up=Way(delay_ms=5), down=Way(delay_ms=5, choose=lose_first(SYN | ACK, 3)))) as net:
        web(net, SERVER6)
        record(net, folder, "slow-connect", "answers-lost-ipv6", lambda: net.call("client", get_all, SERVER6, 2),
               "The first three SYN-ACKs of each of two connections are lost.",
               [{"rule": "slow-connect", "severity_at_least": "low", "figures": {"connections": (2, 0)}}], may=["packet-loss", "syn-unanswered"],
               side="server", tcp_connections=2)


def not_far(folder):
    with Net(Wire(up=Way(delay_ms=330), down=Way(delay_ms=330))) as net:
        web(net)
        record(net, folder, "slow-connect", "not-far", lambda: net.call("client", get_all, SERVER, 3),
               "The server is far away: every handshake takes its round trip of 660 ms.", tcp_connections=3)


def not_first_data(folder):
    def first_data():
        seen = set()

        def choose(frame):
            if frame.payload_len and frame.source not in seen:
                seen.add(frame.source)
                return "drop"
            return None
        return choose

    with Net(Wire(up=Way(delay_ms=5, choose=first_data()), down=Way(delay_ms=5))) as net:
        web(net)
        record(net, folder, "slow-connect", "not-first-data", lambda: net.call("client", get_all, SERVER, 4),
               "Handshakes are quick; the first request of each connection is lost once.", may=["packet-loss", "timeout-recovery", "slow-response"],
               tcp_connections=4)


# --- half-open -------------------------------------------------------------------------------

TCP_REPAIR = 19


def forgetful(address, after_s):
    """Answers, and some time later removes its sockets without a word, as a host does that loses power."""
    listening = socket.create_server((address, PORT), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    held = []
    begin = time.monotonic()
    listening.settimeout(0.1)
    while time.monotonic() - begin < after_s:
        with contextlib.suppress(TimeoutError):
            connection, _ = listening.accept()
            connection.settimeout(5)
            connection.recv(4096)
            connection.sendall(http_ok(b"ok"))
            held.append(connection)
    for connection in held:
        connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        connection.close()
    time.sleep(60)


def idle(address, number, keep_idle_s, wait_s):
    """Connections that have been answered once and are kept, with probes after some silence; gives their ends."""
    held, ends = [], []
    for _ in range(number):
        connection = connect(address, PORT)
        for option, value in ((socket.TCP_KEEPIDLE, keep_idle_s), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 3)):
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        http_get(connection, "/", "shop.example")
        held.append(connection)
        ends.append(pair(connection))
    time.sleep(wait_s)
    for connection in held:
        connection.close()
    return ends


def forgotten(folder, name, address, side, number, keep_idle_s, story):
    with Net() as net:
        net.spawn("server", forgetful, address, 1.5)

        def findings(ends):
            return [{"rule": "half-open", "severity_at_least": "low", "connections": ends,
                     "figures": {"connections": (number, 0), "idle_ms": (keep_idle_s * 1e3, 400)}}]

        record(net, folder, "half-open", name, lambda: net.call("client", idle, address, number, keep_idle_s, keep_idle_s + 2), story, findings,
               side=side, tcp_connections=number)


def host_forgets(folder):
    forgotten(folder, "host-forgets", SERVER, "client", 3, 4, "A host loses three connections without a word; the client's probes are answered by RST.")


def host_forgets_ipv6(folder):
    forgotten(folder, "host-forgets-ipv6-server", SERVER6, "server", 1, 6, "A host loses a connection without a word; the client's probe is answered by RST.")


def not_probed(folder):
    with Net() as net:
        web(net)
        record(net, folder, "half-open", "not-answered-probes", lambda: net.call("client", idle, SERVER, 3, 2, 9),
               "Probes of three idle connections are answered.", tcp_connections=3)


def not_killed(folder):
    """The kernel closes what a killed process leaves."""
    def act(net, server):
        client = net.spawn("client", idle, SERVER, 3, 2, 6, settle=4)
        os.kill(server.pid, signal.SIGKILL)
        client.join()

    with Net() as net:
        server = net.spawn("server", forgetful, SERVER, 30)
        record(net, folder, "half-open", "not-killed", lambda: act(net, server), "The server's process is killed while clients probe its idle connections.",
               tcp_connections=3)


# --- connection-died -------------------------------------------------------------------------

def steady(address, until_s, patience_s):
    """Asks every 200 ms."""
    end = time.monotonic() + until_s
    with connect(address, PORT) as connection, contextlib.suppress(TimeoutError):
        connection.settimeout(patience_s)
        while time.monotonic() < end:
            http_get(connection, "/item", "shop.example")
            time.sleep(0.2)


def not_brief(folder):
    begin = time.monotonic()

    def choose(frame):
        return "drop" if frame.protocol == "tcp" and 3 < time.monotonic() - begin < 4.3 else None

    with Net(Wire(up=Way(delay_ms=4, choose=choose), down=Way(delay_ms=4, choose=choose))) as net:
        web(net)
        record(net, folder, "connection-died", "not-brief", lambda: net.call("client", steady, SERVER, 6, 20),
               "The path is dark for 1.3 seconds under a connection in use, which then goes on.",
               may=["packet-loss", "path-outage", "retransmit-hol", "slow-response", "timeout-recovery"], tcp_connections=1)


def not_stuck(folder):
    """The kernel of a process that stands still acknowledges; nobody reads."""
    def act(net, server):
        client = net.spawn("client", steady, SERVER, 8, 4, settle=2)
        os.kill(server.pid, signal.SIGSTOP)
        client.join()

    with Net() as net:
        server = net.spawn("server", http_server, SERVER, PORT, lambda *_: http_ok(b"ok"))
        record(net, folder, "connection-died", "not-stuck", lambda: act(net, server),
               "The server's process stands still: requests are acknowledged and not answered; the client gives up after four seconds.",
               may=["client-timeout-close", "slow-response"], tcp_connections=1)


# --- connection-churn ------------------------------------------------------------------------

def burst(number, seconds):
    """So many connections, spread evenly, with one request each."""
    begin = time.monotonic()
    for nth in range(number):
        time.sleep(max(0.0, begin + nth * seconds / number - time.monotonic()))
        with connect(SERVER, PORT) as connection:
            http_get(connection, f"/item/{nth}", "shop.example")


def echo(connection):
    while line := connection.recv(100):
        connection.sendall(line)


def burst_of_commands(number):
    for nth in range(number):
        with connect(SERVER, PORT) as connection:
            connection.sendall(b"get %d\n" % nth)
            connection.recv(100)


def churn(least, tolerance):
    return [{"rule": "connection-churn", "severity_at_least": "low", "severity_at_most": "low", "figures": {"connections": (least, tolerance)}}]


def every_request(folder):
    with Net() as net:
        web(net)
        record(net, folder, "connection-churn", "every-request", lambda: net.call("client", burst, 180, 2.0),
               "A client opens ninety connections a second, one for each request.", churn(90, 15), tcp_connections=180)


def every_command(folder):
    with Net(Wire(up=Way(delay_ms=1), down=Way(delay_ms=1))) as net:
        net.spawn("server", serve_threads, SERVER, PORT, echo)
        record(net, folder, "connection-churn", "every-command", lambda: net.call("client", burst_of_commands, 160),
               "A client opens a connection for each command of a line, as fast as it can.",
               [{"rule": "connection-churn", "severity_at_least": "low", "severity_at_most": "low", "figures": {}}], tcp_connections=160)


def not_kept(folder):
    def act():
        with connect(SERVER, PORT) as connection:
            for nth in range(200):
                http_get(connection, f"/item/{nth}", "shop.example")

    with Net() as net:
        web(net)
        record(net, folder, "connection-churn", "not-kept", lambda: net.call("client", act), "Two hundred requests in one connection.",
               may=["chatty-exchange"], tcp_connections=1)


def not_a_few(folder):
    with Net() as net:
        web(net)
        record(net, folder, "connection-churn", "not-a-few", lambda: net.call("client", burst, 75, 3.0), "A client opens 25 connections a second.",
               tcp_connections=75)


# --- sender-limited --------------------------------------------------------------------------

BLOCK = 100_000


def acknowledge(connection):
    """Takes blocks and says so after the time that it works on each."""
    while len(read_exactly(connection, BLOCK)) == BLOCK:
        time.sleep(0.4)
        connection.sendall(b"ok\n")


def swallow(connection):
    while connection.recv(1 << 16):
        pass


def download():
    with connect(SERVER6, PORT) as connection:
        connection.sendall(b"all\n")
        swallow(connection)


def serve_pieces(connection):
    """Sends what it has every 300 ms."""
    connection.recv(100)
    for _ in range(8):
        connection.sendall(bytes(60_000))
        time.sleep(0.3)


def upload(blocks, pause_s, waits):
    with connect(SERVER, PORT) as connection:
        for _ in range(blocks):
            connection.sendall(bytes(BLOCK))
            if waits:
                connection.recv(10)
            time.sleep(pause_s)


def limited(folder, name, story, found, blocks, pause_s, waits, rate_bps=0.0, may=()):
    findings = [{"rule": "sender-limited", "severity_at_least": "info", "severity_at_most": "info", "figures": {"sent_bytes": (blocks * BLOCK, 0)}}]
    with Net(Wire(up=Way(delay_ms=5, rate_bps=rate_bps, queue_bytes=2_000_000), down=Way(delay_ms=5))) as net:
        net.spawn("server", serve_threads, SERVER, PORT, acknowledge if waits else swallow)
        record(net, folder, "sender-limited", name, lambda: net.call("client", upload, blocks, pause_s, waits), story, findings if found else (), may=may,
               tcp_connections=1)


def pieces(folder):
    limited(folder, "pieces", "A program sends a block of 100 kB every 400 ms, as it reads them.", True, 6, 0.4, False)


def pieces_of_a_response(folder):
    with Net(Wire(up=Way(delay_ms=5), down=Way(delay_ms=5))) as net:
        net.spawn("server", serve_threads, SERVER6, PORT, serve_pieces)
        record(net, folder, "sender-limited", "pieces-of-a-response-ipv6", lambda: net.call("client", download),
               "A server sends its answer in pieces of 60 kB, one every 300 ms.",
               [{"rule": "sender-limited", "severity_at_least": "info", "severity_at_most": "info", "figures": {"sent_bytes": (480_000, 0)}}],
               side="server", tcp_connections=1)


def not_waits_for_word(folder):
    """The time between a block and its answer is the receiver's."""
    limited(folder, "not-waits-for-word", "A program sends blocks of 100 kB; the receiver answers each after working on it for 400 ms.", False, 6, 0.0, True,
            may=["slow-response"])


def not_the_path(folder):
    limited(folder, "not-the-path", "A program sends 600 kB at once over a link of 3 Mbit/s.", False, 6, 0.0, False, rate_bps=3e6,
            may=["bufferbloat", "window-limited"])


def not_a_transfer(folder):
    limited(folder, "not-a-transfer", "A program sends one block of 100 kB and keeps its connection for two seconds.", False, 1, 2.0, False)


if __name__ == "__main__":
    run_cases([syns_lost, answers_lost, not_far, not_first_data, host_forgets, host_forgets_ipv6, not_probed, not_killed, not_brief, not_stuck,
               every_request, every_command, not_kept, not_a_few, pieces, pieces_of_a_response, not_waits_for_word, not_the_path, not_a_transfer])
