//! `keepalive-dead-peer`: keep-alive probes that nobody answers.

use analyzer::connection::{Probes, ResetKind};
use analyzer::{Connection, Direction};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::figure::{median, most};
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{many, ms, number, other_end, plural, span, time};

declare_rule! {
    /// TCP keep-alive probes went unanswered until the connection was closed.
    ///
    /// ## What it means
    /// On an idle connection one end sent several keep-alive probes and got no answer. The peer is gone without
    /// having closed, or something on the path dropped the connection's state. (This is TCP's keep-alive, not
    /// HTTP's.)
    ///
    /// ## Why it matters
    /// The connection was dead for as long as the probing took (Linux defaults: two hours and eleven minutes),
    /// with everything that waited for it.
    ///
    /// ## How it is detected
    /// - At least three probes (no byte or one byte, below the next sequence number) were sent after the last
    ///   answer.
    /// - The prober's RST or nothing followed.
    ///
    /// The probes prove it. An answer to the last of them refutes it. Severity follows the time from the first
    /// unanswered probe to the end, medium at most: the probes worked as designed, only late.
    ///
    /// ## What to do
    /// Find out how the peer disappeared. Shorten the detection.
    ///
    /// ## Known limits
    /// A capture that ends between two probes shows fewer of them. Only other connections show whether the peer
    /// or the path died.
    ///
    /// ## References
    /// - RFC 9293 §3.8.4; RFC 1122 §4.2.3.6
    pub(crate) struct KeepaliveDeadPeer {
        id: "keepalive-dead-peer",
        group: Closing,
        title: "Keep-alive probes go unanswered",
        severity: Medium,
        needs: [Tcp, BothDirections],
        traits: [UnansweredProbe],
        clouded_by: [CaptureDrops, OneSided],
        figures: [probes: Count / Max, idle_ms: Milliseconds / Median],
        thresholds: [
            min_probes = 3.0: "Unanswered probes in a row; single ones get lost.",
            min_interval_ms = 200.0: "Shortest mean time between probes; systems count it in seconds, and faster ones are late acknowledgments in a capture with gaps.",
        ],
        host_evidence: [Owner],
    }
}

/// Probes without answer.
pub(crate) struct Seen {
    sender: Direction,
    /// Time from one to the next.
    interval_ms: f64,
}

