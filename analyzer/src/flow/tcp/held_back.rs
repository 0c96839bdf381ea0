//! Segments that wait for one that the capture wrote too late.

use std::time::Duration;

use crate::decode::Packet;
use crate::direction::Direction;
use crate::seq::SeqNumber;

/// Octets of payload that wait at one connection, at most.
pub(in crate::flow::tcp) const OCTETS: usize = 65_536;

/// Segments that do.
const SEGMENTS: usize = 64;

/// Octets that one takes beside its payload.
const SEGMENT_COST: usize = size_of::<(Packet, Vec<u8>)>();

/// Segments of one end that wait for one of the other.
#[derive(Debug)]
pub(in crate::flow::tcp) struct HeldBack {
    pub direction: Direction,
    /// The first octet, or SYN, that is acknowledged and has not passed.
    pub needed: SeqNumber,
    /// Those that wait, with their captured payload; never empty.
    pub waiting: Vec<(Packet, Vec<u8>)>,
    pub octets: usize,
}

impl HeldBack {
    pub fn new(direction: Direction, needed: SeqNumber, packet: &Packet, payload: &[u8]) -> Self {
        let mut held = Self {
            direction,
            needed,
            waiting: Vec::new(),
            octets: 0,
        };
        held.push(packet, payload);
        held
    }

    pub fn push(&mut self, packet: &Packet, payload: &[u8]) {
        self.octets += payload.len();
        self.waiting.push((*packet, payload.to_vec()));
    }

    pub fn has_room(&self, payload: &[u8]) -> bool {
        self.waiting.len() < SEGMENTS && self.octets + payload.len() <= OCTETS
    }

    /// How far apart in time the first of them and another packet are.
    pub fn apart(&self, packet: &Packet) -> Duration {
        let first = self.waiting.first().map(|(first, _)| first.time);
        let apart = first.map_or(0, |first| packet.time.signed_since(first));
        Duration::from_nanos(apart.unsigned_abs())
    }

    /// Roughly the octets it takes.
    pub const fn octets(&self) -> usize {
        self.octets + self.waiting.len() * SEGMENT_COST
    }
}
