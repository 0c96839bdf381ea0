#!/usr/bin/env python3
"""Captures of a server that closes idle keep-alive connections, made from real TCP stacks.

    sudo python3 testdata/lab/keepalive.py OUTPUT_FOLDER

Two network namespaces joined by a veth pair; tcpdump runs at the server. The server answers one
request per line and closes a connection that was idle for IDLE_S. In `late-write` some clients use
their connection again after that, without having looked at the FIN; in `clean-close` they all
close first. Needs root and tcpdump; the tests need neither.
"""
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time

IDLE_S = 2.0
SERVER, CLIENT, PORT = "10.9.0.2", "10.9.0.1", 8080
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"
REQUEST = b"GET /item HTTP/1.1\r\nHost: shop.example\r\n\r\n"


def run(*command):
    subprocess.run(command, check=True)


def enter(name):
    """Moves this thread's process into a namespace; call it in a child only."""
    with open(f"/run/netns/{name}") as handle:
        os.setns(handle.fileno(), os.CLONE_NEWNET if hasattr(os, "CLONE_NEWNET") else 0x40000000)


def serve_one(connection):
    while select.select([connection], [], [], IDLE_S)[0]:
        if not connection.recv(4096):
            break
        connection.sendall(RESPONSE)
    connection.close()


def serve():
    listener = socket.create_server((SERVER, PORT), backlog=64)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve_one, args=(connection,), daemon=True).start()


def exchange(connection):
    connection.sendall(REQUEST)
    return connection.recv(4096)


def talk(late, clean):
    """Gives the client ports of the connections used too late, and of the healthy ones."""
    lost, healthy = [], []
    for number in range(late + clean):
        connection = socket.create_connection((SERVER, PORT))
        port = connection.getsockname()[1]
        exchange(connection)
        time.sleep(0.3)
        exchange(connection)
        if number < late:
            time.sleep(IDLE_S + 0.4)
            try:
                answer = exchange(connection)
            except ConnectionError:
                answer = b""
            assert not answer, "the late request was answered"
            lost.append(port)
        else:
            healthy.append(port)
        connection.close()
    return lost, healthy


def capture(folder, name, late, clean, story):
    path = os.path.join(folder, name + ".pcap")
    run("ip", "netns", "add", "pd-client")
    run("ip", "netns", "add", "pd-server")
    children = []
    try:
        run("ip", "link", "add", "pd0", "netns", "pd-client", "type", "veth", "peer", "name", "pd1", "netns", "pd-server")
        for space, link, address in (("pd-client", "pd0", CLIENT), ("pd-server", "pd1", SERVER)):
            run("ip", "-n", space, "addr", "add", address + "/24", "dev", link)
            run("ip", "-n", space, "link", "set", link, "up")
        time.sleep(0.5)
        dump = subprocess.Popen(
            ["ip", "netns", "exec", "pd-server", "tcpdump", "-U", "-i", "pd1", "-w", path, "tcp"],
            stderr=subprocess.DEVNULL,
        )
        server = os.fork()
        if server == 0:
            enter("pd-server")
            serve()
        children.append(server)
        time.sleep(1)
        enter("pd-client")
        lost, healthy = talk(late, clean)
        time.sleep(1)
        dump.send_signal(signal.SIGINT)
        dump.wait()
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
        enter_home()
        run("ip", "netns", "del", "pd-client")
        run("ip", "netns", "del", "pd-server")
    findings = []
    if lost:
        findings.append(
            {
                "rule": "keepalive-race",
                "occurrences": len(lost),
                "connections": [connection_of(port) for port in lost],
                "figures": {"idle_timeout_ms": {"value": IDLE_S * 1000, "tolerance": 50}},
                "severity_at_least": "medium",
            }
        )
    truth = {
        "story": story,
        "made": f"testdata/lab/keepalive.py, idle timeout {IDLE_S} s, {late} late, {clean} clean",
        "capture_point": "server",
        "expect": {"findings": findings, "may": [], "none_at_or_above": "medium"},
        "tcp_connections": late + clean,
    }
    with open(os.path.join(folder, name + ".json"), "w") as handle:
        json.dump(truth, handle, indent=1)
        handle.write("\n")


def connection_of(port):
    return {"transport": "tcp", "client": f"{CLIENT}:{port}", "server": f"{SERVER}:{PORT}"}


HOME = os.open("/proc/self/ns/net", os.O_RDONLY)


def enter_home():
    os.setns(HOME, 0x40000000)


def setns_fallback():
    """Python before 3.12 has no os.setns."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)

    def setns(descriptor, kind):
        if libc.setns(descriptor, kind) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    os.setns = setns


if __name__ == "__main__":
    if not hasattr(os, "setns"):
        setns_fallback()
    target = sys.argv[1]
    capture(os.path.join(target, "keepalive-race"), "late-write", 3, 3, "Three of six clients use a pooled connection after the server closed it for being idle.")
    capture(os.path.join(target, "healthy"), "clean-close", 0, 4, "Four clients make two requests each and close first.")
