//! What was passed over by a sender's identification counter, and what it was asked meanwhile.

use crate::event::RetransmissionKind;
use crate::flow::tcp::segment::Segment;
use crate::time::Timestamp;

/// Packets of one sender that were passed over by its identification counter since the stream's
/// end advanced, and that cannot have been pure ACKs.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::flow::tcp) struct PassedOver {
    pub packets: u16,
    /// All such packets of the connection so far.
    pub in_all: u32,
    /// The packet before the first of them.
    pub since: Timestamp,
    /// A visible repeat came after: later gaps may be lost repeats.
    pub closed: bool,
    pub asked: Asked,
    /// The latest packet is itself one of those that were passed over.
    pub overtaken: bool,
    pub last_packet: Timestamp,
    pub answers_earlier_syn: bool,
}

impl PassedOver {
    /// Nothing was passed over that is not accounted for.
    pub const fn is_empty(&self) -> bool {
        self.packets == 0
    }

    /// A repeat came into view.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// The stream's end advanced by an original.
    pub fn reset(&mut self) {
        self.packets = 0;
        self.closed = false;
    }
}

impl PassedOver {
    /// Since when a repair could have been on its way.
    pub fn last_sent_before(&self, last_sent: Timestamp) -> Timestamp {
        if self.packets > 0 {
            self.since
        } else {
            last_sent
        }
    }

    /// Accounts for one repeat. The first must have had the time a repair takes; those after it
    /// belong to the same recovery.
    pub fn take_one(&mut self, had_time: bool) -> bool {
        let continues = self.closed && self.packets > 0;
        let hidden = !self.overtaken && self.packets > 0 && (had_time || continues);
        self.packets = self.packets.saturating_sub(u16::from(hidden));
        hidden
    }
}

/// What the other end sent to be acknowledged since a sender's last packet: when, and its TSval.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::flow::tcp) struct Asked {
    pub count: u8,
    questions: [(Timestamp, Option<u32>); 3],
}

impl Asked {
    pub fn add(&mut self, segment: &Segment<'_>) {
        let value = segment.tcp.timestamps.map(|(value, _)| value);
        if let Some(free) = self.questions.get_mut(usize::from(self.count)) {
            *free = (segment.packet.time, value);
            self.count += 1;
        }
    }

    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// When passed what `answer` answers: the segment whose TSval it echoes, else the first.
    pub fn answered_by(&self, answer: &Segment<'_>) -> Option<Timestamp> {
        let echo = answer.tcp.timestamps.map(|(_, echo)| echo);
        let known = &self.questions[..usize::from(self.count)];
        let echoed = known
            .iter()
            .find(|(_, value)| value.is_some() && *value == echo);
        echoed.or(known.first()).map(|(time, _)| *time)
    }
}

/// A repeat that is one only if the identifications prove to be a counter of this connection.
#[derive(Clone, Copy, Debug)]
pub(in crate::flow::tcp) struct DoubtfulRepeat {
    pub kind: RetransmissionKind,
    pub segments: u64,
    pub octets: u32,
}
