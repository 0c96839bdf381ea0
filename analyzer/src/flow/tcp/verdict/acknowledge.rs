//! What acknowledgements prove: progress, round trips, losses behind the capture point, needless
//! repeats, and octets the capture missed.

use std::time::Duration;

use crate::app::MessageUnit;
use crate::connection::{HoleEpisode, Outage};
use crate::direction::Direction;
use crate::event::{EventKind, RetransmissionKind, SegmentRef};
use crate::flow::tcp::TcpTracker;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::rtt::{Progress, RoundTrip};
use crate::flow::tcp::sender::{Hole, MAX_JUMP, Outstanding, SackHole, SenderState, split_pair};
use crate::flow::tcp::verdict::holes::confirm_holes;
use crate::seq::SeqRange;
use crate::time::Timestamp;

/// Losses behind the capture point followed at one time.
const SACK_HOLES: usize = 64;

impl TcpTracker {
    /// Takes the acknowledgement fields of a segment; gives what they moved on.
    pub(in crate::flow::tcp) fn on_ack(&mut self, segment: &Segment<'_>) -> Option<Progress> {
        let ack = segment.ack?;
        let time = segment.packet.time;
        let echo = segment.tcp.timestamps.map(|(_, echo)| echo);
        let (sender, peer) = split_pair(&mut self.senders, segment.direction);
        if ack > peer.snd_max.saturating_add(MAX_JUMP) {
            return None;
        }
        peer.ack_passed = time;
        let probe_answered = peer.unanswered_probes > 0 && segment.seq_len() == 0;
        if std::mem::take(&mut peer.unanswered_probes) > 0
            && let Some(seldom) = &mut peer.stats.seldom
        {
            seldom.unanswered_probes = None;
        }
        let unfilled: Vec<Hole> = (peer.holes.iter())
            .filter(|hole| hole.range.end <= ack && hole.confirmed)
            .cloned()
            .collect();
        let unseen = acked_unseen(peer, ack);
        let acked_before = peer.snd_una;
        let mut progress = None;
        let same_window = segment.tcp.window_cut || sender.window == Some(segment.reference.window);
        if ack > acked_before {
            sender.stats.acks_drawn += 1;
            let round_trip = sender.rtt.min_ns();
            peer.acks_under_way.note(time, acked_before, round_trip);
            note_outage(peer, segment.reference);
            progress = Some(advance(peer, ack, time, echo));
        } else if ack == peer.snd_una
            && segment.seq_len() == 0
            && peer.flight_size() > 0
            && same_window
            && !(probe_answered && segment.reference.window == 0)
        {
            // RFC 5681 §2, all five conditions.
            peer.duplicate_acks += 1;
            peer.first_duplicate_ack.get_or_insert(segment.reference);
            sender.stats.duplicate_acks += 1;
            sender.stats.acks_drawn += 1;
        }
        let dsacks = if segment.tcp.sack_count > 0 {
            if self.handshake.seen().tells_scales()
                && has_impossible_sack(sender, peer, segment, ack)
            {
                let seldom = sender.stats.seldom();
                seldom.impossible_sacks += 1;
                seldom
                    .first_impossible_sack
                    .get_or_insert(segment.reference);
            }
            take_sacks(peer, segment, ack)
        } else {
            Vec::new()
        };
        if let Some(fin_at) = peer.fin_at
            && ack > fin_at
        {
            peer.stats.fin_acked.get_or_insert(time);
        }
        if let Some(unseen) = unseen {
            self.note_acked_unseen(segment, unseen);
        }
        self.close_unfilled(segment, &unfilled, unseen);
        if probe_answered {
            self.event(segment, EventKind::KeepAliveAck);
        }
        for dsack in dsacks {
            self.on_dsack(segment, dsack);
        }
        if progress.is_some() {
            self.prove_needless(segment, acked_before);
        }
        confirm_holes(&mut self.senders, segment, ack, progress.is_none());
        self.follow_sack_holes(segment, ack);
        self.turns.acknowledged(segment.direction, ack, time);
        progress
    }

    /// Closes holes that an acknowledgement covers although what filled them was never seen.
    fn close_unfilled(&mut self, segment: &Segment<'_>, unfilled: &[Hole], unseen: Option<Unseen>) {
        let in_holes: u64 = unfilled.iter().map(|hole| hole.range.len()).sum();
        // Others passed unseen as well: the capture was blind, and the repair may have come at any time in it.
        let is_blind = unseen.is_some_and(|unseen| unseen.octets > in_holes);
        for hole in unfilled {
            let direction = segment.direction.reverse();
            let last_shown = hole.last_shown.filter(|_| is_blind);
            let filled = last_shown.unwrap_or(segment.reference);
            let kind = RetransmissionKind::Unknown;
            self.close_hole(direction, hole, filled, kind, last_shown.is_some());
        }
    }

