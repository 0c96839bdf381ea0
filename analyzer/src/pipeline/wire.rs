//! What a shard takes, as octets: as few as hold it, written and read a packet at a time.
//!
//! Numbers are little-endian. What most packets have stands in fixed places, what few have is marked in
//! the first octets and follows. Frame, time and length on the wire are not in it: they travel beside.

use std::net::IpAddr;

use crate::addr::{Endpoint, Transport};
use crate::decode::{
    IcmpFields, Packet, PacketKind, SackBlock, TcpFields, TcpFlags, ip_from_octets,
};
use crate::seq::SeqNumber;
use crate::time::Timestamp;

use super::segment::Arrival;

/// In the first octet.
mod mark {
    /// What the transport is: the lowest two bits.
    pub const KIND: u8 = 3;
    pub const TCP: u8 = 0;
    pub const UDP: u8 = 1;
    pub const ICMP: u8 = 2;
    /// What is said of a segment, or with [`ANSWERING`] of a datagram; its ends alone are told.
    pub const REMARK: u8 = 3;
    /// Both addresses are IPv4.
    pub const IPV4: u8 = 1 << 2;
    pub const DONT_FRAGMENT: u8 = 1 << 3;
    pub const REASSEMBLED: u8 = 1 << 4;
    /// An identification follows.
    pub const IP_ID: u8 = 1 << 5;
    /// The address that the answer truly came from follows.
    pub const ANSWERING: u8 = 1 << 6;
    /// A datagram of which a fragment never came; the number of pieces seen follows.
    pub const INCOMPLETE: u8 = 1 << 7;
}

/// In the octet of a segment's options.
mod option {
    pub const TIMESTAMPS: u8 = 1;
    pub const MSS: u8 = 1 << 1;
    pub const WINDOW_SHIFT: u8 = 1 << 2;
    pub const SACK_PERMITTED: u8 = 1 << 3;
    pub const MULTIPATH: u8 = 1 << 4;
    pub const OPTIONS_CUT: u8 = 1 << 5;
    pub const WINDOW_CUT: u8 = 1 << 6;
    /// SACK blocks follow, after their number.
    pub const SACKS: u8 = 1 << 7;
}

/// The prefix of an IPv4 address among those of IPv6 (RFC 4291 §2.5.5.2).
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

impl Arrival {
    /// Appends it to `out`, without frame, time, length on the wire and payload.
    pub fn write(&self, out: &mut Vec<u8>) {
        let packet = self.packet();
        let is_ipv4 = packet.src.starts_with(&MAPPED) && packet.dst.starts_with(&MAPPED);
        let mut marks = match packet.kind {
            PacketKind::Tcp(_) => mark::TCP,
            PacketKind::Udp => mark::UDP,
            PacketKind::IcmpError { .. } => mark::ICMP,
        };
        for (holds, bit) in [
            (is_ipv4, mark::IPV4),
            (packet.dont_fragment, mark::DONT_FRAGMENT),
            (packet.reassembled, mark::REASSEMBLED),
            (packet.ip_id.is_some(), mark::IP_ID),
        ] {
            marks |= if holds { bit } else { 0 };
        }
        marks |= match self {
            Self::Packet {
                answering: Some(_), ..
            } => mark::ANSWERING,
            Self::Packet { .. } => 0,
            Self::Incomplete { .. } => mark::INCOMPLETE,
            Self::Remark { packet } if packet.kind == PacketKind::Udp => {
                mark::REMARK | mark::ANSWERING
            }
            Self::Remark { .. } => mark::REMARK,
        };
        out.extend([marks, packet.hop_limit, packet.ecn]);
        let addresses = if is_ipv4 { MAPPED.len() } else { 0 };
        out.extend_from_slice(&packet.src[addresses..]);
        out.extend_from_slice(&packet.dst[addresses..]);
        out.extend_from_slice(&packet.src_port.to_le_bytes());
        out.extend_from_slice(&packet.dst_port.to_le_bytes());
        out.extend_from_slice(&packet.payload_len.to_le_bytes());
        out.extend_from_slice(&packet.observation_point.to_le_bytes());
        if let Some(id) = packet.ip_id {
            out.extend_from_slice(&id.to_le_bytes());
        }
        match &packet.kind {
            _ if matches!(self, Self::Remark { .. }) => {}
            PacketKind::Tcp(tcp) => write_tcp(tcp, out),
            PacketKind::Udp => {}
            PacketKind::IcmpError { transport, icmp } => write_icmp(*transport, icmp, out),
        }
        match self {
            Self::Remark { .. } => {}
            Self::Packet { answering, .. } => {
                if let Some(answering) = answering {
                    out.extend_from_slice(&octets(answering.ip));
                    out.extend_from_slice(&answering.port.to_le_bytes());
                }
            }
            Self::Incomplete { pieces, .. } => out.extend_from_slice(&pieces.to_le_bytes()),
        }
    }

