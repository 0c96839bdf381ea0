//! What makes packets belong together: the ordered address pair, ports and transport.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

use crate::addr::Transport;
use crate::decode::{Packet, PacketKind};

/// A five-tuple in canonical order, so that both directions give the same key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FlowKey {
    low: ([u8; 16], u16),
    high: ([u8; 16], u16),
    transport: Transport,
}

/// Which of the key's two endpoints sent a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sender {
    /// The smaller endpoint.
    Low,
    /// The larger endpoint.
    High,
}

/// A packet's flow: its key, the key's hash, and which end sent the packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keyed {
    pub key: FlowKey,
    /// [`FlowKey::hash64`] of the key.
    pub hash: u64,
    pub sender: Sender,
}

impl FlowKey {
    /// The key of a packet and which side sent it. For an ICMP error: that of the quoted packet.
    pub(crate) fn of(packet: &Packet) -> (Self, Sender) {
        let source = (packet.src, packet.src_port);
        let destination = (packet.dst, packet.dst_port);
        // Compared as numbers: the same order in a few instructions.
        let number = |(octets, port): ([u8; 16], u16)| (u128::from_be_bytes(octets), port);
        let sender = if number(source) <= number(destination) {
            Sender::Low
        } else {
            Sender::High
        };
        (Self::from(packet, sender), sender)
    }

    /// The key of a packet of which it is known which side sent it.
    pub(crate) fn from(packet: &Packet, sender: Sender) -> Self {
        let transport = match packet.kind {
            PacketKind::Tcp(_) => Transport::Tcp,
            PacketKind::Udp => Transport::Udp,
            PacketKind::IcmpError { transport, .. } => transport,
        };
        let source = (packet.src, packet.src_port);
        let destination = (packet.dst, packet.dst_port);
        let (low, high) = match sender {
            Sender::Low => (source, destination),
            Sender::High => (destination, source),
        };
        Self {
            low,
            high,
            transport,
        }
    }

    /// A seeded hash: a hostile capture cannot choose addresses that collide in every build, and
    /// the fixed seed keeps runs alike. Nothing may depend on its order.
    ///
    /// Computed once a packet: the upper bits choose the shard, the table takes all.
    pub(crate) fn hash64(&self) -> u64 {
        let word = |octets: [u8; 16], at: usize| {
            let (low, high) = octets.split_at(8);
            let half = if at == 0 { low } else { high };
            half.first_chunk()
                .map_or(0, |chunk| u64::from_le_bytes(*chunk))
        };
        let ((low, low_port), (high, high_port)) = (self.low, self.high);
        let rest = u64::from(low_port) << 32 | u64::from(high_port) << 8 | self.transport as u64;
        // Word by word: to hash them as a slice costs three times as much.
        let mut hasher = FixedState::with_seed(0x7063_6170_646f_6321).build_hasher();
        hasher.write_u64(word(low, 0));
        hasher.write_u64(word(low, 1));
        hasher.write_u64(word(high, 0));
        hasher.write_u64(word(high, 1));
        hasher.write_u64(rest);
        hasher.finish()
    }

    /// Whether it is one of TCP.
    pub(crate) fn is_tcp(&self) -> bool {
        self.transport == Transport::Tcp
    }

    /// The two ends, the smaller first.
    pub(crate) const fn ends(&self) -> [([u8; 16], u16); 2] {
        [self.low, self.high]
    }
}
