#!/usr/bin/env python3
"""Captures of mail, file, routing, address and RPC servers that state errors, and of the same ones in good order.

    sudo python3 testdata/lab/service_error_hosts.py OUTPUT_FOLDER [CASE...]

Postfix and vsftpd with Python's clients, BIRD at both ends, dnsmasq with dhclient, gRPC's own server and client
(Debian's python3-grpcio), FreeRADIUS with radclient, Kamailio with sipp over UDP.
"""
import contextlib
import ftplib
import os
import shutil
import signal
import smtplib
import socket
import subprocess
import tempfile
import time

import service_error
from actors import run_cases
from net import CLIENT, SERVER, Net
from parts import lab_name, wait_for_port
from service_error import QUIET, found
from udp_unanswered import SECRET, folder_with

service_error.MADE = lab_name(__file__)
write = service_error.write


# --- Postfix ---------------------------------------------------------------------------------

def postfix(net, settings):
    """Takes mail for `lab.example` and keeps it in its queue."""
    folder = tempfile.mkdtemp(prefix="pd-postfix")
    os.chmod(folder, 0o755)
    config, queue, data = (os.path.join(folder, name) for name in ("config", "queue", "data"))
    for path in (config, queue, data):
        os.mkdir(path)
    shutil.chown(data, "postfix")
    shutil.copy("/etc/postfix/postfix-files", config)
    with open(os.path.join(config, "master.cf"), "w") as handle:
        # Not jailed: the folder holds no libraries.
        source = open("/usr/share/postfix/master.cf.dist").read()
        for line in source.splitlines():
            words = line.split()
            if len(words) >= 8 and line[0] not in "# ":
                words[4] = "n"
                line = " ".join([*words[:7], " ".join(words[7:])])
            handle.write(line + "\n")
    with open(os.path.join(config, "main.cf"), "w") as handle:
        handle.write("compatibility_level = 3.6\nmyhostname = mail.lab.example\nmydestination = lab.example\nalias_maps =\nalias_database =\n"
                     f"queue_directory = {queue}\ndata_directory = {data}\ninet_interfaces = {SERVER}\nmynetworks = 127.0.0.0/8\n"
                     "local_recipient_maps =\ndefer_transports = local\nsmtp_dns_support_level = disabled\nsmtpd_error_sleep_time = 0\n"
                     f"maillog_file = {folder}/log\nmaillog_file_prefixes = /tmp\n{settings}\n")
    net.exec("server", "postfix", "-c", config, "start")
    wait_for_port(net, "server", 25)
    return config


@contextlib.contextmanager
def mail_server(settings=""):
    with Net() as net:
        config = postfix(net, settings)
        try:
            yield net
        finally:
            net.exec("server", "postfix", "-c", config, "stop", check=False)


def send(recipients, body="Hello\n", sender="shop@client.example"):
    with contextlib.suppress(smtplib.SMTPException, OSError):
        with smtplib.SMTP(SERVER, 25, local_hostname="client.example", timeout=10) as session:
            session.sendmail(sender, recipients, f"Subject: order\n\n{body}")


def postfix_no_relay(folder):
    with mail_server("smtpd_relay_restrictions = reject_unauth_destination") as net:
        write(net, folder, "postfix-no-relay", "Postfix is no relay for three messages to another domain: 554.", found(3, "low"),
              lambda: [net.call("client", send, ["someone@elsewhere.example"]) for _ in range(3)], "tcp port 25")


def postfix_full(folder):
    """Two sessions of a client at once, as its limit for clients other than its own networks."""
    settings = "smtpd_client_connection_count_limit = 2\nsmtpd_client_event_limit_exceptions ="
    with mail_server(settings) as net:
        def client():
            held = [smtplib.SMTP(SERVER, 25, local_hostname="client.example") for _ in range(2)]
            for session in held:
                session.ehlo()
            for _ in range(3):
                send(["a@lab.example"])
            for session in held:
                session.quit()

        write(net, folder, "postfix-full", "Postfix serves two sessions of a client at once: three more are refused with 421.", found(3, "medium"),
              lambda: net.call("client", client), "tcp port 25", may=["closed-after-accept"])


