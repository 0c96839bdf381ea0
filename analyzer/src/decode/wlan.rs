//! IEEE 802.11 frames, and the headers that capturing drivers put before them.

use super::decoder::{Decoder, Path};
use super::stats::Protocol;
use super::window::Window;

const TYPE_DATA: u8 = 2;
/// Subtype bits of data frames.
const NO_DATA: u8 = 0x4;
const QOS: u8 = 0x8;
/// Flags of the frame control field.
const TO_AND_FROM_DS: u8 = 0x03;
const PROTECTED: u8 = 0x40;
const ORDER: u8 = 0x80;
/// A-MSDU present, in the QoS control field.
const AGGREGATED: u8 = 0x80;
/// Radiotap flags: the frame ends with its check sequence; its header is padded to four octets.
const RADIOTAP_FCS: u8 = 0x10;
const RADIOTAP_PADDED: u8 = 0x20;

impl Decoder<'_> {
    /// An 802.11 frame. `padded`: the driver padded the header to a multiple of four.
    pub fn wlan(&mut self, window: Window<'_>, path: Path, padded: bool) {
        self.wlan_frame(window, path, padded, false);
    }

    fn wlan_frame(&mut self, window: Window<'_>, path: Path, padded: bool, swapped: bool) {
        let (control, flags) = match window.head::<2>() {
            Some(&[flags, control]) if swapped => (control, flags),
            Some(&[control, flags]) => (control, flags),
            None => return self.short(window, "wlan"),
        };
        let (kind, subtype) = (control >> 2 & 3, control >> 4);
        if kind != TYPE_DATA || subtype & NO_DATA != 0 {
            return self.met(Protocol::Wlan);
        }
        if flags & PROTECTED != 0 {
            return self.met(Protocol::WlanEncrypted);
        }
        let mut header = if flags & TO_AND_FROM_DS == TO_AND_FROM_DS {
            30
        } else {
            24
        };
        let mut aggregated = false;
        if subtype & QOS != 0 {
            aggregated = window.u8(header).is_some_and(|qos| qos & AGGREGATED != 0);
            header += 2;
            header += if flags & ORDER != 0 { 4 } else { 0 };
        }
        if padded {
            header = header.next_multiple_of(4);
        }
        if window.bytes.len() < header {
            return self.short(window, "wlan");
        }
        let Some(path) = self.deeper(path) else {
            return;
        };
        if aggregated {
            self.aggregate(window.skip(header), path);
        } else {
            self.llc(window.skip(header), path);
        }
    }

    /// An 802.11 frame in a tunnel to its controller: many write the two octets of the frame
    /// control field the wrong way round.
    pub fn wlan_of_controller(&mut self, window: Window<'_>, path: Path) {
        const VERSION_AND_TYPE: u8 = 0x0f;
        const DATA: u8 = TYPE_DATA << 2;
        let swapped = window.head::<2>().is_some_and(|[first, second]| {
            first & VERSION_AND_TYPE != DATA && second & VERSION_AND_TYPE == DATA
        });
        self.wlan_frame(window, path, false, swapped);
    }

    /// The subframes of an A-MSDU (IEEE 802.11 §9.3.2.2): addresses, length, LLC, padding.
    fn aggregate(&mut self, mut window: Window<'_>, path: Path) {
        while let Some(len) = window.u16(12) {
            let len = usize::from(len);
            if len == 0 {
                return;
            }
            self.llc(window.skip(14).limit(len), path);
            window = window.skip((14 + len).next_multiple_of(4));
        }
        if window.is_cut() {
            self.short(window, "a-msdu");
        }
    }

    /// Radiotap (little-endian): only its length and flags matter here.
    pub fn radiotap(&mut self, window: Window<'_>, path: Path) {
        let Some(&[_, _, l1, l2, p1, _, _, p4]) = window.head::<8>() else {
            return self.short(window, "radiotap");
        };
        let len = usize::from(u16::from_le_bytes([l1, l2]));
        let mut fields = 8;
        let mut last = p4;
        while last & 0x80 != 0 {
            let Some(next) = window.u8(fields + 3) else {
                return self.short(window, "radiotap");
            };
            last = next;
            fields += 4;
        }
        let flags = if p1 & 0x02 != 0 {
            // The timestamp before the flags is aligned to eight octets.
            let at = if p1 & 0x01 != 0 {
                fields.next_multiple_of(8) + 8
            } else {
                fields
            };
            window.u8(at).unwrap_or(0)
        } else {
            0
        };
        let mut frame = window.skip(len);
        if flags & RADIOTAP_FCS != 0 {
            frame = frame.limit(frame.len.saturating_sub(4));
        }
        self.wlan(frame, path, flags & RADIOTAP_PADDED != 0);
    }

    /// A Prism header of 144 octets, or an AVS header under the same link type.
    pub fn prism(&mut self, window: Window<'_>, path: Path) {
        let Some(&[a, b, c, d, e, f, g, h]) = window.head::<8>() else {
            return self.short(window, "prism");
        };
        if [a, b, c] == [0x80, 0x21, 0x10] {
            return self.avs(window, path);
        }
        // Its length is in the byte order of the capturing host.
        let message = u32::from_le_bytes([a, b, c, d]);
        let len = if message == 0x44 || message == 0x41 {
            u32::from_le_bytes([e, f, g, h])
        } else {
            u32::from_be_bytes([e, f, g, h])
        };
        let len = if (24..=1024).contains(&len) {
            len as usize
        } else {
            144
        };
        self.wlan(window.skip(len), path, false);
    }

    /// An AVS header: its length is its second word.
    pub fn avs(&mut self, window: Window<'_>, path: Path) {
        let Some(len) = window.u32(4) else {
            return self.short(window, "avs");
        };
        self.wlan(
            window.skip(usize::try_from(len).unwrap_or(usize::MAX)),
            path,
            false,
        );
    }
}
