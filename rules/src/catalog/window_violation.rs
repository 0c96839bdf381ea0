//! `window-violation`: a sender sends beyond what its receiver allows.

use analyzer::{Connection, Direction};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{many, number, other_end, plural};

declare_rule! {
    /// A sender sends more than a segment beyond the window that its receiver advertised.
    ///
    /// ## What it means
    /// Sender and receiver disagree about the window: a device between them changes the window or its scale, or
    /// one of the stacks is at fault.
    ///
    /// ## Why it matters
    /// A receiver may discard data beyond its window, which must then be retransmitted.
    ///
    /// ## How it is detected
    /// - Ten segments or more end beyond the acknowledgment and the widest window of the other end so far by
    ///   more than a full segment.
    /// - Both SYNs were captured, so that the scale is known, and no acknowledged data is missing from the
    ///   capture, so that no larger window passed unseen.
    ///
    /// The segment proves it, compared with the acknowledgment before it. A later window that was already in
    /// flight would refute it. Info: losses show whether it cost anything.
    ///
    /// ## What to do
    /// Compare SYN and SYN-ACK at both ends: they show a device that strips or changes the window scale.
    ///
    /// ## Known limits
    /// In a capture near the receiver its windows appear before the sender has them; near the sender, after.
    ///
    /// ## References
    /// - RFC 9293 §3.8.6; RFC 7323 §2
    pub(crate) struct WindowViolation {
        id: "window-violation",
        group: LossAndPath,
        title: "Data is sent beyond the window",
        severity: Info,
        needs: [Tcp, BothDirections, Handshake, NoCaptureDrops],
        traits: [BeyondWindow],
        clouded_by: [CaptureDrops, Offload],
        figures: [segments: Count / Sum],
        thresholds: [
            min_segments = 10.0: "Segments beyond the window; fewer may cross a window that shrinks.",
        ],
    }
}

/// Who sends beyond the window.
pub(crate) struct Seen {
    sender: Direction,
}

impl Rule for WindowViolation {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations<Seen>) {
        if !conn.handshake.tells_scales() {
            return;
        }
        for sender in Direction::BOTH {
            let half = conn.half(sender);
            let least = ctx.threshold("min_segments");
            let Some(first) = half
                .first_beyond_window
                .filter(|_| number(half.beyond_window) >= least)
            else {
                continue;
            };
            out.push(
                Observation::new(conn, confidence::OPEN, Impact::NONE)
                    .cause(format!("{} {}", conn.server, sender.sender()))
                    .at(first.time)
                    .weight(number(half.beyond_window))
                    .count(half.beyond_window)
                    .proof(
                        first,
                        "ends more than a full segment beyond the window advertised before it",
                    )
                    .figure("segments", number(half.beyond_window))
                    .seen(Seen { sender }),
            );
        }
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let server = group.server();
        let sender = group.best().seen.sender.sender();
        let receiver = other_end(sender);
        let segments = plural(group.figure("segments").unwrap_or_default(), "segment");
        draft
            .title(format!("The {sender} sends beyond the {receiver}'s window ({server})"))
            .summary(format!(
                "On {} {segments} of the {sender} ended more than a full segment beyond what the {receiver} had allowed by then.",
                many(group.connections(), "connection"),
            ))
            .confidence(confidence::OPEN, "Windows were captured; a capture at the sender would rule out a window update that did not pass here.")
            .because(format!("{segments} end beyond acknowledgment and window"))
            .not("zero-window-stall", "the window is open")
            .advise("network", "compare the window scale in SYN and SYN-ACK at both ends: they show a device that strips or changes it")
    }
}

#[cfg(test)]
mod tests {
    use analyzer::decode::{TcpFields, TcpFlags};

    use crate::model::finding::Finding;
    use crate::model::severity::Severity;
    use crate::testkit::findings_of;
    use crate::testkit::script::{Capture, Marks, fields};

    /// Twenty segments in flight into a window of this size.
    fn flight(window: u16) -> Vec<Finding> {
        let mut capture = Capture::new();
        capture.client(0, TcpFlags::SYN, 100, 0, 0);
        capture.server(20_000, TcpFlags::SYN | TcpFlags::ACK, 900, 101, 0);
        let ack = TcpFields {
            window_field: window,
            ..fields(101, 901, TcpFlags::ACK)
        };
        capture.packet(true, 20_100_000, Marks::default(), ack, 0);
        for number in 0..20_u32 {
            let at = 40_000 + u64::from(number) * 100;
            capture.server(at, TcpFlags::ACK, 901 + number * 1000, 101, 1000);
        }
        capture.client(60_000, TcpFlags::ACK, 101, 20_901, 0);
        findings_of("window-violation", &[capture.finish()])
    }

    #[test]
    fn a_flight_beyond_the_window_is_told() {
        let findings = flight(4_000);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Info);
    }

    #[test]
    fn a_flight_within_it_is_not() {
        assert!(flight(20_000).is_empty());
    }
}