impl Rule for KeepaliveDeadPeer {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations<Seen>) {
        for direction in Direction::BOTH {
            let reset = conn.resets.iter().find(|reset| {
                reset.segment.direction == direction && reset.kind == ResetKind::KeepaliveExpired
            });
            let Some(Probes { first, last, count }) = conn.half(direction).unanswered_probes else {
                continue;
            };
            let probes = u64::from(count);
            let count = f64::from(count);
            let interval = ms(last.time.since(first.time)) / (count - 1.0).max(1.0);
            if count < ctx.threshold("min_probes") || interval < ctx.threshold("min_interval_ms") {
                continue;
            }
            let heard = conn
                .half(direction.reverse())
                .last_segment
                .filter(|heard| heard.frame < first.frame);
            let idle = first
                .time
                .since(heard.map_or(conn.start, |heard| heard.time));
            let sender = direction.sender();
            let given_up = reset.map_or(last.time, |reset| reset.segment.time);
            let waited = given_up.since(first.time);
            out.push(
                Observation::new(
                    conn,
                    if reset.is_some() {
                        confidence::PROVED
                    } else {
                        confidence::LIKELY
                    },
                    Impact::waited(waited),
                )
                .at(first.time)
                .weight(count)
                .evidence_if(
                    heard,
                    format!("last segment from {}", direction.reverse().sender()),
                )
                .proof(
                    first,
                    format!(
                        "first unanswered probe from {sender}, {} after the peer was last heard",
                        span(idle)
                    ),
                )
                .proof(
                    last,
                    format!("last of {} without an answer", many(probes, "probe")),
                )
                .evidence_if(
                    reset.map(|reset| reset.segment),
                    format!("RST from {sender}: it gives up"),
                )
                .figure("probes", count)
                .figure("idle_ms", ms(idle))
                .cost("connections_broken", 1.0)
                .seen(Seen {
                    sender: direction,
                    interval_ms: interval,
                }),
            );
        }
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let server = group.server();
        let sender = most(group.seen().map(|seen| seen.sender)).map_or("", Direction::sender);
        let peer = other_end(sender);
        let probes = group.figure("probes").unwrap_or_default();
        let idle = group.figure("idle_ms").unwrap_or_default();
        let interval = median(group.seen().map(|seen| seen.interval_ms)).unwrap_or_default();
        let confidence = draft.confidence;
        draft
            .title(format!("The {peer} of {} disappeared without closing ({server})", plural(number(group.connections()), "connection")))
            .summary(format!(
                "After {} of silence the {sender} probed its peer up to {probes:.0} times, {} apart, and got no answer. The {peer} is gone, or the path \
                 has dropped the connection's state.",
                time(idle), time(interval)
            ))
            .confidence(confidence, "The probes were captured and no answer followed; the peer's own log would show why it is gone.")
            .because(format!("{probes:.0} keep-alive probes in a row without an answer"))
            .not("healthy keep-alive", "answered probes are not counted")
            .not("idle-drop", "other connections to the same peer distinguish the two: if they work, the path has dropped this one")
            .advise("any", "look for hosts, containers or processes that ended without closing: scale-in, crash, power loss, flushed NAT table")
            .set("Linux", "detect it sooner, after about 60 s + 3 × 10 s", "TCP_KEEPIDLE=60, TCP_KEEPINTVL=10, TCP_KEEPCNT=3 on the socket")
            .set("Linux", "limit how long sent data may stay unacknowledged", "TCP_USER_TIMEOUT=30000")
            .verify(sender, format!("ss -tano '( sport = :{0} or dport = :{0} )'", server.port), "timer:(keepalive,…) and the number of probes")
            .verify(sender, "nstat -az TcpExtTCPKeepAlive TcpExtTCPAbortOnTimeout", "probes sent and connections aborted")
    }
}

#[cfg(test)]
mod tests {
    use crate::finding::Finding;
    use crate::testkit::script::Capture;
    use crate::testkit::{figure, findings_of};
    use analyzer::decode::TcpFlags;

    const ACK: u8 = TcpFlags::ACK;

    /// An exchange, a minute of silence, and `count` probes of the client.
    fn probing(interval_us: u64, count: u64) -> Capture {
        let mut capture = Capture::new();
        capture.handshake();
        capture.client(21_000, ACK | TcpFlags::PSH, 101, 901, 50);
        capture.server(41_000, ACK | TcpFlags::PSH, 901, 151, 50);
        capture.client(41_100, ACK, 151, 951, 0);
        for n in 0..count {
            capture.client(60_041_100 + n * interval_us, ACK, 150, 951, 0);
        }
        capture
    }

    const TEN_SECONDS: u64 = 10_000_000;

    fn judged(capture: Capture) -> Vec<Finding> {
        findings_of("keepalive-dead-peer", &[capture.finish()])
    }

    #[test]
    fn probes_until_the_reset() {
        let mut capture = probing(TEN_SECONDS, 4);
        capture.client(100_041_100, TcpFlags::RST | ACK, 151, 951, 0);
        let findings = judged(capture);
        assert!((figure(&findings[0], "probes") - 4.0).abs() < f64::EPSILON);
        assert!((figure(&findings[0], "idle_ms") - 60_000.0).abs() < 1.0);
    }

    #[test]
    fn probes_without_end() {
        assert_eq!(judged(probing(TEN_SECONDS, 3)).len(), 1);
    }

    #[test]
    fn answered_probes_are_healthy() {
        let mut capture = probing(TEN_SECONDS, 5);
        capture.server(100_042_000, ACK, 951, 151, 0);
        assert!(judged(capture).is_empty());
    }

    #[test]
    fn what_comes_within_milliseconds_is_no_probing() {
        assert!(judged(probing(300, 5)).is_empty());
    }

    #[test]
    fn one_lost_probe_is_nothing() {
        assert!(judged(probing(TEN_SECONDS, 1)).is_empty());
    }
}
