//! `timeout-recovery`: losses that only a timer repairs.

use std::time::Duration;

use analyzer::event::{EventKind, RetransmissionKind, SegmentRef};
use analyzer::{Connection, Direction, Timestamp};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{many, ms, number, plural, span, time};
use crate::signs::handshake::is_handshake_ignored;
use crate::signs::waits::union;

declare_rule! {
    /// Losses are repaired by the retransmission timer, which costs far more than the round trip.
    ///
    /// ## What it means
    /// A lost segment is repaired within a round trip when three later ones arrive. Where nothing follows it
    /// (the end of a request or response), or the retransmission is lost as well, the sender waits for its
    /// timer: at least 200 ms, doubled each time.
    ///
    /// ## Why it matters
    /// Short exchanges suffer most: one lost segment makes a request of 2 ms take 200 ms or a second.
    ///
    /// ## How it is detected
    /// - Segments with data were retransmitted after the timer, three times or more on a connection, or for a
    ///   second and more together. Retransmissions that the receiver did not need do not count, nor do those
    ///   whose lost copy is only inferred.
    /// - Data that was never acknowledged belongs to connection-died.
    ///
    /// The retransmission and the time since the previous copy prove it. Duplicate acknowledgments that asked
    /// for it would refute it. Low: retransmit-hol and slow-response measure what it cost requests, and this
    /// finding explains them.
    ///
    /// ## What to do
    /// Fix the loss. Otherwise make recovery faster: SACK, tail loss probes, a lower minimum timeout inside one
    /// site.
    ///
    /// ## Known limits
    /// The timer is recognised by its length: a fast retransmission whose duplicate acknowledgments were not
    /// captured looks the same.
    ///
    /// ## References
    /// - RFC 6298; RFC 8985 §7 (tail loss probe); RFC 5682 (needless timeouts)
    pub(crate) struct TimeoutRecovery {
        id: "timeout-recovery",
        group: LossAndPath,
        title: "Losses wait for the retransmission timer",
        severity: Low,
        needs: [Tcp, BothDirections],
        traits: [TimeoutRepeat],
        clouded_by: [CaptureDrops],
        figures: [timeouts: Count / Sum, timer_ms: Milliseconds / Sum, fast: Count / Sum, probes: Count / Sum],
        thresholds: [
            min_timeouts = 3.0: "Retransmissions by the timer on one connection; one or two happen on any path.",
            min_timer_ms = 1000.0: "Or the total time spent waiting for the timer.",
        ],
    }
}

/// Repairs of one sender.
pub(crate) struct Seen {
    sender: Direction,
    waited: Duration,
    /// The longest wait.
    longest: Duration,
}

/// A repair by the timer.
struct Repair {
    segment: SegmentRef,
    after: Duration,
}