    /// Reads one from the beginning of `bytes`; gives what follows, the payload. `None` when it is
    /// none.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let mut from = Source(bytes);
        let [marks, hop_limit, ecn] = from.take()?;
        let has = |bit: u8| marks & bit != 0;
        let (src, dst) = if has(mark::IPV4) {
            (mapped(from.take()?), mapped(from.take()?))
        } else {
            (from.take()?, from.take()?)
        };
        let mut packet = Packet {
            frame: 0,
            time: Timestamp::default(),
            src,
            dst,
            src_port: u16::from_le_bytes(from.take()?),
            dst_port: u16::from_le_bytes(from.take()?),
            wire_len: 0,
            payload_len: u32::from_le_bytes(from.take()?),
            payload_start: 0,
            payload_captured: 0,
            ip_id: None,
            hop_limit,
            ecn,
            dont_fragment: has(mark::DONT_FRAGMENT),
            reassembled: has(mark::REASSEMBLED),
            observation_point: u32::from_le_bytes(from.take()?),
            kind: PacketKind::Udp,
        };
        if has(mark::IP_ID) {
            packet.ip_id = Some(u16::from_le_bytes(from.take()?));
        }
        packet.kind = match marks & mark::KIND {
            mark::TCP => PacketKind::Tcp(read_tcp(&mut from)?),
            mark::UDP => PacketKind::Udp,
            mark::ICMP => read_icmp(&mut from)?,
            _ if has(mark::ANSWERING) => PacketKind::Udp,
            _ => PacketKind::Tcp(TcpFields::default()),
        };
        if marks & mark::KIND == mark::REMARK {
            return Some((Self::Remark { packet }, from.0));
        }
        let arrival = if has(mark::INCOMPLETE) {
            Self::Incomplete {
                packet,
                pieces: u32::from_le_bytes(from.take()?),
            }
        } else {
            let answering = if has(mark::ANSWERING) {
                let ip = ip_from_octets(from.take()?);
                Some(Endpoint::new(ip, u16::from_le_bytes(from.take()?)))
            } else {
                None
            };
            Self::Packet { packet, answering }
        };
        Some((arrival, from.0))
    }
}

fn write_tcp(tcp: &TcpFields, out: &mut Vec<u8>) {
    let mut options = 0;
    for (holds, bit) in [
        (tcp.timestamps.is_some(), option::TIMESTAMPS),
        (tcp.mss.is_some(), option::MSS),
        (tcp.window_shift.is_some(), option::WINDOW_SHIFT),
        (tcp.sack_permitted, option::SACK_PERMITTED),
        (tcp.multipath, option::MULTIPATH),
        (tcp.options_cut, option::OPTIONS_CUT),
        (tcp.window_cut, option::WINDOW_CUT),
        (tcp.sack_count > 0, option::SACKS),
    ] {
        options |= if holds { bit } else { 0 };
    }
    out.extend_from_slice(&tcp.seq.0.to_le_bytes());
    out.extend_from_slice(&tcp.ack.0.to_le_bytes());
    out.extend_from_slice(&tcp.window_field.to_le_bytes());
    out.extend([tcp.flags.0, options]);
    if let Some((value, echo)) = tcp.timestamps {
        out.extend_from_slice(&value.to_le_bytes());
        out.extend_from_slice(&echo.to_le_bytes());
    }
    if let Some(mss) = tcp.mss {
        out.extend_from_slice(&mss.to_le_bytes());
    }
    out.extend(tcp.window_shift);
    if tcp.sack_count > 0 {
        out.push(tcp.sack_count);
        for block in tcp.sacks() {
            out.extend_from_slice(&block.left_edge.0.to_le_bytes());
            out.extend_from_slice(&block.right_edge.0.to_le_bytes());
        }
    }
}