    fn note_acked_unseen(&mut self, segment: &Segment<'_>, unseen: Unseen) {
        let octets = unseen.octets;
        self.turns.acked_unseen(segment.direction, unseen.first);
        self.event(segment, EventKind::AckedUnseen { octets });
    }

    /// Takes the acknowledgement of a RST with which its sender ends the connection.
    pub(in crate::flow::tcp) fn on_last_ack(&mut self, segment: &Segment<'_>) {
        let (_, peer) = split_pair(&mut self.senders, segment.direction);
        if let Some(unseen) = segment.ack.and_then(|ack| acked_unseen(peer, ack)) {
            self.note_acked_unseen(segment, unseen);
        }
    }

    /// Opens and closes losses behind the capture point: octets that passed here, but that the
    /// receiver reports missing below later ones.
    fn follow_sack_holes(&mut self, segment: &Segment<'_>, ack: u64) {
        let (_, peer) = split_pair(&mut self.senders, segment.direction);
        if peer.sack_holes.is_empty() && peer.sacked.is_empty() && peer.duplicate_acks < 3 {
            return;
        }
        let sacked = &peer.sacked;
        let (mut closed, open): (Vec<SackHole>, Vec<SackHole>) =
            std::mem::take(&mut peer.sack_holes)
                .into_iter()
                .partition(|hole| {
                    let rest = SeqRange::new(hole.range.start.max(ack), hole.range.end);
                    hole.range.end <= ack || sacked.contains(rest)
                });
        peer.sack_holes = open;
        for (range, opened) in reported_gaps(peer, segment, ack) {
            if peer.sack_holes.len() >= SACK_HOLES {
                break;
            }
            let overlaps = |known: &SeqRange| known.start < range.end && range.start < known.end;
            let is_new = !peer.sack_holes.iter().any(|hole| overlaps(&hole.range));
            let seen_here = !peer.holes.iter().any(|hole| overlaps(&hole.range));
            if is_new && seen_here {
                peer.sack_holes.push(SackHole::new(range, opened));
            }
        }
        let starts: Vec<u64> = closed
            .iter()
            .chain(&peer.sack_holes)
            .map(|hole| hole.range.start)
            .collect();
        let next_hole = |end: u64| starts.iter().copied().filter(|start| *start >= end).min();
        for hole in &mut peer.sack_holes {
            let end = hole.range.end;
            let behind = SeqRange::new(end, next_hole(end).unwrap_or(u64::MAX));
            hole.blocked_octets = hole.blocked_octets.max(peer.sacked.overlap(behind));
        }
        // The jump of the ACK tells what had waited, also where no SACK did.
        for hole in &mut closed {
            let end = hole.range.end;
            let freed = ack.min(next_hole(end).unwrap_or(ack)).saturating_sub(end);
            hole.blocked_octets = hole.blocked_octets.max(freed);
        }
        for hole in closed {
            // Closed without a repeat: the network only reordered, behind the capture point.
            if hole.repairs > 0 {
                let direction = segment.direction.reverse();
                self.close_sack_hole(direction, &hole, segment.reference, false);
            }
        }
    }

    pub(in crate::flow::tcp) fn close_sack_hole(
        &mut self,
        direction: Direction,
        hole: &SackHole,
        filled: SegmentRef,
        at_least: bool,
    ) {
        let sender = &self.senders[direction.index()];
        // A FIN is nothing that waits.
        let fin_waits = sender.fin_at.is_some_and(|fin_at| fin_at >= hole.range.end);
        let blocked_octets = hole.blocked_octets.saturating_sub(u64::from(fin_waits));
        if blocked_octets == 0 {
            return;
        }
        self.keep_hole(HoleEpisode {
            direction,
            opened: hole.opened,
            filled,
            at_least,
            too_large: hole.too_large,
            repair: hole.repair,
            repair_kind: hole.repair_kind,
            repairs: hole.repairs,
            missing_octets: hole.range.len(),
            blocked_octets,
            stall: Duration::ZERO,
            seen_at_sender: true,
            confirmed: true,
            blocked_messages: 0,
            message_unit: MessageUnit::Unknown,
        });
    }
}

