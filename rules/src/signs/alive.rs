//! Who was heard while others waited in vain.

use std::ops::Range;

use analyzer::{Connection, Direction, Timestamp};

use crate::model::observation::Note;
use crate::model::text::{ms, number};

/// What a connection tells of one of its ends.
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
    /// When the sender of `direction` was heard last.
    pub(crate) fn heard(conn: &Connection, direction: Direction) -> Timestamp {
        let last = conn.half(direction).last_segment;
        last.map_or(conn.start, |last| last.time)
    }

    /// The rest of it, as numbers of a note.
    pub(crate) fn numbers(conn: &Connection) -> [f64; 3] {
        let survived = conn.idle_gaps.longest_survived;
        let answered = conn.handshake.syn_acks.first();
        let repeats = conn.halves.iter().map(|half| half.retransmitted_segments);
        [
            survived.map_or(0.0, |gap| ms(gap.length())),
            answered.map_or(0.0, |answer| since_epoch_ms(answer.time)),
            number(repeats.sum()),
        ]
    }

    /// Reads it back from a note that was made [`Self::heard`], with `numbers` of it.
    pub(crate) fn of(note: &Note, numbers: &[f64]) -> Self {
        Self {
            first_frame: note.connection.first_frame,
            heard: note.at,
            survived_ms: numbers[0],
            answered_ms: numbers[1],
            repeats: numbers[2] > 0.0,
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
