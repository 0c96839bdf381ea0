//! One TCP connection while it lives: packets in, facts out.
//!
//! [`TcpTracker::segment`] takes every packet of one incarnation of a 4-tuple in frame order and
//! keeps what the observer can know: both ends' sequence spaces (`sender`), what each segment was, the
//! holes and what acknowledgements prove (`verdict`), and what rules want to know (`account`): the
//! states of RFC 9293, the turns of the conversation, why it was reset, where its time went.
//! Segments that go on as was to be expected take a shorter way through the same
//! (`verdict::expected`). [`TcpTracker::finish`] hands over the read model.
//!
//! The tracker never looks at a clock: a verdict depends on the packets of the connection alone,
//! not on how the capture was cut into rounds.

mod account;
mod segment;
mod sender;
mod verdict;

use std::net::IpAddr;
use std::time::Duration;

use crate::addr::{Endpoint, Transport};
use crate::app::{AppSettings, StreamReader};
use crate::connection::{CapturePoint, Close, Connection, Holes, Role};
use crate::decode::{IcmpFields, Packet, TcpFields};
use crate::direction::Direction;
use crate::event::{Event, EventKind, SegmentRef};
use crate::seq::SeqNumber;
use crate::time::Timestamp;

use account::handshake::HandshakeTracker;
use account::reset_kinds::Surroundings;
use account::reset_tracker::ResetTracker;
use account::silence::SilenceTracker;
use account::state_tracker::StateTracker;
use account::stream::StreamBuffer;
use account::time_split_tracker::SplitTracker;
use account::turns::TurnTracker;
use account::{vantage, window};
use segment::{Segment, low32};
use sender::{SenderState, split_pair};
use verdict::duplicate::{RecentPackets, signature};

pub(crate) use sender::send_order::{SendOrder, Trust};
pub use verdict::Verdict;
pub(crate) use verdict::{Beside, KnownBefore};

/// Events kept per connection; further ones are counted.
const EVENTS_PER_CONNECTION: usize = 256;

/// How long a connection may stay silent of which only SYNs were seen. Linux gives up after 127 s;
/// the last retry comes 64 s after the one before.
pub(super) const PATIENCE_SYN: Duration = Duration::from_secs(PATIENCE_SYN_S as u64);
pub(super) const PATIENCE_SYN_S: u16 = 130;

/// How long any other may: longer than the keep-alive default of 7,200 s (RFC 9293 §3.8.4).
const PATIENCE: Duration = Duration::from_secs(PATIENCE_S as u64);
pub(super) const PATIENCE_S: u16 = 7_500;

/// A connection that was silent for as long may stay so: it gives back memory.
const IDLE: Duration = Duration::from_secs(5);

/// What is the same for every connection of an analysis.
#[derive(Clone, Debug, Default)]
pub struct TcpSettings {
    /// Application reading: given framings.
    pub app: AppSettings,
    /// Judges every segment in full, also those that were to be expected: same result, slower.
    pub judge_all: bool,
}

/// One live incarnation of a 4-tuple.
#[derive(Debug)]
pub struct TcpTracker {
    client: Endpoint,
    server: Endpoint,
    role: Role,
    /// The address that answers, when it is not the one the SYN went to.
    answered_from: Option<Endpoint>,
    port_reuse: bool,
    first_frame: u64,
    last_frame: u64,
    start: Timestamp,
    end: Timestamp,
    senders: [SenderState; 2],
    handshake: HandshakeTracker,
    holes: Option<Box<Holes>>,
    silences: SilenceTracker,
    resets: ResetTracker,
    events: Vec<Event>,
    events_dropped: u64,
    /// Retransmissions among the events, dropped ones included.
    repeats: u64,
    recent: RecentPackets,
    states: StateTracker,
    turns: TurnTracker,
    split: SplitTracker,
    stream: StreamBuffer,
    closed_at: Option<Timestamp>,
    reset_at: Option<Timestamp>,
    judge_all: bool,
}

