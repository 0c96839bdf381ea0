//! What the SYNs of both ends say (RFC 9293 §3.5): options, and the segments to show.

use std::time::Duration;

use crate::connection::Handshake;
use crate::direction::Direction;
use crate::event::SegmentRef;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::{SenderState, round_trip};
use crate::time::Timestamp;

/// A SYN-ACK that follows the client's ACK within this time was under way. The kernel repeats one
/// after a second (RFC 6298 §2.1).
const UNDER_WAY: Duration = Duration::from_millis(100);

/// Handshake segments kept of each kind.
const HANDSHAKE_SEGMENTS: usize = 8;

/// The handshake while the connection lives.
#[derive(Debug, Default)]
pub(in crate::flow::tcp) struct HandshakeTracker {
    handshake: Handshake,
}

impl HandshakeTracker {
    /// What was seen of it so far.
    pub const fn seen(&self) -> &Handshake {
        &self.handshake
    }

    /// The client's ACK came that completes it, unless it had come before.
    pub fn complete(&mut self, ack: SegmentRef) {
        self.handshake.ack.get_or_insert(ack);
    }

    /// Takes a SYN or SYN-ACK.
    pub fn take(&mut self, segment: &Segment<'_>, senders: &mut [SenderState; 2]) {
        let tcp = segment.tcp;
        let sender = &mut senders[segment.direction.index()];
        sender.stats.mss = tcp.mss.or(sender.stats.mss);
        sender.stats.window_shift = tcp.window_shift.or(sender.stats.window_shift);
        sender.stats.sack_permitted |= tcp.sack_permitted;
        self.handshake.options_unknown |= tcp.options_cut;
        if sender.stats.packets == 1 {
            self.handshake.multipath_offers += u8::from(tcp.multipath);
        }
        let from_client = segment.direction == Direction::ClientToServer;
        if from_client == tcp.flags.ack() {
            // Simultaneous open (RFC 9293 §3.5): the lists are for the client's SYN and its answer.
            learn_scales(senders);
            return;
        }
        let (list, count) = if tcp.flags.ack() {
            (
                &mut self.handshake.syn_acks,
                &mut self.handshake.syn_ack_count,
            )
        } else {
            (&mut self.handshake.syns, &mut self.handshake.syn_count)
        };
        *count += 1;
        if list.len() < HANDSHAKE_SEGMENTS {
            // One is the rule: no room for more.
            list.reserve_exact(1);
            list.push(segment.reference);
        }
        if tcp.flags.ack() {
            if *count == 1 {
                self.handshake.syn_ack_timestamp = tcp.timestamps.map(|(value, _)| value);
            }
            let is_same = self.is_first_syn_ack(segment);
            if is_same && self.echoes_later_segment(segment) {
                self.handshake.syn_acks_after_arrival += 1;
            }
            if is_same && self.ignores_ack(segment, round_trip(senders)) {
                self.handshake.syn_acks_after_ack += 1;
            }
            learn_scales(senders);
        } else {
            self.handshake.syn_timestamp = tcp.timestamps.map(|(value, _)| value);
        }
    }

    /// Whether a SYN-ACK bears the numbers of the first one and answers the SYN that was seen; any other
    /// belongs to another connection, or to another stack.
    fn is_first_syn_ack(&self, segment: &Segment<'_>) -> bool {
        let (syn, first) = (self.handshake.syns.last(), self.handshake.syn_acks.first());
        let (seq, ack) = (segment.reference.seq, segment.reference.ack);
        let answers = |syn: &SegmentRef| {
            let acknowledged = ack.0.wrapping_sub(syn.seq.0);
            (1..=1 + syn.payload_len).contains(&acknowledged)
        };
        first.is_some_and(|first| first.seq == seq && first.ack == ack) && syn.is_none_or(answers)
    }

    /// Whether a SYN-ACK echoes a timestamp that no SYN bore yet.
    fn echoes_later_segment(&self, segment: &Segment<'_>) -> bool {
        let echoed = segment.tcp.timestamps.map(|(_, echoed)| echoed);
        let newer = |(echoed, syn): (u32, u32)| echoed.wrapping_sub(syn).cast_signed() > 0;
        self.handshake.ack.is_some() && echoed.zip(self.handshake.syn_timestamp).is_some_and(newer)
    }

    /// Whether the server must have had the client's ACK when it sent this SYN-ACK. What was sent
    /// before comes within two round trips at most, be it the answer to a SYN that was sent twice
    /// or a segment that a capture of several queues wrote down late.
    fn ignores_ack(&self, segment: &Segment<'_>, round_trip: Option<Duration>) -> bool {
        let under_way = (round_trip.unwrap_or_default() * 2).max(UNDER_WAY);
        self.handshake
            .ack
            .is_some_and(|ack| segment.packet.time.since(ack.time) > under_way)
    }

    /// What an end's timestamp clock showed in the handshake, and when.
    pub fn first_stamp(&self, end: Direction) -> Option<(Timestamp, u32)> {
        let handshake = &self.handshake;
        let (segment, value) = match end {
            // More SYNs than are kept: the latest is not among them.
            Direction::ClientToServer if handshake.syn_count as usize > handshake.syns.len() => {
                return None;
            }
            Direction::ClientToServer => (handshake.syns.last(), handshake.syn_timestamp),
            Direction::ServerToClient => (handshake.syn_acks.first(), handshake.syn_ack_timestamp),
        };
        segment.map(|segment| segment.time).zip(value)
    }

    /// The finished handshake.
    pub fn finish(self) -> Handshake {
        self.handshake
    }
}

/// RFC 7323 §2.2: scaling is on only when both SYNs carry the option.
fn learn_scales(senders: &mut [SenderState; 2]) {
    let shifts = [0, 1].map(|end: usize| senders[end].stats.window_shift);
    if let [Some(client), Some(server)] = shifts {
        senders[0].shift = client.min(14);
        senders[1].shift = server.min(14);
    }
}
