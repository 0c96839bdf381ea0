#!/usr/bin/env python3
"""Captures of a UDP path that one pair of sockets carries, and of busy paths where that is right.

    sudo python3 testdata/lab/udp_single_socket.py OUTPUT_FOLDER [CASE...]

Go programs send from many goroutines over one connected socket, or over a pool of them; they print how many
datagrams they sent and for how long. Captures keep 64 octets of a frame: rates need no payload.
"""
import json
import os
import random
import socket
import struct
import subprocess
import tempfile
import time

from actors import compress, run_cases
from net import SERVER, SERVER6, Net, endpoint, write_truth

PORT = 9100

SENDER = """
package main
import ("fmt"; "net"; "os"; "strconv"; "sync"; "sync/atomic"; "time")
func main() {
	sockets, _ := strconv.Atoi(os.Args[2]); workers, _ := strconv.Atoi(os.Args[3])
	rate, _ := strconv.Atoi(os.Args[4]); seconds, _ := strconv.ParseFloat(os.Args[5], 64); wait := os.Args[6] == "wait"
	var conns []*net.UDPConn
	for i := 0; i < sockets; i++ {
		a, _ := net.ResolveUDPAddr("udp", os.Args[1]); c, e := net.DialUDP("udp", nil, a)
		if e != nil { panic(e) }
		conns = append(conns, c)
	}
	var sent, tokens atomic.Int64
	begin := time.Now(); end := begin.Add(time.Duration(seconds * 1e9))
	go func() { for time.Now().Before(end) { tokens.Store(int64(time.Since(begin).Seconds() * float64(rate))); time.Sleep(time.Millisecond) } }()
	var group sync.WaitGroup
	for w := 0; w < workers; w++ {
		group.Add(1)
		go func(w int) {
			defer group.Done()
			buf := make([]byte, 100); in := make([]byte, 2048); conn := conns[w%sockets]
			for time.Now().Before(end) {
				if sent.Add(1) > tokens.Load() { sent.Add(-1); time.Sleep(200 * time.Microsecond); continue }
				for i := range buf { buf[i] = byte(i * 37 + w) }
				conn.Write(buf)
				if wait { conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); conn.Read(in) }
			}
		}(w)
	}
	group.Wait()
	var locals []string
	for _, c := range conns { locals = append(locals, strconv.Quote(c.LocalAddr().String())) }
	fmt.Printf("{\\"sent\\": %d, \\"seconds\\": %f, \\"locals\\": [", sent.Load(), time.Since(begin).Seconds())
	for i, l := range locals { if i > 0 { fmt.Print(",") }; fmt.Print(l) }
	fmt.Println("]}")
}
"""


def place(folder, name):
    return os.path.join(folder, "udp-single-socket", name + ".pcap")


def go_program(folder, source):
    """Builds a Go program and gives its path."""
    with open(folder + "/main.go", "w") as handle:
        handle.write(source)
    environment = dict(os.environ, GOCACHE=folder + "/cache", GO111MODULE="off", HOME=folder)
    subprocess.run(["go", "build", "-o", folder + "/program", folder + "/main.go"], check=True, env=environment)
    return folder + "/program"


def sink(address, port, answer):
    server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    server.bind((address, port))
    while True:
        data, client = server.recvfrom(2048)
        if answer:
            server.sendto(data[:8], client)


def go_case(folder, name, story, sockets, workers, rate, seconds, address=SERVER, answer=False, side="server", interface=None, hot=True):
    path = place(folder, name)
    with tempfile.TemporaryDirectory() as build, Net() as net:
        program = go_program(build, SENDER)
        net.spawn("server", sink, address, PORT, answer)
        with net.capture(side, path, interface=interface, snaplen=64, expression=f"udp port {PORT}"):
            told = net.exec("client", program, endpoint((address, PORT)), str(sockets), str(workers), str(rate), str(seconds), "wait" if answer else "no")
    told = json.loads(told)
    findings = []
    if hot:
        per_second = told["sent"] / told["seconds"]
        findings = [{"rule": "udp-single-socket", "transport": "udp", "occurrences": 1, "severity_at_least": "low",
                     "connections": [(told["locals"][0], endpoint((address, PORT)))],
                     "figures": {"packets_per_second": (round(per_second), round(per_second * 0.05)), "share_percent": (100, 0.5)}}]
    write_truth(path, story, f"testdata/lab/udp_single_socket.py, Go, {workers} goroutines, {sockets} sockets, {rate} datagrams a second for {seconds} s",
                findings, capture_point=side, told=told)
    compress(path)


def goroutines_one_socket(folder):
    go_case(folder, "goroutines-one-socket", "A hundred goroutines share one connected socket.", 1, 100, 4000, 2.5)


def answered_ipv6_client(folder):
    go_case(folder, "answered-ipv6-client", "Requests and answers over one socket pair, IPv6, captured at the client.", 1, 20, 3000, 2.5, address=SERVER6, answer=True,
            side="client")


def short_burst_any(folder):
    go_case(folder, "one-socket-any", "One socket, captured on the any interface.", 1, 10, 5000, 1.6, interface="any")


def not_pool(folder):
    go_case(folder, "not-pool", "The same rate over a pool of sixteen sockets.", 16, 64, 4000, 2, hot=False)


def not_slow(folder):
    go_case(folder, "not-slow", "One socket, but only 400 datagrams a second.", 1, 4, 400, 3, hot=False)


def python_case(folder, name, story, send, port, seconds=1.3, snaplen=80):
    path = place(folder, name)
    with Net() as net:
        net.spawn("server", sink, SERVER, port, False)

        def talk():
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            client.connect((SERVER, port))
            begin, number = time.time(), 0
            while time.time() < begin + seconds:
                client.send(send(number))
                number += 1
                if number % 20 == 0:
                    time.sleep(max(0, begin + number / 4000 - time.time()))
            return number

        with net.capture("server", path, snaplen=snaplen, expression=f"udp port {port}"):
            net.call("client", talk)
    write_truth(path, story, "testdata/lab/udp_single_socket.py, 4000 datagrams a second", capture_point="server")
    compress(path)


def not_rtp(folder):
    def send(number):
        return struct.pack("!BBHII", 0x80, 96, number & 0xFFFF, number * 90 & 0xFFFFFFFF, 0x1234ABCD) + bytes(200)

    python_case(folder, "not-rtp", "A media stream uses one flow by design.", send, 5004)


def not_vxlan(folder):
    inner = bytes.fromhex("0242ac110002") + bytes.fromhex("0242ac110003") + b"\x88\xb5" + bytes(100)

    python_case(folder, "not-vxlan", "A tunnel uses one flow by design.", lambda number: b"\x08\0\0\0\0\0\x2a\0" + inner, 4789)


def not_quic(folder):
    """The shape of a QUIC upload: one long-header packet, then short headers with one connection identifier."""
    draw = random.Random(5)
    first = b"\xc0\0\0\0\1\x08" + b"destconn" + b"\x08" + b"srcconns" + b"\0\x44\xb0" + draw.randbytes(1200)

    def send(number):
        return first[:1250] if number == 0 else bytes([0x40 | draw.randrange(64)]) + b"destconn" + draw.randbytes(600)

    python_case(folder, "not-quic", "A QUIC upload uses one flow by design.", send, 443)


if __name__ == "__main__":
    run_cases([goroutines_one_socket, answered_ipv6_client, short_burst_any, not_pool, not_slow, not_rtp, not_vxlan, not_quic])
