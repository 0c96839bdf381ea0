//! What a segment was: one verdict each, by one table of precedence.
//!
//! | # | verdict | condition |
//! |---|---|---|
//! | 1 | copy of one packet | every field equal to a recent packet ([`super::duplicate`]) |
//! | 2 | keep-alive, zero-window probe | no octet or one, just below `snd_max`, all acknowledged |
//! | 3 | outside window | more than 2³⁰ octets beyond `snd_max` (RFC 7323 §2.3) |
//! | 4 | retransmission | begins at or beyond `snd_max`, but a mark shows that it was sent before ([`super::hidden_loss`]) |
//! | 5 | new | begins at or beyond `snd_max` |
//! | 6 | new, after its own ACK | was counted as missing: the capture wrote the ACK first |
//! | 7 | out of order | fills a hole, sent before the segment that showed the hole |
//! | 8 | retransmission | fills a hole, sent after that segment |
//! | 9 | network duplicate | repeats octets seen, with the marks of a copy that was seen |
//! | 10 | out of order | repeats octets seen, sent before the repeat that brought them |
//! | 11 | retransmission | repeats octets seen |
//!
//! "Sent before" is told by TSval (RFC 7323 §3), else by IP identification where it is a
//! counter ([`super::super::sender::send_order`]), else by time: a repair needs a round trip after the segment
//! that showed the hole. A DSACK that comes later marks a retransmission as spurious.

use std::time::Duration;

use crate::connection::{Burst, Stuck};
use crate::event::{EventKind, RetransmissionKind};
use crate::flow::tcp::TcpTracker;
use crate::flow::tcp::account::{held_writes, load};
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::send_order::{SendOrder, Stamp};
use crate::flow::tcp::sender::{
    MAX_JUMP, Outstanding, Repeat, SenderState, round_trip, split_pair,
};
use crate::flow::tcp::verdict::Verdict;
use crate::flow::tcp::verdict::copies::{CopyKind, copy_kind, is_late_original};
use crate::flow::tcp::verdict::holes::{fill_holes, open_hole};
use crate::flow::tcp::verdict::offload::{count_data, segments_of};
use crate::seq::SeqRange;
use crate::time::Timestamp;

/// Retransmissions remembered for a DSACK to come.
const REPEATS: usize = 1024;

impl TcpTracker {
    /// Judges the sequence space a segment occupies and advances its sender.
    pub(in crate::flow::tcp) fn on_sequence(&mut self, segment: &Segment<'_>) -> Verdict {
        let (sender, peer) = split_pair(&mut self.senders, segment.direction);
        let payload = segment.packet.payload_len;
        let control = segment.tcp.flags.syn() || segment.tcp.flags.fin();
        if !control
            && payload <= 1
            && segment.start + 1 == sender.snd_max
            && is_probe(segment, sender, peer)
        {
            return self.on_probe(segment, peer_window_closed(&self.senders, segment));
        }
        if segment.start > sender.snd_max.saturating_add(MAX_JUMP)
            || sender.snd_max > segment.start.saturating_add(MAX_JUMP)
        {
            return Verdict::OutsideWindow;
        }
        if segment.seq_len() == 0 {
            self.note_sent_before(segment);
            return Verdict::Acknowledgement;
        }
        if payload > 0 {
            count_data(segment, sender, peer);
        }
        let range = SeqRange::new(segment.start, segment.end);
        let unseen = sender.unseen_octets(range);
        sender.stats.unique_bytes += payload_part(segment, unseen);
        let verdict = if segment.start >= sender.snd_max {
            self.on_new(segment, range)
        } else if sender.missing.overlap(range) > 0 {
            let found = sender.missing.remove(range);
            let seldom = sender.stats.seldom();
            seldom.missing_octets = seldom.missing_octets.saturating_sub(found);
            Verdict::New
        } else if unseen == 0 {
            self.on_repeat(segment, range)
        } else {
            self.on_late(segment, range)
        };
        self.after_sequence(segment, range, verdict);
        verdict
    }

