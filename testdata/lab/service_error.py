#!/usr/bin/env python3
"""Captures of real services that state errors, and of the same services in good order.

    sudo python3 testdata/lab/service_error.py OUTPUT_FOLDER [CASE...]

Kamailio (SIP over TCP) with sipp, PostgreSQL with psql, Redis, memcached and OpenLDAP with their own clients or a socket.
"""
import os
import socket
import subprocess
import tempfile
import time

from actors import compress, run_cases
from net import SERVER, Net, write_truth
from parts import lab_name, wait_for_port
from server_saturation import postgresql

MADE = lab_name(__file__)
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def write(net, folder, name, story, findings, act, expression, may=()):
    path = os.path.join(folder, "service-error", name + ".pcap")
    with net.capture("client", path, expression=expression):
        act()
    write_truth(path, story, MADE, findings, may=list(may), capture_point="client")
    compress(path)


def found(errors, at_least, at_most="medium"):
    return [{"rule": "service-error", "severity_at_least": at_least, "severity_at_most": at_most, "figures": {"errors": (errors, 0)}}]


def kamailio(net, route):
    folder = tempfile.mkdtemp(prefix="pd-sip")
    config = os.path.join(folder, "kamailio.cfg")
    with open(config, "w") as handle:
        handle.write('#!KAMAILIO\nchildren=1\ntcp_children=1\nlog_stderror=yes\nloadmodule "sl.so"\nloadmodule "tm.so"\n'
                     f'loadmodule "pv.so"\nrequest_route {{ {route} }}\n')
    net.popen("server", "kamailio", "-DD", "-E", "-f", config, "-l", f"tcp:{SERVER}:5060", "-Y", folder, "-P", os.path.join(folder, "pid"), **QUIET)
    wait_for_port(net, "server", 5060)


def call(net, calls):
    net.exec("client", "sipp", "-sn", "uac", "-t", "t1", "-m", str(calls), "-r", "2", "-timeout", "15", "-nostdin", f"{SERVER}:5060", check=False)


def sip_over_tcp_unavailable(folder):
    with Net() as net:
        kamailio(net, 'if ($rm == "ACK") exit; sl_send_reply("503", "Service Unavailable");')
        write(net, folder, "sip-over-tcp-unavailable", "Kamailio answers three calls over TCP with 503.", found(3, "medium"), lambda: call(net, 3),
              "tcp port 5060")


def not_sip_over_tcp(folder):
    """A ringing phone and a challenge."""
    with Net() as net:
        kamailio(net, 'if ($rm == "ACK") exit; sl_send_reply("401", "Unauthorized");')
        write(net, folder, "not-sip-over-tcp", "Kamailio challenges three calls over TCP with 401.", [], lambda: call(net, 3), "tcp port 5060")


def query(net, text):
    net.exec("client", "psql", "-h", SERVER, "-U", "postgres", "-Atc", text, "postgres", check=False)


def postgresql_full(folder):
    with Net() as net:
        postgresql(net)
        query(net, "create role shop login connection limit 2")

        def act():
            held = [net.popen("client", "psql", "-h", SERVER, "-U", "shop", "-Atc", "select pg_sleep(4)", "postgres", **QUIET) for _ in range(2)]
            time.sleep(1.5)
            for _ in range(3):
                net.exec("client", "psql", "-h", SERVER, "-U", "shop", "-Atc", "select 1", "postgres", check=False)
            for child in held:
                child.wait()

        write(net, folder, "postgresql-full", "A role may have two connections, which are taken: three more are refused with 53300.", found(3, "medium"), act,
              "tcp port 5432", may=["closed-after-accept", "slow-response"])


def not_postgresql(folder):
    with Net() as net:
        postgresql(net)
        write(net, folder, "not-postgresql", "PostgreSQL answers ten queries.", [], lambda: [query(net, "select now()") for _ in range(10)], "tcp port 5432")


