//! A process that ends: the kernel closes all its connections at once, whatever each waited for.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::event::SegmentRef;
use crate::time::Timestamp;

use super::record::ConnectionRecord;
use super::{Episode, EpisodeKind};

/// An exit closes descriptor after descriptor, in far less.
const AT_ONCE: Duration = Duration::from_millis(50);

/// Closes of which no single timer is the cause although nothing else is open must be as many, and
/// more where others stay open.
const FEW: usize = 2;
const MANY: usize = 3;

/// A connection with its client's close, and how long it had been silent.
#[derive(Clone, Copy)]
struct Ended<'a> {
    record: &'a ConnectionRecord,
    close: SegmentRef,
    silent_for: Option<Duration>,
}

/// `records`: in the order of first frames.
pub(super) fn find(records: &[ConnectionRecord]) -> Vec<Episode> {
    let mut clients = BTreeMap::<IpAddr, Vec<&ConnectionRecord>>::new();
    for record in records {
        clients.entry(record.client_ip()).or_default().push(record);
    }
    let mut found = Vec::new();
    for (client, own) in clients {
        let mut ended: Vec<Ended<'_>> = own
            .iter()
            .filter(|record| record.accepted.is_some() || !record.was_opened)
            .filter_map(|record| {
                let close = record.client_close()?;
                Some(Ended {
                    record,
                    close,
                    silent_for: record.last_payload.map(|last| close.time.since(last)),
                })
            })
            .collect();
        ended.sort_by_key(|ended| (ended.close.time, ended.close.frame));
        let mut rest = &ended[..];
        while let Some(first) = rest.first() {
            let len = rest.partition_point(|one| one.close.time.since(first.close.time) <= AT_ONCE);
            let (near, later) = rest.split_at(len);
            // What was opened after the first close is used one after the other.
            let together: Vec<Ended<'_>> = near
                .iter()
                .filter(|one| one.record.start < first.close.time)
                .copied()
                .collect();
            if is_end(&together, &own) {
                found.push(episode(client, &together));
                rest = later;
            } else {
                rest = &rest[1..];
            }
        }
    }
    found
}

fn episode(client: IpAddr, together: &[Ended<'_>]) -> Episode {
    let times = together.iter().map(|ended| ended.close.time);
    let (from, to) = (times.clone().min(), times.max());
    let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
    let first_frames = together.iter().map(|ended| ended.record.first_frame);
    Episode::new(EpisodeKind::ProgramEnd, client, from, to).with_connections(first_frames)
}

/// Whether closes that lie together are those of a process that ends. `own`: all connections of
/// the client.
fn is_end(together: &[Ended<'_>], own: &[&ConnectionRecord]) -> bool {
    if together.len() < FEW || !waited_unequally(together) {
        return false;
    }
    together.len() >= MANY || {
        let last = together.iter().map(|ended| ended.close.time).max();
        let last: Timestamp = last.unwrap_or_default();
        !own.iter().any(|record| record.is_open_at(last))
    }
}

/// No timer explains the closes: more than half had waited for other times than their neighbours
/// in length. What had not waited at all was in use.
fn waited_unequally(together: &[Ended<'_>]) -> bool {
    let mut waits: Vec<Duration> = together
        .iter()
        .filter_map(|ended| ended.silent_for)
        .collect();
    waits.sort_unstable();
    // Timers of one length fire within a tenth of it.
    let differ = |pair: &[Duration]| pair[1] - pair[0] > AT_ONCE.max(pair[1] / 10);
    let different = 1 + waits.windows(2).filter(|pair| differ(pair)).count();
    different >= FEW && different * 2 > waits.len()
}