/// What the receiver misses below octets it has, with the acknowledgement that told first.
fn reported_gaps(
    peer: &mut SenderState,
    segment: &Segment<'_>,
    ack: u64,
) -> Vec<(SeqRange, SegmentRef)> {
    let mut gaps = Vec::new();
    let mut from = ack;
    // No more than a few are followed: those nearest to the acknowledgement.
    for range in peer.sacked.ranges().iter().take(2 * SACK_HOLES) {
        if range.start > from {
            gaps.push((SeqRange::new(from, range.start), segment.reference));
        }
        from = from.max(range.end);
    }
    // Without SACK: the first duplicate ACK was drawn by the first segment behind the hole.
    if peer.sacked.is_empty()
        && peer.duplicate_acks >= 3
        && let Some(first) = peer.first_duplicate_ack
        && let Some(lost) = peer.overlapping(SeqRange::new(ack, ack + 1)).next()
    {
        gaps.push((SeqRange::new(ack, lost.range.end), first));
    }
    gaps
}

/// Octets acknowledged that never passed.
#[derive(Clone, Copy)]
struct Unseen {
    octets: u64,
    /// The first of them.
    first: u64,
}

/// What is acknowledged and never passed; it is taken as sent from now on.
fn acked_unseen(peer: &mut SenderState, ack: u64) -> Option<Unseen> {
    if ack <= peer.snd_max && peer.holes.is_empty() {
        return None;
    }
    let (mut octets, mut first) = (0, peer.snd_max);
    for hole in &peer.holes {
        let part = SeqRange::new(hole.range.start, hole.range.end.min(ack));
        octets += peer.missing.insert(part);
        if !part.is_empty() {
            first = first.min(part.start);
        }
    }
    peer.holes.retain_mut(|hole| {
        hole.range = SeqRange::new(hole.range.start.max(ack), hole.range.end);
        !hole.range.is_empty()
    });
    if ack > peer.snd_max {
        // With no packet of that end at all the capture is one-sided: nothing was "missed".
        if peer.stats.packets > 0 {
            octets += peer.missing.insert(SeqRange::new(peer.snd_max, ack));
        }
        peer.snd_max = ack;
    }
    if octets == 0 {
        return None;
    }
    peer.stats.seldom().missing_octets += octets;
    Some(Unseen { octets, first })
}

/// Moves `snd_una` up and takes the round-trip sample of the newest segment that allows one.
pub(in crate::flow::tcp) fn advance(
    peer: &mut SenderState,
    ack: u64,
    time: Timestamp,
    echo: Option<u32>,
) -> Progress {
    let flight = peer.flight_size();
    // While losses are repaired acknowledgements wait for the repair, not in a queue.
    let mut undisturbed = peer.sacked.is_empty() && peer.duplicate_acks == 0;
    peer.acked_from = peer.snd_una;
    peer.snd_una = ack;
    peer.una_advanced = time;
    peer.duplicate_acks = 0;
    peer.first_duplicate_ack = None;
    peer.unanswered_repeats = 0;
    if !peer.sacked.is_empty() {
        peer.sacked.remove_below(ack);
    }
    let mut sample = None;
    while let Some(oldest) = peer.outstanding.front() {
        if oldest.range.end > ack {
            break;
        }
        if !oldest.in_pieces {
            let payload = u32::try_from(oldest.range.len()).unwrap_or(u32::MAX);
            peer.stats.largest_acked_payload = peer.stats.largest_acked_payload.max(payload);
        }
        // Without SACK only the repair tells what waited for it.
        undisturbed &= oldest.copies == 1;
        // Nothing new from a segment that the receiver had reported before.
        if !oldest.sacked {
            sample = round_trip(oldest, time, echo).or(sample);
        }
        peer.last_acked = peer.outstanding.pop_front();
    }
    if let Some(rtt_ns) = sample {
        peer.rtt.sample(rtt_ns);
    }
    let round_trip = sample.filter(|_| undisturbed);
    Progress {
        round_trip: round_trip.map(|ns| RoundTrip { ns, flight }),
    }
}

/// Ends the time in which a segment was repeated in vain; call before it is forgotten.
fn note_outage(peer: &mut SenderState, ended: SegmentRef) {
    let Some(seldom) = &mut peer.stats.seldom else {
        return;
    };
    let Some(stuck) = seldom.stuck.take() else {
        return;
    };
    let first_sent = peer.outstanding.front().map(|oldest| oldest.first_sent);
    let outage = Outage {
        since: first_sent.unwrap_or(stuck.first.time),
        first: stuck.first,
        last: stuck.last,
        copies: stuck.copies,
        ended,
    };
    let is_longest = (seldom.outage).is_none_or(|known| known.length() < outage.length());
    let nothing_passed = !stuck.smaller_passed && peer.sacked.is_empty();
    if stuck.copies >= 3 && nothing_passed && is_longest {
        seldom.outage = Some(outage);
    }
}

