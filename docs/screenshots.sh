#!/usr/bin/env bash
# Makes the pictures of docs/cases.md: the top of the page of each case, from captures of the lab.
# docs/screenshots.sh PCAPDOC; needs chromium.
set -euo pipefail
cd "$(dirname "$0")/.."
pcapdoc="$(realpath "$1")"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
while read -r name capture; do
  "$pcapdoc" analyze "testdata/captures/$capture" --format html --output "$work/$name.html" >/dev/null
  chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1000,860 \
    --screenshot="docs/pictures/$name.png" "file://$work/$name.html" >/dev/null 2>&1
done <<'CASES'
client-timeout-close client-timeout-close/go-never-ipv6.pcap
keepalive-race keepalive-race/nginx-proxy-502.pcap
retransmit-hol retransmit-hol/some-of-many.pcap.gz
transparent-redirect transparent-redirect/some-of-many-any.pcap.gz
udp-truncation udp-truncation/echo-1024.pcap.gz
udp-single-socket udp-single-socket/goroutines-one-socket.pcap.gz
stream-framing stream-framing/u32be.pcap.gz
linger-zero-reset linger-zero-reset/mid-download-ipv4.pcap
listen-overflow listen-overflow/burst-at-client.pcap
CASES
