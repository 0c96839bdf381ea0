//! Why a connection was reset: the taxonomy of RULES.md, judged once, with the runner-up.

use std::time::Duration;

use crate::app::{AppProtocol, GOODBYE_TO_FIN, TLS_GOODBYE_OCTETS};
use crate::connection::{Handshake, Reset, ResetKind, ResetShape, Turn};
use crate::decode::TcpFlags;
use crate::direction::Direction;
use crate::event::SegmentRef;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::{Outstanding, SenderState};
use crate::time::Timestamp;

/// Entries kept per connection.
const RESETS: usize = 8;

/// A route change or another device shows as at least this many hops (RULES.md 18).
const HOP_LIMIT_SLACK: u8 = 2;

/// Octets around a sender's place that count as its going on.
const CONTINUES_WITHIN: u64 = 1 << 20;

/// A segment sent before the RST may be written behind it by a capture of several queues.
const CAPTURED_LATE: Duration = Duration::from_millis(10);

/// The smallest retransmission timeout of RFC 6298 §2.4; Linux repeats sooner.
const RTO_MIN_OF_RFC: Duration = Duration::from_secs(1);

/// Closing with more than this unread shows in the window; with less it need not.
const SHOWS_IN_WINDOW: u64 = 32_768;

/// Up to where a sender's octets must have been acknowledged, although that was not captured: it
/// would have sent them again (RFC 6298 §2.4: after a second at most beyond what it measured).
fn surely_acked(sender: &SenderState, now: Timestamp) -> u64 {
    let patience = RTO_MIN_OF_RFC + sender.rtt.rto();
    let waits_too_long =
        |known: &&Outstanding| known.copies == 1 && now.since(known.last_sent) > patience;
    let outstanding = sender.outstanding.iter().take_while(waits_too_long);
    outstanding.last().map_or(0, |known| known.range.end)
}

/// What the judgement rests on.
struct Facts {
    shape: ResetShape,
    answers: Option<SegmentRef>,
    bytes_unacked: u64,
    window_jump: Option<i64>,
    unanswered_octets: u64,
    /// Octets of the peer passed unseen after the resetter last answered: they may lie unread.
    peer_missed: bool,
    /// It acknowledges a little more than was captured of the peer.
    acks_unseen: bool,
    own_fin_before: bool,
    peer_fin_before: bool,
    usual_hop_limit: Option<u8>,
    newest_hop_limit: Option<u8>,
    hop_limit: u8,
    own_packets: u64,
    probes_unanswered: u32,
    repeats_unanswered: u32,
    by_client: bool,
    in_handshake: bool,
    answers_syn: bool,
    /// It refuses a SYN-ACK that acknowledges this end's own SYN.
    refuses_right_answer: bool,
    peer_carried_data: bool,
    idle_before: Duration,
}

/// The resets of a connection while it lives.
#[derive(Debug, Default)]
pub(in crate::flow::tcp) struct ResetTracker(Vec<Reset>);

/// What a reset is judged beside.
#[derive(Clone, Copy)]
pub(in crate::flow::tcp) struct Surroundings<'a> {
    pub senders: &'a [SenderState; 2],
    pub handshake: &'a Handshake,
    /// The latest turn, when anybody sent data.
    pub last_turn: Option<&'a Turn>,
    /// Silence before the reset.
    pub idle_before: Duration,
}

/// What a reset means for the connection.
#[derive(Clone, Copy, Debug)]
pub(in crate::flow::tcp) struct Outcome {
    /// The client refuses an answer that does not fit its SYN (RFC 9293 §3.10.7.3); the attempt
    /// goes on.
    pub is_challenge: bool,
    /// Its supposed sender sent it, so that the connection is over.
    pub ends_connection: bool,
    /// Its acknowledgement is the end's last word on what it received.
    pub acknowledges: bool,
}

