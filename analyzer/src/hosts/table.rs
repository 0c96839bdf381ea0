//! What a shard gathers about addresses, packet by packet and connection by connection.
//!
//! A packet usually comes between the same two addresses, in the same slice of time and with the
//! same hop limit as one shortly before: then one small entry is looked at and a count raised.
//! Everything kept is joined by sums, unions, minima and maxima, so that neither the number of
//! shards nor the order of joining shows. Only where there are more addresses than are kept do
//! shards choose each for itself, by what was seen of an address; what they drop is counted.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::fast::FixedState;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::addr::Endpoint;
use crate::connection::{Connection, Ending};
use crate::decode::{Packet, PacketKind, TcpFlags, ip_from_octets};
use crate::event::At;
use crate::time::Timestamp;

use super::attempts;
use super::distinct::tag;
use super::moments::{Grid, Slice};
use super::record::{HostRecord, PairRecord, SegmentKind};
use super::samples::{Sample, Sampling};

/// Addresses, and pairs of them, that a shard keeps; twice as many are gathered before those of
/// which least was seen are dropped.
const KEPT_PER_SHARD: usize = 256;

/// Entries for what comes again; a power of two.
const RECENT: usize = 64;

type Octets = [u8; 16];

/// What packets between two addresses have in common, and how many there were.
#[derive(Clone, Copy, Debug)]
struct Recent {
    src: Octets,
    dst: Octets,
    slice: u64,
    /// Frames that are sampled, hence looked at more closely.
    sampling: Sampling,
    hop_limit: u8,
    /// Control bits that tell something new.
    news: u8,
    has_asked: bool,
    packets: u32,
    last: At,
    host: u32,
    peer: u32,
    pair: u32,
}

impl Recent {
    #[inline]
    fn is_between(&self, packet: &Packet) -> bool {
        self.src == packet.src && self.dst == packet.dst
    }
}

/// Addresses of one shard, or of several when joined.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct HostTable {
    grid: Grid,
    /// The slice asked for last.
    #[serde(skip)]
    now: Slice,
    #[serde(skip)]
    recent: Vec<Option<Recent>>,
    pub(super) hosts: Numbered<Octets, HostRecord>,
    pub(super) pairs: Numbered<(Octets, Octets), PairRecord>,
    /// Drops for want of room: of hosts and of pairs.
    pub(super) dropped: [u64; 2],
}

impl HostTable {
    /// A table for a capture that begins at `start`.
    pub fn new(start: Timestamp) -> Self {
        Self {
            grid: Grid::from(start),
            ..Self::default()
        }
    }

    /// Takes a packet that is no copy made by the capture. `asks`: it is of a connection, and the
    /// other end's TCP must answer.
    #[inline]
    pub fn packet(&mut self, packet: &Packet, asks: impl Fn() -> bool) {
        let flags = match &packet.kind {
            PacketKind::Tcp(tcp) => tcp.flags.0,
            _ => 0,
        };
        let place = place(packet);
        let entry = self.recent.get(place).and_then(Option::as_ref);
        let is_usual = entry.is_some_and(|entry| {
            entry.is_between(packet)
                && entry.hop_limit == packet.hop_limit
                && !entry.sampling.takes(packet.frame)
                && flags & entry.news == 0
        });
        if !is_usual || !self.enter_slice(packet.time) {
            return self.other_packet(packet, flags, asks());
        }
        let Some(entry) = &mut self.recent[place] else {
            return;
        };
        entry.packets += 1;
        entry.last = at(packet);
        let slice = self.now.number;
        let is_later = entry.slice != slice;
        if is_later || !entry.has_asked {
            let asks = asks();
            if is_later || asks {
                entry.slice = slice;
                entry.has_asked = asks;
                self.pairs.get_mut(entry.pair).note_moment(slice, asks);
            }
        }
    }

    /// Makes the slice of a time the latest one; false when the grid does not have it.
    #[inline]
    fn enter_slice(&mut self, time: Timestamp) -> bool {
        if time.is_within(self.now.begin, self.now.width) {
            return true;
        }
        let found = self.grid.slice_of(time);
        self.now = found.unwrap_or_default();
        found.is_some()
    }

