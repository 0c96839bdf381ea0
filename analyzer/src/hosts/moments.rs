//! When something happened, in bounded space: a set of slices of capture time.
//!
//! Sets of one grid are joined by OR, and a coarser grid follows from a finer one, so what comes
//! out does not depend on the order in which times were noted or sets were joined.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Slices of a grid.
const SLICES: u64 = 2048;

/// The finest slice: 2 to the power of 20 nanoseconds, about a millisecond.
const FINEST: u32 = 20;

/// Equal slices of capture time, at most 2048; they double when the capture grows longer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Grid {
    start: Timestamp,
    /// A slice lasts 2 to the power of this, in nanoseconds.
    shift: u32,
}

impl Default for Grid {
    fn default() -> Self {
        Self::from(Timestamp::default())
    }
}

impl From<Timestamp> for Grid {
    /// A grid that begins with the capture.
    fn from(start: Timestamp) -> Self {
        Self {
            start,
            shift: FINEST,
        }
    }
}

impl Grid {
    /// The slice of a time; it may lie beyond the last one.
    #[inline]
    pub const fn slice(&self, time: Timestamp) -> u64 {
        time.nanos_since(self.start) >> self.shift
    }

    /// The slice of a time that the grid has, with its own times.
    pub const fn slice_of(&self, time: Timestamp) -> Option<Slice> {
        let number = self.slice(time);
        if !Self::has(number) {
            return None;
        }
        // Times before the grid's start are in its first slice as well, but not found by its times.
        let begin = self.begin(number);
        Some(Slice {
            number,
            begin,
            width: begin.room_for(self.width_ns()),
        })
    }

    /// Whether the grid reaches as far.
    #[inline]
    pub const fn has(slice: u64) -> bool {
        slice < SLICES
    }

    /// How often the slices must double for the grid to have `slice`.
    pub const fn doublings_for(slice: u64) -> u32 {
        let mut doublings = 0;
        while slice >> doublings >= SLICES {
            doublings += 1;
        }
        doublings
    }

    /// How often the slices must double to be those of `other`; 0 when they are as long or longer.
    pub const fn doublings_to(&self, other: &Self) -> u32 {
        other.shift.saturating_sub(self.shift)
    }

    /// Doubles the slices so often.
    pub const fn widen(&mut self, doublings: u32) {
        self.shift += doublings;
    }

    /// Length of a slice, in nanoseconds.
    pub const fn width_ns(&self) -> u64 {
        1 << self.shift
    }

    /// When a slice begins.
    pub const fn begin(&self, slice: u64) -> Timestamp {
        let since = slice << self.shift;
        Timestamp::from_nanos(self.start.as_nanos().saturating_add_unsigned(since))
    }

    /// The slices that lie wholly between two times.
    fn within(&self, from: Timestamp, to: Timestamp) -> RangeInclusive<u64> {
        let after = from.nanos_since(self.start).div_ceil(self.width_ns());
        let before = self.slice(to);
        // `before` holds `to` itself, so the last whole slice is the one before it.
        match before.checked_sub(1) {
            Some(last) => after..=last,
            #[expect(clippy::reversed_empty_ranges, reason = "none is wanted")]
            None => 1..=0,
        }
    }

    /// The slices that a span of time touches.
    const fn touched(&self, from: Timestamp, to: Timestamp) -> RangeInclusive<u64> {
        self.slice(from)..=self.slice(to)
    }
}

/// A slice of a grid, and when it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slice {
    pub number: u64,
    pub begin: Timestamp,
    /// In nanoseconds; 0 where its end cannot be told.
    pub width: u64,
}

/// The slices of a grid in which something happened.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Moments {
    /// 64 slices each, by number; words without a slice are left out.
    words: Vec<(u8, u64)>,
}

impl Moments {
    /// Notes a slice that the grid has.
    #[inline]
    pub fn note(&mut self, slice: u64) {
        let (number, bit) = ((slice / 64) as u8, 1 << (slice % 64));
        match self.words.last_mut() {
            // Time goes on: it is the latest word as a rule.
            Some((latest, bits)) if *latest == number => *bits |= bit,
            _ => self.join_word(number, bit),
        }
    }

    fn join_word(&mut self, number: u8, bits: u64) {
        match self.words.binary_search_by_key(&number, |(at, _)| *at) {
            Ok(at) => self.words[at].1 |= bits,
            Err(at) => self.words.insert(at, (number, bits)),
        }
    }

