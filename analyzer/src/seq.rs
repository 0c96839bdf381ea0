//! Sequence numbers modulo 2³² and sets of sequence ranges in 64 bits.
//!
//! On the wire a sequence number wraps every 4 GiB. The tracker lifts each one to a 64-bit
//! offset beside the last one it knew ([`SeqNumber::unwrap_near`]), so that a connection of any
//! length has one ordered sequence space; only this file knows about wrapping.

use serde::{Deserialize, Serialize};

/// A 32-bit sequence or acknowledgement number as it stands in a TCP header (RFC 9293 §3.4).
///
/// Deliberately not ordered: comparison is only meaningful beside a reference.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct SeqNumber(pub u32);

impl SeqNumber {
    /// Signed distance from `other` to this number, modulo 2³².
    #[must_use]
    pub const fn distance_from(self, other: Self) -> i32 {
        self.0.wrapping_sub(other.0).cast_signed()
    }

    /// This number plus `octets`, modulo 2³².
    #[must_use]
    pub const fn advanced(self, octets: u32) -> Self {
        Self(self.0.wrapping_add(octets))
    }

    /// The 64-bit offset nearest to `reference` whose low 32 bits are this number.
    ///
    /// Right as long as the true offset lies within 2³¹ of `reference`, which RFC 7323 §5 asks
    /// of every sender.
    #[must_use]
    pub const fn unwrap_near(self, reference: u64) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the low half is what is compared"
        )]
        let low = Self(reference as u32);
        reference.wrapping_add_signed(self.distance_from(low) as i64)
    }
}

/// A half-open range of 64-bit sequence offsets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SeqRange {
    /// First octet.
    pub start: u64,
    /// One past the last octet; never before `start`.
    pub end: u64,
}

impl SeqRange {
    /// The range `start..end`; empty when `end` is not after `start`.
    #[must_use]
    pub const fn new(start: u64, end: u64) -> Self {
        Self {
            start,
            end: if end > start { end } else { start },
        }
    }

    /// Octets that another range covers as well.
    #[must_use]
    pub fn shared(&self, other: Self) -> u64 {
        (self.end.min(other.end)).saturating_sub(self.start.max(other.start))
    }

    /// Octets covered.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Whether it covers nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.end == self.start
    }
}

/// An ordered set of disjoint, non-adjacent ranges.
///
/// Empty costs one pointer-sized vector and no allocation. Built for few ranges (the holes of
/// one connection); all operations are linear in the ranges they touch. Of more than 4,096 it
/// forgets the lowest: streams move upwards.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RangeSet {
    ranges: Vec<SeqRange>,
}

impl RangeSet {
    const MAX_RANGES: usize = 4096;

    /// The ranges in order.
    #[must_use]
    pub fn ranges(&self) -> &[SeqRange] {
        &self.ranges
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Octets covered by all ranges.
    #[must_use]
    pub fn covered(&self) -> u64 {
        self.ranges.iter().map(SeqRange::len).sum()
    }

    /// Octets of `range` that are in the set.
    #[must_use]
    pub fn overlap(&self, range: SeqRange) -> u64 {
        let first = self
            .ranges
            .partition_point(|known| known.end <= range.start);
        self.ranges[first..]
            .iter()
            .take_while(|known| known.start < range.end)
            .map(|known| known.end.min(range.end) - known.start.max(range.start))
            .sum()
    }

    /// Whether every octet of `range` is in the set (an empty range always is).
    #[must_use]
    pub fn contains(&self, range: SeqRange) -> bool {
        self.overlap(range) == range.len()
    }

    /// Adds `range`, joining what it touches. Gives the octets that were new.
    pub fn insert(&mut self, range: SeqRange) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let new = range.len() - self.overlap(range);
        let first = self.ranges.partition_point(|known| known.end < range.start);
        let touched = self.ranges[first..]
            .iter()
            .take_while(|known| known.start <= range.end)
            .count();
        if touched == 0 {
            self.ranges.insert(first, range);
            if self.ranges.len() > Self::MAX_RANGES {
                self.ranges.remove(0);
            }
        } else {
            let last = self.ranges[first + touched - 1];
            let joined = SeqRange::new(
                range.start.min(self.ranges[first].start),
                range.end.max(last.end),
            );
            self.ranges[first] = joined;
            self.ranges.drain(first + 1..first + touched);
        }
        new
    }

    /// Removes every octet of `range`. Gives the octets removed.
    pub fn remove(&mut self, range: SeqRange) -> u64 {
        let gone = self.overlap(range);
        if gone == 0 {
            return 0;
        }
        let first = self
            .ranges
            .partition_point(|known| known.end <= range.start);
        let touched = self.ranges[first..]
            .iter()
            .take_while(|known| known.start < range.end)
            .count();
        let head = SeqRange::new(
            self.ranges[first].start,
            range.start.max(self.ranges[first].start),
        );
        let tail_end = self.ranges[first + touched - 1].end;
        let tail = SeqRange::new(range.end.min(tail_end), tail_end);
        let kept = [head, tail].into_iter().filter(|part| !part.is_empty());
        self.ranges.splice(first..first + touched, kept);
        gone
    }

    /// Drops everything below `floor`.
    pub fn remove_below(&mut self, floor: u64) {
        self.remove(SeqRange::new(0, floor));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn distance_wraps_at_2_32() {
        assert_eq!(SeqNumber(3).distance_from(SeqNumber(u32::MAX - 1)), 5);
        assert_eq!(SeqNumber(u32::MAX - 1).distance_from(SeqNumber(3)), -5);
    }

    #[test]
    fn unwrap_follows_past_4_gib_and_back() {
        let reference = 0x2_ffff_fff0;
        assert_eq!(SeqNumber(0x10).unwrap_near(reference), 0x3_0000_0010);
        assert_eq!(
            SeqNumber(0xffff_ff00).unwrap_near(0x3_0000_0010),
            0x2_ffff_ff00
        );
    }

    /// The obvious model: one flag an octet.
    struct Naive([bool; 64]);

    impl Naive {
        fn ranges(&self) -> Vec<SeqRange> {
            let mut ranges: Vec<SeqRange> = Vec::new();
            for (at, _) in self.0.iter().enumerate().filter(|(_, set)| **set) {
                let at = at as u64;
                match ranges.last_mut() {
                    Some(last) if last.end == at => last.end = at + 1,
                    _ => ranges.push(SeqRange::new(at, at + 1)),
                }
            }
            ranges
        }
    }

    proptest! {
        #[test]
        fn range_set_agrees_with_flags(
            operations in proptest::collection::vec((any::<bool>(), 0u64..64, 0u64..64), 0..40),
        ) {
            let (mut set, mut naive) = (RangeSet::default(), Naive([false; 64]));
            for (insert, from, to) in operations {
                let range = SeqRange::new(from, to);
                let flags = &mut naive.0[from as usize..range.end as usize];
                let changed = flags.iter().filter(|set| **set != insert).count() as u64;
                flags.fill(insert);
                let reported = if insert { set.insert(range) } else { set.remove(range) };
                prop_assert_eq!(reported, changed);
                let expected = naive.ranges();
                prop_assert_eq!(set.ranges(), expected.as_slice());
            }
        }
    }
}
