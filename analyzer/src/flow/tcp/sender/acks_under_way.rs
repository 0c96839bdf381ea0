//! Acknowledgements that have passed the capture point and not yet reached the sender they are for.
//!
//! Captured at the client, an ACK stands in the file before a RST that the server sent without
//! knowing of it. What the server had not heard acknowledged is told by the round trip.

use std::collections::VecDeque;

use crate::time::Timestamp;

/// Steps of `snd_una` remembered; older ones are dropped, so that less counts as unacknowledged.
const STEPS: usize = 64;

/// A sender nearer than this is at the capture point: nothing is under way to it.
pub(in crate::flow::tcp) const AT_THE_CAPTURE_POINT_NS: u64 = 100_000;

/// The recent steps of one sender's `snd_una`.
#[derive(Clone, Debug, Default)]
pub(in crate::flow::tcp) struct AcksUnderWay {
    /// When an ACK passed, and the `snd_una` before it; the oldest first.
    steps: VecDeque<(Timestamp, u64)>,
}

impl AcksUnderWay {
    /// Notes that `snd_una` advances from `before`. `round_trip_ns`: from the capture point to the
    /// sender and back.
    pub fn note(&mut self, time: Timestamp, before: u64, round_trip_ns: Option<u64>) {
        let Some(round_trip) = round_trip_ns.filter(|trip| *trip >= AT_THE_CAPTURE_POINT_NS) else {
            return;
        };
        while self
            .steps
            .front()
            .is_some_and(|(passed, _)| time.nanos_since(*passed) > round_trip)
            || self.steps.len() >= STEPS
        {
            self.steps.pop_front();
        }
        self.steps.push_back((time, before));
    }

    /// What the sender knew at least, however long ago it sent.
    pub fn snd_una_at_least(&self, snd_una: u64) -> u64 {
        self.steps.front().map_or(snd_una, |(_, before)| *before)
    }

    /// What the sender knew to be acknowledged when it sent the segment that passes at `time`.
    pub fn snd_una_at_sender(
        &self,
        time: Timestamp,
        snd_una: u64,
        round_trip_ns: Option<u64>,
    ) -> u64 {
        let round_trip = round_trip_ns.unwrap_or_default();
        self.steps
            .iter()
            .find(|(passed, _)| time.nanos_since(*passed) < round_trip)
            .map_or(snd_una, |(_, before)| *before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn acks_younger_than_a_round_trip_have_not_arrived() {
        let trip = Some(40_000_000);
        let mut acks = AcksUnderWay::default();
        acks.note(at(0), 100, trip);
        acks.note(at(70), 200, trip);
        acks.note(at(90), 300, trip);
        assert_eq!(acks.snd_una_at_sender(at(100), 400, trip), 200);
        assert_eq!(acks.snd_una_at_sender(at(120), 400, trip), 300);
        assert_eq!(acks.snd_una_at_sender(at(140), 400, trip), 400);
    }

    #[test]
    fn at_the_sender_nothing_is_under_way() {
        let mut acks = AcksUnderWay::default();
        acks.note(at(0), 100, Some(20_000));
        acks.note(at(1), 200, None);
        assert_eq!(acks.snd_una_at_sender(at(1), 400, None), 400);
    }
}
