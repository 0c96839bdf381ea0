//! `ss` of iproute2, with any of its options, on one line for a socket or several.

use analyzer::Transport;

use super::states::state;
use super::{Format, Known};
use crate::model::{Kind, SocketRow, TcpCounters, User};
use crate::out::Out;
use crate::place::{LineRef, Place};
use crate::text::{between, decimal, endpoint, leading_number, peer};

pub(super) const KNOWN: Known = Known {
    kind: Kind::Ss,
    recognise,
    make: || Box::<Ss>::default(),
};

/// Sockets that are none of TCP or UDP.
const OTHER: [&str; 14] = [
    "nl", "u_str", "u_dgr", "u_seq", "p_raw", "p_dgr", "raw", "icmp6", "v_str", "v_dgr", "tipc",
    "xdp", "sctp", "mptcp",
];

fn recognise(head: &[&str]) -> bool {
    let is_header = |line: &&str| line.contains("Recv-Q") && line.contains("Address:Port");
    let is_row = |line: &&str| Ss::default().row(line).is_some();
    head.iter().take(10).any(is_header)
        || head.iter().take(10).filter(|line| is_row(line)).count() > 0
}

/// What is known of the columns.
#[derive(Default)]
struct Ss {
    /// The header has no state (`ss state established`).
    without_state: bool,
    /// The header names no protocol, and rows of UDP were seen.
    udp: bool,
    /// The last row: lines of details belong to it.
    row: Option<SocketRow>,
}

impl Format for Ss {
    fn line(&mut self, line: &str, at: LineRef, out: &mut Out<'_>) -> bool {
        if line.contains("Recv-Q") && line.contains("Address:Port") {
            self.flush(out);
            self.without_state = !line.contains("State");
            self.udp = false;
            out.snapshot += 1;
            return true;
        }
        if line.starts_with([' ', '\t'])
            && let Some(row) = &mut self.row
        {
            details(line, row);
            return true;
        }
        self.flush(out);
        let Some(mut row) = self.row(line) else {
            let first = line.split_ascii_whitespace().next().unwrap_or_default();
            return OTHER.contains(&first);
        };
        row.place = Place { at, time: out.time };
        self.row = Some(row);
        true
    }

    fn has_snapshots(&self) -> bool {
        true
    }

    fn mark(&mut self, out: &mut Out<'_>) {
        let before = out.time;
        self.flush(out);
        out.time = before;
    }

    fn finish(&mut self, out: &mut Out<'_>) {
        self.flush(out);
    }
}

impl Ss {
    fn flush(&mut self, out: &mut Out<'_>) {
        if let Some(row) = self.row.take() {
            out.socket(row);
        }
    }

    /// A line for a socket.
    fn row(&mut self, line: &str) -> Option<SocketRow> {
        let mut words = line.split_ascii_whitespace().peekable();
        let mut transport = None;
        match words.peek().copied()? {
            "tcp" => transport = Some(Transport::Tcp),
            "udp" => transport = Some(Transport::Udp),
            _ => {}
        }
        if transport.is_some() {
            words.next();
        }
        let known = words.peek().and_then(|word| state(word));
        if known.is_some() {
            words.next();
        } else if !self.without_state {
            return None;
        }
        let known = known.unwrap_or("");
        let recv_q: u64 = words.next()?.parse().ok()?;
        let send_q: u64 = words.next()?.parse().ok()?;
        let local = words.next()?;
        let other = words.next()?;
        let local = endpoint(local)?;
        // A UDP socket is UNCONN; a TCP one never is in a listing.
        self.udp |= known == "UNCONN";
        let guessed = match known {
            "UNCONN" => Transport::Udp,
            "ESTAB" | "" if self.udp => Transport::Udp,
            _ => Transport::Tcp,
        };
        let mut row = SocketRow {
            place: Place::default(),
            transport: transport.unwrap_or(guessed),
            state: known,
            local,
            peer: peer(other),
            recv_q: Some(recv_q),
            send_q: Some(send_q),
            users: Vec::new(),
            drops: None,
            tcp: None,
        };
        details(line, &mut row);
        Some(row)
    }
}

/// What stands behind the addresses, or on the lines after them.
fn details(text: &str, row: &mut SocketRow) {
    users(text, row);
    if let Some(memory) = between(text, "skmem:(", &[')'])
        && let Some(drops) = memory
            .rsplit_once(",d")
            .and_then(|(_, drops)| leading_number(drops))
    {
        row.drops = Some(drops);
    }
    let Some(mut tcp) = counters(text) else {
        return;
    };
    if let Some(known) = row.tcp.take() {
        tcp.retransmitted = tcp.retransmitted.or(known.retransmitted);
        tcp.rto_ms = tcp.rto_ms.or(known.rto_ms);
        tcp.rtt_ms = tcp.rtt_ms.or(known.rtt_ms);
    }
    row.tcp = Some(Box::new(tcp));
}

