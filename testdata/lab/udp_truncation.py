#!/usr/bin/env python3
"""Captures of UDP receivers whose buffer is smaller than the datagrams, and of what looks like it.

    sudo python3 testdata/lab/udp_truncation.py OUTPUT_FOLDER [CASE...]

The servers read with recvfrom(BUFFER): the kernel discards the rest of a longer datagram. They keep the
count of what they got (MSG_TRUNC tells the true length), which is the truth of each case.
"""
import os
import random
import select
import socket
import struct
import time

from actors import compress, run_cases
from net import SERVER, SERVER6, Net, endpoint, write_truth
from relay import Way, Wire

PORT = 9000


def place(folder, name):
    return os.path.join(folder, "udp-truncation", name + ".pcap")


def udp(address):
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)


def serve(address, port, buffer, answer):
    """Reads with a buffer and sends `answer(data)`, or nothing when that gives `None`."""
    server = udp(address)
    server.bind((address, port))
    while True:
        data, client = server.recvfrom(buffer)
        reply = answer(data)
        if reply is not None:
            server.sendto(reply, client)


def ask(address, sizes, wait_s=0.3, retries=0, prefix=b"", gap_s=0.005, port=PORT, sender=None):
    """Sends datagrams of these sizes and awaits an answer for each; gives (own endpoint, answer sizes)."""
    client = sender or udp(address)
    client.connect((address, port))
    answers = []
    for number, size in enumerate(sizes):
        message = (prefix + struct.pack("!I", number) + random.Random(number).randbytes(size))[:size]
        answer = None
        for _ in range(retries + 1):
            client.send(message)
            if select.select([client], [], [], wait_s)[0]:
                answer = len(client.recv(65535))
                break
        answers.append(answer)
        time.sleep(gap_s)
    return endpoint(client.getsockname()), answers


def finding(buffer, sizes, client, server, severity="high", tolerance=0):
    cut = [size for size in sizes if size > buffer]
    return {"rule": "udp-truncation", "transport": "udp", "occurrences": len(cut), "connections": [(client, server)],
            "severity_at_least": severity,
            "figures": {"receive_buffer_bytes": (buffer, tolerance), "largest_datagram_bytes": (max(cut), 0), "datagrams": (len(cut), 0)}}


def echo_case(folder, name, story, address, buffer, sizes, side="server", interface=None, snaplen=None, answer=lambda data: data, **more):
    path = place(folder, name)
    with Net() as net:
        net.spawn("server", serve, address, PORT, buffer, answer)
        with net.capture(side, path, interface=interface, snaplen=snaplen):
            client, answers = net.call("client", ask, address, sizes)
    write_truth(path, story, f"testdata/lab/udp_truncation.py, recvfrom({buffer}), {len(sizes)} datagrams of {min(sizes)} to {max(sizes)} octets",
                [finding(buffer, sizes, client, endpoint((address, PORT)), **more)], capture_point=side, answers=answers[:40])
    compress(path)


def echo_1024(folder):
    sizes = [100, 300, 500, 900, 1000, 1024, 1100, 1200, 1300, 1400] * 4
    echo_case(folder, "echo-1024", "An echo server reads into 1024 octets: answers follow the request and stop at 1024.", SERVER, 1024, sizes)


def echo_512_ipv6_client(folder):
    draw = random.Random(7)
    sizes = [draw.randrange(40, 1200) for _ in range(60)] + [512, 700]
    echo_case(folder, "echo-512-ipv6-client", "The same over IPv6 with 512 octets and random sizes, captured at the client.", SERVER6, 512, sizes, side="client")


def echo_2048_fragments_any(folder):
    sizes = [200, 800, 1400, 1900, 2048, 2500, 3000, 4000, 8000] * 3
    echo_case(folder, "echo-2048-fragments-any", "Datagrams beyond the MTU come in fragments; the receiver's buffer holds 2048 octets.", SERVER, 2048, sizes,
              side="server", interface="any")


def echo_4096_snaplen(folder):
    sizes = [500, 1500, 3000, 4096, 5000, 6000] * 5
    echo_case(folder, "echo-4096-snaplen", "Frames cut to 128 octets: sizes come from the UDP header, not from what was captured.", SERVER, 4096, sizes, snaplen=128)


def header_echo_1500(folder):
    sizes = [90, 200, 700, 1100, 1500, 1800, 2000, 2600] * 4
    echo_case(folder, "header-echo-1500", "Answers are a header of 8 octets and the request, cut at the buffer of 1500.", SERVER, 1500, sizes,
              answer=lambda data: b"OK %05d" % len(data) + data)


def error_answers(folder):
    """A server that wants the length its header announces: larger requests are malformed after the cut."""
    path, buffer, sizes = place(folder, "error-answers"), 1024, [60, 200, 400, 800, 1000, 1200, 1300, 1400] * 5

    def answer(data):
        announced = struct.unpack_from("!H", data)[0]
        return b"ok" if announced == len(data) else b"ERR bad length"

    with Net() as net:
        net.spawn("server", serve, SERVER, PORT, buffer, answer)

        def talk():
            client = udp(SERVER)
            client.connect((SERVER, PORT))
            for size in sizes:
                client.send(struct.pack("!H", size) + b"v" * (size - 2))
                client.recv(100)
                time.sleep(0.01)
            return endpoint(client.getsockname())

        with net.capture("client", path):
            client = net.call("client", talk)
    # The answers only show that the border lies between 1000 and 1200.
    write_truth(path, "The server reads into 1024 octets and answers longer requests with an error.",
                "testdata/lab/udp_truncation.py, recvfrom(1024), answers ok or an error",
                [finding(buffer, sizes, client, endpoint((SERVER, PORT)), severity="medium", tolerance=51)], capture_point="client")
    compress(path)


