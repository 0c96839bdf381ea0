//! Requests and responses, read from the direction changes of the payload.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::SegmentRef;
use crate::time::Timestamp;

use crate::histogram::Histogram;

/// A run of data in one direction without data in the other between.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Span {
    /// First segment with new data.
    pub first: SegmentRef,
    /// Last segment with new data.
    pub last: SegmentRef,
    /// Octets of new data.
    pub octets: u64,
}

/// A request and its response, read from the direction changes of the payload.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Turn {
    /// The client's data.
    pub request: Span,
    /// When the server's acknowledgement of the whole request passed the capture point.
    pub request_acked: Option<Timestamp>,
    /// The server's data that followed.
    pub response: Option<Span>,
    /// Octets of the server passed unseen between the request and the first of its data captured,
    /// or while none was: when the answer began, or whether one came, is not known.
    pub answer_missed: bool,
    /// When the client's acknowledgement of all response data so far passed.
    pub response_acked: Option<Timestamp>,
    /// Segments sent again, by either end, from the first of the request to the first of the
    /// response, both included.
    pub repeats: u32,
}

impl Turn {
    /// From the last request octet to the first response octet, at the capture point.
    #[must_use]
    pub fn response_time(&self) -> Option<Duration> {
        let response = self.response.as_ref().filter(|_| !self.answer_missed);
        response.map(|response| response.first.time.since(self.request.last.time))
    }
}

/// The turns of a connection: all counted, the telling ones kept.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Turns {
    /// How many were opened.
    pub count: u64,
    /// How many got a response of which some was captured.
    pub answered: u64,
    /// Data the server sent before the client sent any.
    pub greeting: Option<Span>,
    /// The latest turn, answered or pending.
    pub last: Option<Turn>,
    /// The turn before the latest.
    pub before_last: Option<Turn>,
    /// The slowest answered ones by response time, slowest first, at most eight.
    pub slowest: Vec<Turn>,
    /// Response times of all answered turns, counted per bucket.
    pub response_times: Histogram,
    /// Where more than the slowest were answered: the first 64 answered ones. See [`Self::answers`].
    pub first_answered: Vec<AnsweredTurn>,
    /// The longest run of turns each of which the client began as soon as it had the answer before, when
    /// it has sixteen at least.
    pub longest_run: Option<Box<TurnRun>>,
}

/// When a request was sent and how long its answer took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AnsweredTurn {
    /// Frame of the request's last segment.
    pub frame: u64,
    /// When it was sent.
    pub asked: Timestamp,
    /// From there to the first octet of the answer.
    pub took: Duration,
    /// Something was sent again meanwhile.
    pub repeated: bool,
}

impl AnsweredTurn {
    /// `turn`, when its answer was seen to begin.
    pub(crate) fn of(turn: &Turn) -> Option<Self> {
        Some(Self {
            frame: turn.request.last.frame,
            asked: turn.request.last.time,
            took: turn.response_time()?,
            repeated: turn.repeats > 0,
        })
    }
}

/// Turns that follow one another without a pause of the client.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct TurnRun {
    /// How many.
    pub turns: u32,
    /// First segment of the first request.
    pub first: SegmentRef,
    /// Last segment of the last answer.
    pub last: SegmentRef,
    /// Octets of requests and answers.
    pub octets: u64,
}

impl Turns {
    /// Answered turns, at most 64: all of them, or the first. They are in no order.
    pub fn answers(&self) -> impl Iterator<Item = AnsweredTurn> {
        let few = match self.first_answered.is_empty() {
            true => &self.slowest[..],
            false => &[],
        };
        let few = few.iter().filter_map(AnsweredTurn::of);
        self.first_answered.iter().copied().chain(few)
    }

    /// The latest turn, when its request has no response at all, nor one that passed unseen.
    #[must_use]
    pub fn pending(&self) -> Option<&Turn> {
        let last = self.last.as_ref();
        last.filter(|turn| turn.response.is_none() && !turn.answer_missed)
    }
}
