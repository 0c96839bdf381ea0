"""Two hosts with real TCP stacks, joined by a wire that the lab controls.

`Net` makes network namespaces `client` and `server` (10.9.0.1 and 10.9.0.2, fd09::1 and fd09::2)
joined by a veth pair, or by a userspace relay (`relay.py`) when a `Wire` is given. Offloads are off:
what a capture shows is what the wire carried. Needs root; several labs may run side by side.

    with Net() as net:
        with net.capture("server", "out.pcap"):
            listener = net.spawn("server", serve)
            net.call("client", talk)
"""
import contextlib
import ctypes
import json
import multiprocessing
import os
import signal
import socket
import struct
import subprocess
import time

CLIENT, SERVER = "10.9.0.1", "10.9.0.2"
CLIENT6, SERVER6 = "fd09::1", "fd09::2"
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_processes = multiprocessing.get_context("fork")


def run(*command, check=True):
    """Runs a command to its end, silently; raises when it fails."""
    result = subprocess.run(command, capture_output=True, text=True)
    if check and result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {result.stderr.strip()}")
    return result.stdout


def enter_namespace(name):
    """Moves the calling process into a network namespace."""
    with open(f"/run/netns/{name}") as handle:
        if _libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


class Net:
    """The two hosts. `wire`: a `relay.Wire`, or `None` for a plain veth pair."""

    def __init__(self, wire=None, mtu=1500, sysctls=None):
        self.wire, self.mtu, self.sysctls = wire, mtu, sysctls or {}
        self.tag = f"pd{os.getpid()}x{time.monotonic_ns() % 100000}"
        self.names = {side: f"{self.tag}{side[0]}" for side in ("client", "server", "relay")}
        self.links = {"client": "eth0", "server": "eth0"}
        self.children = []
        self.ledger = {}  # what became of each connection's segments, once the relay has stopped

    def __enter__(self):
        try:
            self._build()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_):
        for child in self.children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            child.join() if hasattr(child, "join") else child.wait()
        for name in self.names.values():
            run("ip", "netns", "del", name, check=False)

    def _build(self):
        for side in ("client", "server") + (("relay",) if self.wire else ()):
            run("ip", "netns", "add", self.names[side])
            self.ip(side, "link", "set", "lo", "up")
        if self.wire:
            for side in ("client", "server"):
                self._link(side, "eth0", "relay", f"to_{side}")
        else:
            self._link("client", "eth0", "server", "eth0")
        for side, v4, v6 in (("client", CLIENT, CLIENT6), ("server", SERVER, SERVER6)):
            self.ip(side, "addr", "add", f"{v4}/24", "dev", "eth0")
            self.ip(side, "addr", "add", f"{v6}/64", "dev", "eth0", "nodad")
            self.sysctl(side, "net.ipv4.tcp_no_metrics_save", 1)
            for key, value in self.sysctls.items():
                self.sysctl(side, key, value)
        if self.wire:
            from relay import relay

            stop, results = _processes.Event(), _processes.Queue()
            self._relay = (stop, results)
            self._start("relay", relay, self.wire, "to_client", "to_server", stop, results)
        self._wait_for_path()

    def _link(self, side, link, other_side, other_link):
        run("ip", "link", "add", link, "netns", self.names[side], "type", "veth",
            "peer", "name", other_link, "netns", self.names[other_side])
        for where, name in ((side, link), (other_side, other_link)):
            self.exec(where, "ethtool", "-K", name, "tso", "off", "gso", "off", "gro", "off", "tx", "off", "rx", "off")
            self.ip(where, "link", "set", name, "mtu", str(self.mtu), "up")

    def _wait_for_path(self):
        for address in (SERVER, SERVER6):
            for _ in range(50):
                if "1 received" in self.exec("client", "ping", "-c1", "-W1", address, check=False):
                    break
            else:
                raise RuntimeError(f"the path to {address} never came up")

    def ip(self, side, *arguments):
        """Runs `ip` about one host."""
        return run("ip", "-n", self.names[side], *arguments)

    def sysctl(self, side, key, value):
        """Sets a kernel parameter of one host."""
        self.exec(side, "sysctl", "-qw", f"{key}={value}", check=False)

    def exec(self, side, *command, check=True):
        """Runs a command on a host and gives its standard output."""
        return run("ip", "netns", "exec", self.names[side], *command, check=check)

    def popen(self, side, *command, **options):
        """Starts a command on a host; it is killed with the lab."""
        child = subprocess.Popen(("ip", "netns", "exec", self.names[side], *command), **options)
        self.children.append(child)
        return child

    def _start(self, side, function, *arguments):
        def body():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            enter_namespace(self.names[side])
            function(*arguments)

        child = _processes.Process(target=body, daemon=True)
        child.start()
        self.children.append(child)
        return child

    def spawn(self, side, function, *arguments, settle=0.3):
        """Starts a Python function on a host, for instance a server; it is killed with the lab."""
        child = self._start(side, function, *arguments)
        time.sleep(settle)
        return child

    def call(self, side, function, *arguments):
        """Runs a Python function on a host and gives what it returns."""
        results = _processes.Queue()

        def body():
            try:
                results.put((True, function(*arguments)))
            except BaseException as error:  # told to the caller
                results.put((False, repr(error)))

        child = self._start(side, body)
        good, value = results.get()
        child.join()
        if not good:
            raise RuntimeError(f"{function.__name__} on the {side}: {value}")
        return value

    @contextlib.contextmanager
    def capture(self, side, path, interface=None, snaplen=None, expression="", options=()):
        """Runs tcpdump on a host for the body's time. `interface="any"` gives SLL2."""
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        interface = interface or self.links[side]
        command = ["tcpdump", "-n", "-U", "--immediate-mode", "-B", "65536", "-Z", "root", "-i", interface, "-w", path]
        command += ["-s", str(snaplen)] if snaplen else []
        command += ["-y", "LINUX_SLL2"] if interface == "any" else []
        command += list(options) + ([expression] if expression else [])
        dump = self.popen(side, *command, stderr=subprocess.PIPE, text=True)
        for line in dump.stderr:
            if "listening on" in line:
                break
        else:
            raise RuntimeError("tcpdump did not start")
        time.sleep(0.1)
        try:
            yield
        finally:
            time.sleep(0.3)
            dump.send_signal(signal.SIGINT)
            words = dump.stderr.read()
            dump.wait()
            if "0 packets dropped by kernel" not in words:
                raise RuntimeError(f"the capture lost packets: {words}")

    def relay_books(self):
        """Stops the relay and gives what it did to each frame it touched (a list of dicts)."""
        stop, results = self._relay
        stop.set()
        books, self.ledger = results.get()
        return books

    def counters(self, side):
        """The host's kernel counters, as `nstat -az` shows them."""
        values = {}
        for file in ("netstat", "snmp"):
            lines = self.exec(side, "cat", f"/proc/net/{file}").splitlines()
            for names, numbers in zip(lines[::2], lines[1::2]):
                group = names.split(":")[0]
                pairs = zip(names.split()[1:], numbers.split()[1:])
                values.update({f"{group}{name}": int(number) for name, number in pairs})
        return values


