#!/usr/bin/env python3
"""Captures of web servers that reject requests for a while, and of others that always do or never did.

    sudo python3 testdata/lab/http_client_error.py OUTPUT_FOLDER [CASE...]

The server is nginx, whose configuration changes while curl goes on.
"""
import os
import time

from actors import compress, run_cases
from net import SERVER, Net, write_truth
from parts import lab_name, nginx

PORT = 8080
MADE = lab_name(__file__)


def ask(net, times, *words):
    urls = [f"http://{SERVER}:{PORT}/item/{number}" for number in range(times)]
    for url in urls:
        net.exec("client", "curl", "-s", "-o", "/dev/null", *words, url, check=False)


def reload(net, folder, old, new):
    """Replaces text of the configuration and has nginx read it again."""
    path = os.path.join(folder, "nginx.conf")
    with open(path) as handle:
        text = handle.read()
    with open(path, "w") as handle:
        handle.write(text.replace(old, new))
    with open(os.path.join(folder, "pid")) as handle:
        os.kill(int(handle.read()), 1)
    time.sleep(1)


def write(net, folder, name, story, findings, act, may=()):
    path = os.path.join(folder, "http-client-error", name + ".pcap")
    with net.capture("client", path, expression=f"tcp port {PORT}"):
        act()
    write_truth(path, story, MADE, findings, may=list(may), capture_point="client")
    compress(path)


def found(errors):
    return [{"rule": "http-client-error", "severity_at_least": "low", "severity_at_most": "low", "figures": {"errors": (errors, 0)}}]


ROUTES = "server { listen %d; location /item/ { return 200 fine; } location / { return 404 none; } }"


def rename_for(net, nginx_folder, before, meanwhile):
    """Requests before, while and after the route has another name."""
    def act():
        ask(net, before)
        reload(net, nginx_folder, "location /item/", "location /goods/")
        ask(net, meanwhile)
        reload(net, nginx_folder, "location /goods/", "location /item/")
        ask(net, 20)
    return act


def lost_routes(folder):
    with Net() as net:
        act = rename_for(net, nginx(net, "server", ROUTES % PORT, PORT), 30, 15)
        write(net, folder, "lost-routes", "A release renames a route: 15 requests get 404 until it is taken back.", found(15), act)


def smaller_limit(folder):
    with Net() as net:
        nginx_folder = nginx(net, "server", f"server {{ listen {PORT}; client_max_body_size 8k; location / {{ return 200 fine; }} }}", PORT)
        body = ("-X", "POST", "--data", "x" * 2_000)

        def act():
            ask(net, 30, *body)
            reload(net, nginx_folder, "client_max_body_size 8k", "client_max_body_size 1k")
            ask(net, 12, *body)

        write(net, folder, "smaller-limit", "A new limit of size: after 30 posts that were accepted 12 get 413.", found(12), act,
              may=["unread-data-reset", "linger-zero-reset", "keepalive-race"])


def not_every_third(folder):
    with Net() as net:
        nginx(net, "server", f"server {{ listen {PORT}; location ~ [0369]$ {{ return 404 none; }} location / {{ return 200 fine; }} }}", PORT)
        write(net, folder, "not-every-third", "A site with dead links: four requests in ten get 404, all the time.", [], lambda: ask(net, 60))


def not_a_few(folder):
    with Net() as net:
        act = rename_for(net, nginx(net, "server", ROUTES % PORT, PORT), 40, 5)
        write(net, folder, "not-a-few", "Five requests in a row get 404.", [], act)


def not_challenges(folder):
    with Net() as net:
        nginx_folder = nginx(net, "server", ROUTES % PORT, PORT)

        def act():
            ask(net, 30)
            reload(net, nginx_folder, "return 200 fine", "return 401")
            ask(net, 15)

        write(net, folder, "not-challenges", "The site asks for a password from some time on: 401 is a challenge.", [], act)


if __name__ == "__main__":
    run_cases([lost_routes, smaller_limit, not_every_third, not_a_few, not_challenges])