impl Rule for TimeoutRecovery {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations<Seen>) {
        // What a full accept queue ignores was not lost.
        if is_handshake_ignored(conn) {
            return;
        }
        for sender in Direction::BOTH {
            let half = conn.half(sender);
            // Of data in vain to the end nobody knows what it waited for.
            if half.unacked_at_end > 0 || half.repeated(RetransmissionKind::Timeout) == 0 {
                continue;
            }
            let by_timer = repairs(conn, sender);
            let waits = by_timer
                .iter()
                .map(|one| (one.segment.time - one.after, one.segment.time));
            let waits: Vec<(Timestamp, Timestamp)> = waits.collect();
            let waited = union(waits.iter().copied());
            let enough = number(by_timer.len() as u64) >= ctx.threshold("min_timeouts")
                || ms(waited) >= ctx.threshold("min_timer_ms");
            let Some(longest) = by_timer
                .iter()
                .max_by_key(|one| one.after)
                .filter(|_| enough)
            else {
                continue;
            };
            let fast = half.repeated(RetransmissionKind::Fast);
            let probes = half.repeated(RetransmissionKind::TailLossProbe);
            let timeouts = by_timer.len() as u64;
            out.push(
                Observation::new(conn, confidence::LIKELY, Impact::SOME)
                    .cause(format!("{} {}", conn.server, sender.sender()))
                    .at(longest.segment.time)
                    .weight(ms(waited))
                    .count(timeouts)
                    .proof(
                        longest.segment,
                        format!(
                            "retransmitted {} after the previous copy: the timer expired",
                            span(longest.after)
                        ),
                    )
                    .figure("timeouts", number(timeouts))
                    .figure("timer_ms", ms(waited))
                    .figure("fast", number(fast))
                    .figure("probes", number(probes))
                    .stalls(waits)
                    .seen(Seen {
                        sender,
                        waited,
                        longest: longest.after,
                    }),
            );
        }
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let server = group.server();
        let sender = group.best().seen.sender.sender();
        let timeouts = group.figure("timeouts").unwrap_or_default();
        let waited = time(ms(group.seen().map(|seen| seen.waited).sum()));
        let longest = span(
            group
                .seen()
                .map(|seen| seen.longest)
                .max()
                .unwrap_or_default(),
        );
        let fast = group.figure("fast").unwrap_or_default();
        let probes = group.figure("probes").unwrap_or_default();
        draft
            .title(format!("Losses of the {sender} wait {waited} for its timer ({server})"))
            .summary(format!(
                "On {} the {sender} repaired {} by its retransmission timer: from the lost copy to the repeat it took {waited} in all, {longest} at most. Fast retransmission repaired {}, tail loss probes {}.",
                many(group.connections(), "connection"),
                plural(timeouts, "loss"),
                plural(fast, "segment"),
                plural(probes, "segment"),
            ))
            .confidence(confidence::LIKELY, "The retransmissions come as late as the connection's timer, and no duplicate acknowledgment asked for them.")
            .because(format!("{} after a wait of at least the timer's length", plural(timeouts, "retransmission")))
            .not("spurious-retransmission", "data that the receiver already had is not counted")
            .not("connection-died", "everything was finally acknowledged")
            .set("Linux", "lower the minimum timeout inside one site, for paths of about a millisecond", "ip route change … rto_min 20ms")
            .set("Linux", "probe the tail early", "net.ipv4.tcp_early_retrans = 3, net.ipv4.tcp_sack = 1")
            .verify(sender, "nstat -az TcpExtTCPTimeouts TcpExtTCPLossProbes TcpExtTCPLostRetransmit", "which kind of recovery works")
    }
}

/// What a sender had to repeat after its timer.
fn repairs(conn: &Connection, sender: Direction) -> Vec<Repair> {
    let events = conn.events.iter();
    let events = events.filter(|event| event.segment.direction == sender);
    let repairs = events.filter_map(|event| match event.kind {
        EventKind::Retransmission {
            kind: RetransmissionKind::Timeout,
            spurious: false,
            presumed: false,
            original_frame: Some(_),
            after,
        } if event.segment.payload_len > 0 => Some(Repair {
            segment: event.segment,
            after,
        }),
        _ => None,
    });
    repairs.collect()
}

#[cfg(test)]
mod tests {
    use analyzer::decode::TcpFlags;

    use crate::model::finding::Finding;
    use crate::model::severity::Severity;
    use crate::testkit::findings_of;
    use crate::testkit::script::Capture;

    const PUSH: u8 = TcpFlags::PSH | TcpFlags::ACK;

    /// Requests whose first copy is lost each time, so many of them, repeated after 300 ms.
    fn lost(requests: u32) -> Vec<Finding> {
        let mut capture = Capture::new();
        capture.handshake();
        for number in 0..requests {
            let (at, seq) = (30_000 + u64::from(number) * 500_000, 101 + 100 * number);
            let ack = 901 + 100 * number;
            capture.client(at, PUSH, seq, ack, 100);
            capture.client(at + 300_000, PUSH, seq, ack, 100);
            capture.server(at + 320_000, PUSH, ack, seq + 100, 100);
            capture.client(at + 320_100, TcpFlags::ACK, seq + 100, ack + 100, 0);
        }
        findings_of("timeout-recovery", &[capture.finish()])
    }

    #[test]
    fn losses_that_wait_for_the_timer_are_told() {
        let findings = lost(4);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Low);
        assert_eq!(findings[0].occurrences, 4);
    }

    #[test]
    fn one_is_the_lot_of_any_path() {
        assert!(lost(1).is_empty());
    }
}
