#!/usr/bin/env python3
"""Captures of bulk transfers on paths that lose, delay, reorder or hold back segments.

    sudo python3 testdata/lab/packet_loss.py OUTPUT_FOLDER [CASE...]

Makes the captures of packet-loss, reordering, spurious-retransmission and mtu-black-hole: one download each, with what
the relay did to it in its books.
"""
import os
import time

from actors import compress, connect, read_exactly, run_cases, serve_threads
from net import SERVER, SERVER6, Net, pair, write_truth
from relay import Way, Wire

PORT = 7100


def download(folder, kind, name, story, wire, octets, expect, point=("client", None), address=SERVER, snaplen=100, may=(), connections=1, pause_s=0.0, wait_s=None, chunk=None,
             sysctls=None):
    """Downloads `octets`; `expect(books, ends)` gives the findings."""
    path = os.path.join(folder, kind, name + ".pcap")
    side, interface = point
    with Net(wire, sysctls=sysctls) as net:
        def talk(connection):
            connection.recv(1)
            for sent in range(0, octets, chunk or octets):
                connection.sendall(bytes(min(chunk or octets, octets - sent)))
                time.sleep(pause_s)
            connection.recv(1)

        def fetch():
            ends = []
            for _ in range(connections):
                connection = connect(address, PORT, timeout=wait_s or 60)
                connection.sendall(b"!")
                try:
                    read_exactly(connection, octets)
                except TimeoutError:
                    pass
                ends.append(pair(connection))
                connection.close()
            return ends

        net.spawn("server", serve_threads, address, PORT, talk)
        with net.capture(side, path, interface=interface, snaplen=snaplen, expression=f"tcp port {PORT}"):
            ends = net.call("client", fetch)
        books = net.relay_books()
    write_truth(path, story, f"testdata/lab/packet_loss.py, {octets} octets on {connections} connection(s)", expect(books, ends), may=may, capture_point=side,
                tcp_connections=connections, relay={action: sum(one["action"] == action for one in books) for action in sorted({one["action"] for one in books})})
    compress(path)


def data(books, action):
    return [one for one in books if one["action"] == action and one["payload_len"]]


