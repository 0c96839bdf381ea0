//! The corridor that packets in both directions leave to the difference of two clocks.

/// A packet as a bound: `z` is second time less first time, `t` the first time; both in nanoseconds
/// from an origin, so that they fit into a float.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Bound {
    pub t: f64,
    pub z: f64,
    /// From above (the packet went from the first point to the second).
    pub is_upper: bool,
    /// Where its sample stands.
    pub index: usize,
}

/// Clocks that gain or lose more than this are broken: 1,000 parts in a million.
const MAX_SKEW: f64 = 1e-3;

/// The least upper and the greatest lower bound, for a given skew.
pub(super) fn bounds(points: &[Bound], skew: f64) -> (f64, f64) {
    let mut upper = f64::INFINITY;
    let mut lower = f64::NEG_INFINITY;
    for point in points {
        let level = point.z - skew * point.t;
        if point.is_upper {
            upper = upper.min(level);
        } else {
            lower = lower.max(level);
        }
    }
    (upper, lower)
}

/// The widest corridor over all skews, with its skew: the width is a concave function of it.
pub(super) fn widest(points: &[Bound]) -> (f64, f64) {
    let width = |skew: f64| {
        let (upper, lower) = bounds(points, skew);
        upper - lower
    };
    let (mut low, mut high) = (-MAX_SKEW, MAX_SKEW);
    for _ in 0..36 {
        let third = (high - low) / 3.0;
        let (one, other) = (low + third, high - third);
        if width(one) < width(other) {
            low = one;
        } else {
            high = other;
        }
    }
    let skew = f64::midpoint(low, high);
    (width(skew), skew)
}

/// How far the tenth part of the bounds lies from the outermost one: the noise of the least delays.
fn noise(points: &[Bound], skew: f64) -> f64 {
    let spread = |is_upper: bool| {
        let of_side = points.iter().filter(|point| point.is_upper == is_upper);
        let mut levels: Vec<f64> = of_side
            .map(|point| (point.z - skew * point.t) * if is_upper { 1.0 } else { -1.0 })
            .collect();
        levels.sort_unstable_by(f64::total_cmp);
        match levels.first() {
            Some(first) => levels[levels.len() / 10] - first,
            None => 0.0,
        }
    };
    spread(true) + spread(false)
}

/// Bounds of either direction that a stretch must have to be judged by itself.
const ENOUGH: usize = 6;

/// What captures cannot resolve, in nanoseconds.
const RESOLUTION: f64 = 50e3;

/// Positions tried at a time.
const TRIED: usize = 32;

/// Where steps divide the points, in order: the corridor of both sides together is narrower than
/// each alone by more than their noise.
pub(super) fn steps(points: &[Bound]) -> Vec<usize> {
    let mut found = Vec::new();
    divide(points, 0, &mut found);
    found.sort_unstable();
    found
}

/// Steps of one capture; more of them are no clock.
const MAX_STEPS: usize = 64;

fn divide(points: &[Bound], base: usize, found: &mut Vec<usize>) {
    if found.len() >= MAX_STEPS {
        return;
    }
    let Some((at, _)) = best_division(points) else {
        return;
    };
    let (left, right) = points.split_at(at);
    let (whole, _) = widest(points);
    let ((width_left, skew_left), (width_right, skew_right)) = (widest(left), widest(right));
    let noise = noise(left, skew_left).max(noise(right, skew_right));
    if width_left.min(width_right) - whole <= 2.0 * noise + RESOLUTION {
        return;
    }
    found.push(base + at);
    divide(left, base, found);
    divide(right, base + at, found);
}

/// The division that gains most, coarse first, then finer around it.
fn best_division(points: &[Bound]) -> Option<(usize, f64)> {
    let (whole, _) = widest(points);
    let gain = |at: usize| {
        let (left, right) = points.split_at(at);
        if !is_enough(left) || !is_enough(right) {
            return f64::NEG_INFINITY;
        }
        widest(left).0.min(widest(right).0) - whole
    };
    let (mut from, mut to) = (1, points.len());
    let mut best: Option<(usize, f64)> = None;
    while to > from {
        let stride = ((to - from) / TRIED).max(1);
        for at in (from..to).step_by(stride) {
            let gain = gain(at);
            if gain.is_finite() && best.is_none_or(|(_, known)| gain > known) {
                best = Some((at, gain));
            }
        }
        let (at, _) = best?;
        if stride == 1 {
            break;
        }
        (from, to) = (
            at.saturating_sub(stride).max(1),
            (at + stride).min(points.len()),
        );
    }
    best
}

fn is_enough(points: &[Bound]) -> bool {
    let upper = points.iter().filter(|point| point.is_upper).count();
    upper >= ENOUGH && points.len() - upper >= ENOUGH
}