def postfix_defers(folder):
    """Its queue has no room for the message, and a recipient is to come again later (as grey lists do)."""
    settings = "smtpd_recipient_restrictions = check_recipient_access inline:{{ later@lab.example = 450 4.2.0 Come again later }}, permit"
    with mail_server(settings) as net:
        write(net, folder, "postfix-defers", "Postfix defers two messages to one recipient with 450, as grey lists do.", found(2, "low"),
              lambda: [net.call("client", send, ["later@lab.example"]) for _ in range(2)], "tcp port 25")


def postfix_no_room(folder):
    with mail_server("queue_minfree = 9000000000000000\nmessage_size_limit = 1000000") as net:
        write(net, folder, "postfix-no-room", "Postfix has no room for three messages: 452.", found(3, "medium"),
              lambda: [net.call("client", send, ["a@lab.example"]) for _ in range(3)], "tcp port 25")


def not_postfix(folder):
    """The body of a message reads like replies."""
    with mail_server() as net:
        def client():
            send(["a@lab.example", "b@lab.example"], "421 4.7.0 too many connections\n554 no\n" * 20)
            with smtplib.SMTP(SERVER, 25, local_hostname="client.example") as session:
                session.ehlo()
                session.vrfy("a@lab.example")
                session.noop()
                session.rset()

        write(net, folder, "not-postfix", "Postfix takes a message about errors.", [], lambda: net.call("client", client), "tcp port 25")


# --- vsftpd ----------------------------------------------------------------------------------

def vsftpd(net, settings=""):
    folder = tempfile.mkdtemp(prefix="pd-ftp")
    os.chmod(folder, 0o755)
    root = os.path.join(folder, "root")
    os.mkdir(root)
    os.chmod(root, 0o755)
    with open(os.path.join(root, "list.txt"), "w") as handle:
        handle.write("550 Failed to open file.\r\n421 There are too many connected users.\r\n" * 30)
    path = os.path.join(folder, "vsftpd.conf")
    with open(path, "w") as handle:
        handle.write(f"listen=YES\nlisten_address={SERVER}\nanonymous_enable=YES\nlocal_enable=NO\nanon_root={root}\nno_anon_password=YES\n"
                     f"background=NO\nseccomp_sandbox=NO\nvsftpd_log_file={folder}/log\n{settings}\n")
    net.popen("server", "vsftpd", path, **QUIET)
    wait_for_port(net, "server", 21)


def ftp(user="anonymous", names=()):
    with contextlib.suppress(ftplib.Error):
        with ftplib.FTP(SERVER, timeout=10) as session:
            session.login(user, "me@client.example")
            for name in names:
                with contextlib.suppress(ftplib.Error):
                    session.retrbinary(f"RETR {name}", lambda _: None)


def vsftpd_full(folder):
    with Net() as net:
        vsftpd(net, "max_clients=2")

        def client():
            held = [ftplib.FTP(SERVER) for _ in range(2)]
            for session in held:
                session.login()
            for _ in range(3):
                with contextlib.suppress(ftplib.Error, EOFError):
                    ftp()
            for session in held:
                session.quit()

        write(net, folder, "vsftpd-full", "vsftpd serves two clients: three more are refused with 421.", found(3, "medium"),
              lambda: net.call("client", client), "tcp", may=["closed-after-accept"])


def vsftpd_log_in_refused(folder):
    with Net() as net:
        vsftpd(net)
        write(net, folder, "vsftpd-log-in-refused", "vsftpd serves anonymous users only: three log-ins of another are refused with 530.",
              found(3, "low"), lambda: [net.call("client", ftp, "shop") for _ in range(3)], "tcp")


def vsftpd_no_such_file(folder):
    with Net() as net:
        vsftpd(net)
        write(net, folder, "vsftpd-no-such-file", "A client asks vsftpd for two files that are not there: 550.", found(2, "low", "low"),
              lambda: net.call("client", ftp, "anonymous", ["a.txt", "b.txt"]), "tcp")


