//! Connections of which one point knows no more than the beginning of the TCP headers.
//!
//! Segments that a snap length cut before their flags are told apart by what is left: the first octets
//! of the header, which hold sequence and acknowledgement number, and the length. The same segments at
//! points that captured more of them are known by the same, and are followed like datagrams.

use std::hash::BuildHasher;

use analyzer::Transport;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::record::{Fact, Record};
use super::{Place, Point};

/// Octets of a TCP header up to the end of its acknowledgement number.
const NUMBERS: u8 = 12;

/// Puts every record of such connections into the terms of the point that knows least of them.
pub(crate) fn blunt(points: &mut [Point]) {
    let mut known: HashMap<[Place; 2], u8, FixedState> = HashMap::default();
    for flow in points.iter().flat_map(|point| &point.flows) {
        if let Some(octets) = flow.cut_after {
            let least = known.entry(flow.ends).or_insert(octets);
            *least = octets.min(*least);
        }
    }
    if known.is_empty() {
        return;
    }
    for point in points {
        for flow in &mut point.flows {
            let Some(octets) = known.get(&flow.ends) else {
                continue;
            };
            if flow.transport != Transport::Tcp {
                continue;
            }
            flow.cut_after = Some(*octets);
            let records = point.records.get_mut(flow.range.0..flow.range.1);
            let segments = records.into_iter().flatten();
            for record in segments.filter(|record| !record.has(Fact::ICMP)) {
                cut(record, *octets);
            }
        }
    }
}

/// Leaves a segment what its first octets and its length tell.
fn cut(record: &mut Record, octets: u8) {
    let kept = |number: u32, from: u8| match octets.min(NUMBERS).saturating_sub(from) {
        0 => 0,
        count @ 1..=3 => number & !(u32::MAX >> (8 * u32::from(count))),
        _ => number,
    };
    let numbers = (kept(record.seq, 4), kept(record.ack, 8));
    record.digest = FixedState::with_seed(0x626c_756e).hash_one(numbers);
    record.head = (record.digest >> 32) as u32;
    record.len = record.len.saturating_add(u32::from(record.header_len));
    record.header_len = 0;
    record.facts = (record.facts & !Fact::TCP) | Fact::HEAD | Fact::CUT;
}
