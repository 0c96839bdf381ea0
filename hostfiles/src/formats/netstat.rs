//! `netstat -an[tupoe]` of net-tools and of busybox.

use analyzer::Transport;

use super::states::state;
use super::{Format, Known};
use crate::model::{Kind, SocketRow, User};
use crate::out::Out;
use crate::place::{LineRef, Place};
use crate::text::{endpoint, peer};

pub(super) const KNOWN: Known = Known {
    kind: Kind::Netstat,
    recognise,
    make: || Box::new(Netstat),
};

fn recognise(head: &[&str]) -> bool {
    let is_header = |line: &&str| line.starts_with("Proto") && line.contains("Recv-Q");
    let is_title = |line: &&str| line.starts_with("Active Internet connections");
    let head = &head[..head.len().min(10)];
    head.iter()
        .any(|line| is_header(line) || is_title(line) || row(line).is_some())
}

struct Netstat;

impl Format for Netstat {
    fn line(&mut self, line: &str, at: LineRef, out: &mut Out<'_>) -> bool {
        let Some(mut row) = row(line) else {
            return line.starts_with("Proto") || line.starts_with("Active");
        };
        row.place = Place { at, time: out.time };
        out.socket(row);
        true
    }

    fn has_snapshots(&self) -> bool {
        true
    }
}

fn row(line: &str) -> Option<SocketRow> {
    let mut words = line.split_ascii_whitespace();
    let transport = match words.next()? {
        "tcp" | "tcp6" | "tcp4" | "tcp46" => Transport::Tcp,
        "udp" | "udp6" | "udp4" | "udp46" => Transport::Udp,
        _ => return None,
    };
    let recv_q = words.next()?.parse().ok()?;
    let send_q = words.next()?.parse().ok()?;
    let (local, other) = (endpoint(words.next()?)?, words.next()?);
    let rest: Vec<&str> = words.collect();
    let known = rest.first().and_then(|word| state(word));
    // `18087/python3`, and a name may hold spaces; `-` where it is not told.
    let user = rest.iter().find_map(|word| {
        let (pid, name) = word.split_once('/')?;
        let pid = pid.parse().ok()?;
        let name = name.trim_end_matches(':').to_owned();
        Some(User {
            name,
            pid: Some(pid),
            fd: None,
        })
    });
    Some(SocketRow {
        place: Place::default(),
        transport,
        state: known.unwrap_or(if transport == Transport::Udp {
            "UNCONN"
        } else {
            ""
        }),
        local,
        peer: peer(other),
        recv_q: Some(recv_q),
        send_q: Some(send_q),
        users: user.into_iter().collect(),
        drops: None,
        tcp: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_net_tools_and_busybox() {
        let one = row("tcp        0      0 10.9.0.1:40000          10.9.0.2:80             FIN_WAIT2   0          0          -                    timewait (59.00/0/0)").unwrap();
        assert_eq!(one.state, "FIN-WAIT-2");
        assert!(one.users.is_empty());
        let one = row("tcp6       0    129 :::8080                 :::*                    LISTEN      18087/python3       ").unwrap();
        assert_eq!((one.send_q, one.peer), (Some(129), None));
        assert_eq!(one.users[0].pid, Some(18087));
        let one = row("udp   213248      0 0.0.0.0:5300            0.0.0.0:*                           18087/python3").unwrap();
        assert_eq!((one.recv_q, one.state), (Some(213_248), "UNCONN"));
        assert!(row("unix  2      [ ]         DGRAM").is_none());
    }
}
