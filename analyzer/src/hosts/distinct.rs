//! How many different values there were, in bounded space.

use std::hash::{BuildHasher, Hash};

use serde::{Deserialize, Serialize};

use foldhash::fast::FixedState;

/// Hashes kept.
const KEPT: usize = 64;

/// Counts different values: exactly up to 64, beyond that by how dense the smallest hashes lie.
///
/// What is kept are the smallest hashes of all, so joining in any order gives the same.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Distinct {
    /// In ascending order.
    smallest: Vec<u32>,
}

/// The hash by which a value is told from others; the same in every run.
pub(crate) fn tag(value: impl Hash) -> u32 {
    (FixedState::with_seed(0x686f_7374).hash_one(value) >> 32) as u32
}

impl Distinct {
    /// Notes a value by its [`tag`].
    pub fn note(&mut self, tag: u32) {
        if self.smallest.len() >= KEPT && self.smallest.last().is_some_and(|last| tag >= *last) {
            return;
        }
        if let Err(at) = self.smallest.binary_search(&tag) {
            self.smallest.insert(at, tag);
            self.smallest.truncate(KEPT);
        }
    }

    /// Notes all values of another.
    pub fn join(&mut self, other: &Self) {
        for tag in &other.smallest {
            self.note(*tag);
        }
    }

    /// How many; an estimate from 64 on.
    pub fn count(&self) -> u64 {
        match self.smallest.last() {
            Some(last) if self.smallest.len() >= KEPT => {
                // The 64 smallest of n hashes that are spread evenly lie below 64/n of the range.
                (KEPT as u64 - 1) * (1 << 32) / (u64::from(*last) + 1)
            }
            _ => self.smallest.len() as u64,
        }
    }

    /// The tags kept, in order.
    pub fn tags(&self) -> &[u32] {
        &self.smallest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_counted_and_many_estimated() {
        let of = |values: std::ops::Range<u32>| {
            let mut distinct = Distinct::default();
            for value in values {
                distinct.note(tag(value));
            }
            distinct
        };
        assert_eq!(of(0..63).count(), 63);
        let many = of(0..10_000);
        assert!((8_000..12_500).contains(&many.count()), "{}", many.count());
        let (mut one, mut other) = (of(0..4_000), of(3_000..10_000));
        one.join(&other);
        other.join(&of(0..4_000));
        assert!(one == many && other == many);
    }
}
