//! What a shard counts over its connections; merged once, at the end, in a fixed order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use foldhash::fast::FixedState;

use serde::{Deserialize, Serialize};

use crate::addr::{Endpoint, Transport};
use crate::analysis::{IcmpError, ListenerFacts, UdpServerFacts};
use crate::connection::{Connection, ResetKind};
use crate::decode::{Packet, PacketKind, TcpFlags};
use crate::direction::Direction;
use crate::episodes::Records;
use crate::event::{At, SegmentRef};
use crate::flow::tcp::Verdict;
use crate::flow::timeline::{LoneSyn, Timeline};
use crate::hosts::table::HostTable;
use crate::quality::{LimitCounts, QualityKind, QualityNote};
use crate::time::Timestamp;

/// Names, listeners and UDP servers kept in all (see [`crate::Analysis`]).
const ENTRIES: usize = 65_536;

/// Of each kind, those that a shard keeps: a flood of made-up servers falls into all shards, and
/// what one shard has no room for is then rarely of use to another.
const ENTRIES_PER_SHARD: usize = 8_192;

/// Addresses kept of a listener's clients, and of a name.
const ADDRESSES: usize = 1024;

/// Attempts of a single SYN without any answer that are judged one by one, per listener and
/// shard; a flood's are summed.
pub(crate) const LONE_SYNS: u32 = 128;

/// An attempt to connect of which only the SYN was seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// When the SYN passed.
    pub time: Timestamp,
    /// Its length on the wire.
    pub wire_len: u32,
    pub client: Endpoint,
    pub server: Endpoint,
}

/// What is counted over the connections of one shard, or of several when merged.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct ShardTally {
    pub tcp_connections: u64,
    pub udp_flows: u64,
    pub dns_names: BTreeMap<String, BTreeSet<IpAddr>>,
    pub listeners: BTreeMap<Endpoint, ListenerFacts>,
    pub udp_servers: BTreeMap<Endpoint, UdpServerFacts>,
    pub icmp_errors: Vec<IcmpError>,
    pub icmp_error_count: u64,
    pub timeline: Timeline,
    /// What limits the capture.
    pub limits: LimitCounts,
    /// What each address did.
    pub hosts: HostTable,
    /// Connections, to see what happened to many at one time.
    pub records: Records,
    /// Connections that ended for want of memory.
    pub given_up: u64,
    /// Lone SYNs judged one by one, by listener.
    #[serde(skip)]
    lone_syns: HashMap<Endpoint, u32, FixedState>,
}

impl ShardTally {
    pub fn new(start: Timestamp) -> Self {
        Self {
            timeline: Timeline::new(start),
            hosts: HostTable::new(start),
            ..Self::default()
        }
    }

    /// Counts a segment into its slice of time.
    pub fn segment(&mut self, packet: &Packet, direction: Direction, verdict: Verdict) {
        match verdict {
            Verdict::DuplicateFrame => return,
            Verdict::Retransmission(_) => {
                self.timeline.slice(packet.time).retransmissions[direction.index()] += 1;
            }
            Verdict::Reset => self.timeline.slice(packet.time).resets += 1,
            _ => {}
        }
        self.packet(packet, direction, || demands_answer(packet, verdict));
    }

    /// Counts a datagram, which is no copy, into its slice of time.
    pub fn datagram(&mut self, packet: &Packet, direction: Direction) {
        self.packet(packet, direction, || false);
    }

    #[inline(always)]
    fn packet(&mut self, packet: &Packet, direction: Direction, asks: impl Fn() -> bool) {
        let slice = self.timeline.slice(packet.time);
        slice.packets[direction.index()] += 1;
        slice.bytes[direction.index()] += u64::from(packet.wire_len);
        self.hosts.packet(packet, asks);
    }

