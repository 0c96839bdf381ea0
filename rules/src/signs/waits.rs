//! Waits of several that overlap on the clock.

use std::time::Duration;

use analyzer::Timestamp;

/// The time on the clock that intervals cover together; what overlaps counts once.
pub(crate) fn union(intervals: impl Iterator<Item = (Timestamp, Timestamp)>) -> Duration {
    let mut intervals: Vec<_> = intervals.collect();
    intervals.sort_unstable();
    let mut covered = Duration::ZERO;
    let mut reached: Option<Timestamp> = None;
    for (from, to) in intervals {
        let from = reached.map_or(from, |reached| from.max(reached));
        covered += to.since(from);
        reached = Some(reached.map_or(to, |reached| reached.max(to)));
    }
    covered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::at;

    #[test]
    fn overlapping_waits_count_once() {
        let intervals = [(0.0, 10.0), (5.0, 7.0), (8.0, 12.0), (20.0, 21.0)];
        let intervals = intervals.map(|(from, to)| (at(from), at(to)));
        assert_eq!(union(intervals.into_iter()), Duration::from_millis(13));
    }
}