    fn other_packet(&mut self, packet: &Packet, flags: u8, asks: bool) {
        let place = place(packet);
        self.flush(place);
        self.make_room(self.grid.slice(packet.time));
        if self.recent.is_empty() {
            self.recent = vec![None; RECENT];
        }
        let slice = self.grid.slice(packet.time);
        let (host, peer, pair) = match &self.recent[place] {
            Some(known) if known.is_between(packet) => (known.host, known.peer, known.pair),
            _ => (
                self.hosts.number(packet.src),
                self.hosts.number(packet.dst),
                self.pairs.number((packet.src, packet.dst)),
            ),
        };
        let at = at(packet);
        let record = self.hosts.get_mut(host);
        record.note_sent(at, 1);
        let kind = SegmentKind::of(flags);
        record.hop_limits.add(kind, packet.hop_limit, 1);
        record.sets_push |= flags & TcpFlags::PSH != 0;
        let has_push = record.sets_push;
        if record.samples.sampling().takes(packet.frame) {
            record.samples.push(sample(packet, flags));
        }
        let sampling = record.samples.sampling();
        self.hosts.get_mut(peer).note_received(at, 1);
        let record = self.pairs.get_mut(pair);
        record.note_sent(at, 1);
        record.note_moment(slice, asks);
        if flags & (TcpFlags::SYN | TcpFlags::ACK) == TcpFlags::SYN {
            record.called_at.note(slice);
        }
        self.recent[place] = Some(Recent {
            src: packet.src,
            dst: packet.dst,
            slice,
            sampling,
            hop_limit: packet.hop_limit,
            news: TcpFlags::SYN | TcpFlags::RST | if has_push { 0 } else { TcpFlags::PSH },
            has_asked: asks,
            packets: 0,
            last: at,
            host,
            peer,
            pair,
        });
    }

    /// Adds what an entry has counted to its host and pair.
    fn flush(&mut self, place: usize) {
        let Some(Some(entry)) = self.recent.get_mut(place) else {
            return;
        };
        let packets = u64::from(std::mem::take(&mut entry.packets));
        if packets == 0 {
            return;
        }
        let entry = *entry;
        let last = entry.last;
        let record = self.hosts.get_mut(entry.host);
        record.note_sent(last, packets);
        record
            .hop_limits
            .add(SegmentKind::Other, entry.hop_limit, packets);
        self.hosts.get_mut(entry.peer).note_received(last, packets);
        self.pairs.get_mut(entry.pair).note_sent(last, packets);
    }

    /// Adds what all entries have counted and forgets them.
    pub fn settle(&mut self) {
        for place in 0..self.recent.len() {
            self.flush(place);
        }
        self.recent = Vec::new();
    }

    /// Widens the grid to have `slice`, and drops addresses when there are too many.
    fn make_room(&mut self, slice: u64) {
        let doublings = Grid::doublings_for(slice);
        let is_full = self.hosts.len() >= 2 * KEPT_PER_SHARD;
        let too_many_pairs = self.pairs.len() >= 2 * KEPT_PER_SHARD;
        if doublings == 0 && !is_full && !too_many_pairs {
            return;
        }
        self.settle();
        self.widen(doublings);
        if too_many_pairs {
            let dropped = self.pairs.keep(KEPT_PER_SHARD, PairRecord::weight);
            self.dropped[1] += dropped.len() as u64;
            for (ends, pair) in &dropped {
                note_moments(&mut self.hosts, *ends, pair);
            }
        }
        if is_full {
            let dropped = self.hosts.keep(KEPT_PER_SHARD, HostRecord::weight);
            self.dropped[0] += dropped.len() as u64;
        }
    }

    fn widen(&mut self, doublings: u32) {
        if doublings == 0 {
            return;
        }
        self.grid.widen(doublings);
        self.now = Slice::default();
        for record in self.hosts.records_mut() {
            record.widen(doublings);
        }
        for record in self.pairs.records_mut() {
            record.widen(doublings);
        }
    }

