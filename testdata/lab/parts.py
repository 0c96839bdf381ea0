"""Servers, clients and bookkeeping that several scenarios share."""
import collections
import concurrent.futures
import contextlib
import os
import select
import socket
import struct
import subprocess
import tempfile
import threading
import time

from net import CLIENT, CLIENT6, SERVER, SERVER6, write_truth

REQUEST = b"GET /item/%d HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: lab\r\n\r\n"
LINGER_ZERO = struct.pack("ii", 1, 0)


def answer(body=b"ok", status=b"200 OK", headers=b""):
    """An HTTP/1.1 response that keeps the connection."""
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s" % (status, len(body), headers, body)


# --- captures ---------------------------------------------------------------------------------

@contextlib.contextmanager
def points(net, folder, case, *where, **options):
    """Captures one run at several points: each of `where` is `client`, `server`, `client-any` or
    `server-any`; gives `{point: path}`. A single point gives the case's plain name."""
    paths = {}
    with contextlib.ExitStack() as stack:
        for point in where:
            side, _, interface = point.partition("-")
            name = case if len(where) == 1 else f"{case}-{point}"
            paths[point] = os.path.join(folder, name + ".pcap")
            stack.enter_context(net.capture(side, paths[point], interface=interface or None,
                                            expression="tcp or icmp or icmp6 or udp", **options))
        yield paths


def truths(paths, story, made, **expectation):
    """The same truth for captures of the same run at several points."""
    for point, path in paths.items():
        write_truth(path, story, made, capture_point=point, **expectation)


def lab_name(script):
    """How a truth file names the scenario that made it."""
    return "testdata/lab/" + os.path.basename(script)


# --- servers ----------------------------------------------------------------------------------

class Book:
    """Lines that processes of the lab write for the truth, shared through a file."""

    def __init__(self):
        handle, self.path = tempfile.mkstemp(prefix="pd-book")
        os.close(handle)

    def write(self, *words):
        with open(self.path, "a") as handle:
            handle.write(" ".join(str(word) for word in words) + "\n")

    def lines(self):
        with open(self.path) as handle:
            return [line.split() for line in handle.read().splitlines()]


