//! `retransmit-hol`: bytes that arrived wait behind a lost segment.

use std::time::Duration;

use analyzer::app::MessageUnit;
use analyzer::connection::{CapturePoint, HoleEpisode, Turn, Waits};
use analyzer::event::RetransmissionKind;
use analyzer::{Analysis, Connection, Direction, Timestamp};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::figure::{FigureValue, counted, median, most};
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{bytes, end_at, many, ms, number, other_end, plural, span, time};
use crate::signs::waits::union;

declare_rule! {
    /// A lost segment held back bytes that had already arrived behind it.
    ///
    /// ## What it means
    /// TCP delivers bytes to the application in order. When one segment is lost, everything behind it has
    /// arrived but waits in the receiver's kernel until the lost segment is retransmitted: head-of-line
    /// blocking.
    ///
    /// ## Why it matters
    /// The application sees a pause although the network delivered nearly everything. All messages on the
    /// connection wait together, including those that lost nothing; with HTTP/2 that means every stream. A fast
    /// retransmission costs about one round trip, a timeout 200 ms and more.
    ///
    /// ## How it is detected
    /// - One direction has a gap in its sequence numbers while later bytes have arrived: at the receiver's side
    ///   the later segments themselves show it, at the sender's side SACK blocks or three duplicate ACKs.
    /// - A retransmission fills the gap. The stall runs from the first byte that had to wait until the gap was
    ///   filled, or until the receiver closed or reset the connection.
    /// - Left out are stalls below half a round trip or 20 ms, stalls of segments too large for the path
    ///   (mtu-black-hole), and subflows of Multipath TCP.
    ///
    /// The segment (or ACK) that shows later bytes beyond the gap and the one that fills it prove it. A late
    /// original (reordering), or missing bytes that were never sent, would refute it.
    ///
    /// Severity follows the time during which bytes waited, over all connections of the cause; overlapping
    /// stalls count once. One stall as long as the smallest retransmission timeout is medium even where the
    /// total is below a second: the loss was not repaired within a round trip, and everything behind it waited.
    ///
    /// ## What to do
    /// Fix the loss. Check that SACK and RACK-TLP are on. Spread latency-critical exchanges over several
    /// connections, or use QUIC, where a loss holds back only its own stream.
    ///
    /// ## Known limits
    /// At the sender's side without SACK only duplicate ACKs show the stall, and how much waited is unknown. A
    /// loss at the very end of a transfer has nothing behind it and belongs to packet-loss. Reordering that
    /// takes longer than half a round trip and triggers an unneeded retransmission can look the same.
    ///
    /// ## References
    /// - RFC 9293 §3.10.7.4; RFC 2018; RFC 8985
    /// - RFC 9000 §2 (streams without this)
    pub(crate) struct RetransmitHol {
        id: "retransmit-hol",
        group: LossAndPath,
        title: "Lost segments hold back bytes that have already arrived",
        severity: High,
        needs: [Tcp, BothDirections],
        traits: [Hole],
        clouded_by: [CaptureDrops, ClockStep, DuplicateFrames],
        figures: [
            stall_ms_total: Milliseconds / Sum,
            stall_ms_max: Milliseconds / Max,
            blocked_bytes: Bytes / Sum,
            holes: Count / Sum,
        ],
        thresholds: [
            min_stall_ms = 20.0: "Shortest stall reported; people and most programs do not notice shorter ones.",
            min_stall_round_trips = 0.5: "Shortest stall in round trips; reordering closes within a fraction of one, a repair takes about one.",
        ],
        host_evidence: [Owner, Retransmissions],
    }
}

/// Holes behind which data waited.
pub(crate) struct Seen {
    sender: Direction,
    /// How the worst was repaired.
    repair: &'static str,
    /// Seen at the sender's side.
    at_sender: bool,
    rtt_ms: Option<f64>,
    /// HTTP requests of the connection.
    requests: u64,
    /// Messages that waited behind the worst.
    messages: Option<(u64, MessageUnit)>,
    /// How long the exchange took that waited for it, and would have taken without it.
    turn_ms: Option<(f64, f64)>,
    /// When something waited, from and to in order.
    spans: Vec<(Timestamp, Timestamp)>,
    /// Time on the clock that something waited.
    waited: Duration,
}

