//! Waits that ended in a close, over connections, and the timers that show in them.

use crate::model::figure::Spread;
use crate::model::figure::spread;
use crate::model::timeouts::{ProductDefault, Wait, cluster, matching};

/// Single values kept of one kind of wait; more are thinned evenly.
const VALUES: usize = 1_000;
/// Timers named of one kind of wait, those with most connections.
const TIMERS: usize = 8;

/// How long one side waited before it closed, connection by connection.
#[derive(Clone, PartialEq, Debug)]
pub struct Waits {
    /// What was waited for, and so whose setting ended it.
    pub wait: Wait,
    /// Milliseconds, sorted, at most 1,000 (evenly thinned).
    pub values_ms: Vec<f64>,
    /// Values before thinning.
    pub count: u64,
    /// Values that agree with each other, by rising value; at most eight.
    pub timers: Vec<Timer>,
}

/// Waits that one timer explains.
#[derive(Clone, PartialEq, Debug)]
pub struct Timer {
    /// Count, extremes and median, in milliseconds.
    pub spread: Spread,
    /// Documented defaults that agree with the median; none of them is proved by it.
    pub typical_of: Vec<&'static ProductDefault>,
}

impl Waits {
    /// The waits and their timers; `None` when there is not one.
    #[must_use]
    pub fn new(wait: Wait, mut values_ms: Vec<f64>) -> Option<Self> {
        values_ms.retain(|value| value.is_finite());
        values_ms.sort_by(f64::total_cmp);
        let count = values_ms.len();
        let mut timers: Vec<Timer> = cluster(&values_ms)
            .into_iter()
            .filter_map(|cluster| {
                let mut members: Vec<f64> =
                    cluster.members.iter().map(|at| values_ms[*at]).collect();
                let spread = spread(&mut members)?;
                Some(Timer {
                    typical_of: matching(spread.median, wait),
                    spread,
                })
            })
            .collect();
        timers.sort_by_key(|timer| std::cmp::Reverse(timer.spread.count));
        timers.truncate(TIMERS);
        timers.sort_by(|a, b| a.spread.median.total_cmp(&b.spread.median));
        let step = count.div_ceil(VALUES).max(1);
        (count > 0).then(|| Self {
            wait,
            values_ms: values_ms.into_iter().step_by(step).collect(),
            count: count as u64,
            timers,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_timers_show_in_mixed_waits() {
        let values = vec![5_001.0, 60_010.0, 5_003.0, 5_008.0, 60_000.0];
        let waits = Waits::new(Wait::ServerIdle, values).unwrap();
        let medians: Vec<_> = waits
            .timers
            .iter()
            .map(|timer| (timer.spread.median, timer.spread.count))
            .collect();
        assert_eq!(medians, [(5_003.0, 3), (60_005.0, 2)]);
        let products = &waits.timers[0].typical_of;
        assert!(products.iter().any(|one| one.product.contains("uvicorn")));
        assert_eq!(waits.values_ms[0], 5_001.0);
    }

    #[test]
    fn bounds_hold() {
        let values: Vec<f64> = (1..=5_000_u32).map(|n| f64::from(n) * 997.0).collect();
        let waits = Waits::new(Wait::Answer, values).unwrap();
        assert_eq!((waits.values_ms.len(), waits.count), (1_000, 5_000));
        assert_eq!(waits.timers.len(), TIMERS);
        assert!(Waits::new(Wait::Answer, vec![f64::NAN]).is_none());
    }
}
