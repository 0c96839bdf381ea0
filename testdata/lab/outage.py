#!/usr/bin/env python3
"""A path or a host that dies under connections in use, for good, in one direction, for some of them, or for a while.

    sudo python3 testdata/lab/outage.py OUTPUT_FOLDER [CASE...]

Makes captures of packet-loss, and one look-alike of listen-overflow: SYNs that nobody answers because the path is down.
"""
import os
import sys
import time

from actors import compress
from net import SERVER, SERVER6, Net, pair
from parts import REQUEST, connect, hello, lab_name, outcome, points, read_response, serve, together, truths
from relay import Way, Wire

MADE = f"{lab_name(__file__)}: relay, 6 ms each way"


def user(index, address, until_s, patience_s, again):
    """Asks every few tenths of a second until `until_s`, in one connection or, when that fails, `again` in new ones; gives what became of each."""
    end, seen = time.monotonic() + until_s, []
    while time.monotonic() < end:
        ends, result = None, "answered"
        try:
            connection = connect(address, 8080)
            ends = pair(connection)
            connection.settimeout(patience_s)
            while time.monotonic() < end and result == "answered":
                connection.sendall(REQUEST % index)
                result = "answered" if read_response(connection) else "end of file"
                time.sleep(0.3 + 0.05 * index)
        except TimeoutError:
            result = "timed out"
        if ends:
            connection.close()
            seen.append(outcome(ends, result))
        if not again:
            break
    return seen


def users(folder, kind, name, is_lost, sides=("client",), address=SERVER, number=5, until_s=14, patience_s=5, again=False, linger_s=4):
    """Records users while the relay drops what `is_lost(seconds, direction, frame)`; gives the paths and what became of their connections."""
    begin = time.monotonic()

    def choose(direction):
        return lambda frame: "drop" if frame.protocol == "tcp" and is_lost(time.monotonic() - begin, direction, frame) else None

    with Net(Wire(up=Way(delay_ms=6, choose=choose("up")), down=Way(delay_ms=6, choose=choose("down")))) as net:
        net.spawn("server", serve, address, 8080, hello)
        while time.monotonic() - begin < 1.5:
            time.sleep(0.01)
        with points(net, os.path.join(folder, kind), name, *sides) as paths:
            seen = net.call("client", lambda: together(number, user, address, until_s, patience_s, again))
            time.sleep(linger_s)
    return paths, [one for connections in seen for one in connections]


def died(seen, number, severity):
    lost = [(one.client, one.server) for one in seen if one.result != "answered"]
    assert len(lost) == number, seen
    return [{"rule": "connection-died", "severity_at_least": severity, "occurrences": number, "connections": lost, "figures": {}}]


def tell(paths, story, **expectation):
    truths(paths, story, MADE, **expectation)
    for path in paths.values():
        compress(path)


def dies(folder):
    paths, seen = users(folder, "packet-loss", "path-dies", lambda seconds, *_: seconds > 4)
    tell(paths, "The path dies under five connections in use; their clients give up after five seconds.", findings=died(seen, 5, "high"), tcp_connections=5)


def dies_one_way(folder):
    paths, seen = users(folder, "packet-loss", "path-dies-one-way-ipv6", lambda seconds, direction, _: direction == "down" and seconds > 4,
                        sides=("client", "server"), address=SERVER6, number=3)
    tell(paths, "What the server sends arrives no more; its clients' requests do.", findings=died(seen, 3, "high"),
           may=["spurious-retransmission"], tcp_connections=3)


def dies_for_some(folder):
    """One of two equal paths dies: it takes a part of the connections, by their ports."""
    def port(text):
        return int(text.rsplit(":", 1)[1])

    def is_lost(seconds, direction, frame):
        return seconds > 4 and port(frame.source if direction == "up" else frame.destination) % 4 == 0
    paths, seen = users(folder, "packet-loss", "path-dies-for-some", is_lost, number=8)
    lost = [one for one in seen if one.result != "answered"]
    assert 0 < len(lost) < 8, seen
    tell(paths, "Some of eight connections in use die, the others are answered all the time.", findings=died(seen, len(lost), "low"), tcp_connections=8)


