//! What is gathered about one address, and about packets from one to another.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decode::TcpFlags;
use crate::event::At;

use super::attempts::{ClientRecord, ServerRecord};
use super::distinct::Distinct;
use super::ends::Ends;
use super::moments::Moments;
use super::samples::Samples;

/// Kinds of segments that may come from different stacks or boxes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum SegmentKind {
    /// With SYN: a host's first answer, from no socket on Linux.
    Syn,
    /// With RST.
    Reset,
    /// All others, datagrams included.
    Other,
}

impl SegmentKind {
    pub(super) const fn of(flags: u8) -> Self {
        if flags & TcpFlags::RST != 0 {
            Self::Reset
        } else if flags & TcpFlags::SYN != 0 {
            Self::Syn
        } else {
            Self::Other
        }
    }
}

/// Hop limits by kind of segment, with the packets that bore each.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct HopLimits {
    /// In order; at most 16.
    counts: Vec<((SegmentKind, u8), u64)>,
}

impl HopLimits {
    /// Kinds and values kept; a path that changes has a few, only a forger has more.
    const KEPT: usize = 16;

    pub(super) fn add(&mut self, kind: SegmentKind, hop_limit: u8, packets: u64) {
        let key = (kind, hop_limit);
        match self.counts.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(at) => self.counts[at].1 += packets,
            Err(at) => {
                self.counts.insert(at, (key, packets));
                // Joined in any order, the smallest keys stay.
                self.counts.truncate(Self::KEPT);
            }
        }
    }

    fn join(&mut self, other: &Self) {
        for &((kind, hop_limit), packets) in &other.counts {
            self.add(kind, hop_limit, packets);
        }
    }

    /// `(hop limit, packets)` of one kind, by hop limit.
    pub fn of(&self, kind: SegmentKind) -> impl Iterator<Item = (u8, u64)> + '_ {
        let counts = self.counts.iter();
        counts
            .filter(move |((known, _), _)| *known == kind)
            .map(|((_, hop_limit), packets)| (*hop_limit, *packets))
    }

    /// The hop limit that most packets of one kind bore.
    #[must_use]
    pub fn usual(&self, kind: SegmentKind) -> Option<u8> {
        let most = self
            .of(kind)
            .max_by_key(|(hop_limit, packets)| (*packets, *hop_limit));
        most.map(|(hop_limit, _)| hop_limit)
    }

    /// Whether any packet of one kind bore this hop limit.
    #[must_use]
    pub fn has(&self, kind: SegmentKind, hop_limit: u8) -> bool {
        self.of(kind).any(|(known, _)| known == hop_limit)
    }
}

/// What is gathered about an address.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct HostRecord {
    pub sent: u64,
    pub received: u64,
    pub sent_ends: Ends,
    pub received_ends: Ends,
    pub sent_at: Moments,
    pub received_at: Moments,
    pub accepted_at: Moments,
    pub hop_limits: HopLimits,
    pub sets_push: bool,
    pub samples: Samples,
    /// What it did as a client and as a server, if it did: most addresses of a scan are only one of
    /// the two.
    pub client: Option<Box<ClientRecord>>,
    pub server: Option<Box<ServerRecord>>,
}

impl HostRecord {
    pub fn note_sent(&mut self, at: At, packets: u64) {
        self.sent += packets;
        self.sent_ends.note(at);
    }

    pub fn note_received(&mut self, at: At, packets: u64) {
        self.received += packets;
        self.received_ends.note(at);
    }

    /// By what hosts are chosen: those that take part, then those seen most.
    pub fn weight(&self) -> (bool, u64) {
        (
            self.sent > 0 && self.received > 0,
            self.sent + self.received,
        )
    }

    pub fn widen(&mut self, doublings: u32) {
        self.sent_at.widen(doublings);
        self.received_at.widen(doublings);
        self.accepted_at.widen(doublings);
    }

    pub fn join(&mut self, other: &Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.sent_ends.join(&other.sent_ends);
        self.received_ends.join(&other.received_ends);
        self.sent_at.join(&other.sent_at);
        self.received_at.join(&other.received_at);
        self.accepted_at.join(&other.accepted_at);
        self.hop_limits.join(&other.hop_limits);
        self.sets_push |= other.sets_push;
        self.samples.join(&other.samples);
        if let Some(client) = &other.client {
            self.client.get_or_insert_default().join(client);
        }
        if let Some(server) = &other.server {
            self.server.get_or_insert_default().join(server);
        }
    }
}

/// What is gathered about packets from one address to another.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct PairRecord {
    pub sent: u64,
    pub sent_ends: Ends,
    pub sent_at: Moments,
    /// When something was sent on a TCP connection that demands an answer.
    pub asked_at: Moments,
    /// When connections were opened and names looked up.
    pub called_at: Moments,
    /// Smallest time that an acknowledgement took to come back.
    pub round_trip: Option<Duration>,
    /// Ports that were called.
    pub ports: Distinct,
}

impl PairRecord {
    pub fn note_sent(&mut self, at: At, packets: u64) {
        self.sent += packets;
        self.sent_ends.note(at);
    }

    #[inline]
    pub fn note_moment(&mut self, slice: u64, asks: bool) {
        self.sent_at.note(slice);
        if asks {
            self.asked_at.note(slice);
        }
    }

    pub fn note_round_trip(&mut self, round_trip: Option<Duration>) {
        self.round_trip = [self.round_trip, round_trip].into_iter().flatten().min();
    }

    pub fn weight(&self) -> u64 {
        self.sent
    }

    pub fn widen(&mut self, doublings: u32) {
        self.sent_at.widen(doublings);
        self.asked_at.widen(doublings);
        self.called_at.widen(doublings);
    }

    pub fn join(&mut self, other: &Self) {
        self.sent += other.sent;
        self.sent_ends.join(&other.sent_ends);
        self.sent_at.join(&other.sent_at);
        self.asked_at.join(&other.asked_at);
        self.called_at.join(&other.called_at);
        self.note_round_trip(other.round_trip);
        self.ports.join(&other.ports);
    }
}
