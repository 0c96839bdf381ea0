//! Where exactly a clock was set.
//!
//! A clock is set at a frame of its own point: in the order of that point's frames all packets
//! before it bear the old time there and all behind it the new one, also those that were under way.

use super::corridor::Bound;
use super::{Frames, Passage, Side};

/// A frame of one point from which on its clock shows another time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Place {
    pub side: Side,
    pub frame: u64,
    /// The last frame that is known to bear the old time.
    pub known_before: u64,
}

/// Where a clock was set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Division {
    pub place: Place,
    /// The frame of the other point that explains most.
    pub rival: Option<Place>,
}

impl Division {
    /// Whether a packet bears the new time.
    pub fn is_passed_by(&self, passage: &Passage) -> bool {
        frame(passage, self.place.side) >= self.place.frame
    }

    /// Looks for the very frame from which on the clock shows another time, also among those that
    /// only one point saw. `change` is by how much the second clock less the first one changes.
    pub fn sharpen(&mut self, change: i64, frames: &Frames) {
        // A clock that goes back proves itself.
        let (side, back) = if change < 0 {
            (Side::Second, change.saturating_neg())
        } else {
            (Side::First, change)
        };
        let place = if side == self.place.side {
            Some(self.place)
        } else {
            self.rival
        };
        let own = frames.of(side);
        if let Some(frame) = place.and_then(|place| set_back(own, place.frame, back)) {
            self.place.side = side;
            self.place.frame = frame;
            return;
        }
        let own = frames.of(self.place.side);
        let from = own.partition_point(|(frame, _)| *frame < self.place.known_before);
        let until = own.partition_point(|(frame, _)| *frame <= self.place.frame);
        // What belongs together stays together.
        let pairs = own.get(from..until).unwrap_or(&[]).windows(2);
        let jump = pairs.max_by_key(|pair| pair[1].1.saturating_sub(pair[0].1));
        if let Some(pair) = jump {
            self.place.frame = pair[1].0;
        }
    }
}

const fn frame(passage: &Passage, side: Side) -> u64 {
    match side {
        Side::First => passage.from_frame,
        Side::Second => passage.to_frame,
    }
}

/// A clock that is seen to go back can be so far, in nanoseconds, from where packets show it.
const NEAR: i64 = 2_000_000_000;

/// What captures cannot resolve, in nanoseconds.
const RESOLUTION: i64 = 50_000;

/// Frames of one capture can be so far out of order, in nanoseconds.
const DISORDER: i64 = 1_000_000;

/// The frame nearest to `near` at which times go back by about as much.
fn set_back(frames: &[(u64, i64)], near: u64, back: i64) -> Option<u64> {
    let at = frames.partition_point(|(frame, _)| *frame < near);
    let time = frames.get(at).or(frames.last())?.1;
    let returns = frames.windows(2).filter(|pair| {
        let passed = pair[0].1.saturating_sub(pair[1].1);
        let distance = pair[1].1.saturating_sub(time).saturating_abs();
        passed > (back / 10).clamp(RESOLUTION, DISORDER)
            && passed <= back.saturating_add(back / 10).saturating_add(DISORDER)
            && distance <= back.saturating_add(NEAR)
    });
    let frames = returns.map(|pair| pair[1].0);
    frames.min_by_key(|frame| frame.abs_diff(near))
}

/// The frame that divides a stretch with one step best.
pub(super) fn divide_exactly(stream: &[(Passage, Bound)], skew: f64) -> Option<Division> {
    let best = [Side::Second, Side::First].map(|side| {
        let mut order: Vec<usize> = (0..stream.len()).collect();
        order.sort_by_key(|index| frame(&stream[*index].0, side));
        let levels: Vec<(bool, f64)> = order
            .iter()
            .map(|index| &stream[*index].1)
            .map(|point| (point.is_upper, point.z - skew * point.t))
            .collect();
        let (at, unexplained) = best_split(&levels)?;
        let frame = |at: usize| frame(&stream[order[at]].0, side);
        let place = Place {
            side,
            frame: frame(at),
            known_before: frame(at - 1),
        };
        Some((place, unexplained))
    });
    let (place, rival) = match best {
        [Some(second), Some(first)] => {
            let (one, other) = if first.1 < second.1 {
                (first, second)
            } else {
                (second, first)
            };
            (one.0, Some(other.0))
        }
        [one, other] => (one.or(other)?.0, None),
    };
    Some(Division { place, rival })
}

/// The split that leaves least unexplained among those that put no packet on a side which it
/// contradicts, and what it leaves.
fn best_split(levels: &[(bool, f64)]) -> Option<(usize, f64)> {
    let base = levels.first()?.1;
    let before = Running::all(levels.iter(), base);
    let behind = Running::all(levels.iter().rev(), base);
    let splits = || (1..levels.len()).map(|at| (at, &before[at], &behind[levels.len() - at]));
    let width = |one: &Running, other: &Running| one.width().min(other.width());
    let widest = splits()
        .map(|(_, one, other)| width(one, other))
        .filter(|width| width.is_finite())
        .max_by(f64::total_cmp)?;
    // Where every split leaves a contradiction there are several steps.
    let enough = if widest > 0.0 {
        widest / 2.0
    } else {
        f64::NEG_INFINITY
    };
    splits()
        .filter(|(_, one, other)| {
            let width = width(one, other);
            width.is_finite() && width >= enough
        })
        .map(|(at, one, other)| (at, one.unexplained() + other.unexplained()))
        .min_by(|a, b| a.1.total_cmp(&b.1))
}

/// The corridor and the sums of the bounds so far, from below and from above.
#[derive(Clone, Copy)]
struct Running {
    lower: f64,
    upper: f64,
    sums: [[f64; 3]; 2],
}

impl Running {
    /// Of the first 0, 1, 2 … levels.
    fn all<'a>(levels: impl Iterator<Item = &'a (bool, f64)>, base: f64) -> Vec<Self> {
        let mut running = Self {
            lower: f64::NEG_INFINITY,
            upper: f64::INFINITY,
            sums: [[0.0; 3]; 2],
        };
        let mut all = vec![running];
        for (is_upper, level) in levels {
            if *is_upper {
                running.upper = running.upper.min(*level);
            } else {
                running.lower = running.lower.max(*level);
            }
            // In milliseconds, so that squares keep their digits.
            let part = (level - base) / 1e6;
            let sums = &mut running.sums[usize::from(*is_upper)];
            sums[0] += 1.0;
            sums[1] += part;
            sums[2] += part * part;
            all.push(running);
        }
        all
    }

    fn width(&self) -> f64 {
        self.upper - self.lower
    }

    fn unexplained(&self) -> f64 {
        let of_side = |[count, sum, squares]: [f64; 3]| {
            if count > 0.0 {
                squares - sum * sum / count
            } else {
                0.0
            }
        };
        self.sums.map(of_side).iter().sum()
    }
}