impl TcpTracker {
    /// Starts with the first packet of an incarnation (which is then passed to
    /// [`Self::segment`] as well).
    #[must_use]
    pub fn new(packet: &Packet, tcp: &TcpFields, settings: &TcpSettings) -> Self {
        let (role, source_is_client) = judge_role(packet, tcp);
        let (client, server) = if source_is_client {
            (packet.source(), packet.destination())
        } else {
            (packet.destination(), packet.source())
        };
        Self {
            client,
            server,
            role,
            answered_from: None,
            port_reuse: false,
            first_frame: packet.frame,
            last_frame: packet.frame,
            start: packet.time,
            end: packet.time,
            senders: Default::default(),
            handshake: HandshakeTracker::default(),
            holes: None,
            silences: SilenceTracker::default(),
            resets: ResetTracker::default(),
            events: Vec::new(),
            events_dropped: 0,
            repeats: 0,
            recent: RecentPackets::default(),
            states: StateTracker::default(),
            turns: TurnTracker::default(),
            split: SplitTracker::new(packet.time),
            stream: StreamBuffer::new(StreamReader::new(&settings.app, server.port)),
            closed_at: None,
            reset_at: None,
            judge_all: settings.judge_all,
        }
    }

    /// The first frame.
    #[must_use]
    pub const fn first_frame(&self) -> u64 {
        self.first_frame
    }

    /// Marks that the 4-tuple was used before in this capture.
    pub fn mark_port_reuse(&mut self) {
        self.port_reuse = true;
    }

    /// Notes that the server's segments bear another address than the client's go to.
    pub fn answered_from(&mut self, answering: Endpoint) {
        self.answered_from = Some(answering);
    }

    /// When the last packet of the connection passed.
    #[must_use]
    pub const fn last_activity(&self) -> Timestamp {
        self.end
    }