def listener(address, port, backlog=128):
    """A listening socket for IPv4 or IPv6."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((address, port))
    listening.listen(backlog)
    return listening


def serve(address, port, handler, backlog=128):
    """Accepts for ever, one thread per connection: `handler(connection, peer)`."""
    listening = listener(address, port, backlog)
    while True:
        connection, peer = listening.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=handler, args=(connection, peer), daemon=True).start()


def hello(connection, _peer):
    """Answers every request with two hundred octets."""
    try:
        while read_request(connection):
            connection.sendall(answer(b"item" * 50))
    except ConnectionError:
        pass
    connection.close()


def read_request(connection, timeout=None):
    """Reads one HTTP request with its body; gives its head, or b"" at end of file; raises
    `TimeoutError` when nothing comes."""
    head = b""
    while b"\r\n\r\n" not in head:
        if not select.select([connection], [], [], timeout)[0]:
            raise TimeoutError
        more = connection.recv(65536)
        if not more:
            return b""
        head += more
    head, _, body = head.partition(b"\r\n\r\n")
    wanted = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            wanted = int(line.split(b":")[1])
    while len(body) < wanted:
        more = connection.recv(65536)
        if not more:
            return b""
        body += more
    return head


def self_signed(name):
    """A certificate for `name` and its key, as paths."""
    folder = tempfile.mkdtemp(prefix="pd-key")
    paths = os.path.join(folder, "crt"), os.path.join(folder, "key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", paths[1], "-out", paths[0],
                    "-subj", f"/CN={name}", "-days", "30"], check=True, capture_output=True)
    return paths


def nginx(net, side, config, port):
    """Runs nginx with the text of its `http` block."""
    folder = tempfile.mkdtemp(prefix="pd-nginx")
    path = os.path.join(folder, "nginx.conf")
    with open(path, "w") as handle:
        handle.write(
            f"daemon off; user root; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;\n"
            f"events {{ worker_connections 4096; }}\nhttp {{ access_log {folder}/access.log;\n"
            f"client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;\n"
            f"uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n{config}\n}}\n"
        )
    net.popen(side, "nginx", "-c", path, "-p", folder, stderr=subprocess.DEVNULL)
    wait_for_port(net, side, port)
    return folder


def haproxy(net, side, config, port):
    """Runs HAProxy with the text of its sections."""
    folder = tempfile.mkdtemp(prefix="pd-haproxy")
    path = os.path.join(folder, "haproxy.cfg")
    with open(path, "w") as handle:
        handle.write("global\n  maxconn 500\ndefaults\n  mode http\n  timeout connect 5s\n" + config)
    log = open(os.path.join(folder, "log"), "w")
    net.popen(side, "haproxy", "-f", path, "-db", stdout=log, stderr=subprocess.DEVNULL)
    wait_for_port(net, side, port)
    return folder


def node(net, side, script, port=None, wait=True, **options):
    """Runs a Node.js program."""
    child = net.popen(side, "node", "-e", script, **options)
    if wait and port:
        wait_for_port(net, side, port)
    return child


def go_program(source):
    """Builds a Go program of one file and gives its path."""
    folder = tempfile.mkdtemp(prefix="pd-go")
    with open(os.path.join(folder, "main.go"), "w") as handle:
        handle.write(source)
    environment = dict(os.environ, CGO_ENABLED="0", GOFLAGS="-mod=mod", GO111MODULE="off")
    subprocess.run(["go", "build", "-o", "program", "main.go"], cwd=folder, env=environment, check=True)
    return os.path.join(folder, "program")


def wait_for_port(net, side, port, seconds=10):
    """Waits until a listener is there, without connecting to it."""
    for _ in range(int(seconds * 20)):
        if f":{port} " in net.exec(side, "ss", "-Hltn", check=False):
            time.sleep(0.1)
            return
        time.sleep(0.05)
    raise RuntimeError(f"nobody listens on {port}")


# --- clients ----------------------------------------------------------------------------------

Outcome = collections.namedtuple("Outcome", "client server result waited sent")


def together(number, function, *arguments):
    """Runs `function(index, *arguments)` in threads at once and gives the results in order."""
    with concurrent.futures.ThreadPoolExecutor(number) as pool:
        return list(pool.map(lambda index: function(index, *arguments), range(number)))


def sleep_until(moment):
    """Sleeps until a moment of the monotonic clock, exactly."""
    while (left := moment - time.monotonic()) > 0:
        time.sleep(left - 0.002 if left > 0.004 else 0)


def read_response(connection):
    """Reads one response with Content-Length; gives its bytes, or b"" at end of file."""
    head = b""
    while b"\r\n\r\n" not in head:
        more = connection.recv(65536)
        if not more:
            return b""
        head += more
    head, _, body = head.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    wanted = int(lengths[0].split(b":")[1]) if lengths else 0
    if not lengths and b"chunked" in head.lower():
        while not body.endswith(b"0\r\n\r\n"):
            body += connection.recv(65536)
        return head + body
    while len(body) < wanted:
        more = connection.recv(65536)
        if not more:
            return b""
        body += more
    return head + b"\r\n\r\n" + body


def connect(address, port):
    """A connected socket without Nagle."""
    connection = socket.create_connection((address, port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def outcome(ends, result, waited=0.0, sent=0.0):
    """What became of the last request of a connection with these `pair` ends, as its client saw it."""
    return Outcome(*ends, result, waited, sent)


def delta(before, after, *names):
    """By how much counters grew."""
    return {name: after.get(name, 0) - before.get(name, 0) for name in names}


ADDRESSES = {4: (CLIENT, SERVER), 6: (CLIENT6, SERVER6)}
