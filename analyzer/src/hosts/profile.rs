//! The profile of one address, as rules ask it.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::event::At;
use crate::in_order::neighbours::{Hardware, Neighbour};
use crate::time::Timestamp;

use super::attempts::{ClientRecord, ServerRecord};
use super::clock::{TimestampClock, timestamp_clock};
use super::ends::Ends;
use super::front::SharedFront;
use super::ip_id::{self, IpIdBehaviour};
use super::kind::AddressKind;
use super::moments::{Grid, Moments};
use super::record::{HopLimits, HostRecord};

/// What a host did as a client, over connections whose beginning was captured and UDP flows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClientRole {
    /// Attempts to talk: TCP connections and UDP flows, those to groups not counted.
    pub opened: u64,
    /// Of these: payload passed both ways.
    pub exchanged: u64,
    /// Of these: accepted, without payload both ways.
    pub accepted: u64,
    /// Of these: answered by RST or an ICMP error.
    pub refused: u64,
    /// Of these: not answered.
    pub silent: u64,
    /// Different addresses called; an estimate from 64 on, like all numbers of different things.
    pub addresses: u64,
    /// Different transports, addresses and ports called.
    pub destinations: u64,
    /// Different ports called.
    pub ports: u64,
    /// Different ports from 1024 on called.
    pub high_ports: u64,
    /// Different ports called at one address, the most.
    pub ports_of_one_address: u64,
    /// Destinations with which payload was exchanged both ways.
    pub fruitful_destinations: u64,
    /// Destinations with which it never was.
    pub fruitless_destinations: u64,
    /// Addresses called in vain which no DNS answer in the capture had named.
    pub fruitless_unnamed_addresses: u64,
    /// How long requests waited for an answer before this client closed; of the first 32
    /// connections where it did, in ascending order.
    pub waits: Vec<Duration>,
    /// Connections that it closed while a request waited.
    pub waits_count: u64,
}

impl ClientRole {
    fn of(record: ClientRecord, ports_of_one_address: u64, named: &HashSet<u32>) -> Self {
        let fruitless = record.fruitless.tags();
        let in_vain = fruitless
            .iter()
            .filter(|tag| !record.fruitful.tags().contains(tag));
        let unnamed = record.fruitless_addresses.tags().iter();
        let unnamed = unnamed.filter(|tag| !named.contains(tag)).count() as u64;
        let share = |part: u64, kept: usize, all: u64| match kept as u64 {
            0 => 0,
            kept => part * all / kept,
        };
        let mut waits: Vec<Duration> = record.waits.iter().map(|(_, wait)| *wait).collect();
        waits.sort_unstable();
        Self {
            opened: record.opened,
            exchanged: record.exchanged,
            accepted: record.accepted,
            refused: record.refused,
            silent: record.silent,
            addresses: record.addresses.count(),
            destinations: record.destinations.count(),
            ports: record.ports.count(),
            high_ports: record.high_ports.count(),
            ports_of_one_address,
            fruitful_destinations: record.fruitful.count(),
            fruitless_destinations: share(
                in_vain.count() as u64,
                fruitless.len(),
                record.fruitless.count(),
            ),
            fruitless_unnamed_addresses: share(
                unnamed,
                record.fruitless_addresses.tags().len(),
                record.fruitless_addresses.count(),
            ),
            waits,
            waits_count: record.waits_count,
        }
    }
}

/// What a host did as a server.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ServerRole {
    /// Attempts to talk to it whose beginning was captured.
    pub asked: u64,
    /// Of these: payload passed both ways.
    pub exchanged: u64,
    /// Of these: accepted, without payload both ways.
    pub accepted: u64,
    /// Of these: answered by RST or an ICMP error.
    pub refused: u64,
    /// Of these: not answered.
    pub silent: u64,
    /// Different addresses that called.
    pub callers: u64,
    /// Attempts that came from public addresses.
    pub public_calls: u64,
    /// First handshake that was completed.
    pub first_accepted: Option<At>,
    /// Last one.
    pub last_accepted: Option<At>,
    /// First payload that it sent as a server.
    pub first_answer: Option<At>,
    /// Last one.
    pub last_answer: Option<At>,
}

impl From<ServerRecord> for ServerRole {
    fn from(record: ServerRecord) -> Self {
        Self {
            asked: record.asked,
            exchanged: record.exchanged,
            accepted: record.accepted,
            refused: record.refused,
            silent: record.silent,
            callers: record.callers.count(),
            public_calls: record.public_callers,
            first_accepted: record.accepted_ends.first,
            last_accepted: record.accepted_ends.last,
            first_answer: record.answered_ends.first,
            last_answer: record.answered_ends.last,
        }
    }
}

