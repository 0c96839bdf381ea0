//! What the clock of one point is ahead of another's.
//!
//! A packet that went from the first point to the second bounds the difference from above, one that
//! came back bounds it from below: the least delays in both directions enclose the truth, and half of
//! what lies between is the error.

mod corridor;
mod division;
mod estimate;
mod samples;
mod skew;
#[cfg(test)]
mod tests;

use division::Place;
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

/// Which of the two clocks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Side {
    First,
    Second,
}

/// That a clock was set: from a frame of its own point on it shows another time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Setting {
    pub place: Place,
    /// By how much it was set forward, in nanoseconds.
    pub size: i64,
    /// Moment on the common line of time.
    pub at: i64,
}

impl Setting {
    /// By how much the second clock less the first one changed.
    const fn change(&self) -> i64 {
        match self.place.side {
            Side::First => self.size.saturating_neg(),
            Side::Second => self.size,
        }
    }
}

/// Frames of both points with their times, in the order of frames.
#[derive(Default)]
pub(crate) struct Frames {
    pub first: Vec<(u64, i64)>,
    pub second: Vec<(u64, i64)>,
}

impl Frames {
    fn of(&self, side: Side) -> &[(u64, i64)] {
        match side {
            Side::First => &self.first,
            Side::Second => &self.second,
        }
    }
}

/// The clock of the second point as against that of the first.
///
/// Both are mapped to one line of time: the first clock, as if it had never been set.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Clock {
    /// A moment on the common line, and what the second clock was ahead at it before any setting.
    pub reference: i64,
    pub offset: i64,
    /// In the order of time.
    pub settings: Vec<Setting>,
    /// Gain of the second clock per nanosecond of the first.
    pub skew: f64,
    /// Bound of the offset's error in nanoseconds; `None` when traffic went one way only.
    pub error: Option<i64>,
    /// Packets that it rests on: downstream, upstream.
    pub passages: [u64; 2],
}

impl Clock {
    /// A time of the first point on the common line; `frame` is the one that bears it.
    pub fn line_of_first(&self, frame: u64, time: i64) -> i64 {
        time.saturating_sub(self.set_until(Side::First, frame))
    }

    /// A time of the second point on the common line; `frame` is the one that bears it.
    pub fn line_of_second(&self, frame: u64, time: i64) -> i64 {
        let steady = time.saturating_sub(self.set_until(Side::Second, frame));
        let near = steady.saturating_sub(self.offset);
        near.saturating_sub(self.drift(near))
    }

    /// What the first clock showed at a moment of the common line.
    pub fn shown_by_first(&self, line: i64) -> i64 {
        let settings = self
            .settings
            .iter()
            .filter(|one| one.place.side == Side::First);
        let passed = settings.take_while(|one| one.at <= line);
        line.saturating_add(passed.map(|one| one.size).sum())
    }

    /// Second clock less first clock at a moment of the common line.
    pub fn offset_at(&self, line: i64) -> i64 {
        let passed = self.settings.iter().filter(|one| one.at <= line);
        let changes = passed.map(Setting::change).sum::<i64>();
        let offset = self.offset.saturating_add(changes);
        offset.saturating_add(self.drift(line))
    }

    /// The steps: when, by the first clock, and by how much the difference changed.
    pub fn steps(&self) -> Vec<(i64, i64)> {
        let settings = self.settings.iter();
        let steps = settings.map(|one| (self.shown_by_first(one.at), one.change()));
        steps.filter(|(_, size)| size.abs() > RESOLUTION).collect()
    }

    /// How often a clock was set up to a frame of its point.
    pub fn settings_until(&self, side: Side, frame: u64) -> usize {
        let settings = self.settings.iter();
        settings
            .filter(|one| one.place.side == side && one.place.frame <= frame)
            .count()
    }

    fn drift(&self, line: i64) -> i64 {
        (line.saturating_sub(self.reference) as f64 * self.skew).round() as i64
    }

    fn set_until(&self, side: Side, frame: u64) -> i64 {
        let passed = self.settings.iter();
        passed
            .filter(|one| one.place.side == side && one.place.frame <= frame)
            .map(|one| one.size)
            .sum()
    }
}

/// Steps below this are no more than captures cannot resolve, in nanoseconds.
const RESOLUTION: i64 = 50_000;
