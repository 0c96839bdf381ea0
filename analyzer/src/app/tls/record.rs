//! Cuts one direction of a TLS stream into records (RFC 8446 §5.1), across segments and gaps.

use crate::app::reader::Piece;
use crate::event::At;

/// ContentType values.
pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;

/// Longest record body: 2¹⁴ octets and what ciphers add (RFC 5246 §6.2.3).
const BODY_MAX: usize = 16_384 + 2048;
/// Octets of the header.
const HEADER: usize = 5;
/// Octets kept of handshake messages in clear.
const BODY_KEPT: usize = 16 * 1024;

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Records {
    header: [u8; HEADER],
    /// Octets of the record seen, header included.
    seen: usize,
    start: Option<At>,
    /// Octets of the current record's body that are kept.
    body: Vec<u8>,
    lost: bool,
    pub complete: u64,
}

/// A record, or the front of one whose rest was not captured.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub content_type: u8,
    /// Length of the body on the wire.
    pub len: usize,
    /// The body as far as kept: alerts and handshake messages.
    pub body: &'a [u8],
    /// First and last octet.
    pub start: At,
    pub end: At,
}

/// Whether these are the octets of a record; `None` when more are needed.
///
/// A handshake record must begin with a hello, since any octets may look like a later one.
pub(in crate::app) fn looks_like_record(bytes: &[u8]) -> Option<bool> {
    let front = &bytes[..bytes.len().min(HEADER)];
    if !header_is_plausible(front) {
        return Some(false);
    }
    let [kind, _, minor, high, low] = *bytes.first_chunk()?;
    let len = usize::from(u16::from_be_bytes([high, low]));
    match kind {
        CHANGE_CIPHER_SPEC => Some(len == 1 && *bytes.get(5)? == 1),
        ALERT => Some(len == 2 && matches!(*bytes.get(5)?, 1 | 2)),
        APPLICATION_DATA => Some(minor == 3 && len >= 17),
        HANDSHAKE => {
            let hello = matches!(*bytes.get(5)?, 1 | 2) && *bytes.get(6)? <= 1;
            Some(hello && len >= 40 && *bytes.get(9)? == 3)
        }
        _ => Some(false),
    }
}

/// Whether a header may begin like this, however few octets there are.
fn header_is_plausible(bytes: &[u8]) -> bool {
    let is = |index: usize, test: fn(u8) -> bool| bytes.get(index).is_none_or(|octet| test(*octet));
    let len = bytes
        .get(3..5)
        .map_or(1, |len| usize::from(len[0]) << 8 | usize::from(len[1]));
    is(0, |kind| {
        (CHANGE_CIPHER_SPEC..=APPLICATION_DATA + 1).contains(&kind)
    }) && is(1, |major| major == 3)
        && is(2, |minor| minor <= 4)
        && (1..=BODY_MAX).contains(&len)
}

impl Records {
    /// Takes the next octets; hands over each record that ends in them.
    pub(super) fn data(
        &mut self,
        mut bytes: &[u8],
        piece: Piece,
        mut take: impl FnMut(Record<'_>),
    ) {
        if self.lost {
            // In cipher text a header is told from data by all it says, at a segment's start.
            if !piece.starts_segment || looks_like_record(bytes) != Some(true) {
                return;
            }
            (self.lost, self.seen) = (false, 0);
        }
        while !bytes.is_empty() {
            if self.seen == 0 {
                self.start = Some(piece.at);
                self.body.clear();
            }
            let used = self.step(bytes);
            if self.lost {
                return;
            }
            bytes = &bytes[used..];
            if self.seen >= HEADER && self.seen == HEADER + self.len() {
                self.end(piece.at, &mut take);
            }
        }
    }

    /// Takes note of octets that were not captured; hands over the record they end or cut.
    pub(super) fn gap(&mut self, octets: u64, at: At, mut take: impl FnMut(Record<'_>)) {
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

    /// Octets of a record that has begun and not ended, as far as kept: its type and body.
    pub(super) fn rest(&self) -> Option<(u8, &[u8], At)> {
        let start = self.start.filter(|_| self.seen >= HEADER && !self.lost)?;
        Some((self.header[0], &self.body, start))
    }

    fn len(&self) -> usize {
        usize::from(u16::from_be_bytes([self.header[3], self.header[4]]))
    }

    /// Reads header or body; gives the octets used.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.seen < HEADER {
            let used = (HEADER - self.seen).min(bytes.len());
            self.header[self.seen..self.seen + used].copy_from_slice(&bytes[..used]);
            self.seen += used;
            self.lost = !header_is_plausible(&self.header[..self.seen]);
            return used;
        }
        let used = (HEADER + self.len() - self.seen).min(bytes.len());
        if matches!(self.header[0], HANDSHAKE | ALERT) {
            let room = BODY_KEPT - self.body.len();
            self.body.extend_from_slice(&bytes[..used.min(room)]);
        }
        self.seen += used;
        used
    }

    fn end(&mut self, at: At, take: &mut impl FnMut(Record<'_>)) {
        let start = self.start.take().unwrap_or(at);
        take(Record {
            content_type: self.header[0],
            len: self.len(),
            body: &self.body,
            start,
            end: at,
        });
        self.complete += 1;
        self.seen = 0;
        self.body.clear();
    }
}
