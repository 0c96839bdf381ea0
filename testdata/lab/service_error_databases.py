#!/usr/bin/env python3
"""Captures of databases and brokers that state errors, and of the same ones in good order.

    sudo python3 testdata/lab/service_error_databases.py OUTPUT_FOLDER [CASE...]

MariaDB with its own client, RabbitMQ with rabbitmq-c's, NATS and Redis through sockets, and librdkafka with the brokers
that it holds for tests: they speak Kafka over TCP, and the errors they return can be chosen. Debian has no Kafka.
"""
import contextlib
import ctypes
import os
import socket
import subprocess
import tempfile
import time

import service_error
from actors import run_cases
from net import SERVER, Net
from parts import lab_name, wait_for_port
from service_error import QUIET, found, talk

service_error.MADE = lab_name(__file__)
write = service_error.write


# --- MariaDB ---------------------------------------------------------------------------------

def mariadb(net, *options):
    """A server with the user `shop` and an empty table of accounts."""
    folder = tempfile.mkdtemp(prefix="pd-maria")
    data = os.path.join(folder, "data")
    subprocess.run(["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--user=root", "--auth-root-authentication-method=socket"],
                   check=True, capture_output=True)
    start = os.path.join(folder, "start.sql")
    with open(start, "w") as handle:
        # One statement a line.
        handle.write("create database lab;\ncreate table lab.accounts (id int primary key, cents int) engine=innodb;\n"
                     "insert into lab.accounts values (1, 100), (2, 200);\n"
                     "create user shop@'%' identified by 'right';\ngrant all on lab.* to shop@'%';\n")
    net.popen("server", "mariadbd", "--no-defaults", f"--datadir={data}", "--user=root", f"--socket={folder}/socket", f"--pid-file={folder}/pid",
              f"--bind-address={SERVER}", "--skip-name-resolve", "--innodb-buffer-pool-size=8M", f"--init-file={start}", *options, **QUIET)
    wait_for_port(net, "server", 3306, seconds=60)


def shop(statement, password="right"):
    return ["mariadb", "--no-defaults", "-h", SERVER, "-u", "shop", f"-p{password}", "--skip-ssl", "-e", statement, "lab"]


def sql(net, statement, password="right"):
    net.popen("client", *shop(statement, password), **QUIET).wait()


def mariadb_full(folder):
    """Ten connections and one more for an administrator, which `shop` is not."""
    with Net() as net:
        mariadb(net, "--max-connections=10")

        def act():
            held = [net.popen("client", *shop("select sleep(5)"), **QUIET) for _ in range(10)]
            time.sleep(2)
            for _ in range(3):
                sql(net, "select 1")
            for child in held:
                child.wait()

        write(net, folder, "mariadb-full", "MariaDB may have ten connections, which are taken: three more are refused with 1040.", found(3, "medium"),
              act, "tcp port 3306", may=["closed-after-accept", "slow-response"])


def mariadb_wrong_password(folder):
    with Net() as net:
        mariadb(net)
        write(net, folder, "mariadb-wrong-password", "MariaDB refuses four log-ins with a wrong password: 1045.", found(4, "low"),
              lambda: [sql(net, "select 1", "wrong") for _ in range(4)], "tcp port 3306")


def mariadb_lock_wait(folder):
    """One transaction keeps a row for longer than the others may wait."""
    with Net() as net:
        mariadb(net, "--innodb-lock-wait-timeout=1")

        def act():
            held = net.popen("client", *shop("begin; update accounts set cents = 0 where id = 1; select sleep(6); rollback"), **QUIET)
            time.sleep(1)
            for _ in range(2):
                sql(net, "update accounts set cents = 1 where id = 1")
            held.wait()

        write(net, folder, "mariadb-lock-wait", "A transaction keeps a row for six seconds: two others may wait for one second and fail with 1205.",
              found(2, "medium"), act, "tcp port 3306", may=["slow-response"])


def not_mariadb(folder):
    """A statement that fails by design (`insert ignore`), a warning, a value that reads like an error."""
    with Net() as net:
        mariadb(net)

        def act():
            sql(net, "insert ignore into accounts values (1, 5); show warnings; select 1/0")
            sql(net, "select 'ERROR 1040 (HY000): Too many connections'; select repeat(0xff, 40)")
            sql(net, "prepare p from 'select cents from accounts where id = ?'; set @a = 2; execute p using @a")

        write(net, folder, "not-mariadb", "MariaDB answers queries, with warnings and with rows that hold an error's text.", [], act, "tcp port 3306")


# --- RabbitMQ --------------------------------------------------------------------------------

