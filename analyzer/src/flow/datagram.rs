//! What tells one datagram of a flow from another: the marks of a copy, and its first octets.

use crate::decode::Packet;
use crate::time::Timestamp;

/// A copy of a datagram passes within this, in nanoseconds.
const COPY_WITHIN_NS: u64 = 20_000_000;

/// What a copy of a datagram has in common with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct DatagramMark {
    src: [u8; 16],
    time: Timestamp,
    payload_len: u32,
    observation_point: u32,
    src_port: u16,
    ip_id: Option<u16>,
    hop_limit: u8,
}

impl DatagramMark {
    pub const fn of(packet: &Packet) -> Self {
        Self {
            src: packet.src,
            time: packet.time,
            payload_len: packet.payload_len,
            observation_point: packet.observation_point,
            src_port: packet.src_port,
            ip_id: packet.ip_id,
            hop_limit: packet.hop_limit,
        }
    }

    /// Whether a packet can be the same datagram once more, unless the payload differs: at another
    /// point of the capture, or at the same one with the same identification.
    #[inline]
    pub fn may_be_of(&self, packet: &Packet) -> bool {
        let elsewhere = self.observation_point != packet.observation_point
            || self.hop_limit != packet.hop_limit;
        self.ip_id == packet.ip_id
            && (elsewhere || packet.ip_id.is_some_and(|id| id != 0))
            && self.src == packet.src
            && self.src_port == packet.src_port
            && self.payload_len == packet.payload_len
            && packet.time.nanos_since(self.time) < COPY_WITHIN_NS
    }
}

/// The first octets of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Opening {
    octets: [u8; 32],
    len: u32,
    /// The same for the same octets.
    mark: u32,
}

impl Opening {
    pub fn of(payload: &[u8]) -> Self {
        let mut octets = [0; 32];
        let len = payload.len().min(octets.len());
        octets[..len].copy_from_slice(&payload[..len]);
        let (words, _) = octets.as_chunks::<8>();
        let mixed = words.iter().fold(len as u64, |sum, word| {
            (sum ^ u64::from_le_bytes(*word))
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29)
        });
        Self {
            octets,
            len: len as u32,
            mark: (mixed >> 32) as u32,
        }
    }

    /// Whether nothing of it was captured.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A number that is the same for the same octets.
    pub const fn mark(&self) -> u32 {
        self.mark
    }

    /// Whether no octet that was captured of both differs.
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.shared_with(other) == self.len.min(other.len) as usize
    }

    /// How many octets both begin with.
    pub fn shared_with(&self, other: &Self) -> usize {
        let both = self.len.min(other.len) as usize;
        let [own, theirs] = [self, other].map(|opening| opening.octets.as_chunks::<8>().0);
        let differences = own
            .iter()
            .zip(theirs)
            .map(|(one, other)| u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other));
        let differs = differences.enumerate().find(|(_, bits)| *bits != 0);
        differs.map_or(both, |(word, bits)| {
            both.min(word * 8 + bits.trailing_zeros() as usize / 8)
        })
    }
}

/// A set of marks, which may say of one that it has not that it has it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks([u64; 4]);

impl Marks {
    #[inline]
    pub const fn may_have(&self, mark: u32) -> bool {
        let [place, ..] = mark.to_le_bytes();
        self.0[place as usize / 64] >> (place % 64) & 1 == 1
    }

    #[inline]
    pub const fn add(&mut self, mark: u32) {
        let [place, ..] = mark.to_le_bytes();
        self.0[place as usize / 64] |= 1 << (place % 64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openings_share_what_both_begin_with() {
        let of = |text: &str| Opening::of(text.as_bytes());
        let long = "a".repeat(40);
        assert_eq!(of("abcdefghijkl").shared_with(&of("abcdefghijxl")), 10);
        assert_eq!(of("abc").shared_with(&of("abcd")), 3);
        assert_eq!(of("abc\0").shared_with(&of("abc")), 3);
        assert_eq!(of(&long).shared_with(&of(&long[..35])), 32);
        assert!(of("abc").agrees_with(&of("abcd")) && !of("abx").agrees_with(&of("abcd")));
        assert!(of("").is_empty());
        assert_ne!(of("abc\0").mark(), of("abc").mark());
    }

    #[test]
    fn marks_that_were_added_are_had() {
        let mut marks = Marks::default();
        let few: Vec<u32> = ["a", "b", "c"]
            .map(|it| Opening::of(it.as_bytes()).mark())
            .into();
        few.iter().for_each(|mark| marks.add(*mark));
        assert!(few.iter().all(|mark| marks.may_have(*mark)));
        assert!(!Marks::default().may_have(few[0]));
    }
}
