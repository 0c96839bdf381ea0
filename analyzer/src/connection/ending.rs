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
        let (how, at) = first.min_by_key(|(_, at)| (self.answers_fin(at), at.frame))?;
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

    /// Whether `close` was sent after the other end's FIN had arrived: it acknowledges it, wherever the
    /// two stand in the capture.
    #[must_use]
    pub fn answers_fin(&self, close: &SegmentRef) -> bool {
        let fin = self.half(close.direction.reverse()).fin;
        close.flags.ack()
            && fin.is_some_and(|fin| {
                close.relative_ack > fin.relative_seq + u64::from(fin.payload_len)
            })
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
    fn last_payload_before<'a>(&'a self, frame: u64) -> Option<&'a SegmentRef> {
        let mut last: Option<&SegmentRef> = None;
        // One after the other: as a chain of iterators this takes three times as long, on every connection.
        let mut offer = |segment: &'a SegmentRef| {
            if segment.frame < frame && last.is_none_or(|known| known.frame <= segment.frame) {
                last = Some(segment);
            }
        };
        for half in &self.halves {
            let burst = half.last_burst.as_ref();
            let burst = burst.and_then(|burst| burst.before.as_ref());
            [half.last_data.as_ref(), burst, half.first_data.as_ref()]
                .into_iter()
                .flatten()
                .for_each(&mut offer);
        }
        let turns = [&self.turns.last, &self.turns.before_last];
        for turn in turns.into_iter().flatten() {
            offer(&turn.request.first);
            offer(&turn.request.last);
            if let Some(response) = &turn.response {
                offer(&response.first);
                offer(&response.last);
            }
        }
        if let Some(greeting) = &self.turns.greeting {
            offer(&greeting.last);
        }
        self.handshake.ack.iter().for_each(&mut offer);
        self.handshake.syn_acks.iter().for_each(&mut offer);
        last
    }
}
