//! Counts the messages of one direction of a framed stream, octet-exact and in constant memory.
//!
//! The state is a position inside the current message; bodies of known length are skipped in one
//! step. Besides the counts it keeps what inference needs to judge whether a framing is real: how
//! often the end of a segment was the end of a message, and how small lengths were against what
//! their field can hold.

use smallvec::SmallVec;

use super::FramingSpec;
use crate::app::reader::Piece;
use crate::event::At;

/// Not longer: a header that announces more is taken for a border that was lost.
pub(super) const MESSAGE_MAX: u64 = 1 << 28;

/// A segment at least as long as every one before it, and as this (the smallest MSS in use,
/// RFC 9293 §3.7.1, less options), may have ended because it was full.
pub(super) const FULL_MIN: u64 = 500;

/// One direction of a framed stream.
#[derive(Clone, Debug)]
pub(super) struct Counter {
    spec: FramingSpec,
    place: Place,
    message: Option<Message>,
    segment: Segment,
    pub counts: Counts,
    pub fit: Fit,
}

/// What is reported of one direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// Complete messages.
    pub messages: u64,
    pub coalesced_segments: u64,
    pub split_messages: u64,
    pub message_min: u64,
    pub message_max: u64,
    pub first_coalesced: Option<At>,
    pub first_split: Option<At>,
    /// Borders were lost by octets that were not captured.
    pub lost_track: bool,
}

/// How well the framing fits.
#[derive(Clone, Debug, Default)]
pub(super) struct Fit {
    /// Octets seen (gaps included).
    pub octets: u64,
    /// Octets of complete messages.
    pub message_octets: u64,
    /// Messages with nothing after their header (or an empty line).
    pub empty_messages: u64,
    /// Segments that may not have been full and ended with a message.
    pub short_ends_at_border: u64,
    /// Such segments that ended inside a message.
    pub short_ends_inside: u64,
    /// A header made no sense.
    pub broken: bool,
}

/// Where in the current message the stream is.
#[derive(Clone, Debug)]
enum Place {
    /// Collecting the header of a length-prefixed message.
    Header(SmallVec<[u8; 8]>),
    /// Octets left of the message.
    Skip(u64),
    /// Looking for the delimiter, of which so many octets have matched.
    Scan(usize),
    /// The border is lost; waiting for the next segment (length) or delimiter (scan).
    Lost,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    start: At,
    len: u64,
    split: bool,
}

/// The segment being read.
#[derive(Clone, Copy, Debug, Default)]
struct Segment {
    octets: u64,
    longest: u64,
    starts: u32,
    oversized: bool,
}

impl Counter {
    pub(super) fn new(spec: FramingSpec) -> Self {
        Self {
            spec,
            place: Place::fresh(spec),
            message: None,
            segment: Segment::default(),
            counts: Counts::default(),
            fit: Fit::default(),
        }
    }

    /// Nothing has begun that has not ended.
    pub(super) const fn at_border(&self) -> bool {
        self.message.is_none() && !matches!(self.place, Place::Lost)
    }

    /// Takes the next octets.
    pub(super) fn data(&mut self, mut bytes: &[u8], piece: Piece) {
        if piece.starts_segment {
            self.end_segment();
            self.segment.oversized = piece.oversized;
            if matches!(self.place, Place::Lost) && self.resumes_at(bytes) {
                self.place = Place::fresh(self.spec);
            }
            if let Some(message) = self.message.as_mut().filter(|message| !message.split) {
                message.split = true;
                self.counts.split_messages += 1;
                self.counts.first_split.get_or_insert(message.start);
            }
        }
        self.fit.octets += bytes.len() as u64;
        self.segment.octets += bytes.len() as u64;
        while !bytes.is_empty() {
            let used = self.step(bytes, piece);
            bytes = &bytes[used..];
        }
    }