impl ResetTracker {
    /// No reset was seen.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a RST; nothing comes of one of many that one end sent, one per segment under way.
    pub fn take(&mut self, segment: &Segment<'_>, beside: &Surroundings<'_>) -> Option<Outcome> {
        let facts = facts_of(segment, beside);
        let end = segment.direction;
        if let Some(known) = self
            .0
            .iter_mut()
            .find(|known| known.segment.direction == end)
        {
            let hop_agrees = known.hop_limit.abs_diff(segment.packet.hop_limit) <= HOP_LIMIT_SLACK;
            if hop_agrees {
                known.count += 1;
                return None;
            }
        }
        let (kind, confidence, runner_up) = judge(&facts);
        if self.0.len() < RESETS {
            self.0.push(Reset {
                segment: segment.reference,
                count: 1,
                kind,
                confidence,
                runner_up,
                shape: facts.shape,
                answers: facts.answers,
                bytes_unacked: facts.bytes_unacked,
                window_jump: facts.window_jump,
                unanswered_octets: facts.unanswered_octets,
                own_fin_before: facts.own_fin_before,
                peer_fin_before: facts.peer_fin_before,
                idle_before: facts.idle_before,
                hop_limit: facts.hop_limit,
                usual_hop_limit: facts.usual_hop_limit,
                sender_carried_on: false,
            });
        }
        let refuses = facts.in_handshake && end == Direction::ClientToServer;
        Some(Outcome {
            is_challenge: refuses && !facts.answers_syn,
            ends_connection: kind != ResetKind::Forged,
            acknowledges: facts.shape == ResetShape::Active && facts.acks_unseen,
        })
    }

    /// A supposed resetter that carries on with data did not send the RST.
    pub fn note_carried_on(&mut self, segment: &Segment<'_>, sender: &SenderState) {
        let fresh = segment.packet.payload_len > 0 && !segment.tcp.flags.has(TcpFlags::SYN);
        if self.is_empty() || !fresh {
            return;
        }
        // Numbers far away belong to a later connection whose SYN was not captured.
        let continues = segment.start >= sender.snd_una.saturating_sub(CONTINUES_WITHIN)
            && segment.start <= sender.snd_max.saturating_add(CONTINUES_WITHIN);
        if !continues {
            return;
        }
        let is_new = segment.start >= sender.snd_max;
        for reset in &mut self.0 {
            if reset.segment.direction == segment.direction
                && segment.packet.time.since(reset.segment.time)
                    > if is_new {
                        Duration::ZERO
                    } else {
                        CAPTURED_LATE
                    }
            {
                reset.sender_carried_on = true;
            }
        }
    }

    /// Revises judgements by what the whole connection tells: who carries on did not reset, a
    /// TLS client that closes at once leaves session tickets unread (RFC 8446 §4.6.1), and the alert
    /// with which a TLS server closes (§6.1) does not answer the request that came just before.
    pub fn finish(mut self, protocol: AppProtocol, last: Option<&Turn>) -> Vec<Reset> {
        for reset in &mut self.0 {
            let unread = last.filter(|turn| {
                protocol == AppProtocol::Tls
                    && reset.kind == ResetKind::LingerZero
                    && reset.segment.direction == Direction::ServerToClient
                    && turn.request.octets > TLS_GOODBYE_OCTETS
                    && turn.response.is_some_and(|response| {
                        response.octets <= TLS_GOODBYE_OCTETS
                            && reset.segment.time.since(response.first.time) <= GOODBYE_TO_FIN
                    })
            });
            if let Some(turn) = unread {
                reset.runner_up = Some((reset.kind, "a closing alert is no answer"));
                reset.kind = ResetKind::UnreadData;
                reset.confidence = 0.5;
                reset.unanswered_octets = turn.request.octets;
            }
            if reset.sender_carried_on && reset.kind != ResetKind::Forged {
                reset.runner_up = Some((reset.kind, "the supposed sender carried on afterwards"));
                reset.kind = ResetKind::Forged;
                reset.confidence = 0.8;
            }
            if protocol == AppProtocol::Tls
                && reset.kind == ResetKind::LingerZero
                && reset.segment.direction == Direction::ClientToServer
                && reset.unanswered_octets > 0
            {
                reset.runner_up =
                    Some((reset.kind, "TLS clients often leave session tickets unread"));
                reset.kind = ResetKind::UnreadData;
                reset.confidence = 0.5;
            }
        }
        self.0
    }
}

