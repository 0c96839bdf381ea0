#!/usr/bin/env python3
"""What hosts' tools print, with several sets of options: the files of hostfiles/testdata.

    sudo python3 testdata/lab/host_tools.py OUTPUT_FOLDER [TOOL...]

Two hosts (network namespaces) hold TCP connections in several states and a UDP socket; every tool that is there lists
them. A tool or a kernel's part that is missing is named and left out.
"""
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

CLIENT, SERVER = "10.9.0.1", "10.9.0.2"
NAMES = {"cli": CLIENT, "srv": SERVER}

ACTOR = """
import socket, sys, time
role = sys.argv[1]
if role == "srv":
    listener = socket.socket(); listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("10.9.0.2", 8080)); listener.listen(5)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); datagrams.bind(("10.9.0.2", 5300))
    kept = [listener.accept()[0] for _ in range(3)]
    kept[0].recv(100); kept[0].sendall(b"answer")
else:
    time.sleep(0.3)
    kept = [socket.create_connection(("10.9.0.2", 8080)) for _ in range(3)]
    kept[0].sendall(b"question"); kept[1].sendall(b"never read"); kept[2].close()
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); datagrams.connect(("10.9.0.2", 5300))
time.sleep(600)
"""


def run(command, check=True, **more):
    return subprocess.run(command, shell=isinstance(command, str), check=check, capture_output=True, text=True, **more)