    /// Notes all slices of another set on the same grid.
    pub fn join(&mut self, other: &Self) {
        for &(number, bits) in &other.words {
            self.join_word(number, bits);
        }
    }

    /// Fits the set to slices of twice the length, so often.
    pub fn widen(&mut self, doublings: u32) {
        // So often, and every slice has become the first.
        for _ in 0..doublings.min(SLICES.ilog2()) {
            self.halve();
        }
    }

    /// Fits the set to slices of twice the length.
    fn halve(&mut self) {
        for (number, bits) in &mut self.words {
            *bits = pairs(*bits) << (u32::from(*number % 2) * 32);
            *number /= 2;
        }
        self.words.dedup_by(|(later, more), (number, bits)| {
            let is_same = later == number;
            *bits |= if is_same { *more } else { 0 };
            is_same
        });
    }

    /// The slices, in order.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.words.iter().flat_map(|&(number, mut bits)| {
            std::iter::from_fn(move || {
                let bit = (bits != 0).then(|| bits.trailing_zeros())?;
                bits &= bits - 1;
                Some(u64::from(number) * 64 + u64::from(bit))
            })
        })
    }

    fn has_any(&self, slices: RangeInclusive<u64>) -> bool {
        let (from, to) = slices.into_inner();
        let words = self.words.iter().filter(|(number, _)| {
            let first = u64::from(*number) * 64;
            first + 63 >= from && first <= to
        });
        from <= to
            && words.into_iter().any(|&(number, bits)| {
                let first = u64::from(number) * 64;
                let low = from.saturating_sub(first);
                let high = (to - first).min(63);
                bits & (u64::MAX << low) & (u64::MAX >> (63 - high)) != 0
            })
    }

    /// Whether it surely happened between two times: in a slice that lies wholly between them.
    pub fn surely_between(&self, grid: &Grid, from: Timestamp, to: Timestamp) -> bool {
        self.has_any(grid.within(from, to))
    }

    /// Whether it may have happened between two times: in a slice that they touch.
    pub fn maybe_between(&self, grid: &Grid, from: Timestamp, to: Timestamp) -> bool {
        self.has_any(grid.touched(from, to))
    }
}

/// Which pairs of neighbouring bits have one set, in the lower half.
const fn pairs(bits: u64) -> u64 {
    let mut pairs = (bits | bits >> 1) & 0x5555_5555_5555_5555;
    pairs = (pairs | pairs >> 1) & 0x3333_3333_3333_3333;
    pairs = (pairs | pairs >> 2) & 0x0f0f_0f0f_0f0f_0f0f;
    pairs = (pairs | pairs >> 4) & 0x00ff_00ff_00ff_00ff;
    pairs = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    (pairs | pairs >> 16) & 0xffff_ffff
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moments(slices: &[u64]) -> Moments {
        let mut all = Moments::default();
        for slice in slices {
            all.note(*slice);
        }
        all
    }

    #[test]
    fn between_is_told_by_whole_slices_only() {
        let grid = Grid::from(Timestamp::from_nanos(1_000));
        let at = |slice: u64, more: i64| Timestamp::from_nanos(grid.begin(slice).as_nanos() + more);
        let set = moments(&[3, 70]);
        assert!(set.surely_between(&grid, at(3, 0), at(4, 0)));
        assert!(
            !set.surely_between(&grid, at(3, 1), at(4, 0)),
            "slice 3 began before"
        );
        assert!(set.maybe_between(&grid, at(3, 1), at(3, 2)));
        assert!(!set.maybe_between(&grid, at(4, 0), at(69, 5)));
        assert!(set.surely_between(&grid, at(4, 0), at(71, 0)));
        assert!(!set.surely_between(&grid, at(0, 0), at(0, 5)));
        assert_eq!(Grid::doublings_for(2047), 0);
        assert_eq!(Grid::doublings_for(2048), 1);
        assert_eq!(set.iter().collect::<Vec<_>>(), [3, 70]);
    }

    proptest! {
        #[test]
        fn order_and_grain_of_joining_change_nothing(
            slices in proptest::collection::vec(0..2048_u64, 0..60),
            cut in 0..60_usize,
            doublings in 0..12_u32,
        ) {
            let (one, other) = slices.split_at(cut.min(slices.len()));
            let mut whole = moments(&slices);
            whole.widen(doublings);
            let mut parts = moments(other);
            parts.widen(doublings);
            let mut first = moments(one);
            first.widen(doublings);
            parts.join(&first);
            prop_assert_eq!(parts, whole);
        }
    }
}
