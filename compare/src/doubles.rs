//! Packets that one capture recorded twice, as mirrors of two ports and bridges do.
//!
//! Two records of one packet lie within microseconds of each other and are alike in every field. The
//! network copies packets as well, but only those that come to a point; a capture that records some twice
//! does so with those that leave it, too.

use foldhash::fast::FixedState;
use hashbrown::HashSet;

use crate::pairing::Group;
use crate::reading::{Fact, Point, Record, SYN};

/// Two records of one packet lie no further apart, in nanoseconds.
const AT_ONCE: i64 = 1_000_000;

/// Records looked at for another one of the same packet.
const NEIGHBOURS: usize = 64;

/// Two records that may be of one packet.
#[derive(Clone, Copy, Debug)]
struct Twins {
    /// The later one.
    at: usize,
    /// Nanoseconds between the two.
    apart: i64,
    /// Whether no sender sends such a packet twice so soon.
    is_certain: bool,
}

/// What twins of one point say: per sender, client and server, certain and other ones.
#[derive(Clone, Copy, Default, Debug)]
struct Count {
    twins: [[u64; 2]; 2],
    packets: [[u64; 2]; 2],
    /// Nanoseconds between certain twins, at most.
    widest: i64,
}

impl Count {
    /// Whether both directions have as many as a capture that records twice would give them.
    fn records_twice(&self) -> bool {
        let certain = |of: [[u64; 2]; 2]| of[0][0] + of[1][0];
        let (twins, packets) = (certain(self.twins), certain(self.packets));
        let is_enough = |role: usize| {
            // A quarter of the expected is far below what chance takes away.
            let kinds = self.twins[role].iter().zip(&self.packets[role]);
            let mut like =
                kinds.map(|(found, all)| *found > 0 && found * 4 * packets >= all * twins);
            like.any(|like| like)
        };
        twins > 0 && is_enough(0) && is_enough(1)
    }
}

/// Marks the second record of each packet, at points whose captures record twice.
pub(crate) fn mark(points: &mut [Point], groups: &[Group]) {
    let mut counts = vec![Count::default(); points.len()];
    for group in groups {
        count(points, group, &mut counts);
    }
    for (index, point) in points.iter_mut().enumerate() {
        if !counts[index].records_twice() {
            continue;
        }
        let widest = counts[index].widest + counts[index].widest / 2;
        for flow in 0..point.flows.len() {
            let (from, until) = point.flows[flow].range;
            for one in twins(point, &point.records[from..until]) {
                if one.apart <= widest {
                    point.records[from + one.at].facts |= Fact::DOUBLE;
                }
            }
        }
    }
}

/// Counts the twins of one connection at each point that are no twins at any other.
fn count(points: &[Point], group: &Group, counts: &mut [Count]) {
    let found: Vec<(usize, Vec<Twins>)> = group
        .members()
        .map(|(index, flow)| {
            let point = &points[index];
            (
                index,
                twins(point, point.records_of(&point.flows[flow as usize])),
            )
        })
        .collect();
    let records = |index: usize| {
        let flow = group.flows[index].unwrap_or(0);
        points[index].records_of(&points[index].flows[flow as usize])
    };
    let role = |index: usize, record: &Record| usize::from(record.side() != group.side(index, 0));
    let name = |index: usize, record: &Record| {
        let role = role(index, record);
        let shift = group.shifts[index];
        let ack = record.ack.wrapping_sub(shift[1 - role]);
        (
            role,
            record.seq.wrapping_sub(shift[role]),
            ack,
            record.len,
            record.flags,
        )
    };
    let names: Vec<HashSet<_, FixedState>> = found
        .iter()
        .map(|(index, twins)| {
            let records = records(*index);
            twins
                .iter()
                .map(|one| name(*index, &records[one.at]))
                .collect()
        })
        .collect();
    for (place, (index, twins)) in found.iter().enumerate() {
        let records = records(*index);
        let count = &mut counts[*index];
        for record in records.iter().filter(|record| !is_answer(record)) {
            count.packets[role(*index, record)][usize::from(!is_named(record))] += 1;
        }
        for one in twins {
            let record = &records[one.at];
            if is_answer(record) {
                continue;
            }
            let own = name(*index, record);
            let elsewhere = |(other, names): (usize, &HashSet<_, FixedState>)| {
                other != place && names.contains(&own)
            };
            if !names.iter().enumerate().any(elsewhere) {
                count.twins[role(*index, record)][usize::from(!one.is_certain)] += 1;
                if one.is_certain {
                    count.widest = count.widest.max(one.apart);
                }
            }
        }
    }
}

/// Pairs of records of a flow that may be of one packet; each record is in one pair at most.
fn twins(point: &Point, records: &[Record]) -> Vec<Twins> {
    let mut found: Vec<Twins> = Vec::new();
    let mut taken = vec![false; records.len()];
    for (at, record) in records.iter().enumerate() {
        let before = records[..at].iter().enumerate().rev().take(NEIGHBOURS);
        let mut near = before.take_while(|(_, other)| (record.time - other.time).abs() <= AT_ONCE);
        // The earliest of some that are alike: each has its own double behind it.
        let twin = near
            .by_ref()
            .filter(|(index, other)| !taken[*index] && is_alike(point, record, other))
            .last();
        if let Some((other, twin)) = twin {
            taken[at] = true;
            taken[other] = true;
            found.push(Twins {
                at,
                apart: (record.time - twin.time).abs(),
                is_certain: is_named(record),
            });
        }
    }
    found
}

/// Whether no other packet of its sender is alike so soon before or behind it.
fn is_named(record: &Record) -> bool {
    // Of what was cut before its flags nobody knows whether it bears octets.
    let bears = record.occupies() > 0 && !is_answer(record) && !is_blunt(record);
    !record.has(Fact::ICMP) && (record.has(Fact::IP_ID) || bears)
}

/// Whether a record may be one of several answers to copies of a SYN, which nothing tells apart.
fn is_answer(record: &Record) -> bool {
    record.flags & SYN != 0 && !record.has(Fact::IP_ID)
}

/// Whether a record is of a segment that was cut before its flags, or of a datagram that was cut.
fn is_blunt(record: &Record) -> bool {
    !record.has(Fact::TCP) && record.has(Fact::CUT)
}

/// Whether two records are alike in everything that a capture would record twice alike.
fn is_alike(point: &Point, one: &Record, other: &Record) -> bool {
    let bare = |record: &Record| Record {
        frame: 0,
        time: 0,
        sack_at: 0,
        facts: record.facts & !Fact::OTHER_PLACE,
        ..*record
    };
    (one.seq, one.ack, one.digest) == (other.seq, other.ack, other.digest)
        && bare(one) == bare(other)
        && point.sacks_of(one) == point.sacks_of(other)
}
