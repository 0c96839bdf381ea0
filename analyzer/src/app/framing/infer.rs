//! Finds the framing of an unknown stream, or that it has none that can be told.
//!
//! Candidates are tried on a sample of both directions; the best one reads the whole stream and
//! is judged again at its end. Streams whose own encoding frames them are left out first: a length
//! field found inside a message of theirs is a pattern of its contents. What counts as evidence is measured in bits, as the chance that
//! octets without this structure would look the same:
//! - a length field that holds far less than it could, against how often the stream's octets are
//!   as small anyhow;
//! - segments that end where a message ends, where chance would be 1 in mean message length;
//! - text throughout, for lines and delimiters.
//!
//! Full segments say nothing by ending inside a message, so bulk pipelined messages are found
//! and bulk octets are not. A candidate is refused when a third of its messages are empty, and
//! when it fits as well begun a few octets later (zeros, constant octets).

use super::Framed;
use super::evidence::{half_score, score};
use super::spec::{Delimiter, FramingSpec, LengthField, LengthWidth};
use super::walk::Track;
use crate::app::probe::{Sample, What};
use crate::app::reader::Reader;
use crate::direction::Direction;

/// Evidence demanded of the sample to read on.
const BITS_TENTATIVE: f64 = 24.0;

/// How every message of the FIX tag=value encoding begins; its fields end with 0x01, not its messages.
const FIX_START: &[u8] = b"8=FIX";

/// The framing that explains the sample best, with its counts so far; `None` when nothing does.
pub(in crate::app) fn infer(sample: &Sample) -> Option<Framed> {
    let frames_itself = |bytes: &[u8]| begins_asn1_message(bytes) || bytes.starts_with(FIX_START);
    if Direction::BOTH
        .map(|direction| sample.bytes(direction))
        .into_iter()
        .any(frames_itself)
    {
        return None;
    }
    let tracks = Direction::BOTH.map(|direction| Track::new(sample, direction));
    let mut best: Option<(f64, FramingSpec)> = None;
    let mut offer = |spec: FramingSpec, bits: f64| {
        let bits = bits - cost(spec);
        if bits >= BITS_TENTATIVE && best.is_none_or(|(most, _)| bits > most) {
            best = Some((bits, spec));
        }
    };
    for spec in text_candidate(sample)
        .into_iter()
        .chain(fixed_candidate(sample))
    {
        let framed = run(spec, sample, &tracks);
        offer(spec, score(framed.spec, &framed.halves, &framed.rarity));
    }
    for field in length_candidates() {
        offer(FramingSpec::Length(field), length_score(field, &tracks));
    }
    Some(run(best?.1, sample, &tracks))
}

/// Whether a stream begins with an ASN.1 message in BER (X.690 §8.1): a SEQUENCE that holds a small
/// INTEGER (message number or version) and a second element inside it, as LDAP and SNMP do.
fn begins_asn1_message(bytes: &[u8]) -> bool {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    let Some((SEQUENCE, length, content)) = ber_element(bytes) else {
        return false;
    };
    let Some((INTEGER, number_len @ 1..=4, rest)) = ber_element(content) else {
        return false;
    };
    let second = rest.get(number_len..).and_then(ber_element);
    second.is_some_and(|(_, second_len, inner)| {
        let before = content.len() - inner.len();
        before + second_len <= length
    })
}

/// Tag, length and what follows of the element that `bytes` begin with; definite lengths only.
fn ber_element(bytes: &[u8]) -> Option<(u8, usize, &[u8])> {
    let (&[tag, short], rest) = bytes.split_first_chunk()?;
    if short < 0x80 {
        return Some((tag, usize::from(short), rest));
    }
    let octets = usize::from(short & 0x7f);
    if !(1..=4).contains(&octets) {
        return None;
    }
    let (length, content) = rest.split_at_checked(octets)?;
    let length = length
        .iter()
        .fold(0, |sum, octet| sum << 8 | usize::from(*octet));
    Some((tag, length, content))
}