    /// Takes note of octets that were not captured.
    pub(super) fn gap(&mut self, octets: u64, at: At) {
        self.fit.octets += octets;
        self.segment.octets += octets;
        if let FramingSpec::Fixed(size) = self.spec {
            self.gap_in_fixed(octets, u64::from(size), at);
            return;
        }
        match &mut self.place {
            Place::Skip(left) if octets < *left => {
                *left -= octets;
                self.grow(octets);
            }
            Place::Skip(left) if octets == *left => {
                self.grow(octets);
                self.complete();
            }
            _ => self.lose(),
        }
    }

    /// Counts the last segment's end; call it once, when the stream is over.
    pub(super) fn finish(&mut self) {
        self.end_segment();
    }

    /// Reads one step; gives the octets used, at least one.
    fn step(&mut self, bytes: &[u8], piece: Piece) -> usize {
        if matches!(self.place, Place::Lost) {
            return self.search_border(bytes);
        }
        if self.message.is_none() {
            self.begin(piece);
        }
        match &mut self.place {
            Place::Header(header) => {
                let FramingSpec::Length(field) = self.spec else {
                    return bytes.len();
                };
                let wanted = field.header_len().saturating_sub(header.len());
                let used = wanted.min(bytes.len());
                header.extend_from_slice(&bytes[..used]);
                if used == wanted {
                    let len = field.message_len(header).filter(|len| *len <= MESSAGE_MAX);
                    self.header_read(used, field.header_len() as u64, len);
                } else {
                    self.grow(used as u64);
                }
                used
            }
            Place::Skip(left) => {
                let used = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                *left -= used as u64;
                let done = *left == 0;
                self.grow(used as u64);
                if done {
                    self.complete();
                }
                used
            }
            Place::Scan(matched) => {
                let (used, found) = scan(delimiter(&self.spec), matched, bytes);
                self.grow(used as u64);
                if found {
                    self.complete();
                }
                used
            }
            Place::Lost => bytes.len(),
        }
    }

    fn begin(&mut self, piece: Piece) {
        self.message = Some(Message {
            start: piece.at,
            len: 0,
            split: false,
        });
        self.segment.starts += 1;
        if self.segment.starts == 2 && !self.segment.oversized {
            self.counts.coalesced_segments += 1;
            self.counts.first_coalesced.get_or_insert(piece.at);
        }
        if let FramingSpec::Fixed(size) = self.spec {
            self.place = Place::Skip(u64::from(size));
        }
    }

    /// The header is complete (its last `used` octets are new).
    fn header_read(&mut self, used: usize, header_len: u64, len: Option<u64>) {
        self.grow(used as u64);
        match len {
            Some(len) if len > header_len => self.place = Place::Skip(len - header_len),
            Some(_) => self.complete(),
            None => {
                self.fit.broken = true;
                self.lose();
            }
        }
    }

    const fn grow(&mut self, octets: u64) {
        if let Some(message) = &mut self.message {
            message.len += octets;
        }
    }

    fn complete(&mut self) {
        self.place = Place::fresh(self.spec);
        let Some(message) = self.message.take() else {
            return;
        };
        let counts = &mut self.counts;
        counts.message_min = if counts.messages == 0 {
            message.len
        } else {
            counts.message_min.min(message.len)
        };
        counts.message_max = counts.message_max.max(message.len);
        counts.messages += 1;
        self.fit.message_octets += message.len;
        let empty_len = match self.spec {
            FramingSpec::Length(field) => field.empty_len(),
            _ => delimiter(&self.spec).len() as u64,
        };
        self.fit.empty_messages += u64::from(message.len <= empty_len);
    }

    fn lose(&mut self) {
        self.message = None;
        self.counts.lost_track = true;
        self.place = Place::Lost;
    }

