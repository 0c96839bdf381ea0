//! The verdicts on one direction of one connection between two neighbouring points.

use std::collections::HashSet;

use super::evidence::{Acknowledged, Bearers};
use super::receipt::Receipts;
use super::{Case, Changed, Fate, Translation, What};
use crate::matching::{Likeness, Matching, Path, Segment};
use crate::reading::{Fact, Point, RST, Record, SYN};

/// One direction between two neighbouring points, ready to be judged.
pub(crate) struct Direction<'a, 'b> {
    pub path: &'a Path,
    pub matching: &'a Matching,
    /// The sender's packets at the upstream and the downstream point.
    pub up: &'a [Segment<'b>],
    pub down: &'a [Segment<'b>],
    /// The receiver's packets at the same points.
    pub back_up: &'a [Segment<'b>],
    pub back_down: &'a [Segment<'b>],
    pub up_point: &'a Point,
    pub down_point: &'a Point,
    /// Where the sender's numbers begin at the two points, as sent.
    pub base_up: u32,
    pub base_down: u32,
    /// Least round trip between the two points.
    pub round_trip: i64,
    pub translation: Translation,
    /// Upstream packets that a point further down saw, downstream packets that a point further up
    /// saw.
    pub seen_beyond: &'a HashSet<usize>,
    pub seen_before: &'a HashSet<usize>,
    /// Whether points lie behind the downstream one.
    pub has_beyond: bool,
}

/// What was found of one direction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Judged {
    pub cases: Vec<Case>,
    pub delivered: u64,
    /// Those without octets of the stream among them.
    pub delivered_bare: u64,
    /// Sorted, nanoseconds.
    pub delays: Vec<i64>,
    pub changed: Changed,
    /// Examples of what was rewritten: field, frames upstream and downstream, and time.
    pub examples: Vec<(&'static str, u64, u64, i64)>,
    /// The slowest: delay, frames upstream and downstream, and time.
    pub slowest: Option<(i64, u64, u64, i64)>,
    /// When the last packet left that came through.
    pub last_delivered: Option<i64>,
    /// Packets that the upstream and the downstream point saw.
    pub seen: [u64; 2],
    /// When some of those that came through were at the upstream and the downstream point.
    pub passed: [Vec<i64>; 2],
    /// Packets that the upstream point recorded twice at once and that came through once, and twice.
    pub twins: [u64; 2],
}

/// Two records of one packet at one point lie no further apart, in nanoseconds.
const AT_ONCE: i64 = 1_000_000;

/// Of so many packets that came through the times of one are kept.
const SAMPLED: usize = 8;

/// Records looked at for another one of the same packet.
const NEIGHBOURS: usize = 64;

/// Judges one direction.
pub(crate) fn judge(direction: &Direction<'_, '_>) -> Judged {
    let mut judged = Judged {
        seen: [direction.up.len() as u64, direction.down.len() as u64],
        ..Judged::default()
    };
    direction.delivered(&mut judged);
    if !direction.matching.only_up.is_empty() {
        direction.only_up(&mut judged);
    }
    if !direction.matching.only_down.is_empty() {
        direction.only_down(&mut judged);
    }
    judged
        .cases
        .sort_by_key(|case| (case.time, case.fate, case.up, case.down));
    judged
}