/// Reads the sample with the counter that goes on with the rest of the stream.
fn run(spec: FramingSpec, sample: &Sample, tracks: &[Track<'_>; 2]) -> Framed {
    let mut framed = Framed::candidate(spec);
    framed.rarity = tracks.iter().map(|track| track.rarity.clone()).collect();
    sample.replay(|direction, what, piece| match what {
        What::Data(bytes) => framed.data(direction, bytes, piece),
        What::Gap(octets) => framed.gap(direction, octets, piece.at),
        What::Fin => {}
    });
    framed
}

/// The same of a length field, from the sample; −∞ when it is refused.
fn length_score(field: LengthField, tracks: &[Track<'_>; 2]) -> f64 {
    let try_from = |track: &Track<'_>, start: u64| {
        let walk = track.walk(field, start);
        let spec = FramingSpec::Length(field);
        (
            half_score(spec, &walk.counts, &walk.fit, &track.rarity),
            walk.end,
        )
    };
    let both = tracks.each_ref().map(|track| try_from(track, 0));
    let sum = both.iter().map(|(bits, _)| bits).sum();
    if sum < BITS_TENTATIVE {
        return f64::NEG_INFINITY;
    }
    // A walk that came upon the same borders further on proves them once more.
    let starts = 1..=field.header_len().min(8) as u64;
    let ambiguous = tracks.iter().zip(both).any(|(track, (bits, end))| {
        let rival = |start| {
            let (other_bits, other_end) = try_from(track, start);
            other_bits > bits / 2.0 && other_end != end
        };
        bits >= BITS_TENTATIVE / 2.0 && starts.clone().any(rival)
    });
    if ambiguous { f64::NEG_INFINITY } else { sum }
}

/// Simpler framings win when two explain the same.
fn cost(spec: FramingSpec) -> f64 {
    match spec {
        FramingSpec::Length(field) => {
            let adjust = if field.adjust == 0 { 0.0 } else { 4.0 };
            adjust
                + if field.offset == 0 {
                    0.0
                } else {
                    4.0 + f64::from(field.offset)
                }
        }
        FramingSpec::Fixed(_) => 8.0,
        FramingSpec::Line | FramingSpec::Delimiter(_) => 0.0,
    }
}

/// What lengths count: what follows; the whole message; all from the field on; or not the
/// octets of the header that follow the field.
fn length_candidates() -> impl Iterator<Item = LengthField> {
    let places = LengthWidth::ALL.into_iter().flat_map(|width| {
        [0, 1, 2, 3, 4, 6, 8]
            .into_iter()
            .map(move |offset| (width, offset))
    });
    places.flat_map(|(width, offset)| {
        let field = i32::try_from(width.octets()).unwrap_or(0);
        let before = i32::from(offset);
        let from_field = (offset > 0).then_some(-field);
        let adjusts = [0, -field - before, 1, 2, 3, 4, 6, 8, 12]
            .into_iter()
            .chain(from_field);
        adjusts.map(move |adjust| LengthField {
            width,
            offset,
            adjust,
            strip: 0,
        })
    })
}

/// Lines, or another control octet that ends both directions, when the rest is text.
fn text_candidate(sample: &Sample) -> Option<FramingSpec> {
    let mut end = None;
    for bytes in Direction::BOTH.map(|direction| sample.bytes(direction)) {
        let Some(last) = bytes.iter().rev().find(|octet| is_control(**octet)) else {
            if bytes.is_empty() {
                continue;
            }
            return None;
        };
        if end.is_some_and(|end| end != *last) {
            return None;
        }
        end = Some(*last);
        if bytes
            .iter()
            .any(|octet| is_control(*octet) && octet != last)
        {
            return None;
        }
    }
    match end? {
        b'\n' => Some(FramingSpec::Line),
        other => Delimiter::new(&[other]).map(FramingSpec::Delimiter),
    }
}

/// Control octets other than tab and CR, which belong to text.
const fn is_control(octet: u8) -> bool {
    (octet < 0x20 && !matches!(octet, b'\t' | b'\r')) || octet == 0x7f
}

/// A size that divides every place where a segment ended that was not full.
///
/// Not below 8 octets (key strokes), not above 1000 nor a power of two from 512 (segments and
/// read buffers have such sizes); seen by itself, and only where segments held several: sizes
/// that never differ from the segmentation prove nothing.
fn fixed_candidate(sample: &Sample) -> Option<FramingSpec> {
    let mut size = 0;
    let mut lengths = Vec::new();
    for direction in Direction::BOTH {
        let segments = sample.segment_lengths(direction);
        let longest = segments.iter().copied().max().unwrap_or(0);
        let mut offset = 0;
        for len in &segments {
            offset += len;
            if *len < longest || *len <= 1000 {
                size = gcd(size, offset);
            }
        }
        lengths.extend(segments);
    }
    let single = lengths.iter().filter(|len| **len == size).count();
    let several = lengths.iter().any(|len| *len > size);
    let plausible = (8..=1000).contains(&size) && !(size >= 512 && size.is_power_of_two());
    let enough = lengths.len() >= 20 && single * 5 >= lengths.len();
    let size = u32::try_from(size)
        .ok()
        .filter(|_| plausible && several && enough)?;
    Some(FramingSpec::Fixed(size))
}

const fn gcd(mut one: u64, mut other: u64) -> u64 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}
