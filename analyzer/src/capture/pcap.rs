//! Classic pcap: both byte orders, µs and ns, and the variants with longer record headers.
//!
//! The file header is read by pcap-parser. Records are cut by a loop of our own over whole
//! slabs (pcap-parser's, one call per record, costs more than the rest of the reading); a test
//! compares both on every capture of the test data.

use pcap_parser::parse_pcap_header;

use super::link_type::{MAX_CAPTURED, max_captured};
use super::session::{InterfaceDescription, Session, WalkEnd, Walked};
use super::{Frame, HEAD_BYTES, LinkType};
use crate::quality::QualityKind;
use crate::time::Timestamp;

/// Length of the file header.
const FILE_HEADER: usize = 24;

/// Bits of the header's link type word that must be zero (draft-ietf-opsawg-pcap §4).
const RESERVED_BITS: u32 = 0x03ff_0000;

/// A recognised magic number.
#[derive(Clone, Copy, Debug)]
struct Magic {
    big_endian: bool,
    nanoseconds: bool,
    /// Kuznetzov's patched libpcap: longer record headers.
    modified: bool,
    /// IXIA's `lcap`: four more bytes after the file header.
    ixia: bool,
}

impl Magic {
    fn of(bytes: [u8; 4]) -> Option<Self> {
        let little = u32::from_le_bytes(bytes);
        let big_endian = matches!(bytes[0], 0xa1 | 0x1c);
        let number = if big_endian {
            little.swap_bytes()
        } else {
            little
        };
        let (nanoseconds, modified, ixia) = match number {
            0xa1b2_c3d4 => (false, false, false),
            0xa1b2_3c4d => (true, false, false),
            0xa1b2_cd34 => (false, true, false),
            0x1c00_01ac => (true, false, true),
            0x1c00_01ab => (false, false, true),
            _ => return None,
        };
        Some(Self {
            big_endian,
            nanoseconds,
            modified,
            ixia,
        })
    }

    const fn is_standard(self) -> bool {
        !self.nanoseconds && !self.modified && !self.ixia
    }

    /// The standard magic that pcap-parser knows for this byte order.
    const fn standard(self) -> [u8; 4] {
        if self.big_endian {
            [0xa1, 0xb2, 0xc3, 0xd4]
        } else {
            [0xd4, 0xc3, 0xb2, 0xa1]
        }
    }
}

/// AIX names link types by their numbers of RFC 1573 (`ifType`) in files of version 2.2, and counts
/// nanoseconds under the standard magic. Other systems did not write these numbers then.
const fn aix_link_type(network: u32) -> Option<LinkType> {
    match network {
        6 => Some(LinkType::ETHERNET),
        9 => Some(LinkType::TOKEN_RING),
        24 => Some(LinkType::NULL),
        _ => None,
    }
}

/// Whether a file that begins so is a classic pcap file.
pub(super) fn is_pcap(head: &[u8]) -> bool {
    head.first_chunk::<4>()
        .is_some_and(|magic| Magic::of(*magic).is_some())
}

/// How the two lengths of a record stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum LengthOrder {
    CapturedFirst,
    /// Before version 2.3 of the format.
    OriginalFirst,
    /// Version 2.3 was written both ways: the smaller one is the captured length.
    SmallerIsCaptured,
}

impl LengthOrder {
    /// The captured and the original length, told apart.
    const fn apply(self, first: u32, second: u32) -> (u32, u32) {
        match self {
            Self::CapturedFirst => (first, second),
            Self::OriginalFirst => (second, first),
            Self::SmallerIsCaptured if first > second => (second, first),
            Self::SmallerIsCaptured => (first, second),
        }
    }
}

/// Reading state of a classic pcap file.
#[derive(Debug)]
pub(super) struct Pcap {
    big_endian: bool,
    /// Nanoseconds per unit of the fraction.
    fraction_nanos: u32,
    record_header: usize,
    length_order: LengthOrder,
    interface: u32,
    max_captured: u32,
    /// Bytes of the file header not yet skipped.
    header_left: usize,
}