    /// Both ends are done with it: both FINs acknowledged, or reset.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed_at.is_some() || self.reset_at.is_some()
    }

    /// Nothing but SYNs of one end so far.
    #[must_use]
    pub fn is_only_syn(&self) -> bool {
        let syns = self.handshake.seen().syn_count;
        syns > 0
            && self.senders[1].stats.packets == 0
            && self.senders[0].stats.packets == u64::from(syns)
    }

    /// Whether this packet opens a new incarnation: a SYN with another initial sequence number
    /// than the one known (Wireshark: `tcp.analysis.reused_ports`).
    #[must_use]
    pub fn is_new_incarnation(&self, packet: &Packet, tcp: &TcpFields) -> bool {
        if !tcp.flags.syn() {
            return false;
        }
        let state = &self.senders[self.direction_of(packet).index()];
        match state.base {
            Some(base) if tcp.flags.ack() => {
                // A SYN-ACK with a new number belongs to a new incarnation only when the old one
                // is over; otherwise the same SYN may be answered twice (SYN cookies, RFC 4987).
                self.is_closed() && SeqNumber(low32(base)) != tcp.seq
            }
            Some(base) => SeqNumber(low32(base)) != tcp.seq || self.role == Role::Judged,
            // The other end opens: a simultaneous open as long as nothing is established.
            None => self.is_closed() || self.role == Role::Judged,
        }
    }

    /// Client and server.
    #[must_use]
    pub const fn endpoints(&self) -> (Endpoint, Endpoint) {
        (self.client, self.server)
    }

    pub(crate) fn direction_of(&self, packet: &Packet) -> Direction {
        // Where the ports differ they tell the ends apart.
        let from_client = packet.src_port == self.client.port
            && (self.client.port != self.server.port || packet.is_from(self.client.ip));
        if from_client {
            Direction::ClientToServer
        } else {
            Direction::ServerToClient
        }
    }

    /// Takes the next packet of this incarnation. `payload` are its captured octets.
    ///
    /// Gives the verdict on the segment and its direction.
    pub fn segment(
        &mut self,
        packet: &Packet,
        tcp: &TcpFields,
        payload: &[u8],
    ) -> (Verdict, Direction) {
        let direction = self.direction_of(packet);
        let verdict = match self.expects(packet, tcp, direction) {
            Some(ack) => self.take_expected(packet, tcp, payload, (direction, ack)),
            None => self.judge(packet, tcp, payload, direction),
        };
        (verdict, direction)
    }

    fn judge(
        &mut self,
        packet: &Packet,
        tcp: &TcpFields,
        payload: &[u8],
        direction: Direction,
    ) -> Verdict {
        let older = self.is_of_older_connection(tcp, direction);
        let segment = if older {
            Segment::unlifted(packet, tcp, direction)
        } else {
            self.lift(packet, tcp, direction)
        };
        let round_trip = self.rtt_hint();
        let stats = &mut self.senders[direction.index()].stats;
        stats.payload_bytes += u64::from(packet.payload_len);
        let signature = signature(&segment);
        let ip_ids = &self.senders[direction.index()].ip_ids;
        if let Some(verdict) = self.recent.copy_of(&segment, signature, ip_ids, round_trip) {
            if verdict == Verdict::DuplicateFrame {
                stats.seldom().duplicate_frames += 1;
                return verdict;
            }
            self.count(&segment);
            self.senders[direction.index()]
                .stats
                .seldom()
                .network_duplicates += 1;
            self.event(&segment, EventKind::NetworkDuplicate);
            return verdict;
        }
        self.recent.remember(&segment, signature);
        self.count(&segment);
        let idle_ns = packet.time.nanos_since(self.end);
        self.silences.take(&segment, idle_ns, &self.senders);
        self.start = self.start.min(packet.time);
        self.end = self.end.max(packet.time);
        self.last_frame = self.last_frame.max(packet.frame);
        if older {
            return self.on_older_connection(&segment);
        }
        if tcp.flags.syn() {
            self.handshake.take(&segment, &mut self.senders);
        }
        if tcp.flags.rst() {
            self.on_reset(&segment, Duration::from_nanos(idle_ns));
            self.split.pass(packet.time);
            return Verdict::Reset;
        }
        let sender = &self.senders[direction.index()];
        self.resets.note_carried_on(&segment, sender);
        self.note_identification(&segment);
        self.on_ack(&segment);
        self.on_window(&segment);
        let seen_before = self.senders[direction.index()].stats.unique_bytes;
        let repeats_before = self.repeats;
        let verdict = self.on_sequence(&segment);
        let sender = &self.senders[direction.index()];
        // A repeat of octets that have passed neither lengthens a request nor ends it later.
        if sender.stats.unique_bytes > seen_before && packet.payload_len > 0 {
            self.turns.data(&segment, sender);
        }
        if self.repeats > repeats_before {
            self.turns.repeated(packet.frame);
        }
        let scales_known = self.handshake.seen().tells_scales();
        self.split
            .advance(&segment, verdict, &self.senders, scales_known);
        self.deliver(&segment, payload, verdict);
        self.on_state(&segment);
        self.senders[direction.index()].stats.last_segment = Some(segment.reference);
        verdict
    }

    /// Takes a RST.
    fn on_reset(&mut self, segment: &Segment<'_>, idle_before: Duration) {
        let beside = Surroundings {
            senders: &self.senders,
            handshake: self.handshake.seen(),
            last_turn: self.turns.last(),
            idle_before,
        };
        let Some(outcome) = self.resets.take(segment, &beside) else {
            return;
        };
        if outcome.is_challenge {
            self.event(segment, EventKind::ChallengeAck);
        }
        if outcome.ends_connection {
            if outcome.acknowledges {
                self.on_last_ack(segment);
            }
            let time = segment.packet.time;
            self.reset_at.get_or_insert(time);
            self.states.close(time, segment.direction);
        }
    }

    fn on_window(&mut self, segment: &Segment<'_>) {
        let sender = &mut self.senders[segment.direction.index()];
        if let Some(change) = window::take(sender, segment) {
            self.event(segment, change);
        }
    }

    /// Hands the payload to the application reader; a hole that the segment filled is told which
    /// messages it let go.
    fn deliver(&mut self, segment: &Segment<'_>, payload: &[u8], verdict: Verdict) {
        let freed = self
            .stream
            .deliver(segment, payload, verdict, &self.senders);
        let (Some(freed), Some(holes)) = (freed, &mut self.holes) else {
            return;
        };
        let mut kept = holes.longest.iter_mut();
        let filled = kept.find(|hole| {
            hole.filled.frame == segment.packet.frame && hole.direction == segment.direction
        });
        if let Some(hole) = filled {
            hole.message_unit = freed.unit;
            hole.blocked_messages = freed.count;
        }
    }

    /// Advances both ends' states.
    fn on_state(&mut self, segment: &Segment<'_>) {
        if self.states.take(segment, &self.senders) {
            self.handshake.complete(segment.reference);
        }
        let fin_acked = |sender: &SenderState| sender.stats.fin_acked.is_some();
        if !segment.tcp.flags.syn() && self.senders.iter().all(fin_acked) {
            self.closed_at.get_or_insert(segment.packet.time);
        }
    }

    /// Where the capture was taken, and how sure that is (0–1).
    pub(crate) fn capture_point(&self) -> (CapturePoint, f64) {
        vantage::capture_point(&self.senders)
    }

    /// Whether a retransmission in `frame` has been proven needless.
    pub(crate) fn was_needless(&self, frame: u64) -> bool {
        self.events.iter().any(|event| {
            event.segment.frame == frame
                && matches!(event.kind, EventKind::Retransmission { spurious: true, .. })
        })
    }

    /// Records an ICMP error that quotes a packet of this connection. `from_client`: the quoted
    /// packet was sent by the client.
    pub fn icmp_error(&mut self, packet: &Packet, icmp: IcmpFields) {
        let direction = self.direction_of(packet);
        let seq = icmp.quoted_seq.unwrap_or_default();
        let reference = SegmentRef {
            frame: packet.frame,
            time: packet.time,
            direction,
            flags: crate::decode::TcpFlags::default(),
            seq,
            ack: SeqNumber(0),
            relative_seq: 0,
            relative_ack: 0,
            payload_len: 0,
            window: 0,
        };
        self.push_event(Event {
            segment: reference,
            kind: EventKind::IcmpError(icmp),
        });
    }

    fn lift<'a>(
        &mut self,
        packet: &'a Packet,
        tcp: &'a TcpFields,
        direction: Direction,
    ) -> Segment<'a> {
        let (sender, peer) = split_pair(&mut self.senders, direction);
        if sender.base.is_none() {
            let first = SenderState::base_for(tcp.seq);
            // Without a SYN the first octet seen is number 1, as Wireshark counts.
            let base = if tcp.flags.syn() { first } else { first - 1 };
            sender.base = Some(base);
            sender.snd_max = first;
            sender.snd_una = first;
        } else if tcp.flags.syn() && sender.stats.packets == 0 {
            // Known only from the peer's acknowledgements so far.
            let first = sender.lift(tcp.seq);
            sender.base = Some(first);
        }
        let start = sender.lift(tcp.seq);
        let length =
            u64::from(packet.payload_len) + u64::from(tcp.flags.syn()) + u64::from(tcp.flags.fin());
        let ack = tcp.flags.ack().then(|| {
            if peer.base.is_none() && !tcp.flags.rst() {
                let base = SenderState::base_for(tcp.ack) - 1;
                peer.base = Some(base);
                peer.snd_max = base + 1;
                peer.snd_una = base + 1;
            }
            peer.lift(tcp.ack)
        });
        let window = u32::from(tcp.window_field) << if tcp.flags.syn() { 0 } else { sender.shift };
        let reference = SegmentRef {
            frame: packet.frame,
            time: packet.time,
            direction,
            flags: tcp.flags,
            seq: tcp.seq,
            ack: if tcp.flags.ack() {
                tcp.ack
            } else {
                SeqNumber(0)
            },
            relative_seq: sender.relative(start),
            relative_ack: ack.map_or(0, |ack| peer.relative(ack)),
            payload_len: packet.payload_len,
            window,
        };
        Segment {
            packet,
            tcp,
            direction,
            start,
            end: start + length,
            ack,
            reference,
        }
    }

    fn count(&mut self, segment: &Segment<'_>) {
        let packet = segment.packet;
        let sender = &mut self.senders[segment.direction.index()];
        sender.stats.packets += 1;
        sender.stats.wire_bytes += u64::from(packet.wire_len);
        sender.stats.cut_frames += u64::from(packet.is_cut() || segment.tcp.options_cut);
        sender.stats.largest_payload = sender.stats.largest_payload.max(packet.payload_len);
        sender.stats.timestamps |= segment.tcp.timestamps.is_some();
        if !segment.tcp.flags.rst() {
            sender.newest_hop_limit = Some(packet.hop_limit);
            match &mut sender.hop_limit {
                Some((usual, agree)) if *usual == packet.hop_limit => *agree += 1,
                Some((_, agree)) if *agree > 0 => *agree -= 1,
                other => *other = Some((packet.hop_limit, 0)),
            }
        }
    }

    fn event(&mut self, segment: &Segment<'_>, kind: EventKind) -> Option<usize> {
        self.push_event(Event {
            segment: segment.reference,
            kind,
        })
    }

    fn push_event(&mut self, event: Event) -> Option<usize> {
        self.repeats += u64::from(matches!(event.kind, EventKind::Retransmission { .. }));
        if self.events.len() >= EVENTS_PER_CONNECTION {
            self.events_dropped += 1;
            return None;
        }
        self.events.push(event);
        Some(self.events.len() - 1)
    }

    /// How long the connection may stay silent before it is given up, in capture time.
    #[must_use]
    pub fn patience(&self) -> Duration {
        if self.reset_at.is_some() {
            // An end that the RST did not reach sends again for seconds.
            Duration::from_secs(10)
        } else if self.closed_at.is_some() {
            // A FIN is sent again when its ACK was lost behind the capture point: after one
            // timeout, then after twice that.
            let timeouts = self.senders.iter().map(|sender| sender.rtt.rto());
            let timeout = timeouts.max().unwrap_or_default();
            (timeout * 4).clamp(Duration::from_secs(1), Duration::from_secs(10))
        } else if self.is_only_syn() {
            PATIENCE_SYN
        } else {
            PATIENCE
        }
    }

    /// Gives back memory that a silent connection does not need. Changes no verdict.
    pub fn trim(&mut self, now: Timestamp) {
        let idle = now.since(self.end);
        if idle < IDLE {
            return;
        }
        self.recent.forget_after(idle);
        for sender in &mut self.senders {
            sender::give_back(&mut sender.outstanding);
            sender::give_back(&mut sender.repeats);
        }
        self.events.shrink_to_fit();
        self.states.trim();
    }

    /// Roughly the octets it holds beyond what any connection takes: segments that wait for their
    /// acknowledgement, and data behind holes.
    pub fn octets_held(&self) -> usize {
        let [client, server] = &self.senders;
        client.octets() + server.octets() + self.stream.octets()
    }

    /// Gives back most of [`Self::octets_held`], for want of memory.
    pub fn shed(&mut self) {
        for sender in &mut self.senders {
            sender.shed();
        }
        self.stream.shed();
    }

    /// Ends tracking and hands over what is known.
    #[must_use]
    pub fn finish(self: Box<Self>, expired: bool) -> Connection {
        let close = self.close(expired);
        let end = self.end;
        let (capture_point, capture_point_confidence) = self.capture_point();
        let app = self.stream.finish();
        let resets = self.resets.finish(app.protocol, self.turns.last());
        Connection {
            transport: Transport::Tcp,
            client: self.client,
            server: self.answered_from.unwrap_or(self.server),
            role: self.role,
            first_frame: self.first_frame,
            last_frame: self.last_frame,
            start: self.start,
            end: self.end,
            halves: self.senders.map(|sender| sender.finish(end)),
            close,
            handshake: self.handshake.finish(),
            turns: self.turns.finish(),
            holes: self.holes.map_or_else(Holes::default, |holes| *holes),
            idle_gaps: self.silences.finish(),
            resets,
            states: self.states.finish(),
            events: self.events,
            events_dropped: self.events_dropped,
            capture_point,
            capture_point_confidence,
            port_reuse: self.port_reuse,
            translated_from: self.answered_from.map(|_| self.server),
            app,
            udp: None,
            time_split: self.split.finish(end),
        }
    }

    fn close(&self, expired: bool) -> Close {
        let fins = self
            .senders
            .iter()
            .filter(|sender| sender.stats.fin.is_some())
            .count();
        if self.reset_at.is_some() {
            Close::Reset
        } else if fins == 2 {
            Close::Fin
        } else if expired {
            Close::Timeout
        } else {
            Close::Open
        }
    }
}