impl Rule for RetransmitHol {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations<Seen>) {
        // What waits on a subflow of Multipath TCP need not wait in the application.
        if conn.handshake.multipath_offers == 2 {
            return;
        }
        let least =
            (round_trip(conn).unwrap_or_default()).mul_f64(ctx.threshold("min_stall_round_trips"));
        let least = least.max(Duration::from_secs_f64(ctx.threshold("min_stall_ms") / 1e3));
        for direction in Direction::BOTH {
            // Where the capture missed octets, a hole that only it shows is its own; at the sender so is one
            // that no repair passed into: what the receiver lacked then was under way.
            let all_real = conn.half(direction).missing_octets == 0;
            let is_real = |hole: &HoleEpisode| {
                hole.confirmed
                    && (hole.repair.is_some() || conn.capture_point != point_of(direction))
            };
            let real: Vec<&HoleEpisode> = (conn.holes.longest.iter())
                .filter(|hole| {
                    hole.direction == direction
                        && hole.stall >= least
                        && !hole.too_large
                        && (all_real || is_real(hole))
                })
                .collect();
            let Some(worst) = real.first() else { continue };
            out.push(observation(conn, worst, waits(conn, direction, &real)));
        }
    }

    fn on_capture(
        &self,
        _analysis: &Analysis,
        _ctx: &Context<'_>,
        collected: &mut Collected<Seen>,
    ) {
        count_time_once(&mut collected.observations);
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let total = group.figure("stall_ms_total").unwrap_or_default();
        let longest = group.figure("stall_ms_max").unwrap_or_default();
        let holes = group.figure("holes").unwrap_or_default();
        let blocked = group.figure("blocked_bytes").unwrap_or_default();
        let sender = most(group.seen().map(|seen| seen.sender)).map_or("", Direction::sender);
        let receiver = other_end(sender);
        let server = group.server();
        let end = end_at(sender, server);
        let repairs = counted(group.seen().map(|seen| seen.repair));
        let kinds: Vec<String> = repairs.iter().map(|(kind, _)| (*kind).to_owned()).collect();
        let rtt = median(group.seen().filter_map(|seen| seen.rtt_ms));
        let requests: u64 = group.seen().map(|seen| seen.requests).sum();
        let draft = draft
            .title(format!("Loss held back data from the {sender} for up to {} ({server})", time(longest)))
            .summary(format!(
                "{} in the data from the {end} kept {} waiting at the {receiver} for {}, although those bytes had arrived. The \
                 repair came by {}.{}",
                plural(holes, "gap"),
                bytes(blocked),
                if holes > 1.0 { format!("{} in all, {} at worst", time(total), time(longest)) } else { time(total) },
                crate::model::text::list(&kinds),
                waiting_messages(group) + &without_loss(group),
            ))
            .confidence(draft_confidence(group), "The gaps, the bytes behind them and the retransmissions were all captured.");
        let draft = draft
            .because(format!("later segments of the {sender} had arrived while earlier ones were missing, until a retransmission filled the gap: {}", plural(holes, "time")))
            .because_if(group.having(|seen| seen.at_sender) > 0, || {
                "captured at the sender's side: SACK or duplicate ACKs show what the receiver held; both ends of the stall appear half a round trip late".to_owned()
            })
            .because_if(rtt.is_some(), || {
                let rtt = rtt.unwrap_or_default();
                format!("the round trip is {}; an immediate retransmission would take about as long", time(rtt))
            })
            .because_if(requests > 0, || format!("the connections carried {} in all", many(requests, "request")))
            .not("reordering", "the missing segment came as a retransmission, not as a late original")
            .not("packet-loss", "bytes waited behind the gap; a lost tail with nothing behind it is counted there")
            .not("zero-window-stall", "the receiver's window was open; bytes waited for a missing one, not for the application")
            .not("slow server", format!("the {sender} had sent the bytes behind the hole already"));
        remedies(group, draft, sender)
    }
}

/// The round trip, where both halves of it are known: one alone may be next to nothing.
fn round_trip(conn: &Connection) -> Option<Duration> {
    let [client, server] = &conn.halves;
    Some(client.rtt_min? + server.rtt_min?)
}

/// The capture point that is next to the sender of a direction.
const fn point_of(direction: Direction) -> CapturePoint {
    match direction {
        Direction::ClientToServer => CapturePoint::Client,
        Direction::ServerToClient => CapturePoint::Server,
    }
}

/// What waited in one direction: of all holes where the `real` ones among the longest are all that
/// were kept, else of those.
fn waits(conn: &Connection, direction: Direction, real: &[&HoleEpisode]) -> Waits {
    let all = &conn.holes.waits[direction.index()];
    let kept = &conn.holes.longest;
    if real.len() == kept.len() && conn.holes.count() > kept.len() as u64 {
        return all.clone();
    }
    let mut in_order: Vec<_> = (real.iter())
        .map(|hole| (hole.opened.time + hole.stall, hole))
        .collect();
    in_order.sort_by_key(|(end, hole)| (*end, hole.opened.frame));
    let mut waits = Waits::default();
    for (end, hole) in in_order {
        waits.add(hole.opened.time, end, hole.blocked_octets);
    }
    waits
}

/// Takes the time in which others of the same cause waited as well out of all but one of them.
fn count_time_once(observations: &mut [Observation<Seen>]) {
    let mut spans = Vec::new();
    for (at, one) in observations.iter().enumerate() {
        for (from, to) in &one.seen.spans {
            spans.push((one.cause.clone(), *from, *to, at));
        }
    }
    spans.sort();
    let mut told_twice = vec![Duration::ZERO; observations.len()];
    let mut covered: Option<(&str, Timestamp)> = None;
    for (cause, from, to, at) in &spans {
        let known = covered.filter(|(other, _)| other == cause);
        let known_to = known.map_or(*from, |(_, end)| end);
        told_twice[*at] += known_to.min(*to).since(*from);
        covered = Some((cause, known_to.max(*to)));
    }
    for (one, twice) in observations.iter_mut().zip(told_twice) {
        let waited = one.seen.waited.saturating_sub(twice);
        one.set_figure("stall_ms_total", FigureValue::Number(ms(waited)));
        one.cost = vec![("time_lost_ms", ms(waited))];
        one.impact.waited = waited;
    }
}

