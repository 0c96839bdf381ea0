#!/usr/bin/env python3
"""Captures of lost segments that hold back bytes which arrived, and of what looks like it.

    sudo python3 testdata/lab/retransmit_hol.py OUTPUT_FOLDER [CASE...]

The relay drops chosen segments. Messages bear the time they were written and the reader notes when it
got them, so how long which of them waited is known from the programs, not from the packets.
"""
import os
import subprocess
import tempfile
import time

from actors import (compress, connect, http_get, http_ok, http_server, in_threads, lost_messages, noise_ms, read_exactly, read_timed, run_cases, send_timed,
                    serve_threads, stalls)
from net import CLIENT, SERVER, SERVER6, Net, pair, write_truth
from relay import Way, Wire

PORT = 7000
# A diary is taken again, at most so often, when messages that met no loss were read this late.
TRIES, NOISE_MS = 8, 2.0


def place(folder, name, kind="retransmit-hol"):
    return os.path.join(folder, kind, name + ".pcap")


def hol(found, connections, size=None, **more):
    """The expected finding from the readers' diaries: `found` is a list of (stall_ms, octets)."""
    total = sum(stall for stall, _ in found)
    tolerance = max(2.0 * len(found), total * 0.05)
    worst = max(stall for stall, _ in found)
    octets = sum(octets for _, octets in found)
    figures = {
        "holes": (len(found), 0),
        "stall_ms_total": (round(total, 1), round(tolerance, 1)),
        "stall_ms_max": (round(worst, 1), round(max(3.0, worst * 0.05), 1)),
        # A message may arrive while the repair is on its way to the reader.
        "blocked_bytes": (octets, size or octets * 0.05),
    }
    return {"rule": "retransmit-hol", "occurrences": len(found), "connections": connections, "figures": figures, **more}


def dropper(numbers):
    """Drops the data segments of these numbers."""
    wanted = set(numbers)
    return lambda frame: "drop" if frame.payload_len and frame.data_number in wanted else None


def messages(address, wire, point, path, count, size, gap_ms, snaplen=None, sysctls=None, late=()):
    """One connection on which the server sends timed messages; gives (pair, diary, books)."""
    with Net(wire, sysctls=sysctls) as net:
        def talk(connection):
            connection.recv(1)
            send_timed(connection, count, size, gap_ms, late)
            connection.recv(1)

        def read():
            connection = connect(address, PORT)
            connection.sendall(b"!")
            rows = read_timed(connection, count, size)
            ends = pair(connection)
            connection.close()
            return ends, rows

        net.spawn("server", serve_threads, address, PORT, talk)
        side, interface = point
        with net.capture(side, path, interface=interface, snaplen=snaplen, expression=f"tcp port {PORT}"):
            ends, rows = net.call("client", read)
        return ends, rows, net.relay_books()


def books_text(books):
    return "; ".join(f"{one['action']} {one['direction']} data seq {one['seq']} len {one['payload_len']}" for one in books[:12])


def timed_case(folder, name, story, numbers, point, count=200, size=400, gap_ms=10, delay_ms=20, severity="low", address=SERVER, **more):
    wire = Wire(up=Way(delay_ms=delay_ms), down=Way(delay_ms=delay_ms, choose=dropper(numbers)))
    path = place(folder, name)
    for _ in range(TRIES):
        ends, rows, books = messages(address, wire, point, path, count, size, gap_ms, **more)
        lost = lost_messages(books, min(numbers) - 1, size)
        if noise_ms(rows, lost, delay_ms) < NOISE_MS:
            break
    found = stalls(rows, size, delay_ms, lost)
    write_truth(path, story, f"testdata/lab/retransmit_hol.py, {count} messages of {size} octets each {gap_ms} ms, delay {delay_ms} ms each way",
                [hol(found, [ends], size=size, severity_at_least=severity)], may=["packet-loss", "stream-framing"],
                capture_point=point[0], relay=books_text(books), tcp_connections=1)
    compress(path)


def fast_repair_client(folder):
    timed_case(folder, "fast-repair-client", "Two of 200 segments of a message stream are lost; fast retransmission repairs them.", {50, 120}, ("client", None))


def fast_repair_server(folder):
    timed_case(folder, "fast-repair-server", "Two of 200 segments are lost behind the capture point: only SACK tells what waited.", {60, 150}, ("server", None))


def repair_lost_too_ipv6(folder):
    # With a message each 60 ms the three duplicate ACKs come late, and the repair is lost as well.
    timed_case(folder, "repair-lost-too-ipv6", "A segment and its retransmission are both lost; the timer has to repair it.", {30, 33, 34, 35}, ("client", None),
               count=80, size=900, gap_ms=60, severity="low", address=SERVER6)