/// What an address is and what it did in this capture.
#[derive(Clone, PartialEq, Debug)]
pub struct HostProfile {
    /// The address.
    pub address: IpAddr,
    /// Packets that bear it as source, copies made by the capture not counted.
    pub packets_sent: u64,
    /// Packets that bear it as destination.
    pub packets_received: u64,
    /// What it did as a client.
    pub client: ClientRole,
    /// What it did as a server.
    pub server: ServerRole,
    ip_id: IpIdBehaviour,
    hop_limits: HopLimits,
    timestamp_clock: Option<TimestampClock>,
    sets_push: bool,
    sent_ends: Ends,
    received_ends: Ends,
    sent_at: Moments,
    received_at: Moments,
    accepted_at: Moments,
    grid: Grid,
    pub(super) neighbours: Hardware,
    pub(super) shared_front: Option<SharedFront>,
}

impl HostProfile {
    pub(super) fn of(
        address: IpAddr,
        record: HostRecord,
        grid: Grid,
        ports_of_one_address: u64,
        named: &HashSet<u32>,
    ) -> Self {
        let samples = record.samples.sorted();
        Self {
            address,
            packets_sent: record.sent,
            packets_received: record.received,
            client: ClientRole::of(
                *record.client.unwrap_or_default(),
                ports_of_one_address,
                named,
            ),
            server: (*record.server.unwrap_or_default()).into(),
            ip_id: ip_id::behaviour(&samples),
            hop_limits: record.hop_limits,
            timestamp_clock: timestamp_clock(&samples),
            sets_push: record.sets_push,
            sent_ends: record.sent_ends,
            received_ends: record.received_ends,
            sent_at: record.sent_at,
            received_at: record.received_at,
            accepted_at: record.accepted_at,
            grid,
            neighbours: Hardware::default(),
            shared_front: None,
        }
    }

    /// Reach of its address.
    #[must_use]
    pub fn kind(&self) -> AddressKind {
        AddressKind::of(self.address)
    }

