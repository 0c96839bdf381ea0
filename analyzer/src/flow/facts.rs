//! What a shard knows beyond single connections; merged once, at the end, in a fixed order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use foldhash::fast::FixedState;

use crate::addr::{Endpoint, Transport};
use crate::analysis::{IcmpError, Interval, Intervals, ListenerFacts, UdpServerFacts};
use crate::app::At;
use crate::decode::{Packet, PacketKind, TcpFlags};
use crate::episodes::Records;
use crate::event::SegmentRef;
use crate::hosts::table::HostTable;
use crate::quality::{QualityKind, QualityNote};
use crate::time::Timestamp;

use super::tcp::{PATIENCE_SYN, Verdict};
use super::{Connection, Direction, ResetKind};

/// Names, listeners and UDP servers kept in all (see [`crate::Analysis`]).
const ENTRIES: usize = 65_536;

/// Of each kind, those that a shard keeps: a flood of made-up servers falls into all shards, and
/// what one shard has no room for is then rarely of use to another.
const ENTRIES_PER_SHARD: usize = 8_192;

/// Addresses kept of a listener's clients, and of a name.
const ADDRESSES: usize = 1024;

/// Attempts of a single SYN without any answer that are judged one by one, per listener and
/// shard; a flood's are summed.
const LONE_SYNS: u32 = 128;

/// Slices of capture time in a report.
const SLICES: usize = 512;

/// How long a socket stays in TIME-WAIT: fixed in Linux, where RFC 9293 §3.4.2 asks for 2 MSL.
const TIME_WAIT: Duration = Duration::from_secs(60);

/// The finest slice.
const FINEST: Duration = Duration::from_millis(1);

/// What became of the client's socket of a SYN that is summed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LoneSyn {
    /// It waits for an answer when the capture ends.
    Waits,
    /// It was given up when nothing came.
    GivenUp,
    /// It is summed when it comes; it will be given up when nothing comes.
    GivenUpLater,
}

/// Cross-connection facts of one shard, or of several when merged.
#[derive(Debug, Default)]
pub(crate) struct ShardFacts {
    pub tcp_connections: u64,
    pub udp_flows: u64,
    pub dns_names: BTreeMap<String, BTreeSet<IpAddr>>,
    pub listeners: BTreeMap<Endpoint, ListenerFacts>,
    pub udp_servers: BTreeMap<Endpoint, UdpServerFacts>,
    pub icmp_errors: Vec<IcmpError>,
    pub icmp_error_count: u64,
    pub timeline: Timeline,
    /// What each address did.
    pub hosts: HostTable,
    /// Connections, to see what happened to many at one time.
    pub records: Records,
    /// Connections that ended for want of memory.
    pub given_up: u64,
    /// Lone SYNs judged one by one, by listener.
    lone_syns: HashMap<Endpoint, u32, FixedState>,
    /// Lone SYNs that were summed.
    lone_syns_summed: u64,
    /// Connections and flows to servers for which there was no room.
    unlisted: u64,
    missing_octets: u64,
    missing_connections: u64,
    duplicate_frames: u64,
    one_sided: u64,
    cut_frames: u64,
    oversized: u64,
    clock_jumps: u64,
    clock_jump_max: Duration,
}

impl ShardFacts {
    pub fn new(start: Timestamp) -> Self {
        Self {
            timeline: Timeline::new(start),
            hosts: HostTable::new(start),
            ..Self::default()
        }
    }

    /// Counts a packet into its slice of time.
    pub fn segment(&mut self, packet: &Packet, direction: Direction, verdict: Verdict) {
        if verdict == Verdict::DuplicateFrame {
            return;
        }
        self.hosts.packet(packet, demands_answer(packet, verdict));
        let slice = self.timeline.slice(packet.time);
        slice.packets[direction.index()] += 1;
        slice.bytes[direction.index()] += u64::from(packet.wire_len);
        slice.retransmissions[direction.index()] +=
            u64::from(matches!(verdict, Verdict::Retransmission(_)));
        slice.resets += u64::from(verdict == Verdict::Reset);
    }

