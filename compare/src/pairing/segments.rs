//! Without a handshake: by segments that are equal in sequence number, acknowledgement number and
//! length.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::{Link, PairedBy, Progress, is_tcp, same_ends};
use crate::reading::{Fact, RST, Record};

/// Equal segments that prove a pair whose ends differ.
const ENOUGH: u32 = 8;

/// Digests looked at per pair of points; of more only every so many-th, by their value.
const DIGESTS: usize = 4 << 20;

/// Joins flows of which at least one began before its capture did.
pub(super) fn pair_by_segments(progress: &mut Progress<'_>, one: usize, other: usize) {
    let candidates = |progress: &Progress<'_>, point: usize, partner: usize| {
        let mut single = progress.single(point, partner);
        single.retain(|flow| is_tcp(progress.flow(point, *flow)));
        single
    };
    let (here, there) = (
        candidates(progress, one, other),
        candidates(progress, other, one),
    );
    let records = |point: usize, flows: &[u32]| -> usize {
        let flows = flows.iter().map(|flow| progress.flow(point, *flow).range);
        flows.map(|(from, to)| to - from).sum()
    };
    let total = records(one, &here).max(records(other, &there));
    let every = (total.div_ceil(DIGESTS).next_power_of_two()) as u64;
    let enough = (ENOUGH / u32::try_from(every).unwrap_or(ENOUGH)).max(2);
    // A digest that several flows share tells nothing.
    let mut owners: HashMap<u64, Option<u32>, FixedState> = HashMap::default();
    for &flow in &there {
        for digest in digests(progress, other, flow, every) {
            let owner = owners.entry(digest).or_insert(Some(flow));
            if *owner != Some(flow) {
                *owner = None;
            }
        }
    }
    for &flow in &here {
        let mut votes: Vec<u32> = digests(progress, one, flow, every)
            .into_iter()
            .filter_map(|digest| owners.get(&digest).copied().flatten())
            .collect();
        votes.sort_unstable();
        let Some((partner, count, is_clear)) = winner(&votes) else {
            continue;
        };
        let (a, b) = (progress.flow(one, flow), progress.flow(other, partner));
        if a.handshake().is_some() && b.handshake().is_some() {
            continue;
        }
        if count < enough && !same_ends(a, b) {
            continue;
        }
        if !is_clear {
            progress.ambiguous[one] += 1;
            continue;
        }
        progress.link(Link {
            one: (one, flow),
            other: (other, partner),
            by: PairedBy::Segments,
            shift: [0; 2],
        });
    }
}

/// The most frequent of sorted votes, how often, and whether no other comes near.
pub(super) fn winner(votes: &[u32]) -> Option<(u32, u32, bool)> {
    let mut best: Option<(u32, u32)> = None;
    let mut second = 0;
    for run in votes.chunk_by(|a, b| a == b) {
        let count = u32::try_from(run.len()).unwrap_or(u32::MAX);
        match best {
            Some((_, known)) if known >= count => second = second.max(count),
            _ => {
                second = best.map_or(0, |(_, known)| known);
                best = Some((run[0], count));
            }
        }
    }
    best.map(|(partner, count)| (partner, count, second * 2 <= count))
}

/// Distinct digests of a flow's segments.
fn digests(progress: &Progress<'_>, point: usize, flow: u32, every: u64) -> Vec<u64> {
    let records = progress.points[point].records_of(progress.flow(point, flow));
    let hasher = FixedState::with_seed(0x7365_676d);
    let is_telling = |record: &&Record| record.has(Fact::TCP) && record.flags & RST == 0;
    let mut digests: Vec<u64> = records
        .iter()
        .filter(is_telling)
        .map(|record| hasher.hash_one((record.seq, record.ack, record.len)))
        .filter(|digest| digest % every == 0)
        .collect();
    digests.sort_unstable();
    digests.dedup();
    digests
}
