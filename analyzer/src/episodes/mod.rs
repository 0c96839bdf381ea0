//! What happened to many connections at one time, found once: it is one event, not many.
//!
//! Episodes are read from bounded records that shards keep of connections, and from the times at
//! which addresses were heard ([`crate::hosts`]). Rules ask whether a moment at a host, or a
//! connection, lies in one.

mod program_end;
mod race;
mod record;
mod silence;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::hosts::Hosts;
use crate::time::Timestamp;

pub(crate) use record::Records;

/// Episodes kept of each kind: the first ones.
const KEPT: usize = 1_024;

/// Connections named in one episode: the first ones.
const CONNECTIONS: usize = 256;

/// What an episode is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EpisodeKind {
    /// A host asks several others that had answered before, and hears from nobody: its own link
    /// is down, or the capture's.
    HostSilent,
    /// One address asks another that had answered before on a connection in use, three times or
    /// more over a second at least, and hears nothing at all from it: the path is dark, or the
    /// other host gone. A path that only lets small packets pass may look the same.
    PathDark,
    /// All connections of one client are closed within 50 ms although they had waited unequally:
    /// its process ends.
    ProgramEnd,
    /// Of connections opened together for one purpose one is used; the others are closed at once.
    RaceLosers,
}

impl EpisodeKind {
    /// The name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HostSilent => "host-silent",
            Self::PathDark => "path-dark",
            Self::ProgramEnd => "program-end",
            Self::RaceLosers => "race-losers",
        }
    }
}

/// One event that touches several packets or connections.
#[derive(Clone, PartialEq, Debug)]
pub struct Episode {
    /// What it is.
    pub kind: EpisodeKind,
    /// Where: the host that hears nobody, the one that asks in vain, or the client.
    pub host: IpAddr,
    /// The address that is not heard (`PathDark`).
    pub peer: Option<IpAddr>,
    /// When it began: the first question in vain, the first close.
    pub from: Timestamp,
    /// When it was over: the first packet heard again, the last close; the end of the capture when
    /// it was not.
    pub to: Timestamp,
    /// The capture ended before it was over: it lasted at least so long.
    pub is_cut: bool,
    /// First frames of the connections concerned, at most 256; empty where all of the host's or the
    /// pair's are.
    pub connections: BTreeSet<u64>,
    /// How many connections are concerned, where they are named.
    pub connection_count: u64,
    /// First frame of the connection that won (`RaceLosers`).
    pub winner: Option<u64>,
}

impl Episode {
    fn new(kind: EpisodeKind, host: IpAddr, from: Timestamp, to: Timestamp) -> Self {
        Self {
            kind,
            host,
            peer: None,
            from,
            to,
            is_cut: false,
            connections: BTreeSet::new(),
            connection_count: 0,
            winner: None,
        }
    }

    fn with_connections(mut self, first_frames: impl Iterator<Item = u64>) -> Self {
        for first_frame in first_frames {
            self.connection_count += 1;
            self.connections.insert(first_frame);
            if self.connections.len() > CONNECTIONS {
                self.connections.pop_last();
            }
        }
        self
    }

    /// How long it lasted, at least.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.to.since(self.from)
    }

    /// Whether a time lies in it.
    #[must_use]
    pub fn covers(&self, time: Timestamp) -> bool {
        self.from <= time && time <= self.to
    }

    /// Whether it is about packets between two addresses: one of them is its host, and it names no
    /// peer or the other.
    #[must_use]
    pub fn is_between(&self, one: IpAddr, other: IpAddr) -> bool {
        let is = |host: IpAddr, peer: IpAddr| {
            self.host == host && self.peer.is_none_or(|known| known == peer)
        };
        is(one, other) || is(other, one)
    }
}

/// All episodes of a capture, by kind and time; the first 1,024 of each kind.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Episodes {
    list: Vec<Episode>,
    dropped: u64,
    unrecorded: u64,
}

impl Episodes {
    /// What the joined records and profiles show. `end`: the time of the capture's last frame.
    pub(crate) fn of(
        records: Records,
        hosts: &Hosts,
        names: &BTreeMap<String, BTreeSet<IpAddr>>,
        end: Timestamp,
    ) -> Self {
        let mut list = records.list;
        list.sort_by_key(|record| record.first_frame);
        let mut found = silence::find(hosts, &list, end);
        found.extend(program_end::find(&list));
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
