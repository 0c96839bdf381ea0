//! Who was heard while others waited in vain.

use std::ops::Range;

use analyzer::{Connection, Direction, Timestamp};

use crate::model::text::ms;

/// What a connection shows of one of its ends.
pub(crate) struct Alive {
    pub(crate) first_frame: u64,
    /// When the end was heard last.
    heard: Timestamp,
    /// The longest silence after which the connection went on.
    pub(crate) survived_ms: f64,
    /// When the server took the connection, since the epoch; 0 when that was not seen.
    answered_ms: f64,
    /// Something was sent twice.
    repeats: bool,
}

impl Alive {
    /// What `conn` shows of the sender of `direction`.
    pub(crate) fn of(conn: &Connection, direction: Direction) -> Self {
        let last = conn.half(direction).last_segment;
        let survived = conn.idle_gaps.longest_survived;
        let answered = conn.handshake.syn_acks.first();
        let mut halves = conn.halves.iter();
        Self {
            first_frame: conn.first_frame,
            heard: last.map_or(conn.start, |last| last.time),
            survived_ms: survived.map_or(0.0, |gap| ms(gap.length())),
            answered_ms: answered.map_or(0.0, |answer| since_epoch_ms(answer.time)),
            repeats: halves.any(|half| half.retransmitted_segments > 0),
        }
    }

    /// Whether the end was heard before that time was over.
    pub(crate) fn is_heard_after(&self, time: Timestamp) -> bool {
        self.heard >= time
    }

    /// Whether the end was heard in this time, in milliseconds since the epoch.
    pub(crate) fn is_heard_during(&self, time: &Range<f64>) -> bool {
        let heard = since_epoch_ms(self.heard);
        // In use all the time: what is sent in vain is sent again within a second as a rule.
        let throughout = !self.repeats
            && self.answered_ms < time.start
            && heard > time.end
            && self.survived_ms < (time.end - time.start) / 2.0
            && time.end - time.start > 2_000.0;
        throughout || time.contains(&heard) || time.contains(&self.answered_ms)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "fractions of a microsecond do not matter"
)]
pub(crate) fn since_epoch_ms(time: Timestamp) -> f64 {
    time.as_nanos() as f64 / 1e6
}