def any_interface_snaplen(folder):
    timed_case(folder, "any-interface-snaplen", "Three losses, captured on the any interface with 128 octets of each frame.", {40, 90, 160}, ("client", "any"),
               count=220, size=1200, gap_ms=5, delay_ms=30, snaplen=128)


def no_sack_server(folder):
    timed_case(folder, "no-sack-server", "A loss without SACK, captured at the sender: only duplicate ACKs tell.", {70}, ("server", None),
               sysctls={"net.ipv4.tcp_sack": 0})


def some_of_many(folder):
    """Twelve connections carry messages; a segment is lost on three."""
    path, count, size, gap_ms, delay_ms = place(folder, "some-of-many"), 60, 300, 15, 40
    victims, seen = {2: 20, 5: 25, 9: 30}, {}

    def choose(frame):
        if not frame.payload_len:
            return None
        order = seen.setdefault(frame.destination, [len(seen), 0])
        order[1] += 1
        return "drop" if victims.get(order[0]) == order[1] else None

    with Net(Wire(up=Way(delay_ms=delay_ms), down=Way(delay_ms=delay_ms, choose=choose))) as net:
        def talk(connection):
            connection.recv(1)
            send_timed(connection, count, size, gap_ms)
            connection.recv(1)

        def read(number):
            time.sleep(number * 0.05)
            connection = connect(SERVER, PORT)
            connection.sendall(b"!")
            rows = read_timed(connection, count, size)
            ends = pair(connection)
            connection.close()
            return ends, rows

        net.spawn("server", serve_threads, SERVER, PORT, talk)
        with net.capture("client", path, expression=f"tcp port {PORT}"):
            results = net.call("client", in_threads, read, range(12))
        books = net.relay_books()
    hit = {one["destination"] for one in books if one["action"] == "drop"}
    # The relay met the connections in the order in which they came.
    victims_of = {results[order][0][0]: number - 1 for order, number in victims.items()}
    found = [(ends, stalls(rows, size, delay_ms, {victims_of[ends[0]]})) for ends, rows in results if ends[0] in hit]
    write_truth(path, "Twelve connections carry messages; on three of them one segment is lost.",
                f"testdata/lab/retransmit_hol.py, {count} messages of {size} octets each {gap_ms} ms, delay {delay_ms} ms each way",
                [hol([stall for _, list_ in found for stall in list_], [ends for ends, _ in found], size=size * 3, severity_at_least="low")],
                may=["packet-loss", "stream-framing"], capture_point="client", relay=books_text(books), tcp_connections=12)
    compress(path)


NGINX = """
master_process off; daemon off; pid {folder}/pid; error_log {folder}/error;
events {{ worker_connections 256; }}
http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;
 scgi_temp_path {folder}/s; sendfile on; default_type text/plain;
 server {{ listen {port} {options}; root {folder}/www; http2_chunk_size 2k; }} }}
"""

H2_CLIENT = """
const http2 = require('http2'), session = http2.connect('http://%s:%d');
let open = 0;
for (let i = 0; i < 8; i++) { open++; const s = session.request({':path': '/item' + i});
  s.resume(); s.on('end', () => { if (--open == 0) session.close(); }); s.end(); }
"""


def h2_streams(folder):
    """nginx sends eight HTTP/2 streams over one connection; one segment in the middle is lost, with its first repair."""
    path, drops = place(folder, "h2-streams"), {14: 1}
    lost = {}

    def choose(frame):
        if not frame.payload_len:
            return None
        if frame.data_number == 14:
            lost["seq"] = frame.seq
        copies = lost.get("copies", 0)
        if lost.get("seq") == frame.seq and copies < 2:
            lost["copies"] = copies + 1
            return "drop"
        return None

    with tempfile.TemporaryDirectory() as www, Net(Wire(up=Way(delay_ms=25), down=Way(delay_ms=25, choose=choose))) as net:
        os.chmod(www, 0o755)
        os.makedirs(www + "/www")
        for number in range(8):
            with open(f"{www}/www/item{number}", "wb") as handle:
                handle.write(os.urandom(6000))
        with open(www + "/conf", "w") as handle:
            handle.write(NGINX.format(folder=www, port=PORT, options="http2"))
        net.popen("server", "nginx", "-c", www + "/conf", stderr=subprocess.DEVNULL)
        time.sleep(0.8)
        with net.capture("client", path, expression=f"tcp port {PORT}"):
            net.exec("client", "node", "-e", H2_CLIENT % (SERVER, PORT))
        books = net.relay_books()
    write_truth(path, "Eight HTTP/2 streams share a connection; a segment and its first repair are lost, and all streams wait.",
                "testdata/lab/retransmit_hol.py, nginx (http2 in clear text) and node, delay 25 ms each way",
                [{"rule": "retransmit-hol", "occurrences": 1, "figures": {"holes": (1, 0)}, "severity_at_least": "low",
                  "connections": [(one["destination"], one["source"]) for one in books[:1]]}],
                may=["packet-loss"], capture_point="client", relay=books_text(books), tcp_connections=1)
    compress(path)


