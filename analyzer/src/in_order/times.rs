//! The times of frames: first and last, and where the clock ran backwards.

use std::time::Duration;

use crate::quality::{QualityKind, QualityNote};
use crate::time::Timestamp;

/// A step back in time of less than this is the merging of two queues, not a clock that steps.
const CLOCK_STEP_NS: u64 = 100_000_000;

/// The times of a slab's frames or of a capture's.
#[derive(Clone, Copy, Debug, Default)]
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
        };
        for time in times {
            span.step_to(time);
            span.earliest = span.earliest.min(time);
            span.latest = span.latest.max(time);
            span.ends[1] = time;
        }
        Self(Some(span))
    }

    pub fn first(&self) -> Option<Timestamp> {
        self.0.map(|span| span.earliest)
    }

    pub fn last(&self) -> Option<Timestamp> {
        self.0.map(|span| span.latest)
    }

    /// Adds those of the frames that follow.
    pub fn append(&mut self, next: &Self) {
        let (Some(span), Some(next)) = (&mut self.0, next.0) else {
            self.0 = self.0.or(next.0);
            return;
        };
        span.step_to(next.ends[0]);
        span.earliest = span.earliest.min(next.earliest);
        span.latest = span.latest.max(next.latest);
        span.ends[1] = next.ends[1];
        span.steps_back += next.steps_back;
        span.largest_step_ns = span.largest_step_ns.max(next.largest_step_ns);
    }
}

/// Those of one frame at least.
#[derive(Clone, Copy, Debug)]
struct Span {
    earliest: Timestamp,
    latest: Timestamp,
    /// Of the first frame and of the last one.
    ends: [Timestamp; 2],
    steps_back: u64,
    largest_step_ns: u64,
}

impl Span {
    fn step_to(&mut self, time: Timestamp) {
        let back = self.ends[1].nanos_since(time);
        if back >= CLOCK_STEP_NS {
            self.steps_back += 1;
            self.largest_step_ns = self.largest_step_ns.max(back);
        }
    }
}

/// A caveat when capture time ran backwards.
pub(crate) fn clock_note(times: &Times) -> Option<QualityNote> {
    let span = times.0.filter(|span| span.steps_back > 0)?;
    Some(QualityNote {
        kind: QualityKind::ClockStep,
        count: span.steps_back,
        note: format!(
            "capture time runs backwards {} times, by up to {:.3} s: durations around these places are not reliable",
            span.steps_back,
            Duration::from_nanos(span.largest_step_ns).as_secs_f64()
        ),
    })
}
