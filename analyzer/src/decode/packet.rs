//! What decoding hands on: flat packets, fragments, and what a slab holds of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::addr::{Endpoint, Transport};
use crate::capture::Remark;
use crate::seq::SeqNumber;
use crate::time::Timestamp;

use super::stats::DecodeStats;
use super::sums::Sums;

/// TCP control bits as they stand in the header (RFC 9293 §3.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from sender.
    pub const FIN: u8 = 0x01;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push function.
    pub const PSH: u8 = 0x08;
    /// Acknowledgement field is significant.
    pub const ACK: u8 = 0x10;
    /// Urgent pointer field is significant.
    pub const URG: u8 = 0x20;
    /// ECN echo (RFC 3168).
    pub const ECE: u8 = 0x40;
    /// Congestion window reduced (RFC 3168).
    pub const CWR: u8 = 0x80;

    /// Whether all of `bits` are set.
    #[must_use]
    pub const fn has(self, bits: u8) -> bool {
        self.0 & bits == bits
    }

    /// FIN is set.
    #[must_use]
    pub const fn fin(self) -> bool {
        self.has(Self::FIN)
    }

    /// SYN is set.
    #[must_use]
    pub const fn syn(self) -> bool {
        self.has(Self::SYN)
    }

    /// RST is set.
    #[must_use]
    pub const fn rst(self) -> bool {
        self.has(Self::RST)
    }

    /// ACK is set.
    #[must_use]
    pub const fn ack(self) -> bool {
        self.has(Self::ACK)
    }

    /// The letters tcpdump prints, such as `S.`, `P.`, `R`.
    #[must_use]
    pub fn letters(self) -> String {
        const LETTERS: [(u8, char); 8] = [
            (TcpFlags::FIN, 'F'),
            (TcpFlags::SYN, 'S'),
            (TcpFlags::RST, 'R'),
            (TcpFlags::PSH, 'P'),
            (TcpFlags::URG, 'U'),
            (TcpFlags::ECE, 'E'),
            (TcpFlags::CWR, 'W'),
            (TcpFlags::ACK, '.'),
        ];
        LETTERS
            .iter()
            .filter(|(bit, _)| self.has(*bit))
            .map(|(_, letter)| *letter)
            .collect()
    }
}

/// A SACK block as it stands in the option (RFC 2018 §3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct SackBlock {
    /// First sequence number of the block.
    pub left_edge: SeqNumber,
    /// Sequence number right after the block.
    pub right_edge: SeqNumber,
}

/// The TCP part of a packet: header fields and the options that analysis needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TcpFields {
    /// SEG.SEQ.
    pub seq: SeqNumber,
    /// SEG.ACK; meaningless unless the ACK bit is set.
    pub ack: SeqNumber,
    /// Control bits.
    pub flags: TcpFlags,
    /// SEG.WND, 16 bits as sent (before scaling).
    pub window_field: u16,
    /// Timestamp option: TSval and TSecr (RFC 7323 §3).
    pub timestamps: Option<(u32, u32)>,
    /// Maximum segment size option, on SYNs.
    pub mss: Option<u16>,
    /// Window scale option, on SYNs (RFC 7323 §2).
    pub window_shift: Option<u8>,
    /// SACK-permitted option, on SYNs (RFC 2018 §2).
    pub sack_permitted: bool,
    /// Multipath TCP option (RFC 8684 §3), on SYNs.
    pub multipath: bool,
    /// How many of `sack_blocks` are there.
    pub sack_count: u8,
    /// SACK blocks in the order sent; a DSACK block stands first (RFC 2883 §4).
    pub sack_blocks: [SackBlock; 4],
    /// The header's options were cut by the snap length: absent options prove nothing.
    pub options_cut: bool,
    /// The window field was cut by the snap length: `window_field` is 0 and means nothing.
    pub window_cut: bool,
}

impl TcpFields {
    /// The SACK blocks that are there.
    #[must_use]
    pub fn sacks(&self) -> &[SackBlock] {
        &self.sack_blocks[..usize::from(self.sack_count).min(4)]
    }
}

