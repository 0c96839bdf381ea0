#!/bin/sh
# Records the base captures that `captures multiply` repeats: real TCP stacks in two network
# namespaces, tcpdump on the server's side. Needs root, iproute2, iptables, tcpdump, iperf3, nginx and wrk.
# usage: record.sh FOLDER
set -eu
folder=${1:?usage: record.sh FOLDER}
mkdir -p "$folder"
client=pcapdoc-bench-client server=pcapdoc-bench-server
trap 'ip netns del $client; ip netns del $server' EXIT
ip netns add $client
ip netns add $server
ip link add near netns $client type veth peer name far netns $server
ip -n $client addr add 10.0.0.1/8 dev near
ip -n $server addr add 10.0.0.2/8 dev far
ip -n $client link set near up
ip -n $server link set far up
for end in "$client near" "$server far"; do
    set -- $end
    ip netns exec "$1" ethtool -K "$2" tso off gso off gro off >/dev/null
done

# record NAME COMMAND...: the frames at the server while COMMAND runs at the client.
record() {
    name=$1
    shift
    ip netns exec $server tcpdump -i far -B 65536 -s 0 -w "$folder/$name.pcap" -Z root 2>/dev/null &
    tcpdump=$!
    sleep 1
    ip netns exec $client "$@" >/dev/null
    sleep 1
    kill $tcpdump
    wait $tcpdump || true
}

# Bulk: eight connections, full segments, no loss.
ip netns exec $server iperf3 -s -D -1
sleep 0.5
record bulk iperf3 -c 10.0.0.2 -P 8 -n 128M

# Lossy: one frame in a hundred is dropped in both directions, behind the capture point for data.
for end in $client $server; do
    ip netns exec $end iptables -A INPUT -m statistic --mode random --probability 0.01 -j DROP
done
ip netns exec $server iperf3 -s -D -1
sleep 0.5
record lossy iperf3 -c 10.0.0.2 -P 8 -n 64M
for end in $client $server; do
    ip netns exec $end iptables -F INPUT
done

# Web: pages of 48 KiB, one connection each.
pages=$(mktemp -d)
head -c 49152 /dev/urandom >"$pages/page"
chmod -R a+rX "$pages"
cat >"$pages/nginx.conf" <<CONF
pid $pages/pid;
error_log /dev/null;
events { worker_connections 4096; }
http { access_log off; keepalive_timeout 0; server { listen 10.0.0.2:80; root $pages; } }
CONF
ip netns exec $server nginx -c "$pages/nginx.conf"
record web wrk -t 2 -c 64 -d 3 -H 'Connection: close' http://10.0.0.2/page
kill "$(cat "$pages/pid")"
rm -r "$pages"
