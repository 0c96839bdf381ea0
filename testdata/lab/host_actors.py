"""Programs that run on a host of the lab under strace: `python3 host_actors.py NAME ARGUMENTS`."""
import select
import socket
import struct
import sys
import threading
import time

LINGER_ZERO = struct.pack("ii", 1, 0)
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def listener(port, backlog=64):
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("0.0.0.0", int(port)))
    listening.listen(int(backlog))
    return listening


def each(listening, handle):
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=handle, args=(connection,), daemon=True).start()


def slow_server(port, wait_s):
    """Answers each request after `wait_s`."""
    def handle(connection):
        connection.recv(4096)
        time.sleep(float(wait_s))
        try:
            connection.send(REPLY)
        except OSError:
            pass
        time.sleep(1)
        connection.close()
    each(listener(port), handle)


def deadline_client(address, port, count, wait_s):
    """Sends requests; closes each connection that has no answer after `wait_s`, by a timer of its own."""
    poll, waiting = select.epoll(), {}
    for index in range(int(count)):
        connection = socket.create_connection((address, int(port)))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        connection.send(b"GET /%d HTTP/1.1\r\nHost: api\r\n\r\n" % index)
        poll.register(connection, select.EPOLLIN)
        waiting[connection] = time.monotonic() + float(wait_s)
        time.sleep(0.05)
    while waiting:
        poll.poll(0.02)
        for connection in [one for one, end in waiting.items() if time.monotonic() >= end]:
            poll.unregister(connection)
            connection.close()
            del waiting[connection]
    time.sleep(30)


def keepalive_server(port, idle_s):
    """Keeps connections open until they were idle for `idle_s`."""
    def handle(connection):
        while select.select([connection], [], [], float(idle_s))[0]:
            if not connection.recv(4096):
                break
            connection.send(REPLY)
        connection.close()
    each(listener(port), handle)


def bulk_server(port, size):
    """Sends `size` bytes for each request and waits for the peer to close."""
    def handle(connection):
        while connection.recv(4096):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % int(size) + b"x" * int(size))
        connection.close()
    each(listener(port), handle)


def udp_server(port, buffer):
    """Reads datagrams into `buffer` bytes and answers each in the same way."""
    receiving = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiving.bind(("0.0.0.0", int(port)))
    while True:
        data, peer = receiving.recvfrom(int(buffer))
        receiving.sendto(b"ok", peer)


def slow_udp_server(port, buffer, wait_s):
    """Answers each datagram after `wait_s`, with a receive buffer of `buffer` bytes."""
    receiving = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiving.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, int(buffer))
    receiving.bind(("0.0.0.0", int(port)))
    while True:
        data, peer = receiving.recvfrom(2048)
        time.sleep(float(wait_s))
        receiving.sendto(data[:4], peer)


def udp_senders(address, port, threads, seconds):
    """Several threads send through one socket."""
    sending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sending.connect((address, int(port)))
    lock, end = threading.Lock(), time.monotonic() + float(seconds)

    def work():
        while time.monotonic() < end:
            with lock:
                try:
                    sending.send(b"x" * 200)
                except OSError:
                    pass
    workers = [threading.Thread(target=work) for _ in range(int(threads))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def aborting_server(port, how, wait_s=0.3):
    """Reads 1,000 bytes, answers, and closes: `linger` aborts, `unread` leaves what is unread."""
    def handle(connection):
        connection.recv(1000)
        connection.send(REPLY)
        time.sleep(float(wait_s))
        if how == "linger":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        connection.close()
    each(listener(port), handle)


def lazy_server(port, backlog, wait_s):
    """Accepts nothing for `wait_s`."""
    listening = listener(port, backlog)
    time.sleep(float(wait_s))

    def handle(connection):
        connection.recv(4096)
        connection.send(REPLY)
        connection.close()
    each(listening, handle)


def framed_server(port):
    """Reads a stream of length-prefixed messages as they come."""
    def handle(connection):
        while connection.recv(4096):
            pass
        connection.close()
    each(listener(port), handle)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
