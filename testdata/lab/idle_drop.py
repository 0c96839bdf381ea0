#!/usr/bin/env python3
"""A device on the path forgets idle connections; peers that vanish; silences that are survived.

    sudo python3 testdata/lab/idle_drop.py OUTPUT_FOLDER

The relay plays the device: it lets connections pass until they were silent for too long and then drops them without a word.
"""
import os
import sys
import time

from net import SERVER, SERVER6, Net, pair
from parts import REQUEST, connect, hello, lab_name, outcome, points, read_response, serve, sleep_until, together, truths
from relay import Way, Wire

MADE = lab_name(__file__)


class Forgetful:
    """Drops every frame of a connection that once was silent for longer than `limit_s`."""

    def __init__(self, limit_s):
        self.limit, self.heard, self.dead = limit_s, {}, set()

    def __call__(self, frame):
        if frame.protocol != "tcp":
            return None
        key = frozenset((frame.source, frame.destination))
        now = time.monotonic()
        if frame.flags & 2 and not frame.flags & 16:
            self.dead.discard(key)
        elif now - self.heard.get(key, now) > self.limit:
            self.dead.add(key)
        self.heard[key] = now
        return "drop" if key in self.dead else None


def keeper(index, address, plans, patience_s):
    """A connection begun after `plans[index][0]` s, with exchanges after each further pause; gives its ends and the last result."""
    start, *pauses = plans[index]
    time.sleep(start)
    connection = connect(address, 8080)
    ends = pair(connection)
    connection.settimeout(patience_s)
    result = "unused"
    for pause in pauses:
        sleep_until(time.monotonic() + pause)
        try:
            connection.sendall(REQUEST % index)
            result = "answered" if read_response(connection) else "end of file"
        except TimeoutError:
            result = "timed out"
        except ConnectionError:
            result = "reset"
        if result != "answered":
            break
    connection.close()
    return outcome(ends, result)


def forgotten(folder):
    """Limit 33 s: silences of 31 s live, silences of 36 s and more die, the server answers others all the time."""
    for case, address, point in (("forgotten", SERVER, "client"), ("forgotten-ipv6", SERVER6, "server")):
        device = Forgetful(33)
        with Net(Wire(Way(delay_ms=6, choose=device), Way(delay_ms=6, choose=device))) as net:
            net.spawn("server", serve, address, 8080, hello)
            plans = [[0, 0, 36], [0, 0, 40], [0, 0, 36.5], [0, 0, 31], [0, 0, 20, 20, 5], [45, 0, 0.1]]
            with points(net, folder, case, point) as paths:
                seen = net.call("client", lambda: together(6, keeper, address, plans, 9))
        lost = [(one.client, one.server) for one in seen if one.result != "answered"]
        assert len(lost) == 3, seen
        # A capture behind the device sees nothing of what the device drops.
        findings = [{"rule": "idle-drop", "occurrences": 3, "connections": lost, "figures": {
            "idle_ms_shortest_dead": (36000, 200), "idle_ms_longest_alive": (31000, 200)}}] if point == "client" else []
        truths(paths, "A device on the path forgets connections that were silent for 33 s; three requests after longer silences vanish.",
               f"{MADE}: relay, 6 ms each way", findings=findings, may=["client-timeout-close"], tcp_connections=6)


def forgotten_soon(folder):
    """Limit 6 s, as of a full table: pools that come back later hang, while connections in use are answered."""
    device = Forgetful(6)
    with Net(Wire(Way(delay_ms=6, choose=device), Way(delay_ms=6, choose=device))) as net:
        net.spawn("server", serve, SERVER, 8080, hello)
        plans = [[0, 0, 8], [0.2, 0, 8], [0.4, 0, 9], [0, 0, 4.5, 4.5], [0.1] + [0.5] * 40]
        with points(net, folder, "forgotten-soon", "client") as paths:
            seen = net.call("client", lambda: together(5, keeper, SERVER, plans, 7))
    lost = [(one.client, one.server) for one in seen if one.result != "answered"]
    assert len(lost) == 3, seen
    findings = [{"rule": "idle-drop", "occurrences": 3, "connections": lost, "figures": {
        "idle_ms_shortest_dead": (8000, 100), "idle_ms_longest_alive": (4500, 100)}}]
    truths(paths, "A device on the path forgets connections that were silent for 6 s; three requests after longer silences vanish.",
           f"{MADE}: relay, 6 ms each way", findings=findings, may=["client-timeout-close"], tcp_connections=5)


def outage(folder):
    """The path stands still for 9 s: connections that were idle and one in use hang alike, and are given up."""
    begin = time.monotonic()

    def stands_still(frame):
        return "drop" if frame.protocol == "tcp" and 8 < time.monotonic() - begin < 17 else None
    with Net(Wire(Way(delay_ms=6, choose=stands_still), Way(delay_ms=6, choose=stands_still))) as net:
        net.spawn("server", serve, SERVER, 8080, hello)
        while time.monotonic() - begin < 4:
            time.sleep(0.01)
        plans = [[0, 0, 5.0], [0.1, 0, 5.0], [0.2] + [0.4] * 12, [14.0, 0, 0.5]]
        with points(net, folder, "outage", "client") as paths:
            seen = net.call("client", lambda: together(4, keeper, SERVER, plans, 4))
    assert [one.result == "answered" for one in seen] == [False, False, False, True], seen
    lost = [(one.client, one.server) for one in seen if one.result != "answered"]
    findings = [{"rule": "connection-died", "severity_at_least": "high", "occurrences": 3, "connections": lost, "figures": {}}]
    truths(paths, "The path stands still for nine seconds; idle connections and one in use hang, and are given up.",
           f"{MADE}: relay, 6 ms each way", findings=findings, may=["client-timeout-close", "retransmit-hol"], tcp_connections=4)


def survived(folder):
    """Silences of up to 40 s on a path that forgets nothing."""
    with Net(Wire(Way(delay_ms=3), Way(delay_ms=3))) as net:
        net.spawn("server", serve, SERVER, 8080, hello)
        with points(net, folder, "survived", "client") as paths:
            seen = net.call("client", lambda: together(4, keeper, SERVER, [[0, 0, 35], [0, 0, 40], [0, 0, 12], [0, 0, 38]], 9))
    assert {one.result for one in seen} == {"answered"}
    truths(paths, "Four connections survive silences of up to 40 s.", MADE, tcp_connections=4)


if __name__ == "__main__":
    target = os.path.join(sys.argv[1], "idle-drop")
    only = sys.argv[2:]
    for scenario in (forgotten, forgotten_soon, outage, survived):
        if not only or scenario.__name__ in only:
            print(scenario.__name__, flush=True)
            scenario(target)
