//! From the packets that both points saw to the difference of their clocks.

use super::corridor::{Bound, bounds, step, widest};
use super::division::{Division, divide_exactly};
use super::skew::skew;
use super::{Clock, Frames, Passage, Setting, Side};

/// What captures cannot resolve, in nanoseconds.
const RESOLUTION: f64 = 50e3;

/// Slots from which the outermost bounds are kept to look for steps.
const SLOTS: usize = 1024;

/// Estimates a clock. `passages` are in the order of the first point's frames; `None` without any.
/// `frames` is asked when a clock was set.
pub(crate) fn estimate(passages: &[Passage], frames: &dyn Fn() -> Frames) -> Option<Clock> {
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
        return Some(one_way(&points, origin, counts));
    }
    let (divisions, stretches) = stretches(passages, &points, frames);
    let clean: Vec<&[Bound]> = stretches.iter().map(|one| &one.points[..]).collect();
    let longest = clean.iter().max_by_key(|stretch| stretch.len());
    let guess = longest.map_or(0.0, |stretch| widest(stretch).1);
    let (skew, sigma) = skew(&clean, guess);
    let half = clean
        .iter()
        .map(|stretch| bounds(stretch, skew))
        .map(|(upper, lower)| (upper - lower) / 2.0)
        .filter(|half| half.is_finite())
        .fold(0.0, f64::max);
    let levels: Vec<f64> = stretches
        .iter()
        .map(|stretch| stretch.base + middle(&stretch.points, skew, half))
        .collect();
    let settings = divisions.iter().enumerate().map(|(index, division)| {
        let change = (levels[index + 1] - levels[index]).round() as i64;
        let begins = clean[index + 1].iter().map(|point| point.t);
        let begins = begins.min_by(f64::total_cmp).unwrap_or(0.0);
        Setting {
            place: division.place,
            size: match division.place.side {
                Side::First => -change,
                Side::Second => change,
            },
            at: origin.0 + begins as i64,
        }
    });
    let (upper, lower) = bounds(clean[0], skew);
    let span = clean[0].last().map_or(0.0, |last| last.t - clean[0][0].t);
    let error = (upper - lower).abs() / 2.0 + sigma * span;
    Some(Clock {
        reference: origin.0,
        offset: origin.1 + levels[0].round() as i64,
        settings: settings.collect(),
        skew,
        error: error.is_finite().then(|| error.ceil() as i64),
        passages: counts,
    })
}

/// The middle of a stretch's corridor at the origin of time. Where bounds lie on one side only, the
/// least delays are taken to be those of the widest stretch.
fn middle(stretch: &[Bound], skew: f64, half: f64) -> f64 {
    let (upper, lower) = bounds(stretch, skew);
    if upper.is_finite() && lower.is_finite() {
        f64::midpoint(upper, lower)
    } else if upper.is_finite() {
        upper - half
    } else {
        lower + half
    }
}

/// The bounds between two steps.
struct Stretch {
    /// What their `z` are relative to.
    base: f64,
    /// With times of the common line.
    points: Vec<Bound>,
}

/// Divides the bounds where clocks were set.
fn stretches(
    passages: &[Passage],
    points: &[Bound],
    frames: &dyn Fn() -> Frames,
) -> (Vec<Division>, Vec<Stretch>) {
    let stream = passages.iter().copied().zip(points.iter().copied());
    let mut divisions = Vec::new();
    divide(stream.collect(), &mut divisions);
    let prune = |divisions: &mut Vec<Division>| {
        let mut parts = parted(passages, points, divisions);
        while let Some(needless) = needless(&parts) {
            divisions.remove(needless);
            parts = parted(passages, points, divisions);
        }
        parts
    };
    let mut parts = prune(&mut divisions);
    if !divisions.is_empty() {
        let frames = frames();
        let skew = skew_of_longest(&parts);
        let levels: Vec<f64> = parts.iter().map(|part| middle(part, skew, 0.0)).collect();
        for (division, pair) in divisions.iter_mut().zip(levels.windows(2)) {
            division.sharpen((pair[1] - pair[0]) as i64, &frames);
        }
        parts = prune(&mut divisions);
    }
    let mut stretches: Vec<Stretch> = Vec::with_capacity(parts.len());
    // What the first clock was set forward so far.
    let mut set = 0.0;
    for (index, mut part) in parts.into_iter().enumerate() {
        let base = median(&part);
        if let Some(before) = stretches.last()
            && divisions[index - 1].place.side == Side::First
        {
            set -= base - before.base;
        }
        for point in &mut part {
            point.z -= base;
            point.t -= set;
        }
        stretches.push(Stretch { base, points: part });
    }
    (divisions, stretches)
}

