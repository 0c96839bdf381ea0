//! Actions of all connections with the lookups that led to them, and their figures.
//!
//! What is kept is bounded: the actions and lookups of the connections that began first stay, so that
//! every lookup kept meets the connections after it. What is left out is counted.

use std::cmp::Reverse;
use std::time::Duration;

use analyzer::{Connection, Timestamp};
use serde::{Deserialize, Serialize};

use super::action::{Action, Span, Step, requests_of};
use super::kept::Kept;
use super::lookups::{Lookup, Resolutions};
use crate::document::{ActionRow, ActionStep, Actions, StepTimes, millis, seconds};
use crate::words::format;

/// Actions kept, at about 500 bytes each.
const ACTIONS: usize = 25_000;

/// Lookups kept, at about 200 bytes each.
const LOOKUPS: usize = 25_000;

/// Actions shown one by one.
const SLOWEST: usize = 10;

/// The earliest connection, its ports (one frame can begin several), and the place on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
struct Place(Reverse<(u64, u16, u16, usize)>);

impl Place {
    const fn of(connection: &Connection, ordinal: usize) -> Self {
        let (client, server) = (connection.client.port, connection.server.port);
        Self(Reverse((connection.first_frame, client, server, ordinal)))
    }
}

/// Counts of what could have been kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ActionCounts {
    requests: u64,
    lookups: u64,
}

impl ActionCounts {
    pub fn add(&mut self, connection: &Connection) {
        self.lookups += Lookup::count_of(connection);
        self.requests += requests_of(connection);
    }

    pub const fn append(&mut self, other: Self) {
        self.requests += other.requests;
        self.lookups += other.lookups;
    }
}

/// Actions and lookups with what decided that they are kept.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct KeptActions {
    actions: Vec<(Place, Action)>,
    lookups: Vec<(Place, Lookup)>,
}

/// Actions and lookups of one shard, in stores that all shards share.
#[derive(Debug)]
pub(super) struct ActionStore {
    actions: Kept<Place, Action>,
    lookups: Kept<Place, Lookup>,
}

impl ActionStore {
    pub fn new() -> Self {
        Self {
            actions: Kept::new(ACTIONS),
            lookups: Kept::new(LOOKUPS),
        }
    }

    /// Another handle on the same stores.
    pub fn share(&self) -> Self {
        Self {
            actions: self.actions.share(),
            lookups: self.lookups.share(),
        }
    }

    pub fn add(&mut self, connection: &Connection) {
        let place = |ordinal| Place::of(connection, ordinal);
        if !self.actions.is_beneath(place(0)) {
            for (ordinal, action) in Action::of(connection).into_iter().enumerate() {
                self.actions.offer(place(ordinal), || action);
            }
        }
        for (ordinal, lookup) in Lookup::of(connection).enumerate() {
            self.lookups.offer(place(ordinal), || lookup);
        }
    }

    pub fn append(&mut self, other: Self) {
        self.actions.append(other.actions);
        self.lookups.append(other.lookups);
    }

    /// Takes out what all handles keep.
    pub fn take(&self) -> KeptActions {
        KeptActions {
            actions: self.actions.take(),
            lookups: self.lookups.take(),
        }
    }

    /// Offers what was taken out of another store.
    pub fn put(&mut self, kept: KeptActions) {
        self.actions.put(kept.actions);
        self.lookups.put(kept.lookups);
    }

    /// All actions with their lookups, in the order in which they began.
    pub fn joined(self) -> Vec<Action> {
        let mut actions = self.actions.into_sorted();
        let mut lookups = Resolutions::new(self.lookups.into_sorted());
        let began = |action: &Action| (action.start(), action.frame, action.client.port);
        actions.sort_by_cached_key(began);
        let mut looked_up = false;
        for action in &mut actions {
            let found = action.opened().and_then(|opened| {
                let name = action.looked_up_as();
                lookups.take(action.client.ip, action.called.ip, name, opened)
            });
            if let Some(lookup) = found {
                action.looked_up(lookup);
                looked_up = true;
            }
        }
        if looked_up {
            actions.sort_by_cached_key(began);
        }
        actions
    }
}

