//! `ttl-expired`: a router reports that packets ran out of hops.

use std::net::IpAddr;

use analyzer::decode::IcmpKind;
use analyzer::event::EventKind;
use analyzer::hosts::HostProfile;
use analyzer::{Analysis, Connection, Direction};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::figure::most;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{many, number, plural};

declare_rule! {
    /// A router reports that packets ran out of hops, although they were sent with enough.
    ///
    /// ## What it means
    /// Packets circulate beyond the capture point, or the path is longer than the hop limit that their sender
    /// set.
    ///
    /// ## Why it matters
    /// Nothing sent there arrives, and a loop loads its links dozens of times with each packet.
    ///
    /// ## How it is detected
    /// - ICMP "time exceeded" (hop limit) quotes a packet of a connection.
    /// - At the capture point, that end's packets had 32 hops or more left: it was no traceroute, which begins
    ///   with one.
    ///
    /// The ICMP message proves it. A later answer from the destination shows that packets arrived: low in that
    /// case. Where the packets were captured circulating, routing-loop reports it instead.
    ///
    /// ## What to do
    /// Follow the route from the reporting router: two next hops point at each other.
    ///
    /// ## Known limits
    /// Most routers limit how many such messages they send, so that one stands for many packets. A single
    /// message while routes change is usual.
    ///
    /// ## References
    /// - RFC 792 (time exceeded), RFC 4443 §3.3, RFC 1812 §4.3.2.8
    pub(crate) struct TtlExpired {
        id: "ttl-expired",
        group: LossAndPath,
        title: "Packets run out of hops on the path",
        severity: Medium,
        needs: [],
        traits: [RouterError],
        clouded_by: [],
        figures: [messages: Count / Sum, hops_left: Count / Min],
        thresholds: [
            min_hops_left = 32.0: "Hop limit at the capture point from which it is no traceroute; those rarely go beyond 30.",
        ],
    }
}

/// Ports that traceroute sends to by default.
const TRACEROUTE: std::ops::RangeInclusive<u16> = 33_434..=33_534;

/// Who reported it.
pub(crate) struct Seen {
    reporter: IpAddr,
    /// Whose packets did not arrive.
    target: IpAddr,
    /// The destination was heard on the connection.
    answered: bool,
}

impl Rule for TtlExpired {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations<Seen>) {
        let errors = conn.events.iter().filter_map(|event| match event.kind {
            EventKind::IcmpError(icmp) if icmp.kind() == IcmpKind::HopLimitExceeded => {
                Some((event.segment, icmp.reporter))
            }
            _ => None,
        });
        let errors: Vec<_> = errors.collect();
        let Some((first, reporter)) = errors.first().copied() else {
            return;
        };
        let half = conn.half(first.direction);
        let left = half.hop_limit.map_or(0.0, f64::from);
        let target = match first.direction {
            Direction::ClientToServer => conn.server,
            Direction::ServerToClient => conn.client,
        };
        if left < ctx.threshold("min_hops_left") || TRACEROUTE.contains(&target.port) {
            return;
        }
        let answered = conn.half(first.direction.reverse()).packets > 0;
        let impact = if answered {
            Impact::SOME
        } else {
            Impact::attempts_failed(1)
        };
        let messages = number(errors.len() as u64);
        out.push(
            Observation::new(conn, confidence::STRONG, impact)
                .cause(target.ip.to_string())
                .at(first.time)
                .weight(messages)
                .count(errors.len() as u64)
                .failures("attempts_failed")
                .evidence_if(
                    half.last_segment.filter(|_| left > 0.0),
                    format!("sent with {left:.0} hops left here"),
                )
                .proof(
                    first,
                    format!("ICMP time exceeded from {reporter}; it quotes a packet to {target}"),
                )
                .figure("messages", messages)
                .figure("hops_left", left)
                .seen(Seen {
                    reporter,
                    target: target.ip,
                    answered,
                }),
        );
    }

    fn on_capture(&self, analysis: &Analysis, _ctx: &Context<'_>, collected: &mut Collected<Seen>) {
        let is_told = |one: &Observation<Seen>| {
            let mut loops = analysis.routing_loops.iter();
            loops.any(|circle| circle.destination.ip == one.seen.target)
        };
        collected.observations.retain(|one| !is_told(one));
        for one in &mut collected.observations {
            let client = analysis.hosts.get(one.connection.client.ip);
            let wants_nothing = |host: &HostProfile| host.is_scanner() || host.is_peer_to_peer();
            if client.is_some_and(wants_nothing) {
                one.impact = Impact::NONE;
            }
        }
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let target = group.best().seen.target;
        let reporter = most(group.seen().map(|seen| seen.reporter)).unwrap_or(target);
        let messages = plural(group.figure("messages").unwrap_or_default(), "ICMP message");
        let left = group.figure("hops_left").unwrap_or_default();
        let answered = group.having(|seen| seen.answered);
        draft
            .title(format!("Packets to {target} run out of hops at {reporter}"))
            .summary(format!(
                "{messages} of {reporter} on {} report that the hop limit of packets to {target} ran out, although they had {left:.0} hops left at the capture point: they circulate, or {target} is farther away than that. {}",
                many(group.connections(), "connection"),
                if answered == 0 { format!("{target} did not answer there.") } else { format!("{target} answered on {}.", many(answered, "connection")) },
            ))
            .confidence(confidence::STRONG, "The messages quote the packets they refer to.")
            .because(format!("{reporter} discarded the packet because its hop limit reached zero"))
            .not("traceroute", format!("such packets are sent with few hops; these had {left:.0} left here"))
            .not("icmp-unreachable", "every hop had a route, but the path did not end")
            .advise("network", format!("compare the routes to {target} at {reporter} and its next hops: two of them point at each other"))
            .verify("client", format!("traceroute -n {target}"), "two or more routers alternating until the end")
    }
}

#[cfg(test)]
mod tests {
    use analyzer::decode::IcmpFields;

    use super::*;
    use crate::model::severity::Severity;
    use crate::testkit::{Builder, C, findings_of};

    /// A datagram that was sent with so many hops left, and ran out of them.
    fn expired(port: u16, hop_limit: u8) -> Connection {
        let mut builder = Builder::udp(port);
        let packet = builder.segment(1.0, C, 0, 100);
        let icmp = IcmpFields {
            icmp_type: 11,
            code: 0,
            v6: false,
            mtu: 0,
            reporter: [10, 9, 0, 254].into(),
            quoted_seq: None,
        };
        let builder = builder.event(packet, EventKind::IcmpError(icmp));
        builder
            .with(|conn| conn.halves[0].hop_limit = Some(hop_limit))
            .build()
    }

    #[test]
    fn packets_with_many_hops_left_should_have_arrived() {
        let findings = findings_of("ttl-expired", &[expired(1, 62)]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Low);
        let several: Vec<_> = (1..4).map(|port| expired(port, 62)).collect();
        assert_eq!(
            findings_of("ttl-expired", &several)[0].severity,
            Severity::Medium
        );
    }

    #[test]
    fn a_traceroute_wants_them_to_run_out() {
        assert!(findings_of("ttl-expired", &[expired(1, 3)]).is_empty());
        let mut usual = expired(1, 62);
        usual.server.port = 33_435;
        assert!(findings_of("ttl-expired", &[usual]).is_empty());
    }
}
