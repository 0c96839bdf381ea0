//! `sequence-rewritten`: SACK blocks name octets that cannot be.

use analyzer::connection::Half;
use analyzer::{Connection, Direction};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{many, number, other_end};

declare_rule! {
    /// SACK blocks name bytes that their sender cannot have received: a device rewrites sequence numbers.
    ///
    /// ## What it means
    /// A firewall or proxy on the path shifts the sequence numbers of a connection (to hide a host's weak
    /// initial numbers, or because it changed the length of something) but not those inside the SACK option.
    ///
    /// ## Why it matters
    /// The sender discards such blocks, so each loss of more than one segment waits for a timer. Some systems
    /// drop the whole acknowledgment, and transfers stall wherever a packet is lost.
    ///
    /// ## How it is detected
    /// - Three or more acknowledgments of one end carry a SACK block before the other end's initial sequence
    ///   number, or one that begins beyond everything it ever allowed to be sent.
    /// - Both SYNs were captured, so that numbers and windows are known.
    ///
    /// The acknowledgment proves it: no receiver can hold such bytes. A block inside the window, or below the
    /// acknowledgment (DSACK), would refute it. Low by itself: other findings measure what recovery cost.
    ///
    /// ## What to do
    /// Disable the rewriting or update the device. Until then, disable SACK for these connections.
    ///
    /// ## Known limits
    /// A shift so small that the blocks still fall into the window is not detected.
    ///
    /// ## References
    /// - RFC 2018 §3 and §4; RFC 2883 §4
    pub(crate) struct SequenceRewritten {
        id: "sequence-rewritten",
        group: LossAndPath,
        title: "A device rewrites sequence numbers but not SACK",
        severity: Low,
        needs: [Tcp, BothDirections, Handshake],
        traits: [ImpossibleSack],
        clouded_by: [CaptureDrops],
        figures: [acknowledgments: Count / Sum],
        thresholds: [
            min_acknowledgments = 3.0: "Acknowledgments with such a block; one or two may be a receiver's own defect.",
        ],
    }
}

/// Whose acknowledgments carry such blocks.
pub(crate) struct Seen {
    receiver: Direction,
}

impl Rule for SequenceRewritten {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations<Seen>) {
        let least = ctx.threshold("min_acknowledgments");
        for receiver in Direction::BOTH {
            let half: &Half = conn.half(receiver);
            let first = half.first_impossible_sack;
            let Some(first) = first.filter(|_| number(half.impossible_sacks) >= least) else {
                continue;
            };
            out.push(
                Observation::new(conn, confidence::LIKELY, Impact::SOME)
                    .cause(format!("{} {}", conn.server, receiver.sender()))
                    .at(first.time)
                    .weight(number(half.impossible_sacks))
                    .count(half.impossible_sacks)
                    .proof(
                        first,
                        "SACK block before the first byte of the stream, or beyond the window",
                    )
                    .figure("acknowledgments", number(half.impossible_sacks))
                    .seen(Seen { receiver }),
            );
        }
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let server = group.server();
        let receiver = group.best().seen.receiver.sender();
        let sender = other_end(receiver);
        draft
            .title(format!("A device rewrites the {sender}'s sequence numbers but not SACK ({server})"))
            .summary(format!(
                "{} of the {receiver} on {} carry SACK blocks that name bytes which the {sender} never sent. A device between {receiver} and {sender} shifts sequence numbers and leaves those in the SACK option unchanged.",
                many(group.occurrences(), "acknowledgment"),
                many(group.connections(), "connection"),
            ))
            .confidence(confidence::LIKELY, "The blocks lie before the start of the stream or beyond everything the receiver allowed.")
            .because(format!("the acknowledgment number fits the {sender}'s stream, the SACK blocks beside it do not"))
            .not("DSACK", "such a block names bytes that were sent")
            .not("capture drops", "what the capture missed lies within the window")
            .set("Cisco ASA", "stop the randomisation of sequence numbers", "set connection random-sequence-number disable")
            .set("Linux", "until then, disable SACK on these hosts", "net.ipv4.tcp_sack = 0")
            .verify(sender, "nstat -az TcpExtTCPSACKDiscard", "grows with each such block")
    }
}

#[cfg(test)]
mod tests {
    use analyzer::decode::{SackBlock, TcpFields, TcpFlags};
    use analyzer::seq::SeqNumber;

    use crate::model::finding::Finding;
    use crate::model::severity::Severity;
    use crate::testkit::findings_of;
    use crate::testkit::script::{Capture, Marks, fields};

    const PUSH: u8 = TcpFlags::PSH | TcpFlags::ACK;

    /// Three losses, each acknowledged with a block that begins so far from where it should.
    fn sacked(shift: u32) -> Vec<Finding> {
        let mut capture = Capture::new();
        capture.handshake();
        for round in 0..3 {
            let (at, seq) = (
                30_000 + round * 300_000,
                101 + 300 * u32::try_from(round).unwrap(),
            );
            capture.client(at, PUSH, seq, 901, 100);
            capture.client(at + 100, PUSH, seq + 100, 901, 100);
            capture.client(at + 200, PUSH, seq + 200, 901, 100);
            let left = seq.wrapping_add(100).wrapping_add(shift);
            let mut sack = TcpFields {
                sack_count: 1,
                ..fields(901, seq, TcpFlags::ACK)
            };
            sack.sack_blocks[0] = SackBlock {
                left_edge: SeqNumber(left),
                right_edge: SeqNumber(left.wrapping_add(200)),
            };
            capture.packet(false, (at + 20_200) * 1_000, Marks::default(), sack, 0);
            capture.packet(
                true,
                (at + 250_000) * 1_000,
                Marks::default(),
                fields(seq, 901, PUSH),
                100,
            );
            capture.server(at + 270_000, TcpFlags::ACK, 901, seq + 300, 0);
        }
        findings_of("sequence-rewritten", &[capture.finish()])
    }

    #[test]
    fn blocks_that_cannot_be_are_told() {
        for shift in [1_000_000, 1_000_000_u32.wrapping_neg()] {
            let findings = sacked(shift);
            assert_eq!(findings.len(), 1, "{shift}");
            assert_eq!(findings[0].severity, Severity::Low);
            assert_eq!(findings[0].occurrences, 3);
        }
    }

    #[test]
    fn blocks_of_what_was_sent_are_healthy() {
        assert!(sacked(0).is_empty());
    }
}
