//! ICMP errors that quote a packet as it left a translation of addresses.
//!
//! A gateway that sends a packet on to another host than it was for, or in another's name, keeps its
//! identification and its ports. An error of that host quotes the packet with the address it was sent on
//! to; it belongs to the flow of the packet that was captured. Datagrams and SYNs are remembered, for they
//! are what comes back in vain.

use crate::decode::{Packet, PacketKind};

/// Packets remembered at a time; an error follows within a round trip.
const SLOTS: usize = 1024;

/// A packet that is remembered.
#[derive(Clone, Copy, Default)]
struct Slot {
    key: u64,
    dst: [u8; 16],
}

/// Finds whom a quoted packet was for. Feed it in the order of the capture.
#[derive(Default)]
pub(crate) struct Quotes {
    slots: Vec<Slot>,
}

impl Quotes {
    /// Gives errors the destination that their packet had when it passed; whether that changed any.
    pub fn resolve(&mut self, packets: &mut [Packet]) -> bool {
        self.slots.resize(SLOTS, Slot::default());
        let mut changed = false;
        for packet in packets {
            let is_error = match &packet.kind {
                PacketKind::Tcp(tcp) if !tcp.flags.syn() => continue,
                PacketKind::Tcp(_) | PacketKind::Udp => false,
                PacketKind::IcmpError { .. } => true,
            };
            let Some(key) = key_of(packet) else { continue };
            let slot = &mut self.slots[(key >> 54) as usize];
            if !is_error {
                let dst = packet.dst;
                *slot = Slot { key, dst };
            } else if slot.key == key && slot.dst != packet.dst {
                packet.dst = slot.dst;
                changed = true;
            }
        }
        changed
    }
}

/// What a translation of the destination leaves as it is, mixed; `None` without a telling identification.
fn key_of(packet: &Packet) -> Option<u64> {
    let identification = packet.ip_id.filter(|id| *id != 0)?;
    let (high, low) = packet.src.split_at(8);
    let half = |octets: &[u8]| octets.first_chunk().map_or(0, |it| u64::from_le_bytes(*it));
    let ports = u64::from(packet.src_port) << 32 | u64::from(packet.dst_port) << 16;
    let parts = [half(high), half(low), ports | u64::from(identification)];
    let mixed = parts.into_iter().fold(0_u64, |sum, part| {
        (sum ^ part)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29)
    });
    Some(mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
