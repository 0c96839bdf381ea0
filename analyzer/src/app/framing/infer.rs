//! Finds the framing of an unknown stream, or that it has none that can be told.
//!
//! Candidates are run over a sample of both directions, the best one over the rest of the stream.
//! What counts as evidence is measured in bits, as the chance that octets without this structure
//! would look the same:
//! - a length field that holds far less than it could (`u32be` lengths below 1024: 22 bits each);
//! - a segment that ends where a message ends (1 in mean message length), against short segments
//!   that do not;
//! - text throughout, for lines and delimiters.
//!
//! Full-size segments say nothing by ending inside a message, so bulk pipelined messages are
//! found and bulk octets are not. A candidate is refused when its neighbour, shifted by a few
//! octets, fits as well (zeros, constant octets), and when most messages are empty.

use super::counter::Counter;
use super::{Delimiter, Framed, FramingSpec, LengthField, LengthWidth};
use crate::app::probe::{Sample, What};
use crate::app::reader::Reader;
use crate::flow::Direction;

/// Fewer messages infer nothing (RULES.md 9).
const MESSAGES_MIN: u64 = 20;
/// Evidence demanded at the end: about 350 candidates are tried (9 bits), and one stream in
/// 2³¹ may be misjudged.
const BITS_MIN: f64 = 40.0;
/// Evidence demanded of the sample to read on.
const BITS_TENTATIVE: f64 = 24.0;
/// With this much more evidence a last message cut by the end of the capture is forgiven.
const BITS_OVERWHELMING: f64 = 120.0;

/// The framing that explains the sample best, with its counts so far; `None` when nothing does.
pub(in crate::app) fn infer(sample: &Sample) -> Option<Framed> {
    let mut best: Option<(f64, Framed)> = None;
    for spec in candidates(sample) {
        let framed = run(spec, sample, 0);
        let score = score(&framed) - cost(spec);
        if score >= BITS_TENTATIVE && best.as_ref().is_none_or(|(top, _)| score > *top) {
            best = Some((score, framed));
        }
    }
    let (score, framed) = best?;
    (!fits_shifted(&framed, sample, score)).then_some(framed)
}

/// How sure an inferred framing is at the end of the stream; `None` when it is refused.
pub(super) fn confidence(framed: &Framed) -> Option<f64> {
    let [client, server] = &framed.halves;
    let fitting: Vec<&Counter> = framed.halves.iter().filter(|half| is_used(half)).collect();
    let messages: u64 = fitting.iter().map(|half| half.counts.messages).sum();
    let bits = score(framed);
    let whole = fitting.iter().all(|half| half.at_border());
    let lost = fitting.iter().any(|half| half.counts.lost_track);
    if messages < MESSAGES_MIN || bits < BITS_MIN {
        return None;
    }
    if (!whole || lost) && bits < BITS_OVERWHELMING {
        return None;
    }
    let ceiling: f64 = match framed.spec {
        FramingSpec::Length(_) => 0.95,
        FramingSpec::Line | FramingSpec::Delimiter(_) => 0.85,
        FramingSpec::Fixed(_) => 0.7,
    };
    let one_way = client.fit.broken || server.fit.broken;
    let doubts = [one_way, !whole, lost].into_iter().filter(|doubt| *doubt).count();
    #[allow(clippy::cast_precision_loss, reason = "at most three")]
    Some(0.1f64.mul_add(-(doubts as f64), ceiling.min(0.6 + bits / 800.0)))
}

fn run(spec: FramingSpec, sample: &Sample, skip: usize) -> Framed {
    let mut framed = Framed::candidate(spec);
    let mut left = [skip; 2];
    sample.replay(|direction, what, piece| match what {
        What::Data(bytes) => {
            let skipped = left[direction.index()].min(bytes.len());
            left[direction.index()] -= skipped;
            framed.data(direction, &bytes[skipped..], piece);
        }
        What::Gap(octets) => framed.gap(direction, octets, piece.at),
        What::Fin => {}
    });
    framed
}