def upload_server(folder):
    """The client uploads; a segment of it is lost; captured at the receiving server."""
    path, size, count, gap_ms, delay_ms = place(folder, "upload-server"), 700, 150, 8, 15
    rows_path = tempfile.mktemp()

    with Net(Wire(up=Way(delay_ms=delay_ms, choose=dropper({40, 41, 100})), down=Way(delay_ms=delay_ms))) as net:
        def talk(connection):
            rows = read_timed(connection, count, size)
            with open(rows_path, "w") as handle:
                handle.write(repr(rows))
            connection.sendall(b"done")

        def upload():
            connection = connect(SERVER, PORT)
            send_timed(connection, count, size, gap_ms)
            read_exactly(connection, 4)
            ends = pair(connection)
            connection.close()
            return ends

        net.spawn("server", serve_threads, SERVER, PORT, talk)
        with net.capture("server", path, interface="any", expression=f"tcp port {PORT}"):
            ends = net.call("client", upload)
        books = net.relay_books()
    with open(rows_path) as handle:
        found = stalls(eval(handle.read()), size, delay_ms, lost_messages(books, 39, size))  # our own numbers
    os.remove(rows_path)
    write_truth(path, "A client uploads records; two segments in a row and a single one are lost on the way up.",
                f"testdata/lab/retransmit_hol.py, {count} records of {size} octets each {gap_ms} ms, delay {delay_ms} ms each way",
                [hol(found, [ends], size=size * 2, severity_at_least="low")], may=["packet-loss", "stream-framing"], capture_point="server",
                relay=books_text(books), tcp_connections=1)
    compress(path)


def quiet(folder, name, story, wire, path_kind, may, point=("client", None), count=150, size=400, gap_ms=10, delay_ms=20, findings=(), **more):
    path = place(folder, name, path_kind)
    ends, _, books = messages(SERVER, wire, point, path, count, size, gap_ms, **more)
    write_truth(path, story, f"testdata/lab/retransmit_hol.py, {count} messages of {size} octets each {gap_ms} ms, delay {delay_ms} ms each way",
                [dict(one, connections=[ends]) for one in findings], may=may, capture_point=point[0], relay=books_text(books), tcp_connections=1)
    compress(path)


def not_reordering(folder):
    wire = Wire(up=Way(delay_ms=20), down=Way(delay_ms=20, reorder=0.08, reorder_by_ms=12))
    quiet(folder, "not-reordering", "Segments overtake each other by 12 ms; none is lost.", wire, "retransmit-hol", ["reordering", "stream-framing"], gap_ms=4)


def not_tail_loss(folder):
    """Requests with short answers; now and then the whole answer is lost: nothing waits behind it."""
    path = place(folder, "not-tail-loss")
    with Net(Wire(up=Way(delay_ms=15), down=Way(delay_ms=15, choose=dropper({8, 15})))) as net:
        net.spawn("server", http_server, SERVER, PORT, lambda *_: http_ok(b"x" * 200))

        def ask():
            connection = connect(SERVER, PORT)
            for number in range(20):
                http_get(connection, f"/{number}", "tail.example")
                time.sleep(0.05)
            connection.close()

        with net.capture("client", path, expression=f"tcp port {PORT}"):
            net.call("client", ask)
        books = net.relay_books()
    write_truth(path, "Whole one-segment answers are lost and repaired by a probe or timer; nothing is behind them to wait.",
                "testdata/lab/retransmit_hol.py, 20 requests, delay 15 ms each way", may=["packet-loss"], capture_point="client",
                relay=books_text(books), tcp_connections=1)
    compress(path)


def not_slow_writer(folder):
    wire = Wire(up=Way(delay_ms=20), down=Way(delay_ms=20))
    quiet(folder, "not-slow-writer", "The writer itself pauses for 700 ms twice; nothing is lost.", wire, "retransmit-hol", ["slow-response", "stream-framing"],
          late=((40, 700), (90, 700)))


def not_duplicates(folder):
    wire = Wire(up=Way(delay_ms=20), down=Way(delay_ms=20, duplicate=0.06))
    quiet(folder, "not-duplicates", "The network delivers some segments twice; none is lost.", wire, "retransmit-hol", ["stream-framing"], gap_ms=5)


if __name__ == "__main__":
    run_cases([fast_repair_client, fast_repair_server, repair_lost_too_ipv6, any_interface_snaplen, no_sack_server, some_of_many, h2_streams,
               upload_server, not_reordering, not_tail_loss, not_slow_writer, not_duplicates])
