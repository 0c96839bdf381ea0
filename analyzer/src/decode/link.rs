//! Link types: what the first header of a frame is.

use super::decoder::{Decoder, Path};
use super::stats::DecodeStop;
use super::window::Window;
use crate::capture::LinkType;

impl Decoder<'_> {
    /// A frame of any link type but Ethernet, which the caller has told apart.
    pub fn link(&mut self, link_type: LinkType, window: Window<'_>, path: Path) {
        match link_type {
            LinkType::LINUX_SLL => self.linux_sll(window, path),
            LinkType::LINUX_SLL2 => self.linux_sll2(window, path),
            LinkType::RAW | LinkType::DLT_RAW | LinkType::DLT_RAW_OPENBSD => self.ip(window, path),
            LinkType::IPV4 => self.ipv4(window, path),
            LinkType::IPV6 => self.ipv6(window, path),
            LinkType::NULL | LinkType::LOOP => self.bsd_loopback(window, path),
            other => self.stop(DecodeStop::LinkType(other)),
        }
    }

    /// A four-byte address family, in the byte order of the capturing host or of the network.
    pub fn bsd_loopback(&mut self, window: Window<'_>, path: Path) {
        let Some(family) = window.u32(0) else {
            return self.short(window, "loopback");
        };
        // No family is above 0xffff: a value that is must be read the other way round.
        let family = if family > 0xffff { family.swap_bytes() } else { family };
        let payload = window.skip(4);
        match family {
            2 => self.ipv4(payload, path),
            // AF_INET6 of Linux; NetBSD and OpenBSD; FreeBSD; macOS.
            10 | 24 | 28 | 30 => self.ipv6(payload, path),
            other => match u16::try_from(other) {
                // Some writers put an ethertype here.
                Ok(ether_type) if ether_type >= 0x0600 => {
                    self.ether_type(ether_type, payload, path);
                }
                _ => self.stop(DecodeStop::Malformed("loopback")),
            },
        }
    }
}
