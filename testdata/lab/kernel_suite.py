#!/usr/bin/env python3
"""TCP on bad wires, captured at both ends, with the kernels' and the wire's own counts beside it.

    sudo python3 testdata/lab/kernel_suite.py OUTPUT_FOLDER [--only NAME_PART] [--times N] [--seed N]

Each scenario makes connections between two real stacks over a relay that loses, delays, reorders
and duplicates, and writes OUTPUT_FOLDER/<scenario>/{client,server}.pcap.gz and truth.json. Truth per
connection and direction, for the direction's sender: TCP_INFO after the close (`kernel`) and what
became of its segments on the wire (`wire`, see ledger.py).
"""
import argparse
import dataclasses
import gzip
import json
import os
import socket
import threading
import time

from net import CLIENT6, SERVER, SERVER6, CLIENT, Net, _processes, endpoint, tcp_info
from relay import Way, Wire

PORT = 5001
KEPT = (
    "total_retrans bytes_retrans dsack_dups min_rtt rtt reord_seen busy_time rwnd_limited sndbuf_limited snd_mss"
    " data_segs_out bytes_acked total_rto rcv_ooopack"
).split()
SYN, FIN, ACK = 2, 1, 16


@dataclasses.dataclass
class Load:
    """What one connection carries."""

    up: int = 0  # octets in one piece, client to server
    down: int = 0
    turns: int = 0  # requests
    request: int = 200
    response: int = 2000
    pause: float = 0.0  # before each request
    slow_reader: float = 0.0  # pause of the receiver of `up` after each 64 KiB
    receive_buffer: int = 0
    write: int = 0  # octets of `up` per write, with `write_pause` between
    write_pause: float = 0.0
    send_buffer: int = 0


@dataclasses.dataclass
class Scenario:
    name: str
    story: str
    wire: object  # Callable[[int], Wire], given a seed
    load: Load = dataclasses.field(default_factory=lambda: Load(up=600_000))
    connections: int = 6
    at_once: int = 3
    sysctls: dict = dataclasses.field(default_factory=dict)
    congestion: str = "cubic"
    v6: bool = False
    snaplen: int = 96


def exactly(connection, count, slow=0.0):
    """Reads `count` octets or to the end of the stream."""
    got = since = 0
    while got < count:
        piece = connection.recv(min(65536, count - got))
        if not piece:
            return False
        got, since = got + len(piece), since + len(piece)
        if slow and since >= 65536:
            since = 0
            time.sleep(slow)
    return True


def closed_info(connection):
    """TCP_INFO once the socket's life is over, so that the FIN's own repeats are in."""
    end = time.monotonic() + 20
    while True:
        info = tcp_info(connection)
        if info["state"] == 7 or time.monotonic() > end:
            return {name: info[name] for name in KEPT} | {"state": info["state"]}
        time.sleep(0.02)


def serve_one(connection, load, results):
    try:
        if load.up:
            exactly(connection, load.up, load.slow_reader)
        if load.down:
            connection.sendall(bytes(load.down))
        for _ in range(load.turns):
            if not exactly(connection, load.request):
                break
            connection.sendall(bytes(load.response))
        peer = endpoint(connection.getpeername())
        while connection.recv(65536):
            pass
        connection.shutdown(socket.SHUT_WR)
        results.put(("server", peer, closed_info(connection)))
    except OSError as error:
        results.put(("server", None, repr(error)))


def serve(address, scenario, results):
    family = socket.AF_INET6 if scenario.v6 else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if scenario.load.receive_buffer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, scenario.load.receive_buffer)
    listener.bind((address, PORT))
    listener.listen(512)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve_one, args=(connection, scenario.load, results), daemon=True).start()


def talk_one(address, load, results):
    try:
        connection = socket.create_connection((address, PORT))
        name = endpoint(connection.getsockname())
        if load.send_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, load.send_buffer)
        write = load.write or max(load.up, 1)
        for sent in range(0, load.up, write):
            time.sleep(load.write_pause if sent else 0)
            connection.sendall(bytes(min(write, load.up - sent)))
        if load.down:
            exactly(connection, load.down)
        for _ in range(load.turns):
            time.sleep(load.pause)
            connection.sendall(bytes(load.request))
            exactly(connection, load.response)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
        results.put(("client", name, closed_info(connection)))
    except OSError as error:
        results.put(("client", None, repr(error)))


