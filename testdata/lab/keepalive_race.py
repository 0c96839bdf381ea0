#!/usr/bin/env python3
"""Requests that cross a server's idle close, and closes of idle connections that harm nobody.

    sudo python3 testdata/lab/keepalive_race.py OUTPUT_FOLDER

Real servers (nginx, Node.js, Python) close idle connections; clients with a pool use theirs again a
few milliseconds before the FIN reaches them, or long after it, or not at all. What was lost is
what the clients saw: a reset or an end of file instead of a response.
"""
import os
import socket
import ssl
import sys
import threading
import time

from net import Net, pair
from parts import (ADDRESSES, LINGER_ZERO, REQUEST, answer, connect, delta, lab_name, nginx, node, outcome, points,
                   read_request, read_response, self_signed, serve, sleep_until, together, truths)
from relay import Way, Wire

MADE = lab_name(__file__)
NODE_SERVER = """
const server = require('http').createServer((request, response) => {
  request.resume(); request.on('end', () => response.end('ok')) });
server.keepAliveTimeout = %d; server.listen(8080, '::');
"""


def python_server(address, port, idle_s, said_close=(), linger_s=0, busy_s=0):
    """Closes connections idle for `idle_s`; announces the close after the exchanges in `said_close`.
    Reads on for `linger_s` after its FIN, as Apache does. Between the end of the idle time and the
    close lie `busy_s` in which it does not read, as in an event loop that has other work."""
    def handle(connection, _peer):
        count = 0
        try:
            while read_request(connection, idle_s):
                count += 1
                last = count in said_close
                connection.sendall(answer(b"ok" * 20, headers=b"Connection: close\r\n" if last else b""))
                if last:
                    break
        except TimeoutError:
            time.sleep(busy_s)
        if linger_s:
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(linger_s)
            try:
                while connection.recv(4000):
                    pass
            except TimeoutError:
                pass
        connection.close()
    serve(address, port, handle)


def pool_member(index, address, port, plans):
    """One pooled connection: exchanges after each pause in the plan, counted from the last response.
    A pause of `None` closes. The last request's outcome is told."""
    start, pauses = plans[index]
    time.sleep(start)
    connection = connect(address, port)
    ends = pair(connection)
    result, sent = "unused", 0.0
    heard = time.monotonic()
    for number, pause in enumerate(pauses):
        if pause is None:
            break
        sleep_until(heard + pause)
        try:
            sent = time.time()
            connection.sendall(REQUEST % number)
            result = "answered" if read_response(connection) else "end of file"
        except ConnectionError:
            result = "reset"
        heard = time.monotonic()
        if result != "answered":
            break
    seen = outcome(ends, result, sent=sent)
    connection.close()
    return seen


def play(net, address, port, plans):
    return net.call("client", lambda: together(len(plans), pool_member, address, port, plans))


def tell(paths, story, made, outcomes, idle_s, tolerance_ms, resets, rules=(), bounds=None, **facts):
    """Truth: every request that was not answered was lost to the race. `bounds`: further ones of the finding."""
    lost = [(seen.client, seen.server) for seen in outcomes if seen.result in ("reset", "end of file")]
    assert lost or not resets, "nothing was lost"
    figures = {"idle_timeout_ms": (idle_s * 1000, tolerance_ms), "resets": (resets, 0)}
    finding = {"rule": "keepalive-race", "occurrences": len(lost), "connections": lost, "figures": figures, **(bounds or {})}
    truths(paths, story, f"{MADE}: {made}", findings=[finding] if lost else [], may=list(rules),
           tcp_connections=len(outcomes), results=[seen.result for seen in outcomes], **facts)


def resets_sent(net, run):
    """Runs something and gives its value with the RSTs the server's kernel sent meanwhile."""
    before = net.counters("server")
    value = run()
    time.sleep(0.3)
    return value, delta(before, net.counters("server"), "TcpOutRsts")["TcpOutRsts"]


# --- races ------------------------------------------------------------------------------------

def crossing(folder):
    """A Python server, 20 ms away each way: six of ten requests leave shortly before the FIN arrives."""
    idle = 1.2
    for family, where in ((4, ("server",)), (6, ("client",))):
        address = ADDRESSES[family][1]
        with Net(Wire(Way(delay_ms=20), Way(delay_ms=20))) as net:
            net.spawn("server", python_server, address, 8080, idle)
            plans = [(0.15 * n, [0.1, 0.3, idle - 0.008 - 0.004 * (n % 4)]) for n in range(6)]
            plans += [(0.1 * n, [0.1, 0.4, 0.5, None]) for n in range(4)]
            with points(net, folder, f"crossing-ipv{family}", *where) as paths:
                outcomes, resets = resets_sent(net, lambda: play(net, address, 8080, plans))
            tell(paths, "Six pooled requests cross the server's idle close on a path of 40 ms; four connections are closed by "
                 "their client in time.", f"Python server, idle timeout {idle} s, 20 ms each way", outcomes, idle, 20, resets)


