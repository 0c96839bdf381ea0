//! The times of frames: first and last, and where the clock ran backwards.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::quality::{QualityKind, QualityNote};
use crate::time::Timestamp;

/// A step back in time of less than this is the merging of two queues, not a clock that steps.
const CLOCK_STEP_NS: u64 = 100_000_000;

/// A leap forward of more than this, ten years, is no silence: one of the two times is none, or the
/// files do not belong together.
pub(crate) const LEAP_NS: u64 = 10 * 365 * 86_400 * 1_000_000_000;

/// Frames from which it is no chance that all lie within the first millisecond of a second.
const MANY: u64 = 32;

/// Nanoseconds of a second and of a millisecond.
const SECOND: i64 = 1_000_000_000;
const MILLISECOND: i64 = 1_000_000;

/// Places where the clock broke that are kept.
const BREAKS: usize = 256;

/// A place where the capture's clock ran backwards or leapt forward: two frames that follow each
/// other, and whose times do not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClockBreak {
    /// Time of the frame before it.
    pub before: Timestamp,
    /// Time of the frame after it.
    pub after: Timestamp,
    /// How far it was set, at most.
    pub by: Duration,
}

impl ClockBreak {
    /// Whether the clock was set forward.
    #[must_use]
    pub fn is_forward(&self) -> bool {
        self.after > self.before
    }

    /// Whether the time from `from` to `to` reaches over it, or may: of a step forward, over most of it.
    #[must_use]
    pub fn lies_within(&self, from: Timestamp, to: Timestamp) -> bool {
        if !self.is_forward() {
            // All times between the two were passed twice.
            return from <= self.before && to >= self.after;
        }
        // What begins a round trip later has most of it.
        let shared = to.min(self.after).since(from.max(self.before));
        shared * 2 > self.after.since(self.before)
    }
}

/// The times of a slab's frames or of a capture's.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Times(Option<Span>);

impl Times {
    pub fn of(mut times: impl Iterator<Item = Timestamp>) -> Self {
        let Some(first) = times.next() else {
            return Self(None);
        };
        let mut span = Span {
            earliest: first,
            latest: first,
            ends: [first; 2],
            steps_back: 0,
            largest_step_ns: 0,
            leaps: 0,
            breaks: Vec::new(),
            frames: 1,
            fraction_max: fraction(first),
        };
        let mut second = first.as_nanos().saturating_sub(span.fraction_max);
        for time in times {
            span.step_to(time);
            span.earliest = span.earliest.min(time);
            span.latest = span.latest.max(time);
            span.ends[1] = time;
            span.frames += 1;
            // Nearly always the second of the frame before: dividing takes longer.
            let mut part = time.as_nanos().wrapping_sub(second);
            if !(0..SECOND).contains(&part) {
                part = fraction(time);
                second = time.as_nanos().saturating_sub(part);
            }
            span.fraction_max = span.fraction_max.max(part);
        }
        Self(Some(span))
    }

    pub fn first(&self) -> Option<Timestamp> {
        self.0.as_ref().map(|span| span.earliest)
    }

    pub fn last(&self) -> Option<Timestamp> {
        self.0.as_ref().map(|span| span.latest)
    }

    /// Where the clock broke; the first [`BREAKS`].
    pub fn breaks(&self) -> Vec<ClockBreak> {
        let breaks = self.0.as_ref().map(|span| span.breaks.clone());
        breaks.unwrap_or_default()
    }

    /// Whether fractions of a second were written in a larger unit than the file header states: all times
    /// of many frames, in three seconds or more, lie within the first millisecond of a second.
    pub fn is_unit_wrong(&self) -> bool {
        self.0.as_ref().is_some_and(|span| {
            let second = |time: Timestamp| time.as_nanos().div_euclid(SECOND);
            let seconds = second(span.latest).abs_diff(second(span.earliest));
            span.frames >= MANY
                && (1..MILLISECOND).contains(&span.fraction_max)
                && (2..=span.frames / 4).contains(&seconds)
        })
    }

    /// Adds those of the frames that follow.
    pub fn append(&mut self, next: &Self) {
        let (Some(span), Some(next)) = (&mut self.0, &next.0) else {
            if self.0.is_none() {
                self.0.clone_from(&next.0);
            }
            return;
        };
        span.step_to(next.ends[0]);
        span.earliest = span.earliest.min(next.earliest);
        span.latest = span.latest.max(next.latest);
        span.ends[1] = next.ends[1];
        span.steps_back += next.steps_back;
        span.largest_step_ns = span.largest_step_ns.max(next.largest_step_ns);
        span.leaps += next.leaps;
        let room = BREAKS.saturating_sub(span.breaks.len());
        span.breaks.extend(next.breaks.iter().take(room));
        span.frames += next.frames;
        span.fraction_max = span.fraction_max.max(next.fraction_max);
    }
}