    /// Counts a finished connection.
    pub fn connection(&mut self, connection: &Connection, expired_open: bool) {
        for half in &connection.halves {
            self.duplicate_frames += half.duplicate_frames;
            self.cut_frames += half.cut_frames;
            self.missing_octets += half.missing_octets;
            self.oversized += half.oversized_segments;
        }
        if connection.is_mirrored() {
            let copies = connection.halves.iter().map(|half| half.network_duplicates);
            self.duplicate_frames += copies.sum::<u64>();
        }
        self.clock_jumps += u64::from(connection.idle_gaps.clock_jumps > 0);
        self.clock_jump_max = self.clock_jump_max.max(connection.idle_gaps.clock_jump_max);
        let missing = connection.halves.iter().any(|half| half.missing_octets > 0);
        self.missing_connections += u64::from(missing);
        self.timeline.slice(connection.start).opened += 1;
        self.names(connection);
        self.hosts.connection(connection);
        self.records.connection(connection);
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
    /// [`Self::connection`] count one. `time` and `wire_len` are the SYN's.
    pub fn lone_syn(
        &mut self,
        (time, wire_len): (Timestamp, u32),
        client: Endpoint,
        server: Endpoint,
        lone: LoneSyn,
    ) {
        self.lone_syns_summed += 1;
        self.tcp_connections += 1;
        self.hosts.lone_syn(client, server);
        let slice = self.timeline.slice(time);
        slice.packets[0] += 1;
        slice.bytes[0] += u64::from(wire_len);
        slice.opened += 1;
        slice.failed += 1;
        self.timeline.lone_syn(time, lone);
        let Some(listener) = entry(&mut self.listeners, server, ENTRIES_PER_SHARD) else {
            self.unlisted += 1;
            return;
        };
        listener.attempts += 1;
        listener.unanswered += 1;
        if listener.clients.len() < ADDRESSES {
            listener.clients.insert(client.ip);
        }
    }

    /// An attempt that was summed as unanswered is answered after all: what follows is counted as a
    /// connection. (Its slice of time keeps it as failed.)
    pub fn lone_syn_answered(&mut self, server: Endpoint) {
        self.lone_syns_summed = self.lone_syns_summed.saturating_sub(1);
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
        self.one_sided += u64::from(connection.is_one_sided() && peer_is_proven);
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
            self.unlisted += 1;
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
            self.unlisted += 1;
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
            let name = exchange.name.clone();
            if let Some(known) = entry(&mut self.dns_names, name, ENTRIES_PER_SHARD) {
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
                None => self.unlisted += facts.attempts,
            }
        }
        for (endpoint, facts) in other.udp_servers {
            let Some(server) = entry(&mut self.udp_servers, endpoint, ENTRIES) else {
                self.unlisted += facts.flows;
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
        self.hosts.merge(other.hosts);
        self.records.merge(other.records);
        self.given_up += other.given_up;
        self.lone_syns_summed += other.lone_syns_summed;
        self.unlisted += other.unlisted;
        self.missing_octets += other.missing_octets;
        self.missing_connections += other.missing_connections;
        self.duplicate_frames += other.duplicate_frames;
        self.one_sided += other.one_sided;
        self.cut_frames += other.cut_frames;
        self.oversized += other.oversized;
        self.clock_jumps += other.clock_jumps;
        self.clock_jump_max = self.clock_jump_max.max(other.clock_jump_max);
    }

    /// The caveats that follow from connections.
    pub fn quality(&self) -> Vec<QualityNote> {
        let mut notes = Vec::new();
        let mut note = |kind, count: u64, text: String| {
            if count > 0 {
                notes.push(QualityNote {
                    kind,
                    count,
                    note: text,
                });
            }
        };
        note(
            QualityKind::CaptureDrops,
            self.missing_octets,
            format!(
                "{} octets in {} connections were acknowledged but never captured: the capture missed frames, so loss cannot be counted there",
                self.missing_octets, self.missing_connections
            ),
        );
        note(
            QualityKind::DuplicateFrames,
            self.duplicate_frames,
            format!(
                "{} frames are second copies of a packet, seen at another point or written twice by a mirror; they are judged once",
                self.duplicate_frames
            ),
        );
        note(
            QualityKind::Snaplen,
            self.cut_frames,
            format!(
                "{} frames were cut by the snap length; what their payload said is not known",
                self.cut_frames
            ),
        );
        note(
            QualityKind::OneSided,
            self.one_sided,
            format!(
                "{} connections were captured in one direction only",
                self.one_sided
            ),
        );
        note(
            QualityKind::Offload,
            self.oversized,
            format!(
                "{} segments are larger than the peer's MSS: captured before segmentation or after coalescing, so packet counts are not those of the wire",
                self.oversized
            ),
        );
        note(
            QualityKind::ClockStep,
            self.clock_jumps,
            format!(
                "capture time jumps forward by at least {:.0} s in {} connections, while both ends' TCP timestamps tell that no such time passed: durations across the jump are not reliable",
                self.clock_jump_max.as_secs_f64(),
                self.clock_jumps
            ),
        );
        note(
            QualityKind::Summed,
            self.lone_syns_summed,
            format!(
                "{} attempts to connect were a single SYN without any answer, many thousand to one server: they are counted per server and not judged or listed one by one",
                self.lone_syns_summed
            ),
        );
        note(
            QualityKind::Summed,
            self.unlisted,
            format!(
                "{} connections and flows went to more servers than are told apart ({ENTRIES}): what is told per server leaves them out",
                self.unlisted
            ),
        );
        note(
            QualityKind::Summed,
            self.given_up,
            format!(
                "{} connections that were closed, or had been silent for longest, were ended early to stay within the memory allowed (--max-memory): what came on them later is shown as connections of their own",
                self.given_up
            ),
        );
        notes
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

/// Capture time in equal slices whose width doubles when there would be too many.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    start: Timestamp,
    doublings: u32,
    slices: Vec<Interval>,
    /// The slice asked for last: from and to, in nanoseconds since the start, and its index. The next
    /// packet is in it as a rule.
    latest: (u64, u64, usize),
    /// Changes of socket counts at the start of each slice: entering minus leaving.
    changes: Vec<[[i64; 11]; 2]>,
    /// Sockets per end that leave a state unseen, by the second after `start` and the state:
    /// TIME-WAIT runs out, a SYN is given up.
    forgotten: BTreeMap<(u64, usize), [i64; 2]>,
    /// Those of the second and state that came last, not yet among them.
    forgetting: Option<((u64, usize), [i64; 2])>,
}

impl Timeline {
    fn new(start: Timestamp) -> Self {
        Self {
            start,
            ..Self::default()
        }
    }

    fn width(&self) -> Duration {
        // Times are 63 bits of nanoseconds: no capture needs as many doublings as this allows.
        FINEST
            .saturating_mul(1 << self.doublings.min(31))
            .saturating_mul(1 << self.doublings.saturating_sub(31).min(31))
    }

    /// The width in nanoseconds: times that fit 64 bits are divided far faster than durations.
    fn width_nanos(&self) -> u64 {
        u64::try_from(self.width().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Index of a time, after widening the slices so that it fits.
    #[inline]
    fn index(&mut self, time: Timestamp) -> usize {
        let since = time.nanos_since(self.start);
        let (from, to, index) = self.latest;
        if (from..to).contains(&since) {
            return index;
        }
        self.other_index(since)
    }

    fn other_index(&mut self, since: u64) -> usize {
        let mut width = self.width_nanos();
        while since / width >= SLICES as u64 {
            self.widen();
            width = self.width_nanos();
        }
        let number = since / width;
        let index = usize::try_from(number).unwrap_or(SLICES - 1);
        if self.slices.len() <= index {
            self.slices.resize(index + 1, Interval::default());
        }
        self.latest = (number * width, (number + 1).saturating_mul(width), index);
        index
    }

    fn slice(&mut self, time: Timestamp) -> &mut Interval {
        let index = self.index(time);
        &mut self.slices[index]
    }

    fn widen(&mut self) {
        self.doublings += 1;
        self.latest = (0, 0, 0);
        for at in 0..self.slices.len().div_ceil(2) {
            let mut sum = self.slices[2 * at];
            if let Some(second) = self.slices.get(2 * at + 1) {
                add_interval(&mut sum, second);
            }
            self.slices[at] = sum;
        }
        self.slices.truncate(self.slices.len().div_ceil(2));
        // The count at the start of new slice j is that at the start of old slice 2j.
        let old = std::mem::take(&mut self.changes);
        for (at, change) in old.iter().enumerate() {
            add_changes(&mut self.changes, at.div_ceil(2), change);
        }
    }

    fn states(&mut self, connection: &Connection, expired_open: bool) {
        // A connection given up as silent is not known to be gone: it stays until its end.
        let given_up = expired_open.then_some(connection.end);
        for span in &connection.states {
            self.span(span, given_up);
        }
    }

    fn span(&mut self, span: &super::StateSpan, given_up: Option<Timestamp>) {
        if span.state == super::TcpState::Closed {
            return;
        }
        let from = self.boundary_after(span.from);
        self.change(from, span.end, span.state, 1);
        if span.to.is_none() && span.state == super::TcpState::TimeWait {
            self.forget(span.end, span.state, span.from + TIME_WAIT);
        } else if let Some(to) = span.to.or(given_up) {
            let to = self.boundary_after(to);
            self.change(to, span.end, span.state, -1);
        }
    }

    /// Adds to the sockets of one end in one state from slice `at` on.
    fn change(&mut self, at: usize, end: Direction, state: super::TcpState, by: i64) {
        if self.changes.len() <= at {
            self.changes.resize(at + 1, [[0; 11]; 2]);
        }
        self.changes[at][end.index()][state as usize] += by;
    }

    /// A socket leaves its state unseen at `time`, which may lie behind the end of the capture.
    fn forget(&mut self, end: Direction, state: super::TcpState, time: Timestamp) {
        let when = (time.nanos_since(self.start) / 1_000_000_000, state as usize);
        let (latest, sockets) = self.forgetting.get_or_insert((when, [0; 2]));
        if *latest == when {
            sockets[end.index()] += 1;
            return;
        }
        self.note_forgotten();
        let mut sockets = [0; 2];
        sockets[end.index()] = 1;
        self.forgetting = Some((when, sockets));
    }

    fn note_forgotten(&mut self) {
        let Some((when, sockets)) = self.forgetting.take() else {
            return;
        };
        if self.forgotten.len() < ENTRIES || self.forgotten.contains_key(&when) {
            add_sockets(self.forgotten.entry(when).or_default(), sockets);
        }
    }

    /// The client's socket of a lone SYN.
    fn lone_syn(&mut self, time: Timestamp, lone: LoneSyn) {
        let (client, state) = (Direction::ClientToServer, super::TcpState::SynSent);
        // Given up at its own time it would leave the slice in which it came.
        if lone != LoneSyn::GivenUp {
            let from = self.boundary_after(time);
            self.change(from, client, state, 1);
        }
        if lone == LoneSyn::GivenUpLater {
            self.forget(client, state, time + PATIENCE_SYN);
        }
    }

    /// First slice that starts at or after `time`.
    fn boundary_after(&mut self, time: Timestamp) -> usize {
        let index = self.index(time);
        let (from, ..) = self.latest;
        index + usize::from(time.nanos_since(self.start) > from)
    }

    fn merge(&mut self, mut other: Self) {
        while self.doublings < other.doublings {
            self.widen();
        }
        while other.doublings < self.doublings {
            other.widen();
        }
        if self.slices.len() < other.slices.len() {
            self.slices.resize(other.slices.len(), Interval::default());
        }
        for (into, from) in self.slices.iter_mut().zip(&other.slices) {
            add_interval(into, from);
        }
        for (at, change) in other.changes.iter().enumerate() {
            add_changes(&mut self.changes, at, change);
        }
        other.note_forgotten();
        for (when, sockets) in other.forgotten {
            add_sockets(self.forgotten.entry(when).or_default(), sockets);
        }
    }

    /// The finished slices with socket counts.
    pub fn finish(mut self) -> Intervals {
        let mut counts = [[0_i64; 11]; 2];
        let width = self.width();
        self.note_forgotten();
        let forgotten = std::mem::take(&mut self.forgotten);
        let mut forgotten = forgotten.into_iter().peekable();
        let none = [[0; 11]; 2];
        let states = (0..self.slices.len())
            .map(|at| {
                let change = self.changes.get(at).unwrap_or(&none);
                let begin = width.saturating_mul(u32::try_from(at).unwrap_or(u32::MAX));
                while let Some(((_, state), sockets)) =
                    forgotten.next_if(|((second, _), _)| Duration::from_secs(*second) <= begin)
                {
                    for (end, gone) in sockets.into_iter().enumerate() {
                        counts[end][state] -= gone;
                    }
                }
                let mut row = [[0_u32; 11]; 2];
                for end in 0..2 {
                    for state in 0..11 {
                        counts[end][state] += change[end][state];
                        row[end][state] = u32::try_from(counts[end][state]).unwrap_or(0);
                    }
                }
                row
            })
            .collect();
        let start = (!self.slices.is_empty()).then_some(self.start);
        Intervals {
            start,
            width,
            slices: self.slices,
            states,
        }
    }
}

fn add_interval(into: &mut Interval, from: &Interval) {
    for direction in 0..2 {
        into.packets[direction] += from.packets[direction];
        into.bytes[direction] += from.bytes[direction];
        into.retransmissions[direction] += from.retransmissions[direction];
    }
    into.resets += from.resets;
    into.opened += from.opened;
    into.failed += from.failed;
}

fn add_sockets(into: &mut [i64; 2], more: [i64; 2]) {
    for (into, more) in into.iter_mut().zip(more) {
        *into += more;
    }
}

fn add_changes(changes: &mut Vec<[[i64; 11]; 2]>, at: usize, change: &[[i64; 11]; 2]) {
    if changes.len() <= at {
        changes.resize(at + 1, [[0; 11]; 2]);
    }
    for end in 0..2 {
        for state in 0..11 {
            changes[at][end][state] += change[end][state];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{StateSpan, TcpState};

    #[test]
    fn time_wait_runs_out_after_a_minute() {
        let start = Timestamp::from_nanos(1_000_000_000);
        let mut timeline = Timeline::new(start);
        let span = StateSpan {
            end: Direction::ClientToServer,
            state: TcpState::TimeWait,
            from: start + Duration::from_secs(10),
            to: None,
            inferred: false,
        };
        timeline.slice(start).opened += 1;
        timeline.slice(start + Duration::from_secs(120)).opened += 1;
        timeline.span(&span, None);
        let intervals = timeline.finish();
        let sockets = |seconds: f64| {
            let at = (seconds / intervals.width.as_secs_f64()) as usize;
            intervals.states[at][0][TcpState::TimeWait as usize]
        };
        assert_eq!([5.0, 15.0, 65.0, 75.0, 119.0].map(sockets), [0, 1, 1, 0, 0]);
    }
}
