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
    let before = found.len();
    divide_clearly(points, base, found);
    if found.len() > before {
        return;
    }
    // Bounds that contradict each other prove a step, even one with little on one side of it.
    if widest(points).0 < -RESOLUTION
        && let Some(at) = contradiction(points)
    {
        found.push(base + at);
    }
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

/// Divides where both sides have enough to be judged by.
fn divide_clearly(points: &[Bound], base: usize, found: &mut Vec<usize>) {
    let Some(near) = best_division(points) else {
        return;
    };
    // Where exactly is found afterwards: what lies around it must not blur either side.
    let blur = (points.len() / 50).max(4);
    let (from, to) = (near.saturating_sub(blur), (near + blur).min(points.len()));
    let (left, right) = (&points[..from], &points[to..]);
    if !is_enough(left) || !is_enough(right) {
        return;
    }
    let (whole, _) = widest(points);
    let ((width_left, skew_left), (width_right, skew_right)) = (widest(left), widest(right));
    let noise = noise(left, skew_left).max(noise(right, skew_right));
    if width_left.min(width_right) - whole <= 2.0 * noise + RESOLUTION {
        return;
    }
    let sides = (Side::of(left, skew_left), Side::of(right, skew_right));
    let at = (from..=to)
        .min_by(|a, b| {
            let outside = |at: usize| {
                let before = points[from..at].iter().map(|point| sides.0.outside(point));
                let after = points[at..to].iter().map(|point| sides.1.outside(point));
                before.chain(after).sum::<f64>()
            };
            outside(*a).total_cmp(&outside(*b))
        })
        .unwrap_or(near);
    found.push(base + at);
    divide(left, base, found);
    divide(right, base + to, found);
}

/// The corridor on one side of a step.
struct Side {
    skew: f64,
    upper: f64,
    lower: f64,
}

impl Side {
    fn of(points: &[Bound], skew: f64) -> Self {
        let (upper, lower) = bounds(points, skew);
        Self { skew, upper, lower }
    }

    /// How far a bound lies on the wrong side of the corridor.
    fn outside(&self, point: &Bound) -> f64 {
        let level = point.z - self.skew * point.t;
        let beyond = if point.is_upper {
            self.upper - level
        } else {
            level - self.lower
        };
        beyond.max(0.0)
    }
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
