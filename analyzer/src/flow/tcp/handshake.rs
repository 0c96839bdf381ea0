//! What the SYNs of both ends say (RFC 9293 §3.5): options, and the segments to show.

use std::time::Duration;

use crate::flow::Direction;

use super::{Segment, TcpTracker};

/// A SYN-ACK that follows the client's ACK within this time was under way. The kernel repeats one
/// after a second (RFC 6298 §2.1).
const UNDER_WAY: Duration = Duration::from_millis(100);

/// Handshake segments kept of each kind.
const HANDSHAKE_SEGMENTS: usize = 8;

impl TcpTracker {
    /// Takes a SYN or SYN-ACK.
    pub(super) fn on_syn(&mut self, segment: &Segment<'_>) {
        let tcp = segment.tcp;
        let sender = &mut self.senders[segment.direction.index()];
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
            self.learn_scales();
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
            if self.ignores_handshake_ack(segment) {
                self.handshake.syn_acks_after_ack += 1;
            }
            self.learn_scales();
        }
    }

    /// Whether the server must have had the client's ACK when it sent this SYN-ACK. What was sent
    /// before comes within two round trips at most, be it the answer to a SYN that was sent twice or a
    /// segment that a capture of several queues wrote down late.
    fn ignores_handshake_ack(&self, segment: &Segment<'_>) -> bool {
        let round_trip = self.rtt_hint().unwrap_or_default();
        let under_way = (round_trip * 2).max(UNDER_WAY);
        self.handshake
            .ack
            .is_some_and(|ack| segment.packet.time.since(ack.time) > under_way)
    }

    /// RFC 7323 §2.2: scaling is on only when both SYNs carry the option.
    fn learn_scales(&mut self) {
        let shifts = [0, 1].map(|end: usize| self.senders[end].stats.window_shift);
        if let [Some(client), Some(server)] = shifts {
            self.senders[0].shift = client.min(14);
            self.senders[1].shift = server.min(14);
        }
    }
}
