#!/usr/bin/env python3
"""Captures of datagram services that leave requests without answer, and of those that answer or need not.

    sudo python3 testdata/lab/udp_unanswered.py OUTPUT_FOLDER [CASE...]

Servers are FreeRADIUS, chronyd and net-snmp's agent with their own clients. What needs a client that the lab
has not (DHCP, IKE, QUIC) is written packet by packet by udp_unanswered_packets.py.
"""
import os
import socket
import subprocess
import tempfile
import time

from actors import run_cases
from net import CLIENT, SERVER, Net, write_truth
from parts import lab_name, nginx

MADE = lab_name(__file__)
SECRET = "testing123"


def folder_with(name, text):
    folder = tempfile.mkdtemp(prefix="pd-udp")
    os.chmod(folder, 0o755)
    path = os.path.join(folder, name)
    with open(path, "w") as handle:
        handle.write(text)
    return path


def radius_server(net, client):
    """FreeRADIUS that knows one client address."""
    web_server(net)
    config = folder_with("radiusd.conf", f"""
name = radiusd
prefix = /usr
logdir = /tmp
libdir = /usr/lib/freeradius
security {{ allow_core_dumps = no }}
client lab {{
 ipaddr = {client}
 secret = {SECRET}
}}
modules {{
}}
server default {{
 listen {{
  type = auth
  ipaddr = {SERVER}
  port = 1812
 }}
 authorize {{
  update control {{
   Auth-Type := Accept
  }}
 }}
}}
""")
    net.popen("server", "freeradius", "-f", "-l", "/dev/null", "-d", os.path.dirname(config), "-n", "radiusd",
              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(2)


def web_server(net):
    """What the client hears beside: the capture shows what reaches it."""
    nginx(net, "server", "server { listen 80; return 200 fine; }", 80)


def look(net):
    net.exec("client", "curl", "-s", f"http://{SERVER}/", check=False)


def log_in(net, tries):
    request = folder_with("request", "User-Name = alice\nUser-Password = secret\n")
    for _ in range(tries):
        net.exec("client", "radclient", "-r", "3", "-t", "2", "-f", request, f"{SERVER}:1812", "auth", SECRET, check=False)
        look(net)


def run(folder, name, story, findings, actions, expression="udp or tcp or icmp", may=()):
    path = os.path.join(folder, "udp-unanswered", name + ".pcap")
    with Net() as net:
        prepare, act = actions
        prepare(net)
        with net.capture("client", path, expression=expression):
            act(net)
    write_truth(path, story, MADE, findings, may=list(may), capture_point="client")


def found(requests, tolerance=0, at_least="low", at_most="medium"):
    return [{"rule": "udp-unanswered", "severity_at_least": at_least, "severity_at_most": at_most,
             "figures": {"requests": (requests, tolerance)}}]


def radius_unknown_client(folder):
    run(folder, "radius-unknown-client", "FreeRADIUS does not know the client and drops its three log-ins of three requests each without a word.",
        found(9, at_least="medium"), (lambda net: radius_server(net, "10.9.0.77"), lambda net: log_in(net, 3)))


def not_radius(folder):
    run(folder, "not-radius", "FreeRADIUS accepts six log-ins.", [],
        (lambda net: radius_server(net, CLIENT), lambda net: log_in(net, 6)))


def chrony(net, side, text):
    path = folder_with("chrony.conf", text)
    net.popen(side, "chronyd", "-x", "-d", "-f", path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def time_server(net, allow):
    web_server(net)
    state = tempfile.mkdtemp(prefix="pd-chrony")
    chrony(net, "server", f"local stratum 5\n{allow}\npidfile {state}/s.pid\nbindcmdaddress /\ncmdport 0\n")
    time.sleep(1)


def synchronise(net):
    state = tempfile.mkdtemp(prefix="pd-chrony")
    chrony(net, "client", f"server {SERVER} iburst minpoll 1 maxpoll 2\npidfile {state}/c.pid\nbindcmdaddress /\ncmdport 0\n")
    for _ in range(9):
        time.sleep(2)
        look(net)


def ntp_not_allowed(folder):
    run(folder, "ntp-not-allowed", "chronyd has no allow directive: it ignores the polls of this client, whose web requests the host answers.",
        found(7, 4, at_most="low"), (lambda net: time_server(net, ""), synchronise))


def not_ntp(folder):
    run(folder, "not-ntp", "chronyd answers the polls of its client.", [], (lambda net: time_server(net, "allow 10.9.0.0/24"), synchronise))


def agent(net):
    web_server(net)
    path = folder_with("snmpd.conf", f"agentAddress udp:{SERVER}:161\nrocommunity right\n")
    net.popen("server", "snmpd", "-f", "-C", "-c", path, "-Lf", "/dev/null", "-p", os.path.join(os.path.dirname(path), "pid"))
    time.sleep(2)


def ask_agent(net, community, times):
    for _ in range(times):
        net.exec("client", "snmpget", "-v2c", "-c", community, "-r", "3", "-t", "1", SERVER, "1.3.6.1.2.1.1.3.0", check=False)
        look(net)


def snmp_wrong_community(folder):
    run(folder, "snmp-wrong-community", "net-snmp's agent does not know the community and drops two queries of four requests each.",
        found(8, at_most="low"), (agent, lambda net: ask_agent(net, "wrong", 2)))


def not_snmp(folder):
    def act(net):
        ask_agent(net, "right", 5)
        # A host that is not there; its hardware address is known, so nothing says so.
        mac = net.exec("server", "cat", "/sys/class/net/eth0/address").strip()
        net.ip("client", "neigh", "add", "10.9.0.78", "lladdr", mac, "dev", "eth0")
        for _ in range(5):
            net.exec("client", "snmptrap", "-v2c", "-c", "public", "10.9.0.78", "", "1.3.6.1.6.3.1.1.5.3", check=False)
            time.sleep(0.5)

    run(folder, "not-snmp", "The agent answers; traps go to a host that is not there, and need no answer.", [], (agent, act))


def late_server(net):
    """Answers the third copy of each RADIUS request only, as a server whose directory is slow."""
    web_server(net)

    def serve():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((SERVER, 1812))
        copies = {}
        while True:
            data, peer = sock.recvfrom(4096)
            copies[data[:20]] = copies.get(data[:20], 0) + 1
            if copies[data[:20]] == 3:
                sock.sendto(bytes([2, data[1], 0, 20]) + bytes(16), peer)

    net.spawn("server", serve)


def not_radius_late(folder):
    run(folder, "not-radius-late", "The server answers the third copy of each request: slow, and not silent.", [],
        (late_server, lambda net: log_in(net, 2)))


if __name__ == "__main__":
    run_cases([radius_unknown_client, not_radius, ntp_not_allowed, not_ntp, snmp_wrong_community, not_snmp, not_radius_late])
