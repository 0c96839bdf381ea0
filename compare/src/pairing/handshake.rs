//! By initial sequence numbers: 64 bits that no translation of addresses touches.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::{Link, PairedBy, Progress, is_tcp, same_ends};
use crate::reading::Flow;

/// Flows of one key, with their points.
type Candidates = Vec<(usize, u32)>;

/// Joins flows whose client's and server's initial sequence numbers are equal.
pub(super) fn pair_by_both_numbers(progress: &mut Progress<'_>) {
    let mut by_numbers: HashMap<(u32, u32), Candidates, FixedState> = HashMap::default();
    for (point, data) in progress.points.iter().enumerate() {
        for (index, flow) in data.flows.iter().enumerate() {
            if let Some(numbers) = flow.handshake().filter(|_| is_tcp(flow)) {
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                by_numbers.entry(numbers).or_default().push((point, index));
            }
        }
    }
    let mut all: Vec<_> = by_numbers
        .into_iter()
        .filter(|(_, c)| c.len() > 1)
        .collect();
    all.sort_unstable();
    for (_, candidates) in all {
        for one in 0..progress.points.len() {
            for other in one + 1..progress.points.len() {
                let at = |point: usize| -> Vec<u32> {
                    let here = candidates.iter().filter(|(at, _)| *at == point);
                    here.map(|(_, flow)| *flow).collect()
                };
                choose(progress, (one, &at(one)), (other, &at(other)));
            }
        }
    }
}

/// Joins flows of two points that have equal numbers: the only ones, or those with equal ends.
fn choose(progress: &mut Progress<'_>, one: (usize, &[u32]), other: (usize, &[u32])) {
    if let ([a], [b]) = (one.1, other.1) {
        return join(progress, (one.0, *a), (other.0, *b));
    }
    if one.1.is_empty() || other.1.is_empty() {
        return;
    }
    for &a in one.1 {
        let flow = progress.flow(one.0, a);
        let alike = |b: &&u32| same_ends(flow, progress.flow(other.0, **b));
        let mut same = other.1.iter().filter(alike);
        let twins = one
            .1
            .iter()
            .filter(|twin| same_ends(flow, progress.flow(one.0, **twin)));
        match (same.next(), same.next(), twins.count()) {
            (Some(&b), None, 1) => join(progress, (one.0, a), (other.0, b)),
            _ => progress.ambiguous[one.0] += 1,
        }
    }
}

fn join(progress: &mut Progress<'_>, one: (usize, u32), other: (usize, u32)) {
    progress.link(Link {
        one,
        other,
        by: PairedBy::SequenceNumbers,
        shift: [0; 2],
    });
}

/// Joins flows of which one end's number is equal, because the other end's packets did not come
/// through or its numbers are rewritten; the SYN's timestamp or the ends must be equal as well.
pub(super) fn pair_by_one_number(progress: &mut Progress<'_>, one: usize, other: usize) {
    for end in [0, 1] {
        let here = single_with_number(progress, one, other, end);
        let there = single_with_number(progress, other, one, end);
        let mut all: Vec<_> = here.into_iter().collect();
        all.sort_unstable();
        for (number, flows) in all {
            let ([a], Some([b])) = (&flows[..], there.get(&number).map(|flows| &flows[..])) else {
                continue;
            };
            let (flow, partner) = (progress.flow(one, *a), progress.flow(other, *b));
            let same_stamp = flow.syn_ts.is_some() && flow.syn_ts == partner.syn_ts;
            if same_stamp || same_ends(flow, partner) {
                progress.link(Link {
                    one: (one, *a),
                    other: (other, *b),
                    by: PairedBy::SequenceNumbers,
                    shift: shift(flow, partner),
                });
            }
        }
    }
}

/// What the two ends' numbers at `other` differ by, where both are known.
pub(super) fn shift(one: &Flow, other: &Flow) -> [u32; 2] {
    let ends = [
        (one.client(), other.client()),
        (1 - one.client(), 1 - other.client()),
    ];
    ends.map(|(a, b)| match (one.isn[a], other.isn[b]) {
        (Some(a), Some(b)) => b.wrapping_sub(a),
        _ => 0,
    })
}

/// TCP flows without a partner by the number of the client (0) or the server (1).
fn single_with_number(
    progress: &Progress<'_>,
    point: usize,
    other: usize,
    end: usize,
) -> HashMap<u32, Vec<u32>, FixedState> {
    let mut by_number: HashMap<u32, Vec<u32>, FixedState> = HashMap::default();
    for index in progress.single(point, other) {
        let flow = progress.flow(point, index);
        let side = if end == 0 {
            flow.client()
        } else {
            1 - flow.client()
        };
        if let Some(number) = flow.isn[side].filter(|_| is_tcp(flow)) {
            by_number.entry(number).or_default().push(index);
        }
    }
    by_number
}
