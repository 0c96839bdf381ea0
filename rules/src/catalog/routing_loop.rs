//! `routing-loop`: routers send packets in a circle until their hop limit ends.

use analyzer::Analysis;
use analyzer::analysis::RoutingLoop;

use crate::model::confidence;
use crate::model::connection_ref::ConnectionRef;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation};
use crate::model::rule::Rule;
use crate::model::text::{number, plural, span};

declare_rule! {
    /// The same packets pass repeatedly with a falling hop limit: a routing loop.
    ///
    /// ## What it means
    /// Two or more routers each use the other as next hop to a destination. A packet circulates between them,
    /// loses one hop at each, and is dropped when its hop limit reaches zero.
    ///
    /// ## Why it matters
    /// Nothing reaches the destination, and every packet loads the link dozens of times.
    ///
    /// ## How it is detected
    /// - One packet, identified by addresses, ports, IP identification and TCP numbers, was seen at least four
    ///   times with a hop limit that falls each time.
    /// - A capture at two points of one path shows every packet twice and does not count.
    ///
    /// `packets` counts the looping packets; `ttl_first` and `ttl_last` are the largest and smallest hop limit
    /// seen. A looping packet does not arrive, so each counts as lost.
    ///
    /// ## What to do
    /// Correct the routes. Often a default route and a summary route point at each other, a discard route for a
    /// summarised prefix is missing, or routing has not converged after a failure.
    ///
    /// ## Known limits
    /// A loop beyond the capture point that does not pass it again shows only by ICMP time exceeded. IPv6
    /// packets carry no identification, so equal datagrams of one flow are distinguished only by their falling
    /// hop limit. Only TCP and UDP are examined.
    ///
    /// ## References
    /// - RFC 791 §3.2 (time to live), RFC 8200 §3 (hop limit)
    /// - RFC 792, RFC 4443 §3.3 (time exceeded)
    pub(crate) struct LoopedPackets {
        id: "routing-loop",
        group: LossAndPath,
        title: "Packets circulate in a routing loop",
        severity: High,
        needs: [],
        traits: [],
        clouded_by: [DuplicateFrames],
        figures: [packets: Count / Sum, ttl_first: Count / Max, ttl_last: Count / Min],
        thresholds: [
            min_sightings = 4.0: "How often one packet must be seen, its hop limit falling; two capture points on one path give two.",
        ],
    }
}

/// A packet that came by again and again.
pub(crate) struct Seen {
    sightings: u64,
    /// Routers of the circle.
    step: f64,
}

impl Rule for LoopedPackets {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_capture(&self, analysis: &Analysis, ctx: &Context<'_>, collected: &mut Collected<Seen>) {
        let least = ctx.threshold("min_sightings");
        for one in &analysis.routing_loops {
            if number(one.sightings) >= least * number(one.packets) {
                collected.observations.push(observation(one));
            }
        }
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let target = group.server().ip;
        let packets = group.figure("packets").unwrap_or_default();
        let (high, low) = (
            group.figure("ttl_first").unwrap_or_default(),
            group.figure("ttl_last").unwrap_or_default(),
        );
        let rounds = number(group.seen().map(|seen| seen.sightings).sum()) / packets.max(1.0);
        let step = group.best().seen.step;
        let exceeded = group.analysis.icmp_errors.iter();
        let exceeded = exceeded.filter(|one| {
            let kind = if one.icmp.v6 { 3 } else { 11 };
            one.to.ip == target && one.icmp.icmp_type == kind
        });
        let exceeded = exceeded.count() as u64;
        draft
            .title(format!("Packets to {target} circulate in a routing loop"))
            .summary(format!(
                "{} from {} to {target} passed the capture point about {rounds:.0} times each, with hop limits falling from {high:.0} to \
                 {low:.0}. Routers forward them in a circle until the hop limit reaches zero; none of them arrives.",
                plural(packets, "packet"),
                group.clients_text(),
            ))
            .confidence(confidence::PROVED, "The same packets, identified by IP identification and TCP numbers, were seen with falling hop limits.")
            .because(format!("the hop limit falls by {step:.0} each time: the loop has {}", plural(step, "hop")))
            .because_if(exceeded > 0, || format!("{} \"time exceeded\" came back for packets to {target}", plural(number(exceeded), "ICMP message")))
            .not("retransmission", "a retransmission has a new identification and the sender's full hop limit")
            .not("capture at two points of one path", format!("that shows each packet twice, not {rounds:.0} times"))
            .advise("network", format!("compare the routes to {target} on the routers of the loop: two of them point at each other"))
            .set("Cisco, Juniper", "add a discard route for each announced summary", "ip route SUMMARY MASK Null0; set routing-options static route SUMMARY discard")
            .set("Linux", "the same on a Linux router", "ip route add blackhole SUMMARY")
            .verify("client", format!("traceroute -n {target}"), "two or more routers alternating until the end")
            .verify("router", format!("ip route get {target}"), "the next hop: follow it until one points back")
    }
}