def late_write(folder):
    """Three of six clients use a pooled connection after a Python server closed it."""
    with Net() as net:
        net.spawn("server", python_server, ADDRESSES[4][1], 8080, 2.0)
        plans = [(0.05 * n, [0.0, 0.3, 2.4]) for n in range(3)] + [(0.05 * n, [0.0, 0.3, None]) for n in range(3)]
        with points(net, folder, "late-write", "server") as paths:
            outcomes, resets = resets_sent(net, lambda: play(net, ADDRESSES[4][1], 8080, plans))
        tell(paths, "Three of six clients use a pooled connection after the server closed it for being idle.",
             "Python server, idle timeout 2.0 s", outcomes, 2.0, 50, resets, bounds={"confidence_at_least": 0.9})


def lingering_close(folder):
    """The server reads on for a while after its FIN: what comes then is acknowledged and dropped, without RST."""
    with Net(Wire(Way(delay_ms=10), Way(delay_ms=10))) as net:
        net.spawn("server", python_server, ADDRESSES[4][1], 8080, 2.0, (), 2.0)
        plans = [(0.05 * n, [0.0, 0.3, 2.0 + pause]) for n, pause in enumerate((-0.004, 0.2, 0.9))]
        plans += [(0.05 * n, [0.0, 0.3, None]) for n in range(3)]
        with points(net, folder, "lingering-close", "server", "client") as paths:
            outcomes, resets = resets_sent(net, lambda: play(net, ADDRESSES[4][1], 8080, plans))
        tell(paths, "Three of six clients use a pooled connection as, or after, the server closed it; the server lingers, so no RST comes.",
             "Python server, idle timeout 2.0 s, lingers 2 s, 10 ms each way", outcomes, 2.0, 50, resets)


def unread_at_close(folder):
    """A busy server closes over requests that came meanwhile and lie unread: RST instead of FIN."""
    idle, busy = 2.0, 0.06
    with Net(Wire(Way(delay_ms=10), Way(delay_ms=10))) as net:
        net.spawn("server", python_server, ADDRESSES[4][1], 8080, idle, (), 0, busy)
        plans = [(0.05 * n, [0.0, 0.3, idle + pause]) for n, pause in enumerate((-0.005, 0.01, 0.025, 0.05))]
        plans += [(0.1 * n, [0.0, 0.4, 2.4 + 0.1 * n]) for n in range(2)] + [(0.0, [0.0, 0.5, None])]
        with points(net, folder, "unread-at-close", "server", "client") as paths:
            outcomes, resets = resets_sent(net, lambda: play(net, ADDRESSES[4][1], 8080, plans))
        tell(paths, "Six of seven pooled connections are used as, or after, the server closed them; three requests lay unread in it by then.",
             f"Python server, idle timeout {idle} s, closes {1000 * busy:.0f} ms later, 10 ms each way", outcomes, idle + busy, 20, resets,
             rules=("unread-data-reset",))


def clean_close(folder):
    """Clients that are done close first."""
    with Net() as net:
        net.spawn("server", python_server, ADDRESSES[4][1], 8080, 2.0)
        plans = [(0.05 * n, [0.0, 0.3, None]) for n in range(4)]
        with points(net, os.path.join(folder, "../healthy"), "clean-close", "server") as paths:
            outcomes, resets = resets_sent(net, lambda: play(net, ADDRESSES[4][1], 8080, plans))
        tell(paths, "Four clients make two requests each and close first.", "Python server, idle timeout 2.0 s", outcomes, 2.0, 50, resets)


def nginx_late_write(folder):
    """nginx closes after 2 s; a pool that never looks at its sockets writes up to a second later."""
    with Net() as net:
        nginx(net, "server", "keepalive_timeout 2s; server { listen 80; location / { return 200 'ok'; } }", 80)
        plans = [(0.05 * n, [0.0, 0.2, 2.2 + 0.2 * n]) for n in range(4)]
        plans += [(0.0, [0.0, 1.5, 1.5]), (0.0, [0.0, 0.2, None])]
        with points(net, folder, "nginx-late-write", "server-any") as paths:
            outcomes, resets = resets_sent(net, lambda: play(net, ADDRESSES[4][1], 80, plans))
        tell(paths, "Four of six pooled connections are written to after nginx closed them for being idle.",
             "nginx keepalive_timeout 2s", outcomes, 2.0, 40, resets)


