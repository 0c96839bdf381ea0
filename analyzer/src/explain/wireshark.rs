//! What Wireshark's sequence analysis would call a segment, for readers who look at both.
//!
//! Re-told from the User's Guide ("TCP Analysis"): its tests look at one segment, the highest
//! sequence number, the last acknowledgement and fixed times; they know no SACK scoreboard, no
//! timestamps and no identifications.

use std::time::Duration;

use crate::decode::{Packet, TcpFields, TcpFlags};
use crate::direction::Direction;
use crate::seq::SeqNumber;
use crate::time::Timestamp;

/// A fast retransmission comes this soon after the duplicate ACK.
const FAST_WITHIN: Duration = Duration::from_millis(20);

/// An out-of-order segment comes this soon when no handshake was seen.
const LATE_WITHIN: Duration = Duration::from_millis(3);

/// A display-filter field of Wireshark and why it would be set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WiresharkName {
    /// Field, such as `tcp.analysis.out_of_order`.
    pub field: &'static str,
    /// The test that sets it, in words.
    pub because: &'static str,
}

#[derive(Clone, Copy, Debug, Default)]
struct Side {
    next_seq: Option<SeqNumber>,
    next_seq_at: Timestamp,
    last_ack: Option<SeqNumber>,
    last_ack_at: Timestamp,
    duplicate_acks: u32,
    window: Option<u16>,
    keep_alive: bool,
}

/// Wireshark's state of one conversation.
#[derive(Clone, Debug, Default)]
pub(super) struct WiresharkView {
    sides: [Side; 2],
    syn_at: Option<Timestamp>,
    initial_rtt: Option<Duration>,
}

impl WiresharkView {
    /// Takes the next segment; gives every name it would get.
    pub fn segment(
        &mut self,
        packet: &Packet,
        tcp: &TcpFields,
        direction: Direction,
    ) -> Vec<WiresharkName> {
        let (own, other) = (direction.index(), direction.reverse().index());
        let control = tcp.flags.syn() || tcp.flags.fin();
        let quiet = !control && !tcp.flags.rst();
        let length = packet.payload_len + u32::from(tcp.flags.syn()) + u32::from(tcp.flags.fin());
        let mut names = Vec::new();
        let mut name = |field, because| names.push(WiresharkName { field, because });
        let (side, peer) = (self.sides[own], self.sides[other]);
        let ahead = side.next_seq.map(|next| tcp.seq.distance_from(next));
        let keep_alive = quiet && packet.payload_len <= 1 && ahead == Some(-1);
        if ahead.is_some_and(|ahead| ahead > 0) && !tcp.flags.rst() {
            name(
                "tcp.analysis.lost_segment",
                "begins beyond the highest byte seen",
            );
        }
        if keep_alive {
            name(
                "tcp.analysis.keep_alive",
                "no byte or one, just below the highest byte seen",
            );
        }
        if quiet && tcp.window_field == 0 && !tcp.window_cut {
            name("tcp.analysis.zero_window", "advertises a window of zero");
        }
        let still = quiet
            && packet.payload_len == 0
            && ahead == Some(0)
            && tcp.flags.ack()
            && side.last_ack == Some(tcp.ack);
        let same_window = side.window == Some(tcp.window_field);
        let duplicate_ack = still && same_window && tcp.window_field > 0 && !peer.keep_alive;
        if still && !same_window {
            name(
                "tcp.analysis.window_update",
                "only the window differs from the ACK before",
            );
        } else if still && peer.keep_alive {
            name("tcp.analysis.keep_alive_ack", "answers a keep-alive");
        } else if duplicate_ack {
            name(
                "tcp.analysis.duplicate_ack",
                "equals the ACK before, window included",
            );
        }
        let beyond = |next: SeqNumber| tcp.ack.distance_from(next) > 0;
        if tcp.flags.ack() && peer.next_seq.is_some_and(beyond) {
            name(
                "tcp.analysis.ack_lost_segment",
                "acknowledges bytes that were not captured",
            );
        }
        if length > 0 && !keep_alive && ahead.is_some_and(|ahead| ahead < 0) {
            names.push(self.repeat_name(packet, tcp, side, peer, length));
        }
        self.advance(packet, tcp, direction, length, duplicate_ack, keep_alive);
        names
    }

    fn repeat_name(
        &self,
        packet: &Packet,
        tcp: &TcpFields,
        side: Side,
        peer: Side,
        length: u32,
    ) -> WiresharkName {
        let end = tcp.seq.advanced(length);
        let named = |field, because| WiresharkName { field, because };
        let acknowledged = peer.last_ack.is_some_and(|ack| end.distance_from(ack) <= 0);
        if packet.payload_len > 0 && acknowledged {
            return named(
                "tcp.analysis.spurious_retransmission",
                "the last ACK in the file already covers it",
            );
        }
        let fast = peer.duplicate_acks >= 2
            && peer.last_ack == Some(tcp.seq)
            && packet.time.since(peer.last_ack_at) < FAST_WITHIN;
        if fast {
            return named(
                "tcp.analysis.fast_retransmission",
                "at the last ACK, less than 20 ms after at least two duplicates of it",
            );
        }
        let limit = self.initial_rtt.unwrap_or(LATE_WITHIN);
        if packet.time.since(side.next_seq_at) < limit && side.next_seq != Some(end) {
            return named(
                "tcp.analysis.out_of_order",
                "less than the handshake's round trip (or 3 ms) after the highest byte seen",
            );
        }
        named(
            "tcp.analysis.retransmission",
            "below the highest byte seen, and nothing else fits",
        )
    }

    fn advance(
        &mut self,
        packet: &Packet,
        tcp: &TcpFields,
        direction: Direction,
        length: u32,
        duplicate_ack: bool,
        keep_alive: bool,
    ) {
        if tcp.flags.syn() && !tcp.flags.ack() {
            self.syn_at.get_or_insert(packet.time);
        } else if !tcp.flags.syn()
            && direction == Direction::ClientToServer
            && self.initial_rtt.is_none()
        {
            self.initial_rtt = self.syn_at.map(|syn| packet.time.since(syn));
        }
        let side = &mut self.sides[direction.index()];
        let end = tcp.seq.advanced(length);
        if !tcp.flags.has(TcpFlags::RST)
            && side.next_seq.is_none_or(|next| end.distance_from(next) > 0)
        {
            side.next_seq = Some(end);
            side.next_seq_at = packet.time;
        }
        if tcp.flags.ack() {
            side.duplicate_acks = if duplicate_ack {
                side.duplicate_acks + 1
            } else {
                0
            };
            side.last_ack = Some(tcp.ack);
            side.last_ack_at = packet.time;
        }
        side.window = Some(tcp.window_field);
        side.keep_alive = keep_alive;
    }
}
