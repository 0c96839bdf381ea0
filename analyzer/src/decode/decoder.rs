//! Dispatch: link type → ethertype → IP protocol → transport, one frame at a time.
//!
//! Layers call each other through [`Decoder`]; [`Path`] says how the frame came so far. Every
//! tunnel makes the path one deeper and ends at [`MAX_DEPTH`].

use super::packet::{DecodedSlab, Fragment, IpFields, Packet, PacketKind};
use super::stats::{DecodeStop, OpaqueFlow, Protocol};
use super::window::Window;
use crate::capture::{Frame, Interface, LinkType};
use crate::time::Timestamp;

/// Encapsulations within each other that are followed, VLAN tags and label stacks included. Real
/// ones have eight at most (a mirrored frame of a tunnelled overlay); the number bounds what a
/// made-up packet can cost, in time and in stack.
pub(super) const MAX_DEPTH: u8 = 16;
/// The least octets behind a packet that may be a trailer (`f5_trailer`): a part without a name.
pub(super) const LEAST_TRAILER: usize = 7;
/// Octets of an IPv6 header, which its payload length does not count (RFC 8200 §3).
const IPV6_HEADER: usize = 40;

/// How a frame came to the layer being decoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    /// Folded observation point so far.
    pub point: u32,
    /// Encapsulations so far.
    pub depth: u8,
}

impl Path {
    /// Folds a value of some kind (an interface, a VLAN, a tunnel) into the observation point.
    #[inline]
    #[must_use]
    pub const fn through(self, kind: PathKind, value: u32) -> Self {
        let mixed = (self.point.rotate_left(7) ^ value).wrapping_mul(0x9e37_79b1);
        let point = (mixed ^ (mixed >> 15))
            .wrapping_add(kind as u32)
            .wrapping_mul(0x85eb_ca6b);
        Self {
            point: point ^ (point >> 13),
            depth: self.depth,
        }
    }

    /// Folds the two outer addresses of a tunnel, the same whichever way the packet went.
    #[must_use]
    pub fn between(self, kind: PathKind, ip: &IpFields) -> Self {
        let fold = |octets: [u8; 16]| {
            octets.chunks_exact(4).fold(0_u32, |sum, word| {
                let word = u32::from_be_bytes([word[0], word[1], word[2], word[3]]);
                (sum.rotate_left(9) ^ word).wrapping_mul(0x9e37_79b1)
            })
        };
        let (one, other) = (fold(ip.src), fold(ip.dst));
        self.through(kind, one.min(other))
            .through(kind, one.max(other))
    }
}

/// What a step of an observation point is.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(super) enum PathKind {
    Interface = 1,
    Vlan,
    Session,
    IpInIp,
    Gre,
    Vxlan,
    Geneve,
    Gtp,
    L2tp,
    Teredo,
    Mpls,
    Lisp,
    Capwap,
}

/// An IPv4 address as an IPv4-mapped IPv6 address.
#[inline]
pub(super) const fn mapped(octets: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = octets;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// Decodes one frame after the other into `out`.
pub(super) struct Decoder<'o> {
    pub out: &'o mut DecodedSlab,
    /// Number of the frame being decoded.
    pub number: u64,
    /// Its time.
    pub time: Timestamp,
    /// Its length on the wire.
    pub wire_len: u32,
    /// Whether the bytes are a reassembled datagram's.
    pub reassembled: bool,
    /// The interface of the frame before, and the path that begins there.
    pub interface: Option<(u32, Path)>,
}