def silent_on_large(folder):
    """Large requests are dropped as malformed and repeated in vain."""
    path, buffer, sizes = place(folder, "silent-on-large"), 512, [64, 200, 300, 500, 700, 800, 900] * 3

    def answer(data):
        return b"ack" + data[:4] if struct.unpack_from("!H", data)[0] == len(data) else None

    with Net() as net:
        net.spawn("server", serve, SERVER, PORT, buffer, answer)

        def talk():
            client, sent = udp(SERVER), []
            client.connect((SERVER, PORT))
            for number, size in enumerate(sizes):
                for _ in range(3):
                    client.send(struct.pack("!HI", size, number) + b"v" * (size - 6))
                    sent.append(size)
                    if select.select([client], [], [], 0.2)[0]:
                        client.recv(100)
                        break
                time.sleep(0.01)
            return endpoint(client.getsockname()), sent

        with net.capture("server", path):
            client, sent = net.call("client", talk)
    write_truth(path, "The server reads into 512 octets; longer requests do not parse after the cut and are never answered, whatever the client repeats.",
                "testdata/lab/udp_truncation.py, recvfrom(512), no answer to what is cut",
                # Silence alone does not show a cut.
                [{**finding(buffer, sent, client, endpoint((SERVER, PORT)), severity="medium", tolerance=26), "confidence_at_most": 0.85}],
                capture_point="server")
    compress(path)


def configured_syslog(folder):
    """One-way log messages: nothing tells the cut but the buffer, which the user names."""
    path, buffer = place(folder, "configured-syslog"), 1024
    draw = random.Random(3)
    sizes = [draw.choice([180, 240, 420, 700, 1023, 1100, 1300]) for _ in range(80)]
    with Net() as net:
        net.spawn("server", serve, SERVER, 514, buffer, lambda data: None)

        def talk():
            client = udp(SERVER)
            client.connect((SERVER, 514))
            for number, size in enumerate(sizes):
                text = b"<134>1 2026-11-24T10:00:00Z host app %d - - " % number
                client.send(text + b"x" * (size - len(text)))
                time.sleep(0.004)
            return endpoint(client.getsockname())

        with net.capture("client", path):
            client = net.call("client", talk)
    write_truth(path, "A log receiver reads into 1024 octets, as its operator knows; messages are longer.",
                "testdata/lab/udp_truncation.py, recvfrom(1024), no answers",
                [finding(buffer, sizes, client, endpoint((SERVER, 514)))], capture_point="client", arguments=["--udp-recv-buffer", "514=1024"])
    compress(path)


def quiet(folder, name, story, sizes, address=SERVER, port=PORT, answer=lambda data: data, wire=None, side="server", may=(), snaplen=None, prefix=b"", **options):
    path = place(folder, name)
    with Net(wire) as net:
        net.spawn("server", serve, address, port, 65535, answer)
        with net.capture(side, path, snaplen=snaplen):
            net.call("client", ask, address, sizes, options.get("wait_s", 0.3), 0, prefix, 0.003, port)
    write_truth(path, story, f"testdata/lab/udp_truncation.py, recvfrom(65535), {len(sizes)} datagrams", may=may, capture_point=side)
    compress(path)


def not_whole_echo(folder):
    quiet(folder, "not-whole-echo", "An echo server that reads everything; frames are cut by the capture alone.", [100, 600, 1200, 2000, 5000, 9000] * 4, snaplen=128)


def not_fixed_answers(folder):
    quiet(folder, "not-fixed-answers", "Answers of one size whatever the request: an acknowledgement.", [100, 400, 900, 1300, 2500] * 8, answer=lambda data: b"A" * 64)


def not_limited_answers(folder):
    """A lookup service: the answer depends on the question, not on its length."""
    quiet(folder, "not-limited-answers", "A lookup service whose answers have sizes of their own.", [30, 44, 61, 75, 90, 120] * 8,
          answer=lambda data: bytes([data[3]]) * (40 + data[3] * 97 % 1200))


def not_loss(folder):
    """An echo service on a lossy path: unanswered requests of all sizes."""
    quiet(folder, "not-loss", "Requests of all sizes are lost now and then.", [100, 300, 700, 1100, 1400] * 12,
          wire=Wire(up=Way(delay_ms=5, loss=0.15), down=Way(delay_ms=5)), wait_s=0.06, side="client")


if __name__ == "__main__":
    run_cases([echo_1024, echo_512_ipv6_client, echo_2048_fragments_any, echo_4096_snaplen, header_echo_1500, error_answers, silent_on_large,
               configured_syslog, not_whole_echo, not_fixed_answers, not_limited_answers, not_loss])
