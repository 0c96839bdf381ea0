//! `reordering`: segments overtake each other on the path.

use analyzer::event::EventKind;
use analyzer::{Connection, Direction};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::figure::most;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{end_at, ms, number, percent, plural, share, span, time};

declare_rule! {
    /// Segments arrived in a different order than they were sent.
    ///
    /// ## What it means
    /// The network delivered later segments before earlier ones, without losing any.
    ///
    /// ## Why it matters
    /// The receiver asks for what seems missing, and the sender may retransmit it without need and slow down.
    /// Modern systems adapt; strong reordering still costs throughput.
    ///
    /// ## How it is detected
    /// - Originals (by timestamp and IP identification) arrive after later ones, within a fraction of the round
    ///   trip.
    /// - At least three of them on a connection.
    ///
    /// Severity is info, low from one percent of the segments.
    ///
    /// ## What to do
    /// Keep each connection on one path: balance per flow, one receive queue per flow.
    ///
    /// ## Known limits
    /// A capture that merges several queues or interfaces can reorder by itself. At the sender's side
    /// reordering is not visible.
    ///
    /// ## References
    /// - RFC 4737; RFC 5236; RFC 8985 §6.2 (adapting to it)
    pub(crate) struct Reordering {
        id: "reordering",
        group: LossAndPath,
        title: "Segments arrive out of order",
        severity: Low,
        needs: [Tcp, BothDirections],
        traits: [LateOriginal],
        clouded_by: [CaptureDrops, DuplicateFrames, ClockStep, CaptureDisorder],
        figures: [segments: Count / Sum, extent_ms_max: Milliseconds / Max],
        thresholds: [
            min_segments = 3.0: "Late segments on a connection; single ones happen on any path.",
            low_percent = 1.0: "Share of the segments from which senders may slow down.",
        ],
        host_evidence: [Retransmissions],
    }
}

/// Segments of one sender that came late.
pub(crate) struct Seen {
    sender: Direction,
    /// Of all its segments, 0–1.
    share: f64,
    /// Segments that it repeated needlessly.
    needless: u64,
}

impl Rule for Reordering {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations<Seen>) {
        for direction in Direction::BOTH {
            let half = conn.half(direction);
            if number(half.out_of_order) < ctx.threshold("min_segments") {
                continue;
            }
            let late: Vec<_> = conn
                .events
                .iter()
                .filter(|event| event.segment.direction == direction)
                .filter_map(|event| match event.kind {
                    EventKind::OutOfOrder { late_by } => Some((event.segment, late_by)),
                    _ => None,
                })
                .collect();
            let part = share(
                half.out_of_order,
                half.segments_on_wire().max(half.out_of_order),
            );
            let impact = if part * 100.0 >= ctx.threshold("low_percent") {
                Impact::SOME
            } else {
                Impact::NONE
            };
            let sender = direction.sender();
            let worst = late.iter().max_by_key(|(_, late_by)| *late_by).copied();
            let place = worst.map(|(segment, _)| segment).or(half.last_data);
            out.push(
                Observation::new(conn, confidence::LIKELY, impact)
                    .cause(format!("{} {sender}", conn.server))
                    .at(place.map_or(conn.start, |segment| segment.time))
                    .weight(number(half.out_of_order))
                    .count(half.out_of_order)
                    .proof_if(
                        worst.map(|(segment, _)| segment),
                        worst
                            .map(|(_, late_by)| {
                                format!(
                                    "original from {sender} that arrives {} after a later one",
                                    span(late_by)
                                )
                            })
                            .unwrap_or_default(),
                    )
                    .evidence_if(
                        place.filter(|_| worst.is_none()),
                        format!(
                            "last data of a direction with {} late originals",
                            half.out_of_order
                        ),
                    )
                    .figure("segments", number(half.out_of_order))
                    .figure_if("extent_ms_max", worst.map(|(_, late_by)| ms(late_by)))
                    .seen(Seen {
                        sender: direction,
                        share: part,
                        needless: half
                            .spurious_retransmissions
                            .saturating_sub(half.spurious_control),
                    }),
            );
        }
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let sender = most(group.seen().map(|seen| seen.sender)).map_or("", Direction::sender);
        let server = group.server();
        let end = end_at(sender, server);
        let segments = group.figure("segments").unwrap_or_default();
        let extent = group.figure("extent_ms_max");
        let part = group.seen().map(|seen| seen.share).fold(0.0, f64::max);
        let needless = number(group.seen().map(|seen| seen.needless).sum());
        let late = extent
            .map(|extent| format!(", by up to {}", time(extent)))
            .unwrap_or_default();
        draft
            .title(format!("Segments from the {sender} arrive out of order ({server})"))
            .summary(format!(
                "{} from the {end} arrived after later ones{late}; {} on the worst connection. The network delivered them over unequal paths or queues.",
                plural(segments, "segment"), percent(part)
            ))
            .confidence(confidence::LIKELY, "The late segments are originals, not retransmissions.")
            .because("timestamps and IP identification of the late segments are older than their neighbours'")
            .because_if(needless > 0.0, || format!("{} in the same direction without need", plural(needless, "retransmission")))
            .not("packet-loss", "nothing was lost: the originals arrived")
            .not("retransmit-hol", "no retransmission was needed to fill the gaps")
            .advise("network", "balance per flow instead of per packet (ECMP, LACP, bonding mode round-robin)")
            .advise("Linux", "use one receive queue per flow; senders adapt by RACK (net.ipv4.tcp_recovery = 1)")
            .verify("receiver", "nstat -az TcpExtTCPOFOQueue TcpExtTCPSACKReorder TcpExtTCPTSReorder", "segments that arrived out of order on this host")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::severity::Severity;
    use crate::testkit::{Builder, S, figure, findings_of};
    use std::time::Duration;

    fn reordered(count: u64, sent: u64) -> Connection {
        let mut builder = Builder::tcp(1)
            .handshake(0.0, 20.0)
            .request(1.0, 10)
            .response(30.0, 1400);
        let late = builder.segment(31.0, S, 0x10, 1400);
        builder
            .event(
                late,
                EventKind::OutOfOrder {
                    late_by: Duration::from_millis(2),
                },
            )
            .with(|conn| {
                conn.halves[1].out_of_order = count;
                conn.halves[1].data_segments = sent;
            })
            .build()
    }

    #[test]
    fn share_decides() {
        let findings = findings_of("reordering", &[reordered(30, 1000)]);
        assert_eq!(findings[0].severity, Severity::Low);
        assert!((figure(&findings[0], "segments") - 30.0).abs() < f64::EPSILON);
        assert!((figure(&findings[0], "extent_ms_max") - 2.0).abs() < 0.01);
        assert_eq!(
            findings_of("reordering", &[reordered(3, 1000)])[0].severity,
            Severity::Info
        );
    }

    #[test]
    fn single_late_segments_are_silent() {
        assert!(findings_of("reordering", &[reordered(1, 1000)]).is_empty());
        assert!(findings_of("reordering", &[reordered(0, 1000)]).is_empty());
    }
}