def rabbitmq(net):
    """A broker with the user `shop`, who may use the queue `orders` only."""
    folder = tempfile.mkdtemp(prefix="pd-rabbit")
    environment = dict(os.environ, HOME=folder, RABBITMQ_NODENAME="lab@localhost", RABBITMQ_MNESIA_BASE=folder, RABBITMQ_LOG_BASE=folder,
                       RABBITMQ_ENABLED_PLUGINS_FILE=os.path.join(folder, "plugins"), RABBITMQ_NODE_IP_ADDRESS=SERVER, RABBITMQ_DIST_PORT="25672",
                       ERL_EPMD_ADDRESS="127.0.0.1", RABBITMQ_PID_FILE=os.path.join(folder, "pid"))
    server = "/usr/lib/rabbitmq/bin/"
    net.popen("server", server + "rabbitmq-server", env=environment, **QUIET)
    wait_for_port(net, "server", 5672, seconds=90)

    def control(*words):
        command = ["ip", "netns", "exec", net.names["server"], server + "rabbitmqctl", *words]
        subprocess.run(command, env=environment, check=True, capture_output=True)

    control("await_startup")
    control("add_user", "shop", "right")
    control("set_permissions", "shop", "^orders$", "^(orders|amq.default)?$", "^orders$")


def amqp(net, program, url, *arguments):
    net.exec("client", program, "--url", url, *arguments, check=False)


def rabbitmq_errors(folder):
    """The same broker for all cases: it takes some seconds to start."""
    with Net() as net:
        rabbitmq(net)
        place = SERVER

        def no_such_vhost():
            for _ in range(3):
                amqp(net, "amqp-declare-queue", f"amqp://shop:right@{place}/nowhere", "-q", "orders")

        write(net, folder, "rabbitmq-no-such-vhost", "RabbitMQ closes three connections to a virtual host that it does not have: 530.", found(3, "low"),
              no_such_vhost, "tcp port 5672")

        def wrong_password():
            for _ in range(3):
                amqp(net, "amqp-declare-queue", f"amqp://shop:wrong@{place}", "-q", "orders")

        write(net, folder, "rabbitmq-wrong-password", "RabbitMQ refuses three log-ins with a wrong password: 403.", found(3, "low"), wrong_password,
              "tcp port 5672")

        def no_right():
            for _ in range(2):
                amqp(net, "amqp-declare-queue", f"amqp://shop:right@{place}", "-q", "invoices")

        write(net, folder, "rabbitmq-no-right", "RabbitMQ closes two channels whose user may not make that queue: 403.", found(2, "low"), no_right,
              "tcp port 5672")

        def good():
            url = f"amqp://shop:right@{place}"
            amqp(net, "amqp-declare-queue", url, "-q", "orders")
            for number in range(5):
                amqp(net, "amqp-publish", url, "-r", "orders", "-b", f"530 NOT_ALLOWED {number}")
            for _ in range(6):
                amqp(net, "amqp-get", url, "-q", "orders")

        write(net, folder, "not-rabbitmq", "RabbitMQ takes five messages and gives them away again; then the queue is empty.", [], good, "tcp port 5672")


# --- NATS ------------------------------------------------------------------------------------

def nats(net, config):
    folder = tempfile.mkdtemp(prefix="pd-nats")
    path = os.path.join(folder, "nats.conf")
    with open(path, "w") as handle:
        handle.write(f"listen: {SERVER}:4222\n{config}\n")
    net.popen("server", "nats-server", "-c", path, **QUIET)
    wait_for_port(net, "server", 4222)


def hello(user="", password=""):
    login = f',"user":"{user}","pass":"{password}"' if user else ""
    return b'CONNECT {"verbose":true,"pedantic":false,"lang":"lab","version":"1","protocol":1' + login.encode() + b"}\r\n"


def subscriber():
    """A connection that has subscribed."""
    connection = socket.create_connection((SERVER, 4222))
    connection.sendall(hello() + b"SUB orders 1\r\nPING\r\n")
    time.sleep(0.1)
    connection.recv(65_536)
    return connection


def nats_full(folder):
    with Net() as net:
        nats(net, "max_connections: 2")

        def client():
            held = [subscriber() for _ in range(2)]
            for _ in range(3):
                with socket.create_connection((SERVER, 4222)) as refused:
                    while refused.recv(65_536):
                        pass
            for connection in held:
                connection.close()

        write(net, folder, "nats-full", "NATS may have two connections: three more are closed with `maximum connections exceeded`.", found(3, "medium"),
              lambda: net.call("client", client), "tcp port 4222", may=["closed-after-accept"])


def nats_no_right(folder):
    with Net() as net:
        nats(net, 'authorization { users: [ { user: shop, password: right, permissions: { publish: "orders.>" } } ] }')

        def client():
            for _ in range(2):
                with contextlib.suppress(ConnectionError):
                    talk(4222, [hello("shop", "wrong")])
            talk(4222, [hello("shop", "right"), b"PUB orders.a 2\r\nok\r\n", b"PUB invoices 2\r\nno\r\n", b"PING\r\n"])

        write(net, folder, "nats-no-right", "NATS refuses two log-ins, and then a message to a subject that its sender may not use.",
              found(2, "low") + found(1, "low"), lambda: net.call("client", client), "tcp port 4222")


def not_nats(folder):
    """A message whose body is an error's text."""
    with Net() as net:
        nats(net, "")

        text = b"-ERR 'maximum connections exceeded'\r\n"

        def client():
            receiver = subscriber()
            talk(4222, [hello(), b"PUB orders %d\r\n%s\r\n" % (len(text), text), b"PUB nobody 2\r\nok\r\n", b"PING\r\n"])
            receiver.recv(65_536)
            receiver.close()

        write(net, folder, "not-nats", "NATS hands on a message that reads like an error.", [], lambda: net.call("client", client), "tcp port 4222")


