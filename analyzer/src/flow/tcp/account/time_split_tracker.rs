//! Where a connection's time went: every interval between two packets has one cause.
//!
//! What an interval was spent on is often known only by what ends it. Intervals are therefore held
//! by what they would be if the same end sends on, until the next data tells:
//!
//! | wait | condition, as the sender knew it | when the same end sends on | when the other end answers |
//! |---|---|---|---|
//! | window | less than a segment's room in the receiver's window | receiver's window | thinking |
//! | pause | everything acknowledged, window open, end of a write | sender had nothing to send | thinking |
//! | flight | neither | transfer | thinking |
//!
//! Away from the sender the end of a write is told by PSH on less than a full segment (RFC 9293
//! §3.9.1.2; Linux sets it on full ones whenever its buffer is full). Otherwise more was to come,
//! and the path or the congestion window held it back.
//!
//! A retransmission ends a wait for a repair. What no data ends was idle, but for the time until
//! the last data was acknowledged. The parts always add up to the duration.

use std::time::Duration;

use crate::connection::TimeSplit;
use crate::decode::TcpFlags;
use crate::direction::Direction;
use crate::event::RetransmissionKind;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::SenderState;
use crate::flow::tcp::sender::acks_under_way::AT_THE_CAPTURE_POINT_NS;
use crate::flow::tcp::verdict::Verdict;
use crate::time::Timestamp;

/// Sums intervals by cause while the connection lives.
#[derive(Clone, Debug)]
pub(in crate::flow::tcp) struct SplitTracker {
    parts: Parts,
    first: Timestamp,
    last: Timestamp,
    /// Intervals since the last data, not yet attributed, by [`Wait`], in nanoseconds.
    held: [u64; 3],
    /// Of the waits for acknowledgements: until the last data was acknowledged.
    settled: Option<u64>,
    wait: Wait,
    established: bool,
    last_data: Option<Direction>,
}

/// The parts of [`TimeSplit`] in nanoseconds: what is done for every packet is cheaper with one
/// number.
#[derive(Clone, Debug, Default)]
struct Parts {
    handshake: u64,
    client_think: u64,
    request_transfer: u64,
    server_think: u64,
    response_transfer: u64,
    recovery_fast: u64,
    recovery_timeout: u64,
    receiver_window: u64,
    sender_limited: u64,
    idle: u64,
}

impl Parts {
    fn finish(&self) -> TimeSplit {
        let Self {
            handshake,
            client_think,
            request_transfer,
            server_think,
            response_transfer,
            recovery_fast,
            recovery_timeout,
            receiver_window,
            sender_limited,
            idle,
        } = *self;
        TimeSplit {
            handshake: Duration::from_nanos(handshake),
            client_think: Duration::from_nanos(client_think),
            request_transfer: Duration::from_nanos(request_transfer),
            server_think: Duration::from_nanos(server_think),
            response_transfer: Duration::from_nanos(response_transfer),
            recovery_fast: Duration::from_nanos(recovery_fast),
            recovery_timeout: Duration::from_nanos(recovery_timeout),
            receiver_window: Duration::from_nanos(receiver_window),
            sender_limited: Duration::from_nanos(sender_limited),
            idle: Duration::from_nanos(idle),
        }
    }
}

/// What the end that sent last waits for if it is to send more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wait {
    Flight,
    Window,
    Pause,
}

impl SplitTracker {
    /// Begins at the first packet.
    pub fn new(start: Timestamp) -> Self {
        Self {
            parts: Parts::default(),
            first: start,
            last: start,
            held: [0; 3],
            settled: None,
            wait: Wait::Flight,
            established: false,
            last_data: None,
        }
    }

    /// Takes the interval that a packet ends which tells nothing else.
    pub fn pass(&mut self, time: Timestamp) {
        let interval = self.interval(time);
        if self.established {
            self.held[self.wait as usize] += interval;
        } else {
            self.parts.handshake += interval;
        }
    }

    /// Takes the interval that a packet ends. `scales_known`: the handshake told the window scale.
    pub fn advance(
        &mut self,
        segment: &Segment<'_>,
        verdict: Verdict,
        senders: &[SenderState; 2],
        scales_known: bool,
    ) {
        self.pass(segment.packet.time);
        self.established |= !segment.tcp.flags.syn();
        if self.established
            && let Verdict::Retransmission(kind) = verdict
        {
            self.repaired(kind, &senders[segment.direction.index()]);
        }
        if segment.packet.payload_len > 0 && verdict.brings_new_octets() {
            self.attribute(segment, senders);
            self.last_data = Some(segment.direction);
        }
        self.look_ahead(segment.packet.time, senders, scales_known);
    }

    /// Time since the packet before; also time before the first one, where the file is not in
    /// order of time.
    fn interval(&mut self, time: Timestamp) -> u64 {
        if time >= self.last {
            let interval = time.nanos_since(self.last);
            self.last = time;
            return interval;
        }
        let before_all = self.first.nanos_since(time);
        self.first = self.first.min(time);
        before_all
    }

