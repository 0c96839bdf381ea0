//! Durations counted in buckets.

use std::time::Duration;

/// Durations counted in buckets that grow by about 9 % (eight per doubling).
///
/// Merging adds counts, so any grouping of connections gives the same histogram.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Histogram {
    /// `(bucket, count)` in bucket order; only buckets that hold something.
    buckets: Vec<(u16, u64)>,
}

impl Histogram {
    /// Buckets per doubling of the duration.
    const PER_OCTAVE: f64 = 8.0;

    /// Counts one duration.
    pub fn add(&mut self, duration: Duration) {
        self.add_count(Self::bucket_of(duration), 1);
    }

    /// Adds all counts of another histogram.
    pub fn merge(&mut self, other: &Self) {
        for &(bucket, count) in &other.buckets {
            self.add_count(bucket, count);
        }
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// The duration below which the share `quantile` (0–1) of the counted ones lies: the middle
    /// of its bucket, so right within about 5 %. `None` when nothing was counted.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let total = self.count();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rank within the count"
        )]
        let rank = ((total as f64 * quantile.clamp(0.0, 1.0)).ceil() as u64).clamp(1, total.max(1));
        let mut below = 0;
        self.buckets.iter().find_map(|&(bucket, count)| {
            below += count;
            (below >= rank).then(|| Self::middle_of(bucket))
        })
    }

    /// `(middle of bucket, count)` in order.
    pub fn iter(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        self.buckets
            .iter()
            .map(|&(bucket, count)| (Self::middle_of(bucket), count))
    }

    fn add_count(&mut self, bucket: u16, count: u64) {
        match self
            .buckets
            .binary_search_by_key(&bucket, |(known, _)| *known)
        {
            Ok(at) => self.buckets[at].1 += count,
            Err(at) => self.buckets.insert(at, (bucket, count)),
        }
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
