#!/usr/bin/env python3
"""Captures of HTTP/2 sessions that a server ends, with streams under way and without.

    sudo python3 testdata/lab/http2_goaway.py OUTPUT_FOLDER [CASE...]

The server is nginx with a limit on requests of a session, whose client writes frames itself, several streams at once;
or gRPC for Python with its own client.
"""
import contextlib
import os
import struct
import subprocess
import time

from actors import compress, connect, run_cases
from net import SERVER, Net, pair, write_truth
from parts import lab_name, nginx, wait_for_port

PORT = 8080
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, SETTINGS, GOAWAY = 1, 4, 7
MADE = lab_name(__file__)


def frame(kind, flags, stream, body=b""):
    return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body


def request(stream):
    """GET / of shop.example by indices of the static table, ended at once."""
    host = b"shop.example"
    return frame(HEADERS, 0x5, stream, b"\x82\x86\x84\x41" + bytes([len(host)]) + host)


def session(streams, wait=0.0):
    """Opens a session, sends requests on `streams` in one write and reads to the end; gives the ends, the streams that were
    answered and the last stream that GOAWAY names."""
    connection = connect(SERVER, PORT)
    connection.settimeout(1.0)
    connection.sendall(PREFACE + frame(SETTINGS, 0, 0) + b"".join(request(stream) for stream in streams))
    octets, answered, last = b"", set(), None
    try:
        while True:
            more = connection.recv(65536)
            if not more:
                break
            octets += more
    except TimeoutError:
        pass
    while len(octets) >= 9:
        length, kind, stream = int.from_bytes(octets[:3]), octets[3], int.from_bytes(octets[5:9])
        if kind == HEADERS:
            answered.add(stream)
        if kind == GOAWAY:
            last = int.from_bytes(octets[9:13])
        octets = octets[9 + length:]
    ends = pair(connection)
    connection.close()
    time.sleep(wait)
    return ends, answered, last


def run(folder, name, streams, story, found):
    path = os.path.join(folder, "http2-goaway", name + ".pcap")
    with Net() as net:
        nginx(net, "server", f"server {{ listen {PORT} http2; keepalive_requests 3; location / {{ return 200 fine; }} }}", PORT)
        with net.capture("server", path, expression=f"tcp port {PORT}"):
            ends, answered, last = net.call("client", session, streams, 1.5)
    unanswered = [stream for stream in streams if stream not in answered]
    assert last is not None and bool(unanswered) == found, (last, unanswered)
    findings = [{"rule": "http2-goaway", "connections": [ends], "severity_at_least": "low",
                 "figures": {"streams": (len(unanswered), 0), "sessions": (1, 0)}}] if found else []
    write_truth(path, story, MADE, findings, may=["unread-data-reset", "linger-zero-reset"], capture_point="server", tcp_connections=1)
    compress(path)


def requests_limit(folder):
    """Eight streams are sent at once; the server ends the session after three and never processes the others."""
    run(folder, "requests-limit", range(1, 17, 2), "nginx ends an HTTP/2 session after three requests; the client had sent eight.", True)


def not_orderly(folder):
    """Three streams are sent, all are answered, and the server says that it wants no more."""
    run(folder, "not-orderly", range(1, 7, 2), "nginx ends an HTTP/2 session after three requests, all of which it answered.", False)


# --- gRPC: processes of their own, since its threads do not survive a fork; the interpreter is that of Debian's package -------

PYTHON = "/usr/bin/python3"


def rpc_server(options):
    """`/lab.Orders/SECONDS` answers after so long."""
    import grpc
    from concurrent import futures

    class Lab(grpc.GenericRpcHandler):
        def service(self, details):
            def answer(_request, _context):
                time.sleep(float(details.method.rsplit("/", 1)[-1]))
                return b"answer"

            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[Lab()], options=options)
    server.add_insecure_port(f"{SERVER}:{PORT}")
    server.start()
    server.wait_for_termination()


def calls(options, seconds):
    """Calls at once, each answered after so many seconds, and prints how many were answered."""
    import grpc

    with grpc.insecure_channel(f"{SERVER}:{PORT}", options=options) as channel:
        waiting = [channel.unary_unary(f"/lab.Orders/{one}").future(b"request", timeout=20) for one in seconds]
        answered = 0
        for one in waiting:
            with contextlib.suppress(grpc.RpcError):
                answered += one.result() == b"answer"
    print(answered)


def rpc(folder, name, server, client, seconds, story, lost):
    """`lost`: how many calls fail; the server ends their streams itself, before the session."""
    path = os.path.join(folder, "http2-goaway", name + ".pcap")
    act = f"import sys; sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__))!r}); from http2_goaway import calls, rpc_server; "
    with Net() as net:
        net.popen("server", PYTHON, "-c", act + f"rpc_server({server!r})", stderr=subprocess.DEVNULL)
        wait_for_port(net, "server", PORT)
        with net.capture("client", path, expression=f"tcp port {PORT}"):
            answered = int(net.exec("client", PYTHON, "-c", act + f"calls({client!r}, {seconds!r})"))
            time.sleep(1.5)
    assert answered == len(seconds) - lost, answered
    findings = [{"rule": "http2-goaway", "severity_at_least": "low", "figures": {"streams": (0, 0), "sessions": (1, 0)}},
                {"rule": "service-error", "occurrences": lost, "severity_at_least": "medium"}] if lost else []
    write_truth(path, story, MADE, findings, may=["slow-response"], capture_point="client")
    compress(path)


def too_many_pings(folder):
    """The client pings every second; the server permits one in five minutes."""
    rpc(folder, "too-many-pings", [], [("grpc.keepalive_time_ms", 1_000), ("grpc.http2.min_time_between_pings_ms", 1_000),
                                       ("grpc.http2.max_pings_without_data", 0), ("grpc.keepalive_permit_without_calls", 1)],
        [9.0] * 3, "A gRPC client pings every second while three calls wait; the server ends the session for it.", 3)


def not_by_age(folder):
    """The server ends sessions after 2 s, in two steps; the calls under way are answered."""
    rpc(folder, "not-by-age", [("grpc.max_connection_age_ms", 2_000), ("grpc.max_connection_age_grace_ms", 10_000)], [],
        [0.2, 3.5, 4.0, 4.5], "A gRPC server ends a session for its age and answers the calls that are under way.", 0)


if __name__ == "__main__":
    run_cases([requests_limit, not_orderly, too_many_pings, not_by_age])