def not_vsftpd(folder):
    """The file's lines read like replies, on the connection for data."""
    with Net() as net:
        vsftpd(net)
        write(net, folder, "not-vsftpd", "A client takes a file of errors from vsftpd.", [],
              lambda: net.call("client", ftp, "anonymous", ["list.txt", "list.txt"]), "tcp")


# --- BIRD ------------------------------------------------------------------------------------

class Bird:
    """A router with one neighbour."""

    def __init__(self, net, side, system, neighbour_system, more=""):
        here, there = (CLIENT, SERVER) if side == "client" else (SERVER, CLIENT)
        folder = tempfile.mkdtemp(prefix="pd-bird")
        self.net, self.side, self.socket = net, side, os.path.join(folder, "ctl")
        path = os.path.join(folder, "bird.conf")
        with open(path, "w") as handle:
            handle.write(f"router id {here};\nprotocol device {{}}\nprotocol static {{ ipv4; route 198.51.{system % 100}.0/24 blackhole;\n"
                         f"route 203.0.{system % 100}.0/24 blackhole; }}\n"
                         f"protocol bgp peer {{ local {here} as {system}; neighbor {there} as {neighbour_system}; hold time 6; keepalive time 2;\n"
                         f"connect delay time 1; connect retry time 2; error wait time 2, 4;\n"
                         f"ipv4 {{ import all; export all; {more} }}; }}\n")
        self.child = net.popen(side, "bird", "-f", "-c", path, "-s", self.socket, "-P", os.path.join(folder, "pid"), **QUIET)

    def control(self, *words):
        self.net.exec(self.side, "birdc", "-s", self.socket, *words)


def routers(folder, name, story, findings, act, systems=(64501, 64502, 64502), more="", may=()):
    """`systems`: of the client, of the server, and whom the client takes the server for."""
    with Net() as net:
        def run():
            server = Bird(net, "server", systems[1], systems[0])
            client = Bird(net, "client", systems[0], systems[2], more)
            time.sleep(4)
            act(client, server)

        write(net, folder, name, story, findings, run, "tcp port 179 or icmp", may=may)


def bgp_hold_timer(folder):
    """A stopped process: its kernel still acknowledges."""
    def act(_client, server):
        os.kill(server.child.pid, signal.SIGSTOP)
        time.sleep(9)

    routers(folder, "bgp-hold-timer", "A BIRD process stands still: its neighbour hears nothing for the hold time of six seconds and ends the session.",
            [{"rule": "service-error", "severity_at_least": "medium", "severity_at_most": "medium"}], act)


def bgp_bad_peer_as(folder):
    routers(folder, "bgp-bad-peer-as", "One BIRD expects AS 64503 of its neighbour, which is AS 64502: each session ends with Bad Peer AS.",
            [{"rule": "service-error", "severity_at_least": "low", "severity_at_most": "medium"}], lambda *_: time.sleep(8),
            systems=(64501, 64502, 64503))


def bgp_many_routes(folder):
    """The neighbour announces two routes where one is allowed."""
    routers(folder, "bgp-many-routes", "BIRD takes one route of its neighbour and gets two: it ends the session with Cease, Maximum Number of Prefixes.",
            [{"rule": "service-error", "severity_at_least": "low", "severity_at_most": "medium"}], lambda *_: time.sleep(2),
            more="import limit 1 action disable;", may=["connection-refused"])


def bgp_shut_down(folder):
    def act(client, _server):
        client.control("disable", "peer")
        time.sleep(1)

    routers(folder, "bgp-shut-down", "An operator disables a session: Cease, Administrative Shutdown.",
            [{"rule": "service-error", "severity_at_least": "low", "severity_at_most": "low"}], act, may=["connection-refused"])


def not_bgp(folder):
    """Routes are withdrawn and announced again by a refresh."""
    def act(client, _server):
        time.sleep(6)
        client.control("reload", "in", "peer")
        time.sleep(4)

    routers(folder, "not-bgp", "Two BIRDs exchange routes and keepalives, and one asks for all of them again.", [], act)


# --- dnsmasq and dhclient --------------------------------------------------------------------

