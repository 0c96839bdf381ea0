//! Tunnels right over IP, and those over UDP, told by port and content.

use super::decoder::{Decoder, Path, PathKind};
use super::mpls::{LOOKED_AT, looks_like_ethernet, looks_like_ipv4, looks_like_ipv6};
use super::packet::IpFields;
use super::stats::{DecodeStop, Protocol};
use super::window::Window;

/// RFC 7348, and Linux's number from before it.
const VXLAN: [u16; 2] = [4789, 8472];
const VXLAN_GPE: u16 = 4790;
const GENEVE: u16 = 6081;
const GTP_U: u16 = 2152;
const L2TP: u16 = 1701;
const TEREDO: u16 = 3544;
const MPLS_IN_UDP: u16 = 6635;
/// TaZmen Sniffer Protocol: how MikroTik routers mirror.
const TZSP: u16 = 37008;
const LISP: u16 = 4341;
const CAPWAP: u16 = 5247;
const GTP_ZERO: u16 = 3386;
const AYIYA: u16 = 5072;

/// Whether a datagram can hold a tunnel: two tests of small tables, and one of its first octets.
#[inline]
pub(super) fn may_be_tunnel((from, to): (u16, u16), payload: Window<'_>) -> bool {
    let is_of_tunnel = |port: u16| {
        let [last, _] = port.to_le_bytes();
        ENDS_LIKE_TUNNEL_PORT[usize::from(last)] && is_tunnel_port(port)
    };
    is_of_tunnel(to) || is_of_tunnel(from) || matches!(payload.head::<4>(), Some([1..=4, 0, 0, 0]))
}

/// Whether the port of a tunnel has this lower octet: for most ports one look instead of a dozen
/// comparisons.
static ENDS_LIKE_TUNNEL_PORT: [bool; 256] = {
    let mut ends = [false; 256];
    let mut port = 0;
    while port < u16::MAX {
        if is_tunnel_port(port) {
            ends[(port % 256) as usize] = true;
        }
        port += 1;
    }
    ends
};