fn facts_of(segment: &Segment<'_>, beside: &Surroundings<'_>) -> Facts {
    let handshake = beside.handshake;
    let in_handshake = handshake.ack.is_none() && handshake.syn_count > 0;
    let server_answered = handshake.syn_ack_count > 0;
    let sender = &beside.senders[segment.direction.index()];
    let peer = &beside.senders[segment.direction.reverse().index()];
    let has_ack = segment.tcp.flags.ack();
    let last_peer = peer.stats.last_segment;
    let last_own_data = sender.stats.last_data;
    let answers = last_peer.filter(|last| {
        last.ack == segment.tcp.seq && last.flags.ack() || (has_ack && last.flags.syn())
    });
    let at_next = segment.start == sender.snd_max || sender.stats.packets <= 1;
    let shape = match (has_ack, at_next, answers) {
        (false, _, Some(_)) => ResetShape::Reply,
        (true, true, _) => ResetShape::Active,
        (true, false, Some(_)) => ResetShape::Reply,
        _ => ResetShape::Unclear,
    };
    let window_jump = (shape == ResetShape::Active && has_ack)
        .then_some(sender.last_ack_window)
        .flatten()
        .map(|last| i64::from(segment.reference.window) - i64::from(last));
    let answered_since =
        |data: SegmentRef| last_own_data.is_some_and(|own| own.relative_ack > data.relative_seq);
    let unanswered = peer.stats.last_data.filter(|data| !answered_since(*data));
    let answered_to = last_own_data.map_or(0, |own| own.relative_ack);
    let missed_to = peer.missing.ranges().last().map(|missed| missed.end);
    // What lies further back would show in the window, as all behind it.
    let may_be_unread = |end: u64| {
        peer.relative(end) > answered_to
            && (window_jump.is_none() || end + SHOWS_IN_WINDOW > peer.snd_max)
    };
    let acks_unseen = has_ack
        && peer.stats.packets > 0
        && segment
            .ack
            .is_some_and(|ack| (peer.snd_max + 1..=peer.snd_max + CONTINUES_WITHIN).contains(&ack));
    let peer_missed = missed_to.is_some_and(may_be_unread) || acks_unseen;
    // What the RST does not acknowledge had not reached the resetter.
    let arrived = |first: SegmentRef, octets: u64| {
        let reached = segment
            .reference
            .relative_ack
            .saturating_sub(first.relative_seq);
        if has_ack { octets.min(reached) } else { octets }
    };
    Facts {
        shape,
        answers: if shape == ResetShape::Reply {
            answers
        } else {
            None
        },
        bytes_unacked: sender.snd_max.saturating_sub(
            sender
                .acks_under_way
                .snd_una_at_sender(segment.packet.time, sender.snd_una, peer.rtt.min_ns())
                .max(surely_acked(sender, segment.packet.time)),
        ),
        window_jump,
        unanswered_octets: unanswered.map_or(0, |data| {
            let from_client = data.direction == Direction::ClientToServer;
            let turn = beside.last_turn.filter(|_| from_client);
            match turn {
                Some(turn) if turn.answer_missed => 0,
                Some(turn) => arrived(turn.request.first, turn.request.octets),
                None => arrived(data, u64::from(data.payload_len)),
            }
        }),
        peer_missed,
        acks_unseen,
        own_fin_before: sender.fin_at.is_some(),
        peer_fin_before: peer.fin_at.is_some(),
        usual_hop_limit: sender.hop_limit.map(|(usual, _)| usual),
        newest_hop_limit: sender.newest_hop_limit,
        hop_limit: segment.packet.hop_limit,
        own_packets: sender.stats.packets.saturating_sub(1),
        probes_unanswered: sender.unanswered_probes,
        repeats_unanswered: sender.unanswered_repeats,
        by_client: segment.direction == Direction::ClientToServer,
        in_handshake,
        answers_syn: in_handshake
            && segment.direction == Direction::ServerToClient
            && !server_answered,
        refuses_right_answer: answers
            .is_some_and(|last| last.flags.syn() && last.relative_ack == 1),
        peer_carried_data: answers.is_some_and(|last| last.payload_len > 0),
        idle_before: beside.idle_before,
    }
}

