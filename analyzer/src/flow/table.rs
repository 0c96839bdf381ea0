//! One shard of the flow table: connections from their first packet until they are handed over.
//!
//! A shard sees the packets of its connections in frame order and nothing else, so what it does
//! depends on them alone: not on threads, nor on how the capture was cut into rounds.

mod errors;
mod expiry;

use std::time::Duration;

use crate::addr::Endpoint;
use crate::capture::Remark;
use crate::connection::{Close, Connection, ConnectionSink};
use crate::decode::{Packet, PacketKind, TcpFields, TcpFlags, ip_from_octets};
use crate::direction::Direction;
use crate::event::RetransmissionKind;
use crate::flow::entry::{Flow, Liveness};
use crate::flow::first_packets::{FirstDatagrams, FirstSegments, Record};
use crate::flow::tally::{Attempt, ShardTally};
use crate::flow::tcp::{SILENCE, Verdict};
use crate::time::Timestamp;

use super::arena::{Arena, FlowId};
use super::half_open::{HalfOpen, Opening};
use super::key::{FlowKey, Keyed, Sender};
use super::remarks::Remarks;
use super::tcp::{PATIENCE_S, PATIENCE_SYN_S, TcpSettings, TcpTracker};
use super::timeline::LoneSyn;
use super::udp::UdpTracker;

/// Capture time between two looks for connections that went silent.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Flows of a shard that stay in the cache anyway.
const FEW_FLOWS: usize = 16;

/// A part of the flow table with the sink that takes its connections.
#[derive(Debug)]
pub(crate) struct Shard<S> {
    flows: Arena<Flow>,
    settings: TcpSettings,
    sink: S,
    tally: ShardTally,
    now: Timestamp,
    next_sweep: Timestamp,
    since_sweep: usize,
    half_open: HalfOpen,
    remarks: Remarks,
    /// The hash and the place of the flow whose segment came last: the next one is often its own.
    latest: (u64, FlowId),
    /// What the flows are taken to cost, and may.
    cost: usize,
    budget: usize,
    since_relief: usize,
}

impl<S: ConnectionSink> Shard<S> {
    /// An empty shard; `start` is the time of the capture's first frame, `budget` roughly the
    /// octets that its live flows may take.
    pub fn new(sink: S, settings: TcpSettings, start: Timestamp, budget: usize) -> Self {
        Self {
            flows: Arena::new(),
            settings,
            sink,
            tally: ShardTally::new(start),
            now: start,
            next_sweep: start + SWEEP_EVERY,
            since_sweep: 0,
            half_open: HalfOpen::default(),
            remarks: Remarks::default(),
            latest: (0, FlowId::default()),
            cost: 0,
            budget,
            since_relief: 0,
        }
    }