    /// The time held was spent waiting for a repair, as far as a repair takes: a pause before it
    /// may be longer where the lost segment did not pass here.
    fn repaired(&mut self, kind: RetransmissionKind, sender: &SenderState) {
        let pause = nanos(sender.rtt.rto()).min(self.held[Wait::Pause as usize]);
        self.held[Wait::Pause as usize] -= pause;
        let waited = pause + std::mem::take(&mut self.held[Wait::Flight as usize]);
        match kind {
            RetransmissionKind::Fast => self.parts.recovery_fast += waited,
            _ => self.parts.recovery_timeout += waited,
        }
    }

    /// Data came: the time held was spent waiting for it.
    fn attribute(&mut self, segment: &Segment<'_>, senders: &[SenderState; 2]) {
        let [flight, window, pause] = std::mem::take(&mut self.held);
        let flight = flight + self.settled.take().unwrap_or_default();
        let direction = segment.direction;
        let (sender, peer) = (
            &senders[direction.index()],
            &senders[direction.reverse().index()],
        );
        // With octets of its own under way it does not answer, it sends on.
        let sends_on = self.last_data == Some(direction)
            || (self.last_data.is_some()
                && segment.start > known_acknowledged(sender, peer, segment.packet.time));
        if !sends_on {
            let think = match direction {
                Direction::ClientToServer => &mut self.parts.client_think,
                Direction::ServerToClient => &mut self.parts.server_think,
            };
            *think += flight + window + pause;
            return;
        }
        // The acknowledgement that ended the flight had to get there, and the data here.
        let way = peer.rtt.min_ns().unwrap_or_default().min(pause);
        self.parts.sender_limited += pause - way;
        self.parts.receiver_window += window;
        *self.transfer(direction) += flight + way;
    }

    fn transfer(&mut self, direction: Direction) -> &mut u64 {
        match direction {
            Direction::ClientToServer => &mut self.parts.request_transfer,
            Direction::ServerToClient => &mut self.parts.response_transfer,
        }
    }

    /// What the end that sent data last waits for from now on.
    fn look_ahead(&mut self, now: Timestamp, senders: &[SenderState; 2], scales_known: bool) {
        let Some(direction) = self.last_data else {
            return;
        };
        let (sender, peer) = (
            &senders[direction.index()],
            &senders[direction.reverse().index()],
        );
        let acknowledged = sender.flight_size() == 0;
        if acknowledged && self.settled.is_none() {
            self.settled = Some(std::mem::take(&mut self.held[Wait::Flight as usize]));
        }
        self.wait = if is_window_full(sender, peer, now, scales_known) {
            Wait::Window
        } else if acknowledged && has_sent_all(sender, peer) {
            Wait::Pause
        } else {
            Wait::Flight
        };
    }

    /// The finished division.
    pub fn finish(mut self, end: Timestamp) -> TimeSplit {
        self.pass(end);
        let [flight, window, pause] = self.held;
        self.parts.receiver_window += window;
        self.parts.idle += flight + pause;
        let settled = self.settled.unwrap_or_default();
        match self.last_data {
            Some(direction) => *self.transfer(direction) += settled,
            None => self.parts.idle += settled,
        }
        self.parts.finish()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What `sender` knew to be acknowledged when it sent what passes `now`.
fn known_acknowledged(sender: &SenderState, peer: &SenderState, now: Timestamp) -> u64 {
    sender
        .acks_under_way
        .snd_una_at_sender(now, sender.snd_una, peer.rtt.min_ns())
}

/// Whether a sender with nothing in flight has nothing to send: it is next to the capture point and
/// silent, or its last segment ended a write.
fn has_sent_all(sender: &SenderState, peer: &SenderState) -> bool {
    let is_near = (peer.rtt.min_ns()).is_some_and(|way| way < AT_THE_CAPTURE_POINT_NS);
    let ended_write = sender.stats.last_data.is_some_and(|data| {
        data.flags.has(TcpFlags::PSH) && data.payload_len < full_segment(sender, peer)
    });
    is_near || ended_write
}

fn full_segment(sender: &SenderState, peer: &SenderState) -> u32 {
    u32::from(peer.stats.mss.unwrap_or(u16::MAX)).min(sender.stats.largest_payload)
}

/// Whether the receiver's window has no room for another full segment (RFC 9293 §3.8.6.2.1).
fn is_window_full(
    sender: &SenderState,
    peer: &SenderState,
    now: Timestamp,
    scales_known: bool,
) -> bool {
    let Some(window) = peer.window else {
        return false;
    };
    if window == 0 || !scales_known {
        return window == 0;
    }
    let needed =
        (sender.snd_max + u64::from(full_segment(sender, peer))).saturating_sub(u64::from(window));
    // The latter takes a search.
    sender.acks_under_way.snd_una_at_least(sender.snd_una) < needed
        && known_acknowledged(sender, peer, now) < needed
}
