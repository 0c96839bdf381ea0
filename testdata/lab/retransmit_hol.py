#!/usr/bin/env python3
"""Captures of lost segments that hold back bytes which arrived, and of what looks like it.

    sudo python3 testdata/lab/retransmit_hol.py OUTPUT_FOLDER [CASE...]

The relay drops chosen segments and books when every other one was handed on, so what waited behind which
loss, and for how long, is known from the wire itself.
"""
import os
import subprocess
import tempfile
import time

from actors import compress, connect, held_back, http_get, http_ok, http_server, in_threads, read_exactly, run_cases, send_paced, serve_threads
from net import SERVER, SERVER6, Net, pair, write_truth
from relay import Way, Wire

PORT = 7000


def place(folder, name):
    return os.path.join(folder, "retransmit-hol", name + ".pcap")


def hol(books, connections, rtt_ms, direction="down", severity="low"):
    """The expected finding: every hole that stalled for half a round trip and 20 ms."""
    found = [one for one in held_back(books, direction) if one[0] >= max(20, rtt_ms / 2)]
    total, worst = sum(one[0] for one in found), max(one[0] for one in found)
    figures = {
        "holes": (len(found), 0),
        # Between the relay and the capture, and the capture and an acknowledgement, lies a machine that may be busy.
        "stall_ms_total": (round(total, 2), round(max(5.0 * len(found), total * 0.05), 2)),
        "stall_ms_max": (round(worst, 2), round(max(5.0, worst * 0.05), 2)),
        "blocked_bytes": (sum(one[1] for one in found), sum(one[1] for one in found) // 20),
    }
    return {"rule": "retransmit-hol", "occurrences": len(found), "connections": connections, "figures": figures, "severity_at_least": severity}


def dropper(numbers):
    """Drops the data segments of these numbers."""
    wanted = set(numbers)
    return lambda frame: "drop" if frame.payload_len and frame.data_number in wanted else None


def books_text(books):
    return "; ".join(f"{one['action']} {one['direction']} data seq {one['seq']} len {one['payload_len']}" for one in books if one["action"] != "passed")[:600]


def messages(address, wire, point, path, count, size, gap_ms, snaplen=None, sysctls=None, pauses=(), connections=1, upload=False):
    """Connections on which messages flow at a steady pace; gives their pairs and the relay's books."""
    side, interface = point
    with Net(wire, sysctls=sysctls) as net:
        def talk(connection):
            if upload:
                read_exactly(connection, count * size)
                connection.sendall(b"done")
            else:
                connection.recv(1)
                send_paced(connection, count, size, gap_ms, pauses)
            connection.recv(1)

        def use(number):
            time.sleep(number * 0.05)
            connection = connect(address, PORT)
            if upload:
                send_paced(connection, count, size, gap_ms, pauses)
                read_exactly(connection, 4)
            else:
                connection.sendall(b"!")
                read_exactly(connection, count * size)
            ends = pair(connection)
            connection.close()
            return ends

        net.spawn("server", serve_threads, address, PORT, talk)
        with net.capture(side, path, interface=interface, snaplen=snaplen, expression=f"tcp port {PORT}"):
            ends = net.call("client", in_threads, use, range(connections))
        return ends, net.relay_books()


def lossy_case(folder, name, story, choose, point, count=200, size=400, gap_ms=10, delay_ms=20, address=SERVER, upload=False, severity="low", connections=1, **more):
    path = place(folder, name)
    lossy, other = Way(delay_ms=delay_ms, choose=choose, note_passed=True), Way(delay_ms=delay_ms)
    wire = Wire(up=lossy, down=other) if upload else Wire(up=other, down=lossy)
    ends, books = messages(address, wire, point, path, count, size, gap_ms, upload=upload, connections=connections, **more)
    hit = {one["source" if upload else "destination"] for one in books if one["action"] == "drop"}
    write_truth(path, story, f"testdata/lab/retransmit_hol.py, {count} messages of {size} octets each {gap_ms} ms, delay {delay_ms} ms each way",
                [hol(books, [one for one in ends if one[0] in hit], 2 * delay_ms, "up" if upload else "down", severity)],
                may=["packet-loss", "stream-framing", "slow-response"], capture_point=point[0], relay=books_text(books), tcp_connections=connections)
    compress(path)


def fast_repair_client(folder):
    lossy_case(folder, "fast-repair-client", "Two of 200 segments of a message stream are lost; fast retransmission repairs them.", dropper({50, 120}), ("client", None))


def fast_repair_server(folder):
    lossy_case(folder, "fast-repair-server", "Two of 200 segments are lost behind the capture point: only SACK tells what waited.", dropper({60, 150}), ("server", None))


def repair_lost_too_ipv6(folder):
    lossy_case(folder, "repair-lost-too-ipv6", "A thin stream over IPv6 loses a segment and some repairs.", dropper({30, 33, 34, 35}), ("client", None),
               count=80, size=900, gap_ms=60, address=SERVER6)


def any_interface_snaplen(folder):
    lossy_case(folder, "any-interface-snaplen", "Three losses, captured on the any interface with 128 octets of each frame.", dropper({40, 90, 160}), ("client", "any"),
               count=220, size=1200, gap_ms=5, delay_ms=30, snaplen=128)


def no_sack_server(folder):
    lossy_case(folder, "no-sack-server", "A loss without SACK, captured at the sender: only duplicate ACKs tell.", dropper({70}), ("server", None),
               sysctls={"net.ipv4.tcp_sack": 0})


def upload_server(folder):
    lossy_case(folder, "upload-server", "A client uploads records; two segments in a row and a single one are lost on the way up.", dropper({40, 41, 100}), ("server", "any"),
               size=700, count=150, gap_ms=8, delay_ms=15, upload=True)


def long_outage(folder):
    """Everything but one segment passes; that one is lost six times over."""
    lost = {}

    def choose(frame):
        if not frame.payload_len:
            return None
        if frame.data_number == 60:
            lost["seq"] = frame.seq
        if lost.get("seq") == frame.seq and lost.setdefault("copies", 0) < 6:
            lost["copies"] += 1
            return "drop"
        return None

    lossy_case(folder, "lost-six-times", "One segment is lost with its next five copies while all others pass: two hundred messages wait.", choose, ("client", None),
               count=260, gap_ms=8, severity="medium")


def some_of_many(folder):
    victims, seen = {2: 20, 5: 25, 9: 30}, {}

    def choose(frame):
        if not frame.payload_len:
            return None
        order = seen.setdefault(frame.destination, [len(seen), 0])
        order[1] += 1
        return "drop" if victims.get(order[0]) == order[1] else None

    lossy_case(folder, "some-of-many", "Twelve connections carry messages; on three of them one segment is lost.", choose, ("client", None),
               count=60, size=300, gap_ms=15, delay_ms=40, connections=12)


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
    path, lost = place(folder, "h2-streams"), {}

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

    with tempfile.TemporaryDirectory() as www, Net(Wire(up=Way(delay_ms=25), down=Way(delay_ms=25, choose=choose, note_passed=True))) as net:
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
                [hol(books, [(one["destination"], one["source"]) for one in books if one["action"] == "drop"][:1], 50)],
                may=["packet-loss"], capture_point="client", relay=books_text(books), tcp_connections=1)
    compress(path)