impl Direction<'_, '_> {
    /// Delays, order and rewritten fields of what came through.
    fn delivered(&self, judged: &mut Judged) {
        let mut newest: Option<(usize, i64)> = None;
        for (index, portion) in self.matching.portions.iter().enumerate() {
            let (up, down) = (&self.up[portion.up], &self.down[portion.down]);
            judged.delivered += portion.units;
            if !up.occupies() {
                judged.delivered_bare += portion.units;
            }
            judged.last_delivered = judged.last_delivered.max(Some(up.time));
            if index % SAMPLED == 0 {
                judged.passed[0].push(up.time);
                judged.passed[1].push(down.time);
            }
            for _ in 0..portion.units {
                judged.delays.push(portion.delay);
            }
            if judged
                .slowest
                .is_none_or(|(delay, ..)| portion.delay > delay)
            {
                let frames = (up.record.frame, down.record.frame);
                judged.slowest = Some((portion.delay, frames.0, frames.1, up.time));
            }
            let place = (portion.up, portion.start);
            if newest.is_some_and(|newest| place < newest) {
                judged.cases.push(Case {
                    fate: Fate::Reordered,
                    time: down.time,
                    elsewhere: up.time,
                    units: portion.units,
                    up: Some(up.record.frame),
                    down: Some(down.record.frame),
                    what: what(up.record),
                    is_gone: false,
                });
            }
            newest = newest.max(Some(place));
            let changed =
                Changed::compare(up.record, down.record, portion.is_whole, self.translation);
            judged.changed.add(&changed);
            for (field, count) in changed.fields() {
                let known = || judged.examples.iter().filter(|one| one.0 == field).count();
                if count > 0 && known() < 2 {
                    let frames = (up.record.frame, down.record.frame);
                    judged.examples.push((field, frames.0, frames.1, up.time));
                }
            }
        }
        judged.delays.sort_unstable();
    }

    fn only_up(&self, judged: &mut Judged) {
        let acked = [
            Acknowledged::new(self.back_up, self.up_point, self.base_up),
            Acknowledged::new(self.back_down, self.down_point, self.base_down),
        ];
        let (copies, arrivals) = (Bearers::new(self.up), Bearers::new(self.down));
        let alone: HashSet<usize> = self
            .matching
            .only_up
            .iter()
            .map(|gaps| gaps.index)
            .collect();
        let matched: HashSet<usize> = self.matching.portions.iter().map(|one| one.up).collect();
        for &index in &matched {
            judged.twins[1] +=
                u64::from(self.twin(index, &matched).is_some_and(|twin| twin < index));
        }
        let receipts = Receipts::new(self);
        let mut known = matched.clone();
        for gaps in &self.matching.only_up {
            let segment = &self.up[gaps.index];
            let elsewhere = receipts.arrives(gaps.index);
            let case = |fate: Fate, units: u64| Case {
                fate,
                time: segment.time,
                elsewhere,
                units,
                up: Some(segment.record.frame),
                down: None,
                what: what(segment.record),
                is_gone: false,
            };
            let units = gaps.units(self.path);
            if self.seen_beyond.contains(&gaps.index) {
                judged.cases.push(case(Fate::MissedDown, units));
            } else if gaps.is_whole && self.twin(gaps.index, &known).is_some() {
                judged.twins[0] += u64::from(self.twin(gaps.index, &matched).is_some());
                judged.cases.push(case(Fate::LostOrTwice, units));
            } else if gaps.ranges.is_empty() {
                let fate = match receipts.of(gaps.index) {
                    Some(true) => Fate::MissedDown,
                    // With a point between, it may have been lost behind that.
                    Some(false) if !self.has_beyond => Fate::Lost,
                    _ => Fate::LostOrMissed,
                };
                judged.cases.push(case(fate, units));
            } else {
                for &range in &gaps.ranges {
                    let fate = self.fate(gaps.index, range, &acked, (&copies, &arrivals), &alone);
                    let units = self.path.units(range.1 - range.0);
                    judged.cases.push(case(fate, units));
                }
            }
            if gaps.is_whole {
                known.insert(gaps.index);
            }
        }
    }

