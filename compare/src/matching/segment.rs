//! The packets of one direction at one point, in terms that compare between points.

use std::collections::HashSet;

use crate::clock::{Clock, Side};
use crate::pairing::Group;
use crate::reading::{ACK, Fact, Point, Record};

/// A packet with its place in the stream and its time by the first clock of the hop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    pub record: &'a Record,
    /// Nanoseconds on the common line of time of the two points.
    pub time: i64,
    /// First octet, relative to the stream's base; SYN and FIN occupy one each.
    pub start: i64,
    /// One past the last octet.
    pub end: i64,
    /// The acknowledgement number, relative to the base of the other direction.
    pub ack: i64,
}

impl Segment<'_> {
    /// Whether it occupies sequence space.
    pub const fn occupies(&self) -> bool {
        self.end > self.start
    }
}

/// Where the numbers of a connection begin: client's and server's, as the first point has them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bases(pub [u32; 2]);

impl Bases {
    /// The initial sequence numbers, or else the first numbers that were seen.
    pub fn of(points: &[Point], group: &Group) -> Self {
        Self([0, 1].map(|role| {
            let isn = group.members().find_map(|(point, flow)| {
                let flow = &points[point].flows[flow as usize];
                let side = group.side(point, role);
                Some(flow.isn[side]?.wrapping_sub(group.shifts[point][role]))
            });
            let first = || {
                group.members().find_map(|(point, flow)| {
                    let flow = &points[point].flows[flow as usize];
                    let mut records = points[point].records_of(flow).iter();
                    let record = records.find(|record| {
                        record.has(Fact::TCP) && record.side() == group.side(point, role)
                    })?;
                    Some(record.seq.wrapping_sub(group.shifts[point][role]))
                })
            };
            isn.or_else(first).unwrap_or(0)
        }))
    }
}

/// The packets of a connection at a point, of client and server, in the order of time. `clock` is
/// that between two points, of which this is `side`.
pub(crate) fn segments<'a>(
    points: &'a [Point],
    group: &Group,
    bases: Bases,
    point: usize,
    clock: Option<&Clock>,
    side: Side,
) -> [Vec<Segment<'a>>; 2] {
    let mut out = [Vec::new(), Vec::new()];
    let Some(flow) = group.flows[point] else {
        return out;
    };
    let records = points[point].records_of(&points[point].flows[flow as usize]);
    let shifts = group.shifts[point];
    let mut newest = [0_i64; 2];
    let mut doubles = Doubles::new(records);
    for record in records {
        if record.has(Fact::DOUBLE) || doubles.is_double(record) {
            continue;
        }
        let role = usize::from(record.side() != group.side(point, 0));
        let time = match (clock, side) {
            (None, _) => record.time,
            (Some(clock), Side::First) => clock.line_of_first(record.frame, record.time),
            (Some(clock), Side::Second) => clock.line_of_second(record.frame, record.time),
        };
        let mut segment = Segment {
            record,
            time,
            start: 0,
            end: 0,
            ack: 0,
        };
        if record.has(Fact::TCP) {
            let number =
                |raw: u32, role: usize| raw.wrapping_sub(shifts[role].wrapping_add(bases.0[role]));
            segment.start = near(number(record.seq, role), newest[role]);
            segment.end = segment.start + i64::from(record.occupies());
            if segment.occupies() {
                newest[role] = newest[role].max(segment.end);
            }
            if record.flags & ACK != 0 {
                segment.ack = near(number(record.ack, 1 - role), newest[1 - role]);
            }
        }
        out[role].push(segment);
    }
    // Stable: what was captured at one moment stays in the order of its frames. What lies behind a
    // step stays behind it, though its size is known only roughly.
    let passed =
        |segment: &Segment<'_>| clock.map_or(0, |c| c.settings_until(side, segment.record.frame));
    for sent in &mut out {
        sent.sort_by_cached_key(|segment| (passed(segment), segment.time));
    }
    out
}

/// The number beside `reference` whose low 32 bits are `low`.
fn near(low: u32, reference: i64) -> i64 {
    let distance = low.wrapping_sub(reference as u32).cast_signed();
    reference + i64::from(distance)
}

/// One packet recorded at two places of one point (an `any` capture, a mirror of both ports).
struct Doubles {
    seen: HashSet<(u32, u32, u32, u16, u32, u8)>,
    is_needed: bool,
}

impl Doubles {
    fn new(records: &[Record]) -> Self {
        Self {
            seen: HashSet::new(),
            is_needed: records.iter().any(|record| record.has(Fact::OTHER_PLACE)),
        }
    }

    fn is_double(&mut self, record: &Record) -> bool {
        if !self.is_needed {
            return false;
        }
        let name = (
            record.seq,
            record.ack,
            record.len,
            record.ip_id,
            record.ts_value ^ record.head,
            record.flags,
        );
        if record.has(Fact::OTHER_PLACE) {
            self.seen.contains(&name)
        } else {
            self.seen.insert(name);
            false
        }
    }
}
