//! Segments that a capture of several queues or taps wrote before what they acknowledge.
//!
//! Nobody acknowledges what has not been sent. A segment that does so waits a few milliseconds for what
//! it acknowledges, and what its sender sends meanwhile waits behind it: each queue keeps its own order.
//! When the missing segment comes next from the other end, it was written late and is judged first. When
//! anything else comes, or it comes later, the capture missed it, and what waits is judged as it stands.

use std::time::Duration;

use crate::decode::{Packet, PacketKind, TcpFields};
use crate::direction::Direction;
use crate::seq::SeqNumber;

use super::TcpTracker;
use super::held_back::{HeldBack, OCTETS};
use super::segment::low32;

/// A segment waits no longer: queues of one host are emptied within this.
const WINDOW: Duration = Duration::from_millis(5);

impl TcpTracker {
    /// Hands the next packet of this incarnation to `take`, which passes it to [`Self::segment`]: at once,
    /// or behind what it acknowledges.
    #[inline]
    pub(crate) fn in_turn(
        &mut self,
        packet: &Packet,
        tcp: &TcpFields,
        payload: &[u8],
        take: &mut impl FnMut(&mut Self, &Packet, &TcpFields, &[u8]),
    ) {
        if self.held.is_some() {
            self.beside_held(packet, tcp, payload, take);
        } else if let Some(needed) = self.lacks(packet, tcp) {
            let direction = self.direction_of(packet);
            let held = HeldBack::new(direction, needed, packet, payload);
            self.held = Some(Box::new(held));
        } else {
            take(self, packet, tcp, payload);
        }
    }

    /// Hands over what waits: nothing more comes.
    pub(crate) fn let_go(&mut self, take: &mut impl FnMut(&mut Self, &Packet, &TcpFields, &[u8])) {
        let held = self.held.take();
        for (packet, payload) in held.into_iter().flat_map(|held| held.waiting) {
            if let PacketKind::Tcp(tcp) = packet.kind {
                take(self, &packet, &tcp, &payload);
            }
        }
    }

    /// The first sequence number that a segment acknowledges although it has not passed.
    #[inline]
    fn lacks(&self, packet: &Packet, tcp: &TcpFields) -> Option<SeqNumber> {
        if !tcp.flags.ack() || tcp.flags.rst() {
            return None;
        }
        let direction = self.direction_of(packet);
        let peer = &self.senders[direction.reverse().index()];
        if peer.base.is_none() {
            return self.lacks_opening(direction, tcp);
        }
        let beyond = tcp.ack.0.wrapping_sub(low32(peer.snd_max));
        let is_beyond = (1..=OCTETS).contains(&(beyond as usize));
        (is_beyond && peer.stats.packets > 0).then(|| SeqNumber(low32(peer.snd_max)))
    }

    /// The same while nothing of the other end has passed: its SYN or SYN-ACK.
    #[cold]
    fn lacks_opening(&self, direction: Direction, tcp: &TcpFields) -> Option<SeqNumber> {
        let is_first = self.senders.iter().all(|sender| sender.stats.packets == 0);
        let lacks = if tcp.flags.syn() {
            is_first
        } else {
            direction == Direction::ClientToServer && self.is_only_syn()
        };
        lacks.then(|| SeqNumber(tcp.ack.0.wrapping_sub(1)))
    }

    fn beside_held(
        &mut self,
        packet: &Packet,
        tcp: &TcpFields,
        payload: &[u8],
        take: &mut impl FnMut(&mut Self, &Packet, &TcpFields, &[u8]),
    ) {
        let Some(mut held) = self.held.take() else {
            return;
        };
        let apart = held.apart(packet);
        let direction = self.direction_of(packet);
        if apart <= WINDOW && direction == held.direction && held.has_room(payload) {
            held.push(packet, payload);
            self.held = Some(held);
            return;
        }
        let length = packet.payload_len + u32::from(tcp.flags.syn()) + u32::from(tcp.flags.fin());
        let offset = held.needed.0.wrapping_sub(tcp.seq.0);
        if apart > WINDOW || direction == held.direction || offset >= length {
            self.held = Some(held);
            self.let_go(take);
            self.in_turn(packet, tcp, payload, take);
            return;
        }
        take(self, packet, tcp, payload);
        let stats = &mut self.senders[direction.index()].stats;
        stats.note_written_late(apart);
        self.release(held, packet, take);
    }

    /// Hands over those that wait for nothing more, now that `late` has passed.
    fn release(
        &mut self,
        mut held: Box<HeldBack>,
        late: &Packet,
        take: &mut impl FnMut(&mut Self, &Packet, &TcpFields, &[u8]),
    ) {
        let mut waiting = std::mem::take(&mut held.waiting).into_iter();
        while let Some((mut packet, payload)) = waiting.next() {
            let PacketKind::Tcp(tcp) = packet.kind else {
                continue;
            };
            if let Some(needed) = self.lacks(&packet, &tcp) {
                held.needed = needed;
                held.waiting.push((packet, payload));
                held.waiting.extend(waiting);
                self.held = Some(held);
                return;
            }
            held.octets -= payload.len();
            // It passed behind what it acknowledges, whatever the time written to it.
            packet.time = packet.time.max(late.time);
            take(self, &packet, &tcp, &payload);
        }
    }
}
