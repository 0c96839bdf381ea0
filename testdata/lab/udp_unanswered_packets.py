#!/usr/bin/env python3
"""Captures, packet by packet, of datagram clients that the lab has not: DHCP, IKE, QUIC.

    python3 testdata/lab/udp_unanswered_packets.py OUTPUT_FOLDER [CASE...]
"""
import struct
import sys

from packets import ACK, CLIENT, PSH, SERVER, SYN, TCP, UDP, Capture, tcp, udp, write_cases

MADE = "testdata/lab/udp_unanswered_packets.py"
NOBODY, ALL = "0.0.0.0", "255.255.255.255"


def datagram(capture, src, dst, payload, ms=0):
    capture.wait(ms)
    capture.write(capture.ipv4(src[0], dst[0], UDP, udp(src, dst, payload), flags=0))


def dhcp(kind, number, last, operation=1, offered=NOBODY):
    """A DHCP message (RFC 2131 §2) of the client whose hardware address ends so."""
    address = bytes(int(part) for part in offered.split("."))
    head = struct.pack(">BBBBIHH4s4s4s4s", operation, 1, 6, 0, number, 0, 0x8000, b"", address, b"", b"")
    head += bytes([2, 0, 0, 0, 0, last]).ljust(16, b"\0") + bytes(192) + b"\x63\x82\x53\x63"
    return head + bytes([53, 1, kind, 255])


def discover(capture, last, number, ms):
    datagram(capture, (NOBODY, 68), (ALL, 67), dhcp(1, number, last), ms)


def dhcp_without_server():
    capture = Capture()
    for number, pause in enumerate((0, 3_000, 7_000, 15_000)):
        discover(capture, 0x31, 0x1000, pause)
    return capture, "A host asks four times for an address, with growing pauses, and is offered none.", [
        finding(4, "medium")], []


def dhcp_one_of_two():
    """A relayed network: two clients ask, one is served by unicast that this port does not show."""
    capture = Capture()
    for pause in (0, 3_000, 7_000):
        discover(capture, 0x31, 0x1000, pause)
        discover(capture, 0x32, 0x2000, 10)
    datagram(capture, (NOBODY, 68), (ALL, 67), dhcp(3, 0x2000, 0x32), 30)
    for pause in (100, 12_000):
        discover(capture, 0x31, 0x1001, pause)
    return capture, "Two hosts ask for addresses; one goes on to request what it was offered unseen, the other never does.", [
        finding(5, "medium")], []


def not_dhcp():
    capture = Capture()
    for number in range(4):
        client = 0x31 + number
        discover(capture, client, number, 500)
        discover(capture, client, number, 3_000)
        discover(capture, client, number, 4_000)
        datagram(capture, (SERVER, 67), (ALL, 68), dhcp(2, number, client, 2, f"10.9.0.{50 + number}"), 5)
        datagram(capture, (NOBODY, 68), (ALL, 67), dhcp(3, number, client), 2)
        datagram(capture, (SERVER, 67), (ALL, 68), dhcp(5, number, client, 2, f"10.9.0.{50 + number}"), 5)
    return capture, "A slow DHCP server offers an address to the third question of each client.", [], []


def ike(number, response=False, more=b""):
    """IKE_SA_INIT (RFC 7296 §3.1)."""
    responder = struct.pack(">Q", number + 1) if response else bytes(8)
    body = bytes([0, 0, 0, 8]) + b"none" + more
    return struct.pack(">Q8sBBBBII", 0x9C4F_1A27_0000_0000 + number, responder, 33, 0x20, 34, 0x20 if response else 8, 0, 28 + len(body)) + body


