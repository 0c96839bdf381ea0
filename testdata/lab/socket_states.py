#!/usr/bin/env python3
"""Openings and closings of every kind, with what `ss` said of both ends' sockets meanwhile.

    sudo python3 testdata/lab/socket_states.py OUTPUT_FOLDER [CASE...]

The path is slow (450 ms one way), so that each state lasts. The truth lists samples: when, and the state of each end
(`-` when there is no such socket). The capture is at the client.
"""
import os
import socket
import threading
import time

from actors import compress, run_cases
from net import CLIENT, SERVER, Net, write_truth
from relay import Way, Wire

CLIENT_PORT, PORT, ONE_WAY_MS = 40001, 9000, 450
NAMES = {"ESTAB": "ESTABLISHED", "SYN-RECV": "SYN-RECEIVED"}


def state_of(net, side):
    rows = [line.split()[0] for line in net.exec(side, "ss", "-tanH").splitlines() if f":{CLIENT_PORT}" in line and "LISTEN" not in line]
    return NAMES.get(rows[0], rows[0]) if rows else "-"


def sample(net, delays):
    """States at these times after now, in seconds; each is asked before and after, and kept when it stood still."""
    start, rows = time.monotonic(), []
    for delay in delays:
        time.sleep(max(0.0, start + delay - time.monotonic()))
        before = [state_of(net, side) for side in ("client", "server")]
        when = time.time()
        if before == [state_of(net, side) for side in ("client", "server")]:
            rows.append({"time": when, "client": before[0], "server": before[1]})
    return rows


def at(when):
    time.sleep(max(0.0, when - time.time()))


def end(address, port):
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind((address, port))
    return one


def case(folder, name, story, client, server, delays, **facts):
    """Runs `client(begin)` and `server(begin)`, both told when to begin, and samples from then on."""
    path = os.path.join(folder, "socket-states", name + ".pcap")
    wire = Wire(up=Way(delay_ms=ONE_WAY_MS), down=Way(delay_ms=ONE_WAY_MS))
    with Net(wire, sysctls={"net.ipv4.tcp_syn_retries": 3}) as net:
        with net.capture("client", path, expression="tcp"):
            begin = time.time() + 1.0
            net.spawn("server", server, begin, settle=0)
            net.spawn("client", client, begin, settle=0)
            at(begin)
            states = sample(net, delays)
    write_truth(path, story, "testdata/lab/socket_states.py", states=states, capture_point="client", **facts)
    compress(path)
    print(name, [(round(row["time"] - begin, 2), row["client"], row["server"]) for row in states], flush=True)


def open_both(own, peer, then):
    def run(begin):
        one = end(*own)
        at(begin)
        one.connect(peer)
        then(one, begin)

    return run


def simultaneous(folder):
    """Both ends connect to each other at once, and close at once."""
    ends = (CLIENT, CLIENT_PORT), (SERVER, PORT)

    def close(one, begin):
        at(begin + 2)
        one.close()
        time.sleep(9)

    case(folder, "simultaneous", "Both ends connect at once and close at once.", open_both(*ends, close), open_both(*ends[::-1], close),
         (0.2, 0.6, 1.3, 2.15, 2.6, 3.4))


def accepting(talk):
    def run(begin):
        listener = end(SERVER, PORT)
        listener.listen()
        connection, _ = listener.accept()
        talk(connection, begin)

    return run


def half_close(folder):
    def client(one, begin):
        one.sendall(b"all I have to say")
        one.shutdown(socket.SHUT_WR)
        while one.recv(1000):
            pass
        one.close()
        time.sleep(9)

    def server(connection, begin):
        connection.recv(1000)
        for number in range(4):
            at(begin + 2 + number / 2)
            connection.sendall(b"more and more")
        at(begin + 5)
        connection.close()
        time.sleep(9)

    case(folder, "half-close", "The client closes its side and reads on for seconds.", open_both((CLIENT, CLIENT_PORT), (SERVER, PORT), client),
         accepting(server), (0.2, 1.05, 2.2, 3.2, 5.15, 6.6))


def orphan(folder):
    """The client closes and is gone, the server never closes; in the end it writes and is told."""
    def client(one, begin):
        at(begin + 1.2)
        one.close()
        time.sleep(9)

    def server(connection, begin):
        at(begin + 4)
        connection.sendall(b"anybody there?")
        time.sleep(9)

    case(folder, "orphan", "The client's socket is an orphan in FIN-WAIT-2; data that comes later meets a RST.",
         open_both((CLIENT, CLIENT_PORT), (SERVER, PORT), client), accepting(server), (0.2, 1.3, 2.6, 3.5, 5.5),
         may=["client-timeout-close"])


def last_ack(folder):
    """The server closes as soon as it has heard the client's FIN."""
    def client(one, begin):
        at(begin + 1.2)
        one.shutdown(socket.SHUT_WR)
        time.sleep(9)

    def server(connection, begin):
        connection.recv(10)
        connection.close()
        time.sleep(9)

    case(folder, "last-ack", "The server answers a FIN with its own.", open_both((CLIENT, CLIENT_PORT), (SERVER, PORT), client), accepting(server),
         (0.2, 1.3, 1.8, 3.0))


if __name__ == "__main__":
    run_cases([simultaneous, half_close, orphan, last_ack])
