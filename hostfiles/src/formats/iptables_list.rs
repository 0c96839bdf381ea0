//! `iptables -L [-nv] [--line-numbers]`: rules as a table.

use super::iptables::{destination, ports, protocol};
use super::{Format, Known};
use crate::model::Kind;
use crate::out::Out;
use crate::packet_rule::{PacketRule, Target};
use crate::place::LineRef;
use crate::text::{between, leading_number, net};

pub(super) const KNOWN: Known = Known {
    kind: Kind::Iptables,
    recognise: |head| {
        let is_title = |line: &&str| line.starts_with("Chain ") && line.contains('(');
        let is_header = |line: &&str| line.contains("target") && line.contains("prot");
        head.iter().take(10).any(is_title) && head.iter().take(10).any(is_header)
    },
    make: || Box::<List>::default(),
};

#[derive(Default)]
struct List {
    chain: String,
    /// Columns before the target: numbers, and with `-v` packets and octets.
    numbers: usize,
    counted: bool,
}

/// A count as `12`, `12K`, `3M`.
fn count(text: &str) -> Option<u64> {
    let number = leading_number(text)?;
    let factor = match text.as_bytes().last()? {
        b'K' => 1_000,
        b'M' => 1_000_000,
        b'G' => 1_000_000_000,
        _ => 1,
    };
    number.checked_mul(factor)
}

impl Format for List {
    fn line(&mut self, line: &str, at: LineRef, out: &mut Out<'_>) -> bool {
        if let Some(rest) = line.strip_prefix("Chain ") {
            rest.split(' ')
                .next()
                .unwrap_or_default()
                .clone_into(&mut self.chain);
            return true;
        }
        if line.contains("target") && line.contains("prot") {
            self.counted = line.contains("pkts");
            self.numbers = usize::from(line.trim_start().starts_with("num"));
            return true;
        }
        if let Some(rule) = self.rule(line, at) {
            out.facts.rule(rule);
        }
        true
    }
}

impl List {
    fn rule(&self, line: &str, at: LineRef) -> Option<PacketRule> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let first = self.numbers + if self.counted { 2 } else { 0 };
        let target = *words.get(first)?;
        let (transport, is_other) = protocol(words.get(first + 1)?);
        // Options; then interfaces with `-v`; then source and destination.
        let ends = first + 3 + if self.counted { 2 } else { 0 };
        let packets = self
            .counted
            .then(|| words.get(self.numbers).and_then(|word| count(word)));
        let target = match target {
            "REDIRECT" => {
                let port = between(line, "redir ports ", &[' ', '-']);
                Target::Redirect(port.and_then(|port| port.parse().ok()))
            }
            "DNAT" => destination(between(line, " to:", &[' ']).unwrap_or_default()),
            "REJECT" => Target::Reject {
                reset: line.contains("tcp-reset"),
            },
            "DROP" => Target::Drop,
            "SNAT" | "MASQUERADE" => Target::Snat,
            _ => return None,
        };
        let many = between(line, " dports ", &[' ']).map(|text| ports(text, ':'));
        let one = between(line, " dpt:", &[' ']).map(|text| ports(text, ':'));
        let range = between(line, " dpts:", &[' ']).map(|text| ports(text, ':'));
        Some(PacketRule {
            at,
            chain: self.chain.clone(),
            transport,
            is_other,
            source: words.get(ends).and_then(|word| net(word)),
            destination: words.get(ends + 1).and_then(|word| net(word)),
            ports: many.or(one).or(range).unwrap_or_default(),
            target,
            packets: packets.flatten(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_with_counters_and_numbers() {
        let list = List {
            chain: "X".to_owned(),
            numbers: 1,
            counted: true,
        };
        let line = "1       12K   720K REDIRECT   6    --  *      *       0.0.0.0/0            123.56.0.0/16        tcp dpt:80 redir ports 80";
        let one = list.rule(line, LineRef::default()).unwrap();
        assert_eq!(
            (one.packets, one.target),
            (Some(12_000), Target::Redirect(Some(80)))
        );
        assert_eq!(one.ports, [(80, 80)]);
        let list = List {
            chain: "X".to_owned(),
            numbers: 0,
            counted: false,
        };
        let line = "REJECT     tcp  --  0.0.0.0/0            0.0.0.0/0            multiport dports 9000,9001:9005 reject-with tcp-reset";
        let one = list.rule(line, LineRef::default()).unwrap();
        assert_eq!(one.target, Target::Reject { reset: true });
        assert_eq!(one.ports.len(), 2);
    }
}