def dnsmasq(net, pool):
    leases = folder_with("leases", "")
    net.popen("server", "dnsmasq", "-k", "-u", "root", "-p", "0", "-C", "/dev/null", "-i", "eth0", "--dhcp-authoritative", f"--dhcp-range={pool},120",
              f"--dhcp-leasefile={leases}", "--no-ping", "-x", leases + ".pid", **QUIET)
    time.sleep(1)


def dhclient(net, link, lease="", seconds=12):
    """A client with its own folder, and with a lease of an earlier network where one is given."""
    leases = folder_with("leases", lease)
    folder = os.path.dirname(leases)
    net.exec("client", "timeout", str(seconds), "dhclient", "-4", "-d", "-1", "-sf", "/bin/true", "-cf", folder_with("conf", "timeout 10;\n"), "-lf", leases,
             "-pf", os.path.join(folder, "pid"), link, check=False)


def old_lease(link, address):
    return (f'lease {{\n interface "{link}";\n fixed-address {address};\n option subnet-mask 255.255.255.0;\n option dhcp-lease-time 86400;\n'
            f" option dhcp-message-type 5;\n option dhcp-server-identifier 10.8.0.1;\n renew 4 2037/01/01 00:00:00;\n rebind 4 2037/01/01 00:00:00;\n"
            f" expire 4 2037/01/01 00:00:00;\n}}\n")


def dhcp_nak(folder):
    with Net() as net:
        dnsmasq(net, "10.9.0.100,10.9.0.150")
        write(net, folder, "dhcp-nak", "A laptop asks for its address of another network: DHCPNAK, and then it gets one of this network.",
              found(1, "info", "low"), lambda: dhclient(net, "eth0", old_lease("eth0", "10.8.0.20"), 4), "udp port 67 or udp port 68")


def not_dhcp_lease(folder):
    with Net() as net:
        dnsmasq(net, "10.9.0.100,10.9.0.150")
        write(net, folder, "not-dhcp-lease", "A client gets an address of dnsmasq.", [], lambda: dhclient(net, "eth0", seconds=4),
              "udp port 67 or udp port 68")


# --- gRPC ------------------------------------------------------------------------------------

def rpc_server():
    """`/lab/CODE` ends with that status; `/lab/slow` answers after a second, and `/lab/good` at once."""
    import grpc
    from concurrent import futures

    class Lab(grpc.GenericRpcHandler):
        def service(self, details):
            name = details.method.rsplit("/", 1)[-1]

            def answer(_request, context):
                if name == "slow":
                    time.sleep(1)
                elif name != "good":
                    context.abort(grpc.StatusCode[name], f"the lab says {name}")
                return b"answer"

            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[Lab()])
    server.add_insecure_port(f"{SERVER}:50051")
    server.start()
    server.wait_for_termination()


def call(calls):
    """Calls one by one on one connection: `(name, seconds)`."""
    import grpc

    with grpc.insecure_channel(f"{SERVER}:50051", options=[("grpc.enable_retries", 0)]) as channel:
        for name, seconds in calls:
            with contextlib.suppress(grpc.RpcError):
                channel.unary_unary(f"/lab.Orders/{name}")(b"request", timeout=seconds)


def grpc(folder, name, story, findings, calls, may=()):
    with Net() as net:
        # Processes of their own: threads of gRPC do not survive a fork. The interpreter is that of the package.
        python = ["/usr/bin/python3", "-c", f"import sys; sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__))!r}); "]
        net.popen("server", *python[:2], python[2] + "from service_error_hosts import rpc_server; rpc_server()", **QUIET)
        wait_for_port(net, "server", 50051)
        act = python[2] + f"from service_error_hosts import call; call({calls!r})"
        write(net, folder, name, story, findings, lambda: net.exec("client", *python[:2], act), "tcp port 50051", may=may)


def grpc_unavailable(folder):
    grpc(folder, "grpc-unavailable", "A gRPC service answers three of eight calls with UNAVAILABLE.", found(3, "medium"),
         [("good", 5)] * 5 + [("UNAVAILABLE", 5)] * 3)


def grpc_exhausted(folder):
    grpc(folder, "grpc-exhausted", "A gRPC service answers four calls with RESOURCE_EXHAUSTED and two with UNAUTHENTICATED.",
         found(4, "medium") + found(2, "low"), [("RESOURCE_EXHAUSTED", 5)] * 4 + [("UNAUTHENTICATED", 5)] * 2)


