//! What acknowledgements and other copies prove about octets that a point did not see.

use crate::matching::Segment;
use crate::reading::{ACK, Fact, Point};

/// When the receiver acknowledged octets of one direction, as one point saw it.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    /// Time and highest acknowledgement so far, in order.
    cumulative: Vec<(i64, i64)>,
    /// Selective acknowledgements: time and octets.
    selective: Vec<(i64, i64, i64)>,
    /// Duplicates that the receiver reported (D-SACK, RFC 2883): time and octets.
    duplicates: Vec<(i64, i64, i64)>,
    /// Whether it reports anything selectively.
    is_selective: bool,
}

impl Acknowledged {
    /// From the segments of the receiver at a point. `base` is the number, as sent at this point,
    /// at which the acknowledged direction begins.
    pub fn new(receiver: &[Segment<'_>], point: &Point, base: u32) -> Self {
        let mut all = Self::default();
        let mut highest = i64::MIN;
        let acks = receiver
            .iter()
            .filter(|segment| segment.record.has(Fact::TCP) && segment.record.flags & ACK != 0);
        for segment in acks {
            if segment.ack > highest {
                highest = segment.ack;
                all.cumulative.push((segment.time, highest));
            }
            for &(left, right) in point.sacks_of(segment.record) {
                let from = beside(left.wrapping_sub(base), segment.ack);
                let to = beside(right.wrapping_sub(base), segment.ack);
                all.is_selective = true;
                if from < to && to > segment.ack {
                    all.selective.push((segment.time, from, to));
                } else if from < to {
                    all.duplicates.push((segment.time, from, to));
                }
            }
        }
        all
    }

    /// When all octets of a range, first sent at `since`, were first acknowledged.
    pub fn when(&self, start: i64, end: i64, since: i64) -> Option<i64> {
        let at = self.cumulative.partition_point(|(_, ack)| *ack < end);
        let cumulative = self.cumulative.get(at).map(|(time, _)| *time);
        let until = cumulative.unwrap_or(i64::MAX);
        let from = self.selective.partition_point(|(time, ..)| *time < since);
        let selective = self.selective[from..]
            .iter()
            .take_while(|(time, ..)| *time < until)
            .find(|(_, from, to)| *from <= start && end <= *to);
        selective.map(|(time, ..)| *time).or(cumulative)
    }
}

impl Acknowledged {
    /// Whether octets that were sent again after they had been acknowledged came once more; `None`
    /// when the receiver would not say so.
    pub fn came_again(&self, start: i64, end: i64, since: i64) -> Option<bool> {
        let from = self.duplicates.partition_point(|(time, ..)| *time < since);
        let mut reports = self.duplicates[from..].iter();
        let is_reported = reports.any(|(_, from, to)| *from <= start && end <= *to);
        (is_reported || self.is_selective).then_some(is_reported)
    }
}

/// The number nearest to `reference` whose low 32 bits are `low`.
fn beside(low: u32, reference: i64) -> i64 {
    reference + i64::from(low.wrapping_sub(reference as u32).cast_signed())
}

/// Finds the packets of one direction at one point that bear given octets.
pub(super) struct Bearers<'a, 'b> {
    segments: &'a [Segment<'b>],
    /// Indices by first octet.
    order: Vec<usize>,
    longest: i64,
}

impl<'a, 'b> Bearers<'a, 'b> {
    pub fn new(segments: &'a [Segment<'b>]) -> Self {
        let mut order: Vec<usize> = (0..segments.len())
            .filter(|index| segments[*index].occupies())
            .collect();
        order.sort_by_key(|index| (segments[*index].start, *index));
        let lengths = order
            .iter()
            .map(|index| segments[*index].end - segments[*index].start);
        let longest = lengths.max().unwrap_or(0);
        Self {
            segments,
            order,
            longest,
        }
    }

    /// Indices of packets with some of the octets, in the order of their times.
    pub fn overlapping(&self, start: i64, end: i64) -> Vec<usize> {
        let first = |index: &usize| self.segments[*index].start;
        let from = self
            .order
            .partition_point(|index| first(index) + self.longest <= start);
        let until = self.order.partition_point(|index| first(index) < end);
        let mut found: Vec<usize> = self.order[from.min(until)..until]
            .iter()
            .copied()
            .filter(|index| self.segments[*index].end > start)
            .collect();
        found.sort_by_key(|index| (self.segments[*index].time, *index));
        found
    }

    /// When all octets had passed.
    pub fn complete(&self, start: i64, end: i64) -> Option<i64> {
        let mut left = vec![(start, end)];
        for index in self.overlapping(start, end) {
            let segment = &self.segments[index];
            left = left
                .into_iter()
                .flat_map(|(from, to)| [(from, to.min(segment.start)), (from.max(segment.end), to)])
                .filter(|(from, to)| from < to)
                .collect();
            if left.is_empty() {
                return Some(segment.time);
            }
        }
        None
    }
}
