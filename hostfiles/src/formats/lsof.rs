//! `lsof -nPi`.

use analyzer::Transport;

use super::states::state;
use super::{Format, Known};
use crate::model::{Kind, SocketRow, User};
use crate::out::Out;
use crate::place::{LineRef, Place};
use crate::text::{endpoint, peer};

pub(super) const KNOWN: Known = Known {
    kind: Kind::Lsof,
    recognise: |head| head.iter().take(10).any(|line| is_header(line)),
    make: || Box::new(Lsof),
};

fn is_header(line: &str) -> bool {
    line.starts_with("COMMAND") && line.contains("PID") && line.contains("FD")
}

struct Lsof;

impl Format for Lsof {
    fn line(&mut self, line: &str, at: LineRef, out: &mut Out<'_>) -> bool {
        if is_header(line) {
            out.snapshot += 1;
            return true;
        }
        let place = Place { at, time: out.time };
        let Some(row) = row(line, place) else {
            // Files and pipes of a listing without -i.
            return line.split_ascii_whitespace().count() > 5;
        };
        out.socket(row);
        true
    }

    fn has_snapshots(&self) -> bool {
        true
    }
}

/// `python3 18087 [TID TASKCMD] root 3u IPv4 29455 0t0 TCP 10.0.0.1:1->10.0.0.2:80 (ESTABLISHED)`.
fn row(line: &str, place: Place) -> Option<SocketRow> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let family = words
        .iter()
        .position(|word| matches!(*word, "IPv4" | "IPv6"))?;
    let name = words.first()?.replace("\\x20", " ");
    let pid = words.get(1)?.parse().ok()?;
    let fd: String = words
        .get(family.checked_sub(1)?)?
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    let at = words
        .iter()
        .position(|word| matches!(*word, "TCP" | "UDP"))?;
    let transport = if words[at] == "TCP" {
        Transport::Tcp
    } else {
        Transport::Udp
    };
    let ends = words.get(at + 1)?;
    let (local, other) = ends
        .split_once("->")
        .map_or((*ends, None), |(local, other)| (local, Some(other)));
    let told = words.get(at + 2).map(|word| word.trim_matches(['(', ')']));
    let unknown = if transport == Transport::Udp {
        "UNCONN"
    } else {
        ""
    };
    Some(SocketRow {
        place,
        transport,
        state: told.and_then(state).unwrap_or(unknown),
        local: endpoint(local)?,
        peer: other.and_then(peer),
        recv_q: None,
        send_q: None,
        users: vec![User {
            name,
            pid: Some(pid),
            fd: fd.parse().ok(),
        }],
        drops: None,
        tcp: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_with_and_without_a_peer() {
        let read = |line: &str| row(line, Place::default()).unwrap();
        let one = read(
            "python3 18087 root    3u  IPv4  29455      0t0  TCP 10.9.0.1:40000->10.9.0.2:80 (FIN_WAIT2)",
        );
        assert_eq!((one.state, one.users[0].fd), ("FIN-WAIT-2", Some(3)));
        assert_eq!(one.peer.unwrap().to_string(), "10.9.0.2:80");
        let one = read("app 9 12 worker root 4u IPv6 29509 0t0 UDP *:5300 ");
        assert_eq!((one.local.port, one.transport), (5300, Transport::Udp));
        assert!(row("app 9 root 1w REG 8,1 0 12 /var/log/x", Place::default()).is_none());
    }
}
