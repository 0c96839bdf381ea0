//! `spurious-retransmission`: bytes sent again that had already arrived.

use std::time::Duration;

use analyzer::decode::IcmpKind;
use analyzer::event::{EventKind, RetransmissionKind, SegmentRef};
use analyzer::{Connection, Direction};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::figure::most;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{bytes, end_at, number, plural, span};

declare_rule! {
    /// A sender retransmitted bytes that the receiver already had.
    ///
    /// ## What it means
    /// The sender took segments for lost that had arrived: their acknowledgment was lost or late, or segments
    /// were reordered.
    ///
    /// ## Why it matters
    /// The bytes are wasted, and the sender slows down as if there had been loss.
    ///
    /// ## How it is detected
    /// - The receiver reports the duplicate (DSACK).
    /// - Or, without SACK, the bytes were acknowledged before the copy was sent, or sooner than the copy could
    ///   have drawn the acknowledgment (by its time, or by the timestamp it echoes: Eifel, RFC 3522).
    /// - Tail loss probes do not count: they are speculative by design. Nor does what follows a router's ICMP
    ///   error of a packet too large: the router dropped the first copy.
    ///
    /// The report or the acknowledgment proves it. Severity is info, low from ten segments that are one percent
    /// of those sent.
    ///
    /// ## What to do
    /// Find the delay or the loss of acknowledgments; keep timestamps and DSACK on.
    ///
    /// ## Known limits
    /// Without DSACK, only retransmissions of data that the capture point itself saw arrive can be called
    /// unneeded.
    ///
    /// ## References
    /// - RFC 2883; RFC 3522; RFC 5682; RFC 8985 §7
    pub(crate) struct SpuriousRetransmission {
        id: "spurious-retransmission",
        group: LossAndPath,
        title: "Bytes are retransmitted although they had arrived",
        severity: Low,
        needs: [Tcp, BothDirections],
        traits: [NeedlessRepeat],
        clouded_by: [CaptureDrops, DuplicateFrames],
        figures: [segments: Count / Sum, bytes: Bytes / Sum],
        thresholds: [
            low_segments = 10.0: "Unneeded segments from which it matters.",
            low_percent = 1.0: "Share of the segments sent from which it matters.",
        ],
        host_evidence: [Retransmissions],
    }
}

impl Rule for SpuriousRetransmission {
    type Seen = Direction;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(
        &self,
        conn: &Connection,
        ctx: &Context<'_>,
        out: &mut Observations<Direction>,
    ) {
        for direction in Direction::BOTH {
            let half = conn.half(direction);
            let needless: Vec<_> = conn
                .events
                .iter()
                .filter(|event| event.segment.direction == direction)
                .filter_map(|event| match event.kind {
                    EventKind::Retransmission {
                        kind,
                        spurious: true,
                        after,
                        ..
                    } => Some((event.segment, kind, after)),
                    _ => None,
                })
                .collect();
            let is_excused = |segment: &SegmentRef, kind| {
                kind == RetransmissionKind::TailLossProbe || is_rejected(conn, segment)
            };
            let excused = needless
                .iter()
                .filter(|(segment, kind, _)| is_excused(segment, *kind))
                .count() as u64;
            let count = half
                .spurious_retransmissions
                .saturating_sub(half.spurious_control)
                .saturating_sub(excused);
            if count == 0 {
                continue;
            }
            let listed: Vec<_> = needless
                .into_iter()
                .filter(|(segment, kind, _)| segment.payload_len > 0 && !is_excused(segment, *kind))
                .collect();
            let known: u64 = listed
                .iter()
                .map(|(segment, ..)| u64::from(segment.payload_len))
                .sum();
            // Events are capped; scale what they show to the counter.
            let octets = if listed.is_empty() {
                0.0
            } else {
                number(known) * number(count) / number(listed.len() as u64)
            };
            let costly = number(count) >= ctx.threshold("low_segments")
                && number(count) * 100.0
                    >= ctx.threshold("low_percent") * number(half.segments_on_wire());
            let impact = if costly { Impact::SOME } else { Impact::NONE };
            let first = listed.first().copied();
            out.push(observation(conn, direction, first, impact, count, octets));
        }
    }

