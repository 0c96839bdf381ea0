//! Which unanswered attempts have one cause, and what each cause did.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use analyzer::{Endpoint, Timestamp};

use super::seen::Seen;
use crate::model::impact::Impact;
use crate::model::observation::Observation;
use crate::signs::attempts::Attempts;

/// What two attempts of one cause have in common.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Bond {
    /// The destination.
    Server(Endpoint),
    /// The client and the time: the first frame of the moment in which it waited for all of them.
    Moment(IpAddr, u64),
    /// The name of the destination.
    Name(usize),
}

/// Gives all attempts of one cause the same text: those at one destination, those of one client
/// that waited at the same time, those at addresses of one name.
pub(super) fn name(observations: &mut [Observation<Seen>], attempts: &Attempts<'_>) {
    let mut groups = Groups::new(observations.len());
    let moments = moments(observations);
    let mut bonds = BTreeMap::<Bond, usize>::new();
    for (index, one) in observations.iter().enumerate() {
        if one.seen.nobody.is_some() {
            continue;
        }
        let server = one.connection.server;
        let names = attempts
            .names_of(server.ip)
            .iter()
            .map(|name| Bond::Name(*name));
        let moment = Bond::Moment(one.connection.client.ip, moments[index]);
        for bond in names.chain([Bond::Server(server), moment]) {
            let first = *bonds.entry(bond).or_insert(index);
            groups.join(first, index);
        }
    }
    for index in 0..observations.len() {
        let first = groups.of(index);
        let cause = match observations[index].seen.nobody {
            Some(nobody) => nobody.cause(&observations[index].connection),
            None => observations[first].connection.server.to_string(),
        };
        observations[index].cause = cause;
    }
}

/// What the attempts of one cause did together. Those of one client count that went to one
/// destination, or waited at the same time: tries of one thing after another do not add up.
/// Who opens a second connection while the first waits wants the destination, and waits for it.
pub(super) fn impact(observations: &[Observation<Seen>]) -> Impact {
    let mut all = Impact::NONE;
    let mut at_server = BTreeMap::<(IpAddr, Endpoint), u64>::new();
    let mut at_once = BTreeMap::<(IpAddr, u64), u64>::new();
    let mut spans = BTreeMap::<(IpAddr, Endpoint), Vec<(Timestamp, Timestamp)>>::new();
    let moments = moments(observations);
    for (one, moment) in observations.iter().zip(moments) {
        let impact = one.impact;
        all = all.and(Impact {
            attempts_failed: 0,
            stopped: impact.stopped,
            ..impact
        });
        if impact.attempts_failed > 0 {
            let (client, server) = (one.connection.client.ip, one.connection.server);
            *at_server.entry((client, server)).or_default() += 1;
            *at_once.entry((client, moment)).or_default() += 1;
            let spans = spans.entry((client, server)).or_default();
            spans.push((one.at, one.seen.attempt.until));
        }
    }
    all.attempts_failed = at_server
        .into_values()
        .chain(at_once.into_values())
        .max()
        .unwrap_or(0);
    all.waited = spans
        .into_values()
        .map(shared_wait)
        .max()
        .unwrap_or_default();
    all
}

/// The longest time in which two spans or more overlap each other.
fn shared_wait(mut spans: Vec<(Timestamp, Timestamp)>) -> Duration {
    spans.sort_unstable();
    let pairs = spans.windows(2);
    let shared = pairs.map(|pair| pair[0].1.min(pair[1].1).since(pair[1].0));
    shared.max().unwrap_or_default()
}

/// For each attempt the first frame of the moment it lies in: attempts of one client that begin
/// while an earlier one still tries.
fn moments(observations: &[Observation<Seen>]) -> Vec<u64> {
    let mut order: Vec<usize> = (0..observations.len()).collect();
    order.sort_by_key(|index| {
        let one = &observations[*index];
        (one.connection.client.ip, one.at, one.connection.first_frame)
    });
    let mut moments = vec![0; observations.len()];
    let mut current: Option<(IpAddr, Timestamp, u64)> = None;
    for index in order {
        let one = &observations[index];
        let (client, until) = (one.connection.client.ip, one.seen.attempt.until);
        let next = match current {
            Some((known, to, frame)) if known == client && one.at <= to => {
                (client, to.max(until), frame)
            }
            _ => (client, until, one.connection.first_frame),
        };
        moments[index] = next.2;
        current = Some(next);
    }
    moments
}

/// Disjoint sets, each known by its smallest member.
struct Groups(Vec<usize>);

impl Groups {
    fn new(len: usize) -> Self {
        Self((0..len).collect())
    }

    fn of(&mut self, mut member: usize) -> usize {
        while self.0[member] != member {
            self.0[member] = self.0[self.0[member]];
            member = self.0[member];
        }
        member
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.of(one), self.of(other));
        self.0[one.max(other)] = one.min(other);
    }
}
