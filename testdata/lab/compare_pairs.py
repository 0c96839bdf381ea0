#!/usr/bin/env python3
"""How many directions `pcapdoc compare` counts exactly, on pairs that nobody has seen.

    sudo python3 testdata/lab/compare_pairs.py record FOLDER [--count N] [--seed N] [--suite]
    python3 testdata/lab/compare_pairs.py judge FOLDER --program PCAPDOC [--only CHANGE] [--wrong]

`record` draws paths and loads by chance (`--suite`: takes those of kernel_suite.py) and captures both ends; the relay books every frame that it
handed on, so that for each frame at one end it is known which frame, if any, it is at the other.
`judge` changes the pairs as captures, clocks and devices do (`CHANGES`), keeps account of which frame
is which, and holds the counts of every connection and direction against it. What is divided between lost
and missed by what is likely is counted beside it.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor

import second_point

COUNTS = ("delivered", "lost", "missed_at_from", "missed_at_to", "reordered", "duplicated", "made")


# --- Recording ---------------------------------------------------------------------------------------


def drawn(dice):
    """A path and a load by chance."""
    from kernel_suite import NO_SACK, NO_STAMPS, PLAIN, Load, Scenario
    from relay import Way, Wire

    delay = dice.choice([0.3, 1, 4, 10, 25, 60])

    def way():
        chosen = Way(delay_ms=delay)
        for trouble in dice.sample(["none", "loss", "burst", "acks", "jitter", "reorder", "duplicate", "narrow"], 2):
            if trouble == "loss":
                chosen.loss = dice.choice([0.002, 0.01, 0.03])
            elif trouble == "burst":
                chosen.loss, chosen.burst = 0.004, dice.randint(2, 6)
            elif trouble == "acks" and not chosen.loss:
                chosen.loss, chosen.loss_of = 0.05, "acks"
            elif trouble == "jitter":
                chosen.jitter_ms, chosen.jitter_reorders = dice.choice([0.5, 3, 8]), dice.random() < 0.4
            elif trouble == "reorder":
                chosen.reorder, chosen.reorder_by_ms = dice.choice([0.005, 0.02]), dice.choice([1, 5, 20])
            elif trouble == "duplicate":
                chosen.duplicate = dice.choice([0.005, 0.02])
            elif trouble == "narrow":
                chosen.rate_bps, chosen.queue_bytes = dice.choice([6e6, 20e6]), dice.choice([20_000, 100_000])
        return chosen

    seed = dice.getrandbits(30)
    wire = Wire(way(), way(), seed=seed, trace=True)
    kind = dice.choice(["up", "down", "turns", "tiny", "pauses"])
    load = {
        "up": Load(up=dice.choice([60_000, 400_000])),
        "down": Load(down=dice.choice([60_000, 400_000])),
        "turns": Load(turns=dice.randint(3, 12), request=dice.randint(50, 3000), response=dice.randint(100, 20_000)),
        "tiny": Load(turns=1, request=120, response=dice.choice([600, 1800])),
        "pauses": Load(turns=8, pause=0.1, request=200, response=dice.choice([300, 4000])),
    }[kind]
    many = 30 if kind == "tiny" else 8
    sysctls = dice.choice([{}, {}, {}, NO_SACK, NO_STAMPS, PLAIN])
    return wire, Scenario("", f"{kind} over {delay} ms", None, load, many, dice.randint(2, 8), sysctls,
                          dice.choice(["cubic", "cubic", "bbr", "reno"]), v6=dice.random() < 0.3, snaplen=0)


def record(folder, wire, scenario):
    """Captures both ends of one path."""
    import time

    from kernel_suite import PORT, serve, talk
    from net import SERVER, SERVER6, Net, _processes

    os.makedirs(folder, exist_ok=True)
    results, expression = _processes.Queue(), f"tcp port {PORT}"
    sysctls = {"net.ipv4.tcp_congestion_control": scenario.congestion, **scenario.sysctls}
    address = SERVER6 if scenario.v6 else SERVER
    with Net(wire=wire, sysctls=sysctls) as net:
        options = {"snaplen": scenario.snaplen, "expression": expression}
        with net.capture("client", os.path.join(folder, "client.pcap"), **options), \
                net.capture("server", os.path.join(folder, "server.pcap"), **options):
            net.spawn("server", serve, address, scenario, results)
            net.call("client", talk, address, scenario, results)
            for _ in range(2 * scenario.connections):
                results.get(timeout=25)
            # Nothing is under way any more when the captures end.
            time.sleep(0.5)
        books = net.relay_books()
    handed_on = {}
    for line in books:
        if line["action"] == "handed-on" and line["protocol"] == "tcp":
            handed_on.setdefault(f"{line['source']} {line['destination']}", []).append(line["nth"])
    with open(os.path.join(folder, "truth.json"), "w") as handle:
        truth_of = {"story": scenario.story, "wire": repr(wire), "sysctls": sysctls, "handed_on": handed_on}
        json.dump(truth_of, handle)
        handle.write("\n")
    return scenario.story


# --- Account of frames -------------------------------------------------------------------------------


def name_of(p):
    """Source and destination as the books write them."""
    import socket

    text = (lambda raw: socket.inet_ntop(socket.AF_INET, raw)) if p.v4 else \
        (lambda raw: "[" + socket.inet_ntop(socket.AF_INET6, raw) + "]")
    return f"{text(p.src)}:{p.sport} {text(p.dst)}:{p.dport}"


def tagged(folder, handed_on):
    """The frames of both ends; a fourth member says which packet each is: direction, number, copy."""
    ends = {}
    for end in ("client", "server"):
        _, frames = second_point.read(os.path.join(folder, f"{end}.pcap"))
        count = {}
        for frame in frames:
            p = second_point.Parsed(frame[2])
            name, is_up = name_of(p), p.up
            nth = count.get(name, 0)
            count[name] = nth + 1
            copy = 0
            if is_up == (end == "server"):
                passed = handed_on[name]
                copy = passed[:nth].count(passed[nth]) if len(passed) < 3000 else passed[max(0, nth - 500):nth].count(passed[nth])
                nth = passed[nth]
            frame.append((name, is_up, nth, copy))
        ends[end] = frames
    return ends


def truth(ends, handed_on):
    """Counts per direction that follow from which packets each capture has."""
    seen = {end: {} for end in ends}
    for end, frames in ends.items():
        for frame in frames:
            name, _, nth, copy = frame[3]
            known = seen[end].setdefault(name, ([], set()))
            if (nth, copy) not in known[1]:
                known[0].append((nth, copy))
                known[1].add((nth, copy))
    counts = {}
    for name, passed in handed_on.items():
        is_up = any(frame[3][1] for frame in ends["client"] + ends["server"] if frame[3][0] == name)
        start, end = ("client", "server") if is_up else ("server", "client")
        sent = {nth for nth, _ in seen[start].get(name, ([],))[0]}
        came = seen[end].get(name, ([],))[0]
        first, copies = [], {}
        for nth, _ in came:
            copies[nth] = copies.get(nth, 0) + 1
            if copies[nth] == 1:
                first.append(nth)
        passed = set(passed)
        row = dict.fromkeys(COUNTS, 0)
        row["delivered"] = sum(nth in copies for nth in sent)
        row["lost"] = sum(nth not in passed for nth in sent)
        unseen = sum(nth in passed and nth not in copies for nth in sent)
        unsent = sum(nth not in sent for nth in copies)
        row["missed_at_to" if is_up else "missed_at_from"] = unseen
        row["missed_at_from" if is_up else "missed_at_to"] = unsent
        row["duplicated"] = sum(count - 1 for count in copies.values())
        newest = -1
        for nth in first:
            if nth in sent:
                row["reordered"] += nth < newest
                newest = max(newest, nth)
        counts[name] = row
    return counts


# --- Changes -----------------------------------------------------------------------------------------


def drop(share, burst=1):
    def change(frames, dice):
        left, kept = 0, []
        for frame in frames:
            if not left and dice.random() < share / burst:
                left = burst
            if left:
                left -= 1
            else:
                kept.append(frame)
        frames[:] = kept

    return change


def twice(share):
    def change(frames, dice):
        out = []
        for frame in frames:
            out.append(frame)
            if dice.random() < share:
                out.append([frame[0] + dice.randint(0, 20_000), frame[1], bytearray(frame[2]), frame[3]])
        out.sort(key=lambda frame: frame[0])
        frames[:] = out

    return change


def step(size_ms, at=None):
    def change(frames, dice):
        span = frames[-1][0] - frames[0][0]
        moment = frames[0][0] + span * (at if at is not None else dice.uniform(0.2, 0.8))
        for frame in frames:
            if frame[0] >= moment:
                frame[0] += int(size_ms * 1e6)

    return change


def plain_change(*changes):
    def change(frames, dice):
        for text in changes:
            name, _, value = text.partition("=")
            second_point.change(frames, name, value, {})

    return change


def vlan(frames, dice):
    for frame in frames:
        frame[1] += 4
        frame[2][12:12] = b"\x81\x00\x00\x07"


def all_of(*changes):
    def change(frames, dice):
        for one in changes:
            one(frames, dice)

    return change


NOTHING = all_of()
NAT = plain_change("nat=198.51.100.7")

# What happens to the capture at the client's end and at the server's.
CHANGES = {
    "plain": (NOTHING, NOTHING),
    "offset": (NOTHING, plain_change("offset=-90000")),
    "skew": (NOTHING, plain_change("skew=150")),
    "nat": (NOTHING, NAT),
    "renumber": (NOTHING, plain_change("renumber=7")),
    "nat-renumber": (NAT, plain_change("renumber=7")),
    "step-forward": (NOTHING, step(300)),
    "step-back": (NOTHING, step(-300)),
    "step-small": (step(40), NOTHING),
    "step-back-small": (step(-40), NOTHING),
    "steps-two": (NOTHING, all_of(step(700, 0.3), step(-900, 0.7))),
    "twice-some-client": (twice(0.1), NOTHING),
    "twice-some-server": (NOTHING, twice(0.1)),
    "twice-all": (NOTHING, twice(1.0)),
    "twice-both": (twice(0.5), twice(0.5)),
    "drop-1-client": (drop(0.01), NOTHING),
    "drop-1-server": (NOTHING, drop(0.01)),
    "drop-1-both": (drop(0.01), drop(0.01)),
    "drop-5-client": (drop(0.05), NOTHING),
    "drop-5-server": (NOTHING, drop(0.05)),
    "drop-5-both": (drop(0.05), drop(0.05)),
    "bursts-client": (drop(0.02, 12), NOTHING),
    "bursts-server": (NOTHING, drop(0.02, 12)),
    "snap-96": (plain_change("snap=96"), plain_change("snap=96")),
    "snap-64": (plain_change("snap=64"), plain_change("snap=64")),
    "snap-64-one": (NOTHING, plain_change("snap=64")),
    "snap-64-vlan": (plain_change("snap=64"), all_of(vlan, plain_change("snap=64"))),
    "snap-68": (plain_change("snap=68"), plain_change("snap=68")),
    "snap-54": (plain_change("snap=54"), plain_change("snap=54")),
}


# --- Judging -----------------------------------------------------------------------------------------


def compared(program, files):
    command = [program, "compare", *files, "--format", "json", "--output", "-", "--threads", "1"]
    output = subprocess.run(command, capture_output=True)
    if output.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {output.returncode} {output.stderr.decode()[:300]}")
    return json.loads(output.stdout)


def judged(program, folder, change, keep):
    """Rows `(connection and direction, truth, found or None)`."""
    with open(os.path.join(folder, "truth.json")) as handle:
        handed_on = json.load(handle)["handed_on"]
    ends = tagged(folder, handed_on)
    for end, function in zip(("client", "server"), CHANGES[change]):
        function(ends[end], random.Random(f"{folder} {change} {end}"))
    counts = truth(ends, handed_on)
    files = {}
    with tempfile.TemporaryDirectory() as scratch:
        into = keep or scratch
        for end, frames in ends.items():
            files[end] = os.path.join(into, f"{os.path.basename(folder)}-{change}-{end}.pcap")
            second_point.write(files[end], 1, frames)
        document = compared(program, [f"client={files['client']}", f"server={files['server']}"])
    found = {}
    # By the client's port: addresses may be translated at one end, ports only by a known distance.
    for connection in document["connections"]:
        at = connection["at"].get("server") or {}
        client = at.get("client", "")
        server = at.get("server", "")
        for hop in connection["hops"]:
            for way in ("client_to_server", "server_to_client"):
                found[(way, port(client) or port(server))] = hop[way]
    rows = []
    shift = 1000 if CHANGES[change][1] is NAT else 0
    for name, row in sorted(counts.items()):
        source, destination = name.split()
        up = int(source.rsplit(":", 1)[1]) > int(destination.rsplit(":", 1)[1])
        client = source if up else destination
        way = "client_to_server" if up else "server_to_client"
        moved = 0 if client.startswith("[") else shift
        tally = found.get((way, port(client) + moved))
        # A connection of which one end captured nothing pairs with nothing.
        rows.append((f"{os.path.basename(folder)} {change} {way} {client}", row, tally and {key: tally[key] for key in (*COUNTS, "undecided")}))
    return rows


def port(endpoint):
    return int(endpoint.rsplit(":", 1)[1]) if ":" in endpoint else 0


def judge(arguments):
    folders = sorted(os.path.join(arguments.folder, one) for one in os.listdir(arguments.folder))
    folders = [one for one in folders if os.path.exists(os.path.join(one, "truth.json"))]
    if arguments.keep:
        os.makedirs(arguments.keep, exist_ok=True)
    total = [0, 0, 0]
    for change in CHANGES:
        if arguments.only and arguments.only not in change:
            continue
        with ThreadPoolExecutor(2) as pool:
            rows = sum(pool.map(lambda one: judged(arguments.program, one, change, arguments.keep), folders), [])
        wrong = [row for row in rows if row[2] is None or any(row[1][key] != row[2][key] for key in COUNTS)]
        unpaired = sum(row[2] is None for row in rows)
        open_ones = [row[2]["undecided"] for row in rows if row[2] and row[2]["undecided"]]
        absent = sum(row[1][key] for row in rows for key in ("lost", "missed_at_from", "missed_at_to"))
        total = [total[0] + len(rows), total[1] + len(wrong), total[2] + unpaired]
        print(f"{change:20} {len(rows):5} directions, {100 * (1 - len(wrong) / len(rows)):6.2f} % right,"
              f" {unpaired} of unpaired connections, {len(open_ones)} leave {sum(open_ones)} of {absent} absent packets undecided",
              flush=True)
        if arguments.wrong:
            for name, row, tally in wrong:
                told = "not paired" if tally is None else ", ".join(
                    f"{key} {tally[key]} for {row[key]}" for key in COUNTS if tally[key] != row[key])
                print(f"    {name}: {told}")
    print(f"{'all':20} {total[0]:5} directions, {100 * (1 - total[1] / max(total[0], 1)):6.2f} % right, {total[2]} unpaired")


def to_record(arguments):
    """Name, wire and scenario of each path."""
    if arguments.suite:
        from kernel_suite import SCENARIOS

        for number, scenario in enumerate(SCENARIOS):
            wire = scenario.wire(arguments.seed * 1000 + number)
            wire.trace = True
            yield scenario.name, wire, scenario
        return
    for seed in range(arguments.seed * 1000, arguments.seed * 1000 + arguments.count):
        yield f"path-{seed}", *drawn(random.Random(seed))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["record", "judge"])
    parser.add_argument("folder")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--suite", action="store_true", help="the paths of kernel_suite.py")
    parser.add_argument("--program", default="pcapdoc")
    parser.add_argument("--only", default="")
    parser.add_argument("--keep", help="folder for the changed pairs")
    parser.add_argument("--wrong", action="store_true", help="list what was wrong")
    arguments = parser.parse_args()
    if arguments.action == "judge":
        return judge(arguments)
    for name, wire, scenario in to_record(arguments):
        folder = os.path.join(arguments.folder, name)
        try:
            print(f"{folder}: {record(folder, wire, scenario)}", flush=True)
        except Exception as error:  # the other paths still count
            print(f"{folder}: {error!r}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
