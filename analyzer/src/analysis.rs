//! The finished read model of a whole capture: what no single connection can tell.
//!
//! Everything here is merged from shards in a fixed order and ordered by itself (B-trees), so it
//! does not depend on thread count.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::addr::{Endpoint, Transport};
use crate::capture::Mark;
use crate::connection::TcpState;
use crate::decode::IcmpFields;
use crate::episodes::Episodes;
use crate::event::{At, SegmentRef};
use crate::hosts::Hosts;
use crate::quality::QualityNote;
use crate::time::Timestamp;

pub use crate::capture::{FileSummary, InterfaceSummary};
pub use crate::in_order::{
    AddressConflict, BroadcastKind, BroadcastLoop, ClockBreak, DamagedPackets, RoutingLoop,
};

/// The capture as a whole.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CaptureSummary {
    /// Files in the order analysed.
    pub files: Vec<FileSummary>,
    /// Interfaces.
    pub interfaces: Vec<InterfaceSummary>,
    /// Frames.
    pub packets: u64,
    /// Their length on the wire.
    pub bytes: u64,
    /// Smallest frame time.
    pub first: Option<Timestamp>,
    /// Largest frame time.
    pub last: Option<Timestamp>,
    /// Frames by why decoding ended early, with the name of what was met; most frequent kinds only.
    pub undecoded: BTreeMap<String, u64>,
    /// Frames by protocol name (`tcp`, `udp`, `arp`, `icmp`, …).
    pub protocols: BTreeMap<&'static str, u64>,
}

impl CaptureSummary {
    /// From the first to the last frame.
    #[must_use]
    pub fn duration(&self) -> Duration {
        match (self.first, self.last) {
            (Some(first), Some(last)) => last.since(first),
            _ => Duration::ZERO,
        }
    }
}

/// What one slice of capture time held, a millisecond long or longer; the charts' data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Interval {
    /// Packets by direction (client to server, server to client).
    pub packets: [u64; 2],
    /// Wire bytes by direction.
    pub bytes: [u64; 2],
    /// Retransmitted segments by direction.
    pub retransmissions: [u64; 2],
    /// Resets.
    pub resets: u64,
    /// Connections whose first packet fell here.
    pub opened: u64,
    /// Connections that were refused or never answered and began here.
    pub failed: u64,
}

/// The capture cut into equal slices of time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Intervals {
    /// Start of the first slice.
    pub start: Option<Timestamp>,
    /// Length of a slice.
    pub width: Duration,
    /// The slices, at most 512, without gaps.
    pub slices: Vec<Interval>,
    /// Sockets per state at the start of each slice, one row per slice: client ends, then server
    /// ends, in the order of [`TcpState::ALL`].
    pub states: Vec<[[u32; 11]; 2]>,
}

impl Intervals {
    /// Index of a state in the rows of `states`.
    #[must_use]
    pub fn state_index(state: TcpState) -> usize {
        state as usize
    }
}

/// What a listening endpoint did over the whole capture.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ListenerFacts {
    /// Connections attempted (distinct incarnations with a SYN).
    pub attempts: u64,
    /// Handshakes that completed.
    pub completed: u64,
    /// Attempts answered by RST.
    pub refused: u64,
    /// Attempts without any answer.
    pub unanswered: u64,
    /// First completed handshake.
    pub first_completed: Option<At>,
    /// Last completed handshake.
    pub last_completed: Option<At>,
    /// Distinct client addresses, at most 1024.
    pub clients: BTreeSet<IpAddr>,
}

/// The busiest UDP flows of one server endpoint.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct UdpServerFacts {
    /// Datagrams from clients over all flows.
    pub datagrams: u64,
    /// Flows.
    pub flows: u64,
    /// Datagrams of the busiest flow.
    pub busiest: u64,
}

/// An ICMP error that quotes analysed or unknown traffic.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct IcmpError {
    /// The error, placed at its own frame.
    pub segment: SegmentRef,
    /// What it says.
    pub icmp: IcmpFields,
    /// Source of the quoted packet.
    pub from: Endpoint,
    /// Destination of the quoted packet.
    pub to: Endpoint,
    /// Transport of the quoted packet.
    pub transport: Transport,
}

impl IcmpError {
    /// The host that the packet was for sent it, no router before it.
    #[must_use]
    pub fn is_from_destination(&self) -> bool {
        self.icmp.reporter == self.to.ip
    }
}

/// Everything about the capture that crosses connections.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Analysis {
    /// Files, interfaces, totals.
    pub summary: CaptureSummary,
    /// Caveats.
    pub quality: Vec<QualityNote>,
    /// What each address is and did.
    pub hosts: Hosts,
    /// What happened to many connections at one time.
    pub episodes: Episodes,
    /// TCP connections.
    pub tcp_connections: u64,
    /// UDP flows.
    pub udp_flows: u64,
    /// Names answered by DNS in this capture, with their addresses; at most 65,536 names.
    pub dns_names: BTreeMap<String, BTreeSet<IpAddr>>,
    /// Listening endpoints, at most 65,536.
    pub listeners: BTreeMap<Endpoint, ListenerFacts>,
    /// UDP server endpoints, at most 65,536.
    pub udp_servers: BTreeMap<Endpoint, UdpServerFacts>,
    /// ICMP errors, the first 1,024.
    pub icmp_errors: Vec<IcmpError>,
    /// ICMP errors in all.
    pub icmp_error_count: u64,
    /// Time slices.
    pub intervals: Intervals,
    /// Places at which the capture can be read again without all that comes before.
    pub marks: Vec<Mark>,
    /// Flows whose packets went in circles, by addresses; at most 256.
    pub routing_loops: Vec<RoutingLoop>,
    /// Broadcast frames that circled, in frame order; the first 256.
    pub broadcast_loops: Vec<BroadcastLoop>,
    /// Addresses that two stations claim, by address; at most 256.
    pub address_conflicts: Vec<AddressConflict>,
    /// Senders of which packets were damaged on their way, by address; at most 256.
    pub damaged: Vec<DamagedPackets>,
    /// Where the capture's clock ran backwards or leapt, at most 256, and then where it was set forward, as
    /// far as the clocks of hosts prove it; in frame order each, at most 256 as well.
    pub clock_breaks: Vec<ClockBreak>,
    /// Parts of a second were written in a wrong unit: no time below a second is right.
    pub is_clock_unit_wrong: bool,
    /// Nothing was captured in both directions, though hosts were answered: that there is no answer
    /// in the capture says nothing.
    pub is_one_way: bool,
}

impl Analysis {
    /// Whether the capture's clock tells how long it was from `from` to `to`.
    #[must_use]
    pub fn tells_time(&self, from: Timestamp, to: Timestamp) -> bool {
        let mut back = self.clock_breaks.iter().filter(|one| !one.is_forward());
        !self.is_clock_unit_wrong
            && !self.is_stretched(from, to)
            && !back.any(|one| one.lies_within(from, to))
    }

    /// Whether more than a quarter of the time from `from` to `to` may be none: the capture's clock was set
    /// forward meanwhile.
    #[must_use]
    pub fn is_stretched(&self, from: Timestamp, to: Timestamp) -> bool {
        let forward = self.clock_breaks.iter().filter(|one| one.is_forward());
        let within = forward.filter(|one| one.lies_within(from, to));
        let none: Duration = within.map(|one| one.by).sum();
        none * 4 > to.since(from)
    }
}