impl Pcap {
    /// Reads the file header and tells the variant from the first records in `head`.
    ///
    /// # Errors
    /// What is wrong with the header, for a message.
    pub fn open(head: &[u8], lane: u32, session: &mut Session) -> Result<Self, String> {
        let magic = head.first_chunk::<4>().and_then(|magic| Magic::of(*magic));
        let Some(magic) = magic else {
            return Err("not a pcap file".to_owned());
        };
        let mut header = [0_u8; FILE_HEADER];
        let Some(found) = head.get(..FILE_HEADER) else {
            return Err(format!(
                "the pcap file header is cut: expected {FILE_HEADER} bytes, found {}",
                head.len()
            ));
        };
        header.copy_from_slice(found);
        header[..4].copy_from_slice(&magic.standard());
        let Ok((_, parsed)) = parse_pcap_header(&header) else {
            return Err("the pcap file header cannot be read".to_owned());
        };
        if parsed.version_major < 2 {
            return Err(format!(
                "pcap version {}.{} is not supported: expected version 2 or later",
                parsed.version_major, parsed.version_minor
            ));
        }
        let network = parsed.network.0.cast_unsigned();
        // Bit 26 says that the top four bits count the 16-bit words of the FCS.
        let fcs_len = if network & 0x0400_0000 != 0 {
            ((network >> 28) & 0xf) as u8 * 2
        } else {
            0
        };
        if network & RESERVED_BITS != 0 {
            return Err(format!(
                "the pcap file header names link type {network:#010x}: expected bits 16 to 25 to be zero; the header is damaged"
            ));
        }
        let aix = if magic.is_standard() && (parsed.version_major, parsed.version_minor) == (2, 2) {
            aix_link_type(network)
        } else {
            None
        };
        let link_type = aix.unwrap_or(LinkType((network & 0xffff) as u16));
        let header_left = FILE_HEADER + if magic.ixia { 4 } else { 0 };
        let length_order = match (parsed.version_major, parsed.version_minor) {
            (2, 0..=2) | (543, _) => LengthOrder::OriginalFirst,
            (2, 3) => LengthOrder::SmallerIsCaptured,
            _ => LengthOrder::CapturedFirst,
        };
        let records = head.get(header_left..).unwrap_or(&[]);
        let interface = session.interface(&InterfaceDescription {
            lane,
            index_in_section: 0,
            link_type,
            fcs_len,
            snaplen: parsed.snaplen,
            name: None,
        });
        let record_header = record_header_len(
            magic,
            length_order,
            parsed.snaplen,
            records,
            head.len() < HEAD_BYTES,
        );
        let stated = Unit::stated(magic.nanoseconds || aix.is_some());
        let fractions = fractions(magic.big_endian, record_header, length_order, records);
        let unit = stated.checked(&fractions, session);
        Ok(Self {
            big_endian: magic.big_endian,
            fraction_nanos: unit.nanos(),
            record_header,
            length_order,
            interface,
            max_captured: max_captured(link_type),
            header_left,
        })
    }

    /// The format's name in a file summary.
    pub const fn name(&self) -> &'static str {
        if self.fraction_nanos == 1 {
            "pcap (nanoseconds)"
        } else {
            "pcap"
        }
    }

    /// Bytes of the file header that are yet to come.
    pub const fn header_left(&self) -> u64 {
        self.header_left as u64
    }

    /// Says that reading goes on between two records.
    pub const fn skip_header(&mut self) {
        self.header_left = 0;
    }

    /// Cuts as many whole records out of `bytes` as there are.
    pub fn walk(&mut self, bytes: &[u8], session: &mut Session, out: &mut Vec<Frame>) -> Walked {
        let before = out.len();
        let walked = if bytes.len() < self.header_left {
            return Walked {
                consumed: 0,
                end: WalkEnd::Needs(self.header_left),
            };
        } else if self.big_endian {
            self.records::<true>(bytes, session.frames, out)
        } else {
            self.records::<false>(bytes, session.frames, out)
        };
        self.header_left = 0;
        let count = (out.len() - before) as u64;
        session.frames += count;
        session.count_frames(self.interface, count);
        walked
    }

    fn records<const BIG: bool>(
        &self,
        bytes: &[u8],
        frames_before: u64,
        out: &mut Vec<Frame>,
    ) -> Walked {
        let mut at = self.header_left;
        let mut number = frames_before;
        loop {
            let Some(header) = bytes.get(at..).and_then(<[u8]>::first_chunk::<16>) else {
                let needed = at + self.record_header;
                return Walked {
                    consumed: at,
                    end: WalkEnd::Needs(needed - at),
                };
            };
            let word = |index: usize| {
                let bytes = [
                    header[index * 4],
                    header[index * 4 + 1],
                    header[index * 4 + 2],
                    header[index * 4 + 3],
                ];
                if BIG {
                    u32::from_be_bytes(bytes)
                } else {
                    u32::from_le_bytes(bytes)
                }
            };
            let (captured, original) = self.length_order.apply(word(2), word(3));
            if captured > self.max_captured {
                let what = format!(
                    "expected a record of at most {} bytes, found one that claims {captured}",
                    self.max_captured
                );
                return Walked {
                    consumed: at,
                    end: WalkEnd::Damaged(what),
                };
            }
            let start = at + self.record_header;
            let end = start + captured as usize;
            if end > bytes.len() {
                return Walked {
                    consumed: at,
                    end: WalkEnd::Needs(end - at),
                };
            }
            number += 1;
            let nanos = i64::from(word(0)) * 1_000_000_000
                + i64::from(word(1)) * i64::from(self.fraction_nanos);
            out.push(Frame {
                number,
                time: Timestamp::from_nanos(nanos),
                start: u32::try_from(start).unwrap_or(u32::MAX),
                captured_len: captured,
                original_len: original.max(captured),
                interface: self.interface,
            });
            at = end;
        }
    }
}

/// What the fraction of a second counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unit {
    Microseconds,
    Nanoseconds,
}