/// What an ICMP error says about the packet it quotes (RFC 792, RFC 4443).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IcmpFields {
    /// Message type.
    pub icmp_type: u8,
    /// Message code.
    pub code: u8,
    /// Whether it is ICMPv6.
    pub v6: bool,
    /// Next-hop MTU of "fragmentation needed" / "packet too big"; 0 when absent.
    pub mtu: u32,
    /// Who sent the error.
    pub reporter: IpAddr,
    /// First sequence number of the quoted TCP header, when it was quoted.
    pub quoted_seq: Option<SeqNumber>,
}

/// What kind of error an ICMP message reports, whatever the version (RFC 792, RFC 1812, RFC 4443).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum IcmpKind {
    /// Nobody listens on the port. Of the addressed host itself it is a refusal.
    PortUnreachable,
    /// A filter forbids it.
    Prohibited,
    /// Too large for the next link, and not to be fragmented; or "packet too big".
    TooBig,
    /// No way to the network, the host or its protocol.
    Unreachable,
    /// The hop limit ran out.
    HopLimitExceeded,
    /// Fragments of a datagram did not all come.
    ReassemblyTimeout,
    /// Source quench, a field that cannot be, or what no RFC names.
    Other,
}

impl IcmpFields {
    /// What it reports.
    #[must_use]
    pub const fn kind(&self) -> IcmpKind {
        match (self.v6, self.icmp_type, self.code) {
            (false, 3, 3) | (true, 1, 4) => IcmpKind::PortUnreachable,
            (false, 3, 9 | 10 | 13) | (true, 1, 1 | 5 | 6) => IcmpKind::Prohibited,
            (false, 3, 4) | (true, 2, _) => IcmpKind::TooBig,
            (false, 3, _) | (true, 1, _) => IcmpKind::Unreachable,
            (false, 11, 0) | (true, 3, 0) => IcmpKind::HopLimitExceeded,
            (false, 11, 1) | (true, 3, 1) => IcmpKind::ReassemblyTimeout,
            _ => IcmpKind::Other,
        }
    }
}

/// The protocol-specific part of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PacketKind {
    /// A TCP segment.
    Tcp(TcpFields),
    /// A UDP datagram (whole: fragments are reassembled before).
    Udp,
    /// An ICMP error; the packet's addresses, ports and transport are those of the *quoted*
    /// packet, in the quoted packet's direction.
    IcmpError {
        /// Transport of the quoted packet.
        transport: Transport,
        /// What the error says.
        icmp: IcmpFields,
    },
}

/// A decoded packet: the flat record that passes from decode to flow.
///
/// IPv4 addresses are kept as IPv4-mapped IPv6 addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Packet {
    /// Wireshark's `frame.number`: 1-based over the set of files as given. For a reassembled
    /// datagram: the frame that completed it.
    pub frame: u64,
    /// Capture time.
    pub time: Timestamp,
    /// Source address, 16 octets.
    pub src: [u8; 16],
    /// Destination address, 16 octets.
    pub dst: [u8; 16],
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Length of the frame on the wire.
    pub wire_len: u32,
    /// True payload length of the transport (from the IP/UDP length fields), also of cut frames.
    pub payload_len: u32,
    /// Offset of the captured payload in the slab (or in the reassembly buffer).
    pub payload_start: u32,
    /// Captured payload bytes from `payload_start` on; never more than `payload_len`.
    pub payload_captured: u32,
    /// IPv4 identification; for IPv6 `None`.
    pub ip_id: Option<u16>,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// ECN codepoint of the IP header (0–3).
    pub ecn: u8,
    /// IPv4 don't-fragment bit.
    pub dont_fragment: bool,
    /// Whether the payload lies in the fragment reassembler's buffer, not in the slab.
    pub reassembled: bool,
    /// Observation point: interface, VLAN tags and tunnel path folded into one number.
    pub observation_point: u32,
    /// Transport and what belongs to it.
    pub kind: PacketKind,
}

impl Packet {
    /// Source endpoint.
    #[must_use]
    pub fn source(&self) -> Endpoint {
        Endpoint::new(ip_from_octets(self.src), self.src_port)
    }

