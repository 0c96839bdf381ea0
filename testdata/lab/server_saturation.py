#!/usr/bin/env python3
"""Captures of servers under more and more requests at a time: some that work on one at a time, some on all, some that pause.

    sudo python3 testdata/lab/server_saturation.py OUTPUT_FOLDER [CASE...]

PostgreSQL with a lock that every transaction takes, nginx before a program with two workers, Redis, and a server that is stopped
now and then.
"""
import glob
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time

import actors
from actors import compress, run_cases
from net import SERVER, Net, write_truth
from parts import lab_name

PORT = 8080
MADE = lab_name(__file__)


def postgresql(net):
    """A cluster of its own in the server's namespace; gives its folder."""
    programs = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
    folder = tempfile.mkdtemp(prefix="pd-pg")
    os.chmod(folder, 0o755)
    data = os.path.join(folder, "data")
    os.makedirs(data)
    subprocess.run(["chown", "-R", "postgres", folder], check=True)
    subprocess.run(["su", "postgres", "-c", f"{programs}/initdb -D {data} -A trust --no-sync"], check=True, capture_output=True)
    with open(os.path.join(data, "pg_hba.conf"), "a") as handle:
        handle.write("host all all 10.9.0.0/24 trust\n")
    net.popen("server", "setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups", f"{programs}/postgres", "-D", data,
              "-h", SERVER, "-k", folder, "-c", "fsync=off", "-c", "ssl=off", stderr=subprocess.DEVNULL)
    for _ in range(100):
        time.sleep(0.2)
        if "1" in net.exec("client", "psql", "-h", SERVER, "-U", "postgres", "-Atc", "select 1", "postgres", check=False):
            return folder
    raise RuntimeError("PostgreSQL did not start")


def steps(net, script, levels, each):
    """pgbench with one client more each time."""
    handle, path = tempfile.mkstemp(prefix="pd-script")
    os.write(handle, script.encode())
    os.close(handle)
    for clients in levels:
        net.exec("client", "pgbench", "-n", "-h", SERVER, "-U", "postgres", "-f", path, "-c", str(clients), "-j", "2", "-t", str(each), "postgres")
        time.sleep(0.2)


def write(net, folder, name, story, findings, act, expression, may=()):
    path = os.path.join(folder, "server-saturation", name + ".pcap")
    with net.capture("server", path, expression=expression):
        act()
    write_truth(path, story, MADE, findings, may=list(may), capture_point="server")
    compress(path)


def found(at_least="low", at_most="medium", **figures):
    return [{"rule": "server-saturation", "severity_at_least": at_least, "severity_at_most": at_most, "figures": figures}]


def one_lock(folder):
    script = "select pg_advisory_xact_lock(7), pg_sleep(0.03);\n"
    with Net() as net:
        postgresql(net)
        write(net, folder, "one-lock", "Every transaction takes one lock of PostgreSQL for 30 ms: with 1 to 12 clients, 33 a second and no more.",
              found(answers_per_second=(33, 6)), lambda: steps(net, script, (1, 2, 4, 8, 12), 8), "tcp port 5432", may=["slow-response", "chatty-exchange"])


def not_without_lock(folder):
    script = "select pg_sleep(0.03);\n"
    with Net() as net:
        postgresql(net)
        write(net, folder, "not-without-lock", "PostgreSQL sleeps 30 ms for each query, for as many clients as there are.", [],
              lambda: steps(net, script, (1, 2, 4, 8, 12), 8), "tcp port 5432")


def workers(address, number, work_s):
    """HTTP by so many workers: connections wait in a queue, each request takes its time."""
    waiting = queue.Queue()
    listening = actors.listen(address, PORT)

    def work():
        while True:
            connection = waiting.get()
            with connection:
                if actors.read_head(connection):
                    time.sleep(work_s)
                    connection.sendall(actors.http_ok(b"fine"))

    for _ in range(number):
        threading.Thread(target=work, daemon=True).start()
    while True:
        waiting.put(listening.accept()[0])


def burst(number):
    """So many requests at one moment, each on a connection of its own."""
    def ask(_):
        connection = actors.connect(SERVER, PORT)
        with connection:
            actors.http_get(connection, "/", "shop.example")
            actors.http_response(connection)

    actors.in_threads(ask, range(number))


def bursts(net, sizes, pause=0.2):
    def talk():
        for size in sizes:
            burst(size)
            time.sleep(pause)

    net.call("client", talk)


def two_workers(folder):
    with Net() as net:
        net.spawn("server", workers, SERVER, 2, 0.08)
        write(net, folder, "two-workers", "A server with two workers of 80 ms a request gets 1 to 24 requests at a time: 25 a second and no more.",
              found("medium", answers_per_second=(25, 5)), lambda: bursts(net, (1, 1, 1, 1, 2, 2, 2, 3, 4, 6, 8, 12, 16, 24, 30)), f"tcp port {PORT}",
              may=["slow-response"])


def not_many_workers(folder):
    with Net() as net:
        net.spawn("server", workers, SERVER, 40, 0.08)
        write(net, folder, "not-many-workers", "A server with 40 workers of 80 ms a request gets 1 to 24 requests at a time.", [],
              lambda: bursts(net, (1, 1, 1, 1, 2, 2, 2, 3, 4, 6, 8, 12, 16, 24)), f"tcp port {PORT}")


def not_pauses(folder):
    """The whole server is stopped for a while, four times: requests pile up, and nobody is answered meanwhile."""
    with Net() as net:
        server = net.spawn("server", workers, SERVER, 40, 0.005)

        def ask():
            def one(number):
                time.sleep(number * 0.025)
                burst(1)

            actors.in_threads(one, range(160))

        def act():
            stop = threading.Event()

            def pause():
                for _ in range(4):
                    time.sleep(0.5)
                    os.kill(server.pid, signal.SIGSTOP)
                    time.sleep(0.4)
                    os.kill(server.pid, signal.SIGCONT)
                stop.set()

            pausing = threading.Thread(target=pause)
            pausing.start()
            net.call("client", ask)
            pausing.join()

        write(net, folder, "not-pauses", "A server is stopped for 0.4 s four times while requests come every 25 ms: all wait, none is served.", [], act,
              f"tcp port {PORT}", may=["slow-response"])


if __name__ == "__main__":
    run_cases([one_lock, not_without_lock, two_workers, not_many_workers, not_pauses])
