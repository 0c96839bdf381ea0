//! MPLS label stacks (RFC 3032) and the pseudowires under them (RFC 4385, RFC 4448).

use super::decoder::{Decoder, Path, PathKind};
use super::stats::{DecodeStop, Protocol};
use super::window::Window;

impl Decoder<'_> {
    /// A label stack. Labels differ per direction, so they are no part of the observation point;
    /// that there is a stack is.
    pub fn mpls(&mut self, mut window: Window<'_>, path: Path) {
        self.met(Protocol::Mpls);
        let path = path.through(PathKind::Mpls, 0);
        loop {
            let Some(entry) = window.u32(0) else {
                return self.short(window, "mpls");
            };
            window = window.skip(4);
            if entry & 0x100 != 0 {
                return self.below_label_stack(window, path);
            }
        }
    }

    /// Nothing says what follows the last label: its first nibble and its looks do.
    fn below_label_stack(&mut self, window: Window<'_>, path: Path) {
        match window.u8(0).map(|octet| octet >> 4) {
            Some(4) if looks_like_ipv4(window) => self.ipv4(window, path),
            Some(6) if !looks_like_ethernet(window) => self.ipv6(window, path),
            // A control word, when an Ethernet frame follows it.
            Some(0) if looks_like_ethernet(window.skip(4)) => {
                self.ethernet(window.skip(4), path);
            }
            _ if looks_like_ethernet(window) => self.ethernet(window, path),
            Some(_) if !window.is_cut_before(4 + LOOKED_AT) => {
                self.stop(DecodeStop::EtherType(0x8847));
            }
            _ => self.short(window, "mpls payload"),
        }
    }
}

/// Octets that the functions below look at: an Ethernet header and an IP packet's length.
pub(super) const LOOKED_AT: usize = 14 + 6;

/// Whether an IPv4 header stands here whose length is possible.
pub(super) fn looks_like_ipv4(window: Window<'_>) -> bool {
    let (Some(first), Some(total)) = (window.u8(0), window.u16(2)) else {
        return false;
    };
    let total = usize::from(total);
    first >> 4 == 4 && first & 0xf >= 5 && (total == 0 || (total >= 20 && total <= window.len))
}

/// Whether an IPv6 header stands here whose length is possible.
pub(super) fn looks_like_ipv6(window: Window<'_>) -> bool {
    let (Some(first), Some(len)) = (window.u8(0), window.u16(4)) else {
        return false;
    };
    first >> 4 == 6 && usize::from(len) + 40 <= window.len
}

/// Whether an Ethernet header stands here with a type that is often seen, or a fitting length.
pub(super) fn looks_like_ethernet(window: Window<'_>) -> bool {
    match window.u16(12) {
        Some(0x0800) => looks_like_ipv4(window.skip(14)),
        Some(0x86dd) => looks_like_ipv6(window.skip(14)),
        Some(0x0806 | 0x8100 | 0x88a8 | 0x8847 | 0x8863 | 0x8864 | 0x88cc | 0x9000) => true,
        Some(len @ 3..0x0600) => {
            let room = window.len.saturating_sub(14);
            usize::from(len) <= room
                && matches!(
                    window.bytes.get(14..16),
                    Some([0x42, 0x42] | [0xaa, 0xaa] | [0xfe, 0xfe])
                )
        }
        _ => false,
    }
}