fn read_tcp(from: &mut Source<'_>) -> Option<TcpFields> {
    let seq = from.number()?;
    let ack = from.number()?;
    let window_field = u16::from_le_bytes(from.take()?);
    let [flags, options] = from.take()?;
    let has = |bit: u8| options & bit != 0;
    let mut tcp = TcpFields {
        seq,
        ack,
        flags: TcpFlags(flags),
        window_field,
        sack_permitted: has(option::SACK_PERMITTED),
        multipath: has(option::MULTIPATH),
        options_cut: has(option::OPTIONS_CUT),
        window_cut: has(option::WINDOW_CUT),
        ..TcpFields::default()
    };
    if has(option::TIMESTAMPS) {
        tcp.timestamps = Some((from.number()?.0, from.number()?.0));
    }
    if has(option::MSS) {
        tcp.mss = Some(u16::from_le_bytes(from.take()?));
    }
    if has(option::WINDOW_SHIFT) {
        let [shift] = from.take()?;
        tcp.window_shift = Some(shift);
    }
    if has(option::SACKS) {
        [tcp.sack_count] = from.take()?;
        for block in tcp.sack_blocks.get_mut(..usize::from(tcp.sack_count))? {
            *block = SackBlock {
                left_edge: from.number()?,
                right_edge: from.number()?,
            };
        }
    }
    Some(tcp)
}

fn write_icmp(transport: Transport, icmp: &IcmpFields, out: &mut Vec<u8>) {
    let is_tcp = u8::from(transport == Transport::Tcp);
    let quotes = u8::from(icmp.quoted_seq.is_some());
    out.extend([is_tcp, icmp.icmp_type, icmp.code, u8::from(icmp.v6), quotes]);
    out.extend_from_slice(&icmp.mtu.to_le_bytes());
    out.extend_from_slice(&icmp.quoted_seq.map_or(0, |seq| seq.0).to_le_bytes());
    out.extend_from_slice(&octets(icmp.reporter));
}

fn read_icmp(from: &mut Source<'_>) -> Option<PacketKind> {
    let [is_tcp, icmp_type, code, v6, quotes] = from.take()?;
    let mtu = u32::from_le_bytes(from.take()?);
    let quoted = from.number()?;
    let transport = match is_tcp {
        0 => Transport::Udp,
        _ => Transport::Tcp,
    };
    let icmp = IcmpFields {
        icmp_type,
        code,
        v6: v6 != 0,
        mtu,
        reporter: ip_from_octets(from.take()?),
        quoted_seq: (quotes != 0).then_some(quoted),
    };
    Some(PacketKind::IcmpError { transport, icmp })
}

/// What is left to be read.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn number(&mut self) -> Option<SeqNumber> {
        Some(SeqNumber(u32::from_le_bytes(self.take()?)))
    }
}

