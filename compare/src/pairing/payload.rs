//! Where a device rewrites sequence numbers: by payload at a constant distance of the numbers.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::segments::winner;
use super::{Link, PairedBy, Progress, handshake, is_tcp, same_ends};
use crate::reading::{ACK, Fact, Flow, Record};

/// A payload that more flows than this share is no name.
const COMMON: usize = 8;

/// Octets from which a payload can be a name.
const TELLING: u32 = 8;

/// Joins flows that carry the same payload under other sequence numbers.
pub(super) fn pair_by_payload(progress: &mut Progress<'_>, one: usize, other: usize) {
    let single = |progress: &Progress<'_>, point: usize, partner: usize| {
        let mut single = progress.single(point, partner);
        single.retain(|flow| is_tcp(progress.flow(point, *flow)));
        single
    };
    let (here, there) = (single(progress, one, other), single(progress, other, one));
    if here.is_empty() || there.is_empty() {
        return;
    }
    let by_payload = owners(progress, other, &there);
    let mut by_ends: HashMap<[([u8; 16], u16); 2], Vec<u32>, FixedState> = HashMap::default();
    let mut by_stamp: HashMap<u32, Vec<u32>, FixedState> = HashMap::default();
    for &flow in &there {
        let partner = progress.flow(other, flow);
        by_ends.entry(partner.ends).or_default().push(flow);
        if let Some(stamp) = partner.syn_ts {
            by_stamp.entry(stamp).or_default().push(flow);
        }
    }
    for flow in here {
        let own = progress.flow(one, flow);
        let stamped = own.syn_ts.and_then(|stamp| by_stamp.get(&stamp));
        let same_ends = by_ends.get(&own.ends);
        let mut names: Vec<(u32, u32)> = telling(progress, one, own).map(name).collect();
        names.sort_unstable();
        names.dedup();
        let mut by_name: Vec<u32> = names
            .iter()
            .filter_map(|name| by_payload.get(name))
            .flatten()
            .copied()
            .collect();
        by_name.sort_unstable();
        by_name.dedup();
        // What names it best decides alone.
        let mut found: Vec<(u32, [u32; 2], usize)> = Vec::new();
        for candidates in [stamped, same_ends, Some(&by_name)].into_iter().flatten() {
            let proven = candidates.iter().take(COMMON).filter_map(|partner| {
                let (shift, likeness) = proven_shift(progress, (one, own), (other, *partner))?;
                Some((*partner, shift, likeness))
            });
            found = proven.collect();
            if !found.is_empty() {
                break;
            }
        }
        // Flows of one program may carry the same octets: windows and acknowledgments differ.
        found.sort_unstable_by_key(|one| (std::cmp::Reverse(one.2), one.0));
        if let [best, second, ..] = found[..]
            && second.2 * 10 < best.2 * 9
        {
            found.truncate(1);
        }
        let (partner, shift) = match found[..] {
            [] => continue,
            [(partner, shift, _)] => (partner, shift),
            _ => {
                progress.ambiguous[one] += 1;
                continue;
            }
        };
        progress.link(Link {
            one: (one, flow),
            other: (other, partner),
            by: PairedBy::Payload,
            shift,
        });
    }
}

fn telling<'a>(
    progress: &Progress<'a>,
    point: usize,
    flow: &Flow,
) -> impl Iterator<Item = &'a Record> + use<'a> {
    let points = progress.points;
    let records = points[point].records_of(flow).iter();
    records
        .filter(|record| record.len >= TELLING && record.has(Fact::HEAD | Fact::TCP))
        .take(256)
}

/// What a payload is known by, at any snap length.
const fn name(record: &Record) -> (u32, u32) {
    (record.head, record.len)
}

/// Flows by their rare payloads.
fn owners(
    progress: &Progress<'_>,
    point: usize,
    flows: &[u32],
) -> HashMap<(u32, u32), Vec<u32>, FixedState> {
    let mut owners: HashMap<(u32, u32), Vec<u32>, FixedState> = HashMap::default();
    for &flow in flows {
        for record in telling(progress, point, progress.flow(point, flow)) {
            let known = owners.entry(name(record)).or_default();
            if known.last() != Some(&flow) && known.len() <= COMMON {
                known.push(flow);
            }
        }
    }
    owners.retain(|_, flows| flows.len() <= COMMON);
    owners
}

/// The distance of the sequence numbers, when at least half of the segments of the shorter flow
/// confirm it, and how many segments are equal in window and acknowledgment as well.
fn proven_shift(
    progress: &Progress<'_>,
    (one, own): (usize, &Flow),
    (other, partner): (usize, u32),
) -> Option<([u32; 2], usize)> {
    let partner = progress.flow(other, partner);
    let (here, there) = (
        progress.points[one].records_of(own),
        progress.points[other].records_of(partner),
    );
    let shift = if own.handshake().is_some() && partner.handshake().is_some() {
        handshake::shift(own, partner)
    } else {
        [0, 1].map(|role| constant_distance((here, own), (there, partner), role).unwrap_or(0))
    };
    let (numbers, here_whole) = signatures(here, own.client(), shift);
    let (found, there_whole) = signatures(there, partner.client(), [0; 2]);
    let total = numbers.len().min(found.len());
    let equal = numbers
        .iter()
        .filter(|one| found.binary_search(one).is_ok())
        .count();
    let is_known =
        same_ends(own, partner) || (own.syn_ts.is_some() && own.syn_ts == partner.syn_ts);
    let enough = if is_known { 2 } else { 4 };
    let likeness = here_whole
        .iter()
        .filter(|one| there_whole.binary_search(one).is_ok())
        .count();
    (equal >= enough && equal * 2 >= total).then_some((shift, likeness))
}

/// Who sent a segment, its number and length.
type Place = (usize, u32, u32);

/// The same with what it acknowledges and its window.
type Whole = (Place, u32, u16);

/// Distinct segments of a flow, sorted; numbers moved by `shift`.
fn signatures(records: &[Record], client: usize, shift: [u32; 2]) -> (Vec<Place>, Vec<Whole>) {
    let tcp = records.iter().filter(|record| record.has(Fact::TCP));
    let mut whole: Vec<Whole> = tcp
        .map(|record| {
            let role = usize::from(record.side() != client);
            let place = (role, record.seq.wrapping_add(shift[role]), record.len);
            let ack = if record.flags & ACK == 0 {
                0
            } else {
                record.ack.wrapping_add(shift[1 - role])
            };
            (place, ack, record.window)
        })
        .collect();
    whole.sort_unstable();
    whole.dedup();
    let mut places: Vec<Place> = whole.iter().map(|one| one.0).collect();
    places.dedup();
    (places, whole)
}

/// The distance that most segments of equal payload have.
fn constant_distance(
    (here, own): (&[Record], &Flow),
    (there, partner): (&[Record], &Flow),
    role: usize,
) -> Option<u32> {
    let of_role = |record: &&Record, flow: &Flow| {
        usize::from(record.side() != flow.client()) == role && record.len > 0
    };
    let mut places: HashMap<(u32, u32), u32, FixedState> = HashMap::default();
    for record in here.iter().filter(|record| of_role(record, own)).take(4096) {
        places.entry(name(record)).or_insert(record.seq);
    }
    let mut distances: Vec<u32> = there
        .iter()
        .filter(|record| of_role(record, partner))
        .take(4096)
        .filter_map(|record| Some(record.seq.wrapping_sub(*places.get(&name(record))?)))
        .collect();
    distances.sort_unstable();
    winner(&distances).map(|(distance, _, _)| distance)
}