/// Who opened the connection, judged from its first packet: the role and whether the packet's
/// source is the client.
fn judge_role(packet: &Packet, tcp: &TcpFields) -> (Role, bool) {
    if tcp.flags.syn() {
        let role = if tcp.flags.ack() {
            Role::SynAck
        } else {
            Role::Syn
        };
        return (role, !tcp.flags.ack());
    }
    (
        Role::Judged,
        looks_like_client(packet.src_port, packet.dst_port, packet),
    )
}

/// Whether the source is more likely the client: servers sit on lower, well-known ports; between
/// two ephemeral ports the one who speaks is taken for the client.
pub(crate) fn looks_like_client(source: u16, destination: u16, packet: &Packet) -> bool {
    /// First port of the range that operating systems hand out (Linux 32768, IANA 49152).
    const EPHEMERAL: u16 = 32_768;
    match (source >= EPHEMERAL, destination >= EPHEMERAL) {
        (true, false) => true,
        (false, true) => false,
        (true, true) => source != destination || is_lower(packet),
        (false, false) => source > destination || (source == destination && is_lower(packet)),
    }
}

/// A last, arbitrary but fixed choice between equals.
fn is_lower(packet: &Packet) -> bool {
    let (source, destination): (IpAddr, IpAddr) = (packet.source().ip, packet.destination().ip);
    source < destination
}
