//! How many closes of one server agree on a timer.

use std::collections::BTreeMap;

use super::Seen;
use crate::model::observation::Observation;
use crate::model::timeouts::{self, is_round};
use crate::signs::restart::ONE_INSTANT;

/// How many connections to the same server waited as long, by first frame of the connection.
pub(super) fn sizes(observations: &[Observation<Seen>]) -> BTreeMap<u64, usize> {
    let mut by_server = BTreeMap::<_, Vec<&Observation<Seen>>>::new();
    for one in observations {
        let server = by_server.entry(one.connection.server).or_default();
        server.push(one);
    }
    let mut sizes = BTreeMap::new();
    for group in by_server.values() {
        let wait = |one: &&Observation<Seen>| one.seen.timeout_ms;
        let values: Vec<f64> = group.iter().map(wait).collect();
        for timer in timeouts::cluster(&values) {
            let members = timer.members.iter().map(|member| group[*member]);
            let is_chosen = is_round(timer.median_ms);
            let size = independent(members.clone(), is_chosen);
            sizes.extend(members.map(|one| (one.connection.first_frame, size)));
        }
    }
    sizes
}

/// How many of these closes agree by themselves. Connections that were closed at one moment were
/// closed by one decision, such as the end of their program, unless the wait is one that people
/// choose.
fn independent<'a>(closes: impl Iterator<Item = &'a Observation<Seen>>, is_chosen: bool) -> usize {
    let mut moments: Vec<_> = closes.map(|one| one.at).collect();
    moments.sort_unstable();
    moments.dedup_by(|later, earlier| !is_chosen && later.since(*earlier) <= ONE_INSTANT);
    moments.len()
}
