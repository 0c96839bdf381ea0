//! One shard of the flow table: connections from their first packet until they are handed over.
//!
//! A shard sees the packets of its connections in frame order and nothing else, so what it does
//! depends on them alone: not on threads, nor on how the capture was cut into rounds.

use std::time::Duration;

use hashbrown::HashMap;

use crate::addr::Endpoint;
use crate::analysis::IcmpError;
use crate::decode::{Packet, PacketKind};
use crate::event::SegmentRef;
use crate::pipeline::ConnectionSink;
use crate::time::Timestamp;

use super::facts::ShardFacts;
use super::key::FlowKey;
use super::tcp::{TcpSettings, TcpTracker, Verdict};
use super::udp::UdpTracker;
use super::{Close, Connection, Direction};

/// ICMP errors kept per shard.
const ICMP_ERRORS: usize = 1024;

/// Capture time between two looks for connections that went silent.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug)]
enum Flow {
    Tcp(Box<TcpTracker>),
    Udp(Box<UdpTracker>),
}

impl Flow {
    fn is_silent(&self, now: Timestamp) -> bool {
        match self {
            Self::Tcp(tracker) => now.since(tracker.last_activity()) > tracker.patience(),
            Self::Udp(tracker) => now.since(tracker.last_activity()) > tracker.patience(),
        }
    }

    fn finish(self, expired: bool) -> Connection {
        match self {
            Self::Tcp(tracker) => tracker.finish(expired),
            Self::Udp(tracker) => tracker.finish(expired),
        }
    }
}

/// A part of the flow table with the sink that takes its connections.
#[derive(Debug)]
pub(crate) struct Shard<S> {
    flows: HashMap<FlowKey, Flow, foldhash::fast::FixedState>,
    settings: TcpSettings,
    sink: S,
    facts: ShardFacts,
    now: Timestamp,
    next_sweep: Timestamp,
    since_sweep: usize,
}

impl<S: ConnectionSink> Shard<S> {
    /// An empty shard; `start` is the time of the capture's first frame.
    pub fn new(sink: S, settings: TcpSettings, start: Timestamp) -> Self {
        Self {
            flows: HashMap::default(),
            settings,
            sink,
            facts: ShardFacts::new(start),
            now: start,
            next_sweep: start + SWEEP_EVERY,
            since_sweep: 0,
        }
    }

    /// Takes the next packet of this shard. `payload` are its captured octets.
    pub fn packet(&mut self, packet: &Packet, payload: &[u8]) {
        self.now = self.now.max(packet.time);
        self.sweep();
        let (key, _) = FlowKey::of(packet);
        match packet.kind {
            PacketKind::Tcp(tcp) => self.segment(key, packet, &tcp, payload),
            PacketKind::Udp => self.datagram(key, packet, payload),
            PacketKind::IcmpError { icmp, .. } => self.icmp(key, packet, icmp),
        }
    }

    /// Notes the address that an answer taken just now truly came from (see
    /// [`super::translation`]).
    pub fn answered_from(&mut self, packet: &Packet, answering: Endpoint) {
        let (key, _) = FlowKey::of(packet);
        if let Some(Flow::Tcp(tracker)) = self.flows.get_mut(&key) {
            tracker.answered_from(answering);
        }
    }

    fn segment(
        &mut self,
        key: FlowKey,
        packet: &Packet,
        tcp: &crate::decode::TcpFields,
        payload: &[u8],
    ) {
        let mut reused = false;
        if let Some(Flow::Tcp(tracker)) = self.flows.get(&key)
            && tracker.is_new_incarnation(packet, tcp)
        {
            reused = true;
            if let Some(old) = self.flows.remove(&key) {
                self.hand_over(old, false);
            }
        }
        let flow = self
            .flows
            .entry(key)
            .or_insert_with(|| Flow::Tcp(Box::new(TcpTracker::new(packet, tcp, &self.settings))));
        let Flow::Tcp(tracker) = flow else { return };
        if reused {
            tracker.mark_port_reuse();
        }
        let (verdict, direction) = tracker.segment(packet, tcp, payload);
        self.facts.segment(packet, direction, verdict);
    }

