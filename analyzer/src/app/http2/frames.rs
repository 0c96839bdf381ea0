//! Cuts one direction of an HTTP/2 connection into frames (RFC 9113 §4.1), across segments and
//! gaps. Bodies of frames that are read are kept, others are counted.

use crate::app::reader::Piece;
use crate::event::At;

/// The client's connection preface (RFC 9113 §3.4).
pub(in crate::app) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

/// Octets of the header.
const HEADER: usize = 9;
/// Octets kept of a frame's body.
const BODY_KEPT: usize = 16 * 1024;
/// Types above are of no protocol in use; the border is taken for lost.
const TYPE_MAX: u8 = 0x20;
/// Frames longer than the default limit are not taken for a border found again.
const RESUME_LENGTH_MAX: usize = 16_384;

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Octets of the preface seen, when the direction began with it.
    preface: usize,
    begun: bool,
    header: [u8; HEADER],
    /// Octets of the frame seen, header included.
    seen: usize,
    start: Option<At>,
    body: Vec<u8>,
    lost: bool,
}

/// A frame.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    /// Octets of the body on the wire.
    pub len: usize,
    /// The body as far as kept, and whether it is whole.
    pub body: &'a [u8],
    pub whole: bool,
    pub start: At,
    pub end: At,
}

impl Frames {
    /// The direction began with the client's preface.
    pub(super) const fn has_preface(&self) -> bool {
        self.preface > 0
    }

    pub(super) const fn is_lost(&self) -> bool {
        self.lost
    }

    /// Takes the next octets; hands over each frame that ends in them.
    pub(super) fn data(
        &mut self,
        mut bytes: &[u8],
        piece: Piece,
        mut take: impl FnMut(&Frame<'_>),
    ) {
        if self.lost {
            let front = &bytes[..bytes.len().min(HEADER)];
            if !piece.starts_segment || front.len() < HEADER || !resumes_at(front) {
                return;
            }
            (self.lost, self.seen) = (false, 0);
        }
        if !self.begun {
            self.begun = true;
            // A frame header that begins like the preface would announce five million octets.
            self.preface = usize::from(bytes.first() == Some(&PREFACE[0]));
            bytes = &bytes[self.preface..];
        }
        if self.has_preface() {
            let used = (PREFACE.len() - self.preface).min(bytes.len());
            self.preface += used;
            bytes = &bytes[used..];
        }
        while !bytes.is_empty() {
            if self.seen == 0 {
                self.start = Some(piece.at);
                self.body.clear();
            }
            let used = self.step(bytes);
            bytes = &bytes[used..];
            if self.lost {
                return;
            }
            if self.seen >= HEADER && self.seen == HEADER + self.len() {
                self.end(piece.at, &mut take);
            }
        }
    }

    /// Takes note of octets that were not captured; hands over the frame they end or cut.
    pub(super) fn gap(&mut self, octets: u64, at: At, mut take: impl FnMut(&Frame<'_>)) {
        let inside = self.seen >= HEADER && !self.lost;
        let left = if inside {
            HEADER + self.len() - self.seen
        } else {
            0
        };
        match usize::try_from(octets) {
            Ok(octets) if octets < left => self.seen += octets,
            Ok(octets) if octets == left && inside => {
                self.seen += octets;
                self.end(at, &mut take);
            }
            _ => {
                if inside {
                    self.end(at, &mut take);
                }
                self.lost = true;
            }
        }
    }

    fn len(&self) -> usize {
        let [high, middle, low, ..] = self.header;
        usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low)
    }

    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.seen < HEADER {
            let used = (HEADER - self.seen).min(bytes.len());
            self.header[self.seen..self.seen + used].copy_from_slice(&bytes[..used]);
            self.seen += used;
            self.lost = self.seen == HEADER && self.header[3] > TYPE_MAX;
            return used;
        }
        let used = (HEADER + self.len() - self.seen).min(bytes.len());
        if matches!(
            self.header[3],
            HEADERS | CONTINUATION | RST_STREAM | GOAWAY | PUSH_PROMISE | SETTINGS | WINDOW_UPDATE
        ) {
            let room = BODY_KEPT.saturating_sub(self.body.len());
            self.body.extend_from_slice(&bytes[..used.min(room)]);
        }
        self.seen += used;
        used
    }

    fn end(&mut self, at: At, take: &mut impl FnMut(&Frame<'_>)) {
        let [.., kind, flags, one, two, three, four] = self.header;
        take(&Frame {
            kind,
            flags,
            stream: u32::from_be_bytes([one, two, three, four]) & 0x7fff_ffff,
            len: self.len(),
            body: &self.body,
            whole: self.body.len() == self.len(),
            start: self.start.take().unwrap_or(at),
            end: at,
        });
        self.seen = 0;
        self.body.clear();
    }
}

/// Whether a frame can be taken to begin here after a loss: a usual type and length, the
/// reserved bit clear, a stream where the type has one.
fn resumes_at(header: &[u8]) -> bool {
    let [high, middle, low, kind, _, stream @ ..] = header else {
        return false;
    };
    let len = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
    let stream = stream
        .iter()
        .fold(0_u32, |value, octet| value << 8 | u32::from(*octet));
    let fits = match *kind {
        DATA | HEADERS | CONTINUATION => stream != 0,
        RST_STREAM => len == 4 && stream != 0,
        4 => len % 6 == 0 && stream == 0,
        6 => len == 8 && stream == 0,
        8 => len == 4,
        _ => false,
    };
    fits && len <= RESUME_LENGTH_MAX && stream < 1 << 24
}
