//! What a reset was: the facts that tell, and the table that they are looked up in.

use std::time::Duration;

use crate::confidence;
use crate::connection::{Handshake, ResetKind as Kind, ResetShape, Turn};
use crate::direction::Direction;
use crate::event::SegmentRef;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::{Outstanding, SenderState};
use crate::time::Timestamp;

/// A route change or another device shows as at least this many hops.
pub(in crate::flow::tcp) const HOP_LIMIT_SLACK: u8 = 2;

/// Octets around a sender's place that count as its going on.
pub(in crate::flow::tcp) const CONTINUES_WITHIN: u64 = 1 << 20;

/// The smallest retransmission timeout of RFC 6298 §2.4; Linux repeats sooner.
const RTO_MIN_OF_RFC: Duration = Duration::from_secs(1);

/// Closing with more than this unread shows in the window; with less it need not.
const SHOWS_IN_WINDOW: u64 = 32_768;

/// After a silence longer than this the peer may well have forgotten the connection.
const IDLE: Duration = Duration::from_secs(1);

/// One line of the table.
pub(in crate::flow::tcp) struct Row {
    /// Whether it fits.
    fits: fn(&ResetFacts) -> bool,
    /// What the reset then was.
    pub kind: Kind,
    /// How sure, 0–1.
    pub confidence: f64,
    /// The next best reading and why it lost.
    pub runner_up: Option<(Kind, &'static str)>,
}

/// The kinds of resets: the first row that fits tells. Those above the shapes hold for every shape.
static TABLE: [Row; 19] = [
    Row {
        fits: |facts| facts.answers_syn,
        kind: Kind::Refused,
        confidence: confidence::STATED,
        runner_up: None,
    },
    Row {
        fits: |facts| facts.in_handshake && facts.refuses_right_answer,
        kind: Kind::HalfOpen,
        confidence: confidence::PROBABLE,
        runner_up: Some((
            Kind::TimeWait,
            "the SYN-ACK correctly answers its SYN: the socket was already gone, or (in a scan) never existed",
        )),
    },
    Row {
        fits: |facts| facts.in_handshake && facts.is(ResetShape::Reply),
        kind: Kind::TimeWait,
        confidence: confidence::OPEN,
        runner_up: Some((Kind::HalfOpen, "the handshake was not complete")),
    },
    Row {
        fits: ResetFacts::has_strange_hop_limit,
        kind: Kind::Forged,
        confidence: confidence::LIKELY,
        runner_up: Some((
            Kind::LingerZero,
            "its hop limit is not that of the end it claims to come from",
        )),
    },
    Row {
        fits: |facts| facts.is_off_series && facts.is_live() && !facts.is(ResetShape::Reply),
        kind: Kind::Forged,
        confidence: confidence::PROBABLE,
        runner_up: Some((
            Kind::LingerZero,
            "its identification does not fit the counter of the end's other packets",
        )),
    },
    // It answers a segment.
    Row {
        fits: |facts| {
            facts.is(ResetShape::Reply) && facts.own_fin_before && facts.peer_carried_data
        },
        kind: Kind::AbortedAfterClose,
        confidence: confidence::PROVED,
        runner_up: Some((Kind::HalfOpen, HAD_CLOSED)),
    },
    Row {
        fits: |facts| facts.is(ResetShape::Reply) && facts.own_fin_before,
        kind: Kind::AbortedAfterClose,
        confidence: confidence::LIKELY,
        runner_up: Some((Kind::HalfOpen, HAD_CLOSED)),
    },
    Row {
        fits: |facts| facts.is(ResetShape::Reply) && facts.idle_before > IDLE,
        kind: Kind::HalfOpen,
        confidence: confidence::PROBABLE,
        runner_up: Some((Kind::AbortedAfterClose, NO_FIN)),
    },
    Row {
        fits: |facts| facts.is(ResetShape::Reply),
        kind: Kind::HalfOpen,
        confidence: confidence::EVEN,
        runner_up: Some((Kind::AbortedAfterClose, NO_FIN)),
    },
    // It has neither shape.
    Row {
        fits: |facts| facts.is(ResetShape::Unclear) && facts.own_fin_before,
        kind: Kind::AbortedAfterClose,
        confidence: confidence::OPEN,
        runner_up: Some((Kind::Unknown, "its numbers fit no recent segment")),
    },
    Row {
        fits: |facts| facts.is(ResetShape::Unclear),
        kind: Kind::Unknown,
        confidence: confidence::DOUBTFUL,
        runner_up: None,
    },
    // An end gave up by itself.
    Row {
        fits: |facts| facts.probes_unanswered >= 2 || facts.repeats_unanswered >= 3,
        kind: Kind::KeepaliveExpired,
        confidence: confidence::LIKELY,
        runner_up: Some((
            Kind::LingerZero,
            "its probes or retransmissions had gone unanswered",
        )),
    },
    Row {
        fits: |facts| facts.window_jump.is_some_and(|jump| jump > 0),
        kind: Kind::UnreadData,
        confidence: confidence::LIKELY,
        runner_up: Some((
            Kind::LingerZero,
            "the window grew with the RST: close() emptied the queue",
        )),
    },
    Row {
        fits: |facts| facts.own_fin_before,
        kind: Kind::AbortedAfterClose,
        confidence: confidence::OPEN,
        runner_up: Some((Kind::LingerZero, "its FIN came before")),
    },
    Row {
        fits: |facts| facts.unanswered_octets > 0 && !facts.by_client && !facts.was_all_read(),
        kind: Kind::UnreadData,
        confidence: confidence::EVEN,
        runner_up: Some((
            Kind::LingerZero,
            "the peer's last bytes were never answered",
        )),
    },
    Row {
        fits: |facts| facts.peer_missed,
        kind: Kind::LingerZero,
        confidence: confidence::DOUBTFUL,
        runner_up: Some((
            Kind::UnreadData,
            "bytes of the peer that were not captured may have been unread",
        )),
    },
    Row {
        fits: |facts| facts.unanswered_octets > 0 && facts.window_jump.is_some(),
        kind: Kind::LingerZero,
        confidence: confidence::LIKELY,
        runner_up: Some((Kind::UnreadData, LITTLE_UNREAD)),
    },
    Row {
        fits: |facts| facts.unanswered_octets > 0,
        kind: Kind::LingerZero,
        confidence: confidence::OPEN,
        runner_up: Some((Kind::UnreadData, LITTLE_UNREAD)),
    },
    Row {
        fits: |facts| facts.window_jump.is_some(),
        kind: Kind::LingerZero,
        confidence: confidence::LIKELY,
        runner_up: Some((Kind::UnreadData, NOTHING_UNREAD)),
    },
];

/// What no row of the table fits.
static NO_OTHER: Row = Row {
    fits: |_| true,
    kind: Kind::LingerZero,
    confidence: confidence::OPEN,
    runner_up: Some((Kind::UnreadData, NOTHING_UNREAD)),
};

const HAD_CLOSED: &str = "the resetting end had closed the connection itself";
const NO_FIN: &str = "no FIN of the resetting end was captured";
const LITTLE_UNREAD: &str = "the window did not grow: at most a few kilobytes can have been unread";
const NOTHING_UNREAD: &str = "the window did not grow and the peer's last bytes were answered";

/// What a reset is judged beside.
#[derive(Clone, Copy)]
pub(in crate::flow::tcp) struct Surroundings<'a> {
    pub senders: &'a [SenderState; 2],
    pub handshake: &'a Handshake,
    /// The latest turn, when anybody sent data.
    pub last_turn: Option<&'a Turn>,
    /// Silence before the reset.
    pub idle_before: Duration,
    /// The other end had sent a reset before.
    pub peer_reset_before: bool,
}

