//! Requests and responses read from the direction changes of the payload.

use std::cmp::Reverse;
use std::time::Duration;

use crate::connection::{Span, Turn, Turns};
use crate::direction::Direction;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::SenderState;
use crate::time::Timestamp;

/// Slow turns kept.
const SLOWEST: usize = 8;

/// Builds [`Turns`] while the connection lives; nothing is allocated before the first payload.
#[derive(Clone, Debug, Default)]
pub(in crate::flow::tcp) struct TurnTracker(Option<Box<Conversation>>);

#[derive(Clone, Debug, Default)]
struct Conversation {
    turns: Turns,
    /// Offsets after the latest request and response, to see them acknowledged.
    request_end: u64,
    response_end: u64,
    /// Offset of the first octet captured of the latest response.
    response_start: u64,
    /// Offset of the first octet of it that was acknowledged unseen.
    missed_from: u64,
    /// The shortest response time among the slowest turns, once so many are kept.
    least_kept: Duration,
}

impl TurnTracker {
    /// Takes a segment that brought new octets.
    pub fn data(&mut self, segment: &Segment<'_>, sender: &SenderState) {
        self.0.get_or_insert_default().data(segment, sender);
    }

    /// Takes an acknowledgement sent by `direction`'s sender.
    pub fn acknowledged(&mut self, direction: Direction, ack: u64, time: Timestamp) {
        if let Some(conversation) = &mut self.0 {
            conversation.acknowledged(direction, ack, time);
        }
    }

    /// `direction`'s sender acknowledges octets that passed unseen, from offset `first` on.
    pub fn acked_unseen(&mut self, direction: Direction, first: u64) {
        let Some(conversation) = &mut self.0 else {
            return;
        };
        let response_start = conversation.response_start;
        if let Some(turn) = &mut conversation.turns.last
            && direction == Direction::ClientToServer
            && !turn.answer_missed
        {
            turn.answer_missed = turn.response.is_none() || first < response_start;
            conversation.missed_from = first;
        }
    }

    /// Notes that the segment of `frame`, already told as data if it is, was sent before.
    pub fn repeated(&mut self, frame: u64) {
        let turn = self.0.as_mut().and_then(|it| it.turns.last.as_mut());
        let waits = |turn: &&mut Turn| turn.response.is_none_or(|it| it.first.frame == frame);
        if let Some(turn) = turn.filter(waits) {
            turn.repeats += 1;
        }
    }

    /// The latest turn, when anybody sent data.
    pub fn last(&self) -> Option<&Turn> {
        self.0.as_ref()?.turns.last.as_ref()
    }

    /// The finished turns.
    pub fn finish(self) -> Turns {
        self.0.map_or_else(Turns::default, |it| it.finish())
    }
}

impl Conversation {
    fn data(&mut self, segment: &Segment<'_>, sender: &SenderState) {
        let octets = u64::from(segment.packet.payload_len);
        let reference = segment.reference;
        let span = Span {
            first: reference,
            last: reference,
            octets,
        };
        match segment.direction {
            Direction::ClientToServer => {
                self.request_end = sender.snd_max;
                match &mut self.turns.last {
                    Some(turn) if turn.response.is_none() && !turn.answer_missed => {
                        extend(&mut turn.request, &span);
                        turn.request_acked = None;
                    }
                    _ => self.open(Turn {
                        request: span,
                        request_acked: None,
                        response: None,
                        answer_missed: false,
                        response_acked: None,
                        repeats: 0,
                    }),
                }
            }
            Direction::ServerToClient => {
                self.response_end = sender.snd_max;
                match &mut self.turns.last {
                    None => match &mut self.turns.greeting {
                        Some(greeting) => extend(greeting, &span),
                        greeting => *greeting = Some(span),
                    },
                    Some(turn) => {
                        turn.response_acked = None;
                        match &mut turn.response {
                            Some(response) => extend(response, &span),
                            response => {
                                *response = Some(span);
                                self.response_start = segment.start;
                                // It was only written down after its acknowledgement.
                                turn.answer_missed &= segment.start > self.missed_from;
                                self.turns.answered += 1;
                            }
                        }
                    }
                }
            }
        }
    }

    fn acknowledged(&mut self, direction: Direction, ack: u64, time: Timestamp) {
        let Some(turn) = &mut self.turns.last else {
            return;
        };
        match direction {
            Direction::ServerToClient if ack >= self.request_end => {
                turn.request_acked.get_or_insert(time);
            }
            Direction::ClientToServer if turn.response.is_some() && ack >= self.response_end => {
                turn.response_acked.get_or_insert(time);
            }
            _ => {}
        }
    }

    fn open(&mut self, turn: Turn) {
        if let Some(before) = self.turns.last.replace(turn) {
            self.note_response_time(&before);
            self.turns.before_last = Some(before);
        }
        self.turns.count += 1;
    }

    fn note_response_time(&mut self, turn: &Turn) {
        let Some(waited) = turn.response_time() else {
            return;
        };
        self.turns.response_times.add(waited);
        let slowest = &mut self.turns.slowest;
        if slowest.len() < SLOWEST {
            if slowest.len() == slowest.capacity() {
                // A connection with one turn is the rule.
                slowest.reserve_exact(1.max(slowest.len()));
            }
            slowest.push(*turn);
        } else if waited > self.least_kept {
            // Of equals the latest gives way.
            let rank = |turn: &Turn| (turn.response_time(), Reverse(turn.request.first.frame));
            if let Some(least) = slowest.iter_mut().min_by_key(|turn| rank(turn)) {
                *least = *turn;
            }
        } else {
            return;
        }
        if slowest.len() == SLOWEST {
            let least = slowest.iter().filter_map(Turn::response_time).min();
            self.least_kept = least.unwrap_or_default();
        }
    }

    fn finish(mut self) -> Turns {
        if let Some(last) = self.turns.last {
            self.note_response_time(&last);
        }
        let rank = |turn: &Turn| (Reverse(turn.response_time()), turn.request.first.frame);
        self.turns.slowest.sort_unstable_by_key(rank);
        self.turns
    }
}

fn extend(span: &mut Span, more: &Span) {
    span.last = more.last;
    span.octets += more.octets;
}