    /// Counts a finished connection.
    pub fn connection(&mut self, connection: &Connection, expired_open: bool) {
        for half in &connection.halves {
            self.limits.duplicate_frames += half.duplicate_frames;
            self.limits.cut_frames += half.cut_frames;
            self.limits.missing_octets += half.missing_octets;
            self.limits.oversized += half.oversized_segments;
            self.limits.written_late += half.written_late;
            self.limits.written_late_max = self.limits.written_late_max.max(half.written_late_max);
        }
        let disordered = connection.is_touched_by(QualityKind::CaptureDisorder);
        self.limits.written_late_connections += u64::from(disordered);
        if connection.is_mirrored() {
            let copies = connection.halves.iter().map(|half| half.network_duplicates);
            self.limits.duplicate_frames += copies.sum::<u64>();
        }
        let missing = connection.halves.iter().any(|half| half.missing_octets > 0);
        self.limits.missing_connections += u64::from(missing);
        self.limits.two_sided += u64::from(!connection.is_one_sided());
        self.timeline.slice(connection.start).opened += 1;
        self.names(connection);
        let ending = connection.ending();
        self.hosts.connection(connection, ending.as_ref());
        self.records.connection(connection, ending.as_ref());
        match connection.transport {
            Transport::Tcp => self.tcp(connection, expired_open),
            Transport::Udp => self.udp(connection),
        }
    }

    /// Whether one more attempt of a single SYN is to be judged by itself.
    pub fn judges_lone_syn(&mut self, server: Endpoint) -> bool {
        let known = self.lone_syns.contains_key(&server);
        if !known && self.lone_syns.len() >= ENTRIES_PER_SHARD {
            return false;
        }
        let judged = self.lone_syns.entry(server).or_default();
        *judged += 1;
        *judged <= LONE_SYNS
    }

    /// Sums an attempt of a single SYN without any answer, as [`Self::segment`] and
    /// [`Self::connection`] count one.
    pub fn lone_syn(&mut self, attempt: &Attempt, lone: LoneSyn) {
        self.limits.lone_syns_summed += 1;
        self.tcp_connections += 1;
        self.hosts.lone_syn(attempt.client, attempt.server);
        let slice = self.timeline.slice(attempt.time);
        slice.packets[0] += 1;
        slice.bytes[0] += u64::from(attempt.wire_len);
        slice.opened += 1;
        slice.failed += 1;
        self.timeline.lone_syn(attempt.time, lone);
        let listeners = &mut self.listeners;
        let Some(listener) = entry(listeners, attempt.server, ENTRIES_PER_SHARD) else {
            self.limits.unlisted += 1;
            return;
        };
        listener.attempts += 1;
        listener.unanswered += 1;
        if listener.clients.len() < ADDRESSES {
            listener.clients.insert(attempt.client.ip);
        }
    }

    /// An attempt that was summed as unanswered is answered after all: what follows is counted as a
    /// connection. (Its slice of time keeps it as failed.)
    pub fn lone_syn_answered(&mut self, server: Endpoint) {
        self.limits.lone_syns_summed = self.limits.lone_syns_summed.saturating_sub(1);
        self.tcp_connections = self.tcp_connections.saturating_sub(1);
        if let Some(listener) = self.listeners.get_mut(&server) {
            listener.attempts = listener.attempts.saturating_sub(1);
            listener.unanswered = listener.unanswered.saturating_sub(1);
        }
    }

    fn tcp(&mut self, connection: &Connection, expired_open: bool) {
        self.tcp_connections += 1;
        let peer_is_proven = connection.halves.iter().any(|half| {
            half.packets > 0 && half.last_segment.is_some_and(|last| last.relative_ack > 1)
        });
        self.limits.one_sided += u64::from(connection.is_one_sided() && peer_is_proven);
        self.timeline.states(connection, expired_open);
        if connection.handshake.syn_count == 0 {
            return;
        }
        let completed = connection.handshake.ack;
        let refused = connection
            .resets
            .iter()
            .any(|reset| reset.kind == ResetKind::Refused);
        let unanswered = connection.from_server().packets == 0;
        if refused || unanswered {
            self.timeline.slice(connection.start).failed += 1;
        }
        let server = connection.server;
        let Some(listener) = entry(&mut self.listeners, server, ENTRIES_PER_SHARD) else {
            self.limits.unlisted += 1;
            return;
        };
        listener.attempts += 1;
        listener.refused += u64::from(refused);
        listener.unanswered += u64::from(unanswered);
        if listener.clients.len() < ADDRESSES {
            listener.clients.insert(connection.client.ip);
        }
        if let Some(ack) = completed {
            listener.completed += 1;
            note_completed(listener, ack);
        }
    }

    fn udp(&mut self, connection: &Connection) {
        self.udp_flows += 1;
        let datagrams = connection.from_client().packets;
        let server = connection.server;
        let Some(server) = entry(&mut self.udp_servers, server, ENTRIES_PER_SHARD) else {
            self.limits.unlisted += 1;
            return;
        };
        server.datagrams += datagrams;
        server.flows += 1;
        server.busiest = server.busiest.max(datagrams);
    }

