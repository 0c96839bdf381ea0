//! `retransmit-hol`: bytes that arrived wait behind a lost segment.

use std::time::Duration;

use analyzer::app::MessageUnit;
use analyzer::connection::{HoleEpisode, Turn};
use analyzer::event::RetransmissionKind;
use analyzer::{Connection, Direction};

use crate::model::context::Context;
use crate::model::legacy::{Group, Legacy, Observation, Observations};
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::Narrative;
use crate::model::rule::Rule;
use crate::model::severity::Severity;
use crate::model::text::{bytes, many, ms, number, other_end, plural, span, time};

declare_rule! {
    /// A lost segment held back bytes that had already arrived behind it.
    ///
    /// ## What it means
    /// TCP hands bytes to the application in order. When one segment is lost, everything behind it
    /// waits in the receiver's kernel, although it arrived, until the lost piece is sent again:
    /// head-of-line blocking.
    ///
    /// ## Why it matters
    /// The application sees a pause although the network delivered nearly everything. All messages
    /// that share the connection wait together, also those that lost nothing; with HTTP/2 that means
    /// every stream. A fast repair costs about one round trip, a timeout 200 ms and more.
    ///
    /// ## How it is detected
    /// One direction has a hole in its sequence numbers while later bytes are there (at the
    /// receiver's side the later segments themselves, at the sender's side SACK blocks or three
    /// duplicate ACKs), and a retransmission fills it. The stall runs from the first byte that had to
    /// wait until the hole was filled. Stalls below half a round trip or 20 ms are not reported.
    /// Severity follows the time lost: low below 200 ms, high from one second in one stall or three in all.
    ///
    /// ## What to do
    /// Cure the loss; see to it that SACK and RACK-TLP are on; spread latency-critical exchanges
    /// over several connections, or use QUIC, where a loss only holds back its own stream.
    ///
    /// ## Known limits
    /// At the sender's side without SACK only duplicate ACKs tell, which hides how much waited. A loss
    /// at the very end of a transfer has nothing behind it and belongs to packet-loss. Reordering
    /// that takes longer than half a round trip and is repaired needlessly can look the same.
    ///
    /// ## References
    /// - RFC 9293 §3.10.7.4; RFC 2018; RFC 8985
    /// - RFC 9000 §2 (streams without this)
    pub(crate) struct RetransmitHol {
        id: "retransmit-hol",
        title: "Lost segments hold back bytes that already arrived",
        severity: High,
        needs: [Tcp, BothDirections],
        clouded_by: [CaptureDrops, ClockStep, DuplicateFrames],
        figures: [
            stall_ms_total: Milliseconds / Sum,
            stall_ms_max: Milliseconds / Max,
            blocked_bytes: Bytes / Sum,
            holes: Count / Sum,
        ],
        thresholds: [
            min_stall_ms = 20.0: "Shortest stall reported; people and most programs do not notice less.",
            min_stall_round_trips = 0.5: "Shortest stall in round trips; reordering closes within a fraction of one, a repair takes about one.",
            high_stall_ms = 1000.0: "One stall of this length is of high severity: longer than many request timeouts allow for.",
            medium_stall_ms = 200.0: "One stall of this length is of medium severity: the smallest retransmission timeout of Linux.",
        ],
    }
}

