//! How many closes of one server agree on a timer.

use std::collections::BTreeMap;

use super::seen::Seen;
use crate::model::observation::Observation;
use crate::model::text::ms;
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

/// How many of these closes agree by themselves. Closes at one moment that lie closer together than
/// their waits differ were one decision, such as the end of their program, unless the wait is one that
/// people choose; a timer spreads closes as the requests were spread.
fn independent<'a>(closes: impl Iterator<Item = &'a Observation<Seen>>, is_chosen: bool) -> usize {
    let mut moments: Vec<_> = closes.map(|one| (one.at, one.seen.timeout_ms)).collect();
    moments.sort_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)));
    moments.dedup_by(|later, earlier| {
        let apart = later.0.since(earlier.0);
        let differ = (later.1 - earlier.1).abs();
        !is_chosen && apart <= ONE_INSTANT && ms(apart) <= differ
    });
    moments.len()
}
