//! The kernel's tracepoints as text: `perf script`, `trace-cmd report`, `trace_pipe`, bpftrace.

use analyzer::Endpoint;

use super::{Format, Known};
use crate::model::{Clock, KernelWord, Kind};
use crate::out::Out;
use crate::place::{LineRef, Place};
use crate::text::{between, endpoint, pair, seconds};

pub(super) const KNOWN: Known = Known {
    kind: Kind::Tracepoint,
    recognise: |head| {
        head.iter()
            .any(|line| word(line, Place::default()).is_some())
    },
    make: || Box::new(Tracepoint),
};

const EVENTS: [&str; 6] = [
    "tcp_send_reset",
    "tcp_receive_reset",
    "kfree_skb",
    "tcp_retransmit_skb",
    "tcp_retransmit_synack",
    "tcp_probe",
];

struct Tracepoint;

impl Format for Tracepoint {
    fn line(&mut self, line: &str, at: LineRef, out: &mut Out<'_>) -> bool {
        let time = stamp(line);
        if let Some(time) = time {
            // Since boot, unless it is as large as only the time since 1970 can be.
            let is_epoch = time > 900_000_000_000_000_000;
            out.file.clock = if is_epoch {
                Clock::Epoch
            } else {
                Clock::Elapsed
            };
        }
        let Some(word) = word(line, Place { at, time }) else {
            return ["#", "cpus=", "Attaching "]
                .iter()
                .any(|begins| line.starts_with(begins));
        };
        out.facts.word(word);
        true
    }
}

/// `app 123 [000] 1234.567890: tcp:tcp_send_reset: …`: the number before a colon.
fn stamp(line: &str) -> Option<i64> {
    let mut words = line.split_ascii_whitespace().take(8);
    words.find_map(|word| {
        let text = word.trim_end_matches(':');
        (text.contains('.') && !text.contains('=')).then(|| seconds(text))?
    })
}

fn word(line: &str, place: Place) -> Option<KernelWord> {
    let event = EVENTS.iter().find(|event| line.contains(**event))?;
    let field = |name: &str| between(line, name, &[' ', ',', '\t', ')', '>']);
    // perf and trace-cmd: `src=10.9.0.2:80 dest=10.9.0.1:5` or `saddr=… daddr=… sport=… dport=…`.
    let joined = || -> Option<(Endpoint, Endpoint)> {
        let other = field(" dest=").or_else(|| field(" dst="))?;
        Some((endpoint(field("src=")?)?, endpoint(other)?))
    };
    let parts = || -> Option<(Endpoint, Endpoint)> {
        let from = pair(field("saddr=")?, field("sport=")?)?;
        Some((from, pair(field("daddr=")?, field("dport=")?)?))
    };
    let arrow = || -> Option<(Endpoint, Endpoint)> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let at = words.iter().position(|word| *word == "->")?;
        let from = endpoint(words.get(at.checked_sub(1)?)?)?;
        Some((from, endpoint(words.get(at + 1)?.trim_end_matches(','))?))
    };
    let reason = field("reason=")
        .or_else(|| field("reason: "))
        .unwrap_or_default();
    let ends = joined().or_else(parts).or_else(arrow);
    (ends.is_some() || !reason.is_empty()).then(|| KernelWord {
        place,
        event: (*event).to_owned(),
        ends,
        reason: reason
            .trim_start_matches("SK_RST_REASON_")
            .trim_start_matches("SKB_DROP_REASON_")
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_tools() {
        let read = |line: &str| word(line, Place::default()).unwrap();
        let one = read(
            "python3 123 [001]  1234.567890: tcp:tcp_send_reset: skbaddr=0x0 skaddr=0xffff src=10.9.0.2:8080 dest=10.9.0.1:40000 state=TCP_ESTABLISHED reason=TCP_STATE",
        );
        assert_eq!(
            (one.event.as_str(), one.reason.as_str()),
            ("tcp_send_reset", "TCP_STATE")
        );
        assert_eq!(one.ends.unwrap().1.to_string(), "10.9.0.1:40000");
        let one = read(
            "<idle>-0 [000] 99.1: tcp_retransmit_skb: family=AF_INET sport=80 dport=5 saddr=10.9.0.2 daddr=10.9.0.1 saddrv6=::ffff:10.9.0.2 daddrv6=::ffff:10.9.0.1 state=TCP_ESTABLISHED",
        );
        assert_eq!(one.ends.unwrap().0.to_string(), "10.9.0.2:80");
        let one = read("1796050973.5 kfree_skb 10.9.0.1:5 -> 10.9.0.2:80 reason=NETFILTER_DROP");
        assert_eq!(one.reason, "NETFILTER_DROP");
        assert_eq!(
            stamp("1796050973.5 kfree_skb"),
            Some(1_796_050_973_500_000_000)
        );
    }
}
