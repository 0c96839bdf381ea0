//! Where packets come from that only the downstream point saw.

use std::collections::{HashMap, HashSet};

use super::evidence::Bearers;
use super::judge::{Direction, Judged, what};
use super::{Case, Fate};
use crate::matching::{Gaps, Segment};
use crate::reading::{Fact, RST};

/// What makes two packets without octets of the stream alike.
type Name = (i64, i64, u32, u64, u8, (u16, u32, u16));

/// What tells where a packet comes from that only the downstream point saw.
struct Context<'a, 'b> {
    /// The sender's octets at the upstream and the downstream point.
    copies: Bearers<'a, 'b>,
    siblings: Bearers<'a, 'b>,
    /// The receiver's octets at the upstream point.
    answered: Bearers<'a, 'b>,
    alike: HashMap<Name, Vec<usize>>,
    /// Downstream packets that the upstream point saw.
    matched: HashSet<usize>,
    /// Their hop limits.
    usual: HashSet<u8>,
    /// Whether the sender acknowledges selectively, so that no two of its answers are alike.
    is_selective: bool,
    /// The highest octet of the receiver that the upstream point saw so far, with its time.
    highest: Vec<(i64, i64)>,
}

impl Context<'_, '_> {
    /// Whether octets behind a hole had come when an acknowledgement left: each such segment is answered
    /// with one that is alike.
    fn is_behind_hole(&self, segment: &Segment<'_>, left: i64) -> bool {
        let at = self.highest.partition_point(|one| one.0 <= left);
        let highest = at.checked_sub(1).map(|at| self.highest[at].1);
        highest.is_some_and(|highest| highest > segment.ack)
    }
}

impl Direction<'_, '_> {
    pub(super) fn only_down(&self, judged: &mut Judged) {
        let matched: HashSet<usize> = self.matching.portions.iter().map(|one| one.down).collect();
        let usual: HashSet<u8> = matched
            .iter()
            .map(|index| self.down[*index].record.hop_limit)
            .collect();
        let is_selective =
            |one: &Segment<'_>| one.record.sack_count > 0 || one.record.has(Fact::SACK_PERMITTED);
        let mut highest: Vec<(i64, i64)> = Vec::new();
        for segment in self.back_up {
            if highest.last().is_none_or(|last| last.1 < segment.end) {
                highest.push((segment.time, segment.end));
            }
        }
        let context = Context {
            is_selective: self.up.iter().chain(self.down).any(is_selective),
            highest,
            copies: Bearers::new(self.up),
            siblings: Bearers::new(self.down),
            answered: Bearers::new(self.back_up),
            alike: self.alike(),
            matched,
            usual,
        };
        for gaps in &self.matching.only_down {
            let segment = &self.down[gaps.index];
            let fate = if self.seen_before.contains(&gaps.index) {
                Fate::MissedUp
            } else {
                self.origin(gaps, &context)
            };
            judged.cases.push(Case {
                fate,
                time: segment.time,
                elsewhere: segment.time - self.delay_before(gaps.index),
                units: gaps.units(self.path),
                up: None,
                down: Some(segment.record.frame),
                what: what(segment.record),
                is_gone: false,
            });
        }
    }

    /// The delay of the last packet that came through before a downstream one.
    fn delay_before(&self, index: usize) -> i64 {
        let portions = &self.matching.portions;
        let at = portions.partition_point(|one| one.down < index);
        let near = portions.get(at.saturating_sub(1));
        near.map_or(self.path.typical, |one| one.delay)
    }

    /// Where a packet comes from that only the downstream point saw.
    fn origin(&self, gaps: &Gaps, context: &Context<'_, '_>) -> Fate {
        let segment = &self.down[gaps.index];
        let record = segment.record;
        if record.has(Fact::ICMP) {
            return Fate::Made;
        }
        let near = if segment.occupies() {
            context.siblings.overlapping(segment.start, segment.end)
        } else {
            let alike = context.alike.get(&self.name(gaps.index));
            alike.cloned().unwrap_or_default()
        };
        // Of copies that all passed the upstream point unseen the first is the packet.
        let is_copy = near.iter().any(|other| {
            *other != gaps.index
                && (context.matched.contains(other) || *other < gaps.index)
                && self.is_copy(self.down_point, segment, &self.down[*other])
        });
        if is_copy {
            let left = segment.time - self.delay_before(gaps.index);
            let is_named = record.has(Fact::IP_ID) || segment.occupies();
            return if is_named || context.is_selective || !context.is_behind_hole(segment, left) {
                Fate::Duplicated
            } else {
                Fate::DuplicatedOrMissed
            };
        }
        if !context.usual.is_empty() && !context.usual.contains(&record.hop_limit) {
            return Fate::Made;
        }
        if !segment.occupies() || record.flags & RST != 0 {
            let early = record.flags & RST == 0 && self.is_premature(segment, context);
            return if early {
                Fate::Made
            } else {
                Fate::MadeOrMissed
            };
        }
        // The same place in the stream with other octets.
        let copies = context.copies.overlapping(segment.start, segment.end);
        let is_forged = copies.iter().any(|copy| {
            let own = self.up[*copy].record;
            let comparable = !own.has(Fact::CUT) && !record.has(Fact::CUT);
            (self.up[*copy].start, own.len) == (segment.start, record.len)
                && comparable
                && own.digest != record.digest
        });
        if is_forged {
            Fate::Made
        } else {
            Fate::MissedUp
        }
    }

    /// Whether it acknowledges octets before they came to the upstream point.
    fn is_premature(&self, segment: &Segment<'_>, context: &Context<'_, '_>) -> bool {
        let arrived = context.answered.complete(segment.ack - 1, segment.ack);
        arrived.is_some_and(|arrived| arrived > segment.time + self.path.tolerance)
    }

    /// Downstream packets without octets of the stream, by what makes copies alike.
    fn alike(&self) -> HashMap<Name, Vec<usize>> {
        let mut alike: HashMap<Name, Vec<usize>> = HashMap::new();
        if self
            .matching
            .only_down
            .iter()
            .all(|gaps| self.down[gaps.index].occupies())
        {
            return alike;
        }
        for (index, segment) in self.down.iter().enumerate() {
            if !segment.occupies() {
                alike.entry(self.name(index)).or_default().push(index);
            }
        }
        alike
    }

    fn name(&self, index: usize) -> Name {
        let (segment, record) = (&self.down[index], self.down[index].record);
        let stamp = (record.ip_id, record.ts_value, record.window);
        (
            segment.start,
            segment.ack,
            record.len,
            record.digest,
            record.flags,
            stamp,
        )
    }
}