impl Rule for RetransmitHol {
    type Seen = Legacy;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations) {
        let rtt = conn.rtt().unwrap_or_default();
        let least = rtt.mul_f64(ctx.threshold("min_stall_round_trips"));
        let least = least.max(Duration::from_secs_f64(ctx.threshold("min_stall_ms") / 1e3));
        for direction in Direction::BOTH {
            // Where the capture missed octets, a hole that only it shows is its own.
            let all_real = conn.half(direction).missing_octets == 0;
            let mut holes = conn.holes.longest.iter().filter(|hole| {
                hole.direction == direction
                    && hole.stall >= least
                    && hole.blocked_octets > 0
                    && (hole.confirmed || all_real)
            });
            let Some(worst) = holes.next() else { continue };
            let (count, total, blocked) = totals(conn, direction, least);
            out.push(observation(conn, worst, ctx, count, total, blocked));
        }
    }

    fn describe(&self, group: &Group<'_>, draft: Narrative) -> Narrative {
        let total = group.number("stall_ms_total").unwrap_or_default();
        let longest = group.number("stall_ms_max").unwrap_or_default();
        let holes = group.number("holes").unwrap_or_default();
        let blocked = group.number("blocked_bytes").unwrap_or_default();
        let sender = group.words("sender").unwrap_or_default();
        let receiver = other_end(&sender);
        let server = group.server();
        let high = longest >= group.ctx.threshold("high_stall_ms") || total >= 3_000.0;
        let severity = if high { Severity::High } else { draft.severity };
        let kinds: Vec<String> = group
            .words_counted("repair")
            .into_iter()
            .map(|(kind, _)| kind)
            .collect();
        let draft = draft
            .severity(severity)
            .title(format!("Loss from the {sender} held back bytes already delivered for up to {} ({server})", time(longest)))
            .summary(format!(
                "{} in what the {sender} sent (server {server}) kept {} waiting at the {receiver} for {} in all, {} at worst, although those bytes \
                 had arrived. The repair came by {}.{}",
                plural(holes, "hole"),
                bytes(blocked),
                time(total),
                time(longest),
                crate::model::text::list(&kinds),
                waiting_messages(group) + &without_loss(group),
            ))
            .confidence(draft_confidence(group), "Holes, the bytes behind them and their repairs were all captured.");
        let draft = draft
            .because(format!("later segments of the {sender} were there while earlier ones were missing, until a retransmission filled the gap: {}", plural(holes, "time")))
            .because_if(group.positive("at_sender") > 0, || {
                "seen at the sender's side: SACK or duplicate ACKs tell what the receiver held; both ends of the stall are seen the same half round trip late".to_owned()
            })
            .because_if(group.median("rtt_ms").is_some(), || {
                let rtt = group.median("rtt_ms").unwrap_or_default();
                format!("the round trip is {}; a repair without waiting would take about as long", time(rtt))
            })
            .because_if(group.positive("requests") > 0, || {
                format!("the connections carried {} requests in all", number_text(group.sum("requests")))
            })
            .not("reordering", "the missing segment came as a retransmission, not as a late original")
            .not("packet-loss", "something waited behind the hole; a lost tail with nothing behind it is counted there")
            .not("zero-window-stall", "the receiver's window was open; bytes waited for a missing one, not for the application")
            .not("slow server", format!("the {sender} had sent the bytes behind the hole already"));
        remedies(group, draft, &sender)
    }
}

/// Number of holes, sum of stalls and octets that waited, in one direction. Exact while all
/// holes are kept, or all are of this direction and the capture missed none of its octets; otherwise
/// of those kept.
fn totals(conn: &Connection, direction: Direction, least: Duration) -> (u64, Duration, u64) {
    let kept = &conn.holes.longest;
    let missed = conn.half(direction).missing_octets > 0;
    let other = missed || kept.iter().any(|hole| hole.direction != direction);
    if !other && conn.holes.count > kept.len() as u64 {
        return (
            conn.holes.count,
            conn.holes.stall_total,
            conn.holes.blocked_octets,
        );
    }
    let ours = || {
        kept.iter().filter(|hole| {
            hole.direction == direction && hole.stall >= least && (hole.confirmed || !missed)
        })
    };
    (
        ours().count() as u64,
        ours().map(|hole| hole.stall).sum(),
        ours().map(|hole| hole.blocked_octets).sum(),
    )
}