/// The figures of all actions and the slowest of them; `start` is the capture's first frame. `None`
/// without any request.
pub(super) fn view(
    actions: &[Action],
    counts: ActionCounts,
    start: Option<Timestamp>,
) -> Option<Actions> {
    let count = actions.iter().filter(|one| one.request.is_some()).count() as u64;
    if count == 0 {
        return None;
    }
    let mut slowest: Vec<&Action> = actions.iter().collect();
    slowest.sort_by_cached_key(|action| (Reverse(action.total()), action.frame));
    let slowest = slowest.into_iter().take(SLOWEST);
    let seen = counts.requests.max(count);
    Some(Actions {
        count,
        seen,
        note: note(count, seen, actions.len(), counts.lookups),
        steps: step_times(actions),
        slowest: slowest.filter_map(|one| row(one, start)).collect(),
    })
}

fn note(count: u64, seen: u64, kept: usize, lookups: u64) -> Option<String> {
    let mut notes = Vec::new();
    if count < seen {
        notes.push(format!(
            "{} of {} are shown here: of each connection the slowest, the latest and the first failed ones, so \
             that the figures lean towards slow requests",
            format::count(count),
            format::counted(seen, "request")
        ));
    }
    if kept >= ACTIONS {
        notes.push(format!(
            "the limit of {} was reached, and connections that began later are missing",
            format::counted(ACTIONS as u64, "request")
        ));
    }
    if lookups > LOOKUPS as u64 {
        notes.push(format!(
            "the limit of {} was reached, and later ones are missing",
            format::counted(LOOKUPS as u64, "DNS lookup")
        ));
    }
    (!notes.is_empty()).then(|| notes.join("; "))
}

fn step_times(actions: &[Action]) -> Vec<StepTimes> {
    let own = |step: Step| {
        let spans = actions.iter().filter_map(move |action| {
            let answered = step != Step::Server || action.has_response();
            action.step(step).filter(|_| answered)
        });
        spans.map(|span: Span| span.own()).collect::<Vec<_>>()
    };
    let requests = || actions.iter().filter(|action| action.request.is_some());
    let recovery = requests().map(Action::recovery);
    let complete = requests().filter(|action| action.is_complete);
    let mut all: Vec<(&str, Vec<Duration>)> = Vec::new();
    for step in Step::ALL {
        if step == Step::Body {
            let first_byte = requests().filter_map(Action::first_byte);
            all.push(("first_byte", first_byte.collect()));
        }
        all.push((step.as_str(), own(step)));
    }
    all.push((
        "recovery",
        recovery.filter(|time| !time.is_zero()).collect(),
    ));
    all.push(("total", complete.map(Action::total).collect()));
    all.into_iter()
        .filter_map(|(step, mut times)| {
            times.sort_unstable();
            // A request in one packet takes no time to send.
            times.last().filter(|longest| !longest.is_zero())?;
            Some(StepTimes {
                step: step.to_owned(),
                count: times.len() as u64,
                p50_ms: millis(quantile(&times, 50)?),
                p95_ms: millis(quantile(&times, 95)?),
                max_ms: millis(quantile(&times, 100)?),
            })
        })
        .collect()
}

/// The one of sorted values that so many percent of them do not exceed.
pub(super) fn quantile<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

fn row(action: &Action, capture_start: Option<Timestamp>) -> Option<ActionRow> {
    let start = action.start()?;
    let steps = action.steps().map(|(step, span)| ActionStep {
        step: step.as_str().to_owned(),
        from_ms: millis(span.from.since(start)),
        ms: millis(span.to.since(span.from)),
        recovery_ms: millis(span.recovery),
    });
    Some(ActionRow {
        client: action.client.to_string(),
        server: action.server.to_string(),
        name: action.name.clone(),
        protocol: action.protocol.clone().into_owned(),
        request: action.request.clone(),
        outcome: action.outcome.clone(),
        complete: action.is_complete,
        start: start.rfc3339(),
        start_s: capture_start.map_or(0.0, |first| seconds(start.since(first))),
        total_ms: millis(action.total()),
        frame: action.frame,
        first_frame: action.first_frame,
        steps: steps.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        assert_eq!(quantile::<u64>(&[], 50), None);
        assert_eq!(quantile(&[7], 50), Some(7));
        let values: Vec<u64> = (1..=20).collect();
        assert_eq!(
            [50, 95, 100].map(|percent| quantile(&values, percent)),
            [Some(10), Some(19), Some(20)]
        );
    }

    #[test]
    fn what_is_left_out_is_said() {
        assert_eq!(note(12, 12, 14, 3), None);
        let note = note(25_000, 90_000, ACTIONS, 60_000).unwrap();
        assert!(note.starts_with("25,000 of 90,000 requests"), "{note}");
        assert!(note.contains("25,000 DNS lookups"), "{note}");
    }
}