# struct tcp_info of linux/tcp.h, in order; 8 bytes of flags come first.
_TCP_INFO = (
    "rto ato snd_mss rcv_mss unacked sacked lost retrans fackets last_data_sent last_ack_sent last_data_recv"
    " last_ack_recv pmtu rcv_ssthresh rtt rttvar snd_ssthresh snd_cwnd advmss reordering rcv_rtt rcv_space"
    " total_retrans"
).split()
_TCP_INFO_64 = "pacing_rate max_pacing_rate bytes_acked bytes_received".split()
_TCP_INFO_MORE = "segs_out segs_in notsent_bytes min_rtt data_segs_in data_segs_out".split()
_TCP_INFO_64B = "delivery_rate busy_time rwnd_limited sndbuf_limited".split()
_TCP_INFO_LAST = "delivered delivered_ce".split()
_TCP_INFO_64C = "bytes_sent bytes_retrans".split()
_TCP_INFO_END = "dsack_dups reord_seen rcv_ooopack snd_wnd rcv_wnd rehash total_rto total_rto_recoveries total_rto_time".split()


def tcp_info(connection):
    """The kernel's TCP_INFO of a socket, times in microseconds, as a dict."""
    raw = connection.getsockopt(socket.IPPROTO_TCP, 11, 512)
    layout = "<8B" + f"{len(_TCP_INFO)}I" + f"{len(_TCP_INFO_64)}Q" + f"{len(_TCP_INFO_MORE)}I"
    layout += f"{len(_TCP_INFO_64B)}Q" + f"{len(_TCP_INFO_LAST)}I" + f"{len(_TCP_INFO_64C)}Q" + f"{len(_TCP_INFO_END)}I"
    raw = raw.ljust(struct.calcsize(layout), b"\0")
    values = struct.unpack_from(layout, raw)
    names = _TCP_INFO + _TCP_INFO_64 + _TCP_INFO_MORE + _TCP_INFO_64B + _TCP_INFO_LAST + _TCP_INFO_64C + _TCP_INFO_END
    info = dict(zip(names, values[8:]))
    info.update(state=values[0], retransmits=values[2])
    return info


def endpoint(address):
    """`ip:port` or `[ip6]:port` of a socket address, as the JSON contract writes it."""
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def pair(client_socket):
    """`(client, server)` endpoints of a client's socket, for a truth file."""
    return endpoint(client_socket.getsockname()), endpoint(client_socket.getpeername())


def write_truth(capture, story, made, findings=(), may=(), none_at_or_above="medium", **facts):
    """Writes the truth file beside a capture.

    `findings`: what must be found, each a dict of `rule`, optionally `connections` (all of them: a list of (client,
    server) pairs, or of dicts), `figures` (name -> (value, tolerance), or name -> text), and optionally `occurrences`,
    `severity_at_least`, `severity_at_most`, `confidence_at_least`, `confidence_at_most`. `may`: rules that are allowed as well. Nothing else may reach the
    severity `none_at_or_above`. `facts` go into the file as they are; `arguments` among them are
    given to the program.
    """
    rows = []
    for finding in findings:
        row = dict(finding)
        transport = row.pop("transport", "tcp")
        if "connections" in row:
            row["connections"] = [
                pair_ if isinstance(pair_, dict) else {"transport": transport, "client": pair_[0], "server": pair_[1]}
                for pair_ in row["connections"]
            ]
        row["figures"] = {
            name: {"value": figure} if isinstance(figure, str) else {"value": figure[0], "tolerance": figure[1]}
            for name, figure in row.get("figures", {}).items()
        }
        row.setdefault("severity_at_least", "medium")
        rows.append(row)
    truth = {"story": story, "made": made, **facts}
    truth["expect"] = {"findings": rows, "may": list(may), "none_at_or_above": none_at_or_above}
    stem = capture
    for ending in (".gz", ".pcapng", ".pcap"):
        stem = stem.removesuffix(ending)
    with open(stem + ".json", "w") as handle:
        json.dump(truth, handle, indent=1, sort_keys=True)
        handle.write("\n")
