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
pub(super) const MAX_SKEW: f64 = 1e-3;

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

/// About where a step divides the points, if one does: the corridor of both sides together is narrower
/// than each alone by more than their noise, or nothing at all.
pub(super) fn step(points: &[Bound]) -> Option<usize> {
    clear_step(points).or_else(|| {
        // Bounds that contradict each other prove a step, even one with little on one side of it.
        let is_contradictory = widest(points).0 < -RESOLUTION;
        is_contradictory.then(|| contradiction(points)).flatten()
    })
}

/// Where the longer of two stretches ends, from the beginning or from the end, that contradict
/// nothing.
fn contradiction(points: &[Bound]) -> Option<usize> {
    let is_possible = |stretch: &[Bound]| widest(stretch).0 >= 0.0;
    let longest = |stretch: &dyn Fn(usize) -> bool| {
        let (mut low, mut high) = (0, points.len());
        while low + 1 < high {
            let middle = usize::midpoint(low, high);
            if stretch(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    };
    let head = longest(&|len| is_possible(&points[..len]));
    let tail = longest(&|len| is_possible(&points[points.len() - len..]));
    let at = if head >= tail {
        head
    } else {
        points.len() - tail
    };
    (at > 0 && at < points.len()).then_some(at)
}

/// A division where both sides have enough to be judged by.
fn clear_step(points: &[Bound]) -> Option<usize> {
    let near = best_division(points)?;
    // What lies around it must not blur either side.
    let blur = (points.len() / 50).max(4);
    let left = &points[..near.saturating_sub(blur)];
    let right = &points[(near + blur).min(points.len())..];
    if !is_enough(left) || !is_enough(right) {
        return None;
    }
    let (whole, _) = widest(points);
    let ((width_left, skew_left), (width_right, skew_right)) = (widest(left), widest(right));
    let noise = noise(left, skew_left).max(noise(right, skew_right));
    (width_left.min(width_right) - whole > 2.0 * noise + RESOLUTION).then_some(near)
}

/// Sums from which the least squares of a stretch follow, of upper and lower bounds.
#[derive(Clone, Copy, Default)]
struct Sums([[f64; 6]; 2]);

impl Sums {
    fn add(&mut self, point: &Bound) {
        let (t, z) = (point.t, point.z);
        let side = &mut self.0[usize::from(point.is_upper)];
        for (sum, value) in side.iter_mut().zip([1.0, t, z, t * t, t * z, z * z]) {
            *sum += value;
        }
    }

    fn less(&self, other: &Self) -> Self {
        let mut sums = *self;
        for (side, less) in sums.0.iter_mut().zip(&other.0) {
            side.iter_mut()
                .zip(less)
                .for_each(|(sum, less)| *sum -= less);
        }
        sums
    }

    /// What two parallel lines, one through each kind of bounds, leave unexplained.
    fn residual(&self) -> f64 {
        let (mut tt, mut tz, mut zz) = (0.0, 0.0, 0.0);
        for [n, t, z, t2, both, z2] in self.0 {
            if n > 0.0 {
                tt += t2 - t * t / n;
                tz += both - t * z / n;
                zz += z2 - z * z / n;
            }
        }
        let slope = if tt > 0.0 {
            (tz / tt).clamp(-MAX_SKEW, MAX_SKEW)
        } else {
            0.0
        };
        zz - 2.0 * slope * tz + slope * slope * tt
    }
}

/// The division into two stretches that leaves least unexplained.
fn best_division(points: &[Bound]) -> Option<usize> {
    // In milliseconds from the middle, so that squares keep their digits.
    let (first, last) = (points.first()?, points.last()?);
    let (t0, z0) = (f64::midpoint(first.t, last.t), first.z);
    let scaled = |point: &Bound| Bound {
        t: (point.t - t0) / 1e6,
        z: (point.z - z0) / 1e6,
        ..*point
    };
    let mut total = Sums::default();
    points.iter().for_each(|point| total.add(&scaled(point)));
    let mut left = Sums::default();
    let mut best: Option<(usize, f64)> = None;
    for (at, point) in points.iter().enumerate() {
        let right = total.less(&left);
        let enough = ENOUGH as f64;
        let is_enough = |sums: &Sums| sums.0.iter().all(|side| side[0] >= enough);
        if is_enough(&left) && is_enough(&right) {
            let residual = left.residual() + right.residual();
            if best.is_none_or(|(_, known)| residual < known) {
                best = Some((at, residual));
            }
        }
        left.add(&scaled(point));
    }
    best.map(|(at, _)| at)
}

fn is_enough(points: &[Bound]) -> bool {
    let upper = points.iter().filter(|point| point.is_upper).count();
    upper >= ENOUGH && points.len() - upper >= ENOUGH
}
