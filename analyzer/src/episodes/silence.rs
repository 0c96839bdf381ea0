//! Hosts and paths that go dark, read from when addresses were heard.
//!
//! Datagrams demand no answer. But when a host hears nothing for a second, and then at one moment several
//! hear back to whom it had sent something long before, their packets had all waited at one place.
//!
//! A question is what demands an answer: data, FIN or a probe on a TCP connection. Questions without
//! any packet back are a silence when the other end had been heard before. A SYN and the look-up of a
//! name are questions only where nobody at all is heard: of one address it may be that the port is
//! filtered, or that the service does not answer.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use crate::hosts::Hosts;
use crate::hosts::moments::{Grid, Moments};
use crate::time::Timestamp;

use super::episode::{Episode, EpisodeKind};
use super::record::ConnectionRecord;

/// A shorter silence is what any loss of a packet or two makes.
const LONG_ENOUGH: Duration = Duration::from_secs(1);

/// Questions in vain, in slices of their own: what is asked first and repeated once may be lost
/// twice without the path being dark.
const QUESTIONS: usize = 3;

/// Peers asked in vain that make it the host's own silence.
const PEERS: usize = 2;

/// Peers whose packets come together at the end of a standstill.
const TOGETHER: usize = 3;

/// What had waited at one place comes within this, in nanoseconds.
const BURST_NS: u64 = 50_000_000;

/// A packet that another is no answer to, unless it was held up, was sent so long before, in nanoseconds.
const LONG_BEFORE_NS: u64 = 500_000_000;

/// Slices of this length still tell moments apart, in nanoseconds.
const COARSEST_NS: u64 = 300_000_000;

/// Slices with questions and without anything heard.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// That of the first question in vain.
    from: u64,
    /// That of the first packet heard again.
    to: Option<u64>,
}

/// When one address asked another, and heard from it.
struct Dialogue<'a> {
    peer: IpAddr,
    asked: &'a Moments,
    called: &'a Moments,
    heard: &'a Moments,
    sent: &'a Moments,
}

/// `records`: of all connections; `end`: the time of the capture's last frame.
pub(super) fn find(hosts: &Hosts, records: &[ConnectionRecord], end: Timestamp) -> Vec<Episode> {
    let mut connections = HashMap::<(IpAddr, IpAddr), Vec<&ConnectionRecord>>::new();
    for record in records {
        let key = (record.client.ip, record.server.ip);
        connections.entry(key).or_default().push(record);
    }
    let were_ignored = |host: IpAddr, peer: IpAddr, span: Span| {
        let of = |key| connections.get(&key).into_iter().flatten();
        let from = hosts.grid().begin(span.from);
        let mut open = of((host, peer))
            .chain(of((peer, host)))
            .filter(|record| record.start <= from && record.end >= from);
        // Only where all of its connections are new: a listener that accepts no more drops them.
        open.clone().next().is_some() && open.all(|record| !record.is_in_use)
    };
    let mut dialogues = BTreeMap::<IpAddr, Vec<Dialogue<'_>>>::new();
    for (&(host, peer), asked) in hosts.pairs() {
        if let Some(heard) = hosts.pairs().get(&(peer, host)) {
            dialogues.entry(host).or_default().push(Dialogue {
                peer,
                asked: &asked.asked_at,
                called: &asked.called_at,
                heard: &heard.sent_at,
                sent: &asked.sent_at,
            });
        }
    }
    let mut found = Vec::new();
    for (host, dialogues) in dialogues {
        let mut whole = of_host(hosts, host, &dialogues, end);
        let still = standstills(hosts, host, &dialogues).into_iter();
        let is_known = |span: &Span| whole.iter().any(|known| known.to == span.to);
        let still: Vec<Span> = still.filter(|span| !is_known(span)).collect();
        whole.extend(still);
        for dialogue in &dialogues {
            for span in silences(dialogue.asked, dialogue.heard, hosts.grid(), end) {
                let is_part =
                    |all: &Span| span.from >= all.from && all.to.is_none_or(|to| span.from < to);
                if !whole.iter().any(is_part) && !were_ignored(host, dialogue.peer, span) {
                    let mut dark = episode(EpisodeKind::PathDark, host, span, hosts.grid(), end);
                    dark.peer = Some(dialogue.peer);
                    found.push(dark);
                }
            }
        }
        let whole = whole.into_iter();
        found.extend(
            whole.map(|span| episode(EpisodeKind::HostSilent, host, span, hosts.grid(), end)),
        );
    }
    found
}

