//! Tries length fields on a sample fast: from header to header, without looking at the rest.
//!
//! Gives the same figures as the counter that later reads the stream, as far as evidence needs
//! them; hundreds of candidates are tried on every stream that nothing else explains.

use super::counter::{Counts, FULL_MIN, Fit, MESSAGE_MAX};
use super::spec::{LengthField, LengthWidth};
use crate::app::probe::{SAMPLE_OCTETS, Sample};
use crate::direction::Direction;

/// A walk is looked at after so many messages first.
const LOOK_FIRST: u64 = 16;
/// Then after every so many.
const LOOK_EVERY: u64 = 64;
/// Messages beyond which a sample holds fewer than 8 octets in each.
const MESSAGES_MAX: u64 = SAMPLE_OCTETS as u64 / 8;
/// One end of a segment at a border is worth at most 14 bits, the size of the sample: so many are
/// less than what a sample must prove.
const ENDS_WITHOUT_PROOF: u64 = 1;

/// Less per message proves nothing however often it is seen: octets of a row of numbers or
/// records are not independent of one another.
pub(super) const BITS_PER_MESSAGE: f64 = 2.0;

/// One direction of a sample, prepared for walking.
#[derive(Debug)]
pub(super) struct Track<'a> {
    /// Runs of captured octets with their place in the stream, in order.
    extents: Vec<(u64, &'a [u8])>,
    /// Where segments ended that may not have been full.
    short_ends: Vec<u64>,
    octets: u64,
    pub rarity: Rarity,
}

/// What a walk found.
#[derive(Debug)]
pub(super) struct Walk {
    pub counts: Counts,
    pub fit: Fit,
    /// Where the last complete message ended.
    pub end: u64,
}

/// How rare small octets are in a direction.
#[derive(Clone, Debug)]
pub(super) struct Rarity {
    /// For each octet, how many octets of the sample are no larger.
    up_to: Box<[u32; 256]>,
}

impl<'a> Track<'a> {
    pub(super) fn new(sample: &'a Sample, direction: Direction) -> Self {
        let extents = sample.extents(direction);
        let mut short_ends = Vec::new();
        let (mut octets, mut longest) = (0, FULL_MIN);
        for len in sample.segment_lengths(direction) {
            octets += len;
            if len < longest {
                short_ends.push(octets);
            }
            longest = longest.max(len);
        }
        Self {
            extents,
            short_ends,
            octets,
            rarity: Rarity::of(sample.bytes(direction)),
        }
    }

    /// Reads the direction as messages with this length field, the first at `start`.
    pub(super) fn walk(&self, field: LengthField, start: u64) -> Walk {
        // One loop for each width: what is read of a header is known when it is compiled.
        match field.width {
            LengthWidth::U8 => self.walk_by(field, start, |[octet]| octet.into()),
            LengthWidth::U16Be => self.walk_by(field, start, |it| u16::from_be_bytes(it).into()),
            LengthWidth::U16Le => self.walk_by(field, start, |it| u16::from_le_bytes(it).into()),
            LengthWidth::U32Be => self.walk_by(field, start, u32::from_be_bytes),
            LengthWidth::U32Le => self.walk_by(field, start, u32::from_le_bytes),
        }
    }

    fn walk_by<const WIDTH: usize>(
        &self,
        field: LengthField,
        start: u64,
        value: impl Fn([u8; WIDTH]) -> u32,
    ) -> Walk {
        let (header_len, empty_len) = (field.header_len() as u64, field.empty_len());
        let (mut counts, mut fit) = (Counts::default(), Fit::default());
        let (mut messages, mut message_min, mut message_max) = (0, u64::MAX, 0);
        let mut ends = &self.short_ends[..];
        let mut next_end = ends.first().copied().unwrap_or(u64::MAX);
        let (mut place, mut end) = (start, start);
        'extents: for &(from, bytes) in &self.extents {
            let behind = from + bytes.len() as u64;
            if place >= behind {
                continue;
            }
            // The header is in octets that were not captured: the next run may begin a message.
            counts.lost_track |= place < from;
            place = place.max(from);
            let fields = bytes.get(usize::from(field.offset)..).unwrap_or_default();
            while place < behind {
                let octets = fields.get((place - from) as usize..);
                let Some(octets) = octets.and_then(<[u8]>::first_chunk) else {
                    continue 'extents;
                };
                let follow = i64::from(value(*octets)) + i64::from(field.adjust);
                let len = header_len.saturating_add(follow.cast_unsigned());
                if follow < 0 || len > MESSAGE_MAX {
                    fit.broken = true;
                    break 'extents;
                }
                place += len;
                if place > self.octets {
                    break 'extents;
                }
                end = place;
                messages += 1;
                message_min = len.min(message_min);
                message_max = len.max(message_max);
                if messages == LOOK_FIRST || u64::is_multiple_of(messages, LOOK_EVERY) {
                    let ends_left = ends.len() as u64 + fit.short_ends_at_border;
                    if self.proves_nothing(field, (messages, message_max), ends_left) {
                        fit.broken = true;
                        break 'extents;
                    }
                }
                fit.message_octets += len;
                fit.empty_messages += u64::from(len <= empty_len);
                while next_end <= place {
                    fit.short_ends_inside += u64::from(next_end < place);
                    fit.short_ends_at_border += u64::from(next_end == place);
                    ends = ends.get(1..).unwrap_or_default();
                    next_end = ends.first().copied().unwrap_or(u64::MAX);
                }
            }
        }
        fit.octets = self.octets;
        fit.short_ends_inside += ends.len() as u64;
        (counts.messages, counts.message_max) = (messages, message_max);
        counts.message_min = if messages == 0 { 0 } else { message_min };
        Walk { counts, fit, end }
    }

    /// Whether a walk can be given up: thousands of messages of a few octets are none, and where
    /// small values are common only ends of segments could still prove something.
    #[inline(never)]
    fn proves_nothing(
        &self,
        field: LengthField,
        (messages, message_max): (u64, u64),
        ends: u64,
    ) -> bool {
        let value = field.value(message_max);
        messages >= MESSAGES_MAX
            || ends <= ENDS_WITHOUT_PROOF
                && self.rarity.bits(field.width.octets(), value) < BITS_PER_MESSAGE
    }
}

impl Rarity {
    fn of(bytes: &[u8]) -> Self {
        let mut up_to = Box::new([0; 256]);
        for octet in bytes {
            up_to[usize::from(*octet)] += 1;
        }
        let mut sum = 0;
        for count in up_to.iter_mut() {
            sum += *count;
            *count = sum;
        }
        Self { up_to }
    }

    /// Bits by which a field of `octets` octets surprises that is never above `max`.
    ///
    /// High octets of a small number are zero, and the first that is not is at most that of
    /// `max`; how often the direction's octets are so small anyhow is what chance would do.
    pub(super) fn bits(&self, octets: usize, max: u64) -> f64 {
        let total = f64::from(self.up_to[255].max(1));
        let mut bits = 0.0;
        for octet in &max.to_be_bytes()[8 - octets.min(8)..] {
            let small = f64::from(self.up_to[usize::from(*octet)].max(1));
            bits += (total / small).log2();
            if *octet != 0 {
                break;
            }
        }
        bits
    }
}
