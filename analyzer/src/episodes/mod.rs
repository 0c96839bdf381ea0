//! What happened to many connections at one time, found once: it is one event, not many.
//!
//! Episodes are read from bounded records that shards keep of connections, and from the times at
//! which addresses were heard ([`crate::hosts`]). Rules ask whether a moment at a host, or a
//! connection, lies in one.

mod capture;
mod episode;
mod page;
mod process_end;
mod race;
mod record;
mod second_mac;
mod silence;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::hosts::Hosts;
use crate::in_order::ClockBreak;
use crate::quality::{QualityKind, QualityNote};
use crate::time::Timestamp;

pub use episode::{Episode, EpisodeKind};
pub(crate) use record::Records;

/// Episodes kept of each kind: the first ones.
const KEPT: usize = 1_024;

/// All episodes of a capture, by kind and time; the first 1,024 of each kind.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Episodes {
    list: Vec<Episode>,
    dropped: u64,
    unrecorded: u64,
}

impl Episodes {
    /// What the joined records and profiles show. `end`: the time of the capture's last frame; `steps`: where its
    /// clock was set forward.
    pub(crate) fn of(
        records: Records,
        hosts: &Hosts,
        names: &BTreeMap<String, BTreeSet<IpAddr>>,
        (steps, end): (&[ClockBreak], Timestamp),
    ) -> Self {
        let mut list = records.list;
        // Their keys are sorted instead of them: they are large.
        list.sort_by_cached_key(|record| record.first_frame);
        let mut found = silence::find(hosts, &list, end);
        found.extend(process_end::programs(&list));
        found.extend(process_end::restarts(&list, end));
        found.extend(page::find(&list));
        found.extend(second_mac::find(hosts, end));
        found.extend(capture::gaps(&list));
        found.extend(capture::clock_steps(steps));
        found.extend(race::find(&list, names));
        found.sort_by_key(|episode| (episode.kind, episode.from, episode.host, episode.peer));
        let mut of_kind = BTreeMap::<EpisodeKind, usize>::new();
        let all = found.len();
        found.retain(|episode| {
            let count = of_kind.entry(episode.kind).or_default();
            *count += 1;
            *count <= KEPT
        });
        Self {
            dropped: (all - found.len()) as u64,
            list: found,
            unrecorded: records.dropped,
        }
    }

    /// All, by kind and time.
    pub fn iter(&self) -> impl Iterator<Item = &Episode> {
        self.list.iter()
    }

    /// Episodes that were found and not kept.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Connections of which no record was kept: what they had part in may be missing.
    #[must_use]
    pub const fn unrecorded_connections(&self) -> u64 {
        self.unrecorded
    }

    /// A caveat when connections were left out.
    pub(crate) fn note(&self) -> Option<QualityNote> {
        (self.unrecorded > 0).then(|| QualityNote {
            kind: QualityKind::Summed,
            count: self.unrecorded,
            note: format!(
                "events that span many connections are searched among the first connections to end; {} others are not included",
                self.unrecorded
            ),
        })
    }

    /// Those of one kind, by time.
    pub fn of_kind(&self, kind: EpisodeKind) -> impl Iterator<Item = &Episode> {
        self.list.iter().filter(move |episode| episode.kind == kind)
    }

    /// Those at a host that cover a time.
    pub fn at(&self, host: IpAddr, time: Timestamp) -> impl Iterator<Item = &Episode> {
        let all = self.list.iter();
        all.filter(move |episode| episode.host == host && episode.covers(time))
    }

    /// Whether a time at a host lies in an episode of a kind.
    #[must_use]
    pub fn covers(&self, kind: EpisodeKind, host: IpAddr, time: Timestamp) -> bool {
        self.at(host, time).any(|episode| episode.kind == kind)
    }

    /// Whether at least half of the time from `from` to `to` lies in one episode of a kind at a host.
    #[must_use]
    pub fn fill(&self, kind: EpisodeKind, host: IpAddr, from: Timestamp, to: Timestamp) -> bool {
        let mut of_kind = self.of_kind(kind).filter(|episode| episode.host == host);
        of_kind.any(|episode| episode.shares(from, to) * 2 >= to.since(from))
    }

    /// The first episode of a kind about packets between two addresses that covers a time.
    #[must_use]
    pub fn between(
        &self,
        kind: EpisodeKind,
        one: IpAddr,
        other: IpAddr,
        time: Timestamp,
    ) -> Option<&Episode> {
        let mut of_kind = self.of_kind(kind);
        of_kind.find(|episode| episode.is_between(one, other) && episode.covers(time))
    }

    /// The first episode of a kind that names a connection, by its first frame.
    #[must_use]
    pub fn of_connection(&self, kind: EpisodeKind, first_frame: u64) -> Option<&Episode> {
        let mut of_kind = self.of_kind(kind);
        of_kind.find(|episode| episode.connections.contains(&first_frame))
    }
}