# --- Redis -----------------------------------------------------------------------------------

def redis(net, *options):
    net.popen("server", "redis-server", "--bind", SERVER, "--port", "6379", "--save", "", "--protected-mode", "no", *options, **QUIET)
    wait_for_port(net, "server", 6379)


def redis_full(folder):
    with Net() as net:
        redis(net, "--maxclients", "4")

        def client():
            held = [socket.create_connection((SERVER, 6379)) for _ in range(4)]
            for connection in held:
                connection.sendall(b"PING\r\n")
                connection.recv(100)
            for _ in range(3):
                with socket.create_connection((SERVER, 6379)) as refused:
                    while refused.recv(65_536):
                        pass
            for connection in held:
                connection.close()

        write(net, folder, "redis-full", "Redis may have four clients: three more are told so and closed.", found(3, "medium"),
              lambda: net.call("client", client), "tcp port 6379", may=["closed-after-accept"])


def not_redis(folder):
    """A value that reads like an error, a key that is not there, and a list with both."""
    with Net() as net:
        redis(net)
        text = b"-OOM command not allowed\r\n-READONLY\r\n"
        commands = [b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$%d\r\n%s\r\n" % (len(text), text), b"GET a\r\n", b"GET missing\r\n", b"MGET a missing a\r\n",
                    b"HELLO 3\r\n", b"GET a\r\n", b"GET missing\r\n"]
        write(net, folder, "not-redis", "Redis gives back a value that reads like its errors, in RESP2 and RESP3.", [],
              lambda: net.call("client", talk, 6379, commands), "tcp port 6379")


# --- Kafka -----------------------------------------------------------------------------------

PRODUCE, HEARTBEAT = 0, 12
TOPIC_AUTHORIZATION_FAILED, NOT_ENOUGH_REPLICAS, THROTTLING_QUOTA_EXCEEDED = 29, 19, 89


def kafka(*errors, messages=6):
    """A producer of librdkafka and its test cluster of one broker: the next answers to Produce are these errors."""
    library = ctypes.CDLL("librdkafka.so.1")
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new", "rd_kafka_mock_cluster_bootstraps", "rd_kafka_topic_new"):
        getattr(library, name).restype = ctypes.c_void_p
    said = ctypes.create_string_buffer(512)

    def handle(*settings):
        conf = ctypes.c_void_p(library.rd_kafka_conf_new())
        for name, value in settings:
            library.rd_kafka_conf_set(conf, name, value, said, 512)
        return ctypes.c_void_p(library.rd_kafka_new(0, conf, said, 512))

    cluster = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(handle((b"client.id", b"cluster")), 1))
    bootstraps = ctypes.cast(library.rd_kafka_mock_cluster_bootstraps(cluster), ctypes.c_char_p).value
    library.rd_kafka_mock_topic_create(cluster, b"orders", 1, 1)
    producer = handle((b"bootstrap.servers", bootstraps), (b"client.id", b"shop"), (b"linger.ms", b"0"), (b"retry.backoff.ms", b"200"))
    topic = ctypes.c_void_p(library.rd_kafka_topic_new(producer, b"orders", None))
    for number in range(messages):
        if number == 2 and errors:
            library.rd_kafka_mock_push_request_errors(cluster, ctypes.c_int16(PRODUCE), ctypes.c_size_t(len(errors)), *map(ctypes.c_int, errors))
        library.rd_kafka_produce(topic, 0, 2, b"order", ctypes.c_size_t(5), None, ctypes.c_size_t(0), None)
        library.rd_kafka_flush(producer, 5_000)


def loopback(net, folder, name, story, findings, act):
    """The test cluster listens on the loopback of the host that runs it."""
    net.links["client"] = "lo"
    write(net, folder, name, story, findings, lambda: net.call("client", act), "tcp")


def kafka_few_replicas(folder):
    with Net() as net:
        loopback(net, folder, "kafka-mock-few-replicas", "A broker refuses a message three times with NOT_ENOUGH_REPLICAS before it takes it.",
                 found(3, "medium"), lambda: kafka(*[NOT_ENOUGH_REPLICAS] * 3))


def kafka_no_right(folder):
    with Net() as net:
        loopback(net, folder, "kafka-mock-no-right", "A producer may not write to the topic: one message is refused.", found(1, "low"),
                 lambda: kafka(TOPIC_AUTHORIZATION_FAILED))


def not_kafka_mock(folder):
    with Net() as net:
        loopback(net, folder, "not-kafka-mock", "A producer hands eight messages to its broker.", [], lambda: kafka(messages=8))


if __name__ == "__main__":
    run_cases([mariadb_full, mariadb_wrong_password, mariadb_lock_wait, not_mariadb, rabbitmq_errors, nats_full, nats_no_right, not_nats, redis_full,
               not_redis, kafka_few_replicas, kafka_no_right, not_kafka_mock])
