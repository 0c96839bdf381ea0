//! `bufferbloat`: a transfer fills a queue on the path and everybody waits in it.

use analyzer::{Connection, Direction};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::figure::{FigureValue, most};
use crate::model::impact::{Impact, Slowed};
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{end_at, ms, number, plural, time};

declare_rule! {
    /// The round trip grows with the data in flight and falls when it drains.
    ///
    /// ## What it means
    /// A queue on the path, usually before its slowest link, holds far more than it needs to keep the link
    /// busy. A transfer fills it, and every packet on the same path waits behind the whole queue.
    ///
    /// ## Why it matters
    /// Throughput looks fine, but requests, calls and games on the same link are delayed by the length of the
    /// queue: 100 ms are noticeable, 400 ms make a link unusable.
    ///
    /// ## How it is detected
    /// - Round trips are measured with at least eight segments in flight.
    /// - Their 95th percentile is 100 ms, and three times the shortest round trip of the connection, above
    ///   normal.
    /// - Round trips measured with little in flight are not long as well; that would refute it.
    /// - Acknowledgments of one flight come one after the other, as a link empties its queue. All of them at
    ///   once come from a path or a host that had stopped, which would refute it as well.
    ///
    /// Severity is low, medium from 200 ms more.
    ///
    /// ## What to do
    /// Manage the queue at the slowest link (fq_codel, cake), shape just below its rate, or let senders keep
    /// less in flight (BBR, smaller send buffers).
    ///
    /// ## Known limits
    /// It is visible only on the sender's side of the queue: at the receiver the wait has already passed. A
    /// path that changes during a transfer can look alike.
    ///
    /// ## References
    /// - RFC 7567; RFC 8289 (CoDel); RFC 8290 (FQ-CoDel)
    pub(crate) struct Bufferbloat {
        id: "bufferbloat",
        group: LossAndPath,
        title: "Round trips grow with the data in flight",
        severity: Medium,
        needs: [Tcp, BothDirections, NoCaptureDrops],
        traits: [LoadedRoundTrip],
        clouded_by: [CaptureDrops, ClockStep],
        figures: [rtt_ms_min: Milliseconds / Min, rtt_ms_p95: Milliseconds / Max],
        thresholds: [
            min_added_ms = 100.0: "Shortest wait in the queue that is reported; users notice it.",
            medium_added_ms = 200.0: "Wait from which calls and interactive use suffer badly.",
            min_factor = 3.0: "Smallest multiple of the shortest round trip; shorter queues are normal.",
            min_samples = 20.0: "Round trips under load that make a distribution.",
            min_drain_share = 0.25: "Share of the time that a queue takes to drain which acknowledgments must take; Wi-Fi and receivers that coalesce send them in bursts, but not a whole flight at once.",
        ],
        host_evidence: [Owner],
    }
}

/// A queue that a sender fills.
pub(crate) struct Seen {
    sender: Direction,
    /// Round trips under load.
    samples: u64,
}