fn parted(passages: &[Passage], points: &[Bound], divisions: &[Division]) -> Vec<Vec<Bound>> {
    let mut parts = vec![Vec::new(); divisions.len() + 1];
    for (passage, point) in passages.iter().zip(points) {
        let passed = divisions.iter().filter(|one| one.is_passed_by(passage));
        parts[passed.count()].push(*point);
    }
    parts
}

/// A division whose two sides contradict each other in nothing, or one of which is empty.
fn needless(parts: &[Vec<Bound>]) -> Option<usize> {
    let skew = skew_of_longest(parts);
    parts.windows(2).position(|pair| {
        if pair.iter().any(Vec::is_empty) {
            return true;
        }
        let (one, other) = (bounds(&pair[0], skew), bounds(&pair[1], skew));
        let together = one.0.min(other.0) - one.1.max(other.1);
        let narrower = (one.0 - one.1).min(other.0 - other.1);
        together + RESOLUTION >= narrower
    })
}

fn skew_of_longest(parts: &[Vec<Bound>]) -> f64 {
    let longest = parts.iter().max_by_key(|part| part.len());
    longest.map_or(0.0, |part| widest(part).1)
}

fn median(points: &[Bound]) -> f64 {
    let mut levels: Vec<f64> = points.iter().map(|point| point.z).collect();
    levels.sort_unstable_by(f64::total_cmp);
    levels[levels.len() / 2]
}

/// Packets with the bounds that they are.
type Stream = Vec<(Passage, Bound)>;

/// Steps of one capture; more of them are no clock.
const MAX_STEPS: usize = 64;

/// Where clocks seem to have been set, in the order of time. What lies on either side of a step is
/// searched for others.
fn divide(stream: Stream, found: &mut Vec<Division>) {
    let points: Vec<Bound> = stream.iter().map(|one| one.1).collect();
    let thinned = outermost(&points);
    let step = step(&thinned).filter(|_| found.len() < MAX_STEPS);
    let Some(near) = step.map(|at| thinned[at].index) else {
        return;
    };
    let at = points.partition_point(|point| point.index < near);
    let (left, right) = points.split_at(at);
    let longer = if left.len() > right.len() {
        left
    } else {
        right
    };
    let skew = widest(core(longer)).1;
    let Some(division) = divide_exactly(&stream, skew) else {
        return;
    };
    let behind = |one: &(Passage, Bound)| division.is_passed_by(&one.0);
    let (right, left): (Stream, Stream) = stream.into_iter().partition(behind);
    if left.is_empty() || right.is_empty() {
        return;
    }
    divide(left, found);
    found.push(division);
    divide(right, found);
}

/// A stretch without what was under way when a clock was set, which is of neither side.
fn core(stretch: &[Bound]) -> &[Bound] {
    let blur = (stretch.len() / 50).max(4);
    stretch
        .get(blur..stretch.len().saturating_sub(blur))
        .filter(|core| core.len() > 2)
        .unwrap_or(stretch)
}

/// Traffic in one direction only: delays are told from the least one on.
fn one_way(points: &[Bound], origin: (i64, i64), passed: [u64; 2]) -> Clock {
    let (upper, lower) = bounds(points, 0.0);
    let level = if upper.is_finite() { upper } else { lower };
    Clock {
        reference: origin.0,
        offset: origin.1 + level.round() as i64,
        settings: Vec::new(),
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
