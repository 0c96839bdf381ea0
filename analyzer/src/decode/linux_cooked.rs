//! Linux cooked captures: SLL (`-i any` of old) and SLL2, which has the interface.

use super::decoder::{Decoder, Path, PathKind};
use super::stats::DecodeStop;
use super::window::Window;

/// `ARPHRD_` numbers whose protocol field is no ethertype.
const ARPHRD_NETLINK: u16 = 824;
const ARPHRD_RADIOTAP: u16 = 803;
const ARPHRD_PRISM: u16 = 802;
const ARPHRD_IEEE80211: u16 = 801;
const ARPHRD_FRAD: u16 = 770;

impl Decoder<'_> {
    /// LINKTYPE_LINUX_SLL: 16 bytes, the protocol last.
    pub fn linux_sll(&mut self, window: Window<'_>, path: Path) {
        let Some(header) = window.head::<16>() else {
            return self.short(window, "sll");
        };
        let hardware = u16::from_be_bytes([header[2], header[3]]);
        let protocol = u16::from_be_bytes([header[14], header[15]]);
        self.cooked(hardware, protocol, window.skip(16), path);
    }

    /// LINKTYPE_LINUX_SLL2: 20 bytes, the protocol first.
    ///
    /// The interface is part of the observation point: `any` sees a packet once per interface.
    /// The packet type (to us, outgoing) is not: both directions of a flow share a point.
    pub fn linux_sll2(&mut self, window: Window<'_>, path: Path) {
        let Some(header) = window.head::<20>() else {
            return self.short(window, "sll2");
        };
        let protocol = u16::from_be_bytes([header[0], header[1]]);
        let interface = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let hardware = u16::from_be_bytes([header[8], header[9]]);
        let path = path.through(PathKind::Interface, interface);
        self.cooked(hardware, protocol, window.skip(20), path);
    }

    fn cooked(&mut self, hardware: u16, protocol: u16, payload: Window<'_>, path: Path) {
        match (hardware, protocol) {
            (ARPHRD_RADIOTAP, _) => self.radiotap(payload, path),
            (ARPHRD_PRISM, _) => self.prism(payload, path),
            (ARPHRD_IEEE80211, _) => self.wlan(payload, path, false),
            (ARPHRD_FRAD, _) => self.frame_relay(payload, path),
            (ARPHRD_NETLINK, _) => self.stop(DecodeStop::EtherType(protocol)),
            // ETH_P_ALL: a whole frame; ETH_P_WAN_PPP.
            (_, 0x0003) => self.ethernet(payload, path),
            (_, 0x0007) => self.ppp(payload, path),
            // ETH_P_802_2: an LLC header follows.
            (_, 0x0004) => self.llc(payload, path),
            (_, protocol) => self.ether_type(protocol, payload, path),
        }
    }
}