def host_dies_alone(folder):
    paths, seen = users(folder, "packet-loss", "peer-vanishes", lambda seconds, *_: seconds > 4, number=1, patience_s=8)
    tell(paths, "The only connection dies in use.", findings=died(seen, 1, "medium"), tcp_connections=1)


def back_soon(folder):
    """The clients give up after three seconds and connect anew, in vain until the path is back: their SYNs are no sign of a full queue."""
    paths, seen = users(folder, "listen-overflow", "not-path-down", lambda seconds, *_: 4 < seconds < 13, until_s=16, patience_s=3, again=True, linger_s=1)
    assert any(one.result != "answered" for one in seen), seen
    tell(paths, "The path is down for nine seconds; clients give up and connect anew until it is back.",
           may=["packet-loss", "connection-died", "syn-unanswered"], tcp_connections=len(seen))


def interrupted(folder):
    """The path is down for three seconds and comes back; nobody gives up."""
    paths, seen = users(folder, "path-outage", "interrupted", lambda seconds, *_: 4 < seconds < 7, until_s=14, patience_s=20, linger_s=1)
    assert all(one.result == "answered" for one in seen), seen
    tell(paths, "The path is down for three seconds under five connections in use, which all go on.",
         findings=[{"rule": "path-outage", "severity_at_least": "medium", "occurrences": 5,
                    "connections": [(one.client, one.server) for one in seen], "figures": {}}],
         may=["packet-loss", "retransmit-hol", "slow-response", "timeout-recovery"], tcp_connections=5)


def interrupted_ipv6(folder):
    """The same over IPv6, for longer."""
    paths, seen = users(folder, "path-outage", "interrupted-ipv6", lambda seconds, *_: 4 < seconds < 8, address=SERVER6, until_s=16,
                        patience_s=20, linger_s=1, number=4)
    assert all(one.result == "answered" for one in seen), seen
    tell(paths, "The path is down for four seconds under four connections in use, which all go on.",
         findings=[{"rule": "path-outage", "severity_at_least": "medium", "occurrences": 4,
                    "connections": [(one.client, one.server) for one in seen], "figures": {}}],
         may=["packet-loss", "retransmit-hol", "slow-response", "timeout-recovery", "spurious-retransmission"], tcp_connections=4)


def blinks(folder):
    """Shorter than anybody's timer."""
    paths, seen = users(folder, "path-outage", "not-a-blink", lambda seconds, *_: 4 < seconds < 4.15, until_s=9, patience_s=20, linger_s=1)
    assert all(one.result == "answered" for one in seen), seen
    tell(paths, "The path is down for 150 ms.", may=["packet-loss", "retransmit-hol", "slow-response", "timeout-recovery"], tcp_connections=5)


def interrupted_for_some(folder):
    """One of two equal paths is down for three seconds; it takes a part of the connections, by their ports."""
    def port(text):
        return int(text.rsplit(":", 1)[1])

    def is_lost(seconds, direction, frame):
        return 4 < seconds < 7 and port(frame.source if direction == "up" else frame.destination) % 4 == 0
    paths, seen = users(folder, "path-outage", "not-for-all", is_lost, number=8, until_s=14, patience_s=20, linger_s=1)
    assert all(one.result == "answered" for one in seen), seen
    tell(paths, "Some of eight connections are interrupted for three seconds, the others are answered all the time.",
         may=["packet-loss", "retransmit-hol", "slow-response", "timeout-recovery"], tcp_connections=8)


if __name__ == "__main__":
    only = sys.argv[2:]
    for scenario in (dies, dies_one_way, dies_for_some, host_dies_alone, back_soon, interrupted, interrupted_ipv6, blinks, interrupted_for_some):
        if not only or scenario.__name__ in only:
            print(scenario.__name__, flush=True)
            scenario(sys.argv[1])
