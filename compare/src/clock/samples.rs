//! Packets that can be told to be the same at two points without knowing their clocks.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use crate::pairing::Group;
use crate::reading::{ACK, FIN, Fact, Flow, Point, RST, Record, SYN};

/// One packet that is the only one of its kind at both points.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Sample {
    /// 0 when the client sent it, else 1.
    pub role: usize,
    /// Frames at the two points.
    pub frames: [u64; 2],
    /// Times at the two points.
    pub times: [i64; 2],
    /// Hop limit at the first point less that at the second.
    pub hops: i16,
}

/// Samples of one connection.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct GroupSamples {
    pub group: usize,
    pub samples: Vec<Sample>,
}

/// Which fields the path leaves as they are, per sender: client, server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Keeps {
    pub ip_id: [bool; 2],
    pub timestamps: [bool; 2],
    pub window: [bool; 2],
}

/// How often a field that both copies have was equal.
#[derive(Clone, Copy, Default)]
struct Tally {
    equal: u64,
    compared: u64,
}

impl Tally {
    fn add(&mut self, is_compared: bool, is_equal: bool) {
        self.compared += u64::from(is_compared);
        self.equal += u64::from(is_compared && is_equal);
    }

    const fn is_kept(self) -> bool {
        self.equal * 2 > self.compared
    }
}

/// Records looked at per pair of points; of more connections every so many-th is taken.
const RECORDS: usize = 600_000;

/// Takes samples of the connections that both points saw.
pub(crate) fn sample(
    points: &[Point],
    groups: &[Group],
    (one, other): (usize, usize),
) -> (Vec<GroupSamples>, Keeps) {
    let members: Vec<(usize, &Flow, &Flow)> = groups
        .iter()
        .enumerate()
        .filter_map(|(index, group)| {
            let a = &points[one].flows[group.flows[one]? as usize];
            let b = &points[other].flows[group.flows[other]? as usize];
            Some((index, a, b))
        })
        .collect();
    let total: usize = members.iter().map(|(_, a, _)| a.range.1 - a.range.0).sum();
    let stride = total.div_ceil(RECORDS).max(1);
    let members: Vec<_> = members.into_iter().step_by(stride).collect();
    let pairs = |keeps: &Keeps| {
        let pairs = members.iter().map(|&(index, a, b)| {
            let (shifts, clients) = (&groups[index].shifts, &groups[index].clients);
            let here = names(points[one].records_of(a), clients[one], shifts[one], keeps);
            let there = names(
                points[other].records_of(b),
                clients[other],
                shifts[other],
                keeps,
            );
            let pairs = only_ones(&here, &there).into_iter();
            (index, pairs.map(|(a, b)| (a.1, a.2, b.2)).collect())
        });
        pairs.collect::<Vec<(usize, Vec<Pair<'_>>)>>()
    };
    let mut tallies = [[Tally::default(); 3]; 2];
    for (role, a, b) in pairs(&Keeps::default()).into_iter().flat_map(|one| one.1) {
        count(&mut tallies[role], a, b);
    }
    let keeps = keeps(&tallies);
    // What the path keeps tells copies of one segment apart, so that they are samples as well.
    let samples = pairs(&keeps)
        .into_iter()
        .map(|(group, pairs)| GroupSamples {
            group,
            samples: certain(pairs, &keeps),
        })
        .collect();
    (samples, keeps)
}

/// Who sent a packet, and its records at both points.
type Pair<'a> = (usize, &'a Record, &'a Record);

fn count(tally: &mut [Tally; 3], a: &Record, b: &Record) {
    let both = |fact: u16| a.has(fact) && b.has(fact);
    tally[0].add(both(Fact::IP_ID), a.ip_id == b.ip_id);
    tally[1].add(both(Fact::TIMESTAMPS), a.ts_value == b.ts_value);
    tally[2].add(both(Fact::WINDOW), a.window == b.window);
}

fn keeps(tallies: &[[Tally; 3]; 2]) -> Keeps {
    let of = |field: usize| [tallies[0][field].is_kept(), tallies[1][field].is_kept()];
    Keeps {
        ip_id: of(0),
        timestamps: of(1),
        window: of(2),
    }
}

/// Leaves out pairs that differ in a field that the path keeps: two copies of one segment.
fn certain(pairs: Vec<Pair<'_>>, keeps: &Keeps) -> Vec<Sample> {
    let mut samples: Vec<Sample> = pairs
        .into_iter()
        .filter(|(role, a, b)| {
            let differs = |fact: u16, is_kept: bool, is_equal: bool| {
                is_kept && a.has(fact) && b.has(fact) && !is_equal
            };
            !differs(Fact::IP_ID, keeps.ip_id[*role], a.ip_id == b.ip_id)
                && !differs(
                    Fact::TIMESTAMPS,
                    keeps.timestamps[*role],
                    a.ts_value == b.ts_value,
                )
        })
        .map(|(role, a, b)| Sample {
            role,
            frames: [a.frame, b.frame],
            times: [a.time, b.time],
            hops: i16::from(a.hop_limit) - i16::from(b.hop_limit),
        })
        .collect();
    samples.sort_unstable_by_key(|sample| sample.frames[0]);
    samples
}

/// Digest of what makes a packet the same one, who sent it, and the record.
type Named<'a> = (u64, usize, &'a Record);

/// Names of all records, sorted.
fn names<'a>(
    records: &'a [Record],
    client: usize,
    shift: [u32; 2],
    keeps: &Keeps,
) -> Vec<Named<'a>> {
    let hasher = FixedState::with_seed(0x6e61_6d65);
    let mut named: Vec<Named<'_>> = records
        .iter()
        .filter(|record| !record.has(Fact::ICMP) && !record.has(Fact::DOUBLE))
        .map(|record| {
            let role = usize::from(record.side() != client);
            let kept = |is_kept: bool, value: u32| if is_kept { value } else { 0 };
            let copy = (
                kept(keeps.timestamps[role], record.ts_value),
                kept(keeps.ip_id[role], record.ip_id.into()),
            );
            let name = if record.has(Fact::TCP) {
                let ack = if record.flags & ACK != 0 && record.occupies() == 0 {
                    record.ack.wrapping_sub(shift[1 - role])
                } else {
                    0
                };
                let seq = record.seq.wrapping_sub(shift[role]);
                let control = record.flags & (SYN | FIN | RST);
                hasher.hash_one((role, seq, record.len, control, ack, copy))
            } else {
                hasher.hash_one((role, record.head, record.len, copy))
            };
            (name, role, record)
        })
        .collect();
    named.sort_unstable_by_key(|(name, _, record)| (*name, record.frame));
    named
}

/// Records whose name no other has at their point and one has at the other.
fn only_ones<'a, 'b>(here: &'a [Named<'b>], there: &'a [Named<'b>]) -> Vec<(Named<'b>, Named<'b>)> {
    let single = |named: &'a [Named<'b>]| {
        let runs = named.chunk_by(|a, b| a.0 == b.0);
        runs.filter(|run| run.len() == 1).map(|run| run[0])
    };
    let mut there = single(there).peekable();
    let mut found = Vec::new();
    for one in single(here) {
        while there.next_if(|other| other.0 < one.0).is_some() {}
        if let Some(other) = there.next_if(|other| other.0 == one.0) {
            found.push((one, other));
        }
    }
    found
}
