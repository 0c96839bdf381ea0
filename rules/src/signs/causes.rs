//! Occurrences of one cause that two timers stand behind.

use std::collections::BTreeMap;

use crate::model::observation::Observation;
use crate::model::timeouts::{Cluster, cluster};

/// Parts occurrences that share a cause where two timers stand behind it: each seen at least
/// three times, a third or more apart. Otherwise all stay together, strays included.
pub(crate) fn split_causes<S>(
    observations: &mut [Observation<S>],
    wait_ms: impl Fn(&S) -> Option<f64>,
) {
    let mut by_cause = BTreeMap::<String, Vec<usize>>::new();
    for (index, observation) in observations.iter().enumerate() {
        if wait_ms(&observation.seen).is_none() {
            continue;
        }
        by_cause
            .entry(observation.cause.clone())
            .or_default()
            .push(index);
    }
    for (cause, members) in by_cause {
        let values: Vec<f64> = members
            .iter()
            .map(|index| wait_ms(&observations[*index].seen).unwrap_or_default())
            .collect();
        let timers: Vec<Cluster> = cluster(&values)
            .into_iter()
            .filter(Cluster::is_timer)
            .collect();
        let apart = timers
            .windows(2)
            .all(|pair| pair[1].median_ms > pair[0].median_ms * 1.33);
        if timers.len() < 2 || !apart {
            continue;
        }
        for (index, value) in members.iter().zip(&values) {
            let nearest = timers
                .iter()
                .map(|timer| timer.median_ms)
                .min_by(|a, b| (a - value).abs().total_cmp(&(b - value).abs()));
            if let Some(nearest) = nearest {
                observations[*index].cause = format!("{cause} {nearest:012.0} ms");
            }
        }
    }
}