/// Bits of evidence of both directions together.
///
/// A direction that does not parse forbids lines, delimiters and sizes; a length field may
/// belong to one direction only, which then has to carry the proof alone.
fn score(framed: &Framed) -> f64 {
    let mut bits = 0.0;
    for half in &framed.halves {
        if half.fit.broken {
            if !matches!(framed.spec, FramingSpec::Length(_)) {
                return f64::NEG_INFINITY;
            }
            bits -= 20.0;
        } else if is_used(half) {
            bits += half_score(framed.spec, half);
        }
    }
    bits
}

#[allow(clippy::cast_precision_loss, reason = "bits of evidence need no exactness")]
fn half_score(spec: FramingSpec, half: &Counter) -> f64 {
    let (counts, fit) = (&half.counts, &half.fit);
    if counts.messages == 0 || fit.empty_messages * 2 > counts.messages {
        return -20.0;
    }
    let messages = counts.messages as f64;
    let mean = fit.message_octets as f64 / messages;
    let aligned = (fit.ends_at_border as f64)
        .mul_add(mean.log2().min(12.0), -(fit.short_ends_inside as f64) * 3.0);
    let structure = match spec {
        FramingSpec::Length(field) => {
            let width = field.width.octets() as f64 * 8.0;
            messages * (width - (counts.message_max as f64 + 1.0).log2()).max(0.0)
        }
        // The sample was text without other control octets: 1 in 8 random octets would pass.
        FramingSpec::Line | FramingSpec::Delimiter(_) => messages.min(64.0) * 2.0,
        FramingSpec::Fixed(_) => 0.0,
    };
    aligned + structure
}

const fn is_used(half: &Counter) -> bool {
    half.fit.octets > 0 && !half.fit.broken
}

/// Simpler framings win when two explain the same.
fn cost(spec: FramingSpec) -> f64 {
    match spec {
        FramingSpec::Length(field) => {
            let adjust = if field.adjust == 0 { 0.0 } else { 4.0 };
            adjust + if field.offset == 0 { 0.0 } else { 4.0 + f64::from(field.offset) }
        }
        FramingSpec::Fixed(_) => 8.0,
        FramingSpec::Line | FramingSpec::Delimiter(_) => 0.0,
    }
}

/// Whether the same framing, begun a few octets later, fits nearly as well.
fn fits_shifted(framed: &Framed, sample: &Sample, bits: f64) -> bool {
    let FramingSpec::Length(field) = framed.spec else { return false };
    (1..=field.header_len().min(8)).any(|skip| {
        let shifted = run(framed.spec, sample, skip);
        shifted.halves.iter().all(|half| !half.fit.broken) && score(&shifted) > bits / 2.0
    })
}

fn candidates(sample: &Sample) -> Vec<FramingSpec> {
    let mut all = Vec::new();
    all.extend(text_candidate(sample));
    all.extend(fixed_candidate(sample));
    for width in LengthWidth::ALL {
        for offset in [0, 1, 2, 3, 4, 6, 8] {
            length_candidates(width, offset, &mut all);
        }
    }
    all
}

/// What lengths count: what follows; the whole message; all from the field on; or not the
/// octets of the header that follow the field.
fn length_candidates(width: LengthWidth, offset: u16, all: &mut Vec<FramingSpec>) {
    let field = i32::try_from(width.octets()).unwrap_or(0);
    let header = field + i32::from(offset);
    for adjust in [0, -header, -field, 1, 2, 3, 4, 6, 8, 12] {
        if adjust == -field && offset == 0 {
            continue; // The same as -header.
        }
        all.push(FramingSpec::Length(LengthField { width, offset, adjust, strip: 0 }));
    }
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
        if bytes.iter().any(|octet| is_control(*octet) && octet != last) {
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

/// A size that divides every place where a short segment ended, and that is seen by itself.
///
/// Not below 8 octets (key strokes), not above 1000 nor a power of two from 512 (segments and
/// read buffers have such sizes), and only where segments held several: sizes that never
/// differ from the segmentation prove nothing.
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
    let enough = lengths.len() >= 20 && single * 2 >= lengths.len();
    (plausible && several && enough)
        .then(|| u32::try_from(size).ok().map(FramingSpec::Fixed))
        .flatten()
}

const fn gcd(mut one: u64, mut other: u64) -> u64 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}
