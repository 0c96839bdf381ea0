//! UDP, and TCP cut before its flags: by equal ends and at least one equal datagram, else by rare datagrams alone.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::segments::winner;
use super::{Link, PairedBy, Progress, is_datagrams, same_ends};
use crate::reading::{Fact, Record};

/// Octets from which a datagram can be a name.
const TELLING: u32 = 8;

/// Datagrams of a flow that are compared.
const COMPARED: usize = 4096;

/// A datagram as it is known at any snap length.
type Name = (u32, u32);

const fn name(record: &Record) -> Name {
    (record.head, record.len)
}

/// Joins UDP flows.
pub(super) fn pair_datagrams(progress: &mut Progress<'_>, one: usize, other: usize) {
    let single = |progress: &Progress<'_>, point: usize, partner: usize| {
        let mut single = progress.single(point, partner);
        single.retain(|flow| is_datagrams(progress.flow(point, *flow)));
        single
    };
    let (here, there) = (single(progress, one, other), single(progress, other, one));
    let mut by_ends = HashMap::<_, u32, FixedState>::default();
    for &flow in &there {
        let partner = progress.flow(other, flow);
        by_ends.insert((partner.transport, partner.ends), flow);
    }
    let mut left = Vec::new();
    for flow in here {
        let own = progress.flow(one, flow);
        match by_ends.get(&(own.transport, own.ends)) {
            Some(&partner) if share_datagrams(progress, (one, flow), (other, partner)) => {
                link(progress, (one, flow), (other, partner), PairedBy::Addresses);
            }
            _ => left.push(flow),
        }
    }
    pair_translated(progress, one, other, &left);
}

fn link(progress: &mut Progress<'_>, one: (usize, u32), other: (usize, u32), by: PairedBy) {
    progress.link(Link {
        one,
        other,
        by,
        shift: [0; 2],
    });
}

fn names(progress: &Progress<'_>, point: usize, flow: u32) -> Vec<Name> {
    let records = progress.points[point].records_of(progress.flow(point, flow));
    let mut names: Vec<Name> = records
        .iter()
        .filter(|record| record.has(Fact::HEAD) && !record.has(Fact::ICMP))
        .take(COMPARED)
        .map(name)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn share_datagrams(progress: &Progress<'_>, one: (usize, u32), other: (usize, u32)) -> bool {
    let there = names(progress, other.0, other.1);
    let mut here = names(progress, one.0, one.1).into_iter();
    here.any(|name| there.binary_search(&name).is_ok())
}

/// Flows whose addresses were translated: a datagram that no other flow has joins them.
fn pair_translated(progress: &mut Progress<'_>, one: usize, other: usize, left: &[u32]) {
    let mut owners: HashMap<Name, Option<u32>, FixedState> = HashMap::default();
    let there = progress.single(other, one);
    for flow in there
        .into_iter()
        .filter(|flow| is_datagrams(progress.flow(other, *flow)))
    {
        for name in names(progress, other, flow) {
            let owner = owners.entry(name).or_insert(Some(flow));
            if *owner != Some(flow) {
                *owner = None;
            }
        }
    }
    let mut used: HashMap<Name, u32, FixedState> = HashMap::default();
    for &flow in left {
        for name in names(progress, one, flow) {
            *used.entry(name).or_default() += 1;
        }
    }
    for &flow in left {
        let mut votes: Vec<u32> = names(progress, one, flow)
            .into_iter()
            .filter(|name| name.1 >= TELLING && used.get(name) == Some(&1))
            .filter_map(|name| owners.get(&name).copied().flatten())
            .collect();
        votes.sort_unstable();
        match winner(&votes) {
            Some((partner, _, true))
                if !same_ends(progress.flow(one, flow), progress.flow(other, partner)) =>
            {
                link(progress, (one, flow), (other, partner), PairedBy::Payload);
            }
            Some((_, _, false)) => progress.ambiguous[one] += 1,
            _ => {}
        }
    }
}
