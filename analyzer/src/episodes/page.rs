//! A page that its reader leaves: what was still loading is cancelled, and the next is asked for.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::direction::Direction;
use crate::time::Timestamp;

use super::episode::{Episode, EpisodeKind};
use super::record::{ConnectionRecord, FirstClose};

/// A browser cancels all that is loading in far less.
const AT_ONCE: Duration = Duration::from_millis(50);

/// The next request is what made it cancel.
const NEXT_WITHIN: Duration = Duration::from_secs(1);

/// Connections cancelled together, answers awaited included: one alone may be a limit of time or
/// size.
const SIBLINGS: usize = 2;

/// `records`: in the order of first frames.
pub(super) fn find(records: &[ConnectionRecord]) -> Vec<Episode> {
    let mut clients = BTreeMap::<(IpAddr, u16), Vec<&ConnectionRecord>>::new();
    for record in records {
        let key = (record.client.ip, record.server.port);
        clients.entry(key).or_default().push(record);
    }
    let mut found = Vec::new();
    for ((client, _), own) in clients {
        let mut requests: Vec<(Timestamp, u64)> = own
            .iter()
            .flat_map(|record| {
                let both = [record.first_request, record.last_request].into_iter();
                both.flatten().map(|at| (at.time, record.first_frame))
            })
            .collect();
        requests.sort_unstable();
        let mut closed: Vec<(FirstClose, &ConnectionRecord)> = own
            .iter()
            .filter(|record| record.is_cancelled || record.is_waiting)
            .filter_map(|record| Some((record.close_of(Direction::ClientToServer)?, *record)))
            .collect();
        closed.sort_by_key(|(close, _)| (close.time, close.frame));
        let mut rest = &closed[..];
        while let Some((first, _)) = rest.first() {
            let len = rest.partition_point(|(close, _)| close.time.since(first.time) <= AT_ONCE);
            let (near, later) = rest.split_at(len);
            rest = later;
            // What was opened later is used one after the other.
            let was_open = |record: &&ConnectionRecord| record.start < first.time;
            let together: Vec<&ConnectionRecord> = near
                .iter()
                .map(|(_, record)| *record)
                .filter(was_open)
                .collect();
            let to = near.last().map_or(first.time, |(close, _)| close.time);
            if is_cancelled(&together) && asks_on(&requests, &together, (first.time, to)) {
                let first_frames = together.iter().map(|record| record.first_frame);
                found.push(
                    Episode::new(EpisodeKind::PageCancelled, client, first.time, to)
                        .with_connections(first_frames),
                );
            }
        }
    }
    found
}

/// Several at once, one of them in the midst of an answer.
fn is_cancelled(together: &[&ConnectionRecord]) -> bool {
    together.len() >= SIBLINGS && together.iter().any(|record| record.is_cancelled)
}

/// Whether the client asks for something on another connection around the closes. `requests`: in the
/// order of their times, each with the first frame of its connection.
fn asks_on(
    requests: &[(Timestamp, u64)],
    together: &[&ConnectionRecord],
    (from, to): (Timestamp, Timestamp),
) -> bool {
    let first = requests.partition_point(|(time, _)| from.since(*time) > NEXT_WITHIN);
    let near = requests.iter().skip(first);
    let mut near = near.take_while(|(time, _)| time.since(to) <= NEXT_WITHIN);
    near.any(|(_, connection)| !together.iter().any(|one| one.first_frame == *connection))
}