    fn on_probe(&mut self, segment: &Segment<'_>, window_closed: bool) -> Verdict {
        let sender = &mut self.senders[segment.direction.index()];
        sender.unanswered_probes += 1;
        if window_closed {
            sender.stats.seldom().zero_window_probes += 1;
            self.event(segment, EventKind::ZeroWindowProbe);
            Verdict::ZeroWindowProbe
        } else {
            sender.stats.count_keep_alive(segment.reference);
            self.event(segment, EventKind::KeepAlive);
            Verdict::KeepAlive
        }
    }

    /// An acknowledgement bears the number of the octet to be sent next (RFC 9293 §3.10.7.4):
    /// what lies between the stream's end and it was sent and has not passed.
    fn note_sent_before(&mut self, segment: &Segment<'_>) {
        let sender = &mut self.senders[segment.direction.index()];
        if segment.start > sender.snd_max {
            open_hole(sender, segment);
            sender.snd_max = segment.start;
        }
    }

    pub(in crate::flow::tcp) fn on_new(
        &mut self,
        segment: &Segment<'_>,
        range: SeqRange,
    ) -> Verdict {
        let hidden = self.hidden_repeat(segment);
        if let Some(kind) = hidden {
            let last_sent = self.senders[segment.direction.index()].last_sent;
            let waited = segment.packet.time.since(last_sent);
            self.count_repeat(segment, range, kind, None, waited);
        }
        let peer_mss = self.peer_mss(segment);
        let sender = &mut self.senders[segment.direction.index()];
        if range.start > sender.snd_max {
            open_hole(sender, segment);
        }
        remember_outstanding(sender, segment, range);
        sender.snd_max = range.end;
        sender.edge = Stamp::of(segment);
        let Some(kind) = hidden else {
            return Verdict::New;
        };
        let segments = segments_of(segment, sender, peer_mss);
        sender.stats.seldom().lost_before_capture += segments;
        mark_copied(sender, range);
        Verdict::Retransmission(kind)
    }

    /// Octets of which some had not passed yet: a late original or the repair of a loss before
    /// the capture point.
    fn on_late(&mut self, segment: &Segment<'_>, range: SeqRange) -> Verdict {
        let rtt = self.rtt_hint();
        let sender = &mut self.senders[segment.direction.index()];
        let partly_beyond = range.end > sender.snd_max;
        let hole = sender
            .holes
            .iter()
            .find(|hole| hole.range.start < range.end && range.start < hole.range.end)
            .cloned();
        let Some(hole) = hole else {
            // Begins with octets seen and goes beyond them.
            return self.on_partly_new(segment, range);
        };
        let late_by = segment.packet.time.since(hole.opener.time);
        if is_late_original(segment, &hole, sender, late_by, rtt) {
            remember_outstanding(sender, segment, range);
            let overtaken_by_ack_only =
                hole.opener.payload_len == 0 && hole.range.end == sender.snd_max;
            fill_holes(sender, range);
            if overtaken_by_ack_only {
                return Verdict::New;
            }
            return self.count_late_original(segment, late_by);
        }
        let kind = self.repeat_kind(segment, range, hole.opener.time);
        self.count_repeat(segment, range, kind, None, late_by);
        let peer_mss = self.peer_mss(segment);
        let sender = &mut self.senders[segment.direction.index()];
        let segments = segments_of(segment, sender, peer_mss);
        sender.stats.seldom().lost_before_capture += segments;
        for open in &mut sender.holes {
            if open.range.start < range.end && range.start < open.range.end {
                open.repair.get_or_insert(segment.reference);
                open.repairs += 1;
            }
        }
        remember_outstanding(sender, segment, range);
        mark_copied(sender, range);
        sender.passed_over.close();
        let filled = fill_holes(sender, range);
        if partly_beyond {
            sender.snd_max = range.end;
        }
        for hole in filled {
            self.close_hole(segment, &hole, kind);
        }
        Verdict::Retransmission(kind)
    }

