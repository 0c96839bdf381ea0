//! `injected-reset`: a reset that its supposed sender did not send.

use analyzer::Connection;
use analyzer::connection::ResetKind;

use crate::model::context::Context;
use crate::model::legacy::{Group, Legacy, Observation, Observations};
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::Narrative;
use crate::model::rule::Rule;
use crate::model::severity::Severity;
use crate::model::text::{many, number, plural};

declare_rule! {
    /// A reset was sent by a device on the way in the name of one end.
    ///
    /// ## What it means
    /// Firewalls, intrusion prevention and filters end connections by sending RST with a forged
    /// sender address. Both ends believe the other closed.
    ///
    /// ## Why it matters
    /// Healthy connections break, and the search goes to the wrong host: neither end has sent the reset.
    ///
    /// ## How it is detected
    /// The RST's hop limit does not fit the other packets of its supposed sender, its sequence number does not
    /// fit, or the sender carries on with data as if nothing had happened. An IP identification of zero or
    /// missing timestamps alone prove nothing: real resets of closed sockets look so too.
    /// Severity is high: a working connection was broken.
    ///
    /// ## What to do
    /// Find the device: the hop limit tells how far away it is.
    ///
    /// ## Known limits
    /// A route change alters the hop limit of all packets, which is taken into account only when later packets
    /// are seen. A careful device copies the hop limit and is missed.
    ///
    /// ## References
    /// - RFC 5961 §3; RFC 9293 §3.5.3
    pub(crate) struct InjectedReset {
        id: "injected-reset",
        title: "A device on the path resets connections",
        severity: High,
        needs: [Tcp],
        clouded_by: [DuplicateFrames, OneSided],
        figures: [
            resets: Count / Sum,
            ttl_expected: Count / Median,
            ttl_seen: Count / Median,
        ],
        thresholds: [
            min_hop_difference = 3.0: "Difference of the hop limits that counts; load-balanced paths differ by one or two.",
            min_confidence = 0.6: "Resets less surely forged than this are not reported.",
        ],
    }
}

impl Rule for InjectedReset {
    type Seen = Legacy;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations) {
        for reset in conn
            .resets
            .iter()
            .filter(|reset| reset.kind == ResetKind::Forged)
        {
            let differs = reset.usual_hop_limit.is_some_and(|usual| {
                f64::from(usual.abs_diff(reset.hop_limit)) >= ctx.threshold("min_hop_difference")
            });
            if reset.confidence < ctx.threshold("min_confidence")
                || !(differs || reset.sender_carried_on)
            {
                continue;
            }
            let end = reset.segment.direction.sender();
            let hops =
                reset
                    .usual_hop_limit
                    .filter(|_| differs)
                    .map_or_else(String::new, |usual| {
                        format!(
                            ", hop limit {} where the {end}'s other packets bear {usual}",
                            reset.hop_limit
                        )
                    });
            let after = conn.half(reset.segment.direction).last_segment;
            let after =
                after.filter(|after| after.frame > reset.segment.frame && reset.sender_carried_on);
            out.push(
                Observation::untyped(conn, reset.confidence, Severity::High)
                    .cause(format!("{} {end}", conn.server))
                    .at(reset.segment.time)
                    .weight(
                        f64::from(u8::from(differs)) + f64::from(u8::from(reset.sender_carried_on)),
                    )
                    .evidence(reset.segment, format!("RST in the name of the {end}{hops}"))
                    .evidence_if(after, format!("the {end} carries on after \"its\" RST"))
                    .figure("resets", f64::from(reset.count))
                    .figure("ttl_seen", f64::from(reset.hop_limit))
                    .figure_if("ttl_expected", reset.usual_hop_limit.map(f64::from))
                    .cost("connections_broken", 1.0)
                    .detail("carried_on", f64::from(u8::from(reset.sender_carried_on)))
                    .detail("differs", f64::from(u8::from(differs)))
                    .label("end", end),
            );
            return;
        }
    }

    fn describe(&self, group: &Group<'_>, draft: Narrative) -> Narrative {
        let end = group.words("end").unwrap_or_default();
        let (server, seen) = (group.server(), group.number("ttl_seen").unwrap_or_default());
        let expected = group.number("ttl_expected");
        let carried_on = group.positive("carried_on");
        // Senders start at 64, 128 or 255; what is missing was used up on the way.
        let start = [64.0, 128.0, 255.0]
            .into_iter()
            .find(|start| *start >= seen)
            .unwrap_or(255.0);
        let hops = expected
            .filter(|expected| (expected - seen).abs() >= 1.0)
            .map(|expected| format!(" (hop limit {seen:.0} instead of {expected:.0})"))
            .unwrap_or_else(|| format!(", since the {end} went on sending"));
        let confidence = draft.confidence;
        draft
            .title(format!("Resets in the name of the {end} come from a device on the path ({server})"))
            .summary(format!(
                "{} to {server} were ended by RST segments that bear the {end}'s address but were not sent by it{hops}. \
                 A firewall, filter or intrusion prevention between the ends does that.",
                plural(number(group.connections()), "connection")
            ))
            .confidence(confidence, "The reset disagrees with its supposed sender; which device sent it is not seen.")
            .because_if(group.positive("differs") > 0, || format!("on {} the hop limit differs from that of the {end}'s other packets", many(group.positive("differs"), "connection")))
            .because_if(carried_on > 0, || format!("on {} the {end} went on sending afterwards", many(carried_on, "connection")))
            .not("linger-zero-reset", "an end that aborts uses its own hop limit and stops sending")
            .not("route change", "the packets right before the reset bear the usual hop limit")
            .advise("any", format!("look about {} from the capture point towards the {end} (the device's packets probably start at {start:.0}): logs of firewall, intrusion prevention and content filter at that place", plural(start - seen, "hop")))
            .advise("Linux", "packets that connection tracking calls INVALID can cause resets at a NAT: drop them, or set net.netfilter.nf_conntrack_tcp_be_liberal = 1")
            .verify("capture", format!("traceroute -n -T -p {} {}", server.port, server.ip), "which device stands at that distance")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{Builder, S, figure, findings_of};

    fn forged(seen: u8, usual: u8, carried_on: bool) -> Connection {
        let builder =
            Builder::tcp(1)
                .handshake(0.0, 1.0)
                .request(1.0, 100)
                .reset(1.5, S, ResetKind::Forged);
        builder
            .with(|conn| {
                conn.resets[0].hop_limit = seen;
                conn.resets[0].usual_hop_limit = Some(usual);
                conn.resets[0].sender_carried_on = carried_on;
            })
            .response(2.0, 100)
            .build()
    }

    #[test]
    fn other_hop_limit_betrays_the_device() {
        let findings = findings_of("injected-reset", &[forged(247, 52, false)]);
        assert!((figure(&findings[0], "ttl_seen") - 247.0).abs() < f64::EPSILON);
        assert!((figure(&findings[0], "ttl_expected") - 52.0).abs() < f64::EPSILON);
    }

    #[test]
    fn sender_that_carries_on_betrays_it_too() {
        assert_eq!(
            findings_of("injected-reset", &[forged(64, 64, true)]).len(),
            1
        );
    }

    #[test]
    fn small_differences_and_real_resets_are_silent() {
        assert!(findings_of("injected-reset", &[forged(63, 64, false)]).is_empty());
        let real = Builder::tcp(1)
            .handshake(0.0, 1.0)
            .reset(1.5, S, ResetKind::HalfOpen)
            .build();
        assert!(findings_of("injected-reset", &[real]).is_empty());
    }
}
