//! One UDP flow while it lives: sizes, answers, rates and what its payload is.

use std::collections::VecDeque;

use crate::addr::{Endpoint, Transport};
use crate::app::DatagramReader;
use crate::connection::{
    CapturePoint, Close, Connection, Half, Handshake, Holes, IdleGaps, Role, SizeClass, TimeSplit,
    Turns, UdpFacts,
};
use crate::decode::{IcmpFields, Packet, TcpFlags};
use crate::direction::Direction;
use crate::event::{At, Event, EventKind, SegmentRef};
use crate::seq::SeqNumber;
use crate::time::Timestamp;

use super::datagram::{DatagramMark, Marks, Opening};
use super::tcp::looks_like_client;

/// Request sizes whose answers are followed.
const SIZE_CLASSES: usize = 128;

/// Request sizes counted.
const SIZES: usize = 2048;

/// Requests that wait for an answer at one time; older ones are given up as unanswered.
const PENDING: usize = 32;

/// Seconds remembered for the rate; longer flows are thinned by doubling the slot.
const RATE_SLOTS: usize = 256;

/// ICMP errors kept per flow.
const EVENTS: usize = 16;

/// One UDP five-tuple.
#[derive(Debug)]
pub struct UdpTracker {
    client: Endpoint,
    server: Endpoint,
    first_frame: u64,
    last_frame: u64,
    start: Timestamp,
    end: Timestamp,
    halves: [Half; 2],
    facts: UdpFacts,
    pending: VecDeque<Pending>,
    /// Of the openings of those that wait, and of some that did.
    marks: Marks,
    rate: Rate,
    events: Vec<Event>,
    reader: DatagramReader,
    last: Option<(DatagramMark, Opening)>,
    /// The address that answers, when it is not the one asked.
    answered_from: Option<Endpoint>,
}

impl UdpTracker {
    /// Starts with the first datagram (which is then passed to [`Self::datagram`] as well).
    #[must_use]
    pub fn new(packet: &Packet) -> Self {
        let source_is_client = source_asks(packet);
        let (client, server) = if source_is_client {
            (packet.source(), packet.destination())
        } else {
            (packet.destination(), packet.source())
        };
        Self {
            client,
            server,
            first_frame: packet.frame,
            last_frame: packet.frame,
            start: packet.time,
            end: packet.time,
            halves: Default::default(),
            facts: UdpFacts::default(),
            pending: VecDeque::new(),
            marks: Marks::default(),
            rate: Rate::default(),
            events: Vec::new(),
            reader: DatagramReader::default(),
            last: None,
            answered_from: None,
        }
    }

    /// When the last datagram passed.
    #[must_use]
    pub const fn last_activity(&self) -> Timestamp {
        self.end
    }

    /// The first frame.
    #[must_use]
    pub const fn first_frame(&self) -> u64 {
        self.first_frame
    }

    /// Whether it was silent for too long at a time.
    #[inline]
    pub(super) fn is_silent(&self, now: Timestamp) -> bool {
        now.nanos_since(self.end) > u64::from(Self::PATIENCE_S) * 1_000_000_000
    }

    /// How long the flow may stay silent, in seconds: longer than the stream timeouts of middle boxes
    /// (Linux conntrack 120 s) and than the pauses of request/response protocols.
    pub(super) const PATIENCE_S: u16 = 300;

    fn direction_of(&self, packet: &Packet) -> Direction {
        // Where the ports differ they tell the ends apart.
        let from_client = packet.src_port == self.client.port
            && (self.client.port != self.server.port || packet.is_from(self.client.ip));
        if from_client {
            Direction::ClientToServer
        } else {
            Direction::ServerToClient
        }
    }

    /// Takes the next datagram. Gives whether it was new (not a copy made by the capture) and its
    /// direction.
    pub fn datagram(&mut self, packet: &Packet, payload: &[u8]) -> (bool, Direction) {
        let direction = self.direction_of(packet);
        (self.take(packet, payload, direction), direction)
    }

    fn take(&mut self, packet: &Packet, payload: &[u8], direction: Direction) -> bool {
        let half = &mut self.halves[direction.index()];
        half.payload_bytes += u64::from(packet.payload_len);
        let opening = Opening::of(payload);
        if (self.last.as_ref())
            .is_some_and(|(known, opened)| known.may_be_of(packet) && opened.agrees_with(&opening))
        {
            half.duplicate_frames += 1;
            return false;
        }
        self.last = Some((DatagramMark::of(packet), opening));
        self.start = self.start.min(packet.time);
        self.end = self.end.max(packet.time);
        self.last_frame = self.last_frame.max(packet.frame);
        half.packets += 1;
        half.wire_bytes += u64::from(packet.wire_len);
        half.unique_bytes += u64::from(packet.payload_len);
        half.data_segments += 1;
        half.cut_frames += u64::from(packet.is_cut());
        half.largest_payload = half.largest_payload.max(packet.payload_len);
        half.hop_limit.get_or_insert(packet.hop_limit);
        let reference = reference(packet, direction);
        half.first_data.get_or_insert(reference);
        half.last_data = Some(reference);
        self.facts.reassembled += u64::from(packet.reassembled);
        match direction {
            Direction::ClientToServer => self.request(reference, opening),
            Direction::ServerToClient => self.answer(reference, &opening),
        }
        let at = At {
            frame: packet.frame,
            time: packet.time,
        };
        let ports = (packet.src_port, packet.dst_port);
        self.reader
            .datagram(direction, payload, packet.payload_len, at, ports);
        true
    }

