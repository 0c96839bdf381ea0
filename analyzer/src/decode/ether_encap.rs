//! What wraps or tags Ethernet frames besides VLANs: provider backbones, fabrics, rings.

use super::decoder::{Decoder, Path, PathKind};
use super::window::Window;

/// Cisco inter-switch link: header before the frame, of which the first five octets are the
/// group address `01:00:0c:00:00` (or `03:…` from Token Ring).
const ISL_HEADER: usize = 26;

/// Whether a destination address is that of an inter-switch link.
pub(super) const fn is_inter_switch_link(header: &[u8; 14]) -> bool {
    matches!(header, [0x01 | 0x03, 0x00, 0x0c, 0x00, 0x00, ..])
}

impl Decoder<'_> {
    /// A frame that a Cisco inter-switch link wraps; `window` begins at the group address.
    pub fn inter_switch_link(&mut self, window: Window<'_>, path: Path) {
        let Some(vlan) = window.u16(20) else {
            return self.short(window, "isl");
        };
        let vlan = path.through(PathKind::Vlan, (vlan >> 1).into());
        if let Some(path) = self.deeper(vlan) {
            self.ethernet(window.skip(ISL_HEADER), path);
        }
    }

    /// A tag of `len` octets, then an ethertype (or length) and its payload.
    pub fn tag_then_type(&mut self, len: usize, window: Window<'_>, path: Path) {
        match window.u16(len) {
            Some(kind) => self.type_or_length(kind, window.skip(len + 2), path),
            None => self.short(window, "tag"),
        }
    }

    /// Provider backbone bridging (IEEE 802.1ah): a service tag, then the customer's frame.
    pub fn backbone_service(&mut self, window: Window<'_>, path: Path) {
        let Some(tag) = window.u32(0) else {
            return self.short(window, "i-tag");
        };
        let path = path.through(PathKind::Session, tag & 0x00ff_ffff);
        self.ethernet(window.skip(4), path);
    }

    /// TRILL (RFC 6325 §3): the header says how many words of options follow it.
    pub fn trill(&mut self, window: Window<'_>, path: Path) {
        let Some(first) = window.u16(0) else {
            return self.short(window, "trill");
        };
        let options = usize::from(first >> 6 & 0x1f) * 4;
        self.ethernet(window.skip(6 + options), path);
    }
}
