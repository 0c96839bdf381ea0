//! Moments at which the capture itself fails, seen from several connections.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::in_order::ClockBreak;
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

/// Gaps in which the capture's clock was set forward.
pub(super) fn clock_steps(steps: &[ClockBreak]) -> impl Iterator<Item = Episode> {
    let steps = steps.iter();
    steps.map(|step| Episode::new(EpisodeKind::ClockStep, EVERYWHERE, step.before, step.after))
}
