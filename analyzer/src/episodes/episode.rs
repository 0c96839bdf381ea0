//! What one episode is.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::time::Timestamp;

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
    /// Several connections of one client are closed at once, in the midst of an answer, around its
    /// next request: a page is left.
    PageCancelled,
    /// A server closes three connections or more within 50 ms although they had waited unequally:
    /// its process ends. It lasts until the next connection is accepted.
    Restart,
    /// Several connections lack octets that were acknowledged: the capture missed frames.
    CaptureGap,
    /// ARP claims an address for a second hardware address, from then on.
    SecondMac,
    /// The capture's clock was set forward.
    ClockStep,
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
            Self::PageCancelled => "page-cancelled",
            Self::Restart => "restart",
            Self::CaptureGap => "capture-gap",
            Self::SecondMac => "second-mac",
            Self::ClockStep => "clock-step",
        }
    }
}

/// One event that touches several packets or connections.
#[derive(Clone, PartialEq, Debug)]
pub struct Episode {
    /// What it is.
    pub kind: EpisodeKind,
    /// Where: the host that hears nobody, the one that asks in vain, the client, or the server that
    /// restarts; `0.0.0.0` for the whole capture.
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
    pub(super) fn new(kind: EpisodeKind, host: IpAddr, from: Timestamp, to: Timestamp) -> Self {
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

    pub(super) fn with_connections(mut self, first_frames: impl Iterator<Item = u64>) -> Self {
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

    /// How much of it lies between two times.
    #[must_use]
    pub fn shares(&self, from: Timestamp, to: Timestamp) -> Duration {
        self.to.min(to).since(self.from.max(from))
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