def node_race(folder):
    """Node.js adds a second to keepAliveTimeout; one request of five crosses its FIN."""
    with Net(Wire(Way(delay_ms=40), Way(delay_ms=40))) as net:
        node(net, "server", NODE_SERVER % 2000, 8080)
        plans = [(0.3, [0.0, 0.3, 2.970])] + [(0.1 * n, [0.0, 2.0, 2.0, None]) for n in range(4)]
        with points(net, folder, "node-one-of-five", "client", snaplen=128) as paths:
            outcomes, resets = resets_sent(net, lambda: play(net, ADDRESSES[4][1], 8080, plans))
        tell(paths, "One of five pooled connections to Node.js is used just as the server closes it.",
             "node keepAliveTimeout 2000 (the wire shows 3 s), 40 ms each way, snap length 128", outcomes, 3.0, 30, resets)


def proxy_502(folder):
    """nginx as a proxy keeps backend connections longer than the backend does: a 502 for its client."""
    idle, delay = 3.0, 15

    def book_resets(frame):
        return ("delay", 0) if frame.flags & 4 and frame.source.endswith(":9000") else None
    with Net(Wire(Way(delay_ms=delay), Way(delay_ms=delay, choose=book_resets))) as net:
        net.spawn("server", python_server, ADDRESSES[4][1], 9000, idle)
        nginx(net, "client", "upstream back { server 10.9.0.2:9000; keepalive 8; } server { listen 127.0.0.1:80; location / {"
              " proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection ''; } }", 80)

        def browse():
            statuses = []
            for _ in range(5):
                connection = connect("127.0.0.1", 80)
                ends = pair(connection)
                for pause in (0.0, idle - 0.012):
                    sleep_until(time.monotonic() + pause)
                    connection.sendall(b"POST /order HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 4\r\n\r\nitem")
                    response = read_response(connection)
                    statuses.append((response[9:12].decode(), ends))
                connection.close()
            return statuses
        with points(net, folder, "nginx-proxy-502", "client-any") as paths:
            statuses, resets = resets_sent(net, lambda: net.call("client", browse))
        reset = {row["destination"] for row in net.relay_books()}
    failed = [ends for status, ends in statuses if status == "502"]
    assert len(failed) == len(reset) >= 3, statuses
    for path in paths.values():
        truths({"client-any": path}, "nginx as a reverse proxy reuses a backend connection at the moment the backend closes it as idle; "
               "its client gets 502.", f"{MADE}: Python backend, idle timeout {idle} s, {delay} ms each way; nginx upstream keepalive",
               findings=[{"rule": "keepalive-race", "occurrences": len(reset), "connections": [(client, "10.9.0.2:9000") for client in reset], "figures": {
                   "idle_timeout_ms": (idle * 1000, 40), "resets": (resets, 0)}},
                   {"rule": "http-error", "occurrences": len(failed), "connections": failed, "severity_at_least": "info"}],
               statuses=[status for status, _ in statuses])


def tls(folder):
    """nginx says goodbye (close_notify) before its FIN; requests cross it or come late."""
    for case, delay, late in (("tls-late", 0, True), ("tls-crossing", 20, False)):
        with Net(Wire(Way(delay_ms=delay), Way(delay_ms=delay)) if delay else None) as net:
            certificate, key = self_signed("shop.example")
            nginx(net, "server", f"keepalive_timeout 2s; server {{ listen 443 ssl; ssl_certificate {certificate};"
                  f" ssl_certificate_key {key}; location / {{ return 200 'hello'; }} }}", 443)

            def member(index):
                time.sleep(0.1 * index)
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                raw = connect(ADDRESSES[4][1], 443)
                ends, result = pair(raw), "unused"
                secure = context.wrap_socket(raw, server_hostname="shop.example")
                try:
                    for number in range(2):
                        secure.sendall(REQUEST % number)
                        secure.recv(4000)
                    heard = time.monotonic()
                    if index < 4:
                        sleep_until(heard + (2.2 + 0.1 * index if late else 2 - delay / 1e3 * (0.3 + 0.25 * index)))
                        secure.sendall(REQUEST % 9)
                        result = "answered" if secure.recv(4000) else "end of file"
                except (ConnectionError, ssl.SSLError):
                    result = "reset"
                secure.close()
                return outcome(ends, result)
            with points(net, folder, case, "client" if late else "server") as paths:
                outcomes, resets = resets_sent(net, lambda: net.call("client", lambda: together(6, member)))
            tell(paths, "Four of six pooled TLS connections are used as, or after, nginx closes them for being idle.",
                 f"nginx keepalive_timeout 2s, TLS, {delay} ms each way", outcomes, 2.0, 30, resets)