def quiet(folder, name, story, wire, may, gap_ms=10, **more):
    path = place(folder, name)
    _, books = messages(SERVER, wire, ("client", None), path, 150, 400, gap_ms, **more)
    write_truth(path, story, f"testdata/lab/retransmit_hol.py, 150 messages of 400 octets each {gap_ms} ms, delay 20 ms each way",
                may=may, capture_point="client", relay=books_text(books), tcp_connections=1)
    compress(path)


def not_reordering(folder):
    wire = Wire(up=Way(delay_ms=20), down=Way(delay_ms=20, reorder=0.08, reorder_by_ms=12))
    quiet(folder, "not-reordering", "Segments overtake each other by 12 ms; none is lost.", wire, ["reordering"], gap_ms=4)


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
    quiet(folder, "not-slow-writer", "The writer itself pauses for 700 ms twice; nothing is lost.", wire, ["slow-response"],
          pauses=((40, 700), (90, 700)))


def not_duplicates(folder):
    wire = Wire(up=Way(delay_ms=20), down=Way(delay_ms=20, duplicate=0.06))
    quiet(folder, "not-duplicates", "The network delivers some segments twice; none is lost.", wire, [], gap_ms=5)


if __name__ == "__main__":
    run_cases([fast_repair_client, fast_repair_server, repair_lost_too_ipv6, any_interface_snaplen, no_sack_server, upload_server, long_outage,
               some_of_many, h2_streams, not_reordering, not_tail_loss, not_slow_writer, not_duplicates])
