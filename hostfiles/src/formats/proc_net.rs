//! `/proc/net/{tcp,tcp6,udp,udp6}`.

use analyzer::Transport;

use super::{Format, Known};
use crate::model::{Kind, SocketRow};
use crate::out::Out;
use crate::place::{LineRef, Place};
use crate::text::proc_endpoint;

pub(super) const KNOWN: Known = Known {
    kind: Kind::ProcNet,
    recognise: |head| head.iter().take(5).any(|line| is_header(line)),
    make: || {
        Box::new(ProcNet {
            transport: Transport::Tcp,
        })
    },
};

/// The states by number (include/net/tcp_states.h).
const STATES: [&str; 13] = [
    "",
    "ESTAB",
    "SYN-SENT",
    "SYN-RECV",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "TIME-WAIT",
    "UNCONN",
    "CLOSE-WAIT",
    "LAST-ACK",
    "LISTEN",
    "CLOSING",
    "SYN-RECV",
];

fn is_header(line: &str) -> bool {
    line.contains("local_address")
        && (line.contains("rem_address") || line.contains("remote_address"))
}

struct ProcNet {
    transport: Transport,
}

impl Format for ProcNet {
    fn line(&mut self, line: &str, at: LineRef, out: &mut Out<'_>) -> bool {
        if is_header(line) {
            self.transport = if line.contains("drops") {
                Transport::Udp
            } else {
                Transport::Tcp
            };
            out.snapshot += 1;
            return true;
        }
        let place = Place { at, time: out.time };
        let row = self.row(line, place);
        row.map(|row| out.socket(row)).is_some()
    }

    fn has_snapshots(&self) -> bool {
        true
    }
}

impl ProcNet {
    fn row(&self, line: &str, place: Place) -> Option<SocketRow> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let is_number = words.first()?.ends_with(':');
        let local = proc_endpoint(words.get(1)?)?;
        let other = proc_endpoint(words.get(2)?)?;
        let state = usize::from_str_radix(words.get(3)?, 16).ok()?;
        let (send, receive) = words.get(4)?.split_once(':')?;
        let queue = |text: &str| u64::from_str_radix(text, 16).ok();
        let has_peer = other.port != 0 && !other.ip.is_unspecified();
        let drops = words.last().and_then(|drops| drops.parse().ok());
        is_number.then(|| SocketRow {
            place,
            transport: self.transport,
            state: STATES.get(state).copied().unwrap_or(""),
            local,
            peer: has_peer.then_some(other),
            recv_q: queue(receive),
            send_q: queue(send),
            users: Vec::new(),
            drops: drops.filter(|_| self.transport == Transport::Udp),
            tcp: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_told_by_their_words() {
        let tcp = ProcNet {
            transport: Transport::Tcp,
        };
        let line = "   0: 0100090A:9C40 0200090A:0050 05 00000000:00000003 00:00000000 00000000     0        0 29455 1 0000 100 0 0 10 0";
        let row = tcp.row(line, Place::default()).unwrap();
        assert_eq!(row.local.to_string(), "10.9.0.1:40000");
        assert_eq!(row.peer.unwrap().to_string(), "10.9.0.2:80");
        assert_eq!((row.state, row.recv_q), ("FIN-WAIT-2", Some(3)));
        let udp = ProcNet {
            transport: Transport::Udp,
        };
        let line = "10422: 00000000:14B4 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 29509 2 00000000e98b9ec6 41";
        assert_eq!(udp.row(line, Place::default()).unwrap().drops, Some(41));
    }
}