def grpc_deadline(folder):
    """The server's own deadline towards what it needs; the client would wait."""
    grpc(folder, "grpc-deadline", "A gRPC service answers three calls with DEADLINE_EXCEEDED, as one whose own database is slow.", found(3, "low"),
         [("good", 5), *[("DEADLINE_EXCEEDED", 5)] * 3])


def not_grpc(folder):
    grpc(folder, "not-grpc", "A gRPC service answers ten calls, one of them after a second.", [], [("good", 5)] * 9 + [("slow", 5)])


# --- FreeRADIUS and Kamailio over UDP --------------------------------------------------------

def radius(net, verdict):
    config = folder_with("radiusd.conf", f"""
name = radiusd
prefix = /usr
logdir = /tmp
libdir = /usr/lib/freeradius
security {{ allow_core_dumps = no
 reject_delay = 0 }}
client lab {{
 ipaddr = {CLIENT}
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
   Auth-Type := {verdict}
  }}
 }}
}}
""")
    net.popen("server", "freeradius", "-f", "-l", "/dev/null", "-d", os.path.dirname(config), "-n", "radiusd", **QUIET)
    time.sleep(2)


def log_in(net, times):
    request = folder_with("request", "User-Name = alice\nUser-Password = secret\n")
    for _ in range(times):
        net.exec("client", "radclient", "-r", "3", "-t", "2", "-f", request, f"{SERVER}:1812", "auth", SECRET, check=False)


def radius_reject(folder):
    with Net() as net:
        radius(net, "Reject")
        write(net, folder, "radius-reject", "FreeRADIUS rejects four log-ins.", found(4, "low"), lambda: log_in(net, 4), "udp port 1812")


def not_radius_accept(folder):
    with Net() as net:
        radius(net, "Accept")
        write(net, folder, "not-radius-accept", "FreeRADIUS accepts four log-ins.", [], lambda: log_in(net, 4), "udp port 1812")


def kamailio(net, route):
    folder = tempfile.mkdtemp(prefix="pd-sip")
    config = os.path.join(folder, "kamailio.cfg")
    with open(config, "w") as handle:
        handle.write('#!KAMAILIO\nchildren=1\nlog_stderror=yes\nloadmodule "sl.so"\nloadmodule "tm.so"\nloadmodule "pv.so"\n'
                     f"request_route {{ {route} }}\n")
    net.popen("server", "kamailio", "-DD", "-E", "-f", config, "-l", f"udp:{SERVER}:5060", "-Y", folder, "-P", os.path.join(folder, "pid"), **QUIET)
    time.sleep(2)


def calls(net, number):
    net.exec("client", "sipp", "-sn", "uac", "-t", "u1", "-m", str(number), "-r", "2", "-timeout", "15", "-nostdin", f"{SERVER}:5060", check=False)


def sip_unavailable(folder):
    with Net() as net:
        kamailio(net, 'if ($rm == "ACK") exit; sl_send_reply("503", "Service Unavailable");')
        write(net, folder, "sip-unavailable", "Kamailio answers three calls over UDP with 503.", found(3, "medium"), lambda: calls(net, 3), "udp port 5060")


def not_sip(folder):
    with Net() as net:
        kamailio(net, 'if ($rm == "ACK") exit; sl_send_reply("407", "Proxy Authentication Required");')
        write(net, folder, "not-sip", "Kamailio challenges three calls over UDP with 407.", [], lambda: calls(net, 3), "udp port 5060")


if __name__ == "__main__":
    run_cases([postfix_no_relay, postfix_full, postfix_defers, postfix_no_room, not_postfix, vsftpd_full, vsftpd_log_in_refused, vsftpd_no_such_file,
               not_vsftpd, bgp_hold_timer, bgp_bad_peer_as, bgp_many_routes, bgp_shut_down, not_bgp, dhcp_nak, not_dhcp_lease, grpc_unavailable,
               grpc_exhausted, grpc_deadline, not_grpc, radius_reject, not_radius_accept, sip_unavailable, not_sip])
