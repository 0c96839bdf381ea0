//! Durations counted in buckets.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Up to so many durations are kept as they are.
const EXACT: usize = 100;

/// Durations counted in buckets that grow by about 9 % (eight per doubling). The shortest and the
/// longest are exact, and so is every quantile of 100 durations or fewer.
///
/// Merging adds counts, so any grouping of connections gives the same histogram.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Histogram {
    /// `(bucket, count)` in bucket order, once they are many; only buckets that hold something.
    buckets: Vec<(u16, u64)>,
    /// How many were counted.
    count: u64,
    /// All of them in order while they are few, nothing afterwards.
    exact: Vec<Duration>,
    /// The shortest and the longest.
    extremes: Option<(Duration, Duration)>,
}

impl Histogram {
    /// Buckets per doubling of the duration.
    const PER_OCTAVE: f64 = 8.0;

    /// Counts one duration.
    pub fn add(&mut self, duration: Duration) {
        self.count += 1;
        self.widen(duration, duration);
        if !self.buckets.is_empty() {
            add_count(&mut self.buckets, Self::bucket_of(duration), 1);
        } else if self.exact.len() < EXACT {
            if self.exact.len() == self.exact.capacity() && !self.exact.is_empty() {
                // A few or many are the rule.
                let more = (EXACT - self.exact.len()).min(3 * self.exact.len());
                self.exact.reserve_exact(more);
            }
            let at = self.exact.partition_point(|known| *known <= duration);
            self.exact.insert(at, duration);
        } else {
            self.spread();
            add_count(&mut self.buckets, Self::bucket_of(duration), 1);
        }
    }

    /// Adds all counts of another histogram.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        if let Some((shortest, longest)) = other.extremes {
            self.widen(shortest, longest);
        }
        if self.count <= EXACT as u64 {
            self.exact.extend_from_slice(&other.exact);
            self.exact.sort_unstable();
            return;
        }
        self.spread();
        for (bucket, count) in other.counts() {
            add_count(&mut self.buckets, bucket, count);
        }
    }

    /// Counts those in buckets that were kept as they are.
    fn spread(&mut self) {
        for duration in std::mem::take(&mut self.exact) {
            add_count(&mut self.buckets, Self::bucket_of(duration), 1);
        }
    }

    /// `(bucket, count)` in bucket order.
    fn counts(&self) -> Vec<(u16, u64)> {
        let mut counts = self.buckets.clone();
        for duration in &self.exact {
            add_count(&mut counts, Self::bucket_of(*duration), 1);
        }
        counts
    }

    /// How many durations were counted.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The duration that the share `quantile` (0–1) of the counted ones does not exceed. Of more
    /// than 100 durations it is the middle of a bucket, so right within about 5 %, but never outside
    /// of what was counted. `None` when nothing was counted.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let (shortest, longest) = self.extremes?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rank within the count"
        )]
        let rank = ((self.count as f64 * quantile.clamp(0.0, 1.0)).ceil() as u64)
            .clamp(1, self.count.max(1));
        if rank == self.count {
            return Some(longest);
        }
        if !self.exact.is_empty() {
            return self.exact.get(usize::try_from(rank - 1).ok()?).copied();
        }
        let mut below = 0;
        let middle = self.buckets.iter().find_map(|&(bucket, count)| {
            below += count;
            (below >= rank).then(|| Self::middle_of(bucket))
        });
        middle.map(|middle| middle.clamp(shortest, longest))
    }

    /// `(middle of bucket, count)` in order.
    pub fn iter(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let counts = self.counts().into_iter();
        counts.map(|(bucket, count)| (Self::middle_of(bucket), count))
    }

    fn widen(&mut self, shortest: Duration, longest: Duration) {
        let (least, most) = self.extremes.unwrap_or((shortest, longest));
        self.extremes = Some((least.min(shortest), most.max(longest)));
    }

    fn bucket_of(duration: Duration) -> u16 {
        let micros = duration.as_secs_f64() * 1e6;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "log2 of at most 2^64 times 8"
        )]
        let bucket = ((micros + 1.0).log2() * Self::PER_OCTAVE) as u16;
        bucket
    }

    fn middle_of(bucket: u16) -> Duration {
        let micros = ((f64::from(bucket) + 0.5) / Self::PER_OCTAVE).exp2() - 1.0;
        Duration::from_secs_f64(micros.max(0.0) / 1e6)
    }
}

/// Adds to the count of a bucket; most are added in order.
fn add_count(buckets: &mut Vec<(u16, u64)>, bucket: u16, count: u64) {
    match buckets.binary_search_by_key(&bucket, |(known, _)| *known) {
        Ok(at) => buckets[at].1 += count,
        Err(at) => buckets.insert(at, (bucket, count)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(millis: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        for one in millis {
            histogram.add(Duration::from_millis(one));
        }
        histogram
    }

    #[test]
    fn few_durations_are_exact() {
        let histogram = counted([19_278, 3, 1_000]);
        let at = |quantile| histogram.quantile(quantile).map(|it| it.as_millis());
        assert_eq!(at(0.5), Some(1_000));
        assert_eq!(at(0.95), Some(19_278));
        assert_eq!(at(0.0), Some(3));
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    #[test]
    fn many_durations_keep_exact_extremes() {
        let histogram = counted((1..=1_000).map(|_| 1_000));
        for quantile in [0.0, 0.5, 0.95, 1.0] {
            assert_eq!(histogram.quantile(quantile), Some(Duration::from_secs(1)));
        }
    }

    #[test]
    fn any_grouping_gives_the_same() {
        for size in [90, 100, 101, 250] {
            let whole = counted(0..size);
            for cut in [0, 1, 50, size - 1] {
                let mut parts = counted(cut..size);
                parts.merge(&counted(0..cut));
                assert_eq!(parts, whole, "{size} cut at {cut}");
            }
        }
    }
}