def idle_reset(folder):
    """A server that ends idle connections by reset: the requests cross the RST."""
    def impatient(connection, _peer):
        try:
            while read_request(connection, 1.5):
                connection.sendall(answer())
        except TimeoutError:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        connection.close()
    with Net(Wire(Way(delay_ms=20), Way(delay_ms=20))) as net:
        net.spawn("server", serve, ADDRESSES[4][1], 8080, impatient)
        plans = [(0.1 * n, [0.0, 0.2, 1.5 - 0.02 * (0.3 + 0.25 * n)]) for n in range(4)]
        with points(net, folder, "idle-reset", "client") as paths:
            outcomes, resets = resets_sent(net, lambda: play(net, ADDRESSES[4][1], 8080, plans))
        tell(paths, "A server resets connections that were idle for 1.5 s; four requests cross the reset.",
             "Python server with SO_LINGER 0, 20 ms each way", outcomes, 1.5, 20, resets)


# --- look-alikes ------------------------------------------------------------------------------

def idle_closes(folder):
    """Idle connections that the server closes and nobody needs any more."""
    with Net() as net:
        nginx(net, "server", "keepalive_timeout 1s; server { listen 80; location / { return 200 'ok'; } }", 80)
        def leave(index):
            connection = connect(ADDRESSES[4][1], 80)
            ends = pair(connection)
            connection.sendall(REQUEST % index)
            read_response(connection)
            end = connection.recv(100)
            seen = outcome(ends, "unused" if end == b"" else "answered")
            time.sleep(0.05 * index)
            connection.close()
            return seen
        with points(net, folder, "idle-closes", "client") as paths:
            outcomes, resets = resets_sent(net, lambda: net.call("client", lambda: together(8, leave)))
        tell(paths, "nginx closes eight idle connections; their clients notice, close as well and open new ones when needed.",
             "nginx keepalive_timeout 1s", outcomes, 1.0, 40, resets)


def announced_close(folder):
    """The server says `Connection: close` and closes; a pool that ignores it is no race."""
    with Net(Wire(Way(delay_ms=5), Way(delay_ms=5))) as net:
        net.spawn("server", python_server, ADDRESSES[4][1], 8080, 5.0, (2,))
        plans = [(0.05 * n, [0.0, 0.3, None]) for n in range(6)]
        with points(net, folder, "announced-close", "server") as paths:
            outcomes, resets = resets_sent(net, lambda: play(net, ADDRESSES[4][1], 8080, plans))
        tell(paths, "The server announces the end of each connection with Connection: close and closes after the response.",
             "Python server, Connection: close on the second response", outcomes, 5.0, 40, resets)


def restart(folder):
    """The server is killed while connections of every age are open; later requests meet RST or FIN."""
    with Net() as net:
        server = net.spawn("server", python_server, ADDRESSES[4][1], 8080, 60.0)
        plans = [(0.4 * n, [0.0, 0.1, None if n < 2 else 4.5 - 0.4 * n]) for n in range(8)]
        with points(net, folder, "restart", "server") as paths:
            killer = threading.Timer(4.0, lambda: os.kill(server.pid, 9))
            killer.start()
            outcomes, _ = resets_sent(net, lambda: play(net, ADDRESSES[4][1], 8080, plans))
        truths(paths, "The server process is killed while eight connections of different age are open; six are used afterwards.",
               f"{MADE}: SIGKILL 4 s into the run", findings=[], may=[], tcp_connections=8,
               results=[seen.result for seen in outcomes])


def answered_in_time(folder):
    """Pauses of nine tenths of the timeout: every request is answered."""
    with Net(Wire(Way(delay_ms=10), Way(delay_ms=10))) as net:
        node(net, "server", NODE_SERVER % 1000, 8080)
        plans = [(0.05 * n, [0.0, 1.6, 1.7, 1.8, None]) for n in range(5)]
        with points(net, folder, "long-pauses-answered", "client-any") as paths:
            outcomes, resets = resets_sent(net, lambda: play(net, ADDRESSES[6][1], 8080, plans))
        tell(paths, "Pooled connections are used again shortly before Node.js would close them; every request is answered.",
             "node keepAliveTimeout 1000 (the wire shows 2 s), pauses up to 1.8 s, IPv6", outcomes, 2.0, 30, resets)


if __name__ == "__main__":
    target = os.path.join(sys.argv[1], "keepalive-race")
    only = sys.argv[2:]
    for scenario in (late_write, lingering_close, unread_at_close, clean_close, crossing, nginx_late_write, node_race, proxy_502, tls, idle_reset, idle_closes, announced_close, restart, answered_in_time):
        if not only or scenario.__name__ in only:
            print(scenario.__name__, flush=True)
            scenario(target)
