//! `slow-ack`: a busy host acknowledges late what has long arrived.

use std::time::Duration;

use analyzer::{Connection, Direction};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{many, ms, number, span, time};

declare_rule! {
    /// A host next to the capture point acknowledges full segments hundreds of milliseconds late.
    ///
    /// ## What it means
    /// The receiving host itself is late: its kernel is starved of CPU (an oversubscribed virtual machine, interrupts
    /// on one busy core, a frozen container, power saving of the interface).
    ///
    /// ## Why it matters
    /// The sender sees a longer round-trip time: its window runs out, its timer grows or fires, and everything on that host is
    /// as late as its acknowledgments.
    ///
    /// ## How it is detected
    /// Two full segments and more were waiting, for which no delayed acknowledgment is allowed, and their
    /// acknowledgment came 200 ms and more after the least round trip, which is below a millisecond: the receiver is
    /// next to the capture point, and no queue lies between. At least `min_late` such on a connection. The latest acknowledgment
    /// proves it.
    ///
    /// What refutes it: a capture elsewhere (then it may be a queue, see bufferbloat); holes and repeats (then
    /// acknowledgments wait for the repair). Severity is low: no loss can be measured.
    ///
    /// ## What to do
    /// Look at the receiving host at that time: steal time, run queue, soft interrupts.
    ///
    /// ## Known limits
    /// A capturing host that is stopped is late in its own capture, too.
    ///
    /// ## References
    /// - RFC 9293 §3.8.6.3, RFC 1122 §4.2.3.2; RFC 5681 §4.2
    pub(crate) struct SlowAck {
        id: "slow-ack",
        group: LossAndPath,
        title: "A host acknowledges late",
        severity: Low,
        needs: [Tcp, BothDirections],
        traits: [LateAck],
        clouded_by: [CaptureDrops, CaptureDisorder, ClockStep],
        figures: [late_acks: Count / Sum, late_ms_max: Milliseconds / Max],
        thresholds: [
            min_late = 3.0: "Late acknowledgments on a connection; once may be a moment's stop.",
        ],
        host_evidence: [Owner],
    }
}

/// Late acknowledgments of one end.
pub(crate) struct Seen {
    receiver: Direction,
    total: Duration,
    usual: Option<Duration>,
}

impl Rule for SlowAck {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations<Seen>) {
        for sender in Direction::BOTH {
            let half = conn.half(sender);
            let Some(late) = half.late_acks else {
                continue;
            };
            if number(late.count) < ctx.threshold("min_late") {
                continue;
            }
            let receiver = sender.reverse();
            let host = host(conn, receiver);
            let seen = Seen {
                receiver,
                total: late.total,
                usual: half.rtt_min,
            };
            let observation = Observation::new(conn, confidence::LIKELY, Impact::SOME)
                .cause(host.to_string())
                .at(late.ack.time)
                .weight(ms(late.longest))
                .count(late.count)
                .proof(
                    late.ack,
                    format!(
                        "acknowledges full segments that had arrived {} before",
                        span(late.longest)
                    ),
                )
                .figure("late_acks", number(late.count))
                .figure("late_ms_max", ms(late.longest))
                .seen(seen);
            out.push(observation);
        }
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let best = group.best();
        let host = match best.seen.receiver {
            Direction::ClientToServer => best.connection.client.ip,
            Direction::ServerToClient => best.connection.server.ip,
        };
        let late = many(group.occurrences(), "acknowledgment");
        let longest = time(group.figure("late_ms_max").unwrap_or_default());
        let usual = best.seen.usual.map(span).unwrap_or_default();
        let total = span(group.seen().map(|seen| seen.total).sum());
        draft
            .title(format!("{host} acknowledges up to {longest} late"))
            .summary(format!(
                "{late} of {host} came up to {longest} after full segments had reached it, {total} in all; at other times it answers within {usual}. The capture point is next to it, so the host was late and not the network.",
            ))
            .confidence(confidence::LIKELY, "Two full segments and more waited, for which an acknowledgment is due at once; nothing was lost meanwhile.")
            .not("bufferbloat", "no queue lies between the host and the capture point")
            .not("packet-loss", "no hole was open while these acknowledgments were due")
            .advise("any", "look at the host's processor at that time: steal time of a virtual machine, one core with all interrupts, a process that is frozen")
            .verify(&host.to_string(), "mpstat -P ALL 1; cat /proc/softirqs; vmstat 1", "steal time, a core without idle time, or a queue of runnable processes")
    }
}

fn host(conn: &Connection, end: Direction) -> std::net::IpAddr {
    match end {
        Direction::ClientToServer => conn.client.ip,
        Direction::ServerToClient => conn.server.ip,
    }
}

#[cfg(test)]
mod tests {
    use analyzer::decode::TcpFlags;

    use crate::model::finding::Finding;
    use crate::model::severity::Severity;
    use crate::testkit::findings_of;
    use crate::testkit::script::Capture;

    const PUSH: u8 = TcpFlags::PSH | TcpFlags::ACK;

    /// Flights of four segments, of which each is acknowledged so many microseconds later.
    fn found(flights: u32, after_us: u64, len: u32) -> Vec<Finding> {
        let mut capture = Capture::new();
        capture.handshake();
        let (mut at, mut seq) = (30_000, 101);
        capture.client(at, PUSH, seq, 901, len);
        capture.server(at + 300, TcpFlags::ACK, 901, seq + len, 0);
        seq += len;
        for _ in 0..flights {
            at += 1_000_000;
            for place in 0..4 {
                capture.client(at + place * 20, PUSH, seq, 901, len);
                seq += len;
            }
            capture.server(at + 60 + after_us, TcpFlags::ACK, 901, seq, 0);
        }
        findings_of("slow-ack", &[capture.finish()])
    }

    #[test]
    fn late_acknowledgements_next_door_are_told() {
        let findings = found(5, 400_000, 1_000);
        assert_eq!((findings.len(), findings[0].severity), (1, Severity::Low));
        assert_eq!(findings[0].occurrences, 5);
    }

    #[test]
    fn prompt_ones_few_ones_and_those_of_small_segments_are_not() {
        assert!(found(5, 400, 1_000).is_empty());
        assert!(found(2, 400_000, 1_000).is_empty());
        assert!(found(5, 400_000, 100).is_empty());
    }
}
