//! A recording that holds every frame twice: a port mirrored in both directions, two taps of one cable,
//! a host that captures a bridge and its members.
//!
//! Two packets with nothing different between them, moments apart, may be one that a network delivered
//! twice, or two acknowledgements alike. Where most packets have such a twin, and hardly any a third, it
//! is the recording: the second copies then are left out before anything is concluded from them.
//!
//! What counts is what came before: the first few packets of such a recording keep their copies, and each
//! connection judges those by itself.

use crate::decode::{DecodedSlab, Packet, PacketKind, Sums};
use crate::time::Timestamp;

/// Packets remembered at a time; a copy follows at once.
const SLOTS: usize = 512;

/// A copy is written within this, in nanoseconds.
const WITHIN_NS: u64 = 20_000_000;

/// Packets after which what was counted weighs half: recordings of several files, or of an interface that
/// comes later, change.
const HALVED_AT: u32 = 256;

/// Pairs from which it is no chance.
const PROOF: u32 = 3;

/// A packet that is remembered.
#[derive(Clone, Copy, Default)]
struct Slot {
    sign: u64,
    time: Timestamp,
    has_twin: bool,
}

/// Finds second copies. Feed it in the order of the capture.
#[derive(Default)]
pub(crate) struct Doubles {
    slots: Vec<Slot>,
    packets: u32,
    pairs: u32,
    /// Packets equal to two that passed before.
    thirds: u32,
    left_out: u64,
    /// Frames of the latest slab that were left out, ascending.
    found: Vec<u64>,
}

impl Doubles {
    /// Takes the next slab and leaves out second copies; whether there were any. `signs` are those of its
    /// packets.
    pub fn leave_out(&mut self, decoded: &mut DecodedSlab, signs: &[u64]) -> bool {
        self.found.clear();
        self.slots.resize(SLOTS, Slot::default());
        for (packet, sign) in decoded.packets.iter().zip(signs) {
            if self.is_copy(packet.time, *sign) {
                self.found.push(packet.frame);
            }
        }
        if self.found.is_empty() {
            return false;
        }
        self.left_out += self.found.len() as u64;
        let found = &self.found;
        let is_first = |frame: u64| found.binary_search(&frame).is_err();
        decoded.packets.retain(|packet| is_first(packet.frame));
        let Sums { wrong, .. } = &mut decoded.sums;
        wrong.retain(|wrong| is_first(wrong.frame));
        true
    }

    /// Counts a packet; whether it is to be left out.
    #[inline]
    fn is_copy(&mut self, time: Timestamp, sign: u64) -> bool {
        self.packets += 1;
        let slot = &mut self.slots[(sign >> 55) as usize];
        let is_alike = slot.sign == sign && time.nanos_since(slot.time) < WITHIN_NS;
        if !is_alike || slot.has_twin {
            self.thirds += u32::from(is_alike);
            *slot = Slot {
                sign,
                time,
                has_twin: false,
            };
            if self.packets >= HALVED_AT {
                self.packets /= 2;
                self.pairs /= 2;
                self.thirds /= 2;
            }
            return false;
        }
        slot.has_twin = true;
        self.pairs += 1;
        // Copies that have not been written yet, and frames of another interface, have none.
        let are_most = self.pairs * 2 * 10 >= self.packets * 7;
        self.pairs >= PROOF && are_most && self.thirds * 4 <= self.pairs
    }

    /// Frames of the latest slab that were left out, ascending.
    pub fn found(&self) -> &[u64] {
        &self.found
    }

    /// Counts frames that were left out of a file read elsewhere.
    pub const fn add(&mut self, left_out: u64) {
        self.left_out += left_out;
    }

    /// How many frames were left out.
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }
}

/// All that is equal in two copies of one frame, hashed, for each packet of a slab. `hashes` are those of
/// their flows, `payload` gives the captured octets of a packet.
pub(crate) fn signs<'a>(
    packets: &[Packet],
    hashes: &[u64],
    payload: impl Fn(&Packet) -> &'a [u8],
    out: &mut Vec<u64>,
) {
    out.clear();
    let signs = packets.iter().zip(hashes).map(|(packet, hash)| {
        let pair = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        let [.., a, b, c, d] = packet.src;
        let marks = u32::from(packet.ip_id.unwrap_or_default()) | u32::from(packet.hop_limit) << 16;
        let common = [
            pair(u32::from_be_bytes([a, b, c, d]), packet.observation_point),
            pair(packet.wire_len, marks),
        ];
        let own = match &packet.kind {
            PacketKind::Tcp(tcp) => {
                let (value, echo) = tcp.timestamps.unwrap_or_default();
                let flags = u32::from(tcp.flags.0) | u32::from(tcp.window_field) << 8;
                let [block, ..] = tcp.sack_blocks;
                [
                    pair(tcp.seq.0, tcp.ack.0),
                    pair(value, echo),
                    pair(block.left_edge.0, block.right_edge.0) ^ u64::from(flags),
                ]
            }
            PacketKind::Udp => {
                let octets = payload(packet);
                let word = |chunk: Option<&[u8; 8]>| chunk.map_or(0, |it| u64::from_le_bytes(*it));
                [
                    word(octets.first_chunk()),
                    word(octets.get(8..).and_then(<[u8]>::first_chunk)),
                    word(octets.last_chunk()),
                ]
            }
            PacketKind::IcmpError { icmp, .. } => {
                let kind = u32::from(icmp.icmp_type) << 8 | u32::from(icmp.code);
                let quoted = icmp.quoted_seq.unwrap_or_default();
                [pair(kind, quoted.0), 0, 0]
            }
        };
        let mixed = common.into_iter().chain(own).fold(*hash, |sum, part| {
            (sum ^ part)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29)
        });
        mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    out.extend(signs);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the signs, one every `step` nanoseconds, are taken for copies.
    fn copies(signs: &[u64], step: i64) -> Vec<usize> {
        let mut doubles = Doubles {
            slots: vec![Slot::default(); SLOTS],
            ..Doubles::default()
        };
        let mut time = Timestamp::from_nanos(0);
        let all = signs.iter().enumerate().filter(|(_, sign)| {
            time = Timestamp::from_nanos(time.as_nanos() + step);
            doubles.is_copy(time, **sign << 55 | 1)
        });
        all.map(|(at, _)| at).collect()
    }

    #[test]
    fn every_frame_twice_is_left_out_once_it_is_known() {
        let twice: Vec<u64> = (0..20).map(|at| at / 2).collect();
        let found = copies(&twice, 1_000);
        assert_eq!(found, (5..20).step_by(2).collect::<Vec<_>>());
        assert!(copies(&twice, 30_000_000).is_empty());
    }

    #[test]
    fn copies_that_come_behind_others_are_found_as_well() {
        let pairs = (0..40).step_by(2);
        let behind: Vec<u64> = pairs.flat_map(|n| [n, n + 1, n, n + 1]).collect();
        assert!(copies(&behind, 1_000).len() > 20);
    }

    #[test]
    fn single_copies_and_floods_of_one_packet_stay() {
        let some: Vec<u64> = (0..60).map(|at| at - u64::from(at % 5 == 4)).collect();
        assert!(copies(&some, 1_000).is_empty());
        assert!(copies(&[7; 60], 1_000).len() < 3);
    }
}
