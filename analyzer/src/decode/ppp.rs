//! PPP (RFC 1661) and what carries or resembles it: PPPoE, Cisco HDLC, Frame Relay.

use super::decoder::{Decoder, Path, PathKind};
use super::stats::{DecodeStop, Protocol};
use super::window::Window;

impl Decoder<'_> {
    /// A PPPoE session packet (RFC 2516 §4).
    pub fn pppoe(&mut self, window: Window<'_>, path: Path) {
        self.met(Protocol::Pppoe);
        let Some(&[_, code, s1, s2, l1, l2]) = window.head::<6>() else {
            return self.short(window, "pppoe");
        };
        if code != 0 {
            return; // Discovery.
        }
        let session = u16::from_be_bytes([s1, s2]);
        let len = u16::from_be_bytes([l1, l2]);
        let payload = window.skip(6).limit(len.into());
        self.ppp(payload, path.through(PathKind::Session, session.into()));
    }

    /// A PPP frame, with or without its address and control fields (RFC 1662 §3.1).
    pub fn ppp(&mut self, window: Window<'_>, path: Path) {
        let window = if window.bytes.starts_with(&[0xff, 0x03]) {
            window.skip(2)
        } else {
            window
        };
        // 0xff is no protocol (RFC 1661 §2), but half of the address and control fields.
        let Some(first) = window.u8(0).filter(|_| window.bytes != [0xff]) else {
            return self.short(window, "ppp");
        };
        // RFC 1661 §2: an odd first octet is the whole number, compressed.
        let (protocol, payload) = if first & 1 == 1 {
            (u16::from(first), window.skip(1))
        } else {
            let Some(protocol) = window.u16(0) else {
                return self.short(window, "ppp");
            };
            (protocol, window.skip(2))
        };
        self.met(Protocol::Ppp);
        match protocol {
            0x0021 => self.ipv4(payload, path),
            0x0057 => self.ipv6(payload, path),
            // Multilink (RFC 1990 §3), long sequence numbers: a packet in one fragment.
            0x003d if payload.u8(0).is_some_and(|flags| flags & 0xc0 == 0xc0) => {
                if let Some(path) = self.deeper(path) {
                    self.ppp(payload.skip(4), path);
                }
            }
            // Bridging (RFC 3518 §4.3): flags, type of MAC, the frame.
            0x0031 if payload.u8(1) == Some(1) => {
                if let Some(path) = self.deeper(path) {
                    self.ethernet(payload.skip(2), path);
                }
            }
            0x0281 | 0x0283 => {
                if let Some(path) = self.deeper(path) {
                    self.mpls(payload, path);
                }
            }
            0x003d | 0x0031 if payload.is_cut_before(2) => self.short(payload, "ppp"),
            // Control protocols (LCP, authentication, IPCP, …).
            0x8000.. => {}
            other => self.stop(DecodeStop::PppProtocol(other)),
        }
    }

    /// LINKTYPE_PPP_HDLC: PPP in HDLC-like framing, or Cisco HDLC, told by the address.
    pub fn ppp_or_cisco_hdlc(&mut self, window: Window<'_>, path: Path) {
        match window.u8(0) {
            Some(0x0f | 0x8f) => self.cisco_hdlc(window, path),
            _ => self.ppp(window, path),
        }
    }

    /// Cisco HDLC: address, control, ethertype.
    pub fn cisco_hdlc(&mut self, window: Window<'_>, path: Path) {
        let Some(ether_type) = window.u16(2) else {
            return self.short(window, "chdlc");
        };
        match ether_type {
            // SLARP keep-alives.
            0x8035 => {}
            other => self.ether_type(other, window.skip(4), path),
        }
    }

    /// Frame Relay: RFC 2427 encapsulation, or Cisco's with an ethertype.
    pub fn frame_relay(&mut self, window: Window<'_>, path: Path) {
        // Q.922 addresses have two to four octets; the last has its low bit set.
        let address = window.bytes.iter().take(4).position(|octet| octet & 1 == 1);
        let Some(address) = address.filter(|last| *last > 0) else {
            return self.short(window, "frame relay");
        };
        let window = window.skip(address + 1);
        match window.u8(0) {
            Some(0x03) => {
                // A padding octet may align what follows.
                let nlpid = if window.u8(1) == Some(0) { 2 } else { 1 };
                self.nlpid(window.skip(nlpid), path);
            }
            Some(_) => match window.u16(0) {
                Some(ether_type @ 0x0600..) => self.ether_type(ether_type, window.skip(2), path),
                None => self.short(window, "frame relay"),
                // Q.933 signalling and LMI.
                Some(_) => self.stop(DecodeStop::LlcSap(window.u8(0).unwrap_or(0))),
            },
            None => self.short(window, "frame relay"),
        }
    }

    /// A network layer protocol identifier (ISO/IEC TR 9577) and what follows.
    pub fn nlpid(&mut self, window: Window<'_>, path: Path) {
        match window.u8(0) {
            Some(0xcc) => self.ipv4(window.skip(1), path),
            Some(0x8e) => self.ipv6(window.skip(1), path),
            Some(0x80) => {
                if let Some(path) = self.deeper(path) {
                    // RFC 2427 §4.2: nothing stands between the type and a bridged frame.
                    self.snap(window.skip(1), path, 0);
                }
            }
            Some(0xcf) => self.ppp(window.skip(1), path),
            Some(other) => self.stop(DecodeStop::LlcSap(other)),
            None => self.short(window, "nlpid"),
        }
    }
}
