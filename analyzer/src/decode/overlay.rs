//! Rarer tunnels over UDP: LISP, CAPWAP, the first GTP, AYIYA.

use super::decoder::{Decoder, Path, PathKind};
use super::mpls::{looks_like_ipv4, looks_like_ipv6};
use super::packet::IpFields;
use super::stats::Protocol;
use super::window::Window;

impl Decoder<'_> {
    /// LISP's data plane (RFC 9300 §5): eight octets, then an IP packet.
    pub fn lisp(&mut self, window: Window<'_>, ip: &IpFields, path: Path) -> bool {
        let payload = window.skip(8);
        if !looks_like_ipv4(payload) && !looks_like_ipv6(payload) {
            return false;
        }
        self.met(Protocol::Lisp);
        if let Some(path) = self.deeper(path.between(PathKind::Lisp, ip)) {
            self.ip(payload, path);
        }
        true
    }

    /// CAPWAP's data channel (RFC 5415 §4.3): an 802.11 or 802.3 frame of a wireless client.
    pub fn capwap(&mut self, window: Window<'_>, ip: &IpFields, path: Path) -> bool {
        /// Of the flags after the lengths: native frame, fragment, keep-alive.
        const NATIVE: u32 = 0x0100;
        const FRAGMENT: u32 = 0x0080;
        const KEEP_ALIVE: u32 = 0x0008;
        let Some(first) = window.u32(0) else {
            return false;
        };
        // The preamble says version 0 in clear text; encrypted and partial frames stay datagrams.
        if first >> 24 != 0 || first & (FRAGMENT | KEEP_ALIVE) != 0 {
            return false;
        }
        let header = usize::try_from(first >> 19 & 0x1f).unwrap_or(0) * 4;
        if header < 8 {
            return false;
        }
        self.met(Protocol::Capwap);
        let Some(path) = self.deeper(path.between(PathKind::Capwap, ip)) else {
            return true;
        };
        let payload = window.skip(header);
        if first & NATIVE == 0 {
            self.ethernet(payload, path);
        } else {
            self.wlan_of_controller(payload, path);
        }
        true
    }

    /// GTP version 0 (3GPP TS 09.60): twenty octets before the user's packet.
    pub fn gtp_zero(&mut self, window: Window<'_>, ip: &IpFields, path: Path) -> bool {
        let Some(&[flags, kind]) = window.head::<2>() else {
            return false;
        };
        let payload = window.skip(20);
        if flags & 0xf0 != 0x10
            || kind != 255
            || (!looks_like_ipv4(payload) && !looks_like_ipv6(payload))
        {
            return false;
        }
        self.met(Protocol::Gtp);
        if let Some(path) = self.deeper(path.between(PathKind::Gtp, ip)) {
            self.ip(payload, path);
        }
        true
    }

    /// AYIYA, which tunnel brokers used: identity, signature, then an IPv6 or IPv4 packet.
    pub fn ayiya(&mut self, window: Window<'_>, ip: &IpFields, path: Path) -> bool {
        let Some(&[identity, signature, method, next]) = window.head::<4>() else {
            return false;
        };
        // Operation 1 is "forward".
        if method & 0xf != 1 || !matches!(next, 4 | 41) {
            return false;
        }
        let header = 8 + (1_usize << (identity >> 4)) + usize::from(signature >> 4) * 4;
        if let Some(path) = self.deeper(path.between(PathKind::IpInIp, ip)) {
            self.ip_payload(next, window.skip(header), ip, path);
        }
        true
    }
}