impl Decoder<'_> {
    /// Decodes a frame as its interface says.
    #[inline]
    pub fn frame(&mut self, frame: &Frame, bytes: &[u8], interfaces: &[Interface]) {
        self.number = frame.number;
        self.time = frame.time;
        self.wire_len = frame.original_len;
        let stats = &mut self.out.stats;
        stats.frames += 1;
        stats.wire_bytes += u64::from(frame.original_len);
        stats.cut_frames += u64::from(frame.captured_len < frame.original_len);
        let Some(interface) = interfaces.get(frame.interface as usize) else {
            self.stop(DecodeStop::NoPacket);
            return;
        };
        let len = (frame.original_len as usize).saturating_sub(interface.fcs_len.into());
        let window = Window {
            bytes,
            len: frame.original_len as usize,
            at: frame.start as usize,
        };
        let path = match self.interface {
            Some((number, path)) if number == frame.interface => path,
            _ => {
                let start = Path { point: 0, depth: 0 };
                let path = start.through(PathKind::Interface, interface.point);
                self.interface = Some((frame.interface, path));
                path
            }
        };
        let window = window.limit(len);
        if interface.link_type == LinkType::ETHERNET {
            // Most captures: worth inlining.
            self.ethernet(window, path);
        } else {
            self.link(interface.link_type, window, path);
        }
    }

    /// One encapsulation deeper, or nothing when it is too deep.
    pub fn deeper(&mut self, path: Path) -> Option<Path> {
        if path.depth >= MAX_DEPTH {
            self.stop(DecodeStop::TooDeep);
            return None;
        }
        Some(Path {
            point: path.point,
            depth: path.depth + 1,
        })
    }

    /// What follows an ethertype.
    #[inline]
    pub fn ether_type(&mut self, ether_type: u16, window: Window<'_>, path: Path) {
        match ether_type {
            0x0800 => {
                // A length of 0 is left to the network card: nothing is behind such a packet.
                if let Some(total @ 1..) = window.u16(2)
                    && window.len >= usize::from(total) + LEAST_TRAILER
                {
                    self.behind_packet(window, total.into());
                }
                if !self.common_segment(window, path) && !self.common_datagram(window, path) {
                    self.ipv4(window, path);
                }
            }
            0x86dd => {
                if let Some(payload) = window.u16(4)
                    && window.len >= IPV6_HEADER + usize::from(payload) + LEAST_TRAILER
                {
                    self.behind_packet(window, IPV6_HEADER + usize::from(payload));
                }
                self.ipv6(window, path);
            }
            other => self.other_ether_type(other, window, path),
        }
    }

    fn other_ether_type(&mut self, ether_type: u16, window: Window<'_>, path: Path) {
        match ether_type {
            0x0806 => return self.arp(window),
            0x8863 => return self.met(Protocol::Pppoe),
            0x88cc => return self.met(Protocol::Lldp),
            0x888e => return self.met(Protocol::Eapol),
            _ => {}
        }
        // All others can hold a frame again.
        let Some(path) = self.deeper(path) else {
            return;
        };
        match ether_type {
            0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300 => self.vlan(window, path),
            0x8847 | 0x8848 => self.mpls(window, path),
            0x8864 => self.pppoe(window, path),
            0x6558 => self.ethernet(window, path),
            0x880b => self.ppp(window, path),
            0x894f => self.service_header(window, path),
            // Juniper and Cisco write LLC under this type when the length does not fit.
            0x8870 => self.llc(window, path),
            0x88be => self.erspan2(window, path),
            0x22eb => self.erspan3(window, path),
            0x22f3 => self.trill(window, path),
            0x88e7 => self.backbone_service(window, path),
            // HSR (IEC 62439-3) and a virtual machine's port (IEEE 802.1BR).
            0x892f | 0x8926 => self.tag_then_type(4, window, path),
            // Cisco MetaData with one security group tag.
            0x8909 => self.tag_then_type(6, window, path),
            // Cisco FabricPath: tree and hop count.
            0x8903 => self.ethernet(window.skip(2), path),
            other => self.stop(DecodeStop::EtherType(other)),
        }
    }

    /// What follows an IP header.
    #[inline]
    pub fn ip_payload(&mut self, protocol: u8, window: Window<'_>, ip: &IpFields, path: Path) {
        match protocol {
            6 => self.tcp(window, ip, path),
            17 => self.udp(window, ip, path),
            other => self.other_ip_payload(other, window, ip, path),
        }
    }

    fn other_ip_payload(&mut self, protocol: u8, window: Window<'_>, ip: &IpFields, path: Path) {
        match protocol {
            1 => self.icmpv4(window, ip, path),
            58 => self.icmpv6(window, ip, path),
            4 | 41 => self.ip_in_ip(protocol, window, ip, path),
            47 => self.gre(window, ip, path),
            115 => self.l2tpv3_over_ip(window, ip, path),
            137 => {
                if let Some(path) = self.deeper(path.between(PathKind::Mpls, ip)) {
                    self.mpls(window, path);
                }
            }
            97 => {
                // RFC 3378: version and reserved bits.
                if let Some(path) = self.deeper(path.between(PathKind::IpInIp, ip)) {
                    self.ethernet(window.skip(2), path);
                }
            }
            143 => {
                if let Some(path) = self.deeper(path.between(PathKind::IpInIp, ip)) {
                    self.ethernet(window, path);
                }
            }
            51 => {
                if let Some(path) = self.deeper(path) {
                    self.authentication_header(window, ip, path);
                }
            }
            50 => {
                self.met(Protocol::Esp);
                self.opaque(Protocol::Esp, ip);
                self.stop(DecodeStop::Opaque("ESP"));
            }
            2 => self.met(Protocol::Igmp),
            89 => self.met(Protocol::Ospf),
            103 => self.met(Protocol::Pim),
            112 => self.met(Protocol::Vrrp),
            132 => {
                self.met(Protocol::Sctp);
                self.stop(DecodeStop::IpProtocol(132));
            }
            // IPv6 "no next header".
            59 => {}
            other => self.stop(DecodeStop::IpProtocol(other)),
        }
    }

    /// Hands out a packet whose transport header is read.
    #[inline]
    pub fn emit(
        &mut self,
        ports: (u16, u16),
        payload: Window<'_>,
        kind: PacketKind,
        ip: &IpFields,
        path: Path,
    ) {
        let packet = self.packet(ports, payload, kind, ip, path);
        self.out.packets.push(packet);
    }

    /// A packet whose transport header is read.
    #[inline]
    pub fn packet(
        &self,
        ports: (u16, u16),
        payload: Window<'_>,
        kind: PacketKind,
        ip: &IpFields,
        path: Path,
    ) -> Packet {
        Packet {
            frame: self.number,
            time: self.time,
            src: ip.src,
            dst: ip.dst,
            src_port: ports.0,
            dst_port: ports.1,
            wire_len: self.wire_len,
            payload_len: u32::try_from(payload.len).unwrap_or(u32::MAX),
            payload_start: u32::try_from(payload.at).unwrap_or(u32::MAX),
            payload_captured: u32::try_from(payload.bytes.len()).unwrap_or(0),
            ip_id: ip.identification,
            hop_limit: ip.hop_limit,
            ecn: ip.ecn,
            dont_fragment: ip.dont_fragment,
            reassembled: self.reassembled,
            observation_point: path.point,
            kind,
        }
    }

    /// Hands out a fragment of an IP datagram.
    pub fn emit_fragment(
        &mut self,
        piece: &FragmentPiece,
        payload: Window<'_>,
        ip: &IpFields,
        path: Path,
    ) {
        self.met(Protocol::Fragment);
        self.out.fragments.push(Fragment {
            frame: self.number,
            time: self.time,
            wire_len: self.wire_len,
            ip: *ip,
            identification: piece.identification,
            protocol: piece.protocol,
            offset: piece.offset,
            more: piece.more,
            len: u32::try_from(payload.len).unwrap_or(u32::MAX),
            start: u32::try_from(payload.at).unwrap_or(u32::MAX),
            captured: u32::try_from(payload.bytes.len()).unwrap_or(0),
            ports: ports_of(piece, payload),
            reassembled: self.reassembled,
            observation_point: path.point,
            depth: path.depth,
        });
    }

    #[inline]
    pub fn met(&mut self, protocol: Protocol) {
        self.out.stats.met(protocol);
    }

    pub fn stop(&mut self, stop: DecodeStop) {
        self.out.stats.stop(stop);
    }

    /// Counts encrypted traffic.
    pub fn opaque(&mut self, kind: Protocol, ip: &IpFields) {
        let flow = OpaqueFlow {
            kind,
            from: ip.source(),
            to: ip.destination(),
        };
        let wire_len = self.wire_len;
        self.out.stats.opaque(flow, wire_len);
    }

    /// A header that is not all there: cut by the snap length, or shorter than it must be.
    pub fn short(&mut self, window: Window<'_>, header: &'static str) {
        let stop = if window.is_cut() {
            DecodeStop::Cut(header)
        } else {
            DecodeStop::Malformed(header)
        };
        self.stop(stop);
    }
}

/// What a fragment header says.
#[derive(Clone, Copy, Debug)]
pub(super) struct FragmentPiece {
    pub identification: u32,
    pub protocol: u8,
    pub offset: u32,
    pub more: bool,
}

/// Ports of a first fragment.
fn ports_of(piece: &FragmentPiece, payload: Window<'_>) -> Option<(u16, u16)> {
    if piece.offset != 0 || !matches!(piece.protocol, 6 | 17 | 132) {
        return None;
    }
    Some((payload.u16(0)?, payload.u16(2)?))
}
