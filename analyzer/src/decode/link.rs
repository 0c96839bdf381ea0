//! Link types: what the first header of a frame is.

use std::sync::Arc;

use super::decoder::{Decoder, Path, PathKind};
use super::stats::DecodeStop;
use super::window::Window;
use crate::capture::{LinkType, Owner, OwnerEnd, Remark, Said, ToldBy, name_of};

impl Decoder<'_> {
    /// A frame of any link type.
    pub fn link(&mut self, link_type: LinkType, window: Window<'_>, path: Path) {
        match link_type {
            LinkType::ETHERNET => self.ethernet(window, path),
            LinkType::LINUX_SLL => self.linux_sll(window, path),
            LinkType::LINUX_SLL2 => self.linux_sll2(window, path),
            LinkType::RAW | LinkType::DLT_RAW | LinkType::DLT_RAW_OPENBSD => self.ip(window, path),
            LinkType::IPV4 => self.ipv4(window, path),
            LinkType::IPV6 => self.ipv6(window, path),
            LinkType::NULL | LinkType::LOOP => self.bsd_loopback(window, path),
            LinkType::ENC => self.family_then(window, 12, path),
            LinkType::PPP => self.ppp(window, path),
            LinkType::PPP_HDLC => self.ppp_or_cisco_hdlc(window, path),
            LinkType::PPP_WITH_DIR => self.ppp(window.skip(1), path),
            LinkType::PPP_PPPD => self.ppp(window.skip(2), path),
            LinkType::PPP_ETHER => self.pppoe(window, path),
            LinkType::C_HDLC => self.cisco_hdlc(window, path),
            LinkType::C_HDLC_WITH_DIR => self.cisco_hdlc(window.skip(1), path),
            LinkType::FRAME_RELAY => self.frame_relay(window, path),
            LinkType::FRELAY_WITH_DIR => self.frame_relay(window.skip(1), path),
            LinkType::IEEE802_11 => self.wlan(window, path, false),
            LinkType::RADIOTAP => self.radiotap(window, path),
            LinkType::PRISM => self.prism(window, path),
            LinkType::AVS => self.avs(window, path),
            other => self.rarer_link(other, window, path),
        }
    }

    fn rarer_link(&mut self, link_type: LinkType, window: Window<'_>, path: Path) {
        match link_type {
            LinkType::PKTAP | LinkType::PKTAP_USER2 => self.pktap(window, path),
            LinkType::PPI => self.ppi(window, path),
            LinkType::NFLOG => self.nflog(window, path),
            LinkType::IPNET => self.ipnet(window, path),
            LinkType::PFLOG => self.pflog(window, path),
            LinkType::ERF => self.erf(window, path),
            LinkType::INFINIBAND => self.infiniband(window, path),
            LinkType::IP_OVER_INFINIBAND => self.ip_over_infiniband(window, path),
            LinkType::APPLE_IP_OVER_IEEE1394 => self.typed_at(16, window, path),
            LinkType::IP_OVER_FC => self.llc(window.skip(16), path),
            LinkType::ATM_RFC1483 | LinkType::DLT_ATM_RFC1483 => self.multiprotocol(window, path),
            LinkType::ATM_CLIP | LinkType::ATM_CLIP_BSD | LinkType::ATM_CLIP_OLD => {
                self.classical_ip(window, path);
            }
            LinkType::SUNATM => self.sun_atm(window, path),
            LinkType::FDDI => self.fddi(window, path),
            LinkType::TOKEN_RING => self.token_ring(window, path),
            LinkType::ARCNET => self.arcnet(window, path, 2),
            LinkType::ARCNET_LINUX => self.arcnet(window, path, 4),
            LinkType::SLIP => self.slip(window, path),
            LinkType::JUNIPER_ETHER
            | LinkType::JUNIPER_PPP
            | LinkType::JUNIPER_FRELAY
            | LinkType::JUNIPER_CHDLC => self.juniper(link_type, window, path),
            LinkType::BRCM_TAG => self.typed_at(16, window, path),
            LinkType::BRCM_TAG_PREPEND => self.ethernet(window.skip(4), path),
            LinkType::DSA_TAG => self.typed_at(16, window, path),
            LinkType::EDSA_TAG => self.typed_at(20, window, path),
            LinkType::WIRESHARK_UPPER_PDU => self.exported_pdu(window, path),
            LinkType::NETANALYZER => self.ethernet(window.skip(4), path),
            LinkType::NETANALYZER_TRANSPARENT => self.ethernet(window.skip(12), path),
            other => self.stop(DecodeStop::LinkType(other)),
        }
    }

    /// A header whose only interest is the type (or length) `at` a place, at its end.
    fn typed_at(&mut self, at: usize, window: Window<'_>, path: Path) {
        match window.u16(at) {
            Some(kind) => self.type_or_length(kind, window.skip(at + 2), path),
            None => self.short(window, "link"),
        }
    }

    /// A four-byte address family, in the byte order of the capturing host or of the network.
    fn bsd_loopback(&mut self, window: Window<'_>, path: Path) {
        self.family_then(window, 4, path);
    }

    /// A header that begins with a four-byte address family.
    fn family_then(&mut self, window: Window<'_>, header: usize, path: Path) {
        let Some(family) = window.u32(0) else {
            return self.short(window, "loopback");
        };
        // No family is above 0xffff: a value that is must be read the other way round.
        let family = if family > 0xffff {
            family.swap_bytes()
        } else {
            family
        };
        let payload = window.skip(header);
        match u16::try_from(family) {
            // Some writers put an ethertype here.
            Ok(ether_type @ 0x0600..) => self.ether_type(ether_type, payload, path),
            Ok(family) => self.address_family(family, payload, path),
            Err(_) => self.stop(DecodeStop::Malformed("loopback")),
        }
    }

    /// A packet of an address family as the systems number them.
    fn address_family(&mut self, family: u16, payload: Window<'_>, path: Path) {
        match family {
            2 => self.ipv4(payload, path),
            // AF_INET6 of Linux; NetBSD and OpenBSD; Solaris; FreeBSD; macOS.
            10 | 24 | 26 | 28 | 30 => self.ipv6(payload, path),
            _ => self.stop(DecodeStop::Malformed("address family")),
        }
    }

    /// Apple's PKTAP (little-endian): length, record type, link type, interface name.
    fn pktap(&mut self, window: Window<'_>, path: Path) {
        let Some(header) = window.head::<36>() else {
            return self.short(window, "pktap");
        };
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let (len, kind, link_type) = (word(0), word(4), word(8));
        let (Ok(len), Ok(link_type)) = (usize::try_from(len), u16::try_from(link_type)) else {
            return self.stop(DecodeStop::Malformed("pktap"));
        };
        if kind != 1 {
            return self.stop(DecodeStop::NoPacket);
        }
        let name = header[12..36]
            .iter()
            .take_while(|octet| **octet != 0)
            .fold(0_u32, |sum, octet| {
                sum.wrapping_mul(31).wrapping_add(u32::from(*octet))
            });
        self.pktap_process(window.limit(len));
        if let Some(path) = self.deeper(path.through(PathKind::Interface, name)) {
            self.link(LinkType(link_type), window.skip(len), path);
        }
    }

    /// The process in a PKTAP header: number at 52, name of 17 octets behind it, direction in the flags
    /// at 36.
    fn pktap_process(&mut self, header: Window<'_>) {
        let word = |at: usize| header.u32(at).map(u32::swap_bytes);
        let Some(pid) = word(52).filter(|pid| (1..=i32::MAX.unsigned_abs()).contains(pid)) else {
            return;
        };
        let end = match word(36).unwrap_or(0) & 3 {
            1 => OwnerEnd::Destination,
            2 => OwnerEnd::Source,
            _ => OwnerEnd::Unknown,
        };
        let owner = Owner {
            name: header.bytes.get(56..73).and_then(name_of),
            pid: Some(pid),
            pod: None,
            container: None,
            end,
            told_by: ToldBy::Pktap,
        };
        self.out.remarks.push(Remark {
            frame: self.number,
            says: Said::Owner(Arc::new(owner)),
        });
    }

    /// A PDU that Wireshark exported: tags that name its protocol, then the PDU. Only whole
    /// packets and frames are followed; what lies above a transport has none.
    fn exported_pdu(&mut self, window: Window<'_>, path: Path) {
        const END: u16 = 0;
        const PROTOCOL_NAME: u16 = 12;
        let (mut rest, mut name) = (window, &[][..]);
        loop {
            let (Some(tag), Some(len)) = (rest.u16(0), rest.u16(2)) else {
                return self.short(rest, "exported pdu");
            };
            let value = rest.skip(4).limit(len.into());
            rest = rest.skip(4 + usize::from(len));
            match tag {
                END => break,
                PROTOCOL_NAME => name = value.bytes,
                _ => {}
            }
        }
        let Some(path) = self.deeper(path) else {
            return;
        };
        match name.split(|octet| *octet == 0).next() {
            Some(b"ip") => self.ipv4(rest, path),
            Some(b"ipv6") => self.ipv6(rest, path),
            Some(b"eth" | b"eth_withoutfcs" | b"eth_maybefcs") => self.ethernet(rest, path),
            _ => self.stop(DecodeStop::LinkType(LinkType::WIRESHARK_UPPER_PDU)),
        }
    }

    /// PPI (little-endian): version, flags, length, link type.
    fn ppi(&mut self, window: Window<'_>, path: Path) {
        let Some(&[_, _, l1, l2, t1, t2, _, _]) = window.head::<8>() else {
            return self.short(window, "ppi");
        };
        let len = usize::from(u16::from_le_bytes([l1, l2]));
        if let Some(path) = self.deeper(path) {
            let link_type = LinkType(u16::from_le_bytes([t1, t2]));
            self.link(link_type, window.skip(len), path);
        }
    }

    /// NFLOG: family, version, group; then attributes in the byte order of the host.
    fn nflog(&mut self, window: Window<'_>, path: Path) {
        const PAYLOAD: u16 = 9;
        let Some(family) = window.u8(0) else {
            return self.short(window, "nflog");
        };
        let mut rest = window.skip(4);
        while let Some(&[l1, l2, t1, t2]) = rest.head::<4>() {
            // Attribute types are small: a large one is read the wrong way round.
            let little = u16::from_le_bytes([t1, t2]) < 0x100;
            let order = |bytes| {
                if little {
                    u16::from_le_bytes(bytes)
                } else {
                    u16::from_be_bytes(bytes)
                }
            };
            let (len, kind) = (usize::from(order([l1, l2])), order([t1, t2]));
            if len < 4 {
                return self.stop(DecodeStop::Malformed("nflog"));
            }
            if kind == PAYLOAD {
                return self.address_family(family.into(), rest.limit(len).skip(4), path);
            }
            rest = rest.skip(len.next_multiple_of(4));
        }
        self.short(window, "nflog");
    }

    /// Solaris IPNET: version, family, …, 24 octets.
    fn ipnet(&mut self, window: Window<'_>, path: Path) {
        match window.u8(1) {
            Some(family) => self.address_family(family.into(), window.skip(24), path),
            None => self.short(window, "ipnet"),
        }
    }

    /// OpenBSD's PFLOG: length (without padding), family, ….
    fn pflog(&mut self, window: Window<'_>, path: Path) {
        let Some(&[len, family]) = window.head::<2>() else {
            return self.short(window, "pflog");
        };
        let header = usize::from(len).next_multiple_of(4);
        self.address_family(family.into(), window.skip(header), path);
    }

    /// Endace ERF: sixteen octets, extension headers, then by type.
    fn erf(&mut self, window: Window<'_>, path: Path) {
        let Some(kind) = window.u8(8) else {
            return self.short(window, "erf");
        };
        // The frame's own length stands in the header.
        let wire = window.u16(14).map_or(window.len, usize::from);
        let mut payload = window.skip(16);
        let mut more = kind & 0x80 != 0;
        while more {
            let Some(extension) = payload.u8(0) else {
                return self.short(payload, "erf");
            };
            more = extension & 0x80 != 0;
            payload = payload.skip(8);
        }
        let Some(path) = self.deeper(path) else {
            return;
        };
        match kind & 0x7f {
            1 | 5 | 9 | 17 => self.ppp_or_cisco_hdlc(payload.limit(wire), path),
            2 | 11 | 16 | 20 => self.ethernet(payload.skip(2).limit(wire), path),
            21 => self.infiniband(payload.limit(wire), path),
            22 => self.ipv4(payload.limit(wire), path),
            23 => self.ipv6(payload.limit(wire), path),
            _ => self.stop(DecodeStop::LinkType(LinkType::ERF)),
        }
    }

    /// InfiniBand: unreliable datagrams, which is what IP goes over (RFC 4391).
    fn infiniband(&mut self, window: Window<'_>, path: Path) {
        const UNRELIABLE_DATAGRAM: u8 = 0x64;
        let transport = match window.u8(1).map(|octet| octet & 3) {
            Some(2) => window.skip(8),
            Some(3) => window.skip(8 + 40),
            Some(_) => return self.stop(DecodeStop::LinkType(LinkType::INFINIBAND)),
            None => return self.short(window, "infiniband"),
        };
        match (transport.u8(0), transport.u16(20)) {
            // Base header of twelve octets, datagram header of eight, then type and padding.
            (Some(UNRELIABLE_DATAGRAM), Some(ether_type @ (0x0800 | 0x0806 | 0x86dd))) => {
                self.ether_type(ether_type, transport.skip(24), path);
            }
            _ => self.stop(DecodeStop::LinkType(LinkType::INFINIBAND)),
        }
    }

    /// LINKTYPE_IPOIB: forty octets of addresses, then type and padding.
    fn ip_over_infiniband(&mut self, window: Window<'_>, path: Path) {
        match window.u16(40) {
            Some(ether_type) => self.ether_type(ether_type, window.skip(44), path),
            None => self.short(window, "ipoib"),
        }
    }

    /// Multiprotocol encapsulation over ATM (RFC 2684): LLC, or the bare packet.
    fn multiprotocol(&mut self, window: Window<'_>, path: Path) {
        match window.head::<3>() {
            Some([0xfe, 0xfe, 0x03]) => self.nlpid(window.skip(3), path),
            Some([first, ..]) if first >> 4 == 4 => self.ipv4(window, path),
            Some(_) => self.llc(window, path),
            None => self.short(window, "atm"),
        }
    }

    /// Classical IP over ATM: LLC, or the bare packet.
    fn classical_ip(&mut self, window: Window<'_>, path: Path) {
        if window.bytes.starts_with(&[0xaa, 0xaa, 0x03]) {
            self.llc(window, path);
        } else {
            self.ip(window, path);
        }
    }

    /// SunATM: direction and type, VPI, VCI.
    fn sun_atm(&mut self, window: Window<'_>, path: Path) {
        match window.u8(0).map(|octet| octet & 0xf) {
            // LAN emulation has a two-octet header before the Ethernet frame.
            Some(1) => self.ethernet(window.skip(6), path),
            Some(2) => self.multiprotocol(window.skip(4), path),
            Some(_) => self.stop(DecodeStop::LinkType(LinkType::SUNATM)),
            None => self.short(window, "sunatm"),
        }
    }

    /// FDDI: frame control, two addresses, LLC.
    fn fddi(&mut self, window: Window<'_>, path: Path) {
        match window.u8(0) {
            // Asynchronous and synchronous LLC frames.
            Some(control) if control & 0x70 == 0x50 => self.llc(window.skip(13), path),
            Some(_) => self.stop(DecodeStop::LinkType(LinkType::FDDI)),
            None => self.short(window, "fddi"),
        }
    }

    /// Token Ring: access and frame control, two addresses, perhaps a source route, LLC.
    fn token_ring(&mut self, window: Window<'_>, path: Path) {
        let (Some(control), Some(source)) = (window.u8(1), window.u8(8)) else {
            return self.short(window, "token ring");
        };
        if control & 0xc0 != 0x40 {
            return self.stop(DecodeStop::LinkType(LinkType::TOKEN_RING));
        }
        let route = match window.u8(14) {
            Some(octet) if source & 0x80 != 0 => usize::from(octet & 0x1f),
            _ => 0,
        };
        self.llc(window.skip(14 + route), path);
    }

    /// ARCNET: addresses (and an offset, on Linux), type, and RFC 1201's sequence when new.
    fn arcnet(&mut self, window: Window<'_>, path: Path, at: usize) {
        let Some(kind) = window.u8(at) else {
            return self.short(window, "arcnet");
        };
        let ether_type = match kind {
            212 | 240 => 0x0800,
            213 | 241 => 0x0806,
            196 => 0x86dd,
            other => return self.stop(DecodeStop::LlcSap(other)),
        };
        let header = match (kind, window.u8(at + 1)) {
            (240 | 241, _) => 1,
            // An exception packet says its sequence again.
            (_, Some(0xff)) => 8,
            // Linux's captures are put together already; parts of a packet are not.
            (_, Some(0)) => 4,
            (_, _) => return self.stop(DecodeStop::Malformed("arcnet fragment")),
        };
        self.ether_type(ether_type, window.skip(at + header), path);
    }

    /// SLIP: BSD puts sixteen octets before the packet.
    fn slip(&mut self, window: Window<'_>, path: Path) {
        match (window.u8(0), window.u8(16).map(|octet| octet >> 4)) {
            (Some(0 | 1), Some(4 | 6)) => self.ip(window.skip(16), path),
            _ => self.ip(window, path),
        }
    }

    /// Juniper: magic number, flags, perhaps extensions, then the link layer unless cut off.
    fn juniper(&mut self, link_type: LinkType, window: Window<'_>, path: Path) {
        let Some(&[b'M', b'G', b'C', flags]) = window.head::<4>() else {
            return self.short(window, "juniper");
        };
        let mut payload = window.skip(4);
        if flags & 0x80 != 0 {
            let Some(len) = payload.u16(0) else {
                return self.short(payload, "juniper");
            };
            payload = payload.skip(2 + usize::from(len));
        }
        if flags & 0x02 != 0 {
            // No link layer: a four-octet protocol number, then IP.
            return self.ip(payload.skip(4), path);
        }
        match link_type {
            LinkType::JUNIPER_ETHER => self.ethernet(payload, path),
            LinkType::JUNIPER_PPP => self.ppp(payload, path),
            LinkType::JUNIPER_FRELAY => self.frame_relay(payload, path),
            _ => self.cisco_hdlc(payload, path),
        }
    }
}