impl Rule for Bufferbloat {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations<Seen>) {
        for direction in Direction::BOTH {
            let half = conn.half(direction);
            let rest = conn.half(direction.reverse()).rtt_min.unwrap_or_default();
            let (Some(least), Some(p95), Some(median)) = (
                half.rtt_min,
                half.loaded_rtts.quantile(0.95),
                half.loaded_rtts.quantile(0.5),
            ) else {
                continue;
            };
            let added = ms(p95) - ms(least);
            let (shortest, longest) = (ms(least + rest), ms(p95 + rest));
            let few = number(half.loaded_rtts.count()) < ctx.threshold("min_samples");
            let small = added < ctx.threshold("min_added_ms")
                || longest < shortest * ctx.threshold("min_factor");
            let never_falls = half.unloaded_rtts.count() >= 5
                && half
                    .unloaded_rtts
                    .quantile(0.5)
                    .is_some_and(|idle| idle * 2 > median);
            // Acknowledgements of a reader that does not read come late by themselves.
            let full = conn.half(direction.reverse()).zero_windows > 0;
            // What a stop of the path or of the receiver held comes all at once.
            let least_took = ctx.threshold("min_drain_share");
            let stopped = half
                .drain
                .is_some_and(|drain| ms(drain.took) < ms(drain.due) * least_took);
            if few || small || never_falls || full || stopped {
                continue;
            }
            let slowed = if added >= ctx.threshold("medium_added_ms") {
                Slowed::Noticeably
            } else {
                Slowed::Slightly
            };
            let sender = direction.sender();
            let mut one = Observation::new(conn, confidence::LIKELY, Impact::slowed(slowed))
                .cause(format!("{} {sender}", conn.server))
                .weight(added)
                .evidence_if(
                    half.first_data,
                    format!("first data of the {sender}: the path is empty"),
                )
                .proof_if(
                    half.longest_rtt_at,
                    "acknowledgment that ends the longest round trip under load",
                )
                .seen(Seen {
                    sender: direction,
                    samples: half.loaded_rtts.count(),
                });
            if let Some(ack) = half.longest_rtt_at {
                one = one.measured(ack.time - half.rtt_max.unwrap_or(p95), ack.time);
            }
            one.set_figure("rtt_ms_min", FigureValue::Number(shortest));
            one.set_figure("rtt_ms_p95", FigureValue::Number(longest));
            out.push(one);
        }
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let (least, p95) = (
            group.figure("rtt_ms_min").unwrap_or_default(),
            group.figure("rtt_ms_p95").unwrap_or_default(),
        );
        let sender = most(group.seen().map(|seen| seen.sender)).map_or("", Direction::sender);
        let server = group.server();
        let end = end_at(sender, server);
        draft
            .title(format!("Data from the {sender} fills a queue: RTT up from {} to {} ({server})", time(least), time(p95)))
            .summary(format!(
                "While the {end} has much in flight, its round trips take {} (95th percentile) instead of {}. Packets spend the difference in a \
                 queue on the path, and all other traffic on this path waits in it as well.",
                time(p95), time(least)
            ))
            .confidence(confidence::LIKELY, "Round trips were measured at the sender's side of the queue, with and without load.")
            .because(format!("{} under load against the shortest one of the same connections", plural(number(group.seen().map(|seen| seen.samples).sum()), "round trip")))
            .not("packet-loss", "the round trips come from segments that were sent once")
            .not("slow server", "the kernel sends acknowledgments, not the application")
            .not("long path", format!("the same connections also had round trips of {}", time(least)))
            .set("Linux router", "manage the queue of the slowest link, just below its rate", "tc qdisc replace dev DEV root cake bandwidth RATE")
            .set("Linux sender", "keep less in flight", "net.ipv4.tcp_congestion_control = bbr; net.ipv4.tcp_notsent_lowat = 131072")
            .advise("network", "enable ECN and active queue management at the slowest link; more buffer makes it worse")
            .verify(sender, format!("ss -tino '( dport = :{0} or sport = :{0} )'", server.port), "rtt against minrtt while the transfer runs")
            .verify("both", format!("ping -i 0.2 {}  # while the transfer runs, and after it", server.ip), "times that rise and fall with the transfer")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::severity::Severity;
    use crate::testkit::script::{Capture, Marks, fields};
    use crate::testkit::{Builder, S, figure, findings_of, histogram};
    use analyzer::decode::TcpFlags;

    /// Three flights of twenty segments that the client acknowledges 300 ms later, so many
    /// microseconds apart.
    fn flights(gap_us: u64) -> Vec<crate::model::finding::Finding> {
        let mut capture = Capture::new();
        capture.handshake();
        capture.client(21_000, TcpFlags::ACK, 101, 901, 10);
        let mut seq = 901;
        for flight in 0..3_u64 {
            let begin = 100_000 + flight * 1_000_000;
            for number in 0..20_u32 {
                let at = begin + u64::from(number) * 10;
                capture.server(at, TcpFlags::ACK, seq + number * 1_000, 111, 1_000);
            }
            // The last four at once: a round trip with little in flight would be a long one.
            for number in (1..=16_u32).chain([20]) {
                let at = (begin + 300_000 + u64::from(number) * gap_us) * 1_000;
                let ack = fields(111, seq + number * 1_000, TcpFlags::ACK);
                capture.packet(true, at, Marks::default(), ack, 0);
            }
            seq += 20_000;
        }
        findings_of("bufferbloat", &[capture.finish()])
    }

    #[test]
    fn a_queue_drains_and_a_stop_ends_at_once() {
        assert_eq!(flights(15_000).len(), 1);
        assert!(flights(10).is_empty());
    }

    fn transfer(loaded_ms: f64, unloaded_ms: f64) -> Connection {
        let builder = Builder::tcp(1)
            .handshake(0.0, 20.0)
            .request(25.0, 100)
            .response(50.0, 1400);
        builder
            .with(|conn| {
                let half = &mut conn.halves[S.index()];
                half.rtt_min = Some(Duration::from_millis(20));
                half.loaded_rtts = histogram(loaded_ms, 40);
                half.unloaded_rtts = histogram(unloaded_ms, 10);
                half.longest_rtt_at = half.last_data;
            })
            .build()
    }

    #[test]
    fn round_trips_that_grow_and_fall_are_found() {
        let findings = findings_of("bufferbloat", &[transfer(300.0, 25.0)]);
        assert_eq!(findings[0].severity, Severity::Medium);
        assert!((figure(&findings[0], "rtt_ms_p95") - 300.0).abs() < 40.0);
    }

    #[test]
    fn short_queues_and_long_paths_are_healthy() {
        assert!(findings_of("bufferbloat", &[transfer(70.0, 25.0)]).is_empty());
        assert!(findings_of("bufferbloat", &[transfer(300.0, 290.0)]).is_empty());
    }
}