    fn request(&mut self, reference: SegmentRef, opening: Opening) {
        let len = reference.payload_len;
        let repeats = !opening.is_empty() && self.is_pending(len, &opening);
        self.rate.count(reference.time.nanos_since(self.start));
        self.count_size(len);
        let classes = &mut self.facts.size_classes;
        match classes.binary_search_by_key(&len, |class| class.request_len) {
            Ok(at) => {
                let class = &mut classes[at];
                class.requests += 1;
                if repeats {
                    class.first_repeat.get_or_insert(reference);
                }
            }
            Err(at) if classes.len() < SIZE_CLASSES => classes.insert(
                at,
                SizeClass {
                    request_len: len,
                    requests: 1,
                    answered: 0,
                    answer_min: 0,
                    answer_max: 0,
                    first_request: reference,
                    first_answer: None,
                    first_repeat: None,
                },
            ),
            Err(_) => {}
        }
        if self.pending.len() >= PENDING {
            self.pending.pop_front();
        }
        self.pending.push_back(Pending {
            time: reference.time,
            len,
            opening,
        });
    }

    /// Whether a request of this length that begins so waits for its answer.
    fn is_pending(&mut self, len: u32, opening: &Opening) -> bool {
        let mark = opening.mark();
        if !self.marks.may_have(mark) {
            self.marks.add(mark);
            return false;
        }
        let mut newest_first = self.pending.iter().rev();
        let is_pending = newest_first.any(|pending| {
            pending.opening.mark() == mark && pending.len == len && pending.opening == *opening
        });
        if !is_pending {
            // What has been answered since is to be forgotten.
            self.marks = Marks::default();
            self.marks.add(mark);
            for pending in &self.pending {
                self.marks.add(pending.opening.mark());
            }
        }
        is_pending
    }

    fn count_size(&mut self, len: u32) {
        let sizes = &mut self.facts.size_counts;
        match sizes.binary_search_by_key(&len, |(known, _)| *known) {
            Ok(at) => sizes[at].1 += 1,
            Err(at) if sizes.len() < SIZES => sizes.insert(at, (len, 1)),
            Err(_) => self.facts.uncounted_requests += 1,
        }
    }

    /// Gives the request that an answer belongs to; those before it are given up.
    ///
    /// That is the one whose first octets the answer repeats; without such octets the newest,
    /// when its sender had long given up waiting for those before; otherwise the oldest.
    fn answered_request(&mut self, answer: SegmentRef, opening: &Opening) -> Option<Pending> {
        let alike = self.pending.iter().enumerate();
        let alike = alike.map(|(at, pending)| (pending.opening.shared_with(opening), at));
        let (most, first) = alike
            .clone()
            .max_by_key(|(shared, at)| (*shared, std::cmp::Reverse(*at)))?;
        let told = most >= MARK_OCTETS && alike.filter(|(shared, _)| *shared == most).count() == 1;
        let newest = self.pending.len() - 1;
        let place = if told {
            first
        } else if newest > 0 && self.gave_up_waiting(answer, newest) {
            newest
        } else {
            0
        };
        self.pending.drain(..place);
        self.pending.pop_front()
    }

    /// The newest request came long after the one before it, and its answer soon.
    fn gave_up_waiting(&self, answer: SegmentRef, newest: usize) -> bool {
        let sent = |at: usize| self.pending[at].time;
        let pause = sent(newest).since(sent(newest - 1));
        pause > answer.time.since(sent(newest)) * 4
    }

    fn answer(&mut self, reference: SegmentRef, opening: &Opening) {
        let Some(request) = self.answered_request(reference, opening) else {
            self.facts.unasked += 1;
            return;
        };
        let (request_len, len) = (request.len, reference.payload_len);
        self.facts
            .response_times
            .add(reference.time.since(request.time));
        let classes = &mut self.facts.size_classes;
        let Ok(at) = classes.binary_search_by_key(&request_len, |class| class.request_len) else {
            return;
        };
        let class = &mut classes[at];
        class.answer_min = if class.answered == 0 {
            len
        } else {
            class.answer_min.min(len)
        };
        class.answer_max = class.answer_max.max(len);
        class.answered += 1;
        class.first_answer.get_or_insert(reference);
    }

