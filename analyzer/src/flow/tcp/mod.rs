//! One TCP connection while it lives: packets in, facts out.
//!
//! [`TcpTracker::segment`] takes every packet of one incarnation of a 4-tuple in frame order and
//! keeps what the observer can know: both ends' sequence spaces (`sender`), what each segment was, the
//! holes and what acknowledgements prove (`verdict`), and what rules want to know (`account`): the
//! states of RFC 9293, the turns of the conversation, why it was reset, where its time went.
//! Segments that go on as was to be expected take a shorter way through the same
//! (`verdict::expected`). Those that were written before what they acknowledge wait for it (`in_turn`).
//! [`TcpTracker::finish`] hands over the read model.
//!
//! The tracker never looks at a clock: a verdict depends on the packets of the connection alone,
//! not on how the capture was cut into rounds.

mod account;
mod finish;
mod held_back;
mod in_turn;
mod lift;
mod patience;
mod roles;
mod segment;
mod sender;
mod verdict;

use std::time::Duration;

use crate::addr::Endpoint;
use crate::app::{AppSettings, StreamReader};
use crate::connection::{CapturePoint, Holes, Role};
use crate::decode::{IcmpFields, Packet, TcpFields};
use crate::direction::Direction;
use crate::event::{Event, EventKind, SegmentRef};
use crate::seq::SeqNumber;
use crate::time::Timestamp;

use account::handshake::HandshakeTracker;
use account::held_writes::HeldWritesTracker;
use account::reset_kinds::Surroundings;
use account::reset_tracker::ResetTracker;
use account::silence::SilenceTracker;
use account::state_tracker::StateTracker;
use account::stream::StreamBuffer;
use account::time_split_tracker::SplitTracker;
use account::turns::TurnTracker;
use account::{congestion, path_load, vantage, window};
use held_back::HeldBack;
use lift::lift;
use roles::judge_role;
use segment::{Segment, low32};
use sender::rtt::Progress;
use sender::{SenderState, split_pair};
use verdict::recent_packets::{RecentPackets, signature};

pub(crate) use roles::looks_like_client;
pub(crate) use sender::send_order::SendOrder;
pub use verdict::Verdict;
pub(crate) use verdict::{Beside, KnownBefore};

/// How long a connection may stay silent of which only SYNs were seen. Linux gives up after 127 s;
/// the last retry comes 64 s after the one before.
pub(super) const PATIENCE_SYN: Duration = Duration::from_secs(PATIENCE_SYN_S as u64);
pub(super) const PATIENCE_SYN_S: u16 = 130;

/// How long any other may: longer than the keep-alive default of 7,200 s (RFC 9293 §3.8.4).
const PATIENCE: Duration = Duration::from_secs(PATIENCE_S as u64);
pub(crate) const PATIENCE_S: u16 = 7_500;

/// Events kept per connection; further ones are counted.
const EVENTS_PER_CONNECTION: usize = 256;

/// What is the same for every connection of an analysis.
#[derive(Clone, Debug, Default)]
pub struct TcpSettings {
    /// Application reading: given framings.
    pub app: AppSettings,
    /// Judges every segment in full, also those that were to be expected: same result, slower.
    pub judge_all: bool,
}

