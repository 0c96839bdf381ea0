//! The common skew of all pieces, by the middles of the corridor over time.

use super::corridor::{Bound, MAX_SKEW, bounds};

/// A slot of time with the corridor in it.
struct Slot {
    piece: usize,
    t: f64,
    middle: f64,
    width: f64,
}

/// Slots of a piece, at most.
const SLOTS: usize = 64;

/// Bounds of a slot, at least.
const PER_SLOT: usize = 12;

/// What captures cannot resolve, in nanoseconds.
const RESOLUTION: f64 = 20e3;

/// The skew and its standard error. Slots count the more the narrower their corridor is: where
/// queues grow on one way it widens. Without significance it is 0.
pub(super) fn skew(pieces: &[&[Bound]], first_guess: f64) -> (f64, f64) {
    let mut skew = first_guess;
    let mut error = 0.0;
    for _ in 0..5 {
        let slots = slots(pieces, skew);
        let Some((more, sigma)) = slope(&slots, pieces.len()) else {
            return (0.0, 0.0);
        };
        skew += more;
        error = sigma;
    }
    // Queues that come and go are no skew: a true one leaves more between the bounds than none does, and is
    // one that clocks have.
    let is_needless = skew.abs() <= 3.0 * error
        || skew.abs() > MAX_SKEW
        || open(pieces, skew) < open(pieces, 0.0);
    if is_needless {
        (0.0, error.max(skew.abs()).min(MAX_SKEW))
    } else {
        (skew, error)
    }
}

/// What the bounds of all pieces leave open.
fn open(pieces: &[&[Bound]], skew: f64) -> f64 {
    let widths = pieces.iter().map(|piece| {
        let (upper, lower) = bounds(piece, skew);
        upper - lower
    });
    widths.filter(|width| width.is_finite()).sum()
}

fn slots(pieces: &[&[Bound]], skew: f64) -> Vec<Slot> {
    let mut slots = Vec::new();
    for (number, piece) in pieces.iter().enumerate() {
        let count = (piece.len() / PER_SLOT).clamp(1, SLOTS);
        for part in piece.chunks(piece.len().div_ceil(count).max(1)) {
            let (upper, lower) = bounds(part, skew);
            if !upper.is_finite() || !lower.is_finite() {
                continue;
            }
            slots.push(Slot {
                piece: number,
                t: time_of_bounds(part, skew, upper, lower),
                middle: f64::midpoint(upper, lower),
                width: upper - lower,
            });
        }
    }
    slots
}

/// The middle between the moments of the two bounds.
fn time_of_bounds(points: &[Bound], skew: f64, upper: f64, lower: f64) -> f64 {
    let at = |level: f64, is_upper: bool| {
        let found = points
            .iter()
            .find(|point| point.is_upper == is_upper && point.z - skew * point.t == level);
        found.map_or(0.0, |point| point.t)
    };
    f64::midpoint(at(upper, true), at(lower, false))
}

/// Weighted least squares with one level per piece: what is left of the skew, and its error.
fn slope(slots: &[Slot], pieces: usize) -> Option<(f64, f64)> {
    let narrowest = slots.iter().map(|slot| slot.width).min_by(f64::total_cmp)?;
    let mut excess: Vec<f64> = slots.iter().map(|slot| slot.width - narrowest).collect();
    excess.sort_unstable_by(f64::total_cmp);
    let soft = RESOLUTION + excess[excess.len() / 4];
    let weight = |slot: &Slot| (slot.width - narrowest + soft).powi(-2);
    let mut sums = vec![[0.0; 3]; pieces];
    for slot in slots {
        let sum = &mut sums[slot.piece];
        let weight = weight(slot);
        sum[0] += weight;
        sum[1] += weight * slot.t;
        sum[2] += weight * slot.middle;
    }
    let centred = |slot: &Slot| {
        let sum = sums[slot.piece];
        (slot.t - sum[1] / sum[0], slot.middle - sum[2] / sum[0])
    };
    let (mut moment, mut cross, mut total, mut squares) = (0.0, 0.0, 0.0, 0.0);
    for slot in slots {
        let (t, middle) = centred(slot);
        let weight = weight(slot);
        moment += weight * t * t;
        cross += weight * t * middle;
        total += weight;
        squares += weight * weight;
    }
    let effective = total * total / squares;
    let free = effective - pieces as f64 - 1.0;
    if moment <= 0.0 || free < 1.0 {
        return None;
    }
    let slope = cross / moment;
    let residual: f64 = slots
        .iter()
        .map(|slot| {
            let (t, middle) = centred(slot);
            weight(slot) * (middle - slope * t).powi(2)
        })
        .sum();
    let sigma = (residual / total / free * (total / moment)).sqrt();
    Some((slope, sigma))
}
