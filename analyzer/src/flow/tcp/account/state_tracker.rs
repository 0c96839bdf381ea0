//! Both ends' RFC 9293 states over time, as an observer at the capture point sees them.

use crate::connection::{StateSpan, TcpState};
use crate::decode::TcpFlags;
use crate::direction::Direction;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::SenderState;
use crate::time::Timestamp;

/// State changes kept: both ends' whole life, many times over.
const SPANS: usize = 64;

/// States that both ends enter until they are in ESTABLISHED, and until they are closed.
const OPENING: usize = 4;
const WHOLE_LIFE: usize = 10;

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
pub(in crate::flow::tcp) struct StateTracker {
    entered: Vec<Entered>,
    current: [Option<TcpState>; 2],
    /// When the current states were entered, where no room was left to tell.
    late: [Option<Entered>; 2],
}

impl StateTracker {
    const fn get(&self, end: Direction) -> Option<TcpState> {
        self.current[end.index()]
    }

    /// Both ends are in ESTABLISHED.
    pub fn both_established(&self) -> bool {
        self.current == [Some(TcpState::Established); 2]
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
            if self.entered.len() == self.entered.capacity() {
                let wanted = match self.entered.len() {
                    ..OPENING => OPENING,
                    OPENING..WHOLE_LIFE => WHOLE_LIFE,
                    WHOLE_LIFE.. => SPANS,
                };
                self.entered.reserve_exact(wanted - self.entered.len());
            }
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

    /// A first SYN-ACK of an end that sent a SYN of its own: simultaneous open (RFC 9293 §3.5). It
    /// bears the SYN's number once more, but repeats nothing.
    pub fn answers_crossing_syn(&self, segment: &Segment<'_>) -> bool {
        let is_syn_ack = segment.tcp.flags.has(TcpFlags::SYN | TcpFlags::ACK);
        is_syn_ack && self.get(segment.direction) == Some(TcpState::SynSent)
    }

    /// Advances both ends' states by a segment that was taken; tells whether it is the client's ACK
    /// that completes the handshake.
    pub fn take(&mut self, segment: &Segment<'_>, senders: &[SenderState; 2]) -> bool {
        let time = segment.packet.time;
        let (own, other) = (segment.direction, segment.direction.reverse());
        let flags = segment.tcp.flags;
        let closing = flags.fin() || senders.iter().any(|sender| sender.fin_at.is_some());
        if !flags.syn() && !closing && self.both_established() {
            return false;
        }
        if flags.syn() {
            let state = if flags.ack() {
                TcpState::SynReceived
            } else {
                TcpState::SynSent
            };
            let before = self.get(own);
            if before.is_none() || before == Some(TcpState::SynSent) {
                self.enter(own, state, time, false);
            }
            // Simultaneous open (RFC 9293 §3.5): either SYN-ACK acknowledges the other end's SYN.
            if flags.ack() && self.get(other) == Some(TcpState::SynReceived) {
                self.enter(other, TcpState::Established, time, false);
            }
            return false;
        }
        for end in [own, other] {
            if self.get(end).is_none() {
                // In mid-stream: the connection existed before the capture.
                self.enter(end, TcpState::Established, time, true);
            }
        }
        let mut completes = false;
        if matches!(
            self.get(own),
            Some(TcpState::SynSent | TcpState::SynReceived)
        ) {
            self.enter(own, TcpState::Established, time, false);
            completes = own == Direction::ClientToServer && flags.ack();
            if self.get(other) == Some(TcpState::SynReceived) && flags.ack() {
                self.enter(other, TcpState::Established, time, false);
            }
        }
        self.on_fin_acknowledged(segment, senders);
        if flags.fin() {
            self.on_fin_sent(own, other, time);
        }
        completes
    }

    /// `own` sends its FIN (RFC 9293 §3.6). What it does to the other end shows when that
    /// acknowledges it; an end that has closed its own side already has nothing left to wait for.
    fn on_fin_sent(&mut self, own: Direction, other: Direction, time: Timestamp) {
        match self.get(own) {
            Some(TcpState::Established) => self.enter(own, TcpState::FinWait1, time, false),
            Some(TcpState::CloseWait) => self.enter(own, TcpState::LastAck, time, false),
            _ => {}
        }
        if self.get(other) == Some(TcpState::FinWait2) {
            self.enter(other, TcpState::TimeWait, time, false);
        }
    }

    /// `own`'s segment may acknowledge `other`'s FIN: `own` has received it, and `other` will know.
    fn on_fin_acknowledged(&mut self, segment: &Segment<'_>, senders: &[SenderState; 2]) {
        let time = segment.packet.time;
        let (own, other) = (segment.direction, segment.direction.reverse());
        let other_fin = senders[other.index()].fin_at;
        if other_fin.is_none_or(|fin| segment.ack.is_none_or(|ack| ack <= fin)) {
            return;
        }
        match self.get(own) {
            Some(TcpState::Established) => self.enter(own, TcpState::CloseWait, time, false),
            // RFC 9293 §3.6 case 3: both closed at once, each before it heard of the other.
            Some(TcpState::FinWait1) => self.enter(own, TcpState::Closing, time, false),
            Some(TcpState::FinWait2) => self.enter(own, TcpState::TimeWait, time, false),
            _ => {}
        }
        // A FIN of `own` that went before this acknowledgement arrives before it.
        let own_fin_went_before = senders[own.index()].fin_at.is_some() && !segment.tcp.flags.fin();
        match self.get(other) {
            Some(TcpState::FinWait1) if own_fin_went_before => {
                self.enter(other, TcpState::Closing, time, true);
                self.enter(other, TcpState::TimeWait, time, false);
            }
            Some(TcpState::FinWait1) => self.enter(other, TcpState::FinWait2, time, false),
            Some(TcpState::Closing) => self.enter(other, TcpState::TimeWait, time, false),
            Some(TcpState::LastAck) => self.enter(other, TcpState::Closed, time, false),
            _ => {}
        }
    }

    /// A RST that ends the connection closes both ends: its sender's for sure, the other's when it
    /// arrives.
    pub fn close(&mut self, time: Timestamp, sent_by: Direction) {
        for end in Direction::BOTH {
            if self.get(end).is_some() {
                let inferred = end != sent_by;
                self.enter(end, TcpState::Closed, time, inferred);
            }
        }
    }
}