const fn mapped([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tcp() -> impl Strategy<Value = TcpFields> {
        let numbers = (any::<(u32, u32, u8, u16)>(), any::<Option<(u32, u32)>>());
        let options = any::<(Option<u16>, Option<u8>, bool, bool, bool, bool)>();
        let sacks = (0..5_u8, any::<[(u32, u32); 4]>());
        (numbers, options, sacks).prop_map(|(numbers, options, (count, edges))| {
            let ((seq, ack, flags, window_field), timestamps) = numbers;
            let (mss, window_shift, sack_permitted, multipath, options_cut, window_cut) = options;
            let mut sack_blocks = [SackBlock::default(); 4];
            for (block, (left, right)) in sack_blocks.iter_mut().zip(edges).take(count.into()) {
                (block.left_edge, block.right_edge) = (SeqNumber(left), SeqNumber(right));
            }
            TcpFields {
                seq: SeqNumber(seq),
                ack: SeqNumber(ack),
                flags: TcpFlags(flags),
                window_field,
                timestamps,
                mss,
                window_shift,
                sack_permitted,
                multipath,
                sack_count: count,
                sack_blocks,
                options_cut,
                window_cut,
            }
        })
    }

    fn kind() -> impl Strategy<Value = PacketKind> {
        let icmp = any::<(u8, u8, bool, u32, [u8; 16], Option<u32>, bool)>();
        let icmp = icmp.prop_map(|(icmp_type, code, v6, mtu, reporter, quoted, is_tcp)| {
            PacketKind::IcmpError {
                transport: if is_tcp {
                    Transport::Tcp
                } else {
                    Transport::Udp
                },
                icmp: IcmpFields {
                    icmp_type,
                    code,
                    v6,
                    mtu,
                    reporter: ip_from_octets(reporter),
                    quoted_seq: quoted.map(SeqNumber),
                },
            }
        });
        prop_oneof![tcp().prop_map(PacketKind::Tcp), Just(PacketKind::Udp), icmp]
    }

    fn address() -> impl Strategy<Value = [u8; 16]> {
        prop_oneof![any::<[u8; 16]>(), any::<[u8; 4]>().prop_map(mapped)]
    }

    fn packet() -> impl Strategy<Value = Packet> {
        let ends = (address(), address(), any::<(u16, u16)>());
        let rest = any::<(u32, Option<u16>, u8, u8, bool, bool, u32)>();
        (ends, rest, kind()).prop_map(|((src, dst, ports), rest, kind)| {
            let (payload_len, ip_id, hop_limit, ecn, dont_fragment, reassembled, point) = rest;
            Packet {
                frame: 0,
                time: Timestamp::default(),
                src,
                dst,
                src_port: ports.0,
                dst_port: ports.1,
                wire_len: 0,
                payload_len,
                payload_start: 0,
                payload_captured: 0,
                ip_id,
                hop_limit,
                ecn,
                dont_fragment,
                reassembled,
                observation_point: point,
                kind,
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(packet in packet(), answering in any::<Option<(u32, u16)>>(), pieces in any::<u32>(), payload in any::<Vec<u8>>()) {
            let answering = answering.map(|(ip, port)| Endpoint::new(IpAddr::from(ip.to_be_bytes()), port));
            for arrival in [Arrival::Packet { packet, answering }, Arrival::Incomplete { packet, pieces }] {
                let mut bytes = Vec::new();
                arrival.write(&mut bytes);
                bytes.extend(&payload);
                prop_assert_eq!(Arrival::read(&bytes), Some((arrival, &payload[..])));
            }
        }

        #[test]
        fn a_remark_keeps_the_ends_of_its_packet(packet in packet(), said in any::<Vec<u8>>()) {
            if let PacketKind::IcmpError { .. } = packet.kind {
                return Ok(());
            }
            let mut bytes = Vec::new();
            Arrival::Remark { packet }.write(&mut bytes);
            bytes.extend(&said);
            let (read, payload) = Arrival::read(&bytes).unwrap();
            let key = |packet: &Packet| crate::flow::key::FlowKey::of(packet);
            prop_assert_eq!(key(read.packet()).0, key(&packet).0);
            let is_remark = matches!(read, Arrival::Remark { .. });
            prop_assert!(is_remark);
            prop_assert_eq!(payload, &said[..]);
        }

        #[test]
        fn any_octets_are_read_or_refused(bytes in any::<Vec<u8>>()) {
            let _ = Arrival::read(&bytes);
        }
    }
}
