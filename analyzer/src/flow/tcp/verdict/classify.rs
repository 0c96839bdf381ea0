//! What a segment was: one verdict each, by one table of precedence.
//!
//! | # | verdict | condition |
//! |---|---|---|
//! | 1 | copy of one packet | every field equal to a recent packet ([`super::recent_packets`]) |
//! | 2 | keep-alive, zero-window probe | no octet or one, just below `snd_max`, all acknowledged; or the next octet alone into a closed window |
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

use crate::connection::Burst;
use crate::event::EventKind;
use crate::flow::tcp::TcpTracker;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::contents::Contents;
use crate::flow::tcp::sender::send_order::{SendOrder, Stamp};
use crate::flow::tcp::sender::{MAX_JUMP, Outstanding, SenderState, round_trip, split_pair};
use crate::flow::tcp::verdict::Verdict;
use crate::flow::tcp::verdict::hidden_loss::{HiddenRepeat, Hint, note_pushed_pause};
use crate::flow::tcp::verdict::holes::{fill_holes, note_behind, open_hole};
use crate::flow::tcp::verdict::offload::{count_data, segments_of};
use crate::flow::tcp::verdict::repeat_or_copy::{
    CopyKind, REORDERING_WITHOUT_RTT, copy_kind, is_late_original,
};
use crate::flow::tcp::verdict::retransmission::note_stuck;
use crate::seq::SeqRange;

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
        if payload == 1 && !control && is_window_probe(segment, sender, peer) {
            return self.on_window_probe(segment);
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
        let verdict = if is_first_syn(segment, sender) {
            // The capture wrote what it was answered with first: no copy of it has passed.
            Verdict::New
        } else if segment.start >= sender.snd_max {
            self.on_new(segment, range)
        } else if sender.missing.overlap(range) > 0 {
            let found = sender.missing.remove(range);
            let late_by = segment.packet.time.since(sender.una_advanced);
            let seldom = sender.stats.seldom();
            seldom.missing_octets = seldom.missing_octets.saturating_sub(found);
            if late_by < REORDERING_WITHOUT_RTT {
                sender.stats.note_written_late(late_by);
            }
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

    /// Takes a probe that carries the next octet, or carries it again.
    fn on_window_probe(&mut self, segment: &Segment<'_>) -> Verdict {
        let sender = &mut self.senders[segment.direction.index()];
        if segment.start == sender.snd_max {
            let octet = SeqRange::new(segment.start, segment.end);
            sender.stats.data_segments += 1;
            sender.stats.unique_bytes += 1;
            remember_outstanding(sender, segment, octet);
            // When it is accepted tells of the window, not of the path.
            mark_copied(sender, octet);
            sender.snd_max = segment.end;
            sender.edge = Stamp::of(segment);
            sender.probe_octet = Some(segment.start);
        }
        sender.note_sent(segment);
        self.on_probe(segment, true)
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
        if let Some(HiddenRepeat { kind, hint }) = hidden {
            let last_sent = self.senders[segment.direction.index()].last_sent;
            let after = segment.packet.time.since(last_sent);
            if hint != Hint::Counter {
                self.count_repeat(segment, range, kind, false);
            }
            let event = EventKind::Retransmission {
                kind,
                spurious: false,
                presumed: hint != Hint::Echo,
                original_frame: None,
                after,
            };
            self.note_repeat(segment, range, event);
        }
        let (sender, peer) = split_pair(&mut self.senders, segment.direction);
        note_pushed_pause(sender, peer, segment);
        if range.start > sender.snd_max {
            open_hole(sender, segment);
        }
        note_behind(sender, segment);
        remember_outstanding(sender, segment, range);
        sender.snd_max = range.end;
        sender.edge = Stamp::of(segment);
        let Some(hidden) = hidden else {
            return Verdict::New;
        };
        mark_copied(sender, range);
        Verdict::Retransmission(hidden.kind)
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
            note_behind(sender, segment);
            if overtaken_by_ack_only {
                return Verdict::New;
            }
            return self.count_late_original(segment, late_by);
        }
        let kind = self.repeat_kind(segment, range, hole.opener.time);
        self.take_repeat(segment, range, kind, None, late_by);
        let peer_mss = self.peer_mss(segment);
        let sender = &mut self.senders[segment.direction.index()];
        let segments = segments_of(segment, peer_mss);
        sender.stats.seldom().lost_before_capture += segments;
        sender.note_loss(range.start);
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
        note_behind(sender, segment);
        if partly_beyond {
            sender.snd_max = range.end;
        }
        for hole in filled {
            let direction = segment.direction;
            self.close_hole(direction, &hole, segment.reference, kind, false);
        }
        Verdict::Retransmission(kind)
    }

    fn on_partly_new(&mut self, segment: &Segment<'_>, range: SeqRange) -> Verdict {
        let sender = &mut self.senders[segment.direction.index()];
        let fresh = SeqRange::new(sender.snd_max, range.end);
        let old = SeqRange::new(range.start, sender.snd_max);
        let earlier = sender.latest_copy(old);
        sender.note_copy(old, segment);
        remember_outstanding(sender, segment, fresh);
        sender.snd_max = range.end;
        let was_probe = old.len() == 1 && sender.probe_octet == Some(old.start);
        if !was_probe && (segment.start >= sender.snd_una || old.len() > 1) {
            let time = segment.packet.time;
            let since = earlier.map_or(time, |known| known.last_sent);
            let kind = self.repeat_kind(segment, old, since);
            let frame = earlier.map(|known| known.frame);
            self.take_repeat(segment, old, kind, frame, time.since(since));
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
        let earlier = sender.latest_copy(range);
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
        // What was sent before the connection's first packet passed unseen, nobody knows when.
        let since = earlier.map_or(sender.last_sent.max(self.start), |known| known.last_sent);
        let kind = self.repeat_kind(segment, range, since);
        let after = segment.packet.time.since(since);
        self.take_repeat(
            segment,
            range,
            kind,
            earlier.map(|known| known.frame),
            after,
        );
        let sender = &mut self.senders[segment.direction.index()];
        let segments = segments_of(segment, peer_mss);
        let refused = range.start < sender.refused_to;
        let seldom = sender.stats.seldom();
        if refused {
            seldom.refused_repeats += segments;
        } else {
            seldom.lost_after_capture += segments;
            sender.note_loss(range.start);
        }
        sender.note_copy(range, segment);
        for hole in &mut sender.sack_holes {
            if range.start < hole.range.end && hole.range.start < range.end {
                hole.take_repair(segment.reference, kind, refused, peer_mss);
            }
        }
        note_stuck(sender, segment, range, peer_mss);
        sender.passed_over.close();
        Verdict::Retransmission(kind)
    }

    pub(in crate::flow::tcp) fn peer_mss(&self, segment: &Segment<'_>) -> Option<u16> {
        self.senders[segment.direction.reverse().index()].stats.mss
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
}

/// A segment below `snd_max` that asks for an answer rather than repeating something: all was
/// acknowledged when it was sent (RFC 9293 §3.8.4), and it is no acknowledgement that comes late.
fn is_probe(segment: &Segment<'_>, sender: &SenderState, peer: &SenderState) -> bool {
    // Of a peer that was not captured nobody knows what it acknowledged.
    let unknown = peer.stats.packets == 0 && segment.packet.payload_len == 0;
    let late = Stamp::of(segment).order(sender.newest, &sender.ip_ids) == SendOrder::Earlier;
    (unknown || sender.snd_una >= sender.snd_max) && !late
}

/// A SYN below what its receiver acknowledged, and the first packet of its sender.
fn is_first_syn(segment: &Segment<'_>, sender: &SenderState) -> bool {
    segment.tcp.flags.syn() && sender.stats.packets == 1 && segment.start < sender.snd_max
}

/// One octet, the next into a closed window (RFC 9293 §3.8.6.1), or the same again, which the window
/// had refused.
fn is_window_probe(segment: &Segment<'_>, sender: &SenderState, peer: &SenderState) -> bool {
    let is_next = segment.start == sender.snd_max && sender.holes.is_empty();
    let is_again = segment.end == sender.snd_max && sender.probe_octet == Some(segment.start);
    segment.start == sender.snd_una && (is_next && peer.window == Some(0) || is_again)
}

fn peer_window_closed(senders: &[SenderState; 2], segment: &Segment<'_>) -> bool {
    senders[segment.direction.reverse().index()].window == Some(0)
}

/// Payload octets among `octets` of the segment's sequence space.
pub(in crate::flow::tcp) fn payload_part(segment: &Segment<'_>, octets: u64) -> u64 {
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
        in_pieces: false,
        sacked: false,
        contents: Contents::default(),
    });
}

/// A repair's octets were sent before although that was not seen: no round-trip sample from it.
fn mark_copied(sender: &mut SenderState, range: SeqRange) {
    for known in sender.overlapping(range) {
        known.copies = known.copies.max(2);
        known.first_is_repeat = true;
    }
}