/// `users:(("nginx",pid=1,fd=3),("nginx",pid=2,fd=3))`.
fn users(text: &str, row: &mut SocketRow) {
    let Some(from) = text.find("users:(") else {
        return;
    };
    let mut rest = &text[from + "users:(".len()..];
    while let Some(open) = rest.find("(\"") {
        rest = &rest[open + 2..];
        let Some(end) = rest.find("\",pid=") else {
            return;
        };
        let name = rest[..end].to_owned();
        rest = &rest[end + "\",pid=".len()..];
        let pid = leading_number(rest).and_then(|pid| u32::try_from(pid).ok());
        let fd = between(rest, "fd=", &[')', ',']).and_then(|fd| fd.parse().ok());
        if row.users.len() < 16 {
            row.users.push(User { name, pid, fd });
        }
    }
}

/// What `-i` prints.
fn counters(text: &str) -> Option<TcpCounters> {
    let field = |name: &str| {
        let is_start = |at: &usize| *at == 0 || matches!(text.as_bytes()[at - 1], b' ' | b'\t');
        let mut found = text.match_indices(name).map(|(at, _)| at);
        Some(&text[found.find(is_start)? + name.len()..])
    };
    let number = |name: &str| field(name).and_then(leading_number);
    let time = |name: &str| field(name).and_then(decimal);
    // `retrans:1/5`: under way, and in all; left out while there were none.
    let in_all = field("retrans:").and_then(|text| {
        let (_, all) = text.split_once('/')?;
        leading_number(all)
    });
    let rto_ms = time("rto:");
    let is_info = rto_ms.is_some() || field("cwnd:").is_some() || in_all.is_some();
    is_info.then(|| TcpCounters {
        retransmitted: in_all.or_else(|| rto_ms.is_some().then_some(0)),
        bytes_retransmitted: number("bytes_retrans:"),
        dsack_dups: number("dsack_dups:"),
        reord_seen: number("reord_seen:"),
        rto_ms,
        rtt_ms: time("rtt:"),
        rwnd_limited_ms: time("rwnd_limited:"),
        sndbuf_limited_ms: time("sndbuf_limited:"),
        busy_ms: time("busy:"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::out::Interest;
    use crate::read::{HostFiles, Source};

    fn rows(text: &str) -> Vec<SocketRow> {
        let source = Source::Bytes("ss".to_owned(), text.as_bytes().to_vec());
        let files = HostFiles::of(vec![source], &std::collections::BTreeMap::new(), &|_, _| {
            Interest::Sure
        });
        assert_eq!(files.files[0].kind, Kind::Ss);
        files.facts.sockets
    }

    #[test]
    fn one_line_with_everything() {
        let rows = rows(
            "State  Recv-Q Send-Q Local Address:Port  Peer Address:Port Process\n\
             FIN-WAIT-2 0 0 10.9.0.1:40000 10.9.0.2:80 users:((\"my \\\"app\",pid=77,fd=5),(\"b\",pid=78,fd=6)) timer:(timewait,59sec,0) ino:1 sk:2 skmem:(r0,rb131072,t0,tb46080,f0,w0,o0,bl0,d7) cubic wscale:7,7 rto:204 rtt:0.05/0.02 cwnd:10 bytes_retrans:100 retrans:0/3 dsack_dups:1 reord_seen:2 busy:20ms rwnd_limited:10ms(50.0%)\n",
        );
        let row = &rows[0];
        assert_eq!(row.state, "FIN-WAIT-2");
        assert_eq!(row.peer.unwrap().to_string(), "10.9.0.2:80");
        assert_eq!(row.users.len(), 2);
        assert_eq!(row.users[1].pid, Some(78));
        assert_eq!(row.drops, Some(7));
        let tcp = row.tcp.as_ref().unwrap();
        assert_eq!(tcp.retransmitted, Some(3));
        assert_eq!(tcp.rto_ms, Some(204.0));
        assert_eq!(tcp.rwnd_limited_ms, Some(10.0));
        assert_eq!((tcp.dsack_dups, tcp.reord_seen), (Some(1), Some(2)));
    }

    #[test]
    fn details_on_their_own_line_times_between_and_protocols() {
        let rows = rows(
            "2026-11-24T10:00:00Z\n\
             Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port Process\n\
             nl UNCONN 0 0 0:0 *\n\
             udp UNCONN 2304 0 0.0.0.0%lo:53 0.0.0.0:* users:((\"d\",pid=1,fd=1))\n\
             \t skmem:(r1,rb2,t0,tb1,f0,w0,o0,bl0,d12)\n\
             tcp ESTAB 0 0 [fd00::1]:80 [fd00::2]:5\n\
             \t cubic rto:201 rtt:1.5/2 retrans:0/1 cwnd:1\n\
             2026-11-24T10:00:10Z\n\
             tcp LISTEN 129 128 *:8080 *:*\n",
        );
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[0].transport, Transport::Udp);
        assert_eq!(rows[0].drops, Some(12));
        assert_eq!(rows[1].tcp.as_ref().unwrap().retransmitted, Some(1));
        assert_eq!((rows[2].recv_q, rows[2].send_q), (Some(129), Some(128)));
        assert!(rows[2].place.time > rows[1].place.time);
    }

    #[test]
    fn without_header_and_without_state() {
        let bare = rows("ESTAB 5 0 10.0.0.1:1 10.0.0.2:2\n");
        assert_eq!(bare[0].recv_q, Some(5));
        let stateless = rows(
            "Recv-Q Send-Q Local Address:Port Peer Address:Port Process\n0 0 10.0.0.1:1 10.0.0.2:2\n",
        );
        assert_eq!(stateless[0].state, "");
    }
}
