//! A process that ends: the kernel closes all its connections at once, whatever each waited for.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::addr::Endpoint;
use crate::direction::Direction;
use crate::time::Timestamp;

use super::episode::{Episode, EpisodeKind};
use super::record::{ConnectionRecord, FirstClose};

/// An exit closes descriptor after descriptor, in far less.
const AT_ONCE: Duration = Duration::from_millis(50);

/// A process that is started again takes longer than this.
const STARTED_AGAIN: Duration = Duration::from_millis(200);

/// Closes of which no single timer is the cause although nothing else is open must be as many, and
/// more where others stay open.
const FEW: usize = 2;
const MANY: usize = 3;

/// A connection with its first close, and how long it had been silent.
#[derive(Clone, Copy)]
struct Ended<'a> {
    record: &'a ConnectionRecord,
    close: FirstClose,
}

/// Ends of client programs. `records`: in the order of first frames.
pub(super) fn programs(records: &[ConnectionRecord]) -> Vec<Episode> {
    let mut clients = BTreeMap::<IpAddr, Vec<&ConnectionRecord>>::new();
    for record in records {
        clients.entry(record.client.ip).or_default().push(record);
    }
    let mut found = Vec::new();
    for (client, mut own) in clients {
        own.sort_by_key(|record| (record.start, record.first_frame));
        for together in closed_together(&own, Direction::ClientToServer) {
            let is_end = together.len() >= FEW
                && waited_unequally(&together)
                && !goes_on(&own, &together)
                && (together.len() >= MANY || !any_stays_open(&own, &together));
            if is_end {
                found.push(episode(EpisodeKind::ProgramEnd, client, &together));
            }
        }
    }
    found
}

/// Ends of server processes, from the first close to the next connection accepted. `end`: the time of
/// the capture's last frame.
pub(super) fn restarts(records: &[ConnectionRecord], end: Timestamp) -> Vec<Episode> {
    let mut servers = BTreeMap::<Endpoint, Vec<&ConnectionRecord>>::new();
    for record in records {
        servers.entry(record.server).or_default().push(record);
    }
    let mut found = Vec::new();
    for (server, own) in servers {
        for together in closed_together(&own, Direction::ServerToClient) {
            // A server that looks for idle connections now and then closes some of different ages.
            let waits = || together.iter().filter_map(|ended| ended.record.silence);
            let (shortest, longest) = (waits().min(), waits().max());
            let is_no_sweep = longest.unwrap_or_default() > shortest.unwrap_or_default() * 2;
            if together.len() < MANY || !waited_unequally(&together) || !is_no_sweep {
                continue;
            }
            let mut restart = episode(EpisodeKind::Restart, server.ip, &together);
            let closed = restart.to;
            let is_later = |time: Timestamp| time > closed;
            let accepted = own.iter().filter_map(|record| record.accepted);
            let again = accepted.map(|at| at.time).filter(|time| is_later(*time));
            let called = own
                .iter()
                .any(|record| record.was_opened && is_later(record.start));
            if let Some(again) = again.min() {
                restart.to = again;
            } else if called {
                restart.to = end;
                restart.is_cut = true;
            }
            found.push(restart);
        }
    }
    found
}

/// Connections that one end closed within 50 ms, all of them open when the first was: what is
/// opened later is used one after the other.
fn closed_together<'a>(own: &[&'a ConnectionRecord], by: Direction) -> Vec<Vec<Ended<'a>>> {
    let mut ended: Vec<Ended<'_>> = own
        .iter()
        .filter(|record| record.accepted.is_some() || !record.was_opened)
        .filter_map(|record| record.close_of(by).map(|close| Ended { record, close }))
        .collect();
    ended.sort_by_key(|ended| (ended.close.time, ended.close.frame));
    let mut groups = Vec::new();
    let mut rest = &ended[..];
    while let Some(first) = rest.first() {
        let len = rest.partition_point(|one| one.close.time.since(first.close.time) <= AT_ONCE);
        let (near, later) = rest.split_at(len);
        let was_open = |one: &&Ended<'_>| one.record.start < first.close.time;
        groups.push(near.iter().filter(was_open).copied().collect());
        rest = later;
    }
    groups
}

fn episode(kind: EpisodeKind, host: IpAddr, together: &[Ended<'_>]) -> Episode {
    let times = together.iter().map(|ended| ended.close.time);
    let (from, to) = (times.clone().min(), times.max());
    let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
    let first_frames = together.iter().map(|ended| ended.record.first_frame);
    Episode::new(kind, host, from, to).with_connections(first_frames)
}

/// Whether the client opens connections to the same servers while it closes, or right after: then it
/// goes on, and uses one after the other. `own`: by when they began.
fn goes_on(own: &[&ConnectionRecord], together: &[Ended<'_>]) -> bool {
    let times = together.iter().map(|ended| ended.close.time);
    let (Some(from), Some(to)) = (times.clone().min(), times.max()) else {
        return false;
    };
    let first = own.partition_point(|record| from.since(record.start) > AT_ONCE);
    let near = own[first..].iter();
    let mut near = near.take_while(|record| record.start.since(to) <= STARTED_AGAIN);
    near.any(|record| {
        let mut servers = together.iter().map(|ended| ended.record.server);
        record.was_opened && servers.any(|server| server == record.server)
    })
}

/// Whether one of the client's connections is open after those that were closed together.
fn any_stays_open(own: &[&ConnectionRecord], together: &[Ended<'_>]) -> bool {
    let last = together.iter().map(|ended| ended.close.time).max();
    own.iter()
        .any(|record| record.is_open_at(last.unwrap_or_default()))
}

/// No timer explains the closes: more than half had waited for other times than their neighbours
/// in length.
fn waited_unequally(together: &[Ended<'_>]) -> bool {
    let silences = together.iter().filter_map(|ended| ended.record.silence);
    let mut waits: Vec<Duration> = silences.collect();
    waits.sort_unstable();
    // Timers of one length fire within a tenth of it.
    let differ = |pair: &[Duration]| pair[1] - pair[0] > AT_ONCE.max(pair[1] / 10);
    let different = 1 + waits.windows(2).filter(|pair| differ(pair)).count();
    different >= FEW && different * 2 > waits.len()
}