    /// Takes a connection that has ended.
    pub fn connection(&mut self, connection: &Connection, ending: Option<&Ending>) {
        let forth = (octets(connection.client.ip), octets(connection.server.ip));
        self.make_room(0);
        let accepted = connection
            .handshake
            .ack
            .map(|ack| self.grid.slice(ack.time));
        let tried = attempts::Attempt::of(connection);
        let number = self.hosts.number(forth.0);
        let client = self.hosts.get_mut(number).client.get_or_insert_default();
        attempts::note_client(client, connection, ending, tried);
        let number = self.hosts.number(forth.1);
        let record = self.hosts.get_mut(number);
        let server = record.server.get_or_insert_default();
        attempts::note_server(server, connection, tried);
        if let Some(slice) = accepted.filter(|slice| Grid::has(*slice)) {
            record.accepted_at.note(slice);
        }
        let number = self.pairs.number(forth);
        let record = self.pairs.get_mut(number);
        for exchange in &connection.app.dns {
            let slice = self.grid.slice(exchange.asked.time);
            if Grid::has(slice) {
                record.called_at.note(slice);
            }
        }
        record
            .ports
            .note(tag((connection.transport, connection.server.port)));
        // What the client's data needs to be acknowledged: the way to the server and back.
        record.note_round_trip(connection.from_client().rtt_min);
        if let Some(back) = self.pairs.known_mut(&(forth.1, forth.0)) {
            back.note_round_trip(connection.from_server().rtt_min);
        }
    }

    /// Takes an attempt of a single SYN that is summed and not followed.
    pub fn lone_syn(&mut self, client: Endpoint, server: Endpoint) {
        if let Some(record) = self.hosts.known_mut(&octets(client.ip)) {
            let client = record.client.get_or_insert_default();
            client.opened += 1;
            client.silent += 1;
        }
        if let Some(record) = self.hosts.known_mut(&octets(server.ip)) {
            let server = record.server.get_or_insert_default();
            server.asked += 1;
            server.silent += 1;
        }
    }

    /// Joins another shard's table, in any order.
    pub fn merge(&mut self, mut other: Self) {
        self.settle();
        other.settle();
        self.widen(self.grid.doublings_to(&other.grid));
        other.widen(other.grid.doublings_to(&self.grid));
        for (address, record) in other.hosts.into_entries() {
            let number = self.hosts.number(address);
            self.hosts.get_mut(number).join(&record);
        }
        for (addresses, record) in other.pairs.into_entries() {
            let number = self.pairs.number(addresses);
            self.pairs.get_mut(number).join(&record);
        }
        for (sum, more) in self.dropped.iter_mut().zip(other.dropped) {
            *sum += more;
        }
    }

    /// The end of gathering: the grid, and the records with their addresses.
    pub(super) fn finish(mut self) -> Gathered {
        self.settle();
        for (ends, pair) in self.pairs.entries() {
            note_moments(&mut self.hosts, *ends, pair);
        }
        let hosts = self.hosts.into_entries();
        let pairs = self.pairs.into_entries();
        Gathered {
            grid: self.grid,
            hosts: hosts
                .map(|(address, record)| (ip_from_octets(address), record))
                .collect(),
            pairs: pairs
                .map(|((from, to), record)| ((ip_from_octets(from), ip_from_octets(to)), record))
                .collect(),
            dropped: self.dropped,
        }
    }
}

/// Notes when two hosts sent and received what passed between them. It is done when all is known:
/// for every packet it would take too long.
fn note_moments(
    hosts: &mut Numbered<Octets, HostRecord>,
    (from, to): (Octets, Octets),
    pair: &PairRecord,
) {
    if let Some(record) = hosts.known_mut(&from) {
        record.sent_at.join(&pair.sent_at);
    }
    if let Some(record) = hosts.known_mut(&to) {
        record.received_at.join(&pair.sent_at);
    }
}