    fn on_partly_new(&mut self, segment: &Segment<'_>, range: SeqRange) -> Verdict {
        let sender = &mut self.senders[segment.direction.index()];
        let fresh = SeqRange::new(sender.snd_max, range.end);
        remember_outstanding(sender, segment, fresh);
        let old = SeqRange::new(range.start, sender.snd_max);
        sender.snd_max = range.end;
        if segment.start >= sender.snd_una || old.len() > 1 {
            let kind = self.repeat_kind(segment, old, segment.packet.time);
            self.count_repeat(segment, old, kind, None, Duration::ZERO);
        }
        Verdict::PartlyNew
    }

    fn count_late_original(&mut self, segment: &Segment<'_>, late_by: Duration) -> Verdict {
        let sender = &mut self.senders[segment.direction.index()];
        sender.stats.seldom().out_of_order += 1;
        self.event(segment, EventKind::OutOfOrder { late_by });
        Verdict::OutOfOrder
    }

    /// All octets had passed before.
    fn on_repeat(&mut self, segment: &Segment<'_>, range: SeqRange) -> Verdict {
        if self.states.answers_crossing_syn(segment) {
            return Verdict::New;
        }
        let rtt = self.rtt_hint();
        let peer_mss = self.peer_mss(segment);
        let sender = &mut self.senders[segment.direction.index()];
        let earlier = sender.overlapping(range).next().copied();
        match copy_kind(segment, sender, range, earlier.as_ref(), rtt) {
            CopyKind::Repeat => {}
            CopyKind::OfNetwork => {
                sender.stats.seldom().network_duplicates += 1;
                self.event(segment, EventKind::NetworkDuplicate);
                return Verdict::NetworkDuplicate;
            }
            CopyKind::LateOriginal { repeat_passed } => {
                let late_by = segment.packet.time.since(repeat_passed);
                return self.count_late_original(segment, late_by);
            }
        }
        let since = earlier.map_or(sender.last_sent, |known| known.last_sent);
        let kind = self.repeat_kind(segment, range, since);
        let after = segment.packet.time.since(since);
        self.count_repeat(
            segment,
            range,
            kind,
            earlier.map(|known| known.frame),
            after,
        );
        let sender = &mut self.senders[segment.direction.index()];
        let segments = segments_of(segment, sender, peer_mss);
        sender.stats.seldom().lost_after_capture += segments;
        for known in sender.overlapping(range) {
            known.copies = known.copies.saturating_add(1);
            known.last_sent = segment.packet.time;
            known.frame = segment.packet.frame;
            known.latest = Stamp::of(segment);
        }
        for hole in &mut sender.sack_holes {
            if range.start < hole.range.end && hole.range.start < range.end {
                hole.repair.get_or_insert(segment.reference);
                hole.repairs += 1;
                hole.repair_kind = kind;
            }
        }
        note_stuck(sender, segment, range);
        sender.passed_over.close();
        Verdict::Retransmission(kind)
    }

    pub(in crate::flow::tcp) fn peer_mss(&self, segment: &Segment<'_>) -> Option<u16> {
        self.senders[segment.direction.reverse().index()].stats.mss
    }

    /// Counts a retransmission and remembers it until a DSACK could name it.
    fn count_repeat(
        &mut self,
        segment: &Segment<'_>,
        range: SeqRange,
        kind: RetransmissionKind,
        original_frame: Option<u64>,
        after: Duration,
    ) {
        let peer_mss = self.peer_mss(segment);
        let sack = self
            .senders
            .iter()
            .all(|sender| sender.stats.sack_permitted);
        let sender = &mut self.senders[segment.direction.index()];
        let segments = segments_of(segment, sender, peer_mss);
        let data = segment.packet.payload_len > 0;
        // Without SACK no DSACK will come: octets acknowledged before the copy was sent prove it.
        let spurious = data && !sack && range.end <= sender.snd_una;
        let stats = sender.stats.seldom();
        stats.retransmitted_segments += segments;
        stats.retransmitted_bytes += payload_part(segment, range.len());
        stats.retransmissions_by_kind[kind as usize] += segments;
        stats.spurious_retransmissions += if spurious { segments } else { 0 };
        sender.unanswered_repeats += 1;
        let event = self.event(
            segment,
            EventKind::Retransmission {
                kind,
                spurious,
                original_frame,
                after,
            },
        );
        if !segment.tcp.flags.syn() {
            let sender = &mut self.senders[segment.direction.index()];
            if sender.repeats.len() >= REPEATS {
                sender.repeats.pop_front();
            }
            sender.repeats.push_back(Repeat {
                range,
                stamp: Stamp::of(segment),
                passed: segment.packet.time,
                event,
                spurious,
            });
        }
    }