/// What the judgement rests on.
pub(in crate::flow::tcp) struct ResetFacts {
    pub shape: ResetShape,
    /// The segment of the peer that a reply answers.
    pub answers: Option<SegmentRef>,
    pub bytes_unacked: u64,
    pub window_jump: Option<i64>,
    pub unanswered_octets: u64,
    /// Octets of the peer passed unseen after the resetter last answered: they may lie unread.
    peer_missed: bool,
    /// It acknowledges a little more than was captured of the peer.
    pub acks_unseen: bool,
    pub own_fin_before: bool,
    pub peer_fin_before: bool,
    pub usual_hop_limit: Option<u8>,
    newest_hop_limit: Option<u8>,
    pub hop_limit: u8,
    own_packets: u64,
    /// Its identification comes next in the counter of its end.
    is_in_series: bool,
    /// Its identification cannot come from the counter of its end.
    is_off_series: bool,
    /// The peer had reset the connection before.
    peer_reset_before: bool,
    probes_unanswered: u32,
    repeats_unanswered: u32,
    by_client: bool,
    pub in_handshake: bool,
    pub answers_syn: bool,
    /// It refuses a SYN-ACK that acknowledges this end's own SYN.
    refuses_right_answer: bool,
    /// The segment that it may answer carried data.
    peer_carried_data: bool,
    pub idle_before: Duration,
}

