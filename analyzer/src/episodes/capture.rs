//! Moments at which the capture itself fails, seen from several connections.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::time::Timestamp;

use super::episode::{Episode, EpisodeKind};
use super::record::ConnectionRecord;

/// Connections on which it must show.
const CONNECTIONS: usize = 2;

/// What fails at one time is seen on all connections within this; an acknowledgement is late by a
/// round trip.
const ONE_MOMENT: Duration = Duration::from_millis(200);

/// No host is meant, but the whole capture.
const EVERYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Times at which several connections lack octets that were acknowledged.
pub(super) fn gaps(records: &[ConnectionRecord]) -> Vec<Episode> {
    let mut unseen: Vec<(Timestamp, u64)> = records
        .iter()
        .flat_map(|record| record.unseen.iter().map(|time| (*time, record.first_frame)))
        .collect();
    unseen.sort_unstable();
    let moments = unseen.chunk_by(|one, other| other.0.since(one.0) <= ONE_MOMENT);
    moments
        .filter_map(|moment| {
            let connections: BTreeSet<u64> = moment.iter().map(|(_, first)| *first).collect();
            let (from, to) = (moment.first()?.0, moment.last()?.0);
            (connections.len() >= CONNECTIONS).then(|| {
                Episode::new(EpisodeKind::CaptureGap, EVERYWHERE, from, to)
                    .with_connections(connections.into_iter())
            })
        })
        .collect()
}

/// Silences in which the capture's clock was set forward, as both ends' timestamps show.
pub(super) fn clock_steps(records: &[ConnectionRecord]) -> Vec<Episode> {
    let mut jumps: Vec<(Timestamp, Timestamp, u64)> = records
        .iter()
        .filter_map(|record| {
            let [before, after] = **record.clock_jump.as_ref()?;
            Some((before, after, record.first_frame))
        })
        .collect();
    jumps.sort_unstable();
    let steps = jumps.chunk_by(|one, other| other.0 < one.1);
    steps
        .map(|step| {
            // Each connection saw it between two packets: the latest before, the earliest after.
            let from = step.iter().map(|jump| jump.0).max().unwrap_or_default();
            let to = step.iter().map(|jump| jump.1).min().unwrap_or_default();
            Episode::new(EpisodeKind::ClockStep, EVERYWHERE, from, to)
                .with_connections(step.iter().map(|jump| jump.2))
        })
        .collect()
}
