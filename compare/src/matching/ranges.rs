//! Segments that an offload cut or joined: the same octets in other packets.

use super::{Matching, Path, Portion, Segment};
use crate::reading::{Fact, SYN};

/// A packet, or the octets of it, that one point saw alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Gaps {
    /// Index of the packet.
    pub index: usize,
    /// The octets, in order; empty for a packet without any.
    pub ranges: Vec<(i64, i64)>,
    /// Whether nothing of the packet was matched.
    pub is_whole: bool,
}

impl Gaps {
    /// Segments on the wire.
    pub fn units(&self, path: &Path) -> u64 {
        let ranges = self.ranges.iter();
        ranges
            .map(|(start, end)| path.units(end - start))
            .sum::<u64>()
            .max(1)
    }
}

/// Matches octets of what is left, and says what remains of it.
pub(super) fn match_ranges(
    (up, open_up): (&[Segment<'_>], Vec<usize>),
    (down, open_down): (&[Segment<'_>], Vec<usize>),
    path: &Path,
    matching: &mut Matching,
) {
    let has_payload = |segment: &Segment<'_>| {
        segment.record.has(Fact::TCP) && segment.record.len > 0 && segment.record.flags & SYN == 0
    };
    let mut sources: Vec<usize> = open_up.clone();
    sources.retain(|index| has_payload(&up[*index]));
    sources.sort_by_key(|index| (up[*index].start, *index));
    let longest = sources
        .iter()
        .map(|index| up[*index].end - up[*index].start)
        .max();
    let mut left_of_up: Vec<Vec<(i64, i64)>> =
        open_up.iter().map(|index| whole(&up[*index])).collect();
    let slot_of = |index: usize| open_up.binary_search(&index);
    for &target in &open_down {
        let mut left = whole(&down[target]);
        if has_payload(&down[target])
            && let Some(longest) = longest
        {
            let mut near = overlapping(up, &sources, &down[target], longest);
            near.retain(|index| path.admits_part(&up[*index], &down[target]));
            // The latest copy sent before it arrived.
            near.sort_by_key(|index| std::cmp::Reverse((up[*index].time, *index)));
            for source in near {
                let Ok(slot) = slot_of(source) else { continue };
                for (start, end) in common(&left, &left_of_up[slot]) {
                    take(&mut left, (start, end));
                    take(&mut left_of_up[slot], (start, end));
                    matching.portions.push(Portion {
                        up: source,
                        down: target,
                        start,
                        units: path.units(end - start),
                        delay: path.delay(&up[source], &down[target]),
                        is_whole: false,
                    });
                }
            }
        }
        if !left.is_empty() || !down[target].occupies() {
            matching.only_down.push(gaps(target, left, &down[target]));
        }
    }
    for (index, left) in open_up.into_iter().zip(left_of_up) {
        if !left.is_empty() || !up[index].occupies() {
            matching.only_up.push(gaps(index, left, &up[index]));
        }
    }
}

fn gaps(index: usize, ranges: Vec<(i64, i64)>, segment: &Segment<'_>) -> Gaps {
    Gaps {
        index,
        is_whole: ranges == whole(segment),
        ranges,
    }
}

fn whole(segment: &Segment<'_>) -> Vec<(i64, i64)> {
    if segment.occupies() {
        vec![(segment.start, segment.end)]
    } else {
        Vec::new()
    }
}

/// Indices of packets that share octets with `target`; `sources` are ordered by their starts.
fn overlapping(
    up: &[Segment<'_>],
    sources: &[usize],
    target: &Segment<'_>,
    longest: i64,
) -> Vec<usize> {
    let from = sources.partition_point(|index| up[*index].start + longest <= target.start);
    let until = sources.partition_point(|index| up[*index].start < target.end);
    let near = sources.get(from..until).unwrap_or(&[]).iter();
    near.copied()
        .filter(|index| up[*index].end > target.start)
        .collect()
}

/// What two ordered lists of ranges share.
fn common(one: &[(i64, i64)], other: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let mut shared = Vec::new();
    for a in one {
        for b in other {
            let (start, end) = (a.0.max(b.0), a.1.min(b.1));
            if start < end {
                shared.push((start, end));
            }
        }
    }
    shared
}

/// Takes a range that is inside one of `ranges` out of it.
fn take(ranges: &mut Vec<(i64, i64)>, taken: (i64, i64)) {
    let Some(at) = ranges
        .iter()
        .position(|range| range.0 <= taken.0 && taken.1 <= range.1)
    else {
        return;
    };
    let range = ranges.remove(at);
    if taken.1 < range.1 {
        ranges.insert(at, (taken.1, range.1));
    }
    if range.0 < taken.0 {
        ranges.insert(at, (range.0, taken.0));
    }
}

impl Path {
    /// Whether the second can be a part of the first, or both of one offloaded segment: the
    /// pieces of one have its timestamps, but identifications of their own.
    fn admits_part(&self, up: &Segment<'_>, down: &Segment<'_>) -> bool {
        let delay = self.delay(up, down);
        if delay < -self.tolerance {
            return false;
        }
        let both = up.record.has(Fact::TIMESTAMPS) && down.record.has(Fact::TIMESTAMPS);
        if self.keeps_timestamps && both {
            return up.record.ts_value == down.record.ts_value;
        }
        delay <= self.largest
    }
}