/// Silences in which nothing comes to a host from anybody, though it asks several that it had heard
/// before.
fn of_host(hosts: &Hosts, host: IpAddr, dialogues: &[Dialogue<'_>], end: Timestamp) -> Vec<Span> {
    let Some(profile) = hosts.get(host).filter(|_| dialogues.len() >= PEERS) else {
        return Vec::new();
    };
    let mut asked = Moments::default();
    for dialogue in dialogues {
        asked.join(dialogue.asked);
        asked.join(dialogue.called);
    }
    let spans = silences(&asked, profile.received_at(), hosts.grid(), end).into_iter();
    spans
        .filter(|span| {
            let falls_silent =
                |dialogue: &&Dialogue<'_>| dialogue.falls_silent_in(span, hosts, end);
            dialogues.iter().filter(falls_silent).count() >= PEERS
        })
        .collect()
}

/// Silences of a second at the end of which several peers hear back to whom the host had last sent
/// something long before.
fn standstills(hosts: &Hosts, host: IpAddr, dialogues: &[Dialogue<'_>]) -> Vec<Span> {
    let (Some(profile), grid) = (hosts.get(host), hosts.grid()) else {
        return Vec::new();
    };
    if dialogues.len() < TOGETHER || grid.width_ns() > COARSEST_NS {
        return Vec::new();
    }
    let heard: Vec<u64> = profile.received_at().iter().collect();
    let burst = BURST_NS.div_ceil(grid.width_ns());
    let long_before = LONG_BEFORE_NS.div_ceil(grid.width_ns()).max(2);
    let silences = heard.windows(2).filter_map(|pair| {
        let (after, to) = (pair[0], pair[1]);
        if to - after <= long_enough(grid) {
            return None;
        }
        let held_up = dialogues.iter().filter_map(|dialogue| {
            let mut sent = dialogue
                .sent
                .iter()
                .filter(|at| (after + 1..to).contains(at));
            let first = sent.next()?;
            let last = sent.last().unwrap_or(first);
            let mut heard = dialogue.heard.iter();
            let is_heard = heard.any(|at| (to..=to + burst).contains(&at));
            (last + long_before <= to && is_heard).then_some(first)
        });
        let first: Vec<u64> = held_up.collect();
        let from = first.iter().copied().min()?;
        let is_still = first.len() >= TOGETHER && from + long_enough(grid) <= to;
        is_still.then_some(Span { from, to: Some(to) })
    });
    silences.collect()
}

impl Dialogue<'_> {
    /// Whether the peer answered until a span began, and was asked in vain long enough in it.
    fn falls_silent_in(&self, span: &Span, hosts: &Hosts, end: Timestamp) -> bool {
        let grid = hosts.grid();
        let until = span.to.unwrap_or(grid.slice(end));
        let last_before =
            |moments: &Moments| moments.iter().take_while(|at| *at < span.from).last();
        let questions = self.asked.iter().chain(self.called.iter());
        let first = questions.filter(|at| (span.from..until).contains(at)).min();
        let pending = last_before(self.asked).max(last_before(self.called));
        last_before(self.heard).is_some_and(|heard| pending.is_none_or(|asked| asked <= heard))
            && first.is_some_and(|first| first + long_enough(grid) <= until)
    }
}

/// Slices that last a second at least: the first and the last may be touched only just.
const fn long_enough(grid: &Grid) -> u64 {
    LONG_ENOUGH.as_nanos() as u64 / grid.width_ns() + 2
}

/// Every time after the first packet heard in which nothing more is heard for a second or longer,
/// although three slices have questions: from the first of these to the next packet heard.
fn silences(asked: &Moments, heard: &Moments, grid: &Grid, end: Timestamp) -> Vec<Span> {
    let mut spans = Vec::new();
    let (mut heard, mut asked) = (heard.iter().peekable(), asked.iter().peekable());
    let last = grid.slice(end);
    while let Some(after) = heard.next() {
        let to = heard.peek().copied();
        // What was asked in vain was asked in a later slice: nearly every time is too short.
        if to.unwrap_or(last) <= after + long_enough(grid) {
            continue;
        }
        while asked.next_if(|slice| *slice <= after).is_some() {}
        let Some(from) = asked.next_if(|slice| to.is_none_or(|to| *slice < to)) else {
            continue;
        };
        let mut questions = 1;
        while asked
            .next_if(|slice| to.is_none_or(|to| *slice < to))
            .is_some()
        {
            questions += 1;
        }
        if questions >= QUESTIONS && to.unwrap_or(last) >= from + long_enough(grid) {
            spans.push(Span { from, to });
        }
    }
    spans
}

fn episode(kind: EpisodeKind, host: IpAddr, span: Span, grid: &Grid, end: Timestamp) -> Episode {
    let to = span.to.map_or(end, |slice| grid.begin(slice));
    let mut episode = Episode::new(kind, host, grid.begin(span.from), to);
    episode.is_cut = span.to.is_none();
    episode
}
