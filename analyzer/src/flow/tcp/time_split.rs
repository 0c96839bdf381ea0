//! Where a connection's time went: every interval between two packets has one cause.
//!
//! The intervals since the last data are held until the next data tells what was waited for, so
//! the parts always add up to the duration.

use std::time::Duration;

use crate::event::RetransmissionKind;
use crate::flow::{Direction, TimeSplit};
use crate::time::Timestamp;

use super::{Segment, Verdict};

/// Sums intervals by cause while the connection lives.
#[derive(Clone, Debug)]
pub(super) struct SplitTracker {
    split: TimeSplit,
    last: Timestamp,
    /// Time since the last data, not yet attributed.
    held: Duration,
    established: bool,
    last_data: Option<Direction>,
    window_closed: [bool; 2],
}

impl SplitTracker {
    /// Begins at the first packet.
    pub fn new(start: Timestamp) -> Self {
        Self {
            split: TimeSplit::default(),
            last: start,
            held: Duration::ZERO,
            established: false,
            last_data: None,
            window_closed: [false; 2],
        }
    }

    /// Takes the interval that a packet ends.
    pub fn advance(&mut self, time: Timestamp, segment: Option<(&Segment<'_>, Verdict)>) {
        let interval = time.since(self.last);
        self.last = self.last.max(time);
        let Some((segment, verdict)) = segment else {
            self.held += interval;
            return;
        };
        let flags = segment.tcp.flags;
        if !self.established {
            self.split.handshake += interval;
            self.established = !flags.syn();
        } else if self.window_closed.contains(&true) {
            self.split.receiver_window += interval;
        } else if let Verdict::Retransmission(kind) = verdict {
            let waited = interval + std::mem::take(&mut self.held);
            match kind {
                RetransmissionKind::Fast => self.split.recovery_fast += waited,
                _ => self.split.recovery_timeout += waited,
            }
        } else {
            self.held += interval;
        }
        if flags.ack() && !flags.syn() {
            self.window_closed[segment.direction.index()] = segment.reference.window == 0;
        }
        if segment.packet.payload_len > 0 && verdict.brings_new_octets() {
            self.attribute(segment.direction);
            self.last_data = Some(segment.direction);
        }
    }

    /// Data came: the time held was spent waiting for it.
    fn attribute(&mut self, direction: Direction) {
        let held = std::mem::take(&mut self.held);
        let part = match (self.last_data, direction) {
            (None, Direction::ServerToClient)
            | (Some(Direction::ClientToServer), Direction::ServerToClient) => {
                &mut self.split.server_think
            }
            (Some(Direction::ServerToClient) | None, Direction::ClientToServer) => {
                &mut self.split.client_think
            }
            (Some(Direction::ClientToServer), Direction::ClientToServer) => {
                &mut self.split.request_transfer
            }
            (Some(Direction::ServerToClient), Direction::ServerToClient) => {
                &mut self.split.response_transfer
            }
        };
        *part += held;
    }

    /// The finished division; what no data ended was idle.
    pub fn finish(mut self, end: Timestamp) -> TimeSplit {
        self.split.idle += self.held + end.since(self.last);
        self.split
    }
}
