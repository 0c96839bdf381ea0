//! Connections that died: data was sent in vain to the end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Range;

use analyzer::connection::Stuck;
use analyzer::{Connection, Direction};

use crate::model::observation::{self, Note};
use crate::model::severity::Severity;
use crate::model::text::span;
use crate::signs::alive::{Alive, since_epoch_ms};

use super::{Dead, Fact, Observation, Seen};

/// A connection on which data was sent in vain to the end.
pub(super) fn in_vain(
    conn: &Connection,
    direction: Direction,
    stuck: &Stuck,
    in_use: bool,
) -> Observation {
    let (sender, receiver) = (direction.sender(), direction.reverse().sender());
    let heard = conn.half(direction.reverse()).last_segment;
    let pending = conn.turns.pending().is_some();
    observation::Observation::new(conn, 0.6, Severity::Low)
        .cause(format!("{} {sender} in vain", conn.server))
        .at(stuck.first.time)
        // One in use tells more than one that was idle.
        .weight(f64::from(stuck.copies) + if in_use { 100.0 } else { 0.0 })
        .figure("loss_percent", 100.0)
        .figure("segments_lost", f64::from(stuck.copies))
        .cost("requests_failed", if pending { 1.0 } else { 0.0 })
        .evidence_if(
            heard,
            format!("the last that was captured of the {receiver}"),
        )
        .evidence(
            stuck.first,
            format!("data from {sender}, sent again and never acknowledged"),
        )
        .evidence(
            stuck.last,
            format!(
                "the same data for the {}th time, {} later",
                stuck.copies,
                span(stuck.last.time.since(stuck.first.time))
            ),
        )
        .seen(Seen::Dead(Dead {
            sender: direction,
            copies: stuck.copies,
            until: stuck.last.time,
            in_use,
            others_live: false,
        }))
}

/// Several that died at one time tell of the path or the host; one that died while others lived, of
/// itself. Those that had been idle count where one in use died with them.
pub(super) fn judge_died(died: &mut Vec<Observation>, notes: &[Note<Fact>]) {
    if died.is_empty() {
        return;
    }
    let time = |one: &Observation| {
        let until = one.seen.dead().map_or(one.at, |dead| dead.until);
        since_epoch_ms(one.at)..since_epoch_ms(until)
    };
    let mut together = BTreeMap::<String, Vec<(u64, Range<f64>, bool)>>::new();
    for one in &*died {
        let others = together.entry(one.cause.clone()).or_default();
        others.push((one.connection.first_frame, time(one), is_in_use(one)));
    }
    // Whether another one died at that time: one in use, where `one` was idle.
    let has_company = |one: &Observation| {
        let (own, during) = (one.connection.first_frame, time(one));
        (together.get(&one.cause).into_iter().flatten()).any(|(first_frame, other, in_use)| {
            *first_frame != own
                && (*in_use || is_in_use(one))
                && other.start < during.end
                && during.start < other.end
        })
    };
    let dead: BTreeSet<_> = died.iter().map(|one| one.connection.first_frame).collect();
    let live = |note: &&Note<Fact>| !dead.contains(&note.connection.first_frame);
    let mut alive = BTreeMap::<(IpAddr, Direction), Vec<&Alive>>::new();
    for note in notes.iter().filter(live) {
        let of_host = alive.entry((note.connection.server.ip, note.fact.sender));
        of_host.or_default().push(&note.fact.alive);
    }
    died.retain(|one| is_in_use(one) || has_company(one));
    for one in died {
        let during = time(one);
        let company = has_company(one);
        let Seen::Dead(dead) = &mut one.seen else {
            continue;
        };
        let silent = dead.sender.reverse();
        let mut others = (alive.get(&(one.connection.server.ip, silent)).into_iter()).flatten();
        dead.others_live = others.any(|other| other.is_heard_during(&during));
        (one.severity, one.confidence) = match (dead.others_live, company) {
            (false, true) => (Severity::High, 0.85),
            (false, false) => (Severity::Medium, 0.6),
            (true, _) => (Severity::Low, 0.7),
        };
    }
}

fn is_in_use(one: &Observation) -> bool {
    one.seen.dead().is_some_and(|dead| dead.in_use)
}
