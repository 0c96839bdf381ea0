"""Small clients and servers that several scenarios use, each keeping a diary of what it did.

Times are the machine's wall clock, which all namespaces share: a diary is truth for the tests.
"""
import contextlib
import gzip
import os
import random
import shutil
import socket
import struct
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


# Timed messages: a server writes numbered messages and notes when; the reader notes when each came.

_STAMP = struct.Struct("!Id")


def send_timed(connection, count, size, gap_ms, late=()):
    """Sends `count` messages of `size` octets, each with its number and the time it was written.

    Before the messages numbered in `late` the writer pauses for `late[number]` ms more.
    """
    filler = random.Random(size).randbytes(size)
    start = time.time()
    for number in range(count):
        start += (dict(late).get(number, 0)) / 1e3
        time.sleep(max(0.0, start + number * gap_ms / 1e3 - time.time()))
        connection.sendall(_STAMP.pack(number, time.time()) + filler[_STAMP.size :])


def read_timed(connection, count, size):
    """Reads them; gives rows of (number, written, read)."""
    rows, pending = [], b""
    while len(rows) < count:
        part = connection.recv(1 << 16)
        if not part:
            break
        now = time.time()
        pending += part
        while len(pending) >= size:
            number, written = _STAMP.unpack_from(pending)
            rows.append((number, written, now))
            pending = pending[size:]
    return rows


def stalls(rows, size, delay_ms, lost=(), least_ms=15.0):
    """What held messages back, from the reader's diary: a list of (stall_ms, blocked_octets).

    Messages that one read gave together with a `lost` one before them had arrived and waited for it. The
    stall began when the first of them arrived: it was written, and `delay_ms` passed on the way.
    """
    batches = {}
    for number, written, read in rows:
        batches.setdefault(read, []).append((number, written))
    found = []
    for read, messages in batches.items():
        waited = [written for number, written in messages if number not in lost]
        if len(waited) == len(messages) or not waited:
            continue
        stall = (read - waited[0]) * 1e3 - delay_ms
        if stall >= least_ms:
            found.append((stall, len(waited) * size))
    return found


def lost_messages(books, first_number, size):
    """Numbers of the messages whose segments the relay dropped; the first drop was message `first_number`."""
    dropped = [one["seq"] for one in books if one["action"] == "drop" and one["payload_len"]]
    return {first_number + (seq - dropped[0]) // size for seq in dropped}


def noise_ms(rows, lost, delay_ms):
    """How much later than the way's delay an undisturbed message was read at worst: a busy machine's share."""
    reads = [read for _, _, read in rows]
    single = [(read - written) * 1e3 - delay_ms for number, written, read in rows if reads.count(read) == 1 and number not in lost]
    return max(single, default=0.0)
