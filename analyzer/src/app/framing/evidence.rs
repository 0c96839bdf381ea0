//! How much evidence a framing has, in bits (see [`super::infer`]).

use super::counter::{Counter, Counts, Fit};
use super::spec::FramingSpec;
use super::walk::{BITS_PER_MESSAGE, Rarity};

/// Fewer messages infer nothing.
const MESSAGES_MIN: u64 = 20;

/// Evidence demanded at the end: some 450 candidates are tried (9 bits), and one stream in 2³¹
/// may be misjudged.
const BITS_MIN: f64 = 40.0;

/// With this much evidence a last message cut by the end of the capture is forgiven.
const BITS_OVERWHELMING: f64 = 120.0;

/// The same where all messages are of one size, as records are.
const BITS_CONSTANT: f64 = 12.0;

/// What a direction costs that does not parse.
const BITS_ONE_WAY: f64 = 20.0;

/// How sure an inferred framing is at the end of the stream; `None` when it is refused.
pub(super) fn confidence(
    spec: FramingSpec,
    halves: &[Counter; 2],
    rarity: &[Rarity],
) -> Option<f64> {
    let fitting = || halves.iter().filter(|half| is_used(&half.fit));
    let messages: u64 = fitting().map(|half| half.counts.messages).sum();
    let bits = score(spec, halves, rarity);
    let whole = fitting().all(|half| half.at_border());
    let lost = fitting().any(|half| half.counts.lost_track);
    let enough = if whole && !lost {
        BITS_MIN
    } else {
        BITS_OVERWHELMING
    };
    if messages < MESSAGES_MIN || bits < enough {
        return None;
    }
    let ceiling: f64 = match spec {
        FramingSpec::Length(_) => 0.95,
        FramingSpec::Line | FramingSpec::Delimiter(_) => 0.85,
        FramingSpec::Fixed(_) => 0.7,
    };
    let one_way = halves.iter().any(|half| half.fit.broken);
    let doubts = [one_way, !whole, lost].map(f64::from).iter().sum::<f64>();
    Some(0.1f64.mul_add(-doubts, ceiling.min(0.6 + bits / 800.0)))
}

/// Bits of evidence of both directions together.
///
/// A direction that does not parse forbids lines, delimiters and sizes; a length field may
/// belong to one direction only, which then has to carry the proof alone.
pub(super) fn score(spec: FramingSpec, halves: &[Counter; 2], rarity: &[Rarity]) -> f64 {
    let halves = halves.iter().zip(rarity);
    halves
        .map(|(half, rarity)| half_score(spec, &half.counts, &half.fit, rarity))
        .sum()
}

#[allow(
    clippy::cast_precision_loss,
    reason = "bits of evidence need no exactness"
)]
pub(super) fn half_score(spec: FramingSpec, counts: &Counts, fit: &Fit, rarity: &Rarity) -> f64 {
    if fit.broken {
        let one_way = matches!(spec, FramingSpec::Length(_));
        return if one_way {
            -BITS_ONE_WAY
        } else {
            f64::NEG_INFINITY
        };
    }
    if fit.octets == 0 {
        return 0.0;
    }
    if counts.messages == 0 || fit.empty_messages * 3 > counts.messages {
        return -BITS_ONE_WAY;
    }
    let messages = counts.messages as f64;
    let structure = match spec {
        FramingSpec::Length(field) => {
            let bits = rarity.bits(field.width.octets(), field.value(counts.message_max));
            // Records of one size hold such a field somewhere, whatever it means.
            if counts.message_min == counts.message_max && bits < BITS_CONSTANT {
                return 0.0;
            }
            if bits < BITS_PER_MESSAGE {
                0.0
            } else {
                messages * bits
            }
        }
        // All text has lines. They are messages where writes end with them: not in a document.
        FramingSpec::Line | FramingSpec::Delimiter(_) if !written_by_line(fit) => {
            return -BITS_ONE_WAY;
        }
        // The sample was text without other control octets: 7 in 8 random octets would pass.
        FramingSpec::Line | FramingSpec::Delimiter(_) => messages.min(64.0) * 2.0,
        FramingSpec::Fixed(_) => 0.0,
    };
    structure + alignment(fit, fit.message_octets as f64 / messages)
}

/// Bits by which more short segments end at borders than chance would have it: the large
/// deviation bound of the binomial distribution, n·D(share ‖ 1/mean).
#[allow(
    clippy::cast_precision_loss,
    reason = "bits of evidence need no exactness"
)]
fn alignment(fit: &Fit, mean: f64) -> f64 {
    let ends = (fit.short_ends_at_border + fit.short_ends_inside) as f64;
    let share = fit.short_ends_at_border as f64 / ends.max(1.0);
    let chance = 1.0 / mean.max(1.0);
    // Fewer than half are no rule that a writer keeps, however unlikely they are by chance.
    if share < 0.5 || share <= chance {
        return 0.0;
    }
    let inside = if share < 1.0 {
        (1.0 - share) * ((1.0 - share) / (1.0 - chance)).log2()
    } else {
        0.0
    };
    ends * share.mul_add((share / chance).log2(), inside)
}

/// At least five short segments ended with a line, and a third of all that did.
const fn written_by_line(fit: &Fit) -> bool {
    fit.short_ends_at_border >= 5 && fit.short_ends_at_border * 2 >= fit.short_ends_inside
}

const fn is_used(fit: &Fit) -> bool {
    fit.octets > 0 && !fit.broken
}
