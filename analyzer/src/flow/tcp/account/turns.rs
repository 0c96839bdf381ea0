//! Requests and responses read from the direction changes of the payload.

use std::cmp::Reverse;
use std::time::Duration;

use crate::connection::{AnsweredTurn, Span, Turn, TurnRun, Turns};
use crate::direction::Direction;
use crate::event::SegmentRef;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::SenderState;
use crate::time::Timestamp;

/// Slow turns kept.
const SLOWEST: usize = 8;
/// Answered turns kept, the first ones, where there are more than slow ones are kept.
const FIRST_ANSWERED: usize = 64;
/// A client that has its answer and goes on by itself does so within this.
const GOES_ON: Duration = Duration::from_millis(20);
/// Octets from which a turn is a transfer, and ends the run.
const TRANSFER: u64 = 16_384;
/// Turns of a run that is worth keeping.
const RUN_LEAST: u32 = 16;

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
    /// The turns of the current run that are over.
    run: Option<TurnRun>,
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
        let reference = &segment.reference;
        let span = || Span {
            first: *reference,
            last: *reference,
            octets,
        };
        match segment.direction {
            Direction::ClientToServer => {
                self.request_end = sender.snd_max;
                match &mut self.turns.last {
                    Some(turn) if turn.response.is_none() && !turn.answer_missed => {
                        extend(&mut turn.request, reference, octets);
                        turn.request_acked = None;
                    }
                    _ => self.open(span()),
                }
            }
            Direction::ServerToClient => {
                self.response_end = sender.snd_max;
                match &mut self.turns.last {
                    None => match &mut self.turns.greeting {
                        Some(greeting) => extend(greeting, reference, octets),
                        greeting => *greeting = Some(span()),
                    },
                    Some(turn) => {
                        turn.response_acked = None;
                        match &mut turn.response {
                            Some(response) => extend(response, reference, octets),
                            response => {
                                *response = Some(span());
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

    fn open(&mut self, request: Span) {
        if let Some(before) = self.turns.last {
            self.note_response_time(&before);
            self.note_run(&before);
            if !goes_on(&before, request.first.time) {
                self.run = None;
            }
            self.turns.before_last = Some(before);
        }
        self.turns.last = Some(Turn {
            request,
            request_acked: None,
            response: None,
            answer_missed: false,
            response_acked: None,
            repeats: 0,
        });
        self.turns.count += 1;
    }

    fn note_response_time(&mut self, turn: &Turn) {
        let Some(waited) = turn.response_time() else {
            return;
        };
        self.turns.response_times.add(waited);
        self.keep_among_first(turn);
        let slowest = &mut self.turns.slowest;
        if slowest.len() < SLOWEST {
            if slowest.len() == slowest.capacity() {
                // A connection with one turn is the rule; of others each is moved once or twice.
                let room = match slowest.len() {
                    0 => 1,
                    1 => SLOWEST / 2,
                    _ => SLOWEST,
                };
                slowest.reserve_exact(room - slowest.len());
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

    /// Keeps an answered turn; as long as all of them are among the slowest there is no need to.
    fn keep_among_first(&mut self, turn: &Turn) {
        let turns = &mut self.turns;
        if turns.slowest.len() < SLOWEST || turns.first_answered.len() >= FIRST_ANSWERED {
            return;
        }
        if turns.first_answered.is_empty() {
            turns.first_answered.reserve_exact(2 * SLOWEST);
            let before = turns.slowest.iter().filter_map(AnsweredTurn::of);
            turns.first_answered.extend(before);
        }
        turns.first_answered.extend(AnsweredTurn::of(turn));
    }

    /// Takes a turn that is over into the run that it continues or begins.
    fn note_run(&mut self, turn: &Turn) {
        let octets = |response: &Span| turn.request.octets + response.octets;
        let response = turn.response.as_ref();
        let Some(response) = response.filter(|response| octets(response) < TRANSFER) else {
            self.run = None;
            return;
        };
        let run = self.run.get_or_insert(TurnRun {
            turns: 0,
            first: turn.request.first,
            last: response.last,
            octets: 0,
        });
        run.turns = run.turns.saturating_add(1);
        run.octets += octets(response);
        run.last = response.last;
        let longest = &mut self.turns.longest_run;
        if run.turns < RUN_LEAST
            || longest
                .as_ref()
                .is_some_and(|known| known.turns >= run.turns)
        {
            return;
        }
        match longest {
            Some(known) => **known = *run,
            none => *none = Some(Box::new(*run)),
        }
    }

    fn finish(mut self) -> Turns {
        if let Some(last) = self.turns.last {
            self.note_response_time(&last);
            self.note_run(&last);
        }
        let rank = |turn: &Turn| (Reverse(turn.response_time()), turn.request.first.frame);
        self.turns.slowest.sort_unstable_by_key(rank);
        self.turns
    }
}

/// Whether a request at `time` follows the answer of `before` without a pause. Where the capture is far
/// from the client, the acknowledgement of the answer shows when the client had it.
fn goes_on(before: &Turn, time: Timestamp) -> bool {
    let answered = before.response.as_ref();
    let answered = answered.map(|response| response.last.time);
    let had = before.response_acked.max(answered);
    had.is_some_and(|had| time.since(had) <= GOES_ON)
}

fn extend(span: &mut Span, last: &SegmentRef, octets: u64) {
    span.last = *last;
    span.octets += octets;
}