    /// Brings packets that follow soon and their flows into the cache, all at once: one after the
    /// other their misses would be waited for.
    pub fn warm<'a>(&self, packets: impl Iterator<Item = (u64, &'a Packet)>) {
        if self.flows.len() < FEW_FLOWS {
            return;
        }
        for (hash, packet) in packets {
            let both_ends = packet.frame ^ u64::from(packet.observation_point);
            std::hint::black_box((self.flows.warm(hash), both_ends));
        }
    }

    /// Takes the next packet of this shard. `hash` is [`FlowKey::hash64`] of its key, `sender` the
    /// side of it that sent the packet, `payload` are its captured octets.
    pub fn packet(&mut self, packet: &Packet, hash: u64, sender: Sender, payload: &[u8]) {
        self.now = self.now.max(packet.time);
        self.sweep();
        self.since_relief += 1;
        if self.cost > self.budget / 2 && self.since_relief > self.flows.len() / 4 {
            self.relieve();
        }
        let keyed = Keyed {
            key: FlowKey::from(packet, sender),
            hash,
            sender,
        };
        match &packet.kind {
            PacketKind::Tcp(tcp) => self.segment(&keyed, packet, tcp, payload),
            PacketKind::Udp => self.datagram(&keyed, packet, payload),
            PacketKind::IcmpError { transport, icmp } => {
                self.icmp((&keyed.key, *transport), hash, packet, *icmp);
            }
        }
    }

    /// Notes the address that an answer taken just now truly came from (see
    /// [`crate::in_order::translation`]).
    pub fn answered_from(&mut self, packet: &Packet, hash: u64, answering: Endpoint) {
        let (key, _) = FlowKey::of(packet);
        let Some(id) = self.flows.find(&key, hash) else {
            return;
        };
        self.grow(id);
        match self.flows.get_mut(id) {
            Some(Flow::Tcp(tracker)) => tracker.answered_from(answering),
            Some(Flow::Udp(tracker)) => tracker.answered_from(answering),
            _ => {}
        }
    }

    /// Notes what is said of a packet taken just now.
    pub fn remark(&mut self, packet: &Packet, remark: &Remark) {
        let (key, _) = FlowKey::of(packet);
        self.remarks.take(key, packet, remark);
    }

    /// The place of a flow.
    #[inline]
    fn find(&self, key: &FlowKey, hash: u64) -> Option<FlowId> {
        let (latest, place) = self.latest;
        if latest == hash && self.flows.is_at(place, key) {
            return Some(place);
        }
        self.flows.find(key, hash)
    }

    /// The place of the flow that a packet of this time belongs to.
    #[inline]
    fn live(&mut self, key: &FlowKey, hash: u64, time: Timestamp) -> Option<FlowId> {
        let id = self.find(key, hash)?;
        let (_, flow) = self.flows.get(id)?;
        if flow.was_active(time) {
            return Some(id);
        }
        self.unless_silent(id, time)
    }

    fn segment(&mut self, keyed: &Keyed, packet: &Packet, tcp: &TcpFields, payload: &[u8]) {
        let Keyed { key, hash, .. } = *keyed;
        let mut reused = false;
        let mut found = self.live(&key, hash, packet.time);
        if let Some(id) = found {
            self.latest = (hash, id);
            if !matches!(self.flows.get_mut(id), Some(Flow::Tcp(_))) {
                if self.keep_first(keyed, id, packet, tcp, payload) {
                    return;
                }
                self.grow(id);
            }
            if tcp.flags.syn()
                && let Some(Flow::Tcp(tracker)) = self.flows.get_mut(id)
                && tracker.is_new_incarnation(packet, tcp)
            {
                reused = true;
                found = None;
                self.take_out(id, false);
            }
        } else if Record::is_syn(packet, tcp) {
            self.first_syn(keyed, packet, tcp);
            return;
        } else if tcp.flags.has(TcpFlags::SYN | TcpFlags::ACK)
            && self
                .half_open
                .was_summed(hash ^ u64::from(tcp.ack.0.wrapping_sub(1)))
        {
            self.tally.lone_syn_answered(packet.source());
        }
        let id = found.unwrap_or_else(|| {
            let tracker = TcpTracker::new(packet, tcp, &self.settings);
            self.insert(key, hash, Flow::Tcp(Box::new(tracker)))
        });
        let Some(Flow::Tcp(tracker)) = self.flows.get_mut(id) else {
            return;
        };
        if reused {
            tracker.mark_port_reuse();
        }
        let held = tracker.octets_held();
        let tally = &mut self.tally;
        tracker.in_turn(
            packet,
            tcp,
            payload,
            &mut |tracker, packet, tcp, payload| {
                let (verdict, direction) = tracker.segment(packet, tcp, payload);
                tally.segment(packet, direction, verdict);
            },
        );
        self.cost = self.cost + tracker.octets_held() - held;
    }

    /// Takes a SYN of a flow that is not known: keeps it, or sums it when too many wait already.
    fn first_syn(&mut self, keyed: &Keyed, packet: &Packet, tcp: &TcpFields) {
        let Keyed { key, hash, sender } = *keyed;
        let server = packet.destination();
        match self.half_open.take(server, hash ^ u64::from(tcp.seq.0)) {
            Opening::Kept => {
                let syn = Record::of_segment(packet, tcp, sender);
                self.insert(key, hash, Flow::Syn(syn));
            }
            Opening::Summed => {
                let attempt = Attempt {
                    time: packet.time,
                    wire_len: packet.wire_len,
                    client: packet.source(),
                    server,
                };
                self.tally.lone_syn(&attempt, LoneSyn::GivenUpLater);
            }
            Opening::Repeated => {
                let again = Verdict::Retransmission(RetransmissionKind::Control);
                self.tally.segment(packet, Direction::ClientToServer, again);
            }
        }
    }

    /// Adds a segment to a flow that has no tracker yet; false when it needs one.
    fn keep_first(
        &mut self,
        keyed: &Keyed,
        id: FlowId,
        packet: &Packet,
        tcp: &TcpFields,
        payload: &[u8],
    ) -> bool {
        let Some(flow) = self.flows.get_mut(id) else {
            return false;
        };
        let before = flow.cost();
        if let Flow::Syn(syn) = *flow {
            let liveness = Liveness {
                last: syn.time(),
                patience_s: PATIENCE_SYN_S,
                closing: false,
            };
            *flow = Flow::FirstSegments(liveness, FirstSegments::new(&syn));
            self.half_open.leave(server_of(&keyed.key, &syn));
        }
        let kept = match flow {
            // What opens may be another connection, once this one may be over, or answers another SYN
            // after a silence.
            Flow::FirstSegments(liveness, first)
                if tcp.flags.syn()
                    && (liveness.closing
                        || tcp.flags.ack()
                            && packet.time.since(liveness.last) >= SILENCE
                            && !first.is_answered_by(tcp)) =>
            {
                false
            }
            Flow::FirstSegments(liveness, first) => {
                let kept = first.push(keyed.sender, packet, tcp, payload);
                if kept {
                    liveness.last = liveness.last.max(packet.time);
                    if !tcp.flags.syn() || tcp.flags.ack() {
                        liveness.patience_s = PATIENCE_S;
                    }
                    liveness.closing |= tcp.flags.fin();
                }
                kept
            }
            _ => false,
        };
        self.cost = self.cost + flow.cost() - before;
        kept
    }

    fn datagram(&mut self, keyed: &Keyed, packet: &Packet, payload: &[u8]) {
        let Keyed { key, hash, .. } = *keyed;
        let found = self.find(&key, hash);
        if let Some(id) = found
            && let Some(Flow::Udp(tracker)) = self.flows.get_mut(id)
            && !tracker.is_silent(packet.time)
        {
            self.latest = (hash, id);
            let (new, direction) = tracker.datagram(packet, payload);
            if new {
                self.tally.datagram(packet, direction);
            }
            return;
        }
        self.other_datagram(keyed, packet, payload, found);
    }

    /// Takes a datagram of a flow that has no tracker, or was silent for too long.
    fn other_datagram(
        &mut self,
        keyed: &Keyed,
        packet: &Packet,
        payload: &[u8],
        mut found: Option<FlowId>,
    ) {
        let Keyed { key, hash, sender } = *keyed;
        // A flow that was silent for too long ends here whether or not a sweep came by, so that
        // sweeps never change a result.
        if let Some(id) = found
            && self
                .flows
                .get(id)
                .is_some_and(|(_, flow)| flow.is_silent(packet.time))
        {
            self.take_out(id, true);
            found = None;
        }
        if let Some(id) = found {
            if let Some(Flow::FirstDatagrams(liveness, first)) = self.flows.get_mut(id) {
                let before = first.octets();
                if first.push(&key, sender, packet, payload) {
                    liveness.last = liveness.last.max(packet.time);
                    liveness.patience_s = first.patience_s(&key);
                    self.cost += first.octets() - before;
                    return;
                }
            }
        } else {
            let mut first = FirstDatagrams::default();
            if first.push(&key, sender, packet, payload) {
                let liveness = Liveness {
                    last: packet.time,
                    patience_s: first.patience_s(&key),
                    closing: false,
                };
                self.insert(key, hash, Flow::FirstDatagrams(liveness, first));
                return;
            }
        }
        let id = found.unwrap_or_else(|| {
            let tracker = UdpTracker::new(packet);
            self.insert(key, hash, Flow::Udp(Box::new(tracker)))
        });
        self.grow(id);
        let Some(Flow::Udp(tracker)) = self.flows.get_mut(id) else {
            return;
        };
        let (new, direction) = tracker.datagram(packet, payload);
        if new {
            self.tally.datagram(packet, direction);
        }
    }

    fn insert(&mut self, key: FlowKey, hash: u64, flow: Flow) -> FlowId {
        self.cost += flow.cost();
        self.flows.insert(key, hash, flow)
    }

    /// Gives a flow the tracker that its packets so far make.
    fn grow(&mut self, id: FlowId) {
        let Some((key, flow)) = self.flows.get(id) else {
            return;
        };
        if matches!(flow, Flow::Tcp(_) | Flow::Udp(_)) {
            return;
        }
        let key = *key;
        let Some(flow) = self.flows.get_mut(id) else {
            return;
        };
        if let Flow::Syn(syn) = flow {
            self.half_open.leave(server_of(&key, syn));
        }
        let before = flow.cost();
        flow.grow(&key, &self.settings, &mut self.tally);
        self.cost = self.cost + flow.cost() - before;
    }

    fn take_out(&mut self, id: FlowId, expired: bool) {
        if let Some((key, flow)) = self.flows.remove(id) {
            self.cost -= flow.cost();
            if let Flow::Syn(syn) = &flow {
                self.half_open.leave(server_of(&key, syn));
            }
            self.hand_over(&key, flow, expired);
        }
    }

    fn hand_over(&mut self, key: &FlowKey, mut flow: Flow, expired: bool) {
        if let Flow::Syn(syn) = &flow {
            let [client, server] = ends_of(key, syn.sender());
            if !self.tally.judges_lone_syn(server) {
                let lone = if expired {
                    LoneSyn::GivenUp
                } else {
                    LoneSyn::Waits
                };
                let attempt = Attempt {
                    time: syn.time(),
                    wire_len: syn.wire_len(),
                    client,
                    server,
                };
                self.tally.lone_syn(&attempt, lone);
                self.remarks.drop(key);
                return;
            }
        }
        flow.grow(key, &self.settings, &mut self.tally);
        let mut connection = Connection::unseen();
        match flow {
            Flow::Tcp(mut tracker) => {
                tracker.let_go(&mut |tracker, packet, tcp, payload| {
                    let (verdict, direction) = tracker.segment(packet, tcp, payload);
                    self.tally.segment(packet, direction, verdict);
                });
                tracker.fill(expired, &mut connection);
            }
            Flow::Udp(tracker) => tracker.fill(expired, &mut connection),
            // All others have just been made one of these.
            Flow::Syn(_) | Flow::FirstSegments(..) | Flow::FirstDatagrams(..) => return,
        }
        self.remarks.give(key, &mut connection);
        let expired_open = connection.close == Close::Timeout;
        self.tally.connection(&connection, expired_open);
        self.sink.connection(&connection);
    }

    /// The capture is over, and `end` the time of its latest frame: hands over everything.
    pub fn finish(mut self, end: Timestamp) -> (S, ShardTally) {
        let mut order: Vec<_> = self
            .flows
            .iter_mut()
            .map(|(id, flow)| (flow.first_frame(), id))
            .collect();
        order.sort_unstable();
        for (_, id) in order {
            if let Some((key, flow)) = self.flows.take(id) {
                let expired = flow.is_silent(end);
                self.hand_over(&key, flow, expired);
            }
        }
        self.tally.limits.remarks_left_out += self.remarks.left_out();
        (self.sink, self.tally)
    }
}

/// Whom a SYN is for.
fn server_of(key: &FlowKey, syn: &Record) -> Endpoint {
    let [_, server] = ends_of(key, syn.sender());
    server
}

/// Who asks and who is asked, when `sender` asks.
fn ends_of(key: &FlowKey, sender: Sender) -> [Endpoint; 2] {
    let [low, high] = key
        .ends()
        .map(|(octets, port)| Endpoint::new(ip_from_octets(octets), port));
    match sender {
        Sender::Low => [low, high],
        Sender::High => [high, low],
    }
}

#[cfg(test)]
mod tests;
