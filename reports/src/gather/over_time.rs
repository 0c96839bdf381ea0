//! Durations over capture time: how round trips of connections changed while the capture ran.
//!
//! Slots are as wide as they must be for at most [`MAX_SLOTS`] of them. The width depends on the
//! values alone, so it is the same however connections were spread over shards.

use std::collections::BTreeMap;
use std::time::Duration;

use analyzer::Timestamp;
use analyzer::connection::Histogram;
use serde::{Deserialize, Serialize};

use crate::document::{DurationSlot, DurationsOverTime, millis, seconds};

/// Slots that hold something, at most.
const MAX_SLOTS: usize = 256;

/// Narrowest slot, in nanoseconds.
const NARROWEST: i64 = 1_000_000;

/// Durations counted by when they were measured.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct OverTime {
    /// Slots are `NARROWEST << doublings` wide.
    doublings: u32,
    slots: BTreeMap<i64, Histogram>,
}

impl OverTime {
    pub fn add(&mut self, time: Timestamp, duration: Duration) {
        let slot = time.as_nanos().div_euclid(self.width());
        self.slots.entry(slot).or_default().add(duration);
        self.fit();
    }

    pub fn append(&mut self, other: &Self) {
        let mut other = other.clone();
        while other.doublings < self.doublings {
            other.double();
        }
        while self.doublings < other.doublings {
            self.double();
        }
        for (slot, histogram) in &other.slots {
            self.slots.entry(*slot).or_default().merge(histogram);
        }
        self.fit();
    }

    const fn width(&self) -> i64 {
        NARROWEST << self.doublings
    }

    fn fit(&mut self) {
        while self.slots.len() > MAX_SLOTS {
            self.double();
        }
    }

    fn double(&mut self) {
        self.doublings += 1;
        for (slot, histogram) in std::mem::take(&mut self.slots) {
            let wider = self.slots.entry(slot.div_euclid(2)).or_default();
            wider.merge(&histogram);
        }
    }

    /// `None` when nothing was counted. `start` is the capture's first frame.
    pub fn finish(&self, start: Option<Timestamp>) -> Option<DurationsOverTime> {
        let start = start?.as_nanos();
        let slots = self.slots.iter().filter_map(|(slot, histogram)| {
            let quantile = |at| histogram.quantile(at).map(millis);
            let from = slot.saturating_mul(self.width()).saturating_sub(start);
            Some(DurationSlot {
                from_s: from as f64 / 1e9,
                count: histogram.count(),
                p50_ms: quantile(0.5)?,
                max_ms: quantile(1.0)?,
            })
        });
        let slots: Vec<_> = slots.collect();
        let width = Duration::from_nanos(self.width().unsigned_abs());
        (!slots.is_empty()).then(|| DurationsOverTime {
            slot_s: seconds(width),
            slots,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_the_same_however_values_are_spread() {
        let fill = |shards: usize| {
            let mut parts = vec![OverTime::default(); shards];
            for n in 0..4_000_i64 {
                let time = Timestamp::from_nanos(1_700_000_000_000_000_000 + n * n * 700_000);
                let rtt = Duration::from_micros(n.unsigned_abs() % 97);
                parts[n.unsigned_abs() as usize * 31 % shards].add(time, rtt);
            }
            let mut all = OverTime::default();
            parts.iter().for_each(|part| all.append(part));
            all
        };
        let one = fill(1);
        assert!(one.slots.len() <= MAX_SLOTS && one.slots.len() > MAX_SLOTS / 8);
        assert_eq!(one, fill(9));
    }
}