fn observation(
    conn: &Connection,
    worst: &HoleEpisode,
    ctx: &Context<'_>,
    count: u64,
    total: Duration,
    blocked: u64,
) -> Observation {
    let severity = match ms(worst.stall) {
        stall if stall >= ctx.threshold("high_stall_ms") => Severity::High,
        stall if stall >= ctx.threshold("medium_stall_ms") => Severity::Medium,
        _ => Severity::Low,
    };
    let sender = worst.direction.sender();
    let opened = if worst.seen_at_sender {
        format!(
            "ACK that shows bytes held behind a gap of {}",
            bytes(number(worst.missing_octets))
        )
    } else {
        format!(
            "segment from {sender} behind a gap of {}",
            bytes(number(worst.missing_octets))
        )
    };
    let repair = worst
        .repair
        .filter(|repair| repair.frame != worst.filled.frame);
    let mut observation = Observation::untyped(
        conn,
        if worst.seen_at_sender { 0.88 } else { 0.95 },
        severity,
    )
    .cause(format!("{} {sender}", conn.server))
    .at(worst.opened.time)
    .weight(ms(worst.stall))
    .count(count.max(1))
    .evidence(worst.opened, opened)
    .evidence_if(
        repair,
        format!(
            "retransmission into the gap ({})",
            repair_words(worst.repair_kind)
        ),
    )
    .evidence(
        worst.filled,
        format!(
            "gap filled {} after the first byte behind it; {} in {} waited",
            span(worst.stall),
            many(worst.blocked_octets, "byte"),
            many(u64::from(worst.blocked_segments), "segment")
        ),
    )
    .figure("stall_ms_total", ms(total))
    .figure("stall_ms_max", ms(worst.stall))
    .figure("blocked_bytes", number(blocked))
    .figure("holes", number(count))
    .cost("time_lost_ms", ms(total))
    .detail("at_sender", f64::from(u8::from(worst.seen_at_sender)))
    .detail_if("rtt_ms", conn.rtt().map(ms))
    .label("sender", sender)
    .label("repair", repair_words(worst.repair_kind));
    if let Some(http) = &conn.app.http {
        observation = observation.detail("requests", number(http.requests));
    }
    if worst.blocked_messages > 0 {
        observation = observation
            .detail("blocked_messages", number(worst.blocked_messages))
            .label("message_unit", unit_words(worst.message_unit));
    }
    if let Some(turn) = waiting_turn(conn, worst) {
        let end = turn
            .response
            .map_or(turn.request.last.time, |response| response.last.time);
        let took = end.since(turn.request.first.time);
        observation = observation
            .detail("turn_ms", ms(took))
            .detail("turn_without_ms", ms(took.saturating_sub(worst.stall)));
    }
    observation
}

/// The exchange during which the hole was open, when it was kept.
fn waiting_turn<'a>(conn: &'a Connection, hole: &HoleEpisode) -> Option<&'a Turn> {
    let turns = conn
        .turns
        .last
        .iter()
        .chain(&conn.turns.before_last)
        .chain(&conn.turns.slowest);
    turns.into_iter().find(|turn| {
        turn.response.is_some_and(|response| {
            turn.request.first.frame <= hole.opened.frame
                && hole.filled.frame <= response.last.frame
        })
    })
}

/// What the units of the payload are called.
fn unit_words(unit: MessageUnit) -> &'static str {
    match unit {
        MessageUnit::HttpMessage => "HTTP message",
        MessageUnit::Http2Stream => "HTTP/2 stream",
        MessageUnit::TlsRecord => "TLS record",
        MessageUnit::DnsMessage => "DNS message",
        MessageUnit::FramedMessage | MessageUnit::Unknown => "message",
    }
}

fn waiting_messages(group: &Group<'_>) -> String {
    let best = group.best();
    match (best.number("blocked_messages"), best.words("message_unit")) {
        (Some(count), Some(unit)) => {
            format!(" Behind the worst of them waited {}.", plural(count, unit))
        }
        _ => String::new(),
    }
}

fn without_loss(group: &Group<'_>) -> String {
    let best = group.best();
    match (best.number("turn_ms"), best.number("turn_without_ms")) {
        (Some(took), Some(without)) => format!(
            " The exchange that waited longest took {}; without the loss about {}.",
            time(took),
            time(without)
        ),
        _ => String::new(),
    }
}

fn draft_confidence(group: &Group<'_>) -> f64 {
    group
        .observations
        .iter()
        .map(|one| one.confidence)
        .fold(0.0, f64::max)
}

fn number_text(value: f64) -> String {
    format!("{value:.0}")
}

/// Words for what triggered a repair.
fn repair_words(kind: RetransmissionKind) -> &'static str {
    match kind {
        RetransmissionKind::Fast => "fast retransmission",
        RetransmissionKind::Timeout => "retransmission timeout",
        RetransmissionKind::TailLossProbe => "tail loss probe",
        RetransmissionKind::Control | RetransmissionKind::Unknown => "retransmission",
    }
}

