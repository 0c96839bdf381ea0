//! What the clock of one point is ahead of another's.
//!
//! A packet that went from the first point to the second bounds the difference from above, one that
//! came back bounds it from below: the least delays in both directions enclose the truth, and half of
//! what lies between is the error.

mod corridor;
mod estimate;
mod samples;
mod skew;
#[cfg(test)]
mod tests;

pub(crate) use estimate::estimate;
pub(crate) use samples::{GroupSamples, Keeps, Sample, sample};

/// One packet that both points saw.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Passage {
    /// Its frame at the first point.
    pub from_frame: u64,
    /// Its frame at the second point.
    pub to_frame: u64,
    /// Its time at the first point, in nanoseconds.
    pub from_time: i64,
    /// Its time at the second point, in nanoseconds.
    pub to_time: i64,
    /// Whether the first point saw it first.
    pub is_downstream: bool,
}

/// A stretch of capture without a step of either clock.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Piece {
    /// First frame at each point.
    pub from_frame: u64,
    pub to_frame: u64,
    /// A moment by the first point's clock.
    pub reference: i64,
    /// Second clock less first clock at that moment, in nanoseconds.
    pub offset: i64,
    /// Clock of the first point at the beginning of the piece.
    pub begins: i64,
}

/// The clock of the second point as against that of the first.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Clock {
    /// In order; never empty.
    pub pieces: Vec<Piece>,
    /// Gain of the second clock per nanosecond of the first.
    pub skew: f64,
    /// Bound of the offset's error in nanoseconds; `None` when traffic went one way only.
    pub error: Option<i64>,
    /// Packets that it rests on: downstream, upstream.
    pub passages: [u64; 2],
}

impl Clock {
    /// Second clock less first clock when the first showed `time`.
    pub fn offset_at(&self, time: i64) -> i64 {
        let index = self.pieces.partition_point(|piece| piece.begins <= time);
        self.offset_in(index.saturating_sub(1), time)
    }

    fn offset_in(&self, piece: usize, time: i64) -> i64 {
        let piece = &self.pieces[piece.min(self.pieces.len() - 1)];
        let passed = time.saturating_sub(piece.reference);
        piece.offset + (passed as f64 * self.skew).round() as i64
    }

    /// What the first clock showed when the second showed `time` at its frame `frame`.
    pub fn to_first(&self, frame: u64, time: i64) -> i64 {
        let after = self.pieces.partition_point(|piece| piece.to_frame <= frame);
        let piece = &self.pieces[after.saturating_sub(1)];
        let near = time.saturating_sub(piece.offset);
        time.saturating_sub(self.offset_in(after.saturating_sub(1), near))
    }

    /// The steps: when, by the first clock, and by how much the difference changed.
    pub fn steps(&self) -> Vec<(i64, i64)> {
        let pairs = self.pieces.windows(2).enumerate();
        let steps = pairs.map(|(index, pair)| {
            let at = pair[1].begins;
            let (before, after) = (self.offset_in(index, at), self.offset_in(index + 1, at));
            (at, after - before)
        });
        steps.filter(|(_, size)| size.abs() > RESOLUTION).collect()
    }
}

/// Steps below this are no more than captures cannot resolve, in nanoseconds.
const RESOLUTION: i64 = 50_000;