class Hosts:
    def __enter__(self):
        run("ip netns del cli; ip netns del srv", check=False)
        run("ip netns add cli; ip netns add srv; ip link add c0 netns cli type veth peer name s0 netns srv")
        for name, device in (("cli", "c0"), ("srv", "s0")):
            run(f"ip -n {name} addr add {NAMES[name]}/24 dev {device}; ip -n {name} link set {device} up; ip -n {name} link set lo up")
        self.actors = [self.start(name, [sys.executable, "-c", ACTOR, name]) for name in ("srv", "cli")]
        for _ in range(100):
            if run("ip netns exec srv ss -tan state close-wait", check=False).stdout.count("10.9.0.2") and \
                    run("ip netns exec cli ss -uan", check=False).stdout.count("5300"):
                break
            time.sleep(0.2)
        return self

    def start(self, name, command):
        return subprocess.Popen(["ip", "netns", "exec", name, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def pid(self, name):
        return self.actors[["srv", "cli"].index(name)].pid

    def __exit__(self, *_):
        for actor in self.actors:
            actor.kill()
        run("ip netns del cli; ip netns del srv", check=False)


FOLDER = sys.argv[1] if len(sys.argv) > 1 else "."


def record(hosts, file, command, name="srv", stderr=False):
    """Writes what a command prints on a host."""
    # In a namespace of the network /sys is another one, without tracepoints.
    inside = ["ip", "netns", "exec", name] if name else []
    done = run([*inside, "sh", "-c", command], check=False)
    text = done.stderr if stderr else done.stdout
    if not text.strip():
        return print(f"{file}: nothing: {command}: {done.stderr.strip()[:100]}")
    with open(os.path.join(FOLDER, file), "w") as out:
        out.write(text)
    print(f"{file}: {len(text.splitlines())} lines: {command}")


def listings(hosts):
    for file, command in {
        "ss-tan.txt": "ss -tan",
        "ss-tanp.txt": "ss -tanp",
        "ss-tinO.txt": "ss -tinO",
        "ss-tane.txt": "ss -tane",
        "ss-tulpn.txt": "ss -tulpn",
        "ss-all-4.txt": "ss -4 -tuanpo",
        "ss-Htanpm.txt": "ss -Htanpm",
        "ss-close-wait.txt": "ss -tanp state close-wait",
        "netstat-tan.txt": "netstat -tan",
        "netstat-tunap-W.txt": "netstat -tunapW",
        "busybox-netstat-tan.txt": "busybox netstat -tan",
        "busybox-netstat-uan.txt": "busybox netstat -uan",
        "busybox-netstat-tuane.txt": "busybox netstat -tuane",
        "lsof-i4.txt": "lsof -nP -i4",
        "lsof-established.txt": "lsof -nP -iTCP -sTCP:ESTABLISHED",
        "lsof-pid-R.txt": f"lsof -nPR -a -i -p {hosts.pid('srv')}",
        "lsof-tasks.txt": "lsof -nPi -K i",
        "nstat-n.txt": "nstat -n; nstat -az",
        "nstat-some.txt": "nstat -az TcpRetransSegs TcpExtTCPAbortOnClose UdpRcvbufErrors",
        "nstat-s.txt": "nstat -as",
        "netstat-st.txt": "netstat -st",
        "netstat-su.txt": "netstat -su",
        "busybox-proc-tcp.txt": "busybox cat /proc/net/tcp",
    }.items():
        record(hosts, file, command)


def traces(hosts):
    actor = ("import socket; s = socket.create_connection(('10.9.0.2', 8080)); s.settimeout(1);"
             "s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1); s.sendall(b'x'); s.shutdown(1); s.close()")
    for file, options in {
        "strace-ttt-yy.txt": "-f -ttt -yy -e trace=network,read,write,close",
        "strace-tt-T.txt": "-f -tt -T -e trace=network,close",
        "strace-r-y.txt": "-f -r -y -e trace=network,close",
        "strace-unix-us.txt": "-f --absolute-timestamps=format:unix,precision:us -e trace=network,close",
        "strace-iso-ns.txt": "-f --absolute-timestamps=format:time,precision:ns -e trace=%network,close",
        "strace-abbrev.txt": "-f -ttt -s 0 -v -e trace=network,close",
        "strace-c-wall.txt": "-c -w -f -e trace=network,close",
        "strace-C.txt": "-C -f -ttt -e trace=network,close",
        "strace-pid-n.txt": "-f -n -ttt -e trace=network,close",
    }.items():
        record(hosts, file, f"strace {options} -o /tmp/pcapdoc-strace /usr/bin/python3 -ISc \"{actor}\"; cat /tmp/pcapdoc-strace", "cli")


def tracepoints(hosts):
    """A RST of a closed port, and one of a close over unread data."""
    refused = f"import socket\ntry: socket.create_connection(('{SERVER}', 9999), 1)\nexcept OSError: pass"
    unread = ("import socket,threading,time\nl=socket.create_server(('10.9.0.2',7000))\n"
              "import os\nif os.fork()==0:\n c=socket.create_connection(('10.9.0.2',7000)); c.sendall(b'x'*99); time.sleep(.5); os._exit(0)\n"
              "s,_=l.accept(); time.sleep(.2); s.close(); time.sleep(.3)")
    with open("/tmp/pcapdoc-unread.py", "w") as file:
        file.write(unread)
    with open("/tmp/pcapdoc-refused.py", "w") as file:
        file.write(refused)
    incident = f"ip netns exec srv /usr/bin/python3 -IS /tmp/pcapdoc-unread.py; ip netns exec cli /usr/bin/python3 -IS /tmp/pcapdoc-refused.py"
    for tool, file, command in (
        ("perf", "perf-script.txt",
         f"perf record -q -a -e tcp:tcp_send_reset -e skb:kfree_skb -e tcp:tcp_retransmit_skb -o /tmp/pcapdoc.perf -- sh -c '{incident}' && perf script -i /tmp/pcapdoc.perf"),
        # Some kernels refuse what it writes there, which events do not need.
        ("trace-cmd", "trace-cmd-report.txt",
         "echo 1 > /tmp/pcapdoc-enabled; unshare -m sh -c \"mount --bind /tmp/pcapdoc-enabled /proc/sys/kernel/ftrace_enabled; "
         "trace-cmd record -k -q -e tcp:tcp_send_reset -e tcp:tcp_receive_reset -e skb:kfree_skb -o /tmp/pcapdoc.dat "
         f"sh -c '{incident}'\" >&2 && trace-cmd report -i /tmp/pcapdoc.dat; "
         "echo 1 > /sys/kernel/tracing/tracing_on"),
        ("trace-cmd", "trace-cmd-report-N.txt", "trace-cmd report -t -N -i /tmp/pcapdoc.dat"),
        ("bpftrace", "bpftrace-resets.txt",
         f"printf '%s\\n' '#!/bin/sh' '{incident}' > /tmp/pcapdoc-incident.sh; bpftrace -c '/bin/sh /tmp/pcapdoc-incident.sh' -e '"
         "tracepoint:tcp:tcp_send_reset { $s = args->saddr; $d = args->daddr; "
         "printf(\"%llu.%09llu tcp_send_reset %d.%d.%d.%d:%d -> %d.%d.%d.%d:%d reason=%d\\n\", nsecs / 1000000000, nsecs % 1000000000, "
         "$s[4], $s[5], $s[6], $s[7], ($s[2] << 8) | $s[3], $d[4], $d[5], $d[6], $d[7], ($d[2] << 8) | $d[3], args->reason); }'"),
        ("bpftrace", "bpftrace-retransmits.txt",
         "ip netns exec srv iptables -A INPUT -p tcp --dport 9000 -j DROP; cat > /tmp/pcapdoc-lost.sh <<'END'\n"
         "ip netns exec cli timeout 4 busybox nc 10.9.0.2 9000 < /dev/null\nexit 0\nEND\n"
         "bpftrace -c '/bin/sh /tmp/pcapdoc-lost.sh' -e 'tracepoint:tcp:tcp_retransmit_skb "
         "{ printf(\"%llu.%09llu tcp_retransmit_skb %s:%d -> %s:%d state=%d\\n\", nsecs / 1000000000, nsecs % 1000000000, "
         "ntop(args->saddr), args->sport, ntop(args->daddr), args->dport, args->state); }'"),
        ("trace_pipe", "trace-pipe.txt",
         "cd /sys/kernel/tracing && echo > trace && echo 1 > events/tcp/tcp_send_reset/enable && "
         f"{incident}; sleep 0.2; cat trace; echo 0 > events/tcp/tcp_send_reset/enable"),
    ):
        if tool != "trace_pipe" and not shutil.which(tool):
            print(f"{file}: no {tool}")
            continue
        record(hosts, file, command, None)


def journals(hosts):
    """A journal daemon of its own, with what three programs say to it."""
    daemon = subprocess.Popen(["/lib/systemd/systemd-journald"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(1)
    try:
        for unit, text in (("nginx", "signal process started"), ("myapp", "pool exhausted: 50 of 50")):
            run(["systemd-cat", "-t", unit, "echo", text], check=False)
        run(["systemd-cat", "-t", "myapp", "echo", "Restarting after failure"], check=False)
        time.sleep(1)
        for file, form in {"journal-short.txt": "short", "journal-iso.txt": "short-iso", "journal-precise.txt": "short-precise",
                           "journal-full.txt": "short-full", "journal-unix.txt": "short-unix", "journal.json": "json"}.items():
            record(hosts, file, f"journalctl --no-pager -q -n 12 -t nginx -t myapp -o {form}")
    finally:
        daemon.send_signal(signal.SIGTERM)


def services(hosts):
    record(hosts, "ipvsadm-Ln.txt", "ipvsadm -A -t 10.9.0.2:80 -s rr && ipvsadm -a -t 10.9.0.2:80 -r 10.9.0.7:8080 -m && ipvsadm -Ln")


PARTS = {"listings": listings, "traces": traces, "tracepoints": tracepoints, "journals": journals, "services": services}

if __name__ == "__main__":
    os.makedirs(FOLDER, exist_ok=True)
    with Hosts() as there:
        for part in sys.argv[2:] or PARTS:
            PARTS[part](there)
