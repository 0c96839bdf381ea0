//! Whether a packet without octets came, by what its receiver did next.
//!
//! Nobody acknowledges an acknowledgement. But a host that has one echoes its timestamp (RFC 7323 §4.3),
//! and does not send again what it acknowledges; a host that lacks one does.

use std::collections::HashMap;

use super::judge::Direction;
use crate::matching::Segment;
use crate::reading::Fact;

/// Packets on either side whose delays tell that of one between them.
const NEIGHBOURS: usize = 3;

/// A sender that has heard nothing sends again by then, in nanoseconds (RFC 6298 §2.1).
const RETRANSMISSION: i64 = 1_000_000_000;

/// What the receiver of one direction did at the downstream point.
pub(super) struct Receipts<'a, 'b> {
    direction: &'a Direction<'a, 'b>,
    /// Packets that came: their index upstream, and when they left and came; by index.
    came: Vec<(usize, i64, i64)>,
    /// When the downstream point first saw a timestamp of the sender.
    first_seen: HashMap<u32, i64>,
    /// When the receiver first echoed it.
    first_echo: HashMap<u32, i64>,
    /// For each packet of the receiver: the lowest octet that it or a later one bears.
    lowest_behind: Vec<i64>,
    /// The highest acknowledgement that the downstream point saw so far, with its time.
    acknowledged: Vec<(i64, i64)>,
}

impl<'a, 'b> Receipts<'a, 'b> {
    pub fn new(direction: &'a Direction<'a, 'b>) -> Self {
        let portions = direction.matching.portions.iter();
        let mut came: Vec<(usize, i64, i64)> = portions
            .map(|one| {
                let left = direction.up[one.up].time;
                (one.up, left, direction.down[one.down].time)
            })
            .collect();
        came.sort_unstable();
        came.dedup_by_key(|one| one.0);
        let (mut first_seen, mut first_echo) = (HashMap::new(), HashMap::new());
        let is_stamped = |segment: &&Segment<'_>| segment.record.has(Fact::TIMESTAMPS);
        for segment in direction.down.iter().filter(is_stamped) {
            let stamp = segment.record.ts_value;
            first_seen.entry(stamp).or_insert(segment.time);
        }
        for segment in direction.back_down.iter().filter(is_stamped) {
            let stamp = segment.record.ts_echo;
            first_echo.entry(stamp).or_insert(segment.time);
        }
        let mut lowest = i64::MAX;
        let mut lowest_behind: Vec<i64> = direction
            .back_down
            .iter()
            .rev()
            .map(|segment| {
                // Probes of one octet repeat what was acknowledged (RFC 1122 §4.2.3.6).
                if segment.record.len > 1 {
                    lowest = lowest.min(segment.start);
                }
                lowest
            })
            .collect();
        lowest_behind.reverse();
        let mut acknowledged: Vec<(i64, i64)> = Vec::new();
        for segment in direction.down {
            if acknowledged.last().is_none_or(|last| last.1 < segment.ack) {
                acknowledged.push((segment.time, segment.ack));
            }
        }
        Self {
            direction,
            came,
            first_seen,
            first_echo,
            lowest_behind,
            acknowledged,
        }
    }

    /// Whether an upstream packet without octets came; `None` where nothing tells.
    pub fn of(&self, index: usize) -> Option<bool> {
        let (earliest, latest) = self.arrival(index)?;
        let segment = &self.direction.up[index];
        self.by_echo(index, (earliest, latest))
            .or_else(|| self.by_octets(segment, latest))
    }

    /// About when an upstream packet came, or would have come.
    pub fn arrives(&self, index: usize) -> i64 {
        let time = self.direction.up[index].time;
        match self.arrival(index) {
            Some((earliest, latest)) => i64::midpoint(earliest, latest),
            None => time.saturating_add(self.direction.path.typical),
        }
    }

    /// When it came, if it did: at the earliest and at the latest.
    fn arrival(&self, index: usize) -> Option<(i64, i64)> {
        let at = self.came.partition_point(|one| one.0 < index);
        let near = at.saturating_sub(NEIGHBOURS)..(at + NEIGHBOURS).min(self.came.len());
        let delays = || self.came[near.clone()].iter().map(|one| one.2 - one.1);
        let time = self.direction.up[index].time;
        let tolerance = self.direction.path.tolerance;
        Some((
            time + delays().min()? - tolerance,
            time + delays().max()? + tolerance,
        ))
    }

    fn by_echo(&self, index: usize, (earliest, latest): (i64, i64)) -> Option<bool> {
        let record = self.direction.up[index].record;
        if !self.direction.path.keeps_timestamps || !record.has(Fact::TIMESTAMPS) {
            return None;
        }
        let stamp = record.ts_value;
        let seen = self.first_seen.get(&stamp).copied().unwrap_or(i64::MAX);
        if let Some(echoed) = self.first_echo.get(&stamp).copied()
            && (earliest..seen).contains(&echoed)
        {
            // Of several with this timestamp the last that can have come before its echo.
            let behind = self.direction.up[index + 1..].iter().enumerate();
            let mut same = behind.take_while(|(_, one)| one.record.ts_value == stamp);
            let is_last = !same.any(|(offset, one)| {
                self.arrival(index + 1 + offset)
                    .is_some_and(|(earliest, _)| earliest <= echoed)
                    && !one.occupies()
            });
            return is_last.then_some(true);
        }
        let back = self.direction.back_down;
        let from = back.partition_point(|one| one.time <= latest);
        let next = back[from..]
            .iter()
            .find(|one| one.record.has(Fact::TIMESTAMPS))?;
        let is_older = next.record.ts_echo.wrapping_sub(stamp).cast_signed() < 0;
        (is_older && next.record.ts_echo != 0).then_some(false)
    }

    /// By what the receiver sent of the octets that the packet acknowledges.
    fn by_octets(&self, segment: &Segment<'_>, latest: i64) -> Option<bool> {
        let back = self.direction.back_down;
        let from = back.partition_point(|one| one.time <= latest);
        let lowest = self.lowest_behind.get(from).copied();
        if lowest.is_some_and(|lowest| lowest < segment.ack) {
            return Some(false);
        }
        let at = self.acknowledged.partition_point(|one| one.0 <= latest);
        let known = at.checked_sub(1).map_or(0, |at| self.acknowledged[at].1);
        let covered = self.acknowledged[at..]
            .iter()
            .find(|one| one.1 >= segment.ack)?;
        let sent = back[..from].iter().rev().find(|one| one.occupies())?;
        let next = back[from..].iter().find(|one| one.occupies());
        let until = next.map_or(covered.0, |next| next.time.min(covered.0));
        let patience = RETRANSMISSION + 4 * self.direction.round_trip;
        let is_silent = until - sent.time.max(latest) > patience;
        (is_silent && known < segment.ack && sent.end >= segment.ack).then_some(true)
    }
}
