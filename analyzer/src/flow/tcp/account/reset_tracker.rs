//! Why a connection was reset, judged once, with the runner-up.

use std::time::Duration;

use crate::app::{AppProtocol, GOODBYE_TO_FIN, TLS_GOODBYE_OCTETS};
use crate::confidence;
use crate::connection::{Reset, ResetKind, ResetShape, Turn};
use crate::decode::TcpFlags;
use crate::direction::Direction;
use crate::event::SegmentRef;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::SenderState;

use super::reset_kinds::{CONTINUES_WITHIN, HOP_LIMIT_SLACK, ResetFacts, Surroundings};

/// Entries kept per connection.
const RESETS: usize = 8;

/// A segment sent before the RST may be written behind it by a capture of several queues.
const CAPTURED_LATE: Duration = Duration::from_millis(10);

/// The resets of a connection while it lives.
#[derive(Debug, Default)]
pub(in crate::flow::tcp) struct ResetTracker(Vec<Reset>);

/// Characters of a reason that are kept.
const REASON: usize = 80;

/// The payload of a RST as the text that it may be.
fn reason(payload: &[u8]) -> Option<Box<str>> {
    let text = std::str::from_utf8(payload)
        .ok()?
        .trim_end_matches('\0')
        .trim();
    let is_text = text.chars().all(|character| !character.is_control());
    (text.len() >= 3 && is_text).then(|| text.chars().take(REASON).collect())
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

    /// The first RST of each kind and end.
    pub fn segments(&self) -> impl Iterator<Item = SegmentRef> {
        self.0.iter().map(|reset| reset.segment)
    }

    /// Takes a RST; nothing comes of one of many that one end sent, one per segment under way.
    pub fn take(
        &mut self,
        segment: &Segment<'_>,
        payload: &[u8],
        beside: &Surroundings<'_>,
    ) -> Option<Outcome> {
        let facts = ResetFacts::of(segment, beside);
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
        let judged = facts.judge();
        if self.0.len() < RESETS {
            self.0.push(Reset {
                segment: segment.reference,
                count: 1,
                kind: judged.kind,
                confidence: judged.confidence,
                runner_up: judged.runner_up,
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
                reason: reason(payload),
                stated: None,
            });
        }
        let refuses = facts.in_handshake && end == Direction::ClientToServer;
        Some(Outcome {
            is_challenge: refuses && !facts.answers_syn,
            ends_connection: judged.kind != ResetKind::Forged,
            acknowledges: facts.shape == ResetShape::Active && facts.acks_unseen,
        })
    }

    /// Whether an end reset the connection.
    pub fn has_reset(&self, end: Direction) -> bool {
        let mut own = self
            .0
            .iter()
            .filter(|reset| reset.kind != ResetKind::Forged);
        own.any(|reset| reset.segment.direction == end)
    }

    /// A supposed resetter that carries on with data did not send the RST. The data must be its own:
    /// where its data had ended, from as far away, and next in its counter.
    pub fn note_carried_on(&mut self, segment: &Segment<'_>, sender: &SenderState) {
        let fresh = segment.packet.payload_len > 0 && !segment.tcp.flags.has(TcpFlags::SYN);
        if self.is_empty() || !fresh {
            return;
        }
        // Numbers far back belong to a later connection whose SYN was not captured.
        let continues = segment.start >= sender.snd_una.saturating_sub(CONTINUES_WITHIN)
            && segment.start <= sender.snd_max;
        let (id, hop_limit) = (segment.packet.ip_id, segment.packet.hop_limit);
        let from_elsewhere = (sender.newest_hop_limit)
            .is_some_and(|known| known.abs_diff(hop_limit) > HOP_LIMIT_SLACK);
        let is_own = !from_elsewhere && !sender.ip_ids.is_foreign(id);
        if !continues || !is_own {
            return;
        }
        let is_new = segment.start >= sender.snd_max;
        let surely_after = if is_new {
            Duration::ZERO
        } else {
            CAPTURED_LATE
        };
        for reset in &mut self.0 {
            let passed = segment.packet.time.since(reset.segment.time);
            reset.sender_carried_on |=
                reset.segment.direction == segment.direction && passed > surely_after;
        }
    }

    /// Revises judgements by what the whole connection tells.
    pub fn finish(mut self, protocol: AppProtocol, last: Option<&Turn>) -> Vec<Reset> {
        for reset in &mut self.0 {
            if let Some(turn) = last.filter(|turn| is_over_request(reset, protocol, turn)) {
                revise(
                    reset,
                    ResetKind::UnreadData,
                    confidence::EVEN,
                    "a closing alert is not a response",
                );
                reset.unanswered_octets = turn.request.octets;
            }
            // A host knows nothing of connections that a tool of its own opens with raw packets.
            let refuses_greeting = reset.answers.is_some_and(|answered| answered.flags.syn());
            reset.sender_carried_on &= !refuses_greeting;
            if reset.sender_carried_on && reset.kind != ResetKind::Forged {
                let because = "the supposed sender kept sending afterwards";
                revise(reset, ResetKind::Forged, confidence::LIKELY, because);
            }
            if leaves_tickets(reset, protocol) {
                let because = "TLS clients often leave session tickets unread";
                revise(reset, ResetKind::UnreadData, confidence::EVEN, because);
            }
        }
        self.0
    }
}

/// Gives a reset another kind; the one before is the next best.
fn revise(reset: &mut Reset, kind: ResetKind, confidence: f64, because: &'static str) {
    reset.runner_up = Some((reset.kind, because));
    reset.kind = kind;
    reset.confidence = confidence;
}

/// The alert with which a TLS server closes (RFC 8446 §6.1) does not answer the request that came
/// just before.
fn is_over_request(reset: &Reset, protocol: AppProtocol, turn: &Turn) -> bool {
    let is_goodbye = turn.response.is_some_and(|response| {
        response.octets <= TLS_GOODBYE_OCTETS
            && reset.segment.time.since(response.first.time) <= GOODBYE_TO_FIN
    });
    protocol == AppProtocol::Tls
        && reset.kind == ResetKind::LingerZero
        && reset.segment.direction == Direction::ServerToClient
        && turn.request.octets > TLS_GOODBYE_OCTETS
        && is_goodbye
}

/// A TLS client that closes at once leaves session tickets unread (RFC 8446 §4.6.1).
fn leaves_tickets(reset: &Reset, protocol: AppProtocol) -> bool {
    protocol == AppProtocol::Tls
        && reset.kind == ResetKind::LingerZero
        && reset.segment.direction == Direction::ClientToServer
        && reset.unanswered_octets > 0
}