    /// Notes that the server's answers bear another address than the client's datagrams go to.
    pub fn answered_from(&mut self, answering: Endpoint) {
        self.answered_from = Some(answering);
    }

    /// Records a datagram of which a fragment never came.
    pub fn incomplete(&mut self, packet: &Packet, fragments_seen: u32) {
        let direction = self.direction_of(packet);
        self.facts.incomplete_count += 1;
        if self.facts.incomplete.len() < 8 {
            self.facts
                .incomplete
                .push((reference(packet, direction), fragments_seen));
        }
        self.end = self.end.max(packet.time);
    }

    /// Records an ICMP error that quotes a datagram of this flow.
    pub fn icmp_error(&mut self, packet: &Packet, icmp: IcmpFields) {
        let direction = self.direction_of(packet);
        if self.events.len() < EVENTS {
            let segment = SegmentRef::place(packet.frame, packet.time, direction);
            self.events.push(Event {
                segment,
                kind: EventKind::IcmpError(icmp),
            });
        }
    }

    /// Ends tracking and hands over what is known.
    #[must_use]
    pub fn finish(mut self: Box<Self>, expired: bool) -> Connection {
        let (peak, median, active) = self.rate.summary();
        self.facts.peak_per_second = peak;
        self.facts.median_per_second = median;
        self.facts.active_seconds = active;
        self.facts.protocol = self.reader.protocol();
        for half in &mut self.halves {
            half.last_segment = half.last_data;
        }
        Connection {
            transport: Transport::Udp,
            client: self.client,
            server: self.answered_from.unwrap_or(self.server),
            role: Role::Judged,
            first_frame: self.first_frame,
            last_frame: self.last_frame,
            start: self.start,
            end: self.end,
            halves: self.halves,
            close: if expired { Close::Timeout } else { Close::Open },
            handshake: Handshake::default(),
            turns: Turns::default(),
            holes: Holes::default(),
            idle_gaps: IdleGaps::default(),
            resets: Vec::new(),
            states: Vec::new(),
            events: self.events,
            events_dropped: 0,
            capture_point: CapturePoint::Unknown,
            capture_point_confidence: 0.0,
            port_reuse: false,
            translated_from: self.answered_from.map(|_| self.server),
            process: None,
            proxied_to: None,
            app: self.reader.finish(),
            udp: Some(self.facts),
            time_split: TimeSplit::default(),
        }
    }
}

/// Octets shared at the start of request and answer that tell which belong together: as long as a
/// message identifier with something before it.
const MARK_OCTETS: usize = 4;

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Pending {
    time: Timestamp,
    /// Its true length.
    len: u32,
    opening: Opening,
}

/// The first datagram's sender asks, unless it speaks from a well-known port to a high one.
fn source_asks(packet: &Packet) -> bool {
    if packet.src_port < 1024 || packet.dst_port < 1024 {
        return looks_like_client(packet.src_port, packet.dst_port, packet);
    }
    true
}

fn reference(packet: &Packet, direction: Direction) -> SegmentRef {
    SegmentRef {
        frame: packet.frame,
        time: packet.time,
        direction,
        flags: TcpFlags::default(),
        seq: SeqNumber(0),
        ack: SeqNumber(0),
        relative_seq: 0,
        relative_ack: 0,
        payload_len: packet.payload_len,
        window: 0,
    }
}

/// Datagrams per second since the flow's start, in slots of a power of two of seconds.
#[derive(Clone, Debug, Default)]
struct Rate {
    slots: Vec<u32>,
    doublings: u32,
    current_second: u64,
    in_current: u64,
    peak: u64,
    active: u64,
}

impl Rate {
    fn count(&mut self, since_start_ns: u64) {
        let second = since_start_ns / 1_000_000_000;
        if second != self.current_second || self.in_current == 0 {
            self.current_second = second;
            self.in_current = 0;
            self.active += 1;
        }
        self.in_current += 1;
        self.peak = self.peak.max(self.in_current);
        while second >> self.doublings >= RATE_SLOTS as u64 {
            self.slots = self.slots.chunks(2).map(|pair| pair.iter().sum()).collect();
            self.doublings += 1;
        }
        let slot = usize::try_from(second >> self.doublings).unwrap_or(RATE_SLOTS - 1);
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, 0);
        }
        self.slots[slot] = self.slots[slot].saturating_add(1);
    }

    /// Peak and median datagrams per second, and seconds with any.
    fn summary(&self) -> (u64, f64, u64) {
        let mut slots = self.slots.clone();
        // The last slot is cut by the end of the flow.
        if slots.len() > 2 {
            slots.pop();
        }
        slots.sort_unstable();
        let middle = slots.get(slots.len() / 2).copied().unwrap_or(0);
        let width = f64::from(1_u32.checked_shl(self.doublings).unwrap_or(u32::MAX));
        (self.peak, f64::from(middle) / width, self.active)
    }
}