type Judgement = (ResetKind, f64, Option<(ResetKind, &'static str)>);

/// The decision tree; the first branch that fits wins.
fn judge(facts: &Facts) -> Judgement {
    use ResetKind as Kind;
    if facts.answers_syn {
        return (Kind::Refused, 0.97, None);
    }
    if facts.in_handshake && facts.refuses_right_answer {
        return (
            Kind::HalfOpen,
            0.7,
            Some((
                Kind::TimeWait,
                "the SYN-ACK is the right answer to its SYN: there was no socket any more, or (a scan) never one",
            )),
        );
    }
    if facts.in_handshake && facts.shape == ResetShape::Reply {
        return (
            Kind::TimeWait,
            0.6,
            Some((Kind::HalfOpen, "the handshake was still under way")),
        );
    }
    // Neither usual nor what the latest packets bear, so that a new route is no forgery.
    let differs = |known: Option<u8>| {
        known.is_some_and(|known| known.abs_diff(facts.hop_limit) > HOP_LIMIT_SLACK)
    };
    if facts.own_packets >= 2 && differs(facts.usual_hop_limit) && differs(facts.newest_hop_limit) {
        return (
            Kind::Forged,
            0.85,
            Some((
                Kind::LingerZero,
                "its hop limit is not that of the end it claims to come from",
            )),
        );
    }
    match facts.shape {
        ResetShape::Reply if facts.own_fin_before => (
            Kind::AbortedAfterClose,
            if facts.peer_carried_data { 0.95 } else { 0.8 },
            Some((
                Kind::HalfOpen,
                "the resetter had closed the connection itself",
            )),
        ),
        ResetShape::Reply => (
            Kind::HalfOpen,
            if facts.idle_before > Duration::from_secs(1) {
                0.8
            } else {
                0.5
            },
            Some((
                Kind::AbortedAfterClose,
                "no FIN of the resetter was captured",
            )),
        ),
        ResetShape::Active => judge_active(facts),
        ResetShape::Unclear if facts.own_fin_before => (
            Kind::AbortedAfterClose,
            0.6,
            Some((Kind::Unknown, "its numbers fit no recent segment")),
        ),
        ResetShape::Unclear => (Kind::Unknown, 0.3, None),
    }
}

fn judge_active(facts: &Facts) -> Judgement {
    use ResetKind as Kind;
    if facts.probes_unanswered >= 2 || facts.repeats_unanswered >= 3 {
        return (
            Kind::KeepaliveExpired,
            0.85,
            Some((
                Kind::LingerZero,
                "its probes or repeats had gone unanswered",
            )),
        );
    }
    if facts.window_jump.is_some_and(|jump| jump > 0) {
        return (
            Kind::UnreadData,
            0.85,
            Some((
                Kind::LingerZero,
                "the window grew with the RST: close() emptied the queue",
            )),
        );
    }
    if facts.own_fin_before {
        return (
            Kind::AbortedAfterClose,
            0.6,
            Some((Kind::LingerZero, "its FIN came before")),
        );
    }
    let was_read = facts.window_jump.is_some_and(|jump| jump <= 0)
        && facts.unanswered_octets > SHOWS_IN_WINDOW;
    if facts.unanswered_octets > 0 && !facts.by_client && !was_read {
        return (
            Kind::UnreadData,
            0.5,
            Some((
                Kind::LingerZero,
                "the peer's last octets were never answered",
            )),
        );
    }
    let reason = if facts.peer_missed {
        "octets of the peer that were not captured may have been unread"
    } else if facts.unanswered_octets > 0 {
        "the window did not grow: at most a few kilobytes can have been unread"
    } else {
        "the window did not grow and the peer's last octets were answered"
    };
    (
        Kind::LingerZero,
        match facts.window_jump {
            _ if facts.peer_missed => 0.4,
            Some(_) => 0.85,
            None => 0.6,
        },
        Some((Kind::UnreadData, reason)),
    )
}
