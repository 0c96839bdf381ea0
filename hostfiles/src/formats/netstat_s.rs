//! `netstat -s`: the kernel's counters in sentences.

use super::{Format, Known};
use crate::model::{Counter, Kind};
use crate::out::Out;
use crate::place::{LineRef, Place};
use crate::text::leading_number;

pub(super) const KNOWN: Known = Known {
    kind: Kind::Nstat,
    recognise: |head| head.iter().take(60).any(|line| SECTIONS.contains(line)),
    make: || Box::<NetstatS>::default(),
};

const SECTIONS: [&str; 9] = [
    "Ip:",
    "Icmp:",
    "IcmpMsg:",
    "Tcp:",
    "Udp:",
    "UdpLite:",
    "TcpExt:",
    "IpExt:",
    "MPTcpExt:",
];

/// What the sentences mean (net-tools, statistics.c), by a part that tells them apart.
const SENTENCES: [(&str, &str, &str); 26] = [
    (
        "TcpExt:",
        "times the listen queue of a socket overflowed",
        "TcpExtListenOverflows",
    ),
    (
        "TcpExt:",
        "SYNs to LISTEN sockets dropped",
        "TcpExtListenDrops",
    ),
    (
        "TcpExt:",
        "SYNs to LISTEN sockets ignored",
        "TcpExtListenDrops",
    ),
    (
        "TcpExt:",
        "connections reset due to unexpected data",
        "TcpExtTCPAbortOnData",
    ),
    (
        "TcpExt:",
        "connections reset due to early user close",
        "TcpExtTCPAbortOnClose",
    ),
    (
        "TcpExt:",
        "connections aborted due to timeout",
        "TcpExtTCPAbortOnTimeout",
    ),
    (
        "TcpExt:",
        "connections aborted after user close in linger timeout",
        "TcpExtTCPAbortOnLinger",
    ),
    (
        "TcpExt:",
        "connections aborted due to memory pressure",
        "TcpExtTCPAbortOnMemory",
    ),
    ("TcpExt:", "other TCP timeouts", "TcpExtTCPTimeouts"),
    ("TcpExt:", "DSACKs received", "TcpExtTCPDSACKRecv"),
    (
        "TcpExt:",
        "packets rejected in established connections because of timestamp",
        "TcpExtPAWSEstab",
    ),
    (
        "TcpExt:",
        "passive connections rejected because of time stamp",
        "TcpExtPAWSPassive",
    ),
    (
        "TcpExt:",
        "packets pruned from receive queue because of socket buffer overrun",
        "TcpExtPruneCalled",
    ),
    (
        "TcpExt:",
        "packets collapsed in receive queue due to low socket buffer",
        "TcpExtTCPRcvCollapsed",
    ),
    (
        "TcpExt:",
        "packets dropped from out-of-order queue",
        "TcpExtOfoPruned",
    ),
    ("TcpExt:", "fast retransmits", "TcpExtTCPFastRetrans"),
    ("Udp:", "receive buffer errors", "UdpRcvbufErrors"),
    ("Udp:", "send buffer errors", "UdpSndbufErrors"),
    ("Udp:", "packet receive errors", "UdpInErrors"),
    ("Udp:", "packets to unknown port received", "UdpNoPorts"),
    ("Ip:", "packet reassembles failed", "IpReasmFails"),
    ("Ip:", "packet reassembly failed", "IpReasmFails"),
    ("Ip:", "dropped because of missing route", "IpOutNoRoutes"),
    ("Icmp:", "input ICMP message failed", "IcmpInErrors"),
    ("Tcp:", "segments retransmitted", "TcpRetransSegs"),
    ("Tcp:", "resets sent", "TcpOutRsts"),
];

#[derive(Default)]
struct NetstatS {
    section: String,
}

impl Format for NetstatS {
    fn line(&mut self, line: &str, at: LineRef, out: &mut Out<'_>) -> bool {
        let text = line.trim();
        if SECTIONS.contains(&text) {
            if text == "Ip:" {
                out.snapshot += 1;
            }
            text.clone_into(&mut self.section);
            return true;
        }
        let Some((name, value)) = self.counter(text) else {
            let is_title = text.ends_with(':');
            return is_title || text.contains(|letter: char| letter.is_ascii_digit());
        };
        out.facts.counter(Counter {
            place: Place { at, time: out.time },
            snapshot: out.snapshot,
            name,
            value,
            is_increment: false,
        });
        true
    }

    fn has_snapshots(&self) -> bool {
        true
    }
}

impl NetstatS {
    /// A sentence that is known, or `TCPLossProbes: 12`.
    fn counter(&self, text: &str) -> Option<(String, u64)> {
        let named = text.split_once(": ").and_then(|(name, value)| {
            let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let table = self.section.trim_end_matches(':');
            is_name.then(|| Some((format!("{table}{name}"), value.parse().ok()?)))?
        });
        if named.is_some() {
            return named;
        }
        let mut known = SENTENCES.iter();
        let (_, _, name) =
            known.find(|(section, part, _)| *section == self.section && text.contains(part))?;
        let value = text.split_ascii_whitespace().find_map(leading_number)?;
        Some(((*name).to_owned(), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_and_names() {
        let reader = NetstatS {
            section: "TcpExt:".to_owned(),
        };
        let read = |text: &str| reader.counter(text);
        let overflows = read("1190 times the listen queue of a socket overflowed");
        assert_eq!(overflows, Some(("TcpExtListenOverflows".to_owned(), 1190)));
        let probes = read("TCPLossProbes: 12");
        assert_eq!(probes, Some(("TcpExtTCPLossProbes".to_owned(), 12)));
        assert_eq!(read("something else"), None);
    }
}
