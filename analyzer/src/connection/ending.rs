//! How a connection ended: who closed first, and what was under way.

use std::time::Duration;

use crate::direction::Direction;
use crate::event::SegmentRef;

use super::reset::{ResetKind, ResetShape};
use super::turn::Turn;
use super::{Connection, Reset};

/// How an end closed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EndedBy {
    /// It sent FIN.
    Fin,
    /// It sent RST by itself, without a FIN before.
    Abort,
    /// It answered a segment with RST, without a FIN before: it had no such connection (any more).
    Refusal,
}

/// How a connection ended: the close that came first, and what it met.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Ending {
    /// Who closed first.
    pub by: Direction,
    /// How.
    pub how: EndedBy,
    /// The FIN, or the RST without one.
    pub at: SegmentRef,
    /// The latest turn, when its request began before the close and nothing of its response came
    /// before it. A response that passed unseen counts as one.
    pub pending: Option<Turn>,
    /// From the last payload or handshake segment before the close to it; `None` when none was
    /// captured.
    pub silence_before: Option<Duration>,
    /// How far the closing end had received its peer's stream, as
    /// [`SegmentRef::relative_seq`] counts; `None` when its close bears no acknowledgement.
    pub last_acknowledged: Option<u64>,
}

impl Ending {
    /// Whether the closing end had received what `segment` of its peer begins with; `None` when
    /// the close does not tell.
    #[must_use]
    pub fn had_received(&self, segment: &SegmentRef) -> Option<bool> {
        self.last_acknowledged
            .map(|acknowledged| segment.relative_seq < acknowledged)
    }
}

impl Connection {
    /// How it ended; `None` when neither end closed it in this capture. Forged resets end nothing.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        let closes = Direction::BOTH.map(|end| self.close_of(end));
        let first = closes.into_iter().flatten();
        let (how, at) = first.min_by_key(|(_, at)| at.frame)?;
        let last = self.last_payload_before(at.frame);
        Some(Ending {
            by: at.direction,
            how,
            at,
            pending: self.pending_at(at.frame).copied(),
            silence_before: last.map(|last| at.time.since(last.time)),
            last_acknowledged: at.flags.ack().then_some(at.relative_ack),
        })
    }

    /// How `end` closed its side, and with which segment: its FIN, else its first RST that was not
    /// forged.
    #[must_use]
    pub fn close_of(&self, end: Direction) -> Option<(EndedBy, SegmentRef)> {
        if let Some(fin) = self.half(end).fin {
            return Some((EndedBy::Fin, fin));
        }
        let of_end =
            |reset: &&Reset| reset.segment.direction == end && reset.kind != ResetKind::Forged;
        let reset = self.resets.iter().find(of_end)?;
        let how = if reset.shape == ResetShape::Active {
            EndedBy::Abort
        } else {
            EndedBy::Refusal
        };
        Some((how, reset.segment))
    }

    /// The latest turn, when its request waits for a response at this frame.
    fn pending_at(&self, frame: u64) -> Option<&Turn> {
        let last = self.turns.last.as_ref()?;
        let answered = |turn: &Turn| {
            let response = turn
                .response
                .filter(|response| response.first.frame <= frame);
            response.is_some() || turn.answer_missed
        };
        (last.request.first.frame < frame && !answered(last)).then_some(last)
    }

    /// The last segment known before `frame` that carried payload or completed the handshake.
    fn last_payload_before(&self, frame: u64) -> Option<SegmentRef> {
        let of_halves = self.halves.iter().flat_map(|half| {
            let burst = half.last_burst.and_then(|burst| burst.before);
            [half.last_data, burst, half.first_data]
        });
        let turns = [self.turns.last, self.turns.before_last];
        let of_turns = turns.iter().flatten().flat_map(|turn| {
            let response = turn
                .response
                .map(|response| [response.first, response.last]);
            let request = [turn.request.first, turn.request.last];
            request.into_iter().chain(response.into_iter().flatten())
        });
        let greeting = self.turns.greeting.map(|greeting| greeting.last);
        of_halves
            .flatten()
            .chain(of_turns)
            .chain(greeting)
            .chain(self.handshake.ack)
            .chain(self.handshake.syn_acks.iter().copied())
            .filter(|segment| segment.frame < frame)
            .max_by_key(|segment| segment.frame)
    }
}