    /// Its address is reachable from everywhere.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.kind() == AddressKind::Public
    }

    /// How its IPv4 identifications behave.
    #[must_use]
    pub const fn ip_id(&self) -> IpIdBehaviour {
        self.ip_id
    }

    /// Hardware addresses that its packets came from at the capture point, at most four, in the order
    /// in which they were seen: its own, or the routers'.
    #[must_use]
    pub fn hardware_addresses(&self) -> &[Neighbour] {
        &self.neighbours.sources
    }

    /// Hardware addresses of single stations that packets to it went to at the capture point, at most four, in the order
    /// in which they were seen: its own, or the routers'.
    #[must_use]
    pub fn reached_at(&self) -> &[Neighbour] {
        &self.neighbours.destinations
    }

    /// What answers in its name, when one stack answers for several public addresses (a user-mode
    /// NAT, VPN or proxy): then neither its acknowledgements nor its resets are the address's own.
    #[must_use]
    pub const fn shared_front(&self) -> Option<&SharedFront> {
        self.shared_front.as_ref()
    }

    /// Hop limits (TTLs) of its packets, by kind of segment.
    #[must_use]
    pub const fn hop_limits(&self) -> &HopLimits {
        &self.hop_limits
    }

    /// The clock behind its TCP timestamps, when it was seen for half a second on one connection.
    #[must_use]
    pub const fn timestamp_clock(&self) -> Option<&TimestampClock> {
        self.timestamp_clock.as_ref()
    }

    /// Whether any segment of it bore PSH. Where none did, a segment without PSH is no sign that
    /// more was to follow.
    #[must_use]
    pub const fn has_set_psh(&self) -> bool {
        self.sets_push
    }

    /// The first packet that it sent.
    #[must_use]
    pub const fn first_sent(&self) -> Option<At> {
        self.sent_ends.first
    }

    /// The last packet that it sent.
    #[must_use]
    pub const fn last_sent(&self) -> Option<At> {
        self.sent_ends.last
    }

    /// The first packet sent to it.
    #[must_use]
    pub const fn first_received(&self) -> Option<At> {
        self.received_ends.first
    }

    /// The last packet sent to it.
    #[must_use]
    pub const fn last_received(&self) -> Option<At> {
        self.received_ends.last
    }

    /// Whether it sent anything at all.
    #[must_use]
    pub const fn was_heard(&self) -> bool {
        self.packets_sent > 0
    }

    /// Whether it surely sent something between two times.
    #[must_use]
    pub fn was_heard_between(&self, a: Timestamp, b: Timestamp) -> bool {
        self.sent_at.surely_between(&self.grid, a, b)
    }

    /// Whether it may have sent something between two times: `false` proves that it was silent.
    #[must_use]
    pub fn may_have_been_heard_between(&self, a: Timestamp, b: Timestamp) -> bool {
        self.sent_at.maybe_between(&self.grid, a, b)
    }

    /// Whether it sent anything after a time.
    #[must_use]
    pub fn was_heard_after(&self, time: Timestamp) -> bool {
        self.last_sent().is_some_and(|last| last.time > time)
    }

    /// Whether something was surely sent to it between two times.
    #[must_use]
    pub fn received_between(&self, a: Timestamp, b: Timestamp) -> bool {
        self.received_at.surely_between(&self.grid, a, b)
    }

    /// Whether something may have been sent to it between two times: `false` proves that nothing
    /// came.
    #[must_use]
    pub fn may_have_received_between(&self, a: Timestamp, b: Timestamp) -> bool {
        self.received_at.maybe_between(&self.grid, a, b)
    }

    /// When something was sent to it.
    pub(crate) const fn received_at(&self) -> &Moments {
        &self.received_at
    }

    /// Whether a handshake with it as the server was surely completed between two times.
    #[must_use]
    pub fn accepted_between(&self, a: Timestamp, b: Timestamp) -> bool {
        let own = [self.server.first_accepted, self.server.last_accepted];
        let mut own = own.into_iter().flatten();
        own.any(|at| at.time >= a && at.time <= b)
            || self.accepted_at.surely_between(&self.grid, a, b)
    }

    /// Whether it sent payload as a server, or completed a handshake, after a time.
    #[must_use]
    pub fn answers_as_server_after(&self, time: Timestamp) -> bool {
        let last = [self.server.last_answer, self.server.last_accepted];
        last.into_iter().flatten().any(|at| at.time > time)
    }

    /// Whether it ever sent payload as a server or completed a handshake.
    #[must_use]
    pub const fn has_answered_as_server(&self) -> bool {
        self.server.first_answer.is_some() || self.server.first_accepted.is_some()
    }

    /// How long its requests usually wait for an answer before it closes: the median over the
    /// first 32 connections where it closed while a request waited, and how many did in all.
    /// `None` when it never did.
    #[must_use]
    pub fn usual_patience(&self) -> Option<(Duration, u64)> {
        let waits = &self.client.waits;
        let median = *waits.get(waits.len().saturating_sub(1) / 2)?;
        Some((median, self.client.waits_count))
    }

    /// It calls many destinations that nothing in the capture names, nearly all in vain: a
    /// scanner, a worm or a port scan.
    ///
    /// Each destination is one trial. Sequential testing of "one of five calls succeeds" against
    /// "four of five do" (Jung et al., Fast Portscan Detection Using Sequential Hypothesis Testing,
    /// 2004) decides for a scanner, with one error in a million, at ten failures more than
    /// successes. Ports of one address need half as many: nobody else tries five in vain.
    #[must_use]
    pub fn is_scanner(&self) -> bool {
        /// log₄ of one million.
        const NET_FAILURES: u64 = 10;
        const PORTS: u64 = 5;
        let client = &self.client;
        let (failures, successes) = (client.fruitless_destinations, client.fruitful_destinations);
        let is_broad = failures >= successes + NET_FAILURES
            && (client.fruitless_unnamed_addresses >= NET_FAILURES
                || client.ports_of_one_address >= NET_FAILURES);
        let is_deep =
            client.ports_of_one_address >= PORTS && failures >= PORTS && failures >= 4 * successes;
        (is_broad || is_deep) && !self.is_peer_to_peer()
    }

    /// It calls many addresses, each at a high port of its own, as members of a peer-to-peer
    /// network and probes for direct paths do: that most are in vain is usual.
    #[must_use]
    pub fn is_peer_to_peer(&self) -> bool {
        const PEERS: u64 = 8;
        let client = &self.client;
        client.addresses >= PEERS
            && client.high_ports * 2 >= client.addresses
            && client.high_ports * 5 >= client.ports * 4
            && client.destinations <= client.addresses * 2
    }

    /// A public address that called, exchanged nothing with anybody, and was itself never called:
    /// what any host on the Internet receives unasked.
    #[must_use]
    pub fn is_background_noise(&self) -> bool {
        let client = &self.client;
        // Who wants something tries one destination again and again.
        let tries_each_once = client.opened <= 3 * client.destinations;
        self.is_public()
            && client.opened > 0
            && client.exchanged == 0
            && self.server.asked == 0
            && tries_each_once
    }

    /// It never calls, only public addresses call it, and nothing is ever exchanged: the target
    /// of background noise, such as a dark address or a honeypot.
    #[must_use]
    pub const fn only_receives_from_strangers(&self) -> bool {
        self.client.opened == 0
            && self.server.asked > 0
            && self.server.exchanged == 0
            && self.server.public_calls == self.server.asked
    }
}
