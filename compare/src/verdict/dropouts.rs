//! When a capture misses packets: one by one, or many in a row.
//!
//! A capture that misses in a row misses what comes and what leaves, of all connections. What lies
//! beside packets that it missed for certain was missed rather than lost.

use std::collections::HashMap;

use super::settle::HopKey;

/// Nanoseconds within which packets are beside each other; the one that tells most is taken.
const BESIDE: [i64; 5] = [250_000, 1_000_000, 4_000_000, 16_000_000, 64_000_000];

/// What is known of one point as against another.
#[derive(Default)]
struct Times {
    /// Of packets that it missed for certain.
    missed: Vec<i64>,
    /// Of some packets that it saw.
    seen: Vec<i64>,
    beside: i64,
    /// Which part of either lies beside a missed one.
    of_missed: f64,
    of_seen: f64,
}

/// What is known of all points, by the point and the one at the other end of the hop.
#[derive(Default)]
pub(super) struct Dropouts(HashMap<HopKey, Times>);

impl Dropouts {
    pub fn add_missed(&mut self, key: HopKey, time: i64) {
        self.0.entry(key).or_default().missed.push(time);
    }

    pub fn add_seen(&mut self, key: HopKey, times: &[i64]) {
        self.0.entry(key).or_default().seen.extend_from_slice(times);
    }

    /// Learns how near to each other the missed ones are.
    pub fn learn(&mut self) {
        for times in self.0.values_mut() {
            times.missed.sort_unstable();
            let told = BESIDE.map(|beside| times.told(beside));
            let best = told.into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
            if let Some((_, beside, of_missed, of_seen)) = best {
                (times.beside, times.of_missed, times.of_seen) = (beside, of_missed, of_seen);
            }
        }
    }

    /// Whether a moment lies beside a packet that the point missed.
    pub fn is_beside(&self, key: HopKey, time: i64) -> bool {
        self.0
            .get(&key)
            .is_some_and(|times| times.is_beside(time, times.beside, 0))
    }

    /// How much likelier that is for a missed packet than for another one.
    pub fn likelihood(&self, key: HopKey, is_beside: bool) -> f64 {
        let Some(times) = self.0.get(&key).filter(|times| times.beside > 0) else {
            return 1.0;
        };
        if is_beside {
            times.of_missed / times.of_seen
        } else {
            (1.0 - times.of_missed) / (1.0 - times.of_seen)
        }
    }

    /// About how many are missed in a row.
    pub fn row(&self, key: HopKey) -> f64 {
        let times = self.0.get(&key).filter(|times| times.beside > 0);
        times.map_or(1.0, |times| {
            let chance = (times.of_missed - times.of_seen).clamp(0.0, 0.95);
            1.0 / (1.0 - chance)
        })
    }
}

impl Times {
    /// What a distance tells (the divergence of both shares), with it and the shares.
    fn told(&self, beside: i64) -> (f64, i64, f64, f64) {
        // Half a packet more on either side, so that nothing is certain.
        let share = |count: usize, of: usize| (count as f64 + 0.5) / (of as f64 + 1.0);
        let missed = self.missed.iter();
        let of_missed = missed
            .filter(|time| self.is_beside(**time, beside, 1))
            .count();
        let seen = self.seen.iter();
        let of_seen = seen
            .filter(|time| self.is_beside(**time, beside, 0))
            .count();
        let (p, q) = (
            share(of_missed, self.missed.len()),
            share(of_seen, self.seen.len()),
        );
        let told = p * (p / q).ln() + (1.0 - p) * ((1.0 - p) / (1.0 - q)).ln();
        (told, beside, p, q)
    }

    /// Whether more than `own` missed ones are so near.
    fn is_beside(&self, time: i64, beside: i64, own: usize) -> bool {
        let from = self
            .missed
            .partition_point(|one| *one < time.saturating_sub(beside));
        let until = self
            .missed
            .partition_point(|one| *one <= time.saturating_add(beside));
        until - from > own
    }
}
