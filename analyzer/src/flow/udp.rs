//! One UDP flow while it lives: sizes, answers, rates and what its payload is.

use std::collections::VecDeque;

use crate::addr::{Endpoint, Transport};
use crate::app::DatagramReader;
use crate::connection::{Close, Connection, SizeClass, UdpFacts};
use crate::decode::{IcmpFields, Packet};
use crate::direction::Direction;
use crate::event::{At, Event, EventKind, SegmentRef};
use crate::time::Timestamp;

use super::datagram::{DatagramMark, Marks, Opening};
use super::tcp::looks_like_client;

mod sent;

use sent::{Sent, reference};

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
    sent: [Sent; 2],
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
            sent: Default::default(),
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
        let sent = &mut self.sent[direction.index()];
        let opening = Opening::of(payload);
        if (self.last.as_ref())
            .is_some_and(|(known, opened)| known.may_be_of(packet) && opened.agrees_with(&opening))
        {
            sent.take_copy(packet);
            return false;
        }
        self.last = Some((DatagramMark::of(packet), opening));
        self.start = self.start.min(packet.time);
        self.end = self.end.max(packet.time);
        self.last_frame = self.last_frame.max(packet.frame);
        sent.take(packet);
        self.facts.reassembled += u64::from(packet.reassembled);
        match direction {
            Direction::ClientToServer => self.request(packet, opening),
            Direction::ServerToClient => self.answer(packet, &opening),
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

    fn request(&mut self, packet: &Packet, opening: Opening) {
        let len = packet.payload_len;
        let reference = || reference(packet, Direction::ClientToServer);
        let repeats = !opening.is_empty() && self.is_pending(len, &opening);
        self.rate.count(packet.time.nanos_since(self.start));
        self.count_size(len);
        let classes = &mut self.facts.size_classes;
        match classes.binary_search_by_key(&len, |class| class.request_len) {
            Ok(at) => {
                let class = &mut classes[at];
                class.requests += 1;
                if repeats {
                    class.first_repeat.get_or_insert_with(reference);
                }
            }
            Err(at) if classes.len() < SIZE_CLASSES => {
                if classes.is_empty() {
                    // Requests of one length, or a single one, are the rule.
                    classes.reserve_exact(1);
                }
                classes.insert(at, new_class(reference()));
            }
            Err(_) => {}
        }
        if self.pending.len() >= PENDING {
            self.pending.pop_front();
        }
        self.pending.push_back(Pending {
            time: packet.time,
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
    fn answered_request(&mut self, answer: Timestamp, opening: &Opening) -> Option<Pending> {
        let newest = self.pending.len().checked_sub(1)?;
        let (mut most, mut first, mut is_only) = (0, 0, true);
        for (at, pending) in self.pending.iter().enumerate() {
            let shared = pending.opening.shared_with(opening);
            if shared > most {
                (most, first, is_only) = (shared, at, true);
            } else if shared == most {
                is_only = false;
            }
        }
        let told = most >= MARK_OCTETS && is_only;
        let place = if told {
            first
        } else if newest > 0 && self.gave_up_waiting(answer, newest) {
            newest
        } else {
            0
        };
        if place > 0 {
            self.pending.drain(..place);
        }
        self.pending.pop_front()
    }

    /// The newest request came long after the one before it, and its answer soon.
    fn gave_up_waiting(&self, answer: Timestamp, newest: usize) -> bool {
        let sent = |at: usize| self.pending[at].time;
        let pause = sent(newest).since(sent(newest - 1));
        pause > answer.since(sent(newest)) * 4
    }

    fn answer(&mut self, packet: &Packet, opening: &Opening) {
        let Some(request) = self.answered_request(packet.time, opening) else {
            self.facts.unasked += 1;
            return;
        };
        let (request_len, len) = (request.len, packet.payload_len);
        self.facts
            .response_times
            .add(packet.time.since(request.time));
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
        class
            .first_answer
            .get_or_insert_with(|| reference(packet, Direction::ServerToClient));
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
    pub fn finish(self: Box<Self>, expired: bool) -> Connection {
        let mut connection = Connection::unseen();
        self.fill(expired, &mut connection);
        connection
    }

    /// [`Self::finish`] into a [`Connection::unseen`].
    pub(crate) fn fill(mut self: Box<Self>, expired: bool, connection: &mut Connection) {
        let (peak, median, active) = self.rate.summary();
        self.facts.peak_per_second = peak;
        self.facts.median_per_second = median;
        self.facts.active_seconds = active;
        self.facts.protocol = self.reader.protocol();
        connection.transport = Transport::Udp;
        connection.client = self.client;
        connection.server = self.answered_from.unwrap_or(self.server);
        connection.first_frame = self.first_frame;
        connection.last_frame = self.last_frame;
        connection.start = self.start;
        connection.end = self.end;
        for (end, half) in Direction::BOTH.into_iter().zip(&mut connection.halves) {
            self.sent[end.index()].fill(half, end);
        }
        if expired {
            connection.close = Close::Timeout;
        }
        connection.events = self.events;
        connection.translated_from = self.answered_from.map(|_| self.server);
        connection.app = self.reader.finish();
        connection.udp = Some(self.facts);
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

/// Requests of the length of the first one.
fn new_class(first_request: SegmentRef) -> SizeClass {
    SizeClass {
        request_len: first_request.payload_len,
        requests: 1,
        answered: 0,
        answer_min: 0,
        answer_max: 0,
        first_request,
        first_answer: None,
        first_repeat: None,
    }
}

/// The first datagram's sender asks, unless it speaks from a well-known port to a high one.
fn source_asks(packet: &Packet) -> bool {
    if packet.src_port < 1024 || packet.dst_port < 1024 {
        return looks_like_client(packet.src_port, packet.dst_port, packet);
    }
    true
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
