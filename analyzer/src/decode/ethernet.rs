//! Ethernet II, IEEE 802.3 with LLC/SNAP, VLAN tags, ARP.

use etherparse::ArpPacketSlice;

use super::decoder::{Decoder, Path, PathKind};
use super::ether_encap::is_inter_switch_link;
use super::stats::{DecodeStop, Protocol};
use super::window::Window;

/// Two addresses and a type or length.
const HEADER: usize = 14;
/// Values below are lengths (IEEE 802.3 §3.2.6).
const FIRST_ETHER_TYPE: u16 = 0x0600;

impl Decoder<'_> {
    /// An Ethernet frame.
    #[inline]
    pub fn ethernet(&mut self, window: Window<'_>, path: Path) {
        let Some(header) = window.head::<HEADER>() else {
            return self.short(window, "ethernet");
        };
        let kind = u16::from_be_bytes([header[12], header[13]]);
        if kind < FIRST_ETHER_TYPE && is_inter_switch_link(header) {
            return self.inter_switch_link(window, path);
        }
        self.type_or_length(kind, window.skip(HEADER), path);
    }

    /// What follows a field that is an ethertype or a length.
    #[inline]
    pub fn type_or_length(&mut self, kind: u16, payload: Window<'_>, path: Path) {
        if kind >= FIRST_ETHER_TYPE {
            self.ether_type(kind, payload, path);
        } else {
            self.llc(payload.limit(kind.into()), path);
        }
    }

    /// A VLAN tag (IEEE 802.1Q, 802.1ad, and the older numbers for stacked tags).
    pub fn vlan(&mut self, mut window: Window<'_>, mut path: Path) {
        self.met(Protocol::Vlan);
        // Every turn takes four bytes, so the frame bounds the number of tags.
        loop {
            let Some(&[a, b, c, d]) = window.head::<4>() else {
                return self.short(window, "vlan");
            };
            let identifier = u16::from_be_bytes([a, b]) & 0x0fff;
            path = path.through(PathKind::Vlan, identifier.into());
            window = window.skip(4);
            match u16::from_be_bytes([c, d]) {
                0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300 => {}
                kind => return self.type_or_length(kind, window, path),
            }
        }
    }

    /// An LLC header (IEEE 802.2), with SNAP when it says so.
    pub fn llc(&mut self, window: Window<'_>, path: Path) {
        self.met(Protocol::Llc);
        let Some(&[dsap, ssap, control]) = window.head::<3>() else {
            return self.short(window, "llc");
        };
        // Unnumbered frames have one control octet, all others two.
        let payload = window.skip(if control & 3 == 3 { 3 } else { 4 });
        match (dsap, ssap) {
            (0xaa | 0xab, 0xaa | 0xab) => self.snap(payload, path, 2),
            (0x06, _) => self.ipv4(payload, path),
            (0x42, _) => self.met(Protocol::Stp),
            _ => self.stop(DecodeStop::LlcSap(dsap)),
        }
    }

    /// A SNAP header: organisation and type. Before bridged frames stand `bridge_padding` octets.
    pub fn snap(&mut self, window: Window<'_>, path: Path, bridge_padding: usize) {
        let Some(&[o1, o2, o3, t1, t2]) = window.head::<5>() else {
            return self.short(window, "snap");
        };
        let kind = u16::from_be_bytes([t1, t2]);
        match ([o1, o2, o3], kind) {
            // RFC 1042, the bridge tunnel, and Cisco.
            ([0, 0, 0] | [0, 0, 0xf8], _) => self.ether_type(kind, window.skip(5), path),
            // IEEE 802.1: bridged Ethernet (RFC 2684), with or without its FCS.
            ([0, 0x80, 0xc2], 1 | 7) => {
                if let Some(path) = self.deeper(path) {
                    self.ethernet(window.skip(5 + bridge_padding), path);
                }
            }
            _ => self.stop(DecodeStop::EtherType(kind)),
        }
    }

    /// An ARP packet (RFC 826).
    pub fn arp(&mut self, window: Window<'_>) {
        self.met(Protocol::Arp);
        if ArpPacketSlice::from_slice(window.bytes).is_err() {
            self.short(window, "arp");
        }
    }
}
