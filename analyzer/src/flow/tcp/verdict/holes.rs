//! Holes in the octets that passed: opened by what lies behind them, confirmed by the receiver, filled.

use crate::app::MessageUnit;
use crate::connection::HoleEpisode;
use crate::event::RetransmissionKind;
use crate::flow::tcp::TcpTracker;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::send_order::Stamp;
use crate::flow::tcp::sender::{Hole, SenderState, split_pair};
use crate::flow::tcp::verdict::offload::segments_in;
use crate::seq::SeqRange;

/// Holes kept in detail.
const LONGEST_HOLES: usize = 8;

impl TcpTracker {
    /// Keeps a hole that a segment filled, when anything waited behind it.
    pub(in crate::flow::tcp) fn close_hole(
        &mut self,
        segment: &Segment<'_>,
        hole: &Hole,
        kind: RetransmissionKind,
    ) {
        let sender = &self.senders[segment.direction.index()];
        let limit = sender
            .holes
            .first()
            .map_or(sender.snd_max, |next| next.range.start);
        let blocked = limit.saturating_sub(hole.range.end);
        if blocked == 0 {
            // Only an acknowledgement had shown it: nothing waited.
            return;
        }
        let episode = HoleEpisode {
            direction: segment.direction,
            opened: hole.opener,
            filled: segment.reference,
            repair: hole.repair,
            repair_kind: kind,
            repairs: hole.repairs,
            missing_octets: hole.opened_octets,
            blocked_octets: blocked,
            blocked_segments: segments_in(blocked, sender.stats.largest_payload),
            stall: segment.packet.time.since(hole.opener.time),
            seen_at_sender: false,
            confirmed: hole.confirmed,
            blocked_messages: 0,
            message_unit: MessageUnit::Unknown,
        };
        self.keep_hole(episode);
    }

    /// Counts a hole and keeps it among the longest.
    pub(in crate::flow::tcp) fn keep_hole(&mut self, episode: HoleEpisode) {
        let holes = self.holes.get_or_insert_default();
        holes.count += 1;
        holes.stall_total += episode.stall;
        holes.stall_max = holes.stall_max.max(episode.stall);
        holes.blocked_octets += episode.blocked_octets;
        let at = holes
            .longest
            .partition_point(|known| known.stall >= episode.stall);
        if at < LONGEST_HOLES {
            holes.longest.insert(at, episode);
            holes.longest.truncate(LONGEST_HOLES);
        }
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
        confirmed: false,
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
    for hole in peer.holes.iter_mut().filter(|hole| !hole.confirmed) {
        let reported = hole.range.end < reported_to && peer.sacked.overlap(hole.range) == 0;
        let stands_before = (is_again || !reports)
            && hole.range.start == ack
            && round_trip.is_some_and(|it| segment.packet.time.since(hole.opener.time) >= it);
        hole.confirmed = hole.range.start >= ack && (reported || stands_before);
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