    fn names(&mut self, connection: &Connection) {
        for exchange in connection
            .app
            .dns
            .iter()
            .filter(|exchange| !exchange.addresses.is_empty())
        {
            let names = &mut self.dns_names;
            let known = match names.get_mut(&exchange.name) {
                None => entry(names, exchange.name.clone(), ENTRIES_PER_SHARD),
                known => known,
            };
            if let Some(known) = known {
                known.extend(exchange.addresses.iter().copied());
                bound(known);
            }
        }
    }

    /// Adds another shard's facts. Call in shard order.
    pub fn merge(&mut self, other: Self) {
        self.tcp_connections += other.tcp_connections;
        self.udp_flows += other.udp_flows;
        for (name, addresses) in other.dns_names {
            if let Some(known) = entry(&mut self.dns_names, name, ENTRIES) {
                known.extend(addresses);
                bound(known);
            }
        }
        for (endpoint, facts) in other.listeners {
            match entry(&mut self.listeners, endpoint, ENTRIES) {
                Some(listener) => merge_listener(listener, &facts),
                None => self.limits.unlisted += facts.attempts,
            }
        }
        for (endpoint, facts) in other.udp_servers {
            let Some(server) = entry(&mut self.udp_servers, endpoint, ENTRIES) else {
                self.limits.unlisted += facts.flows;
                continue;
            };
            server.datagrams += facts.datagrams;
            server.flows += facts.flows;
            server.busiest = server.busiest.max(facts.busiest);
        }
        self.icmp_errors.extend(other.icmp_errors);
        self.icmp_errors.sort_by_key(|error| error.segment.frame);
        self.icmp_errors.truncate(1024);
        self.icmp_error_count += other.icmp_error_count;
        self.timeline.merge(other.timeline);
        self.limits.merge(&other.limits);
        self.hosts.merge(other.hosts);
        self.records.merge(other.records);
        self.given_up += other.given_up;
    }

    /// Adds second copies that were left out before the flows saw them.
    pub const fn note_doubles(&mut self, frames: u64) {
        self.limits.duplicate_frames += frames;
    }

    /// The caveats that follow from connections.
    pub fn quality(&self) -> Vec<QualityNote> {
        self.limits.notes(ENTRIES)
    }
}

/// Whether the other end's TCP must answer: data, FIN or a probe of a connection.
fn demands_answer(packet: &Packet, verdict: Verdict) -> bool {
    const NEITHER: u8 = TcpFlags::SYN | TcpFlags::RST;
    let PacketKind::Tcp(tcp) = &packet.kind else {
        return false;
    };
    let is_probe = matches!(verdict, Verdict::KeepAlive | Verdict::ZeroWindowProbe);
    tcp.flags.0 & NEITHER == 0 && (packet.payload_len > 0 || tcp.flags.fin() || is_probe)
}

/// Drops addresses beyond those that are kept.
fn bound(addresses: &mut BTreeSet<IpAddr>) {
    while addresses.len() > ADDRESSES {
        addresses.pop_last();
    }
}

/// The entry of a key; nothing when it is new and there are `limit` already.
fn entry<K: Ord, V: Default>(map: &mut BTreeMap<K, V>, key: K, limit: usize) -> Option<&mut V> {
    if map.len() >= limit && !map.contains_key(&key) {
        return None;
    }
    Some(map.entry(key).or_default())
}

fn note_completed(listener: &mut ListenerFacts, ack: SegmentRef) {
    let at = At {
        frame: ack.frame,
        time: ack.time,
    };
    if listener
        .first_completed
        .is_none_or(|known| at.frame < known.frame)
    {
        listener.first_completed = Some(at);
    }
    if listener
        .last_completed
        .is_none_or(|known| at.frame > known.frame)
    {
        listener.last_completed = Some(at);
    }
}

fn merge_listener(into: &mut ListenerFacts, other: &ListenerFacts) {
    into.attempts += other.attempts;
    into.completed += other.completed;
    into.refused += other.refused;
    into.unanswered += other.unanswered;
    into.first_completed = [into.first_completed, other.first_completed]
        .into_iter()
        .flatten()
        .min_by_key(|at| at.frame);
    into.last_completed = [into.last_completed, other.last_completed]
        .into_iter()
        .flatten()
        .max_by_key(|at| at.frame);
    into.clients.extend(other.clients.iter().copied());
    bound(&mut into.clients);
}
