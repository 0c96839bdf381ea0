#!/usr/bin/env python3
"""Listeners whose queues are full, and connection attempts that fail for other reasons.

    sudo python3 testdata/lab/listen_overflow.py OUTPUT_FOLDER

A server with a short backlog that accepts too slowly meets a burst of clients, with and without SYN cookies. Truth: the
relay's count of repeated SYNs and SYN-ACKs per connection (it forwards every frame), and the kernel's ListenOverflows.
"""
import collections
import multiprocessing
import os
import socket
import sys
import threading
import time

from net import Net, endpoint
from parts import ADDRESSES, REQUEST, answer, delta, lab_name, listener, points, read_request, read_response, together, truths
from relay import Way, Wire

MADE = lab_name(__file__)
SYN, ACK = 2, 16
KERNEL = ("TcpExtListenOverflows", "TcpExtListenDrops", "TcpExtTCPReqQFullDoCookies", "TcpExtTCPTimeouts")


class Watch:
    """Has the relay book every TCP frame, for the truth: `wire` carries it, `count` reads the books."""

    def __init__(self, delay_ms=0.0, drop=None):
        def look(frame):
            if drop and drop(frame):
                return "drop"
            return ("delay", 0) if frame.protocol == "tcp" else None
        self.wire = Wire(Way(delay_ms=delay_ms, choose=look), Way(delay_ms=delay_ms, choose=look))

    @staticmethod
    def count(net):
        """`{client: (SYNs, SYN-ACKs, ignored)}`; ignored: the client's first data was repeated before anything acknowledged it."""
        syns, syn_acks, first, heard, ignored = collections.Counter(), collections.Counter(), {}, set(), set()
        for row in net.relay_books():
            up = row["direction"] == "up"
            client = row["source"] if up else row["destination"]
            if row["flags"] & SYN:
                (syns if up else syn_acks)[client] += 1
            elif up and row["payload_len"]:
                again = client in first and row["seq"] == first[client]
                first.setdefault(client, row["seq"])
                if again and client not in heard:
                    ignored.add(client)
            elif not up and row["flags"] & ACK and client in first and 0 < (row["ack"] - first[client]) % 2**32 < 2**31:
                heard.add(client)
        return {client: (syns[client], syn_acks[client], client in ignored) for client in syns}


def slow_acceptor(address, port, backlog, before_s, each_s):
    """Accepts nothing for `before_s`, then one connection every `each_s`, and answers one request on each."""
    listening = listener(address, port, backlog)
    time.sleep(before_s)

    def handle(connection):
        try:
            if read_request(connection, 20):
                connection.sendall(answer())
        except (OSError, TimeoutError):
            pass
        connection.close()
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=handle, args=(connection,), daemon=True).start()
        time.sleep(each_s)


def caller(index, address, port, patience_s, spacing_s):
    """One request on a connection of its own, given up after `patience_s`."""
    time.sleep(spacing_s * index)
    connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    connection.settimeout(patience_s)
    result, local = "answered", None
    try:
        connection.connect((address, port))
        local = endpoint(connection.getsockname())
        connection.sendall(REQUEST % index)
        result = "answered" if read_response(connection) else "end of file"
    except TimeoutError:
        result = "timed out"
        local = local or endpoint(connection.getsockname())
    except OSError as error:
        result = type(error).__name__
    local = local or endpoint(connection.getsockname())
    connection.close()
    return local, result


def burst(folder, case, point, family=4, backlog=3, callers=12, before_s=2.5, each_s=0.02, patience_s=8, cookies=1, delay_ms=1,
          spacing_s=0.01, snaplen=None, early=2):
    """`early` callers are served before the burst (their server accepts at once), then a burst meets a stalled one."""
    address, watch = ADDRESSES[family][1], Watch(delay_ms)
    with Net(watch.wire, sysctls={"net.ipv4.tcp_syncookies": cookies}) as net:
        stalled = multiprocessing.get_context("fork").Event()

        def server():
            listening = listener(address, 8080, backlog)

            def handle(connection):
                try:
                    if read_request(connection, 30):
                        connection.sendall(answer())
                except (OSError, TimeoutError):
                    pass
                connection.close()
            while True:
                if stalled.is_set():
                    time.sleep(before_s)
                    stalled.clear()
                connection, _ = listening.accept()
                threading.Thread(target=handle, args=(connection,), daemon=True).start()
                time.sleep(each_s)
        net.spawn("server", server)
        before = net.counters("server")
        with points(net, folder, case, point, **({"snaplen": snaplen} if snaplen else {})) as paths:
            net.call("client", lambda: together(early, caller, address, 8080, patience_s, 0.05))
            time.sleep(0.3)
            stalled.set()
            net.call("client", caller, 0, address, 8080, patience_s, 0)
            seen = net.call("client", lambda: together(callers, caller, address, 8080, patience_s, spacing_s))
        kernel = delta(before, net.counters("server"), *KERNEL)
        handshakes = watch.count(net)
    return paths, dict(seen), handshakes, kernel


def tell(paths, story, made, seen, handshakes, kernel, port=8080, **bounds):
    """Truth: the connections whose SYN or SYN-ACK had to be sent again, or whose data was ignored. `bounds`: further ones."""
    server = "10.9.0.2" if not any(client.startswith("[") for client in seen) else "[fd09::2]"
    hurt = [client for client, (syns, syn_acks, ignored) in handshakes.items() if syns > 1 or syn_acks > 1 or ignored]
    assert kernel["TcpExtListenOverflows"] + kernel["TcpExtListenDrops"] > 0, kernel
    figures = {"connections": (len(hurt), 0),
               "syn_retransmits": (sum(handshakes[client][0] - 1 for client in hurt), 0),
               "synack_retransmits": (sum(max(handshakes[client][1] - 1, 0) for client in hurt), 0)}
    truths(paths, story, f"{MADE}: {made}", kernel=kernel, results=sorted(seen.values()),
           findings=[{"rule": "listen-overflow", "occurrences": len(hurt), "connections": [(client, f"{server}:{port}") for client in hurt],
                      "figures": figures, **bounds}], may=["client-timeout-close", "slow-response"])