impl Decoder<'_> {
    /// IPv4 (protocol 4) or IPv6 (protocol 41) in IP (RFC 2003, 2473, 4213).
    pub fn ip_in_ip(&mut self, protocol: u8, window: Window<'_>, ip: &IpFields, path: Path) {
        self.met(Protocol::IpInIp);
        let Some(path) = self.deeper(path.between(PathKind::IpInIp, ip)) else {
            return;
        };
        if protocol == 4 {
            self.ipv4(window, path)
        } else {
            self.ipv6(window, path)
        }
    }

    /// L2TPv3 over IP (RFC 3931 §4.1.1). Nothing in the packet tells the length of the cookie
    /// nor what is tunnelled; an Ethernet or PPP frame is looked for at the possible places.
    pub fn l2tpv3_over_ip(&mut self, window: Window<'_>, ip: &IpFields, path: Path) {
        self.met(Protocol::L2tp);
        match window.u32(0) {
            Some(0) => {} // Control messages.
            Some(_) => {
                let path = path.between(PathKind::L2tp, ip);
                let payload = window.skip(4);
                if self.l2tpv3_payload(payload, path) {
                    return;
                }
                // The longest cookie and sublayer have twelve octets.
                if payload.is_cut_before(12 + LOOKED_AT) {
                    self.short(payload, "l2tp payload");
                } else {
                    self.stop(DecodeStop::IpProtocol(115));
                }
            }
            None => self.short(window, "l2tp"),
        }
    }

    fn l2tpv3_payload(&mut self, window: Window<'_>, path: Path) -> bool {
        for header in [0, 4, 8, 12] {
            let payload = window.skip(header);
            if looks_like_ethernet(payload) {
                if let Some(path) = self.deeper(path) {
                    self.ethernet(payload, path);
                }
                return true;
            }
            if payload.bytes.starts_with(&[0xff, 0x03, 0x00]) {
                if let Some(path) = self.deeper(path) {
                    self.ppp(payload, path);
                }
                return true;
            }
        }
        false
    }

    /// Decodes what a UDP datagram tunnels; `false` when it is an ordinary datagram.
    pub fn udp_tunnel(
        &mut self,
        (from, to): (u16, u16),
        payload: Window<'_>,
        ip: &IpFields,
        path: Path,
    ) -> bool {
        // Nearly every datagram ends here.
        if !may_be_tunnel((from, to), payload) {
            return false;
        }
        if is_tunnel_port(to) || is_tunnel_port(from) {
            let port = if is_tunnel_port(to) { to } else { from };
            return self.known_udp_tunnel(port, payload, ip, path);
        }
        if let Some(&[kind @ 1..=4, 0, 0, 0]) = payload.head::<4>()
            && to != 53
            && from != 53
            && is_wireguard(kind, payload.len)
        {
            // Opaque, but a flow of datagrams all the same.
            self.met(Protocol::WireGuard);
            self.opaque(Protocol::WireGuard, ip);
        }
        false
    }

    fn known_udp_tunnel(
        &mut self,
        port: u16,
        payload: Window<'_>,
        ip: &IpFields,
        path: Path,
    ) -> bool {
        match port {
            _ if VXLAN.contains(&port) => self.vxlan(payload, ip, path),
            VXLAN_GPE => self.vxlan_gpe(payload, ip, path),
            GENEVE => self.geneve(payload, ip, path),
            GTP_U => self.gtp_user(payload, ip, path),
            L2TP => self.l2tp_over_udp(payload, ip, path),
            TEREDO => self.teredo(payload, ip, path),
            MPLS_IN_UDP => {
                if let Some(path) = self.deeper(path.between(PathKind::Mpls, ip)) {
                    self.mpls(payload, path);
                }
                true
            }
            TZSP => self.tzsp(payload, ip, path),
            LISP => self.lisp(payload, ip, path),
            CAPWAP => self.capwap(payload, ip, path),
            GTP_ZERO => self.gtp_zero(payload, ip, path),
            AYIYA => self.ayiya(payload, ip, path),
            _ => false,
        }
    }

    fn vxlan(&mut self, window: Window<'_>, ip: &IpFields, path: Path) -> bool {
        // RFC 7348 §5: the I flag; the reserved octet at the end is zero in every dialect.
        let Some(&[flags, _, _, _, v1, v2, v3, 0]) = window.head::<8>() else {
            return false;
        };
        if flags & 0x08 == 0 || window.len < 8 + 14 {
            return false;
        }
        self.met(Protocol::Vxlan);
        let network = u32::from_be_bytes([0, v1, v2, v3]);
        let path = path
            .between(PathKind::Vxlan, ip)
            .through(PathKind::Vxlan, network);
        if let Some(path) = self.deeper(path) {
            self.ethernet(window.skip(8), path);
        }
        true
    }

    fn vxlan_gpe(&mut self, window: Window<'_>, ip: &IpFields, path: Path) -> bool {
        let Some(&[flags, _, _, next, v1, v2, v3, _]) = window.head::<8>() else {
            return false;
        };
        if flags & 0x08 == 0 {
            return false;
        }
        self.met(Protocol::Vxlan);
        let network = u32::from_be_bytes([0, v1, v2, v3]);
        let path = path
            .between(PathKind::Vxlan, ip)
            .through(PathKind::Vxlan, network);
        let Some(path) = self.deeper(path) else {
            return true;
        };
        // Without the P flag it is a VXLAN header.
        let next = if flags & 0x04 == 0 { 3 } else { next };
        self.next_protocol(next, window.skip(8), path);
        true
    }

    /// The numbers that VXLAN-GPE and NSH share.
    fn next_protocol(&mut self, next: u8, window: Window<'_>, path: Path) {
        match next {
            1 => self.ipv4(window, path),
            2 => self.ipv6(window, path),
            3 => self.ethernet(window, path),
            4 => self.service_header(window, path),
            5 => self.mpls(window, path),
            other => self.stop(DecodeStop::IpProtocol(other)),
        }
    }

    /// A network service header (RFC 8300 §2.2).
    pub fn service_header(&mut self, window: Window<'_>, path: Path) {
        let Some(&[_, words, _, next]) = window.head::<4>() else {
            return self.short(window, "nsh");
        };
        let len = usize::from(words & 0x3f) * 4;
        if len < 8 {
            return self.short(Window { len: 0, ..window }, "nsh");
        }
        if let Some(path) = self.deeper(path) {
            self.next_protocol(next, window.skip(len), path);
        }
    }

    fn geneve(&mut self, window: Window<'_>, ip: &IpFields, path: Path) -> bool {
        let Some(&[version, _, t1, t2, v1, v2, v3, _]) = window.head::<8>() else {
            return false;
        };
        if version >> 6 != 0 {
            return false;
        }
        self.met(Protocol::Geneve);
        let network = u32::from_be_bytes([0, v1, v2, v3]);
        let path = path
            .between(PathKind::Geneve, ip)
            .through(PathKind::Geneve, network);
        let Some(path) = self.deeper(path) else {
            return true;
        };
        let payload = window.skip(8 + usize::from(version & 0x3f) * 4);
        self.ether_type(u16::from_be_bytes([t1, t2]), payload, path);
        true
    }

    /// GTP-U version 1 (3GPP TS 29.281 §5.1); tunnel endpoints differ per direction.
    fn gtp_user(&mut self, window: Window<'_>, ip: &IpFields, path: Path) -> bool {
        let Some(&[flags, kind, l1, l2, ..]) = window.head::<8>() else {
            return false;
        };
        // Only user data (type 255) is a tunnel; echo and error messages are datagrams.
        if flags & 0xf0 != 0x30 || kind != 255 {
            return false;
        }
        let mut payload = window.skip(8).limit(u16::from_be_bytes([l1, l2]).into());
        if flags & 0x07 != 0 {
            let mut next = if flags & 0x04 != 0 {
                payload.u8(3).unwrap_or(0)
            } else {
                0
            };
            payload = payload.skip(4);
            while next != 0 {
                let Some(units) = payload.u8(0).filter(|units| *units > 0) else {
                    return false;
                };
                let len = usize::from(units) * 4;
                let Some(after) = payload.u8(len - 1) else {
                    return false;
                };
                next = after;
                payload = payload.skip(len);
            }
        }
        let v4 = looks_like_ipv4(payload);
        if !v4 && !looks_like_ipv6(payload) && !looks_like_ethernet(payload) {
            return false;
        }
        self.met(Protocol::Gtp);
        let Some(path) = self.deeper(path.between(PathKind::Gtp, ip)) else {
            return true;
        };
        if v4 || looks_like_ipv6(payload) {
            self.ip(payload, path);
        } else {
            self.ethernet(payload, path);
        }
        true
    }

    /// L2TP version 2 (RFC 2661 §3.1) or 3 (RFC 3931 §4.1.2) over UDP.
    fn l2tp_over_udp(&mut self, window: Window<'_>, ip: &IpFields, path: Path) -> bool {
        let Some(flags) = window.u16(0) else {
            return false;
        };
        if flags & 0x8000 != 0 {
            return false; // Control messages are datagrams.
        }
        let path = path.between(PathKind::L2tp, ip);
        match flags & 0x000f {
            2 => {
                let mut header = 2 + 4;
                let mut limit = window.len;
                if flags & 0x4000 != 0 {
                    limit = window.u16(2).map_or(limit, usize::from);
                    header += 2;
                }
                header += if flags & 0x0800 != 0 { 4 } else { 0 };
                if flags & 0x0200 != 0 {
                    header += 2 + usize::from(window.u16(header).unwrap_or(0));
                }
                self.met(Protocol::L2tp);
                if let Some(path) = self.deeper(path) {
                    self.ppp(window.limit(limit).skip(header), path);
                }
                true
            }
            3 => {
                let decoded = self.l2tpv3_payload(window.skip(8), path);
                if decoded {
                    self.met(Protocol::L2tp);
                }
                decoded
            }
            _ => false,
        }
    }

    /// Teredo (RFC 4380 §5.1.1): indications may stand before the IPv6 packet.
    fn teredo(&mut self, window: Window<'_>, ip: &IpFields, path: Path) -> bool {
        let mut payload = window;
        if let Some(&[0, 1, identifier, authentication]) = payload.head::<4>() {
            payload = payload.skip(13 + usize::from(identifier) + usize::from(authentication));
        }
        if let Some([0, 0]) = payload.head::<2>() {
            payload = payload.skip(8);
        }
        if !looks_like_ipv6(payload) {
            return false;
        }
        self.met(Protocol::Teredo);
        if let Some(path) = self.deeper(path.between(PathKind::Teredo, ip)) {
            self.ipv6(payload, path);
        }
        true
    }

    fn tzsp(&mut self, window: Window<'_>, ip: &IpFields, path: Path) -> bool {
        let Some(&[1, 0, p1, p2]) = window.head::<4>() else {
            return false;
        };
        let mut payload = window.skip(4);
        loop {
            match payload.head::<1>() {
                Some([0]) => payload = payload.skip(1),
                Some([1]) => break,
                Some(_) => payload = payload.skip(2 + usize::from(payload.u8(1).unwrap_or(0))),
                None => return false,
            }
        }
        let payload = payload.skip(1);
        let Some(path) = self.deeper(path.between(PathKind::Vxlan, ip)) else {
            return true;
        };
        match u16::from_be_bytes([p1, p2]) {
            1 => self.ethernet(payload, path),
            18 => self.wlan(payload, path, false),
            other => self.stop(DecodeStop::EtherType(other)),
        }
        true
    }
}

/// Whether a port is one of a tunnel's.
#[inline]
const fn is_tunnel_port(port: u16) -> bool {
    matches!(
        port,
        4789 | 8472
            | VXLAN_GPE
            | GENEVE
            | GTP_U
            | L2TP
            | TEREDO
            | MPLS_IN_UDP
            | TZSP
            | LISP
            | CAPWAP
            | GTP_ZERO
            | AYIYA
    )
}

/// Whether a WireGuard message of a type can have a length.
const fn is_wireguard(kind: u8, len: usize) -> bool {
    match kind {
        1 => len == 148,
        2 => len == 92,
        3 => len == 64,
        _ => len >= 32 && len.is_multiple_of(16),
    }
}