/// Nanoseconds since the last full second.
const fn fraction(time: Timestamp) -> i64 {
    time.as_nanos().rem_euclid(SECOND)
}

/// Those of one frame at least.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Span {
    earliest: Timestamp,
    latest: Timestamp,
    /// Of the first frame and of the last one.
    ends: [Timestamp; 2],
    steps_back: u64,
    largest_step_ns: u64,
    /// Times that lie [`LEAP_NS`] and more behind the one before.
    leaps: u64,
    breaks: Vec<ClockBreak>,
    frames: u64,
    /// The largest part of a second, in nanoseconds.
    fraction_max: i64,
}

impl Span {
    #[inline]
    fn step_to(&mut self, time: Timestamp) {
        let step = time.signed_since(self.ends[1]);
        if step > -CLOCK_STEP_NS.cast_signed() && step < LEAP_NS.cast_signed() {
            return;
        }
        self.break_at(time);
    }

    /// Notes that the clock stepped back or leapt.
    fn break_at(&mut self, time: Timestamp) {
        let back = self.ends[1].nanos_since(time);
        if back >= CLOCK_STEP_NS {
            self.steps_back += 1;
            self.largest_step_ns = self.largest_step_ns.max(back);
        }
        let is_leap = time.nanos_since(self.ends[1]) >= LEAP_NS;
        self.leaps += u64::from(is_leap);
        if (is_leap || back >= CLOCK_STEP_NS) && self.breaks.len() < BREAKS {
            self.breaks.push(ClockBreak {
                before: self.ends[1],
                after: time,
                by: Duration::from_nanos(back.max(time.nanos_since(self.ends[1]))),
            });
        }
    }
}

/// Caveats when capture time ran backwards, leapt, or was written in a wrong unit.
pub(crate) fn clock_notes(times: &Times) -> Vec<QualityNote> {
    let Some(span) = &times.0 else {
        return Vec::new();
    };
    let step = Duration::from_nanos(span.largest_step_ns).as_secs_f64();
    let notes = [
        (
            span.steps_back,
            format!(
                "capture time runs backwards {} times, by up to {step:.3} s: durations around these places are not reliable",
                span.steps_back
            ),
        ),
        (
            span.leaps,
            format!(
                "capture time jumps forward by ten years or more ({}): some timestamps are wrong, and durations across the leaps are left out",
                if span.leaps == 1 {
                    "once".to_owned()
                } else {
                    format!("{} times", span.leaps)
                }
            ),
        ),
        (
            u64::from(times.is_unit_wrong()),
            format!(
                "all {} times lie within the first millisecond of a second: fractions of a second were written in a larger unit than the file header states, so durations below a second are up to 1,000 times too short",
                span.frames
            ),
        ),
    ];
    let told = notes.into_iter().filter(|(count, _)| *count > 0);
    told.map(|(count, note)| QualityNote {
        kind: QualityKind::ClockStep,
        count,
        note,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(nanos: &[i64]) -> Times {
        Times::of(nanos.iter().map(|nanos| Timestamp::from_nanos(*nanos)))
    }

    #[test]
    fn breaks_are_found_within_slabs_and_between_them() {
        const YEAR: i64 = 365 * 86_400 * SECOND;
        let whole = times(&[0, 40 * YEAR, 40 * YEAR + 5, 39 * YEAR]);
        let mut joined = times(&[0]);
        joined.append(&times(&[40 * YEAR, 40 * YEAR + 5]));
        joined.append(&times(&[39 * YEAR]));
        assert_eq!(whole.breaks(), joined.breaks());
        assert_eq!(whole.breaks().len(), 2);
        assert_eq!(clock_notes(&whole).len(), 2);
        let [leap, back] = [0, 1].map(|at| whole.breaks()[at]);
        let at = Timestamp::from_nanos;
        assert!(leap.lies_within(at(0), at(40 * YEAR + 1)));
        assert!(!leap.lies_within(at(40 * YEAR), at(40 * YEAR + 1)));
        assert!(back.lies_within(at(39 * YEAR), at(39 * YEAR + 9)));
        assert!(!back.lies_within(at(0), at(9)));
    }

    #[test]
    fn parts_of_a_second_in_a_wrong_unit_are_told() {
        let of = |step: i64| {
            let all: Vec<i64> = (1..200).map(|n| n / 50 * SECOND + n % 50 * step).collect();
            clock_notes(&times(&all)).len()
        };
        // Milliseconds written as microseconds, and the truth.
        assert_eq!(of(19_000), 1);
        assert_eq!(of(19_000_000), 0);
    }
}