    /// One of some packets of which this one is a copy recorded at almost the same moment.
    fn twin(&self, index: usize, among: &HashSet<usize>) -> Option<usize> {
        let own = &self.up[index];
        let is_near = |other: &usize| (self.up[*other].time - own.time).abs() <= AT_ONCE;
        let before = (0..index).rev().take(NEIGHBOURS).take_while(is_near);
        let behind = (index + 1..self.up.len())
            .take(NEIGHBOURS)
            .take_while(is_near);
        let mut near = before.chain(behind);
        near.find(|other| {
            let (a, b) = (own.record, self.up[*other].record);
            // A SYN that comes twice is answered twice at once.
            let is_named = (a.has(Fact::IP_ID) && b.has(Fact::IP_ID))
                || (own.occupies() && a.flags & SYN == 0);
            is_named
                && among.contains(other)
                && (own.start, a.hop_limit) == (self.up[*other].start, b.hop_limit)
                && self.is_copy(self.up_point, own, &self.up[*other])
        })
    }

    /// What became of octets that only the upstream point saw in this packet.
    fn fate(
        &self,
        index: usize,
        (start, end): (i64, i64),
        [acked_up, acked_down]: &[Acknowledged; 2],
        (copies, arrivals): (&Bearers<'_, '_>, &Bearers<'_, '_>),
        alone: &HashSet<usize>,
    ) -> Fate {
        // By the downstream point's own order of events where it saw the acknowledgement.
        let back = self.path.tolerance;
        let copies = copies.overlapping(start, end);
        let since = copies.first().map_or(i64::MIN, |copy| self.up[*copy].time);
        let at_down = acked_down.when(start, end, since);
        let at_up = acked_up.when(start, end, since);
        let Some(acknowledged) = at_down.or(at_up.map(|time| time - back)) else {
            return Fate::Lost;
        };
        let arrived = arrivals.complete(start, end);
        if arrived.is_some_and(|arrived| arrived <= acknowledged) {
            // What was acknowledged is a copy that the downstream point saw.
            let later = self.up[index].time > acknowledged;
            let since = self.up[index].time;
            return match acked_up.came_again(start, end, since) {
                _ if !later => Fate::Lost,
                Some(true) if acked_down.came_again(start, end, since) != Some(false) => {
                    Fate::MissedDown
                }
                Some(_) => Fate::Lost,
                None => Fate::LostOrMissed,
            };
        }
        // A copy passed unseen: the latest one that was sent in time for the acknowledgement.
        let in_time = |copy: &&usize| match at_up {
            Some(at_up) => self.up[**copy].time + self.round_trip <= at_up,
            None => self.up[**copy].time <= acknowledged,
        };
        let own = copies.iter().filter(|copy| alone.contains(copy));
        let passed = own.clone().rfind(in_time).or(own.clone().next());
        match passed {
            Some(passed) if *passed == index => Fate::MissedDown,
            Some(passed) if self.up[index].time > self.up[*passed].time => Fate::LostOrMissed,
            _ => Fate::Lost,
        }
    }

    /// Whether two packets at one point are copies that the network made of one.
    pub(super) fn is_copy(&self, point: &Point, one: &Segment<'_>, other: &Segment<'_>) -> bool {
        let (a, b) = (one.record, other.record);
        let alike = a.len == b.len
            && a.flags == b.flags
            && one.ack == other.ack
            && a.window == b.window
            && a.digest == b.digest
            && (a.ts_value, a.ts_echo) == (b.ts_value, b.ts_echo)
            && point.sacks_of(a) == point.sacks_of(b);
        let path = Path {
            keeps_ip_id: true,
            keeps_timestamps: true,
            ..*self.path
        };
        match path.likeness(a, b) {
            Likeness::Same => alike,
            Likeness::Different => false,
            // No sender sends a segment again before an answer could have come.
            Likeness::Possible => {
                alike && (one.time - other.time).abs() <= self.round_trip.max(self.path.tolerance)
            }
        }
    }
}

pub(super) fn what(record: &Record) -> What {
    if record.has(Fact::ICMP) {
        What::Icmp
    } else if !record.has(Fact::TCP) {
        What::Datagram
    } else if record.flags & RST != 0 {
        What::Reset
    } else if record.occupies() > 0 {
        What::Data
    } else {
        What::Acknowledgement
    }
}