impl ResetFacts {
    /// Gathers what is known when a RST comes.
    pub fn of(segment: &Segment<'_>, beside: &Surroundings<'_>) -> Self {
        let handshake = beside.handshake;
        let in_handshake = handshake.ack.is_none() && handshake.syn_count > 0;
        let by_client = segment.direction == Direction::ClientToServer;
        let sender = &beside.senders[segment.direction.index()];
        let peer = &beside.senders[segment.direction.reverse().index()];
        let answers = answered_by(segment, peer);
        let shape = shape_of(segment, sender, answers);
        let window_jump = sender
            .last_ack_window
            .filter(|_| shape == ResetShape::Active && segment.tcp.flags.ack())
            .map(|last| i64::from(segment.reference.window) - i64::from(last));
        let acks_unseen = acknowledges_unseen(segment, peer);
        Self {
            shape,
            answers: answers.filter(|_| shape == ResetShape::Reply),
            bytes_unacked: unacked_as_known(sender, peer, segment.packet.time),
            window_jump,
            unanswered_octets: unanswered_octets(segment, beside),
            peer_missed: acks_unseen || may_be_unread_unseen(sender, peer, window_jump.is_some()),
            acks_unseen,
            own_fin_before: sender.fin_at.is_some(),
            peer_fin_before: peer.fin_at.is_some(),
            usual_hop_limit: sender.hop_limit.map(|(usual, _)| usual),
            newest_hop_limit: sender.newest_hop_limit,
            hop_limit: segment.packet.hop_limit,
            own_packets: sender.stats.packets.saturating_sub(1),
            is_in_series: sender.ip_ids.continues_with(segment.packet.ip_id),
            is_off_series: sender.ip_ids.is_foreign(segment.packet.ip_id),
            peer_reset_before: beside.peer_reset_before,
            probes_unanswered: sender.unanswered_probes,
            repeats_unanswered: sender.unanswered_repeats,
            by_client,
            in_handshake,
            answers_syn: in_handshake && !by_client && handshake.syn_ack_count == 0,
            refuses_right_answer: answers
                .is_some_and(|last| last.flags.syn() && last.relative_ack == 1),
            peer_carried_data: answers.is_some_and(|last| last.payload_len > 0),
            idle_before: beside.idle_before,
        }
    }

    /// The row of the table that tells what it was.
    pub fn judge(&self) -> &'static Row {
        TABLE
            .iter()
            .find(|row| (row.fits)(self))
            .unwrap_or(&NO_OTHER)
    }

    fn is(&self, shape: ResetShape) -> bool {
        self.shape == shape
    }

    /// Its hop limit is neither the usual one of its end nor what the latest packets bear, so that
    /// a new route is no forgery. Hosts begin with another hop limit where they answer from no
    /// socket: the distance counts. An end's own counter proves that it is its own.
    fn has_strange_hop_limit(&self) -> bool {
        let differs = |known: Option<u8>| known.is_some_and(|known| self.is_elsewhere(known));
        self.own_packets >= 2
            && self.is_live()
            && !self.is_in_series
            && differs(self.usual_hop_limit)
            && differs(self.newest_hop_limit)
    }

    /// It was not sent as far away as packets that bear this hop limit.
    const fn is_elsewhere(&self, known: u8) -> bool {
        known.abs_diff(self.hop_limit) > HOP_LIMIT_SLACK
            && hops_behind(known).abs_diff(hops_behind(self.hop_limit)) > HOP_LIMIT_SLACK
    }

    /// There is something to break: neither end had closed or reset it. Who has closed has no socket
    /// any more and answers what comes late with RST.
    const fn is_live(&self) -> bool {
        !self.own_fin_before && !self.peer_fin_before && !self.peer_reset_before
    }

    /// So much unread would have shown in the window.
    fn was_all_read(&self) -> bool {
        self.window_jump.is_some_and(|jump| jump <= 0) && self.unanswered_octets > SHOWS_IN_WINDOW
    }
}

