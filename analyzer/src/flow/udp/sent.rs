//! What one end of a UDP flow sent: the few figures of [`Half`] that datagrams have.

use crate::connection::Half;
use crate::decode::Packet;
use crate::direction::Direction;
use crate::event::SegmentRef;
use crate::time::Timestamp;

/// The datagrams of one end.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    packets: u64,
    wire_bytes: u64,
    payload_bytes: u64,
    /// Of copies.
    repeated_bytes: u64,
    duplicate_frames: u64,
    cut_frames: u64,
    largest_payload: u32,
    hop_limit: Option<u8>,
    first: Option<Place>,
    last: Option<Place>,
}

/// A datagram as far as it is shown.
#[derive(Clone, Copy, Debug)]
struct Place {
    frame: u64,
    time: Timestamp,
    payload_len: u32,
}

impl Sent {
    /// Takes a copy of the datagram before, made by the capture.
    pub fn take_copy(&mut self, packet: &Packet) {
        self.repeated_bytes += u64::from(packet.payload_len);
        self.duplicate_frames += 1;
    }

    /// Takes any other datagram.
    pub fn take(&mut self, packet: &Packet) {
        self.packets += 1;
        self.wire_bytes += u64::from(packet.wire_len);
        self.payload_bytes += u64::from(packet.payload_len);
        self.cut_frames += u64::from(packet.is_cut());
        self.largest_payload = self.largest_payload.max(packet.payload_len);
        let place = Place {
            frame: packet.frame,
            time: packet.time,
            payload_len: packet.payload_len,
        };
        if self.first.is_none() {
            self.first = Some(place);
            self.hop_limit = Some(packet.hop_limit);
        }
        self.last = Some(place);
    }

    /// Writes it to the read model of a flow, in which everything else is zero.
    pub fn fill(&self, half: &mut Half, direction: Direction) {
        let reference = |place: Place| SegmentRef {
            payload_len: place.payload_len,
            ..SegmentRef::place(place.frame, place.time, direction)
        };
        half.packets = self.packets;
        half.wire_bytes = self.wire_bytes;
        half.payload_bytes = self.payload_bytes + self.repeated_bytes;
        half.unique_bytes = self.payload_bytes;
        half.duplicate_frames = self.duplicate_frames;
        half.data_segments = self.packets;
        half.cut_frames = self.cut_frames;
        half.largest_payload = self.largest_payload;
        half.hop_limit = self.hop_limit;
        half.first_data = self.first.map(reference);
        half.last_data = self.last.map(reference);
        half.last_segment = half.last_data;
    }
}

/// A datagram as the read model names it.
pub(super) fn reference(packet: &Packet, direction: Direction) -> SegmentRef {
    SegmentRef {
        payload_len: packet.payload_len,
        ..SegmentRef::place(packet.frame, packet.time, direction)
    }
}