    /// What made the sender repeat `range`, which it sent last at `since`.
    fn repeat_kind(
        &mut self,
        segment: &Segment<'_>,
        range: SeqRange,
        since: Timestamp,
    ) -> RetransmissionKind {
        let time = segment.packet.time;
        let sender = &mut self.senders[segment.direction.index()];
        if segment.packet.payload_len == 0 {
            return RetransmissionKind::Control;
        }
        let quiet = time.since(since.max(sender.una_advanced));
        let above_reported = sender.duplicate_acks >= 3
            || sender
                .sacked
                .ranges()
                .iter()
                .any(|known| known.start >= range.end);
        // RFC 6298 §5: the timer runs from the last progress; 10 % for the capture's own delay.
        if quiet >= sender.rto_with_margin() && range.start <= sender.next_to_acknowledge() {
            let is_tail = range.end >= sender.snd_max && !above_reported;
            sender.timeout_recovery_to = sender.snd_max;
            return if is_tail && sender.flight_size() > range.len() {
                RetransmissionKind::TailLossProbe
            } else {
                RetransmissionKind::Timeout
            };
        }
        if above_reported || !sender.holes.is_empty() {
            return RetransmissionKind::Fast;
        }
        if range.start < sender.timeout_recovery_to {
            return RetransmissionKind::Timeout;
        }
        if range.end >= sender.snd_max {
            return RetransmissionKind::TailLossProbe;
        }
        RetransmissionKind::Unknown
    }

    fn after_sequence(&mut self, segment: &Segment<'_>, range: SeqRange, verdict: Verdict) {
        let sender = &mut self.senders[segment.direction.index()];
        sender.note_sent(segment);
        if segment.tcp.flags.fin() && sender.fin_at.is_none() {
            sender.fin_at = Some(range.end - 1);
            sender.stats.fin = Some(segment.reference);
        }
        if segment.packet.payload_len == 0 || !verdict.brings_new_octets() {
            return;
        }
        if verdict == Verdict::New {
            held_writes::on_data(&mut self.senders, segment, range.start, range.end);
            load::note_window(&mut self.senders, segment, range.end);
        }
        if matches!(verdict, Verdict::New | Verdict::PartlyNew) {
            self.note_burst(segment);
        }
        self.note_late_write(segment);
    }

    /// Data that follows a pause begins a burst.
    pub(in crate::flow::tcp) fn note_burst(&mut self, segment: &Segment<'_>) {
        const SHORTEST_PAUSE_NS: u64 = 100_000_000;
        let [client, server] = &self.senders;
        let last_payload = match (&client.stats.last_data, &server.stats.last_data) {
            (Some(one), Some(other)) if one.frame > other.frame => Some(one),
            (one, other) => other.as_ref().or(one.as_ref()),
        };
        let paused = last_payload.is_none_or(|last| {
            let silent = segment.packet.time.nanos_since(last.time);
            silent >= SHORTEST_PAUSE_NS
                && (self.rtt_hint()).is_none_or(|rtt| Duration::from_nanos(silent) >= rtt * 3)
        });
        let begins = paused
            || self.senders[segment.direction.index()]
                .stats
                .last_burst
                .is_none();
        let last_payload = last_payload.filter(|_| begins).copied();
        let stats = &mut self.senders[segment.direction.index()].stats;
        let payload = u64::from(segment.packet.payload_len);
        match &mut stats.last_burst {
            Some(burst) if !paused => {
                // The other end may have begun the burst: ours then begins here.
                burst.octets += payload;
            }
            burst => {
                *burst = Some(Burst {
                    before: last_payload,
                    first: segment.reference,
                    octets: payload,
                });
            }
        }
        stats.last_data = Some(segment.reference);
        stats.first_data.get_or_insert(segment.reference);
    }