/// After such a silence an answer to a SYN that nobody saw opens a connection rather than being forged into one.
pub(crate) const SILENCE: Duration = Duration::from_secs(1);

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
    held_writes: HeldWritesTracker,
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
    /// Segments that wait for what they acknowledge.
    held: Option<Box<HeldBack>>,
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
            held_writes: HeldWritesTracker::default(),
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
            held: None,
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
                // is over, or has been silent and the SYN answered is another: one SYN may be
                // answered twice (SYN cookies, RFC 4987).
                SeqNumber(low32(base)) != tcp.seq
                    && (self.is_closed() || self.is_answer_to_another_syn(packet, tcp))
            }
            Some(base) => SeqNumber(low32(base)) != tcp.seq || self.role == Role::Judged,
            // The other end opens: a simultaneous open as long as nothing is established.
            None => self.is_closed() || self.role == Role::Judged,
        }
    }

    /// Whether a SYN-ACK, after a silence, acknowledges a SYN that the capture missed.
    fn is_answer_to_another_syn(&self, packet: &Packet, tcp: &TcpFields) -> bool {
        let peer = &self.senders[self.direction_of(packet).reverse().index()];
        let other = (peer.base).is_some_and(|base| SeqNumber(low32(base + 1)) != tcp.ack);
        other && packet.time.since(self.last_activity()) >= SILENCE
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
            Some(expected) => self.take_expected(packet, tcp, payload, expected),
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
        let older = self.is_of_older_connection(tcp, direction, packet.time);
        let segment = if older {
            Segment::unlifted(packet, tcp, direction)
        } else {
            lift(&mut self.senders, packet, tcp, direction)
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
        self.silences
            .take(&segment, idle_ns, &self.senders, &self.handshake);
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
            self.on_reset(&segment, payload, Duration::from_nanos(idle_ns));
            self.split.pass(packet.time);
            return Verdict::Reset;
        }
        let sender = &self.senders[direction.index()];
        self.resets.note_carried_on(&segment, sender);
        self.note_identification(&segment);
        let progress = self.on_ack(&segment);
        self.note_progress(&segment, progress);
        self.on_window(&segment);
        self.compare_contents(&segment, payload);
        let seen_before = self.senders[direction.index()].stats.unique_bytes;
        let repeats_before = self.repeats;
        let verdict = self.on_sequence(&segment);
        let sender = &mut self.senders[direction.index()];
        sender.note_contents(&segment, payload);
        let sender = &*sender;
        // A repeat of octets that have passed neither lengthens a request nor ends it later.
        if sender.stats.unique_bytes > seen_before && packet.payload_len > 0 {
            self.turns.data(&segment, sender);
        }
        if self.repeats > repeats_before {
            self.turns.repeated(packet.frame);
        }
        self.note_data(&segment, verdict);
        let scales_known = self.handshake.seen().tells_scales();
        self.split
            .advance(&segment, verdict, &self.senders, scales_known);
        self.deliver(&segment, payload, verdict);
        self.on_state(&segment);
        self.senders[direction.index()].stats.last_segment = Some(segment.reference);
        verdict
    }

    /// Takes a RST.
    fn on_reset(&mut self, segment: &Segment<'_>, payload: &[u8], idle_before: Duration) {
        let beside = Surroundings {
            senders: &self.senders,
            handshake: self.handshake.seen(),
            last_turn: self.turns.last(),
            idle_before,
            peer_reset_before: self.resets.has_reset(segment.direction.reverse()),
        };
        let Some(outcome) = self.resets.take(segment, payload, &beside) else {
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

    /// Tells the parts of the account of an acknowledgement, when it made progress.
    fn note_progress(&mut self, segment: &Segment<'_>, progress: Option<Progress>) {
        let Some(progress) = progress else { return };
        let (_, peer) = split_pair(&mut self.senders, segment.direction);
        if let Some(trip) = progress.round_trip {
            path_load::note_round_trip(peer, trip, segment.reference);
        }
        self.held_writes.progress(segment, peer);
    }

    /// Tells the parts of the account of a segment that was judged.
    fn note_data(&mut self, segment: &Segment<'_>, verdict: Verdict) {
        self.held_writes.take(segment, verdict, &mut self.senders);
        path_load::note_window(segment, verdict, &mut self.senders);
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

    /// Records an ICMP error that quotes a packet of this connection. `from_client`: the quoted
    /// packet was sent by the client.
    pub fn icmp_error(&mut self, packet: &Packet, icmp: IcmpFields) {
        let direction = self.direction_of(packet);
        self.senders[direction.index()].take_icmp(&icmp);
        let reference = SegmentRef {
            seq: icmp.quoted_seq.unwrap_or_default(),
            ..SegmentRef::place(packet.frame, packet.time, direction)
        };
        self.push_event(Event {
            segment: reference,
            kind: EventKind::IcmpError(icmp),
        });
    }

    fn count(&mut self, segment: &Segment<'_>) {
        let packet = segment.packet;
        let sender = &mut self.senders[segment.direction.index()];
        sender.stats.packets += 1;
        sender.stats.wire_bytes += u64::from(packet.wire_len);
        sender.stats.cut_frames += u64::from(packet.is_cut() || segment.tcp.options_cut);
        sender.stats.largest_payload = sender.stats.largest_payload.max(packet.payload_len);
        sender.stats.timestamps |= segment.tcp.timestamps.is_some();
        congestion::take(sender, segment);
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

    /// Roughly the octets it holds beyond what any connection takes: segments that wait for their
    /// acknowledgement, and data behind holes.
    pub fn octets_held(&self) -> usize {
        let [client, server] = &self.senders;
        let held = self.held.as_ref().map_or(0, |held| held.octets());
        client.octets() + server.octets() + self.stream.octets() + held
    }

    /// Gives back most of [`Self::octets_held`], for want of memory.
    pub fn shed(&mut self) {
        for sender in &mut self.senders {
            sender.shed();
        }
        self.stream.shed();
    }
}
