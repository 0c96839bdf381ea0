//! What was passed over by a sender's identification counter, and what it was asked meanwhile.

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
    /// The latest packet bears the number next to that of the packet before: nothing was sent
    /// between them.
    pub follows: bool,
    /// Repeats that can have been lost in the silences so far, by the sender's timer.
    pub timeouts: u32,
    /// Times a pause followed a segment with PSH.
    pub pushed_pauses: u16,
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
    /// How long, in nanoseconds, a repair could have been on its way.
    pub fn waited(&self, segment: &Segment<'_>, last_sent: Timestamp) -> u64 {
        let before = if self.packets > 0 {
            self.since
        } else {
            last_sent
        };
        segment.packet.time.nanos_since(before)
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

    /// When each of them passed.
    pub fn times(&self) -> impl Iterator<Item = Timestamp> {
        let known = &self.questions[..usize::from(self.count)];
        known.iter().map(|(time, _)| *time)
    }

    /// When passed what `answer` answers: the segment whose TSval it echoes, else the latest that
    /// had the time to reach its sender, which an answer takes `soonest_ns` for at least.
    pub fn answered_by(&self, answer: &Segment<'_>, soonest_ns: u64) -> Option<Timestamp> {
        let echo = answer.tcp.timestamps.map(|(_, echo)| echo);
        let known = &self.questions[..usize::from(self.count)];
        let echoed = known
            .iter()
            .find(|(_, value)| value.is_some() && *value == echo);
        let in_time = || {
            let mut latest = known.iter().rev();
            latest.find(|(time, _)| answer.packet.time.nanos_since(*time) >= soonest_ns)
        };
        let question = echoed.or_else(in_time).or(known.first());
        question.map(|(time, _)| *time)
    }
}