/// What a table held in the end.
pub(super) struct Gathered {
    pub grid: Grid,
    pub hosts: Vec<(IpAddr, HostRecord)>,
    pub pairs: Vec<((IpAddr, IpAddr), PairRecord)>,
    pub dropped: [u64; 2],
}

/// Records with a number each, by which they are found without a search.
#[derive(Debug)]
pub(super) struct Numbered<K, R> {
    numbers: HashMap<K, u32, FixedState>,
    records: Vec<(K, R)>,
}

impl<K, R> Default for Numbered<K, R> {
    fn default() -> Self {
        Self {
            numbers: HashMap::default(),
            records: Vec::new(),
        }
    }
}

/// Written as a list: the numbers are its places.
impl<K: Serialize, R: Serialize> Serialize for Numbered<K, R> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.records.serialize(to)
    }
}

impl<'de, K, R> Deserialize<'de> for Numbered<K, R>
where
    K: Copy + Eq + std::hash::Hash + Deserialize<'de>,
    R: Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let records = Vec::<(K, R)>::deserialize(from)?;
        let numbers = records.iter().zip(0..);
        let numbers = numbers.map(|((key, _), number)| (*key, number)).collect();
        Ok(Self { numbers, records })
    }
}

impl<K: Copy + Eq + Ord + std::hash::Hash, R: Default> Numbered<K, R> {
    fn number(&mut self, key: K) -> u32 {
        let next = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(key).or_insert(next);
        if number == next {
            self.records.push((key, R::default()));
        }
        number
    }

    /// The record of a number that was given since records were dropped last.
    fn get_mut(&mut self, number: u32) -> &mut R {
        &mut self.records[number as usize].1
    }

    fn known_mut(&mut self, key: &K) -> Option<&mut R> {
        let number = *self.numbers.get(key)?;
        Some(self.get_mut(number))
    }

    fn len(&self) -> usize {
        self.records.len()
    }

    fn records_mut(&mut self) -> impl Iterator<Item = &mut R> {
        self.records.iter_mut().map(|(_, record)| record)
    }

    fn entries(&self) -> impl Iterator<Item = &(K, R)> {
        self.records.iter()
    }

    fn into_entries(self) -> impl Iterator<Item = (K, R)> {
        self.records.into_iter()
    }

    /// Keeps the `count` records that weigh most; gives those that were dropped.
    fn keep<W: Ord>(&mut self, count: usize, weight: impl Fn(&R) -> W) -> Vec<(K, R)> {
        let mut records = std::mem::take(&mut self.records);
        records.sort_by(|(a, one), (b, other)| weight(other).cmp(&weight(one)).then(a.cmp(b)));
        let dropped = records.split_off(count.min(records.len()));
        self.numbers.clear();
        for (key, record) in records {
            let number = self.number(key);
            *self.get_mut(number) = record;
        }
        dropped
    }
}

fn at(packet: &Packet) -> At {
    At {
        frame: packet.frame,
        time: packet.time,
    }
}

fn octets(ip: IpAddr) -> Octets {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// The entry for packets between two addresses.
#[inline]
fn place(packet: &Packet) -> usize {
    let low = |octets: Octets| u64::from_le_bytes(octets[8..].try_into().unwrap_or_default());
    let mixed =
        (low(packet.src) ^ low(packet.dst).rotate_left(23)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 58) as usize % RECENT
}

fn sample(packet: &Packet, flags: u8) -> Sample {
    const SYN_ACK: u8 = TcpFlags::SYN | TcpFlags::ACK;
    let ts_val = match &packet.kind {
        PacketKind::Tcp(tcp) => tcp.timestamps.map(|(value, _)| value),
        _ => None,
    };
    let half = |tag: u32| (tag >> 16) as u16;
    Sample {
        frame: packet.frame,
        time: packet.time,
        ts_val,
        ip_id: packet.ip_id,
        flow: half(tag((packet.dst, packet.src_port, packet.dst_port))),
        peer: half(tag(packet.dst)),
        is_socketless: flags & TcpFlags::RST != 0 || flags & SYN_ACK == SYN_ACK,
    }
}

#[cfg(test)]
mod tests;
