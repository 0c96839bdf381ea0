//! Which copy at one point is which copy at the next.
//!
//! First packets that are alike in what names them, told apart by IP identification, timestamps
//! and time; then byte ranges, for segments that an offload cut or joined.

mod align;
mod ranges;
mod segment;
mod straighten;

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use crate::reading::{Fact, Record};

pub(crate) use ranges::Gaps;
pub(crate) use segment::{Bases, Segment, segments};

/// What matching needs to know of the path from one point to the next, in one direction.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Path {
    /// IP identifications come through.
    pub keeps_ip_id: bool,
    /// TSvals come through.
    pub keeps_timestamps: bool,
    /// What a delay can be below zero, for want of exact clocks.
    pub tolerance: i64,
    /// The delay that most packets have.
    pub typical: i64,
    /// The largest delay that is believed where nothing but time tells copies apart.
    pub largest: i64,
    /// Octets of payload of a full segment on the wire.
    pub full_segment: u32,
}

/// A piece of a packet that both points saw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Portion {
    /// Index of the packet at the upstream point.
    pub up: usize,
    /// Index of the packet at the downstream point.
    pub down: usize,
    /// First octet.
    pub start: i64,
    /// Segments on the wire.
    pub units: u64,
    /// Nanoseconds from the upstream to the downstream point.
    pub delay: i64,
    /// Whether the packets are the same as a whole, so that their headers compare.
    pub is_whole: bool,
}

/// How the packets of one direction at two points belong together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matching {
    /// In the order of the downstream point.
    pub portions: Vec<Portion>,
    /// What only the upstream point saw.
    pub only_up: Vec<Gaps>,
    /// What only the downstream point saw.
    pub only_down: Vec<Gaps>,
}

/// Whether two packets can be one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Likeness {
    /// The same IP identification.
    Same,
    /// Nothing speaks against it.
    Possible,
    /// A field differs that the path leaves alone.
    Different,
}

impl Path {
    /// Compares what tells copies of one segment apart.
    pub fn likeness(&self, a: &Record, b: &Record) -> Likeness {
        let both = |fact: u16| a.has(fact) && b.has(fact);
        if self.keeps_timestamps
            && both(Fact::TIMESTAMPS)
            && (a.ts_value, a.ts_echo) != (b.ts_value, b.ts_echo)
        {
            return Likeness::Different;
        }
        if self.keeps_ip_id && both(Fact::IP_ID) {
            return if a.ip_id == b.ip_id {
                Likeness::Same
            } else {
                Likeness::Different
            };
        }
        Likeness::Possible
    }

    /// Whether two packets differ in what a device might have rewritten but seldom does, so that it
    /// only decides between copies that nothing else tells apart.
    pub fn is_unlike(&self, a: &Record, b: &Record) -> bool {
        let both = |fact: u16| a.has(fact) && b.has(fact);
        (both(Fact::WINDOW) && a.window != b.window) || a.sack_count != b.sack_count
    }

    /// Whether the second can be the first, as to fields and time.
    fn admits(&self, up: &Segment<'_>, down: &Segment<'_>) -> bool {
        let delay = self.delay(up, down);
        if delay < -self.tolerance {
            return false;
        }
        match self.likeness(up.record, down.record) {
            Likeness::Same => true,
            Likeness::Possible => delay <= self.largest,
            Likeness::Different => false,
        }
    }

    /// Nanoseconds from the upstream to the downstream point.
    pub const fn delay(&self, up: &Segment<'_>, down: &Segment<'_>) -> i64 {
        down.time.saturating_sub(up.time)
    }

    /// Segments on the wire that carry so many octets.
    pub fn units(&self, octets: i64) -> u64 {
        let octets = u64::try_from(octets).unwrap_or(0);
        octets.div_ceil(u64::from(self.full_segment.max(1))).max(1)
    }
}

/// Matches the packets of one direction.
pub(crate) fn match_copies(up: &[Segment<'_>], down: &[Segment<'_>], path: &Path) -> Matching {
    let mut partner_of_up = vec![None; up.len()];
    let mut partner_of_down = vec![None; down.len()];
    let is_cut = up.iter().chain(down).any(|one| one.record.has(Fact::CUT));
    let (here, there) = (names(up, path, is_cut), names(down, path, is_cut));
    let mut rest = &there[..];
    for run in here.chunk_by(|a, b| a.0 == b.0) {
        let name = run[0].0;
        let skip = rest.partition_point(|other| other.0 < name);
        rest = &rest[skip..];
        let count = rest.partition_point(|other| other.0 == name);
        let (same, behind) = rest.split_at(count);
        rest = behind;
        if same.is_empty() {
            continue;
        }
        let ups: Vec<usize> = run.iter().map(|one| one.1).collect();
        let downs: Vec<usize> = same.iter().map(|one| one.1).collect();
        for (a, b) in align::align((up, &ups), (down, &downs), path) {
            partner_of_up[a] = Some(b);
            partner_of_down[b] = Some(a);
        }
    }
    straighten::straighten(
        (up, down),
        &here,
        (&mut partner_of_up, &mut partner_of_down),
        path,
    );
    let mut matching = Matching::default();
    for (index, partner) in partner_of_up.iter().enumerate() {
        if let Some(partner) = *partner {
            matching.portions.push(Portion {
                up: index,
                down: partner,
                start: up[index].start,
                units: path.units(up[index].end - up[index].start),
                delay: path.delay(&up[index], &down[partner]),
                is_whole: true,
            });
        }
    }
    let open = |partners: &[Option<usize>]| -> Vec<usize> {
        let indices = partners.iter().enumerate();
        indices
            .filter(|(_, p)| p.is_none())
            .map(|(i, _)| i)
            .collect()
    };
    ranges::match_ranges(
        (up, open(&partner_of_up)),
        (down, open(&partner_of_down)),
        path,
        &mut matching,
    );
    matching
        .portions
        .sort_unstable_by_key(|portion| (portion.down, portion.start));
    matching
}

/// Digest of what a packet is, with what tells its copies apart, and its index; sorted.
fn names(segments: &[Segment<'_>], path: &Path, is_cut: bool) -> Vec<(u64, usize)> {
    let hasher = FixedState::with_seed(0x636f_7079);
    let name = |segment: &Segment<'_>| {
        let record = segment.record;
        let stamp = if path.keeps_timestamps && record.has(Fact::TIMESTAMPS) {
            (record.ts_value, record.ts_echo)
        } else {
            (0, 0)
        };
        let ip_id = if path.keeps_ip_id { record.ip_id } else { 0 };
        let copy = (stamp, ip_id);
        if record.has(Fact::ICMP) {
            return hasher.hash_one((2_u8, record.digest));
        }
        if !record.has(Fact::TCP) {
            let payload = if is_cut {
                u64::from(record.head)
            } else {
                record.digest
            };
            return hasher.hash_one((1_u8, payload, record.len, copy));
        }
        let control = record.flags & !(CARE_FREE);
        let ack = if segment.occupies() { 0 } else { segment.ack };
        hasher.hash_one((0_u8, segment.start, record.len, control, ack, copy))
    };
    let mut names: Vec<(u64, usize)> = segments
        .iter()
        .enumerate()
        .map(|(index, segment)| (name(segment), index))
        .collect();
    names.sort_unstable();
    names
}

/// Control bits that copies of one segment may differ in: PSH, URG, ECE, CWR and ACK.
const CARE_FREE: u8 = 0x08 | 0x20 | 0x40 | 0x80 | 0x10;
