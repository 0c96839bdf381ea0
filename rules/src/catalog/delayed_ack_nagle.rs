//! `delayed-ack-nagle`: small writes wait for delayed acknowledgments.

use analyzer::{Connection, Direction};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::figure::most;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{end_at, ms, number, plural, time};

declare_rule! {
    /// A sender holds back small pieces of a message until the other end's delayed acknowledgment arrives.
    ///
    /// ## What it means
    /// A program writes a message in two small pieces. Nagle's algorithm sends the first and holds the second
    /// until the first is acknowledged. The receiver delays that acknowledgment in order to attach it to a
    /// response that it cannot give yet. Both wait for the receiver's timer.
    ///
    /// ## Why it matters
    /// Every such exchange takes about 40 ms (Linux) or 200 ms (Windows, others) longer, at any load.
    ///
    /// ## How it is detected
    /// - A small segment, then silence until its acknowledgment arrives alone and late, then at once the rest,
    ///   at least three times.
    /// - The rest is no full segment: Nagle's algorithm never holds one. A sender that waits with full segments
    ///   has too small a send buffer, or waits for a response.
    /// - The median wait lies between 20 and 500 ms.
    /// - It happened more often than the sender sent a small segment while an earlier small one was
    ///   unacknowledged, which shows that the algorithm is off.
    ///
    /// The late acknowledgment and the segment that leaves with it prove it. The time lost decides the
    /// severity; it is low where that is less than a tenth of the connection's time, as while a person types.
    ///
    /// ## What to do
    /// Write each message in one call, or switch Nagle's algorithm off with TCP_NODELAY.
    ///
    /// ## Known limits
    /// A program that computes for about 40 ms between two writes looks similar, except that the acknowledgment
    /// then does not coincide with the second piece.
    ///
    /// ## References
    /// - RFC 896; RFC 1122 §4.2.3.2, §4.2.3.4; RFC 9293 §3.7.4, §3.8.6.3
    pub(crate) struct DelayedAckNagle {
        id: "delayed-ack-nagle",
        group: Application,
        title: "Small writes wait for delayed acknowledgments",
        severity: Medium,
        needs: [Tcp, BothDirections],
        traits: [HeldWrite],
        clouded_by: [CaptureDrops, Offload],
        figures: [stalls: Count / Sum, stall_ms_median: Milliseconds / Median],
        thresholds: [
            min_stalls = 3.0: "Times it must happen; once may be chance.",
            min_share_percent = 10.0: "Share of the connection's time below which hardly anyone waits for it.",
            min_wait_ms = 20.0: "Shortest median wait; delayed acknowledgments begin at 40 ms on Linux, less a tolerance for the round trip.",
            max_wait_ms = 500.0: "Longest: no acknowledgment may be delayed beyond it (RFC 1122).",
        ],
        host_evidence: [Owner],
    }
}