def web_request(capture, port):
    """A short exchange of the client with another host: the capture shows what comes back."""
    client, server = (CLIENT, port), ("10.9.0.9", 80)
    request, answer = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    def send(src, dst, flags, seq, ack, payload=b""):
        capture.wait(1)
        capture.write(capture.ipv4(src[0], dst[0], TCP, tcp(src, dst, flags, seq, ack, payload)))

    send(client, server, SYN, 100, 0)
    send(server, client, SYN | ACK, 500, 101)
    send(client, server, ACK, 101, 501)
    send(client, server, PSH | ACK, 101, 501, request)
    send(server, client, PSH | ACK, 501, 101 + len(request), answer)
    send(client, server, ACK, 101 + len(request), 501 + len(answer))


def ike_silent_gateway():
    capture = Capture()
    for number, pause in enumerate((0, 4_000, 7_200, 13_000, 23_000)):
        datagram(capture, (CLIENT, 500), (SERVER, 500), ike(7), pause)
        web_request(capture, 41_000 + number)
    return capture, "A gateway ignores a peer that it does not know: IKE_SA_INIT goes out five times with the back-off of strongSwan.", [
        finding(5, "medium")], []


def quic(number, packet):
    """An Initial (RFC 9000 §17.2.2) with an enciphered rest."""
    noise = bytes((number * 37 + packet * 11 + at) % 251 for at in range(1_170))
    return bytes([0xC0 | packet & 0xF]) + struct.pack(">IB8sBBH", 1, 8, struct.pack(">Q", number), 0, 0, 0x4000 | len(noise)) + noise


def quic_blocked():
    capture = Capture()
    client, server = (CLIENT, 51_000), (SERVER, 443)
    for packet, pause in enumerate((0, 300, 600, 1_200, 2_400)):
        datagram(capture, client, server, quic(9, packet), pause)
        web_request(capture, 42_000 + packet)
    # The browser had fallen back to TCP meanwhile.
    for way, flags, seq, ack in ((0, SYN, 100, 0), (1, SYN | ACK, 500, 101), (0, ACK, 101, 501)):
        ends = ((CLIENT, 43_000), server)
        src, dst = ends[::-1] if way else ends
        capture.wait(5)
        capture.write(capture.ipv4(src[0], dst[0], TCP, tcp(src, dst, flags, seq, ack)))
    capture.wait(5_000)
    web_request(capture, 44_000)
    return capture, "UDP 443 is blocked: QUIC Initials go out with their back-off, then the browser takes TCP.", [
        finding(5, "low", "low")], []


def not_quic():
    capture = Capture()
    client, server = (CLIENT, 51_000), (SERVER, 443)
    for packet, pause in enumerate((0, 300, 600, 1_200)):
        datagram(capture, client, server, quic(9, packet), pause)
    for packet in range(3):
        datagram(capture, server, client, quic(9, packet + 7), 20)
    web_request(capture, 44_000)
    return capture, "The first Initials are lost, then the server answers.", [], []


def requests_only():
    """Polls of which each differs: whether answers were captured at all nobody knows."""
    capture = Capture()
    for number in range(8):
        poll = bytes([0x23]) + bytes(39) + struct.pack(">Q", 0xE900_0000_0000_0000 + number)
        datagram(capture, (CLIENT, 50_000 + number), (SERVER, 123), poll, 8_000)
    return capture, "The capture holds one direction only: polls of NTP, and nothing that anybody received.", [], []


def finding(requests, at_least, at_most="medium"):
    return {"rule": "udp-unanswered", "severity_at_least": at_least, "severity_at_most": at_most,
            "figures": {"requests": {"value": requests, "tolerance": 0}}}


CASES = {
    "udp-unanswered/dhcp-without-server": dhcp_without_server,
    "udp-unanswered/dhcp-one-of-two": dhcp_one_of_two,
    "udp-unanswered/not-dhcp": not_dhcp,
    "udp-unanswered/ike-silent-gateway": ike_silent_gateway,
    "udp-unanswered/quic-blocked": quic_blocked,
    "udp-unanswered/not-quic": not_quic,
    "udp-unanswered/not-requests-only": requests_only,
}


if __name__ == "__main__":
    write_cases(CASES, MADE, *sys.argv[1:])