/// How many routers a packet has passed: hosts begin with 64, 128 or 255.
pub(in crate::flow::tcp) const fn hops_behind(hop_limit: u8) -> u8 {
    match hop_limit {
        0..=64 => 64 - hop_limit,
        65..=128 => 128 - hop_limit,
        _ => 255 - hop_limit,
    }
}

/// The peer's latest segment, when the RST may answer it.
fn answered_by(segment: &Segment<'_>, peer: &SenderState) -> Option<SegmentRef> {
    let (number, has_ack) = (segment.tcp.seq, segment.tcp.flags.ack());
    (peer.stats.last_segment)
        .filter(|last| last.ack == number && last.flags.ack() || (has_ack && last.flags.syn()))
}

fn shape_of(
    segment: &Segment<'_>,
    sender: &SenderState,
    answers: Option<SegmentRef>,
) -> ResetShape {
    let at_next = segment.start == sender.snd_max || sender.stats.packets <= 1;
    match (segment.tcp.flags.ack(), at_next, answers) {
        (false, _, Some(_)) => ResetShape::Reply,
        (true, true, _) => ResetShape::Active,
        (true, false, Some(_)) => ResetShape::Reply,
        _ => ResetShape::Unclear,
    }
}

/// Octets that the resetter had sent and did not know to be acknowledged.
fn unacked_as_known(sender: &SenderState, peer: &SenderState, now: Timestamp) -> u64 {
    let round_trip = peer.rtt.min_ns();
    let known = sender
        .acks_under_way
        .snd_una_at_sender(now, sender.snd_una, round_trip);
    let acknowledged = known.max(surely_acked(sender, now));
    sender.snd_max.saturating_sub(acknowledged)
}

/// Up to where a sender's octets must have been acknowledged, although that was not captured: it
/// would have sent them again (RFC 6298 §2.4: after a second at most beyond what it measured).
fn surely_acked(sender: &SenderState, now: Timestamp) -> u64 {
    let patience = RTO_MIN_OF_RFC + sender.rtt.rto();
    let waits_too_long =
        |known: &&Outstanding| known.copies == 1 && now.since(known.last_sent) > patience;
    let outstanding = sender.outstanding.iter().take_while(waits_too_long);
    outstanding.last().map_or(0, |known| known.range.end)
}

/// Octets of the peer that came after the resetter's last data: of a whole request, or of a
/// segment. What the RST does not acknowledge had not reached the resetter.
fn unanswered_octets(segment: &Segment<'_>, beside: &Surroundings<'_>) -> u64 {
    let own = beside.senders[segment.direction.index()].stats.last_data;
    let peer = &beside.senders[segment.direction.reverse().index()];
    let is_answered =
        |data: &SegmentRef| own.is_some_and(|own| own.relative_ack > data.relative_seq);
    let Some(data) = peer.stats.last_data.filter(|data| !is_answered(data)) else {
        return 0;
    };
    let acknowledged = segment
        .tcp
        .flags
        .ack()
        .then_some(segment.reference.relative_ack);
    let arrived = |first: SegmentRef, octets: u64| {
        let reached = acknowledged.map(|end| end.saturating_sub(first.relative_seq));
        reached.map_or(octets, |reached| octets.min(reached))
    };
    let from_client = data.direction == Direction::ClientToServer;
    match beside.last_turn.filter(|_| from_client) {
        Some(turn) if turn.answer_missed => 0,
        Some(turn) => arrived(turn.request.first, turn.request.octets),
        None => arrived(data, u64::from(data.payload_len)),
    }
}

/// The RST acknowledges a little more than was captured of the peer.
fn acknowledges_unseen(segment: &Segment<'_>, peer: &SenderState) -> bool {
    let unseen = peer.snd_max + 1..=peer.snd_max + CONTINUES_WITHIN;
    segment.tcp.flags.ack()
        && peer.stats.packets > 0
        && segment.ack.is_some_and(|ack| unseen.contains(&ack))
}

/// Octets of the peer passed unseen after the resetter last answered. What lies further back would
/// show in the window, as all behind it, where the RST tells that.
fn may_be_unread_unseen(sender: &SenderState, peer: &SenderState, tells_window: bool) -> bool {
    let answered_to = (sender.stats.last_data).map_or(0, |own| own.relative_ack);
    let missed = peer.missing.ranges().last();
    missed.is_some_and(|missed| {
        peer.relative(missed.end) > answered_to
            && (!tells_window || missed.end + SHOWS_IN_WINDOW > peer.snd_max)
    })
}
