//! `nft [-a] list ruleset`.

use analyzer::Transport;

use super::iptables::{destination, ports, protocol};
use super::{Format, Known};
use crate::model::Kind;
use crate::out::Out;
use crate::packet_rule::{PacketRule, Target};
use crate::place::LineRef;
use crate::text::{between, leading_number, net};

pub(super) const KNOWN: Known = Known {
    kind: Kind::Nft,
    recognise: |head| head.iter().take(20).any(|line| is_table(line)),
    make: || Box::<Nft>::default(),
};

fn is_table(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    let families = ["ip", "ip6", "inet", "arp", "bridge", "netdev"];
    words.next() == Some("table")
        && words
            .next()
            .is_some_and(|family| families.contains(&family))
        && line.contains('{')
}

#[derive(Default)]
struct Nft {
    chain: String,
}

impl Format for Nft {
    fn line(&mut self, line: &str, at: LineRef, out: &mut Out<'_>) -> bool {
        let text = line.trim_start();
        if let Some(rest) = text.strip_prefix("chain ") {
            rest.split(' ')
                .next()
                .unwrap_or_default()
                .clone_into(&mut self.chain);
            return true;
        }
        if let Some(rule) = self.rule(text, at) {
            out.facts.rule(rule);
        }
        true
    }
}

/// What follows a word: one value, or those in braces.
fn value<'a>(text: &'a str, before: &str) -> Option<(&'a str, bool)> {
    let from = text.find(before)? + before.len();
    let rest = text.get(from..)?.trim_start();
    let (negated, rest) = match rest.strip_prefix("!=") {
        Some(rest) => (true, rest.trim_start()),
        None => (false, rest),
    };
    let value = match rest.strip_prefix('{') {
        Some(inner) => inner.split('}').next().unwrap_or_default().trim(),
        None => rest.split(' ').next().unwrap_or_default(),
    };
    Some((value, negated))
}

impl Nft {
    fn rule(&self, text: &str, at: LineRef) -> Option<PacketRule> {
        let padded = format!(" {text} ");
        // `masquerade # handle 4`, `redirect to :80`, `dnat to 10.9.0.2:8080`, `xt target "REDIRECT"`.
        let target = if padded.contains(" redirect ") || padded.contains("xt target \"REDIRECT\"") {
            let port = between(&padded, "redirect to :", &[' ', '-']);
            Target::Redirect(port.and_then(|port| port.parse().ok()))
        } else if padded.contains(" dnat ") {
            let to = padded.split(" dnat ").nth(1)?;
            let to = to.split_once("to ").map_or("", |(_, to)| to);
            destination(to.split(' ').next().unwrap_or_default())
        } else if padded.contains(" snat ") || padded.contains(" masquerade ") {
            Target::Snat
        } else if padded.contains(" reject ") {
            Target::Reject {
                reset: padded.contains("tcp reset"),
            }
        } else if padded.contains(" drop ") && !padded.contains(" policy ") {
            Target::Drop
        } else {
            return None;
        };
        let network = |before: &str| {
            let (text, negated) = value(&padded, before)?;
            let mut network = net(text.split(',').next().unwrap_or_default())?;
            network.negated = negated;
            Some(network)
        };
        let (mut transport, mut is_other) = (None, false);
        if padded.contains(" tcp ") {
            transport = Some(Transport::Tcp);
        } else if padded.contains(" udp ") {
            transport = Some(Transport::Udp);
        } else if let Some((name, _)) =
            value(&padded, " l4proto ").or_else(|| value(&padded, " protocol "))
        {
            (transport, is_other) = protocol(name);
        } else if padded.contains(" icmp") {
            is_other = target != Target::Drop && !padded.contains("reject");
        }
        let (asked, negated) = value(&padded, " dport ").unwrap_or_default();
        Some(PacketRule {
            at,
            chain: self.chain.clone(),
            transport,
            is_other: is_other || negated,
            source: network(" saddr "),
            destination: network(" daddr "),
            ports: ports(asked, '-'),
            target,
            packets: between(&padded, "counter packets ", &[' ']).and_then(leading_number),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_all_kinds() {
        let nft = Nft::default();
        let read = |text: &str| nft.rule(text, LineRef::default()).unwrap();
        let one = read(
            "ip daddr 123.56.0.0/16 tcp dport 80 counter packets 5 bytes 300 redirect to :80 # handle 4",
        );
        assert_eq!(
            (one.target, one.packets),
            (Target::Redirect(Some(80)), Some(5))
        );
        let one = read("ip daddr 10.96.0.10 tcp dport { 80, 443 } dnat to 10.9.0.2:8080");
        assert_eq!(
            (one.ports.len(), one.target),
            (
                2,
                Target::Dnat(Some("10.9.0.2".parse().unwrap()), Some(8080))
            )
        );
        assert_eq!(
            read("tcp dport 9000-9005 reject with tcp reset").target,
            Target::Reject { reset: true }
        );
        assert!(read("ip saddr != 10.0.0.0/8 drop").source.unwrap().negated);
        assert!(
            nft.rule(
                "type filter hook input priority 0; policy drop;",
                LineRef::default()
            )
            .is_none()
        );
    }
}