def talk(port, lines):
    """Sends lines one by one and takes what comes back within a moment."""
    with socket.create_connection((SERVER, port)) as connection:
        for line in lines:
            connection.sendall(line)
            time.sleep(0.1)
            connection.recv(65_536)


def redis_out_of_memory(folder):
    with Net() as net:
        net.popen("server", "redis-server", "--bind", SERVER, "--port", "6379", "--save", "", "--protected-mode", "no", "--maxmemory", "2mb", **QUIET)
        wait_for_port(net, "server", 6379)
        value = b"x" * 60_000
        sets = [b"*3\r\n$3\r\nSET\r\n$4\r\nk%03d\r\n$%d\r\n%s\r\n" % (number, len(value), value) for number in range(24)]

        def act():
            net.call("client", talk, 6379, sets)

        write(net, folder, "redis-out-of-memory", "Redis may use 2 MB and evicts nothing: from some key on SET is answered with OOM.",
              [{"rule": "service-error", "severity_at_least": "medium", "severity_at_most": "medium"}], act, "tcp port 6379")


def memcached_too_large(folder):
    with Net() as net:
        net.popen("server", "memcached", "-u", "root", "-l", SERVER, "-p", "11211", "-I", "16k", "-o", "slab_chunk_max=8192", **QUIET)
        wait_for_port(net, "server", 11211)
        sets = [b"set a 0 0 5\r\nhello\r\n", b"set b 0 0 30000\r\n" + b"y" * 30_000 + b"\r\n", b"get a\r\n"]
        write(net, folder, "memcached-too-large", "memcached takes items of 16 kB at most: a larger one is answered with SERVER_ERROR.", found(1, "low"),
              lambda: net.call("client", talk, 11211, sets), "tcp port 11211")


def not_memcached(folder):
    with Net() as net:
        net.popen("server", "memcached", "-u", "root", "-l", SERVER, "-p", "11211", **QUIET)
        wait_for_port(net, "server", 11211)
        sets = [b"set a 0 0 5\r\nhello\r\n", b"get a\r\n", b"get missing\r\n", b"delete missing\r\n"]
        write(net, folder, "not-memcached", "memcached stores, finds and misses.", [], lambda: net.call("client", talk, 11211, sets), "tcp port 11211")


def directory(net):
    folder = tempfile.mkdtemp(prefix="pd-ldap")
    os.makedirs(os.path.join(folder, "data"))
    config = os.path.join(folder, "slapd.conf")
    with open(config, "w") as handle:
        handle.write("include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_ldif\n"
                     f"pidfile {folder}/pid\ndatabase ldif\nsuffix dc=lab\nrootdn cn=admin,dc=lab\nrootpw right\ndirectory {folder}/data\n")
    net.popen("server", "slapd", "-f", config, "-h", f"ldap://{SERVER}:389/", "-d", "0", **QUIET)
    wait_for_port(net, "server", 389)


def bind(net, password, times):
    for _ in range(times):
        net.exec("client", "ldapwhoami", "-x", "-H", f"ldap://{SERVER}", "-D", "cn=admin,dc=lab", "-w", password, check=False)


def ldap_wrong_password(folder):
    with Net() as net:
        directory(net)
        write(net, folder, "ldap-wrong-password", "OpenLDAP refuses four binds with a wrong password.", found(4, "low"), lambda: bind(net, "wrong", 4),
              "tcp port 389")


def not_ldap(folder):
    with Net() as net:
        directory(net)

        def act():
            bind(net, "right", 3)
            net.exec("client", "ldapsearch", "-x", "-H", f"ldap://{SERVER}", "-b", "cn=nobody,dc=lab", check=False)

        write(net, folder, "not-ldap", "OpenLDAP accepts three binds; a search finds no such entry.", [], act, "tcp port 389")


if __name__ == "__main__":
    run_cases([sip_over_tcp_unavailable, not_sip_over_tcp, postgresql_full, not_postgresql, redis_out_of_memory, memcached_too_large, not_memcached,
               ldap_wrong_password, not_ldap])
