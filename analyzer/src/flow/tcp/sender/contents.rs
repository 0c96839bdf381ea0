//! What segments say, as far as it is remembered to see whether their octets pass again unchanged.
//!
//! Of each segment a digest of its first octets is kept while it is outstanding, and of the one that
//! was acknowledged last.

use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::{Outstanding, SenderState};

/// Octets digested of a segment: the first lines of a text, or the head of any message.
const DIGESTED: usize = 64;
/// Octets digested by themselves, for a second copy that is short.
const HEAD: usize = 16;
/// Fewer are a probe's filling or padding that was counted in, not data.
pub(in crate::flow::tcp) const LEAST: usize = 8;

/// The first octets of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::flow::tcp) struct Contents {
    digest: u32,
    /// The digest of the first [`HEAD`] of them, when there are as many.
    head: u32,
    /// How many were digested; 0 when nothing is known.
    octets: u8,
    /// TTL or hop limit of the packet.
    pub hop_limit: u8,
}

impl Contents {
    fn of(payload: &[u8], hop_limit: u8) -> Self {
        let head = payload.get(..DIGESTED).unwrap_or(payload);
        if head.len() < LEAST {
            return Self::default();
        }
        Self {
            digest: digest(head),
            head: head.get(..HEAD).map_or(0, digest),
            octets: u8::try_from(head.len()).unwrap_or_default(),
            hop_limit,
        }
    }
}

impl Contents {
    /// Whether the octets that pass again at the same place are the same; `None` where too few of them
    /// were captured.
    pub fn is_equal(&self, again: &[u8]) -> Option<bool> {
        let octets = usize::from(self.octets);
        match (again.get(..octets), again.get(..HEAD)) {
            _ if octets == 0 => None,
            (Some(all), _) => Some(digest(all) == self.digest),
            (None, Some(head)) if octets >= HEAD => Some(digest(head) == self.head),
            _ => None,
        }
    }
}

/// Differs with a chance of 1 - 2⁻³² where the octets do.
#[inline]
fn digest(octets: &[u8]) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = octets.as_chunks::<8>();
    let mut sum = octets.len() as u64;
    for word in words {
        sum = (sum ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR);
        sum ^= sum >> 32;
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        sum = (sum ^ u64::from_le_bytes(last)).wrapping_mul(FACTOR);
    }
    u32::try_from(sum >> 32).unwrap_or_default()
}

impl SenderState {
    /// Remembers what a segment says that was just taken for the first time. `payload`: its captured
    /// octets.
    #[inline]
    pub fn note_contents(&mut self, segment: &Segment<'_>, payload: &[u8]) {
        if let Some(newest) = self.outstanding.back_mut()
            && newest.frame == segment.packet.frame
            && newest.range.start == segment.start
            && !segment.tcp.flags.syn()
        {
            newest.contents = Contents::of(payload, segment.packet.hop_limit);
        }
    }

    /// Segments of which octets pass again, the earliest first.
    pub fn passed_before(&self, segment: &Segment<'_>) -> impl Iterator<Item = &Outstanding> {
        let first = (self.outstanding).partition_point(|known| known.range.start < segment.start);
        let outstanding = self.outstanding.range(first..);
        let outstanding = outstanding.take_while(|known| known.range.start < segment.end);
        let acknowledged = self.last_acked.iter();
        acknowledged
            .filter(|known| (segment.start..segment.end).contains(&known.range.start))
            .chain(outstanding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_octet_counts_and_so_does_the_length() {
        let text: Vec<u8> = (0..70).collect();
        let whole = Contents::of(&text, 64);
        assert_eq!(usize::from(whole.octets), DIGESTED);
        for at in 0..DIGESTED {
            let mut other = text.clone();
            other[at] ^= 1;
            assert_ne!(Contents::of(&other, 64).digest, whole.digest, "octet {at}");
        }
        assert_ne!(digest(&text[..9]), digest(&text[..10]));
        assert_eq!(Contents::of(&text[..LEAST - 1], 64), Contents::default());
    }

    #[test]
    fn a_shorter_copy_is_compared_by_its_head() {
        let text: Vec<u8> = (0..70).collect();
        let whole = Contents::of(&text, 64);
        assert_eq!(whole.is_equal(&text), Some(true));
        assert_eq!(whole.is_equal(&text[..20]), Some(true));
        assert_eq!(whole.is_equal(&text[1..21]), Some(false));
        assert_eq!(whole.is_equal(&text[..HEAD - 1]), None);
        assert_eq!(Contents::of(&text[..12], 64).is_equal(&text[..10]), None);
    }
}