    fn datagram(&mut self, key: FlowKey, packet: &Packet, payload: &[u8]) {
        // A flow that was silent for too long ends here whether or not a sweep came by, so that
        // sweeps never change a result.
        if self
            .flows
            .get(&key)
            .is_some_and(|flow| flow.is_silent(packet.time))
            && let Some(old) = self.flows.remove(&key)
        {
            self.hand_over(old, true);
        }
        let flow = self
            .flows
            .entry(key)
            .or_insert_with(|| Flow::Udp(Box::new(UdpTracker::new(packet))));
        let Flow::Udp(tracker) = flow else { return };
        let (new, direction) = tracker.datagram(packet, payload);
        let verdict = if new {
            Verdict::New
        } else {
            Verdict::DuplicateFrame
        };
        self.facts.segment(packet, direction, verdict);
    }

    fn icmp(&mut self, key: FlowKey, packet: &Packet, icmp: crate::decode::IcmpFields) {
        match self.flows.get_mut(&key) {
            Some(Flow::Tcp(tracker)) => tracker.icmp_error(packet, icmp),
            Some(Flow::Udp(tracker)) => tracker.icmp_error(packet, icmp),
            None => {}
        }
        self.facts.icmp_error_count += 1;
        if self.facts.icmp_errors.len() < ICMP_ERRORS {
            self.facts.icmp_errors.push(IcmpError {
                segment: SegmentRef::place(packet.frame, packet.time, Direction::ClientToServer),
                icmp,
                from: packet.source(),
                to: packet.destination(),
            });
        }
    }

    /// Takes a datagram of which a fragment never came.
    pub fn incomplete(&mut self, packet: &Packet, fragments_seen: u32) {
        let (key, _) = FlowKey::of(packet);
        let flow = self
            .flows
            .entry(key)
            .or_insert_with(|| Flow::Udp(Box::new(UdpTracker::new(packet))));
        if let Flow::Udp(tracker) = flow {
            tracker.incomplete(packet, fragments_seen);
        }
    }

    /// Hands over what went silent. Each look costs the whole shard, so one is due only after as
    /// many packets: a capture whose clock jumps cannot make it slow.
    fn sweep(&mut self) {
        self.since_sweep += 1;
        if self.now < self.next_sweep || self.since_sweep <= self.flows.len() {
            return;
        }
        self.since_sweep = 0;
        self.next_sweep = self.now + SWEEP_EVERY;
        let now = self.now;
        let mut silent: Vec<Flow> = self
            .flows
            .extract_if(|_, flow| {
                let silent = flow.is_silent(now);
                if let Flow::Tcp(tracker) = flow
                    && !silent
                {
                    tracker.trim(now);
                }
                silent
            })
            .map(|(_, flow)| flow)
            .collect();
        for flow in silent.drain(..) {
            self.hand_over(flow, true);
        }
    }

    fn hand_over(&mut self, flow: Flow, expired: bool) {
        let connection = flow.finish(expired);
        let expired_open = connection.close == Close::Timeout;
        self.facts.connection(&connection, expired_open);
        self.sink.connection(&connection);
    }

    /// The capture is over: hands over everything.
    pub fn finish(mut self) -> (S, ShardFacts) {
        let mut connections: Vec<Connection> = std::mem::take(&mut self.flows)
            .into_iter()
            .map(|(_, flow)| {
                let expired = flow.is_silent(self.now);
                flow.finish(expired)
            })
            .collect();
        connections.sort_unstable_by_key(|connection| connection.first_frame);
        for connection in connections {
            self.facts.connection(&connection, false);
            self.sink.connection(&connection);
        }
        (self.sink, self.facts)
    }
}
