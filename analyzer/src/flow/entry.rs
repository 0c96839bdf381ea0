//! What is known of a live flow, in the smallest form that holds it, and how it grows.

use std::time::Duration;

use crate::decode::PacketKind;
use crate::flow::first_packets::{FirstDatagrams, FirstSegments, Kept, Record};
use crate::flow::key::FlowKey;
use crate::flow::tally::ShardTally;
use crate::flow::tcp::{PATIENCE_SYN_S, TcpSettings, TcpTracker};
use crate::flow::udp::UdpTracker;
use crate::time::Timestamp;

/// How long a closed connection stays in any case: what follows it comes within a few round trips.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// What a flow is taken to cost, in octets: its place in the table, and what its state needs on
/// average with all that hangs on it (measured on short web connections, with what allocators hold
/// back). What TCP holds of single segments is counted beside it.
const PLACE_COST: usize = 112;
const HANDSHAKE_COST: usize = 256;
const TCP_COST: usize = 8 << 10;
const UDP_COST: usize = 4 << 10;

/// What is known of a flow, in the smallest form that holds it.
#[derive(Debug)]
pub(super) enum Flow {
    /// One SYN.
    Syn(Record),
    /// A SYN and what followed, as long as that is little.
    FirstSegments(Liveness, FirstSegments),
    Tcp(Box<TcpTracker>),
    /// A few small datagrams.
    FirstDatagrams(Liveness, FirstDatagrams),
    Udp(Box<UdpTracker>),
}

/// What a look for silent flows needs of one that has no tracker yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Liveness {
    /// The time of its latest packet.
    pub last: Timestamp,
    /// How long it may stay silent, in seconds.
    pub patience_s: u16,
    /// A FIN came: it may be over.
    pub closing: bool,
}

impl Flow {
    #[inline]
    pub fn is_silent(&self, now: Timestamp) -> bool {
        let (last, patience_s) = match self {
            Self::Syn(syn) => (syn.time(), PATIENCE_SYN_S),
            Self::FirstSegments(liveness, _) | Self::FirstDatagrams(liveness, _) => {
                (liveness.last, liveness.patience_s)
            }
            Self::Tcp(tracker) => return now.since(tracker.last_activity()) > tracker.patience(),
            Self::Udp(tracker) => return tracker.is_silent(now),
        };
        now.nanos_since(last) > u64::from(patience_s) * 1_000_000_000
    }

    /// A packet came within the least patience that any flow has.
    #[inline]
    pub fn was_active(&self, now: Timestamp) -> bool {
        const LEAST: u64 = LINGER.as_secs() * 1_000_000_000;
        now.nanos_since(self.last_activity()) <= LEAST
    }

    #[inline]
    pub fn last_activity(&self) -> Timestamp {
        match self {
            Self::Syn(syn) => syn.time(),
            Self::FirstSegments(liveness, _) | Self::FirstDatagrams(liveness, _) => liveness.last,
            Self::Tcp(tracker) => tracker.last_activity(),
            Self::Udp(tracker) => tracker.last_activity(),
        }
    }

    /// A FIN came on what has no tracker yet: only one can tell whether it is over.
    pub fn may_be_closed(&self, now: Timestamp) -> bool {
        match self {
            Self::FirstSegments(liveness, _) => {
                liveness.closing && now.since(liveness.last) > LINGER
            }
            _ => false,
        }
    }

    /// A closed connection on which nothing has come for a second.
    pub fn may_end_early(&self, now: Timestamp) -> bool {
        match self {
            Self::Tcp(tracker) => {
                tracker.is_closed() && now.since(tracker.last_activity()) > LINGER
            }
            _ => false,
        }
    }

    pub fn first_frame(&self) -> u64 {
        match self {
            Self::Syn(syn) => syn.frame(),
            Self::FirstSegments(_, first) => first.first_frame(),
            Self::Tcp(tracker) => tracker.first_frame(),
            Self::FirstDatagrams(_, first) => first.first_frame(),
            Self::Udp(tracker) => tracker.first_frame(),
        }
    }

    /// Roughly the octets it takes.
    pub fn cost(&self) -> usize {
        PLACE_COST
            + match self {
                Self::Syn(_) => 0,
                Self::FirstSegments(_, first) => HANDSHAKE_COST + first.octets(),
                Self::Tcp(tracker) => TCP_COST + tracker.octets_held(),
                Self::FirstDatagrams(_, first) => HANDSHAKE_COST + first.octets(),
                Self::Udp(_) => UDP_COST,
            }
    }

    /// Gives it the tracker that its packets so far make; counts those packets.
    pub fn grow(&mut self, key: &FlowKey, settings: &TcpSettings, tally: &mut ShardTally) {
        let grown = match self {
            Self::Tcp(_) | Self::Udp(_) => return,
            Self::Syn(syn) => {
                let alone = std::iter::once(Kept::syn(*syn));
                grown_tcp(key, alone, settings, tally).map(Self::Tcp)
            }
            Self::FirstSegments(_, first) => {
                grown_tcp(key, first.segments(), settings, tally).map(Self::Tcp)
            }
            Self::FirstDatagrams(_, first) => grown_udp(key, first, tally).map(Self::Udp),
        };
        if let Some(grown) = grown {
            *self = grown;
        }
    }
}

fn grown_tcp<'a>(
    key: &FlowKey,
    segments: impl Iterator<Item = Kept<'a>>,
    settings: &TcpSettings,
    tally: &mut ShardTally,
) -> Option<Box<TcpTracker>> {
    let mut tracker: Option<Box<TcpTracker>> = None;
    for kept in segments {
        let packet = kept.segment(key);
        let PacketKind::Tcp(tcp) = &packet.kind else {
            continue;
        };
        let tracker =
            tracker.get_or_insert_with(|| Box::new(TcpTracker::new(&packet, tcp, settings)));
        tracker.in_turn(
            &packet,
            tcp,
            kept.payload,
            &mut |tracker, packet, tcp, payload| {
                let (verdict, direction) = tracker.segment(packet, tcp, payload);
                tally.segment(packet, direction, verdict);
            },
        );
    }
    tracker
}

fn grown_udp(
    key: &FlowKey,
    first: &FirstDatagrams,
    tally: &mut ShardTally,
) -> Option<Box<UdpTracker>> {
    let mut tracker: Option<Box<UdpTracker>> = None;
    for (packet, payload) in first.datagrams(key) {
        let tracker = tracker.get_or_insert_with(|| Box::new(UdpTracker::new(&packet)));
        let (new, direction) = tracker.datagram(&packet, payload);
        if new {
            tally.datagram(&packet, direction);
        }
    }
    tracker
}
