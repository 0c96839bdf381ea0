//! Copies of one segment at two points, put side by side.

use super::{Likeness, Path, Segment};

/// Copies up to which every way to put them side by side is weighed.
const WEIGHED: usize = 96;

/// What it costs to join copies that differ in a field, in nanoseconds of delay.
const UNLIKE: i64 = 1_000_000_000_000;

/// Pairs of indices into `up` and `down` that are one packet.
pub(super) fn align(
    (up, ups): (&[Segment<'_>], &[usize]),
    (down, downs): (&[Segment<'_>], &[usize]),
    path: &Path,
) -> Vec<(usize, usize)> {
    if let ([a], [b]) = (ups, downs) {
        let fits = path.admits(&up[*a], &down[*b]);
        return if fits { vec![(*a, *b)] } else { Vec::new() };
    }
    let mut pairs = Vec::new();
    let mut left_up: Vec<usize> = ups.to_vec();
    let mut left_down = Vec::new();
    // Those with the same identification first: they may have overtaken each other.
    for &b in downs {
        let same = left_up.iter().position(|&a| {
            path.likeness(up[a].record, down[b].record) == Likeness::Same
                && path.admits(&up[a], &down[b])
        });
        match same {
            Some(at) => pairs.push((left_up.remove(at), b)),
            None => left_down.push(b),
        }
    }
    if left_up.is_empty() || left_down.is_empty() {
        return pairs;
    }
    if left_up.len().max(left_down.len()) <= WEIGHED {
        weigh((up, &left_up), (down, &left_down), path, &mut pairs);
    } else {
        pass((up, &left_up), (down, &left_down), path, &mut pairs);
    }
    pairs
}

/// The most pairs in order, and among those the ones whose delays are most alike.
fn weigh(
    (up, ups): (&[Segment<'_>], &[usize]),
    (down, downs): (&[Segment<'_>], &[usize]),
    path: &Path,
    pairs: &mut Vec<(usize, usize)>,
) {
    let width = downs.len() + 1;
    // Best (pairs, cost) of the first i and j copies.
    let mut best = vec![(0_u32, 0_i64); (ups.len() + 1) * width];
    let better = |a: (u32, i64), b: (u32, i64)| a.0 > b.0 || (a.0 == b.0 && a.1 < b.1);
    let joined = |best: &[(u32, i64)], i: usize, j: usize| {
        let (a, b) = (&up[ups[i - 1]], &down[downs[j - 1]]);
        path.admits(a, b).then(|| {
            let (count, cost) = best[(i - 1) * width + j - 1];
            let unlike = if path.is_unlike(a.record, b.record) {
                UNLIKE
            } else {
                (path.delay(a, b) - path.typical).abs().min(UNLIKE)
            };
            (count + 1, cost.saturating_add(unlike))
        })
    };
    for i in 1..=ups.len() {
        for j in 1..=downs.len() {
            let (above, beside) = (best[(i - 1) * width + j], best[i * width + j - 1]);
            let mut value = if better(beside, above) { beside } else { above };
            if let Some(pair) = joined(&best, i, j)
                && better(pair, value)
            {
                value = pair;
            }
            best[i * width + j] = value;
        }
    }
    let (mut i, mut j) = (ups.len(), downs.len());
    while i > 0 && j > 0 {
        let value = best[i * width + j];
        if value == best[(i - 1) * width + j] {
            i -= 1;
        } else if value == best[i * width + j - 1] {
            j -= 1;
        } else {
            pairs.push((ups[i - 1], downs[j - 1]));
            (i, j) = (i - 1, j - 1);
        }
    }
}

/// Very many copies: each takes the first that fits, in order.
fn pass(
    (up, ups): (&[Segment<'_>], &[usize]),
    (down, downs): (&[Segment<'_>], &[usize]),
    path: &Path,
    pairs: &mut Vec<(usize, usize)>,
) {
    let mut next = 0;
    for &b in downs {
        while next < ups.len() {
            let a = &up[ups[next]];
            let delay = path.delay(a, &down[b]);
            if path.admits(a, &down[b]) {
                pairs.push((ups[next], b));
                next += 1;
                break;
            }
            if delay < -path.tolerance {
                break;
            }
            next += 1;
        }
    }
}