impl Rule for DelayedAckNagle {
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
            let held = &conn.half(direction).held_writes;
            let Some(median) = held.waits.quantile(0.5).map(ms) else {
                continue;
            };
            let fits =
                (ctx.threshold("min_wait_ms")..=ctx.threshold("max_wait_ms")).contains(&median);
            let often = number(held.count) >= ctx.threshold("min_stalls");
            if !often || !fits || held.not_held >= held.count {
                continue;
            }
            let lived = conn.end.since(conn.start);
            let share = held.total.as_secs_f64() / lived.as_secs_f64().max(f64::EPSILON);
            let impact = if share * 100.0 >= ctx.threshold("min_share_percent") {
                Impact::waited(held.total)
            } else {
                Impact::SOME
            };
            let sender = direction.sender();
            let mut observation = Observation::new(conn, confidence::LIKELY, impact)
                .cause(format!("{} {sender}", conn.server))
                .weight(number(held.count))
                .count(held.count)
                .figure("stalls", number(held.count))
                .figure("stall_ms_median", median)
                .cost("time_lost_ms", ms(held.total))
                .stalls(held.spans.iter().copied())
                .seen(direction);
            if let Some([small, ack, rest]) = held.first {
                let wait = time(ms(ack.time.since(small.time)));
                let rest_note = format!(
                    "the rest ({} bytes), sent at once after it",
                    rest.payload_len
                );
                observation = observation
                    .at(small.time)
                    .evidence(
                        small,
                        format!("small segment of {} bytes from {sender}", small.payload_len),
                    )
                    .proof(ack, format!("its acknowledgment, alone and {wait} later"))
                    .proof(rest, rest_note);
            }
            out.push(observation);
        }
    }

    fn describe(&self, group: &Group<'_, Direction>, draft: Narrative) -> Narrative {
        let sender = most(group.seen().copied()).map_or("", Direction::sender);
        let server = group.server();
        let end = end_at(sender, server);
        let stalls = group.figure("stalls").unwrap_or_default();
        let median = group.figure("stall_ms_median").unwrap_or_default();
        draft
            .title(format!("Data from the {sender} waits {} for delayed acknowledgments ({server})", time(median)))
            .summary(format!(
                "{}, the {end} sent a small piece of a message and kept the rest until the acknowledgment came, typically {} later. \
                 Nagle's algorithm at the {sender} and delayed acknowledgments at its peer wait for each other.",
                plural(stalls, "time"), time(median)
            ))
            .confidence(confidence::LIKELY, "The rest always left together with the late acknowledgment.")
            .because(format!("{} a small segment, a lone acknowledgment about {} later and the rest at once", plural(stalls, "time"), time(median)))
            .because("the wait does not depend on size or load, as a timer's does not")
            .not("slow-response", "the rest was ready: it left as soon as the acknowledgment arrived")
            .not("packet-loss", "nothing was retransmitted")
            .advise("any", "write each message in one call (buffer, writev, or cork and flush)")
            .set("C / Java / Node.js", "switch Nagle's algorithm off", "TCP_NODELAY; socket.setTcpNoDelay(true); socket.setNoDelay(true)")
            .set("nginx / HAProxy", "default or option", "tcp_nodelay on; option http-no-delay")
            .advise("Go", "check the other end, or look for SetNoDelay(false): TCP_NODELAY is the default")
            .verify(sender, "strace -f -e trace=write,sendto,setsockopt -p PID", "two small writes for one message; whether TCP_NODELAY is set")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::severity::Severity;
    use crate::testkit::script::Capture;
    use crate::testkit::{Builder, C, S, at, figure, findings_of, histogram};
    use analyzer::connection::HeldWrites;
    use analyzer::decode::TcpFlags;
    use std::time::Duration;

    fn held(count: u64, wait_ms: f64) -> Connection {
        let mut builder = Builder::tcp(1).handshake(0.0, 1.0).request(1.0, 20);
        let small = builder.conn.halves[0].first_data.unwrap();
        let ack = builder.segment(1.0 + wait_ms, S, 0x10, 0);
        let rest = builder.segment(1.1 + wait_ms, C, 0x18, 50);
        builder
            .with(|conn| {
                conn.halves[0].held_writes = HeldWrites {
                    count,
                    waits: histogram(wait_ms, count as usize),
                    total: Duration::from_secs_f64(wait_ms / 1e3).mul_f64(count as f64),
                    not_held: 0,
                    spans: Vec::new(),
                    first: Some([small, ack, rest]),
                };
            })
            .build()
    }

    fn lasting(mut conn: Connection, ms: f64) -> Connection {
        conn.end = at(ms);
        conn
    }

    #[test]
    fn a_second_lost_is_medium() {
        let conn = lasting(held(30, 41.0), 2000.0);
        let findings = findings_of("delayed-ack-nagle", &[conn]);
        assert_eq!(findings[0].severity, Severity::Medium);
        assert!((figure(&findings[0], "stall_ms_median") - 41.0).abs() < 0.01);
    }

    #[test]
    fn less_than_a_second_lost_is_low() {
        let conn = lasting(held(4, 200.0), 2000.0);
        let findings = findings_of("delayed-ack-nagle", &[conn]);
        assert_eq!(findings[0].severity, Severity::Low);
    }

    #[test]
    fn a_small_share_is_low() {
        let conn = lasting(held(55, 97.0), 600_000.0);
        let findings = findings_of("delayed-ack-nagle", &[conn]);
        assert_eq!(findings[0].severity, Severity::Low);
    }

    #[test]
    fn sender_that_does_not_hold_others_is_silent() {
        let mut conn = held(25, 299.0);
        conn.halves[0].held_writes.not_held = 754;
        assert!(findings_of("delayed-ack-nagle", &[conn]).is_empty());
    }

    #[test]
    fn single_or_short_waits_are_silent() {
        assert!(findings_of("delayed-ack-nagle", &[held(2, 41.0)]).is_empty());
        assert!(findings_of("delayed-ack-nagle", &[held(20, 8.0)]).is_empty());
    }

    #[test]
    fn ordinary_exchanges_are_silent() {
        let conn = Builder::tcp(1)
            .handshake(0.0, 1.0)
            .request(1.0, 20)
            .response(42.0, 10)
            .build();
        assert!(findings_of("delayed-ack-nagle", &[conn]).is_empty());
    }

    /// At the client: a piece of 46 bytes, the rest when its delayed acknowledgment comes, an
    /// answer; five times. Before each round `eager` pairs of pieces go out at once.
    fn rounds(rest: u32, eager: u32) -> Connection {
        const ACK: u8 = TcpFlags::ACK;
        const PUSH: u8 = ACK | TcpFlags::PSH;
        let mut capture = Capture::new();
        capture.handshake();
        let (mut at, mut seq, mut answered) = (100_000, 101, 901);
        for _ in 0..5 {
            for _ in 0..eager {
                capture.client(at, PUSH, seq, answered, 10);
                capture.client(at + 1_000, PUSH, seq + 10, answered, 10);
                seq += 20;
                capture.server(at + 21_000, PUSH, answered, seq, 30);
                answered += 30;
                at += 100_000;
            }
            capture.client(at, PUSH, seq, answered, 46);
            capture.server(at + 200_000, ACK, answered, seq + 46, 0);
            capture.client(at + 200_100, PUSH, seq + 46, answered, rest);
            seq += 46 + rest;
            capture.server(at + 220_100, PUSH, answered, seq, 30);
            answered += 30;
            at += 300_000;
        }
        capture.finish()
    }

    #[test]
    fn the_rest_of_a_message_waits_for_the_acknowledgment() {
        let findings = findings_of("delayed-ack-nagle", &[rounds(50, 0)]);
        assert!((figure(&findings[0], "stalls") - 5.0).abs() < f64::EPSILON);
        assert!((figure(&findings[0], "stall_ms_median") - 200.0).abs() < 0.01);
        assert_eq!(findings[0].severity, Severity::Medium);
    }

    #[test]
    fn full_segments_are_not_held_by_it() {
        assert!(findings_of("delayed-ack-nagle", &[rounds(1460, 0)]).is_empty());
    }

    #[test]
    fn small_segments_sent_onto_small_ones_refute_it() {
        assert!(findings_of("delayed-ack-nagle", &[rounds(50, 1)]).is_empty());
    }
}