impl Unit {
    const fn stated(nanoseconds: bool) -> Self {
        if nanoseconds {
            Self::Nanoseconds
        } else {
            Self::Microseconds
        }
    }

    /// The unit that the first records bear out; where it is not the stated one, that is said.
    fn checked(self, first: &[[u32; 2]], session: &mut Session) -> Self {
        let unit = self.borne_out(first);
        if unit != self {
            let note = format!(
                "a file states {} and its fractions of a second are {}: read as those",
                self.name(),
                unit.name()
            );
            session.note(QualityKind::ClockStep, 1, note);
        }
        unit
    }

    /// The stated unit, or the other one where the first records deny it: a second has no more than a
    /// million microseconds, and one of a thousand fractions in nanoseconds is below a million.
    fn borne_out(self, first: &[[u32; 2]]) -> Self {
        const ENOUGH: usize = 8;
        let large = first
            .iter()
            .filter(|[_, fraction]| (1_000_000..1_000_000_000).contains(fraction))
            .count();
        let mut seconds: Vec<u32> = first.iter().map(|[second, _]| *second).collect();
        seconds.dedup();
        match self {
            _ if first.len() < ENOUGH => self,
            Self::Microseconds if large * 10 >= first.len() * 9 => Self::Nanoseconds,
            // Packets of one second may all come in its first millisecond, but not those of several.
            Self::Nanoseconds
                if seconds.len() > 2
                    && first
                        .iter()
                        .all(|[_, fraction]| (1..1_000_000).contains(fraction)) =>
            {
                Self::Microseconds
            }
            stated => stated,
        }
    }

    const fn nanos(self) -> u32 {
        match self {
            Self::Microseconds => 1000,
            Self::Nanoseconds => 1,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Microseconds => "microseconds",
            Self::Nanoseconds => "nanoseconds",
        }
    }
}

/// Second and fraction of the records whose headers lie in `records`.
fn fractions(
    big_endian: bool,
    header_len: usize,
    order: LengthOrder,
    records: &[u8],
) -> Vec<[u32; 2]> {
    let mut found = Vec::new();
    let mut rest = records;
    while let Some(header) = rest.get(..header_len).and_then(<[u8]>::first_chunk::<16>) {
        let (words, _) = header.as_chunks::<4>();
        let word = |index: usize| {
            if big_endian {
                u32::from_be_bytes(words[index])
            } else {
                u32::from_le_bytes(words[index])
            }
        };
        found.push([word(0), word(1)]);
        let (captured, _) = order.apply(word(2), word(3));
        let Some(next) = header_len
            .checked_add(captured as usize)
            .and_then(|len| rest.get(len..))
        else {
            break;
        };
        rest = next;
    }
    found
}

/// Length of a record header: 16, or what the first records say.
///
/// Some systems wrote longer headers under the standard magic (Red Hat 6.1: 24 bytes, Nokia
/// IPSO: 20), and the modified magic stands for 24 bytes as well as for 28. As Wireshark does,
/// each length is tried on the first records and the one with the fewest absurdities taken.
fn record_header_len(
    magic: Magic,
    order: LengthOrder,
    snaplen: u32,
    records: &[u8],
    whole: bool,
) -> usize {
    let candidates: &[usize] = match magic {
        _ if magic.modified => &[24, 28],
        _ if magic.nanoseconds || magic.ixia || order != LengthOrder::CapturedFirst => &[16],
        _ => &[16, 24, 20],
    };
    candidates
        .iter()
        .copied()
        .min_by_key(|&len| absurdities(magic.big_endian, len, snaplen, records, whole))
        .unwrap_or(16)
}

/// How much speaks against records with headers of `len` bytes, looking at the first three: the
/// faults of the first record that has any. `records` is all there is when `whole`.
fn absurdities(big_endian: bool, len: usize, snaplen: u32, records: &[u8], whole: bool) -> u32 {
    let mut rest = records;
    for _ in 0..3 {
        if rest.is_empty() {
            break;
        }
        let Some(header) = rest.get(..len) else {
            return u32::from(whole);
        };
        let word = |index: usize| {
            let bytes = [
                header[index * 4],
                header[index * 4 + 1],
                header[index * 4 + 2],
                header[index * 4 + 3],
            ];
            if big_endian {
                u32::from_be_bytes(bytes)
            } else {
                u32::from_le_bytes(bytes)
            }
        };
        let (fraction, captured, original) = (word(1), word(2), word(3));
        let mut count = u32::from(fraction >= 1_000_000)
            + u32::from(captured > MAX_CAPTURED)
            + u32::from(snaplen != 0 && captured > snaplen)
            + u32::from(original > 128 << 20)
            + u32::from(captured > original);
        if len >= 24 {
            // The interface index and the packet type (0–4).
            count += u32::from(word(4) > 10_000) + u32::from(header[22] > 4);
        }
        if count > 0 {
            return count;
        }
        match rest.get(len + captured as usize..) {
            Some(next) => rest = next,
            // A record may end behind what was looked at. Behind the end of the file, it speaks
            // against this length no more than a header that the file's end cuts.
            None => return u32::from(whole),
        }
    }
    0
}
