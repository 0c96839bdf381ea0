//! Holes in the octets of a direction and what waited behind them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::app::MessageUnit;
use crate::event::{RetransmissionKind, SegmentRef};
use crate::time::Timestamp;

use crate::direction::Direction;

/// A hole in one direction's octets that kept later ones from the application.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HoleEpisode {
    /// Whose octets were missing.
    pub direction: Direction,
    /// First evidence of data behind the hole: the first later segment with payload (receiver side)
    /// or the ACK with the first SACK block or third duplicate (sender side).
    pub opened: SegmentRef,
    /// What filled it: the retransmission (receiver side) or the ACK that passed it (sender side, and
    /// where the retransmission was not captured). With `at_least`: the last segment seen.
    pub filled: SegmentRef,
    /// It was not seen filled: it lasted at least to `filled`.
    pub at_least: bool,
    /// The whole piece was sent at least three times in vain, or a router refused it by ICMP, and a
    /// smaller piece of the same octets went into the hole: its size was in the way.
    pub too_large: bool,
    /// The first retransmission that went into the hole, when captured.
    pub repair: Option<SegmentRef>,
    /// How the repair was triggered.
    pub repair_kind: RetransmissionKind,
    /// Segments sent again for this hole.
    pub repairs: u32,
    /// Octets missing when the hole opened.
    pub missing_octets: u64,
    /// Octets of payload that waited behind it when it was filled.
    pub blocked_octets: u64,
    /// From the first octet blocked until the hole was filled, or its receiver closed or reset the
    /// connection.
    pub stall: Duration,
    /// Judged from SACK or duplicate ACKs at the sender's side.
    pub seen_at_sender: bool,
    /// The receiver said that it lacked these octets: not only the capture did.
    pub confirmed: bool,
    /// Messages that could be read only when it was filled; of HTTP/2: the streams open then.
    /// 0 where the payload was not understood, and at the sender's side.
    pub blocked_messages: u64,
    /// What `blocked_messages` counts.
    pub message_unit: MessageUnit,
}

/// All holes of a connection: counted whole, the longest eight kept.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Holes {
    /// What waited, by direction of the missing octets (client to server, server to client).
    pub waits: [Waits; 2],
    /// The longest, longest first.
    pub longest: Vec<HoleEpisode>,
}

impl Holes {
    /// How many holes held something back.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.waits[0].count + self.waits[1].count
    }

    /// Time in which something waited, summed over both directions.
    #[must_use]
    pub fn stall_total(&self) -> Duration {
        self.waits[0].total + self.waits[1].total
    }
}

/// Spans of one direction kept; of more the shortest are forgotten.
const SPANS: usize = 32;

/// The times in which octets of one direction waited behind holes. Times that overlap are one.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Waits {
    /// How many holes.
    pub count: u64,
    /// Octets that waited, summed over holes.
    pub octets: u64,
    /// Time on the clock.
    pub total: Duration,
    /// From and to, in order; the longest of them.
    pub spans: Vec<(Timestamp, Timestamp)>,
}

impl Waits {
    /// Adds a hole's time; holes come in the order in which they are filled.
    pub fn add(&mut self, from: Timestamp, to: Timestamp, octets: u64) {
        self.count += 1;
        self.octets += octets;
        let (mut from, mut to) = (from, to);
        while let Some((start, end)) = self.spans.pop_if(|(_, end)| *end >= from) {
            self.total = self.total.saturating_sub(end.since(start));
            (from, to) = (from.min(start), to.max(end));
        }
        self.total += to.since(from);
        self.spans.push((from, to));
        if self.spans.len() > SPANS {
            let old = &self.spans[..SPANS];
            let shortest = (0..SPANS).min_by_key(|at| old[*at].1.since(old[*at].0));
            self.spans.remove(shortest.unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn waits_that_overlap_count_once() {
        let mut waits = Waits::default();
        waits.add(at(0), at(100), 1);
        waits.add(at(50), at(150), 1);
        waits.add(at(400), at(500), 1);
        assert_eq!(waits.total, Duration::from_millis(250));
        // One that was open all the while and is filled last.
        waits.add(at(20), at(600), 1);
        assert_eq!(waits.total, Duration::from_millis(600));
        assert_eq!((waits.count, waits.spans.len()), (4, 1));
    }

    #[test]
    fn what_is_forgotten_still_counts() {
        let mut waits = Waits::default();
        for number in 0..100 {
            waits.add(at(number * 100), at(number * 100 + 10), 1);
        }
        assert_eq!(waits.total, Duration::from_secs(1));
        assert_eq!(waits.spans.len(), SPANS);
    }
}