def talk(address, scenario, results):
    left = threading.Semaphore(scenario.at_once)

    def one():
        with left:
            talk_one(address, scenario.load, results)

    workers = [threading.Thread(target=one) for _ in range(scenario.connections)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def compressed(path):
    with open(path, "rb") as plain, open(path + ".gz", "wb") as handle:
        with gzip.GzipFile("", "wb", 9, handle, mtime=0) as packed:
            packed.write(plain.read())
    os.unlink(path)


def directions(kernel, ledger, client, server):
    rows = {}
    for name, end, key in (("client_to_server", "client", (client, server)), ("server_to_client", "server", (server, client))):
        rows[name] = {"kernel": kernel[end], "wire": ledger[key]}
    return rows


def run_scenario(scenario, folder, seed):
    sysctls = {"net.ipv4.tcp_congestion_control": scenario.congestion, "net.ipv4.tcp_wmem": "4096 262144 4194304",
               **scenario.sysctls}
    client_address, server_address = (CLIENT6, SERVER6) if scenario.v6 else (CLIENT, SERVER)
    results, expression = _processes.Queue(), f"tcp port {PORT}"
    paths = {side: os.path.join(folder, f"{side}.pcap") for side in ("client", "server")}
    kernel, failed = {}, []
    with Net(wire=scenario.wire(seed), sysctls=sysctls) as net:
        with net.capture("client", paths["client"], snaplen=scenario.snaplen, expression=expression), \
                net.capture("server", paths["server"], snaplen=scenario.snaplen, expression=expression):
            net.spawn("server", serve, server_address, scenario, results)
            net.call("client", talk, server_address, scenario, results)
            deadline = time.monotonic() + 25
            for _ in range(2 * scenario.connections):
                side, name, info = results.get(timeout=max(1.0, deadline - time.monotonic()))
                if name is None:
                    failed.append(f"{side}: {info}")
                else:
                    kernel.setdefault(name, {})[side] = info
            time.sleep(0.5)
        net.relay_books()
        ledger = net.ledger
    server = endpoint((server_address, PORT))
    rows = [
        {"client": client, "server": server, **directions(ends, ledger, client, server)}
        for client, ends in sorted(kernel.items())
        if len(ends) == 2
    ]
    for path in paths.values():
        compressed(path)
    truth = {"story": scenario.story, "snaplen": scenario.snaplen, "congestion": scenario.congestion, "sysctls": scenario.sysctls,
             "connections": rows}
    with open(os.path.join(folder, "truth.json"), "w") as handle:
        json.dump(truth, handle, sort_keys=True, separators=(",", ":"))
        handle.write("\n")
    return rows, failed


def check(rows):
    """How far the kernel's own count and the wire's differ (they should not)."""
    wrong = 0
    for row in rows:
        for name in ("client_to_server", "server_to_client"):
            wrong += row[name]["kernel"]["total_retrans"] != row[name]["wire"]["retransmitted"]
    return wrong


def path(delay_ms=10.0, up=None, down=None, **both):
    """A wire with this one-way delay; `both` goes into both ways, `up`/`down` into one."""
    def make(seed):
        ways = [Way(delay_ms=delay_ms, **{**both, **(way or {})}) for way in (up, down)]
        for way in ways:
            if isinstance(way.choose, type):
                way.choose = way.choose(seed)
        return Wire(*ways, seed=seed)

    return make


def each(choose):
    """Makes a `choose` with its own memory per relay: `choose(state, frame)`."""
    class Chooser:
        def __init__(self, seed):
            self.state = {"seed": seed}

        def __call__(self, frame):
            return choose(self.state, frame)

    return Chooser


def copy_number(state, frame):
    """How often this segment of this connection passed, this time included."""
    key = (frame.source, frame.destination, frame.seq, frame.flags & (SYN | FIN))
    state[key] = state.get(key, 0) + 1
    return state[key]


def nth_data(state, frame):
    """Number of this data segment within its connection's direction; repeats count as well."""
    key = (frame.source, frame.destination)
    state[key] = state.get(key, 0) + (frame.payload_len > 0)
    return state[key]


@each
def drop_syn(state, frame):
    if frame.flags & SYN and copy_number(state, frame) <= 1:
        return "drop"


@each
def drop_fin(state, frame):
    if frame.flags & FIN and copy_number(state, frame) <= 1:
        return "drop"


@each
def drop_last_data(state, frame):
    # The last piece of each turn: PSH is set where the application's write ended.
    if frame.payload_len and frame.flags & 8 and copy_number(state, frame) == 1 and nth_data(state, frame) % 3 == 0:
        return "drop"


@each
def drop_repeat_too(state, frame):
    number = nth_data(state, frame)
    copies = copy_number(state, frame) if frame.payload_len else 0
    key = (frame.source, frame.seq)
    if frame.payload_len and copies == 1 and number % 60 == 20:
        state[key] = "doomed"
        return "drop"
    if state.get(key) == "doomed" and copies <= 3:
        return "drop"


@each
def stall(state, frame):
    """The path stands still now and then: everything is late, nothing is lost."""
    if not frame.payload_len:
        return None
    now = time.monotonic()
    begun = state.setdefault("begun", now)
    phase = (now - begun) % 2.0
    if 0.3 < phase < 0.85:
        return ("delay", (0.85 - phase) * 1000)


@each
def burst_of_seven(state, frame):
    number = nth_data(state, frame)
    if frame.payload_len and 40 <= number % 150 < 47:
        return "drop"


@each
def every_other(state, frame):
    number = nth_data(state, frame)
    if frame.payload_len and 40 <= number % 150 < 60 and number % 2:
        return "drop"


NO_SACK = {"net.ipv4.tcp_sack": 0}
NO_STAMPS = {"net.ipv4.tcp_timestamps": 0}
PLAIN = {**NO_SACK, **NO_STAMPS}
SHORT = Load(turns=4, request=300, response=9000)
TINY = Load(turns=1, request=120, response=1800)
THIN = Load(turns=12, request=150, response=420, pause=0.03)
ONE = Load(turns=1, request=90, response=600)
BULK = Load(up=800_000)

SCENARIOS = [
    Scenario("clean", "nothing happens to any frame", path(5), Load(up=300_000, down=300_000), 4),
    Scenario("loss-01", "0.1 % lost both ways", path(10, loss=0.001), Load(up=1_500_000), 4),
    Scenario("loss-1", "1 % lost both ways", path(10, loss=0.01), BULK),
    Scenario("loss-3-down", "3 % lost, download", path(15, loss=0.03), Load(down=700_000)),
    Scenario("loss-8", "8 % lost both ways", path(8, loss=0.08), Load(up=250_000), 8, 8),
    Scenario("loss-2-bbr", "2 % lost, bbr", path(12, loss=0.02), Load(up=500_000), congestion="bbr"),
    Scenario("loss-2-reno", "2 % lost, reno", path(12, loss=0.02), BULK, congestion="reno"),
    Scenario("loss-2-v6", "2 % lost over IPv6: no identification tells", path(12, loss=0.02), BULK, v6=True),
    Scenario("loss-2-full", "2 % lost, whole frames", path(12, loss=0.02), BULK, snaplen=0),
    Scenario("loss-2-nosack", "2 % lost without SACK", path(12, loss=0.02), BULK, sysctls=NO_SACK),
    Scenario("loss-2-nostamps", "2 % lost without timestamps", path(12, loss=0.02), BULK, sysctls=NO_STAMPS),
    Scenario("loss-2-plain", "2 % lost, neither SACK nor timestamps", path(12, loss=0.02), BULK, sysctls=PLAIN),
    Scenario("loss-2-plain-v6", "2 % lost over IPv6, neither", path(12, loss=0.02), BULK, sysctls=PLAIN, v6=True),
    Scenario("bursts", "1 % of bursts of four", path(10, loss=0.004, burst=4), BULK),
    Scenario("burst-seven", "seven in a row", path(15, up={"choose": burst_of_seven}), BULK),
    Scenario("every-other", "every other one of twenty", path(15, up={"choose": every_other}), BULK),
    Scenario("repeat-lost", "the repeat is lost again, twice", path(15, up={"choose": drop_repeat_too}), BULK),
    Scenario("tail-loss", "the last segment of answers is lost", path(20, down={"choose": drop_last_data}), SHORT, 20, 10),
    Scenario("tail-loss-nosack", "the same without SACK", path(20, down={"choose": drop_last_data}), SHORT, 10, 10, sysctls=NO_SACK),
    Scenario("syn-lost", "the first SYN is lost", path(10, up={"choose": drop_syn}), TINY, 12, 12),
    Scenario("synack-lost", "the first SYN-ACK is lost", path(10, down={"choose": drop_syn}), TINY, 12, 12),
    Scenario("fin-lost", "each first FIN is lost", path(10, choose=drop_fin), TINY, 12, 12),
    Scenario("acks-lost", "15 % of pure ACKs lost", path(10, loss=0.15, loss_of="acks"), BULK),
    Scenario("acks-and-data-lost", "2 % lost and 10 % of ACKs", path(10, up={"loss": 0.02}, down={"loss": 0.1}), BULK),
    Scenario("reorder", "2 % late by 4 ms", path(10, reorder=0.02, reorder_by_ms=4), BULK),
    Scenario("reorder-far", "1 % late by 30 ms", path(10, reorder=0.01, reorder_by_ms=30), BULK),
    Scenario("reorder-v6-plain", "2 % late by 4 ms over IPv6, no SACK, no timestamps",
             path(10, reorder=0.02, reorder_by_ms=4), BULK, sysctls=PLAIN, v6=True),
    Scenario("reorder-loss", "1 % late, 1 % lost", path(10, reorder=0.01, reorder_by_ms=5, loss=0.01), BULK),
    Scenario("jitter", "up to 6 ms of jitter that overtakes", path(10, jitter_ms=6, jitter_reorders=True), Load(up=500_000)),
    Scenario("duplicates", "2 % twice", path(10, duplicate=0.02), BULK),
    Scenario("duplicates-v6", "2 % twice over IPv6", path(10, duplicate=0.02), BULK, v6=True),
    Scenario("duplicates-loss", "1 % twice, 1 % lost", path(10, duplicate=0.01, loss=0.01), BULK),
    Scenario("stall", "the path stands still: spurious timeouts", path(20, up={"choose": stall}), Load(up=2_500_000), 2, 2),
    Scenario("stall-nosack", "the same without SACK", path(20, up={"choose": stall}), Load(up=2_500_000), 2, 2, sysctls=NO_SACK),
    Scenario("stall-bbr", "the same with bbr", path(20, up={"choose": stall}), Load(up=2_500_000), 2, 2, congestion="bbr"),
    Scenario("narrow", "8 Mbit/s with a small queue", path(10, up={"rate_bps": 8e6, "queue_bytes": 15000}), BULK, 4, 2),
    Scenario("narrow-bbr", "8 Mbit/s with a small queue, bbr", path(10, up={"rate_bps": 8e6, "queue_bytes": 15000}), BULK, 4, 2,
             congestion="bbr"),
    Scenario("narrow-deep", "8 Mbit/s with a deep queue", path(10, up={"rate_bps": 8e6, "queue_bytes": 150000}), BULK, 3, 3),
    Scenario("short-loss", "many short connections, 3 % lost", path(10, loss=0.03), SHORT, 60, 12),
    Scenario("short-loss-v6", "many short connections, 3 % lost, IPv6", path(10, loss=0.03), SHORT, 40, 12, v6=True),
    Scenario("tiny-loss", "many tiny connections, 5 % lost", path(10, loss=0.05), TINY, 100, 25),
    Scenario("fast-path-loss", "1 ms of round trip, 1 % lost", path(0.5, loss=0.01), BULK),
    Scenario("long-path-loss", "160 ms of round trip, 0.5 % lost", path(80, loss=0.005), BULK, 4, 4),
    Scenario("slow-reader", "the receiver's window closes", path(5), Load(up=400_000, slow_reader=0.15, receive_buffer=20_000), 3, 3),
    Scenario("small-window", "a receive buffer far below rate times round trip", path(20), Load(up=250_000, receive_buffer=10_000), 3, 3),
    Scenario("paced-writer", "the sending application writes 12 kB, then pauses", path(5),
             Load(up=180_000, write=12_000, write_pause=0.08), 3, 3),
    Scenario("small-send-buffer", "the sender's own buffer is the limit", path(20), Load(up=300_000, send_buffer=8_000), 3, 3),
    Scenario("paused-turns", "requests with pauses, 5 % lost",
             path(10, loss=0.05), Load(turns=8, pause=0.12, request=200, response=4000), 12, 12),
    Scenario("thin-loss", "turns of one segment each way, 6 % lost", path(10, loss=0.06), THIN, 16, 8),
    Scenario("thin-nodsack", "the same without DSACK", path(10, loss=0.06), THIN, 12, 6, sysctls={"net.ipv4.tcp_dsack": 0}),
    Scenario("one-segment", "connections of one turn of one segment, 8 % lost", path(8, loss=0.08), ONE, 60, 15),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--only", default="")
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for round_ in range(arguments.times):
        for number, scenario in enumerate(SCENARIOS):
            if arguments.only not in scenario.name:
                continue
            name = scenario.name if arguments.times == 1 else f"{scenario.name}.{round_}"
            folder = os.path.join(arguments.folder, name)
            os.makedirs(folder, exist_ok=True)
            try:
                rows, failed = run_scenario(scenario, folder, arguments.seed + 1000 * round_ + number)
            except Exception as error:  # the other scenarios still count
                print(f"{name}: {error!r}", flush=True)
                continue
            size = sum(os.path.getsize(os.path.join(folder, file)) for file in os.listdir(folder))
            repeats = sum(row[way]["kernel"]["total_retrans"] for row in rows for way in ("client_to_server", "server_to_client"))
            print(f"{name}: {len(rows)} connections, {repeats} retransmitted, {check(rows)} directions where kernel and wire differ,"
                  f" {size // 1024} KiB {failed or ''}", flush=True)


if __name__ == "__main__":
    main()
