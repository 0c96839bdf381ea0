//! From the packets that both points saw to the difference of their clocks.

use super::corridor::{Bound, bounds, steps, widest};
use super::skew::skew;
use super::{Clock, Passage, Piece};

/// Slots from which the outermost bounds are kept to look for steps.
const SLOTS: usize = 1024;

/// Estimates a clock. `passages` are in the order of the first point's frames; `None` without any.
pub(crate) fn estimate(passages: &[Passage]) -> Option<Clock> {
    let first = passages.first()?;
    let origin = (first.from_time, first.to_time - first.from_time);
    let points: Vec<Bound> = passages
        .iter()
        .enumerate()
        .map(|(index, passage)| Bound {
            t: (passage.from_time - origin.0) as f64,
            z: (passage.to_time - passage.from_time - origin.1) as f64,
            is_upper: passage.is_downstream,
            index,
        })
        .collect();
    let upper = points.iter().filter(|point| point.is_upper).count();
    let counts = [upper as u64, (points.len() - upper) as u64];
    if counts.contains(&0) {
        return Some(one_way(passages, &points, origin.1, counts));
    }
    let thinned = outermost(&points);
    let divisions = steps(&thinned);
    let mut borders = vec![0];
    borders.extend(divisions.iter().map(|at| thinned[*at].index));
    borders.push(points.len());
    let stretches: Vec<&[Bound]> = borders
        .windows(2)
        .map(|pair| inside(&points, pair[0], pair[1]))
        .filter(|stretch| !stretch.is_empty())
        .collect();
    let longest = stretches.iter().max_by_key(|stretch| stretch.len());
    let guess = longest.map_or(0.0, |stretch| widest(stretch).1);
    let (skew, sigma) = skew(&stretches, guess);
    let half = stretches
        .iter()
        .map(|stretch| bounds(stretch, skew))
        .map(|(upper, lower)| (upper - lower) / 2.0)
        .filter(|half| half.is_finite())
        .fold(0.0, f64::max);
    let mut error = f64::INFINITY;
    let pieces = stretches
        .iter()
        .enumerate()
        .map(|(number, stretch)| {
            let (upper, lower) = bounds(stretch, skew);
            let middle = if upper.is_finite() && lower.is_finite() {
                f64::midpoint(upper, lower)
            } else if upper.is_finite() {
                // The least delays are those of the other stretches.
                upper - half
            } else {
                lower + half
            };
            if number == 0 {
                let span = stretch.last().map_or(0.0, |last| last.t - stretch[0].t);
                error = (upper - lower).abs() / 2.0 + sigma * span;
            }
            piece(passages, borders[number], origin, middle, skew)
        })
        .collect();
    Some(Clock {
        pieces,
        skew,
        error: error.is_finite().then(|| error.ceil() as i64),
        passages: counts,
    })
}

/// A stretch without what was under way when a clock was set, which is of neither side.
fn inside(points: &[Bound], from: usize, to: usize) -> &[Bound] {
    let stretch = &points[from..to];
    let blur = (stretch.len() / 50).max(4);
    let begin = if from == 0 { 0 } else { blur };
    let end = if to == points.len() {
        stretch.len()
    } else {
        stretch.len().saturating_sub(blur)
    };
    stretch
        .get(begin..end)
        .filter(|core| core.len() > 2)
        .unwrap_or(stretch)
}

/// The level holds at the origin of time; a piece says where it stands at its own beginning.
fn piece(passages: &[Passage], index: usize, origin: (i64, i64), level: f64, skew: f64) -> Piece {
    let passage = &passages[index];
    let passed = (passage.from_time - origin.0) as f64;
    Piece {
        from_frame: passage.from_frame,
        to_frame: if index == 0 { 0 } else { passage.to_frame },
        reference: passage.from_time,
        offset: origin.1 + (level + skew * passed).round() as i64,
        begins: if index == 0 {
            i64::MIN
        } else {
            passage.from_time
        },
    }
}

/// Traffic in one direction only: delays are told from the least one on.
fn one_way(passages: &[Passage], points: &[Bound], base: i64, passed: [u64; 2]) -> Clock {
    let (upper, lower) = bounds(points, 0.0);
    let level = if upper.is_finite() { upper } else { lower };
    Clock {
        pieces: vec![piece(
            passages,
            0,
            (passages[0].from_time, base),
            level,
            0.0,
        )],
        skew: 0.0,
        error: None,
        passages: passed,
    }
}

/// The outermost bounds of each slot: enough to find steps by.
fn outermost(points: &[Bound]) -> Vec<Bound> {
    let mut kept: Vec<Bound> = Vec::new();
    for slot in points.chunks(points.len().div_ceil(SLOTS).max(1)) {
        let upper = slot.iter().filter(|point| point.is_upper);
        let lower = slot.iter().filter(|point| !point.is_upper);
        let upper = upper.min_by(|a, b| a.z.total_cmp(&b.z));
        let lower = lower.max_by(|a, b| a.z.total_cmp(&b.z));
        kept.extend(upper.into_iter().chain(lower));
    }
    kept.sort_unstable_by_key(|point| point.index);
    kept
}