fn remedies(group: &Group<'_>, draft: Narrative, sender: &str) -> Narrative {
    let server = group.server();
    let timeout = group
        .words_counted("repair")
        .iter()
        .any(|(kind, _)| kind.contains("timeout"));
    let draft = draft
        .advise("any", format!("find and cure the loss on the way from the {sender}: the packet-loss finding says on which side of the capture point it is"))
        .set("Linux", "keep selective acknowledgements and time-based loss detection on, so that a repair takes one round trip", "net.ipv4.tcp_sack = 1, net.ipv4.tcp_recovery = 1, net.ipv4.tcp_early_retrans = 3")
        .advise("gRPC / HTTP/2", "use several connections (channels) for latency-critical calls, apart from bulk transfers")
        .advise("any", "HTTP/3 (QUIC) confines a loss to the stream that suffered it");
    let draft = if timeout {
        draft.advise("Linux", "repairs waited for the timer (at least 200 ms): too little was in flight for fast repair; fewer small writes or a lower minimum per route help (ip route … rto_min)")
    } else {
        draft
    };
    draft
        .verify(
            sender,
            format!("ss -tino '( dport = :{0} or sport = :{0} )'", server.port),
            "retrans, rto, reordering and sack of each connection",
        )
        .verify(
            sender,
            "nstat -az TcpRetransSegs TcpExtTCPTimeouts TcpExtTCPLossProbes TcpExtTCPFastRetrans",
            "how repairs were triggered on this host",
        )
        .verify(
            "both",
            "ethtool -S DEV | grep -iE 'drop|err|crc'; ip -s link show DEV",
            "losses in this host's own card or queue",
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{Builder, S, figure, findings_of};
    use analyzer::connection::Holes;

    fn with_hole(stall_ms: f64, blocked: u64) -> Connection {
        let mut builder = Builder::tcp(1)
            .handshake(0.0, 40.0)
            .request(50.0, 100)
            .response(100.0, 1400);
        let opened = builder.segment(101.0, S, 0x10, 1400);
        let filled = builder.segment(101.0 + stall_ms, S, 0x10, 1400);
        let hole = HoleEpisode {
            direction: S,
            opened,
            filled,
            repair: Some(filled),
            repair_kind: RetransmissionKind::Timeout,
            repairs: 1,
            missing_octets: 1400,
            blocked_octets: blocked,
            blocked_segments: 3,
            stall: Duration::from_secs_f64(stall_ms / 1e3),
            seen_at_sender: false,
            confirmed: false,
            blocked_messages: 0,
            message_unit: MessageUnit::Unknown,
        };
        builder
            .with(|conn| {
                conn.holes = Holes {
                    count: 1,
                    stall_total: hole.stall,
                    stall_max: hole.stall,
                    blocked_octets: blocked,
                    longest: vec![hole],
                };
            })
            .build()
    }

    #[test]
    fn timeout_behind_data_stalls() {
        let findings = findings_of("retransmit-hol", &[with_hole(250.0, 4200)]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Medium);
        assert!((figure(&findings[0], "stall_ms_max") - 250.0).abs() < 0.01);
        assert!((figure(&findings[0], "blocked_bytes") - 4200.0).abs() < 0.01);
        assert!(findings[0].title.contains("server"));
    }

    #[test]
    fn long_stall_is_high() {
        assert_eq!(
            findings_of("retransmit-hol", &[with_hole(1500.0, 10)])[0].severity,
            Severity::High
        );
    }

    #[test]
    fn short_reordering_is_silent() {
        assert!(findings_of("retransmit-hol", &[with_hole(5.0, 4200)]).is_empty());
    }

    #[test]
    fn a_hole_that_only_the_capture_shows_is_silent() {
        let with = |confirmed: bool| {
            let mut conn = with_hole(250.0, 4200);
            conn.halves[S.index()].missing_octets = 1400;
            conn.holes.longest[0].confirmed = confirmed;
            findings_of("retransmit-hol", &[conn]).len()
        };
        assert_eq!((with(false), with(true)), (0, 1));
    }

    #[test]
    fn lost_tail_blocks_nothing() {
        assert!(findings_of("retransmit-hol", &[with_hole(250.0, 0)]).is_empty());
    }
}