    /// Data although the peer's FIN was there first.
    fn note_late_write(&mut self, segment: &Segment<'_>) {
        let (_, peer) = split_pair(&mut self.senders, segment.direction);
        let Some(fin_at) = peer.fin_at else { return };
        let fin_acknowledged = segment.ack.is_some_and(|ack| ack > fin_at);
        self.event(segment, EventKind::WriteAfterPeerFin { fin_acknowledged });
    }

    /// The whole round trip, as well as it is known so far.
    pub(in crate::flow::tcp) fn rtt_hint(&self) -> Option<Duration> {
        round_trip(&self.senders)
    }
}

impl SenderState {
    /// Takes when a segment that occupies sequence space passed, and its marks.
    pub fn note_sent(&mut self, segment: &Segment<'_>) {
        self.last_sent = segment.packet.time;
        let stamp = Stamp::of(segment);
        if stamp.order(self.newest, &self.ip_ids) != SendOrder::Earlier {
            self.newest = stamp;
        }
    }

    fn rto_with_margin(&self) -> Duration {
        self.rtt.rto() * 9 / 10
    }

    fn next_to_acknowledge(&self) -> u64 {
        self.snd_una
    }
}

/// A segment below `snd_max` that asks for an answer rather than repeating something: all was
/// acknowledged when it was sent (RFC 9293 §3.8.4), and it is no acknowledgement that comes late.
fn is_probe(segment: &Segment<'_>, sender: &SenderState, peer: &SenderState) -> bool {
    // Of a peer that was not captured nobody knows what it acknowledged.
    let unknown = peer.stats.packets == 0 && segment.packet.payload_len == 0;
    let late = Stamp::of(segment).order(sender.newest, &sender.ip_ids) == SendOrder::Earlier;
    (unknown || sender.snd_una >= sender.snd_max) && !late
}

fn peer_window_closed(senders: &[SenderState; 2], segment: &Segment<'_>) -> bool {
    senders[segment.direction.reverse().index()].window == Some(0)
}

/// Payload octets among `octets` of the segment's sequence space.
fn payload_part(segment: &Segment<'_>, octets: u64) -> u64 {
    octets.min(u64::from(segment.packet.payload_len))
}

fn remember_outstanding(sender: &mut SenderState, segment: &Segment<'_>, range: SeqRange) {
    if range.is_empty() {
        return;
    }
    sender.push_outstanding(Outstanding {
        range,
        first_sent: segment.packet.time,
        last_sent: segment.packet.time,
        frame: segment.packet.frame,
        first: Stamp::of(segment),
        latest: Stamp::of(segment),
        copies: 1,
        first_is_repeat: false,
        sacked: false,
    });
}

/// A repair's octets were sent before although that was not seen: no round-trip sample from it.
fn mark_copied(sender: &mut SenderState, range: SeqRange) {
    for known in sender.overlapping(range) {
        known.copies = known.copies.max(2);
        known.first_is_repeat = true;
    }
}

/// Remembers the oldest segment that gets no acknowledgement.
fn note_stuck(sender: &mut SenderState, segment: &Segment<'_>, range: SeqRange) {
    if range.start > sender.snd_una || range.end <= sender.snd_una {
        return;
    }
    match &mut sender.stats.seldom().stuck {
        Some(stuck) if stuck.first.relative_seq == segment.reference.relative_seq => {
            stuck.last = segment.reference;
            stuck.copies += 1;
        }
        stuck => {
            *stuck = Some(Stuck {
                first: segment.reference,
                last: segment.reference,
                copies: 2,
                smaller_passed: false,
            });
        }
    }
}