    /// Destination endpoint.
    #[must_use]
    pub fn destination(&self) -> Endpoint {
        Endpoint::new(ip_from_octets(self.dst), self.dst_port)
    }

    /// Whether `ip` is its source address.
    #[must_use]
    pub fn is_from(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => self.src == ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => self.src == ip.octets(),
        }
    }

    /// Whether some of the payload was not captured.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.payload_captured < self.payload_len
    }
}

/// What the transport needs of the IP header before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpFields {
    /// Source address, 16 octets.
    pub src: [u8; 16],
    /// Destination address, 16 octets.
    pub dst: [u8; 16],
    /// IPv4 identification.
    pub identification: Option<u16>,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// ECN codepoint.
    pub ecn: u8,
    /// IPv4 don't-fragment bit.
    pub dont_fragment: bool,
}

impl IpFields {
    /// Source address.
    #[must_use]
    pub fn source(&self) -> IpAddr {
        ip_from_octets(self.src)
    }

    /// Destination address.
    #[must_use]
    pub fn destination(&self) -> IpAddr {
        ip_from_octets(self.dst)
    }
}

/// A fragment of an IP datagram, to be put together by [`crate::in_order::fragments`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// Frame that carried it.
    pub frame: u64,
    /// Capture time.
    pub time: Timestamp,
    /// Length of the frame on the wire.
    pub wire_len: u32,
    /// Addresses and the other fields of its IP header.
    pub ip: IpFields,
    /// IPv4 (16 bits) or IPv6 identification.
    pub identification: u32,
    /// Protocol of the datagram's payload.
    pub protocol: u8,
    /// Place in the datagram's payload, in octets.
    pub offset: u32,
    /// More fragments follow.
    pub more: bool,
    /// True length.
    pub len: u32,
    /// Offset of the captured octets in the slab (or in the reassembly buffer).
    pub start: u32,
    /// Captured octets; never more than `len`.
    pub captured: u32,
    /// Source and destination port, in a first fragment of TCP, UDP or SCTP.
    pub ports: Option<(u16, u16)>,
    /// Whether the octets lie in the reassembler's buffer: a fragment inside a tunnel whose
    /// outer packets were fragments too.
    pub reassembled: bool,
    /// Observation point.
    pub observation_point: u32,
    /// Encapsulations it lies in.
    pub depth: u8,
}

/// A TCP segment that the snap length cut before its flags: what it does nobody knows, but its ends,
/// its length and as much of its numbers as is left tell it from others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CutSegment {
    /// Its kind is [`PacketKind::Tcp`] with zeros for all octets that are missing; its `payload_len`
    /// counts the TCP header as well.
    pub packet: Packet,
    /// Octets of the TCP header that were captured: at least the ports.
    pub known: u8,
}

/// What the frames of one slab hold.
#[derive(Clone, Debug, Default)]
pub struct DecodedSlab {
    /// Packets in frame order; a frame may have none, or several.
    pub packets: Vec<Packet>,
    /// TCP segments cut before their flags, in frame order; `packets` has none of them.
    pub cut_segments: Vec<CutSegment>,
    /// IP fragments in frame order, to be put together in sequence.
    pub fragments: Vec<Fragment>,
    /// What is said of packets beside them, in frame order.
    pub remarks: Vec<Remark>,
    /// What the packets' checksums say.
    pub sums: Sums,
    /// Counts.
    pub stats: DecodeStats,
}

impl DecodedSlab {
    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.packets.clear();
        self.cut_segments.clear();
        self.fragments.clear();
        self.remarks.clear();
        self.sums.clear();
        self.stats.clear();
    }
}

/// The address of 16 octets; IPv4-mapped ones come back as IPv4.
#[must_use]
pub fn ip_from_octets(octets: [u8; 16]) -> IpAddr {
    let [.., a, b, c, d] = octets;
    // RFC 4291 §2.5.5.2, compared as one number: this is done for every SYN of a flood.
    if u128::from_be_bytes(octets) >> 32 == 0xffff {
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    } else {
        IpAddr::V6(Ipv6Addr::from(octets))
    }
}
