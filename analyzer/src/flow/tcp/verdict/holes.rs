//! Holes in the octets that passed: opened by what lies behind them, confirmed by the receiver, filled.

use std::time::Duration;

use crate::app::MessageUnit;
use crate::connection::HoleEpisode;
use crate::direction::Direction;
use crate::event::{RetransmissionKind, SegmentRef};
use crate::flow::tcp::TcpTracker;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::send_order::Stamp;
use crate::flow::tcp::sender::{Hole, SenderState, split_pair};
use crate::seq::SeqRange;
use crate::time::Timestamp;

/// Holes kept in detail.
const LONGEST_HOLES: usize = 8;

impl TcpTracker {
    /// Keeps a hole that `filled` filled or acknowledged, or that was open to the end, when any
    /// payload waited behind it.
    pub(in crate::flow::tcp) fn close_hole(
        &mut self,
        direction: Direction,
        hole: &Hole,
        filled: SegmentRef,
        kind: RetransmissionKind,
        at_least: bool,
    ) {
        let sender = &self.senders[direction.index()];
        let next = (sender.holes.iter()).find(|next| next.range.start >= hole.range.end);
        let limit = next.map_or(sender.snd_max, |next| next.range.start);
        // A FIN is nothing that waits.
        let limit = sender.fin_at.map_or(limit, |fin_at| limit.min(fin_at));
        let blocked_octets = limit.saturating_sub(hole.range.end);
        let Some(opened) = hole.first_behind.filter(|_| blocked_octets > 0) else {
            return;
        };
        self.keep_hole(HoleEpisode {
            direction,
            opened,
            filled,
            at_least,
            too_large: false,
            repair: hole.repair,
            repair_kind: kind,
            repairs: hole.repairs,
            missing_octets: hole.opened_octets,
            blocked_octets,
            stall: Duration::ZERO,
            seen_at_sender: false,
            confirmed: hole.confirmed,
            blocked_messages: 0,
            message_unit: MessageUnit::Unknown,
        });
    }

    /// Keeps the holes that the receiver reported (SACK) and that nothing filled: they count to the
    /// last that was heard of it.
    pub(in crate::flow::tcp) fn close_open_holes(&mut self) {
        for direction in Direction::BOTH {
            let receiver = direction.reverse();
            let last = (self.resets.segments())
                .chain(self.senders[receiver.index()].stats.last_segment)
                .filter(|segment| segment.direction == receiver)
                .max_by_key(|segment| segment.frame);
            let Some(last) = last else { continue };
            let sender = &self.senders[direction.index()];
            let reported_to = sender.sacked.ranges().last().map_or(0, |range| range.end);
            let holes = sender.holes.clone();
            let reported = |hole: &&Hole| hole.confirmed && hole.range.end < reported_to;
            for hole in holes.iter().filter(reported) {
                self.close_hole(direction, hole, last, RetransmissionKind::Unknown, true);
            }
            let sack_holes = std::mem::take(&mut self.senders[direction.index()].sack_holes);
            for hole in sack_holes.iter().filter(|hole| hole.repairs > 0) {
                self.close_sack_hole(direction, hole, last, true);
            }
        }
    }

    /// Counts a hole and keeps it among the longest. Its receiver waits no longer than to its own
    /// FIN or a reset.
    pub(in crate::flow::tcp) fn keep_hole(&mut self, mut episode: HoleEpisode) {
        let receiver = &self.senders[episode.direction.reverse().index()];
        let closed = receiver.stats.fin.map(|fin| fin.time);
        let end = [closed, self.reset_at]
            .into_iter()
            .flatten()
            .fold(episode.filled.time, Timestamp::min);
        if end <= episode.opened.time {
            return;
        }
        episode.stall = end.since(episode.opened.time);
        let holes = self.holes.get_or_insert_default();
        let waits = &mut holes.waits[episode.direction.index()];
        waits.add(episode.opened.time, end, episode.blocked_octets);
        let at = holes
            .longest
            .partition_point(|known| known.stall >= episode.stall);
        if at < LONGEST_HOLES {
            holes.longest.insert(at, episode);
            holes.longest.truncate(LONGEST_HOLES);
        }
    }
}

/// Takes a segment with payload from `start` on: what lies before it keeps it back.
pub(in crate::flow::tcp) fn note_behind(sender: &mut SenderState, segment: &Segment<'_>) {
    if segment.packet.payload_len == 0 {
        return;
    }
    let before = sender
        .holes
        .partition_point(|hole| hole.range.end <= segment.start);
    for hole in &mut sender.holes[..before] {
        hole.first_behind.get_or_insert(segment.reference);
    }
}

/// What lies between the stream's end and a segment has not passed.
pub(in crate::flow::tcp) fn open_hole(sender: &mut SenderState, segment: &Segment<'_>) {
    let missing = SeqRange::new(sender.snd_max, segment.start);
    sender.holes.push(Hole {
        range: missing,
        opened_octets: missing.len(),
        opener: segment.reference,
        opener_stamp: Stamp::of(segment),
        first_behind: None,
        confirmed: false,
        last_shown: None,
        repair: None,
        repairs: 0,
    });
    sender.bound_holes();
}

/// Marks the holes of which the receiver says that it lacks them too: it reports octets behind
/// them (RFC 2018), or acknowledges up to them when what showed them must have arrived: again, or,
/// where it cannot report, for the first time.
pub(in crate::flow::tcp) fn confirm_holes(
    senders: &mut [SenderState; 2],
    segment: &Segment<'_>,
    ack: u64,
    is_again: bool,
) {
    let (sender, peer) = split_pair(senders, segment.direction);
    if peer.holes.is_empty() {
        return;
    }
    let reports = peer.stats.sack_permitted && sender.stats.sack_permitted;
    let round_trip = peer.rtt.min();
    let reported_to = peer.sacked.ranges().last().map_or(ack, |last| last.end);
    for hole in &mut peer.holes {
        let reported = hole.range.end < reported_to && peer.sacked.overlap(hole.range) == 0;
        let stands_before = (is_again || !reports)
            && hole.range.start == ack
            && round_trip.is_some_and(|it| segment.packet.time.since(hole.opener.time) >= it);
        if hole.range.start >= ack && (reported || stands_before) {
            hole.confirmed = true;
            hole.last_shown = Some(segment.reference);
        }
    }
}

/// Takes `range` out of the holes; gives those that are closed now.
pub(in crate::flow::tcp) fn fill_holes(sender: &mut SenderState, range: SeqRange) -> Vec<Hole> {
    let first = sender
        .holes
        .partition_point(|hole| hole.range.end <= range.start);
    let behind = sender.holes[first..].partition_point(|hole| hole.range.start < range.end);
    let (mut filled, mut open) = (Vec::new(), Vec::new());
    for hole in &sender.holes[first..first + behind] {
        let before = SeqRange::new(hole.range.start, range.start.max(hole.range.start));
        let after = SeqRange::new(range.end.min(hole.range.end), hole.range.end);
        if before.is_empty() && after.is_empty() {
            filled.push(hole.clone());
            continue;
        }
        for part in [before, after] {
            if !part.is_empty() {
                // An acknowledgement alone tells of the first octet only.
                let confirmed = part.start == hole.range.start || !sender.sacked.is_empty();
                open.push(Hole {
                    range: part,
                    confirmed: hole.confirmed && confirmed,
                    ..hole.clone()
                });
            }
        }
    }
    sender.holes.splice(first..first + behind, open);
    sender.bound_holes();
    filled
}