def lost(books, ends, severity):
    """The share of the data segments sent that the relay dropped, repeats included."""
    gone, passed = len(data(books, "drop")), len(data(books, "passed"))
    percent = gone * 100 / (gone + passed)
    return [{"rule": "packet-loss", "connections": ends, "severity_at_least": severity,
             "figures": {"segments_lost": (gone, max(1, gone // 20)), "loss_percent": (round(percent, 3), round(percent * 0.06, 3))}}]


def random_loss_client(folder):
    wire = Wire(up=Way(delay_ms=10), down=Way(delay_ms=10, loss=0.03, loss_of="data", note_passed=True), seed=3)
    download(folder, "packet-loss", "random-loss-client", "3 % of the server's segments are lost before the capture point.", wire, 1_500_000,
             lambda books, ends: lost(books, ends, "medium"), may=["retransmit-hol", "spurious-retransmission"])


def burst_loss_server_ipv6(folder):
    wire = Wire(up=Way(delay_ms=15), down=Way(delay_ms=15, loss=0.01, burst=3, loss_of="data", note_passed=True), seed=8)
    download(folder, "packet-loss", "burst-loss-server-ipv6", "Bursts of three segments are lost behind the capture point, over IPv6.", wire, 1_500_000,
             lambda books, ends: lost(books, ends, "low"), point=("server", None), address=SERVER6, may=["retransmit-hol", "spurious-retransmission"])


def not_ack_loss(folder):
    wire = Wire(up=Way(delay_ms=10, loss=0.2, loss_of="acks"), down=Way(delay_ms=10), seed=5)
    download(folder, "packet-loss", "not-ack-loss", "A fifth of the acknowledgements is lost, but no data.", wire, 1_000_000, lambda *_: [],
             may=["spurious-retransmission"])


def reordered_client(folder):
    def expect(books, ends):
        late = len(data(books, "late"))
        return [{"rule": "reordering", "connections": ends, "severity_at_least": "info", "severity_at_most": "low", "figures": {"segments": (late, max(2, late // 20))}}]

    # Paced by the writer, so that a held frame is overtaken by others of its flow.
    wire = Wire(up=Way(delay_ms=15), down=Way(delay_ms=15, reorder=0.04, reorder_by_ms=5), seed=4)
    download(folder, "reordering", "reordered-client", "4 % of the segments come 5 ms late and are overtaken.", wire, 700_000, expect, chunk=1400, pause_s=0.001,
             may=["spurious-retransmission"])


def not_jitter(folder):
    wire = Wire(up=Way(delay_ms=10, jitter_ms=5), down=Way(delay_ms=10, jitter_ms=8), seed=4)
    download(folder, "reordering", "not-jitter", "Delays vary by 8 ms but nothing is overtaken.", wire, 500_000, lambda *_: [], may=["bufferbloat"])


def two_links_ipv6(folder):
    """A router sends segments over two links by turns, one of which takes longer by 4 ms."""
    def expect(books, ends):
        late = len(data(books, "late"))
        return [{"rule": "reordering", "connections": ends, "severity_at_least": "low", "severity_at_most": "low", "figures": {"segments": (late, max(2, late // 10))}}]

    # By turns of some packets, as a router does that hashes identifications.
    wire = Wire(up=Way(delay_ms=8), down=Way(delay_ms=8, choose=lambda frame: ("delay", 4) if frame.number % 7 == 0 else None))
    download(folder, "reordering", "two-links-ipv6-client", "A router sends every seventh packet over a link that takes 4 ms longer.", wire, 400_000, expect, chunk=1400,
             pause_s=0.001, address=SERVER6, may=["spurious-retransmission", "packet-loss", "sender-limited"])


def not_repaired(folder):
    """What comes late are repeats of lost segments; without timestamps, their numbers alone say so."""
    wire = Wire(up=Way(delay_ms=10), down=Way(delay_ms=10, loss=0.03, loss_of="data"), seed=21)
    download(folder, "reordering", "not-repaired", "Lost segments are repeated and arrive behind later ones; no timestamps.", wire, 500_000, lambda *_: [],
             may=["packet-loss", "retransmit-hol", "spurious-retransmission"], sysctls={"net.ipv4.tcp_timestamps": 0})


def delay_spike(folder):
    """Acknowledgements stand still for 600 ms: the sender's timer repeats what had arrived."""
    state = {}

    def hold(frame):
        state.setdefault("begin", time.monotonic())
        since = time.monotonic() - state["begin"]
        return ("delay", (1.1 - since) * 1e3) if 0.5 < since < 1.1 else None

    def expect(books, ends):
        return [{"rule": "spurious-retransmission", "connections": ends, "severity_at_least": "info", "severity_at_most": "low", "figures": {}}]

    wire = Wire(up=Way(delay_ms=10, choose=hold), down=Way(delay_ms=10))
    download(folder, "spurious-retransmission", "delay-spike-server", "Acknowledgements are held for up to 600 ms; nothing is lost.", wire, 400_000, expect, chunk=4000, pause_s=0.02,
             point=("server", None))


def not_real_loss(folder):
    wire = Wire(up=Way(delay_ms=10), down=Way(delay_ms=10, loss=0.01, loss_of="data"), seed=11)
    download(folder, "spurious-retransmission", "not-real-loss", "What is repeated was lost.", wire, 500_000, lambda *_: [], may=["packet-loss", "retransmit-hol"])


def path_stops_ipv6(folder):
    """What the server sends stands still for 700 ms, twice, as on a mobile link; its timer repeats what then arrives after all."""
    state = {}

    def hold(frame):
        state.setdefault("begin", time.monotonic())
        since = time.monotonic() - state["begin"]
        for start in (0.6, 2.0):
            if start < since < start + 0.7:
                return ("until", state["begin"] + start + 0.7)
        return None

    def expect(books, ends):
        return [{"rule": "spurious-retransmission", "connections": ends, "severity_at_least": "info", "severity_at_most": "low", "figures": {}}]

    wire = Wire(up=Way(delay_ms=15), down=Way(delay_ms=15, choose=hold))
    download(folder, "spurious-retransmission", "path-stops-ipv6-client", "The path to the client stands still for 700 ms, twice; nothing is lost.", wire, 400_000, expect, chunk=4000,
             pause_s=0.025, address=SERVER6, snaplen=120, may=["bufferbloat", "timeout-recovery", "stream-framing", "path-outage"])


def not_probes(folder):
    """Acknowledgments of single messages are lost: the sender's probes (RFC 8985 §7) repeat what had arrived, as they may."""
    count = {"acks": 0}

    def choose(frame):
        if frame.payload_len or frame.flags & 7 or frame.number < 4:
            return None
        count["acks"] += 1
        return "drop" if count["acks"] % 6 == 0 else None

    wire = Wire(up=Way(delay_ms=10, choose=choose), down=Way(delay_ms=10))
    download(folder, "spurious-retransmission", "not-probes-server", "Every sixth acknowledgment of a message is lost; the server's probes repeat the message.", wire, 40_000, lambda *_: [],
             chunk=500, pause_s=0.06, point=("server", None), may=["packet-loss"])


def black_hole(folder):
    def big(frame):
        return "drop" if frame.payload_len > 1300 else None

    def expect(books, ends):
        return [{"rule": "mtu-black-hole", "connections": ends, "severity_at_least": "medium", "figures": {}}]

    wire = Wire(up=Way(delay_ms=5), down=Way(delay_ms=5, choose=big))
    download(folder, "mtu-black-hole", "tunnel-server", "Segments above 1300 octets vanish without a word; the client gives up after 6 s.", wire, 60_000, expect,
             point=("server", None), wait_s=6, may=["client-timeout-close", "slow-response", "packet-loss"], connections=2)


def not_plain_loss(folder):
    wire = Wire(up=Way(delay_ms=5), down=Way(delay_ms=5, loss=0.06, loss_of="data"), seed=9)
    download(folder, "mtu-black-hole", "not-plain-loss", "Segments of all sizes are lost.", wire, 200_000, lambda *_: [],
             may=["packet-loss", "retransmit-hol", "spurious-retransmission"])


if __name__ == "__main__":
    run_cases([random_loss_client, burst_loss_server_ipv6, not_ack_loss, reordered_client, two_links_ipv6, not_jitter, not_repaired, delay_spike,
               path_stops_ipv6, not_real_loss, not_probes, black_hole, not_plain_loss])