/// The round trip, in nanoseconds, of a segment that is acknowledged now. Karn's rule (RFC 6298 §3): never from a
/// segment sent twice, unless the echoed timestamp tells which copy is meant (RFC 7323 §4).
fn round_trip(known: &Outstanding, time: Timestamp, echo: Option<u32>) -> Option<u64> {
    if known.copies == 1 {
        return Some(time.nanos_since(known.first_sent));
    }
    let (first, latest) = (known.first.ts_val?, known.latest.ts_val?);
    let echo = echo?;
    if known.copies == 2 && echo == latest && (first != latest || known.first_is_repeat) {
        return Some(time.nanos_since(known.last_sent));
    }
    (echo == first && first != latest).then(|| time.nanos_since(known.first_sent))
}

/// Whether a SACK block lies before the first octet of `peer`, or beyond all that `sender` ever allowed
/// it to send. Both SYNs were seen.
fn has_impossible_sack(
    sender: &SenderState,
    peer: &SenderState,
    segment: &Segment<'_>,
    ack: u64,
) -> bool {
    let widest = sender.stats.window_max.unwrap_or_default();
    let allowed = ack + u64::from(widest.max(segment.reference.window));
    let first = peer.base.unwrap_or_default();
    segment.tcp.sacks().iter().any(|block| {
        let (start, end) = (peer.lift(block.left_edge), peer.lift(block.right_edge));
        start < end && (end <= first || start > allowed)
    })
}

/// Takes the SACK blocks of a segment; gives the DSACK blocks among them.
fn take_sacks(peer: &mut SenderState, segment: &Segment<'_>, ack: u64) -> Vec<SeqRange> {
    let mut dsacks = Vec::new();
    let blocks: Vec<SeqRange> = segment
        .tcp
        .sacks()
        .iter()
        .map(|block| SeqRange::new(peer.lift(block.left_edge), peer.lift(block.right_edge)))
        .filter(|block| !block.is_empty() && block.len() <= MAX_JUMP)
        .collect();
    for (at, block) in blocks.iter().enumerate() {
        // RFC 2883 §4: the first block lies below the cumulative ACK or within the second.
        let below = block.end <= ack;
        let within = at == 0
            && blocks
                .get(1)
                .is_some_and(|next| next.start <= block.start && block.end <= next.end);
        if at == 0 && (below || within) {
            dsacks.push(*block);
            continue;
        }
        if block.start < ack || block.end > peer.snd_max {
            continue;
        }
        if peer.sacked.contains(*block) {
            continue;
        }
        peer.sacked.insert(*block);
        let mut sample = None;
        for known in peer.overlapping(*block) {
            if !known.sacked && known.copies == 1 && known.range.end <= block.end {
                sample = Some(segment.packet.time.nanos_since(known.first_sent));
            }
            known.sacked = true;
        }
        if let Some(rtt_ns) = sample {
            peer.rtt.sample(rtt_ns);
        }
        if let Some(stuck) = peer
            .stats
            .seldom
            .as_mut()
            .and_then(|seldom| seldom.stuck.as_mut())
        {
            stuck.smaller_passed = true;
        }
    }
    dsacks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::tcp::sender::contents::Contents;
    use crate::flow::tcp::sender::send_order::Stamp;

    /// Ten segments in flight, the first of them sent `copies` times, are acknowledged after 300 ms.
    fn round_trip_of(copies: u16) -> Option<(u64, u64)> {
        let start = Timestamp::default();
        let mut sender = SenderState::default();
        sender.stats.largest_payload = 1000;
        sender.rtt.sample(20_000_000);
        for number in 0..10 {
            sender.push_outstanding(Outstanding {
                range: SeqRange::new(number * 1000, (number + 1) * 1000),
                first_sent: start,
                last_sent: start,
                frame: number + 1,
                first: Stamp::default(),
                latest: Stamp::default(),
                copies: if number == 0 { copies } else { 1 },
                first_is_repeat: false,
                in_pieces: false,
                sacked: false,
                contents: Contents::default(),
            });
        }
        sender.snd_max = 10_000;
        let later = start + std::time::Duration::from_millis(300);
        let progress = advance(&mut sender, 10_000, later, None);
        progress.round_trip.map(|trip| (trip.ns, trip.flight))
    }

    #[test]
    fn what_waited_for_a_repair_did_not_wait_in_a_queue() {
        assert_eq!(round_trip_of(1), Some((300_000_000, 10_000)));
        assert_eq!(round_trip_of(2), None);
    }
}
