//! GRE (RFC 2784, 2890), PPTP's variant (RFC 2637), and ERSPAN in it.

use super::decoder::{Decoder, Path, PathKind};
use super::packet::IpFields;
use super::stats::{DecodeStop, Protocol};
use super::window::Window;

const CHECKSUM: u16 = 0x8000;
const ROUTING: u16 = 0x4000;
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;
/// PPTP only.
const ACKNOWLEDGEMENT: u16 = 0x0080;
/// Transparent Ethernet bridging; NVGRE too (RFC 7637).
const ETHERNET: u16 = 0x6558;
const PPP: u16 = 0x880b;
const ERSPAN_1_OR_2: u16 = 0x88be;
const ERSPAN_3: u16 = 0x22eb;
/// Redirected to a web cache; version 2 of the protocol puts four octets before the packet.
const WCCP: u16 = 0x883e;

impl Decoder<'_> {
    /// A GRE packet.
    pub fn gre(&mut self, window: Window<'_>, ip: &IpFields, path: Path) {
        self.met(Protocol::Gre);
        let Some(path) = self.deeper(path.between(PathKind::Gre, ip)) else {
            return;
        };
        let (Some(flags), Some(protocol)) = (window.u16(0), window.u16(2)) else {
            return self.short(window, "gre");
        };
        let mut payload = window.skip(4);
        if flags & 7 == 1 {
            // The high half of the key is the payload's length.
            let Some(len) = payload.u16(0) else {
                return self.short(payload, "gre");
            };
            payload = payload.skip(4);
            payload = payload.skip(if flags & SEQUENCE != 0 { 4 } else { 0 });
            payload = payload.skip(if flags & ACKNOWLEDGEMENT != 0 { 4 } else { 0 });
            if protocol == PPP && len > 0 {
                self.ppp(payload.limit(len.into()), path);
            }
            return;
        }
        payload = payload.skip(if flags & (CHECKSUM | ROUTING) != 0 {
            4
        } else {
            0
        });
        payload = payload.skip(if flags & KEY != 0 { 4 } else { 0 });
        payload = payload.skip(if flags & SEQUENCE != 0 { 4 } else { 0 });
        if flags & ROUTING != 0 {
            // Source routes (RFC 1701) end with an empty entry.
            while let Some(&[_, _, _, len]) = payload.head::<4>() {
                payload = payload.skip(4 + usize::from(len));
                if len == 0 {
                    break;
                }
            }
        }
        match protocol {
            ETHERNET => self.ethernet(payload, path),
            PPP => self.ppp(payload, path),
            // Type I has no header of its own, and no sequence number in GRE.
            ERSPAN_1_OR_2 if flags & SEQUENCE == 0 => {
                self.met(Protocol::Erspan);
                self.ethernet(payload, path);
            }
            ERSPAN_1_OR_2 => self.erspan2(payload, path),
            ERSPAN_3 => self.erspan3(payload, path),
            WCCP if payload.u8(0).is_some_and(|octet| octet >> 4 == 4) => self.ipv4(payload, path),
            WCCP => self.ipv4(payload.skip(4), path),
            // An empty payload is a keep-alive.
            _ if payload.len == 0 => {}
            protocol if protocol < 0x0600 => self.stop(DecodeStop::EtherType(protocol)),
            protocol => self.ether_type(protocol, payload, path),
        }
    }

    /// ERSPAN type II: eight octets, then the mirrored frame.
    pub fn erspan2(&mut self, window: Window<'_>, path: Path) {
        self.met(Protocol::Erspan);
        self.ethernet(window.skip(8), path);
    }

    /// ERSPAN type III: twelve octets, eight more when the last bit says so.
    pub fn erspan3(&mut self, window: Window<'_>, path: Path) {
        self.met(Protocol::Erspan);
        let Some(last) = window.u8(11) else {
            return self.short(window, "erspan");
        };
        self.ethernet(window.skip(if last & 1 == 1 { 20 } else { 12 }), path);
    }
}