fn observation(conn: &Connection, worst: &HoleEpisode, waits: Waits) -> Observation<Seen> {
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
    Observation::new(
        conn,
        if worst.seen_at_sender {
            confidence::STRONG
        } else {
            confidence::PROVED
        },
        Impact::stalled(worst.stall, waits.total),
    )
    .cause(format!("{} {sender}", conn.server))
    .at(worst.opened.time)
    .measured(worst.opened.time, worst.opened.time + worst.stall)
    .weight(ms(worst.stall))
    .count(waits.count.max(1))
    .proof(worst.opened, opened)
    .evidence_if(
        repair,
        format!(
            "retransmission into the gap ({})",
            repair_words(worst.repair_kind)
        ),
    )
    .proof(worst.filled, filled_words(worst))
    .figure("stall_ms_total", ms(waits.total))
    .figure("stall_ms_max", ms(worst.stall))
    .figure("blocked_bytes", number(waits.octets))
    .figure("holes", number(waits.count))
    .cost("time_lost_ms", ms(waits.total))
    .stalls(waits.spans.iter().copied())
    .seen(Seen {
        sender: worst.direction,
        repair: repair_words(worst.repair_kind),
        at_sender: worst.seen_at_sender,
        rtt_ms: round_trip(conn).map(ms),
        requests: conn.app.http.as_ref().map_or(0, |http| http.requests),
        messages: (worst.blocked_messages > 0)
            .then_some((worst.blocked_messages, worst.message_unit)),
        turn_ms: waiting_turn(conn, worst).map(|turn| {
            let end = turn
                .response
                .map_or(turn.request.last.time, |response| response.last.time);
            let took = end.since(turn.request.first.time);
            let spans = waits.spans.iter();
            let within = spans.map(|(from, to)| {
                let from = *from.max(&turn.request.first.time);
                (from, (*to.min(&end)).max(from))
            });
            (ms(took), ms(took.saturating_sub(union(within))))
        }),
        waited: waits.total,
        spans: waits.spans,
    })
}

fn filled_words(hole: &HoleEpisode) -> String {
    let (stall, waited) = (span(hole.stall), many(hole.blocked_octets, "byte"));
    if hole.at_least {
        format!("the gap was not filled within the capture: {waited} waited at least {stall}")
    } else {
        format!("gap filled {stall} after the first byte behind it; {waited} waited")
    }
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

fn waiting_messages(group: &Group<'_, Seen>) -> String {
    match group.best().seen.messages {
        Some((count, unit)) => format!(
            " The worst of them delayed {}.",
            plural(number(count), unit_words(unit))
        ),
        None => String::new(),
    }
}

fn without_loss(group: &Group<'_, Seen>) -> String {
    match group.best().seen.turn_ms {
        Some((took, without)) => format!(
            " The exchange that waited longest took {}; without the loss it would have taken about {}.",
            time(took),
            time(without)
        ),
        None => String::new(),
    }
}

fn draft_confidence(group: &Group<'_, Seen>) -> f64 {
    group
        .observations
        .iter()
        .map(|one| one.confidence)
        .fold(0.0, f64::max)
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

fn remedies(group: &Group<'_, Seen>, draft: Narrative, sender: &str) -> Narrative {
    let server = group.server();
    let by_timeout = repair_words(RetransmissionKind::Timeout);
    let timeout = group.seen().any(|seen| seen.repair == by_timeout);
    let draft = draft
        .advise("any", format!("find and fix the loss on the path from the {sender}: the packet-loss finding shows on which side of the capture point it is"))
        .set("Linux", "keep selective acknowledgments and time-based loss detection on, so that recovery takes one round trip", "net.ipv4.tcp_sack = 1, net.ipv4.tcp_recovery = 1, net.ipv4.tcp_early_retrans = 3")
        .advise("gRPC / HTTP/2", "use several connections (channels) for latency-critical calls, apart from bulk transfers")
        .advise("any", "use HTTP/3 (QUIC), where a loss delays only its own stream");
    let draft = if timeout {
        draft.advise("Linux", "write in larger pieces, or lower the minimum timeout of the route (ip route … rto_min): too little was in flight for fast retransmission, so recovery waited for the timer (at least 200 ms)")
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
            "how retransmissions were triggered on this host",
        )
        .verify(
            "both",
            "ethtool -S DEV | grep -iE 'drop|err|crc'; ip -s link show DEV",
            "losses in this host's own NIC or queue",
        )
}

#[cfg(test)]
mod tests;
