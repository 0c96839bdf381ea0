//! Both ends' RFC 9293 states over time, as an observer at the capture point sees them.

use crate::flow::{Direction, StateSpan, TcpState};
use crate::time::Timestamp;

use super::{Segment, TcpTracker};

/// State changes kept: both ends' whole life, many times over.
const SPANS: usize = 64;

/// A state that an end entered.
#[derive(Clone, Copy, Debug)]
struct Entered {
    time: Timestamp,
    end: Direction,
    state: TcpState,
    inferred: bool,
}

/// The states both ends entered, in the order in which they did.
#[derive(Clone, Debug, Default)]
pub(super) struct StateTracker {
    entered: Vec<Entered>,
    current: [Option<TcpState>; 2],
    /// When the current states were entered, where no room was left to tell.
    late: [Option<Entered>; 2],
}

impl StateTracker {
    const fn get(&self, end: Direction) -> Option<TcpState> {
        self.current[end.index()]
    }

    fn enter(&mut self, end: Direction, state: TcpState, time: Timestamp, inferred: bool) {
        if self.current[end.index()].replace(state) == Some(state) {
            return;
        }
        let entered = Entered {
            time,
            end,
            state,
            inferred,
        };
        if self.entered.len() < SPANS {
            self.entered.push(entered);
        } else {
            self.late[end.index()] = Some(entered);
        }
    }

    /// Gives back memory that is not used.
    pub fn trim(&mut self) {
        self.entered.shrink_to_fit();
    }

    /// All spans, in the order in which they ended; the current states last to the end.
    pub fn finish(self) -> Vec<StateSpan> {
        let mut open: [Option<Entered>; 2] = [None; 2];
        let mut spans = Vec::with_capacity(self.entered.len());
        let span = |entered: Entered, to| StateSpan {
            end: entered.end,
            state: entered.state,
            from: entered.time,
            to,
            inferred: entered.inferred,
        };
        for entered in self
            .entered
            .into_iter()
            .chain(self.late.into_iter().flatten())
        {
            if let Some(before) = open[entered.end.index()].replace(entered) {
                spans.push(span(before, Some(entered.time)));
            }
        }
        spans.extend(
            open.into_iter()
                .flatten()
                .map(|entered| span(entered, None)),
        );
        spans
    }
}

impl TcpTracker {
    /// Advances both ends' states by a segment that was taken.
    pub(super) fn on_state(&mut self, segment: &Segment<'_>) {
        let time = segment.packet.time;
        let (own, other) = (segment.direction, segment.direction.reverse());
        let flags = segment.tcp.flags;
        if flags.syn() {
            let state = if flags.ack() {
                TcpState::SynReceived
            } else {
                TcpState::SynSent
            };
            let before = self.states.get(own);
            if before.is_none() || before == Some(TcpState::SynSent) {
                self.states.enter(own, state, time, false);
            }
            return;
        }
        for end in [own, other] {
            if self.states.get(end).is_none() {
                // In mid-stream: the connection existed before the capture.
                self.states.enter(end, TcpState::Established, time, true);
            }
        }
        if matches!(
            self.states.get(own),
            Some(TcpState::SynSent | TcpState::SynReceived)
        ) {
            self.states.enter(own, TcpState::Established, time, false);
            if own == Direction::ClientToServer && self.handshake.ack.is_none() && flags.ack() {
                self.handshake.ack = Some(segment.reference);
            }
            if self.states.get(other) == Some(TcpState::SynReceived) && flags.ack() {
                self.states.enter(other, TcpState::Established, time, false);
            }
        }
        if flags.fin() {
            self.on_fin_sent(own, other, time);
        }
        self.on_fin_acknowledged(own, other, time);
        if self
            .senders
            .iter()
            .all(|sender| sender.stats.fin_acked.is_some())
        {
            self.closed_at.get_or_insert(time);
        }
    }

    /// RFC 9293 §3.6: the sender of a FIN waits; its peer has been told.
    fn on_fin_sent(&mut self, own: Direction, other: Direction, time: Timestamp) {
        match self.states.get(own) {
            Some(TcpState::Established) => self.states.enter(own, TcpState::FinWait1, time, false),
            Some(TcpState::CloseWait) => self.states.enter(own, TcpState::LastAck, time, false),
            _ => {}
        }
        match self.states.get(other) {
            Some(TcpState::Established) => {
                self.states.enter(other, TcpState::CloseWait, time, false)
            }
            Some(TcpState::FinWait1) => self.states.enter(other, TcpState::Closing, time, false),
            Some(TcpState::FinWait2) => self.states.enter(other, TcpState::TimeWait, time, false),
            _ => {}
        }
    }

    /// `own`'s segment may acknowledge `other`'s FIN.
    fn on_fin_acknowledged(&mut self, _own: Direction, other: Direction, time: Timestamp) {
        if self.senders[other.index()].stats.fin_acked.is_none() {
            return;
        }
        match self.states.get(other) {
            Some(TcpState::FinWait1) => self.states.enter(other, TcpState::FinWait2, time, false),
            Some(TcpState::Closing) => self.states.enter(other, TcpState::TimeWait, time, false),
            Some(TcpState::LastAck) => self.states.enter(other, TcpState::Closed, time, false),
            _ => {}
        }
    }

    /// A RST that ends the connection closes both ends.
    pub(super) fn close_states(&mut self, time: Timestamp) {
        for end in Direction::BOTH {
            if self.states.get(end).is_some() {
                self.states.enter(end, TcpState::Closed, time, false);
            }
        }
    }
}
