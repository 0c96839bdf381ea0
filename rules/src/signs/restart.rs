//! Closes of `keepalive-race` that are one event: the server's process ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use analyzer::{Endpoint, Timestamp};

use crate::model::observation::{Collected, Note};
use crate::model::timeouts::cluster;
use crate::signs::idle_close::{End, IdleEnd};

/// Connections closed within one second of each other may be one event at the server.
pub(crate) const RESTART_WINDOW: Duration = Duration::from_secs(1);
/// So many must close together, with idle times that differ, to call it a restart.
const RESTART_CONNECTIONS: usize = 4;
/// Closes of a process that ends lie this close together.
pub(crate) const ONE_INSTANT: Duration = Duration::from_millis(100);

/// Moments at which a server closed many connections at once that no single idle time explains.
pub(crate) fn restarts<S>(
    collected: &Collected<S, IdleEnd>,
    idle_ms: impl Fn(&S) -> Option<f64>,
) -> BTreeMap<Endpoint, BTreeSet<Timestamp>> {
    let mut closes = BTreeMap::<Endpoint, Vec<(Timestamp, Option<f64>)>>::new();
    let by_server = |note: &&Note<IdleEnd>| note.fact.by == End::Server;
    for note in collected.notes.iter().filter(by_server) {
        closes
            .entry(note.connection.server)
            .or_default()
            .push((note.at, Some(note.fact.idle_ms)));
    }
    for observation in &collected.observations {
        closes
            .entry(observation.connection.server)
            .or_default()
            .push((observation.at, idle_ms(&observation.seen)));
    }
    let mut found = BTreeMap::<_, BTreeSet<_>>::new();
    for (server, mut list) in closes {
        list.sort_by(|a, b| {
            a.0.cmp(&b.0)
                .then(a.1.unwrap_or(0.0).total_cmp(&b.1.unwrap_or(0.0)))
        });
        for from in 0..list.len() {
            if is_restart(&list[from..]) {
                found.entry(server).or_default().insert(list[from].0);
            }
        }
    }
    found
}

/// Whether the closes from the first of `list` on are those of a process that ended.
fn is_restart(list: &[(Timestamp, Option<f64>)]) -> bool {
    let begin = list[0].0;
    let within = |window: Duration| {
        let near = list
            .iter()
            .take_while(move |(at, _)| at.since(begin) <= window);
        near.map(|(_, idle)| *idle)
    };
    // Idle times from before the capture: only that they end together is known.
    let unknown = within(ONE_INSTANT).filter(Option::is_none).count();
    if unknown >= RESTART_CONNECTIONS && unknown * 2 > within(RESTART_WINDOW).count() {
        return true;
    }
    let ages: Vec<f64> = within(RESTART_WINDOW).flatten().collect();
    let timers = cluster(&ages);
    let largest = timers.iter().map(|timer| timer.members.len()).max();
    let youngest = ages.iter().copied().fold(f64::INFINITY, f64::min);
    let oldest = ages.iter().copied().fold(0.0, f64::max);
    // Different ages, too far apart for a timer that fires late (a sweep every second): no single
    // value explains even half of them.
    ages.len() >= RESTART_CONNECTIONS
        && largest.unwrap_or(0) * 2 <= ages.len()
        && oldest > youngest * 2.0
}
