#!/usr/bin/env python3
"""Captures of clients that take many turns for one thing over a distance, and of clients that do not.

    sudo python3 testdata/lab/chatty_exchange.py OUTPUT_FOLDER [CASE...]

PostgreSQL with psql, Redis with redis-cli, nginx with curl; the path is 16 or 80 ms long (a relay between the hosts). Small segments are
written by a program of ours that sends each field by itself, with TCP_NODELAY.
"""
import os
import socket
import subprocess
import tempfile
import time

import actors
from actors import compress, run_cases
from net import SERVER, Net, write_truth
from parts import lab_name, wait_for_port
from relay import Way, Wire
from server_saturation import postgresql

MADE = lab_name(__file__)


def distance(ms):
    """A wire that takes so long each way."""
    return Wire(up=Way(delay_ms=ms), down=Way(delay_ms=ms))


def redis(net):
    folder = tempfile.mkdtemp(prefix="pd-redis")
    net.popen("server", "redis-server", "--bind", SERVER, "--port", "6379", "--save", "", "--dir", folder, "--protected-mode", "no",
              stdout=subprocess.DEVNULL)
    wait_for_port(net, "server", 6379)


def script(text):
    handle, path = tempfile.mkstemp(prefix="pd-script")
    os.write(handle, text.encode())
    os.close(handle)
    return path


def write(net, side, folder, name, story, findings, act, expression, may=()):
    path = os.path.join(folder, "chatty-exchange", name + ".pcap")
    with net.capture(side, path, expression=expression):
        act()
    write_truth(path, story, MADE, findings, may=list(may), capture_point=side)
    compress(path)


def found(turns, tolerance, at_least="low", at_most="medium"):
    return [{"rule": "chatty-exchange", "severity_at_least": at_least, "severity_at_most": at_most, "figures": {"turns": (turns, tolerance)}}]


def query_per_row(folder):
    """Orders, and for each of them its customer: one query more for every row."""
    with Net(distance(40)) as net:
        postgresql(net)
        path = script("".join(f"select 'customer {number}';\n" for number in range(60)))
        write(net, "client", folder, "query-per-row", "psql sends 60 small queries one after the other over 80 ms.", found(63, 4, "medium"),
              lambda: net.exec("client", "psql", "-h", SERVER, "-U", "postgres", "-qAt", "-f", path, "postgres"), "tcp port 5432")


def command_per_key(folder):
    """The same seen at the server, from where the client's turns come a round trip apart."""
    with Net(distance(40)) as net:
        redis(net)
        path = script("".join(f"GET key:{number}\n" for number in range(60)))
        write(net, "server", folder, "command-per-key", "redis-cli fetches 60 keys one by one over 80 ms; captured at the server.", found(60, 4, "low"),
              lambda: net.exec("client", "sh", "-c", f"redis-cli -h {SERVER} < {path}"), "tcp port 6379")


def not_pipelined(folder):
    with Net(distance(8)) as net:
        redis(net)
        path = script("".join(f"GET key:{number}\n" for number in range(60)))
        write(net, "client", folder, "not-pipelined", "redis-cli --pipe sends 60 commands at once over 16 ms.", [],
              lambda: net.exec("client", "sh", "-c", f"redis-cli -h {SERVER} --pipe < {path}"), "tcp port 6379")


def not_nearby(folder):
    with Net() as net:
        postgresql(net)
        path = script("".join(f"select 'customer {number}';\n" for number in range(200)))
        write(net, "client", folder, "not-nearby", "psql sends 200 small queries one after the other to a server next to it.", [],
              lambda: net.exec("client", "psql", "-h", SERVER, "-U", "postgres", "-qAt", "-f", path, "postgres"), "tcp port 5432")


def not_with_pauses(folder):
    """A program that polls every 50 ms."""
    with Net(distance(8)) as net:
        redis(net)
        write(net, "client", folder, "not-with-pauses", "redis-cli polls a key every 50 ms over 16 ms: a timer, no burst.", [],
              lambda: net.exec("client", "redis-cli", "-h", SERVER, "-r", "50", "-i", "0.05", "GET", "key:1"), "tcp port 6379")


def not_slow_queries(folder):
    with Net(distance(2)) as net:
        postgresql(net)
        path = script("select pg_sleep(0.05);\n" * 40)
        write(net, "client", folder, "not-slow-queries", "psql sends 40 queries one after the other that each take the server 50 ms.", [],
              lambda: net.exec("client", "psql", "-h", SERVER, "-U", "postgres", "-qAt", "-f", path, "postgres"), "tcp port 5432")


def same_request(folder):
    """A program that asks for the same setting before each of its steps."""
    with Net(distance(40)) as net:
        root = tempfile.mkdtemp(prefix="pd-nginx")
        configuration = os.path.join(root, "nginx.conf")
        with open(configuration, "w") as out:
            out.write(f"daemon off; pid {root}/pid; error_log {root}/error; events {{}} http {{ access_log off; server {{ listen 8080; "
                      "location / { return 200 \"dark\"; } } }")
        net.popen("server", "nginx", "-c", configuration, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_port(net, "server", 8080)
        urls = [f"http://{SERVER}:8080/settings/theme"] * 50
        write(net, "client", folder, "same-request", "curl asks for the same page 50 times on one connection over 80 ms.", found(50, 2, "medium"),
              lambda: net.exec("client", "curl", "-s", *urls), "tcp port 8080")


FIELDS_PORT = 9400


def answer_batches(address, fields):
    def talk(connection):
        received = 0
        while data := connection.recv(65_536):
            received += len(data)
            while received >= 20 * fields:
                received -= 20 * fields
                connection.sendall(b"ok\n")

    actors.serve_threads(address, FIELDS_PORT, talk)


def write_fields(fields, batches, pause_s, nodelay):
    with socket.create_connection((SERVER, FIELDS_PORT)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, nodelay)
        for _ in range(batches):
            for number in range(fields):
                connection.sendall(b"%-20d" % number)
                time.sleep(pause_s)
            connection.recv(100)


def fields(folder, name, story, findings, pause_s, nodelay, times=(200, 4), may=()):
    with Net() as net:
        net.spawn("server", answer_batches, SERVER, times[0])
        wait_for_port(net, "server", FIELDS_PORT)
        write(net, "client", folder, name, story, findings, lambda: net.call("client", write_fields, *times, pause_s, nodelay),
              f"tcp port {FIELDS_PORT}", may)


def field_by_field(folder):
    fields(folder, "field-by-field", "A program sends 800 fields of 20 bytes, each by itself, in four messages.",
           [{"rule": "chatty-exchange", "severity_at_least": "info", "severity_at_most": "info", "figures": {"small_segments": (800, 5), "segment_bytes": (20, 1)}}], 0.0005, 1)


def not_events(folder):
    fields(folder, "not-events", "A program sends an event of 20 bytes every 20 ms: to wait for more would delay them.", [], 0.02, 1, (220, 1))


def not_with_nagle(folder):
    fields(folder, "not-merged", "The same 800 fields without TCP_NODELAY and without pauses: the kernel merges them.", [], 0, 0,
           may=["delayed-ack-nagle"])


if __name__ == "__main__":
    run_cases([same_request, field_by_field, not_events, not_with_nagle, query_per_row, command_per_key, not_pipelined, not_nearby, not_with_pauses, not_slow_queries])
