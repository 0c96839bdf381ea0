"""Small clients and servers that several scenarios use, and what the relay's books tell about losses.

Times are the machine's wall clock, which all namespaces share.
"""
import contextlib
import gzip
import os
import random
import shutil
import socket
import sys
import threading
import time

from net import pair

HTTP_OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s"


def output_folder():
    """The folder named on the command line, with the scenarios' modules in reach."""
    if len(sys.argv) < 2:
        sys.exit(f"usage: {sys.argv[0]} OUTPUT_FOLDER [CASE...]")
    return sys.argv[1]


def run_cases(cases):
    """Runs the scenario functions that the command line names, or all; each gets the folder."""
    folder, wanted = output_folder(), sys.argv[2:]
    for case in cases:
        name = case.__name__.replace("_", "-")
        if not wanted or name in wanted:
            print(name, flush=True)
            case(folder)


def compress(path):
    """Replaces a file by its gzip form, without a time stamp; gives the new path."""
    with open(path, "rb") as plain, open(path + ".gz", "wb") as out:
        with gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=0) as packed:
            shutil.copyfileobj(plain, packed)
    os.remove(path)
    return path + ".gz"


def listen(address, port, backlog=512):
    """A listening TCP socket of either family."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family, backlog=backlog)


def serve_threads(address, port, talk):
    """Accepts for ever; every connection gets a thread that runs `talk(connection)` and closes."""

    def one(connection):
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            talk(connection)
        connection.close()

    listener = listen(address, port)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=one, args=(connection,), daemon=True).start()


def connect(address, port, timeout=60):
    """A connected TCP socket without Nagle."""
    connection = socket.create_connection((address, port), timeout=timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def read_exactly(connection, count):
    """Exactly `count` octets, or what came before the end."""
    parts = []
    while count:
        part = connection.recv(min(count, 1 << 16))
        if not part:
            break
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def in_threads(work, items):
    """Runs `work(item)` for all items at once; gives the results in order."""
    items = list(items)
    results = [None] * len(items)

    def one(at):
        results[at] = work(items[at])

    threads = [threading.Thread(target=one, args=(at,)) for at in range(len(items))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def read_head(connection):
    """One HTTP head, up to and with the empty line; empty at the end of the stream."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        octet = connection.recv(1)
        if not octet:
            return b""
        head += octet
    return head


def http_server(address, port, answer):
    """HTTP/1.1 with keep-alive: `answer(method, target, headers) -> bytes of the whole response or None`."""

    def talk(connection):
        while head := read_head(connection):
            lines = head.decode("latin-1").split("\r\n")
            method, target, _ = lines[0].split(" ", 2)
            headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
            headers = {name.lower(): value for name, value in headers.items()}
            read_exactly(connection, int(headers.get("content-length", 0)))
            response = answer(method, target, headers)
            if response is None:
                return
            connection.sendall(response)

    serve_threads(address, port, talk)


def http_ok(body):
    """A response of status 200 with a body."""
    return HTTP_OK % (len(body), body)


def http_get(connection, target, host, more=""):
    """One request and its response `(status, body)` on a connection that stays open."""
    connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: lab\r\n{more}\r\n".encode())
    return http_response(connection)


def http_response(connection):
    """Reads one response with a Content-Length."""
    head = read_head(connection).decode("latin-1")
    if not head:
        return 0, b""
    length = next((int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length:")), 0)
    return int(head.split(" ")[1]), read_exactly(connection, length)


# Messages at a steady pace.


def send_paced(connection, count, size, gap_ms, pauses=()):
    """Sends `count` messages of `size` octets, one each `gap_ms`; before those in `pauses` (number -> ms) it waits longer."""
    message, start = random.Random(size).randbytes(size), time.time()
    for number in range(count):
        start += dict(pauses).get(number, 0) / 1e3
        time.sleep(max(0.0, start + number * gap_ms / 1e3 - time.time()))
        connection.sendall(message)


def held_back(books, direction="down"):
    """What lost segments held back, from the relay's books alone: a list of (stall_ms, blocked_octets, receiver).

    A hole begins with a dropped segment; it holds back what passes behind it until the segment passes at last.
    """
    found = []
    flows = {one["source"] + one["destination"] for one in books if one["action"] == "drop" and one["payload_len"]}
    for flow in sorted(flows):
        rows = [one for one in books if one["source"] + one["destination"] == flow and one["direction"] == direction]
        drops = [one["seq"] for one in rows if one["action"] == "drop"]
        passed = sorted((one["time"], one["seq"], one["payload_len"]) for one in rows if one["action"] == "passed")
        arrived, next_seq, waiting = {}, None, {}
        for when, seq, length in passed:
            if seq in arrived:
                continue
            arrived[seq] = length
            if next_seq is None:
                next_seq = seq
            if seq != next_seq:
                waiting[seq] = (when, length)
                continue
            next_seq = seq + length
            # A repair may bear several segments at once, also such as had arrived.
            freed = []
            while due := [start for start in waiting if start <= next_seq]:
                next_seq = max(next_seq, due[0] + waiting[due[0]][1])
                freed.append(waiting.pop(due[0]))
            if freed and seq in drops:
                first = min(time for time, _ in freed)
                found.append(((when - first) * 1e3, sum(length for _, length in freed), rows[0]["destination"]))
    return found