def cookies_at_server(folder):
    tell(*_named(burst(folder, "burst-cookies", "server"), "Twelve callers meet a listener with a backlog of 3 that accepts nothing for 2.5 s.",
                 "backlog 3, SYN cookies on, 1 ms each way"))


def no_cookies_at_server(folder):
    tell(*_named(burst(folder, "burst-no-cookies-ipv6", "server-any", family=6, backlog=2, callers=10, cookies=0, before_s=4),
                 "Ten callers meet a listener with a backlog of 2 that accepts nothing for 4 s.", "backlog 2, SYN cookies off, IPv6"))


def ignored_handshakes(folder):
    """All SYNs come at once: every handshake is finished, most are ignored."""
    tell(*_named(burst(folder, "ignored-handshakes", "server", backlog=2, callers=16, delay_ms=25, spacing_s=0),
                 "Sixteen callers at once finish their handshakes with a listener that has room for three.", "backlog 2, SYN cookies on"))


def at_client(folder):
    tell(*_named(burst(folder, "burst-at-client", "client", backlog=4, callers=20, before_s=3.5, delay_ms=12, snaplen=128),
                 "Twenty callers meet a listener with a backlog of 4 that accepts nothing for 3.5 s; seen at the client.",
                 "backlog 4, SYN cookies on, 12 ms each way, snap length 128"), confidence_at_most=0.9)


def gave_up(folder):
    tell(*_named(burst(folder, "callers-give-up", "server", backlog=1, callers=8, before_s=6, patience_s=2.5),
                 "Eight callers with a patience of 2.5 s meet a listener that accepts nothing for 6 s.", "backlog 1, SYN cookies on"))


def _named(result, story, made):
    paths, seen, handshakes, kernel = result
    return paths, story, made, seen, handshakes, kernel


# --- look-alikes ------------------------------------------------------------------------------

def lost_syns(folder):
    """Two SYNs of thirty are lost on the path; the listener is fine."""
    dropped = set()

    def drop(frame):
        first = frame.protocol == "tcp" and frame.flags & (SYN | ACK) == SYN and frame.source not in dropped
        if first and len(dropped) < 2 and frame.number > 40 and frame.number % 9 == 0:
            dropped.add(frame.source)
            return True
        return False
    watch = Watch(2, drop)
    with Net(watch.wire) as net:
        net.spawn("server", slow_acceptor, ADDRESSES[4][1], 8080, 128, 0, 0.001)
        with points(net, folder, "lost-syns", "client") as paths:
            seen = dict(net.call("client", lambda: together(30, caller, ADDRESSES[4][1], 8080, 8, 0.03)))
    assert set(seen.values()) == {"answered"}
    truths(paths, "Two SYNs of thirty are lost on the path; the listener accepts everything it gets.", f"{MADE}: relay drops two SYNs",
           may=[], tcp_connections=30)


def busy_but_fine(folder):
    """A burst that the backlog holds: accepted late, nothing dropped."""
    with Net() as net:
        net.spawn("server", slow_acceptor, ADDRESSES[4][1], 8080, 128, 1.5, 0.01)
        before = net.counters("server")
        with points(net, folder, "long-backlog", "server") as paths:
            seen = dict(net.call("client", lambda: together(25, caller, ADDRESSES[4][1], 8080, 8, 0.005)))
        kernel = delta(before, net.counters("server"), *KERNEL)
    assert kernel["TcpExtListenDrops"] == 0 and set(seen.values()) == {"answered"}
    truths(paths, "A burst of twenty-five connections waits in a long backlog and is served a second and a half later.", f"{MADE}: backlog 128",
           may=["slow-response"], tcp_connections=25, kernel=kernel)


def filtered(folder):
    """A firewall drops every SYN to one port in silence, another port works."""
    watch = Watch(1, lambda frame: frame.protocol == "tcp" and frame.destination.endswith(":9999"))
    with Net(watch.wire) as net:
        net.spawn("server", slow_acceptor, ADDRESSES[4][1], 8080, 128, 0, 0.001)
        with points(net, os.path.join(folder, "../syn-unanswered"), "filtered-port", "client") as paths:
            silent = net.call("client", lambda: together(4, caller, ADDRESSES[4][1], 9999, 4.5, 0.05))
            net.call("client", lambda: together(4, caller, ADDRESSES[4][1], 8080, 4.5, 0.05))
    truths(paths, "Every SYN to one port vanishes; another port of the same host works.", f"{MADE}: relay drops port 9999",
           findings=[{"rule": "syn-unanswered", "occurrences": 4, "connections": [(client, "10.9.0.2:9999") for client, _ in silent],
                      "figures": {"attempts": (4, 0)}}], tcp_connections=8)


if __name__ == "__main__":
    target = os.path.join(sys.argv[1], "listen-overflow")
    only = sys.argv[2:]
    for scenario in (cookies_at_server, no_cookies_at_server, ignored_handshakes, at_client, gave_up, lost_syns, busy_but_fine, filtered):
        if not only or scenario.__name__ in only:
            print(scenario.__name__, flush=True)
            scenario(target)