    fn describe(&self, group: &Group<'_, Direction>, draft: Narrative) -> Narrative {
        let sender = most(group.seen().copied()).map_or("", Direction::sender);
        let server = group.server();
        let end = end_at(sender, server);
        let segments = group.figure("segments").unwrap_or_default();
        let octets = group.figure("bytes").unwrap_or_default();
        draft
            .title(format!("The {sender} retransmits bytes that had arrived ({server})"))
            .summary(format!(
                "The {end} retransmitted {} ({}) that the receiver already had: acknowledgments were late or lost, or segments were reordered.",
                plural(segments, "segment"), bytes(octets)
            ))
            .confidence(confidence::STRONG, "The receiver reported the duplicates, or had acknowledged the bytes before.")
            .because(format!("{} that the receiver did not need, tail loss probes left out", plural(segments, "retransmission")))
            .not("packet-loss", "the first copies arrived")
            .advise("network", "look for delay spikes and for loss of acknowledgments in the other direction")
            .set("Linux", "keep the options on that let senders undo the slowdown", "net.ipv4.tcp_timestamps = 1, net.ipv4.tcp_dsack = 1, net.ipv4.tcp_frto = 2")
            .verify(sender, "nstat -az TcpExtTCPDSACKRecv TcpExtTCPSpuriousRTOs TcpExtTCPFullUndo", "duplicates reported to this host and slowdowns undone")
    }
}

/// A copy that was not needed, and how long after the one before it.
type Needless = (SegmentRef, RetransmissionKind, Duration);

fn observation(
    conn: &Connection,
    direction: Direction,
    first: Option<Needless>,
    impact: Impact,
    count: u64,
    octets: f64,
) -> Observation<Direction> {
    let half = conn.half(direction);
    let sender = direction.sender();
    Observation::new(conn, confidence::STRONG, impact)
        .cause(format!("{} {sender}", conn.server))
        .at(first.map_or(conn.start, |(segment, ..)| segment.time))
        .weight(number(count))
        .count(count)
        .proof_if(
            first.map(|(segment, ..)| segment),
            first
                .map(|(segment, _, after)| {
                    format!(
                        "{} bytes from {sender} retransmitted after {}; the receiver had them",
                        segment.payload_len,
                        span(after)
                    )
                })
                .unwrap_or_default(),
        )
        .evidence_if(
            half.last_data.filter(|_| first.is_none()),
            format!("last data of a direction with {count} unneeded retransmissions"),
        )
        .figure("segments", number(count))
        .figure("bytes", octets)
        .cost("bytes_wasted", octets)
        .seen(direction)
}

/// Whether a router had just said that packets of this direction are too large: it had dropped the copies before.
fn is_rejected(conn: &Connection, copy: &SegmentRef) -> bool {
    /// The sender repeats them at once, or with its timer (RFC 6298 §2.4).
    const SOON: Duration = Duration::from_secs(1);
    conn.events.iter().any(|event| {
        let is_too_big =
            matches!(event.kind, EventKind::IcmpError(icmp) if icmp.kind() == IcmpKind::TooBig);
        let segment = &event.segment;
        is_too_big
            && segment.direction == copy.direction
            && segment.time <= copy.time
            && copy.time.since(segment.time) <= SOON
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::severity::Severity;
    use crate::testkit::{Builder, S, figure, findings_of};
    use std::time::Duration;

    fn repeated(kind: RetransmissionKind, count: u64) -> Connection {
        let mut builder = Builder::tcp(1)
            .handshake(0.0, 20.0)
            .request(1.0, 10)
            .response(30.0, 1000);
        let again = builder.segment(260.0, S, 0x10, 1000);
        let after = Duration::from_millis(230);
        builder
            .event(
                again,
                EventKind::Retransmission {
                    kind,
                    spurious: true,
                    presumed: false,
                    original_frame: Some(5),
                    after,
                },
            )
            .with(|conn| {
                conn.halves[1].spurious_retransmissions = count;
                conn.halves[1].data_segments = 100;
            })
            .build()
    }

    #[test]
    fn needless_copies_are_counted() {
        let findings = findings_of(
            "spurious-retransmission",
            &[repeated(RetransmissionKind::Timeout, 12)],
        );
        assert_eq!(findings[0].severity, Severity::Low);
        assert!((figure(&findings[0], "segments") - 12.0).abs() < f64::EPSILON);
        assert!((figure(&findings[0], "bytes") - 12_000.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_few_are_information() {
        let findings = findings_of(
            "spurious-retransmission",
            &[repeated(RetransmissionKind::Timeout, 2)],
        );
        assert_eq!(findings[0].severity, Severity::Info);
    }

    #[test]
    fn probes_and_clean_connections_are_silent() {
        assert!(
            findings_of(
                "spurious-retransmission",
                &[repeated(RetransmissionKind::TailLossProbe, 1)]
            )
            .is_empty()
        );
        assert!(
            findings_of(
                "spurious-retransmission",
                &[repeated(RetransmissionKind::TailLossProbe, 0)]
            )
            .is_empty()
        );
    }
}