fn observation(one: &RoutingLoop) -> Observation<Seen> {
    let connection = ConnectionRef {
        first_frame: one.first.frame,
        transport: one.transport,
        client: one.source,
        server: one.destination,
        translated_to: None,
    };
    let note = Note {
        connection,
        at: one.first.time,
        fact: (),
        limits: Vec::new(),
        owner: None,
    };
    let fell = f64::from(one.hop_limit_first) - f64::from(one.hop_limit_last);
    let steps = number(one.sightings) / number(one.packets.max(1)) - 1.0;
    Observation::from_note(
        &note,
        confidence::PROVED,
        Impact::requests_lost(one.packets),
    )
    .cause(one.destination.ip.to_string())
    .weight(number(one.sightings))
    .evidence(one.first, "first time the packet passes")
    .proof(
        one.first_again,
        format!(
            "the same packet, {} later, with the lowest hop limit seen",
            span(one.first_again.time.since(one.first.time))
        ),
    )
    .figure("packets", number(one.packets))
    .figure("ttl_first", f64::from(one.hop_limit_first))
    .figure("ttl_last", f64::from(one.hop_limit_last))
    .cost("packets_lost", number(one.packets))
    .seen(Seen {
        sightings: one.sightings,
        step: (fell / steps.max(1.0)).round().max(1.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{Builder, C, at, figure, findings_in};
    use analyzer::event::SegmentRef;

    fn circling(port: u16, packets: u64, sightings: u64) -> RoutingLoop {
        let conn = Builder::tcp(port).build();
        let place = |frame, ms| SegmentRef::place(frame, at(ms), C);
        RoutingLoop {
            transport: conn.transport,
            source: conn.client,
            destination: conn.server,
            packets,
            sightings,
            hop_limit_first: 62,
            hop_limit_last: 2,
            first: place(1, 0.0),
            first_again: place(31, 4.0),
        }
    }

    #[test]
    fn packets_that_go_round_are_found() {
        let analysis = Analysis {
            routing_loops: vec![circling(1, 2, 62), circling(2, 1, 31)],
            ..Analysis::default()
        };
        let findings = findings_in("routing-loop", &[], &analysis);
        assert_eq!(findings.len(), 1, "one destination");
        assert!((figure(&findings[0], "packets") - 3.0).abs() < f64::EPSILON);
        assert!((figure(&findings[0], "ttl_first") - 62.0).abs() < f64::EPSILON);
        assert!((figure(&findings[0], "ttl_last") - 2.0).abs() < f64::EPSILON);
        assert!(
            findings[0].why[0].contains("2 hops"),
            "{:?}",
            findings[0].why
        );
    }

    #[test]
    fn few_sightings_prove_nothing() {
        let analysis = Analysis {
            routing_loops: vec![circling(1, 4, 9)],
            ..Analysis::default()
        };
        assert!(findings_in("routing-loop", &[], &analysis).is_empty());
    }
}
