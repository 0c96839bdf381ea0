//! A segment of a connection with its sequence numbers lifted to 64 bits.

use crate::decode::{Packet, TcpFields};
use crate::direction::Direction;
use crate::event::SegmentRef;
use crate::seq::SeqNumber;

/// A segment with its sequence numbers lifted to 64 bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment<'a> {
    pub packet: &'a Packet,
    pub tcp: &'a TcpFields,
    pub direction: Direction,
    /// First offset occupied.
    pub start: u64,
    /// One past the last offset occupied (SYN and FIN count).
    pub end: u64,
    /// Lifted acknowledgement, when the ACK bit is set.
    pub ack: Option<u64>,
    pub reference: SegmentRef,
}

impl Segment<'_> {
    /// SEG.LEN: data, SYN and FIN.
    pub const fn seq_len(&self) -> u64 {
        self.end - self.start
    }
}

impl<'a> Segment<'a> {
    /// A segment whose numbers belong to another connection: they stay as they are on the wire.
    pub fn unlifted(packet: &'a Packet, tcp: &'a TcpFields, direction: Direction) -> Self {
        let none = SeqNumber(0);
        let reference = SegmentRef {
            seq: tcp.seq,
            ack: if tcp.flags.ack() { tcp.ack } else { none },
            flags: tcp.flags,
            payload_len: packet.payload_len,
            window: u32::from(tcp.window_field),
            ..SegmentRef::place(packet.frame, packet.time, direction)
        };
        Self {
            packet,
            tcp,
            direction,
            start: 0,
            end: 0,
            ack: None,
            reference,
        }
    }
}

/// The 32 bits that stand on the wire.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is the sequence number"
)]
pub(super) const fn low32(offset: u64) -> u32 {
    offset as u32
}