    /// Fixed sizes need no octets to be seen: the gap is cut by arithmetic.
    fn gap_in_fixed(&mut self, octets: u64, size: u64, at: At) {
        let total = self
            .message
            .map_or(0, |message| message.len)
            .saturating_add(octets);
        let mut whole = total / size;
        if whole > 0 {
            if let Some(message) = &mut self.message {
                message.len = size;
                self.complete();
                whole -= 1;
            }
            if whole > 0 {
                self.counts.messages += whole;
                self.fit.message_octets = self.fit.message_octets.saturating_add(whole * size);
                (self.counts.message_min, self.counts.message_max) = (size, size);
            }
        }
        let begun = total % size;
        self.place = Place::Skip(size - begun);
        if begun > 0 {
            self.message
                .get_or_insert(Message {
                    start: at,
                    len: 0,
                    split: false,
                })
                .len = begun;
        }
    }

    fn end_segment(&mut self) {
        let segment = &mut self.segment;
        if segment.octets > 0 {
            let is_full = segment.octets >= segment.longest.max(FULL_MIN);
            let at_border = self.message.is_none() && !matches!(self.place, Place::Lost);
            let fit = &mut self.fit;
            fit.short_ends_at_border += u64::from(at_border && !is_full);
            fit.short_ends_inside += u64::from(!at_border && !is_full);
            segment.longest = segment.longest.max(segment.octets);
        }
        segment.octets = 0;
        segment.starts = 0;
    }

    /// Whether a message can be taken to start here, at a segment's start, after a loss.
    fn resumes_at(&self, bytes: &[u8]) -> bool {
        let FramingSpec::Length(field) = self.spec else {
            return false;
        };
        if self.fit.broken {
            return false;
        }
        let usual = self.counts.message_max.saturating_mul(4).max(1024);
        field.message_len(bytes).is_some_and(|len| len <= usual)
    }

    /// In a lost place: lines and delimiters are found again by themselves.
    fn search_border(&mut self, bytes: &[u8]) -> usize {
        let delimiter = delimiter(&self.spec);
        if delimiter.is_empty() {
            return bytes.len();
        }
        // A delimiter that began in the gap is not missed by more than one message.
        let (used, found) = scan(delimiter, &mut 0, bytes);
        if found {
            self.place = Place::fresh(self.spec);
        }
        used
    }
}

impl Place {
    fn fresh(spec: FramingSpec) -> Self {
        match spec {
            FramingSpec::Length(_) => Self::Header(SmallVec::new()),
            FramingSpec::Fixed(size) => Self::Skip(u64::from(size)),
            FramingSpec::Line | FramingSpec::Delimiter(_) => Self::Scan(0),
        }
    }
}

/// The octets that end a message; none where length decides.
fn delimiter(spec: &FramingSpec) -> &[u8] {
    match spec {
        FramingSpec::Line => b"\n",
        FramingSpec::Delimiter(delimiter) => delimiter.octets(),
        FramingSpec::Length(_) | FramingSpec::Fixed(_) => &[],
    }
}

/// Looks for the end of `delimiter` in `bytes`, of which `matched` octets came before.
///
/// Gives the octets used and whether the delimiter ended with them.
fn scan(delimiter: &[u8], matched: &mut usize, bytes: &[u8]) -> (usize, bool) {
    if let [only] = delimiter {
        return bytes
            .iter()
            .position(|octet| octet == only)
            .map_or((bytes.len(), false), |index| (index + 1, true));
    }
    for (index, octet) in bytes.iter().enumerate() {
        *matched = advance(delimiter, *matched, *octet);
        if *matched == delimiter.len() {
            *matched = 0;
            return (index + 1, true);
        }
    }
    (bytes.len(), false)
}

/// The longest prefix of `delimiter` that ends with `octet` after `matched` octets of it.
fn advance(delimiter: &[u8], matched: usize, octet: u8) -> usize {
    (0..=matched)
        .rev()
        .find(|&len| {
            delimiter.get(len) == Some(&octet) && delimiter[..matched].ends_with(&delimiter[..len])
        })
        .map_or(0, |len| len + 1)
}
