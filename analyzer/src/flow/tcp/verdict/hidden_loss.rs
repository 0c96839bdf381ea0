//! Repeats whose first copy was lost before the capture point, with nothing behind it to show.
//!
//! The repeat of a lost tail looks like new data: it begins where the stream ended. Three marks
//! betray it, each only where the sender's side of the path lies beyond the capture point:
//!
//! - the identification counter of the connection passed over packets after the last octet seen,
//!   and the sender owed no acknowledgement that could have been one of them; a counter that passes
//!   over packets where none can be missing is the whole host's and tells nothing;
//! - the segment before it did not end a write (PSH is not set), so more was there to be sent at
//!   once, and neither window nor acknowledgements held it back, but a probe timeout passed;
//! - a SYN-ACK echoes the TSval of an earlier SYN than the latest, a timeout after it.
//!
//! The first two tell nothing of a sender whose octets the capture is known to have missed.
//!
//! A pure ACK that bears a sequence number beyond the stream's end shows the loss itself; it
//! opens a hole like any later segment (`classify`).

use std::time::Duration;

use crate::decode::TcpFlags;
use crate::event::RetransmissionKind;
use crate::flow::tcp::TcpTracker;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::passed_over::DoubtfulRepeat;
use crate::flow::tcp::sender::rtt::whole_round_trip;
use crate::flow::tcp::sender::send_order::{Passage, Trust};
use crate::flow::tcp::sender::under_way::AT_THE_CAPTURE_POINT_NS;
use crate::flow::tcp::sender::{SenderState, split_pair};
use crate::flow::tcp::verdict::offload::segments_of;

/// Linux's smallest retransmission timeout: what a repair takes when no round trip is known.
const REPAIR_WITHOUT_RTT: Duration = Duration::from_nanos(REPAIR_WITHOUT_RTT_NS);
const REPAIR_WITHOUT_RTT_NS: u64 = 200_000_000;

/// RFC 6298 §2.1, less 10 % for the capture's own delay.
const SYN_ACK_TIMEOUT: Duration = Duration::from_millis(900);

impl TcpTracker {
    /// [`Self::note_identification`] of a packet that [`IpIdClock::expects`], when nothing was
    /// passed over before.
    pub(in crate::flow::tcp) fn note_expected_identification(&mut self, segment: &Segment<'_>) {
        let segments = self.wire_segments(segment);
        let (sender, peer) = split_pair(&mut self.senders, segment.direction);
        let owed = !sender.passed_over.asked.is_empty() || peer.flight_size() > 0;
        sender.ip_ids.take(segment, segments);
        let passed = &mut sender.passed_over;
        if owed {
            passed.since = passed.last_packet;
        }
        passed.overtaken = false;
        passed.answers_earlier_syn = false;
        passed.asked.count = 0;
        passed.last_packet = segment.packet.time;
        if segment.seq_len() > 0 {
            peer.passed_over.asked.add(segment);
        }
    }

    /// Follows the identification counter; call for every packet that is no copy, before its
    /// acknowledgement is taken.
    pub(in crate::flow::tcp) fn note_identification(&mut self, segment: &Segment<'_>) {
        let segments = self.wire_segments(segment);
        let (sender, peer) = split_pair(&mut self.senders, segment.direction);
        let owed = !sender.passed_over.asked.is_empty() || peer.flight_size() > 0;
        let passage = sender.ip_ids.take(segment, segments);
        sender.passed_over.overtaken = passage == Passage::Overtaken;
        let gap = match passage {
            Passage::InTurn { passed_over } => passed_over,
            Passage::Overtaken => {
                let passed = &mut sender.passed_over;
                passed.packets = passed.packets.saturating_sub(1);
                passed.in_all = passed.in_all.saturating_sub(1);
                0
            }
        };
        sender.passed_over.answers_earlier_syn = is_repeated_syn_ack(segment, peer);
        if owed {
            sender.passed_over.packets = 0;
            sender.passed_over.since = sender.passed_over.last_packet;
        }
        if gap > 0 {
            self.note_gap(segment, gap, owed);
        }
        let (sender, peer) = split_pair(&mut self.senders, segment.direction);
        sender.passed_over.asked.count = 0;
        sender.passed_over.last_packet = segment.packet.time;
        if segment.seq_len() > 0 {
            peer.passed_over.asked.add(segment);
        }
    }

    /// Takes `gap` identifications that were passed over right before a segment. `owed`: the sender
    /// had something to acknowledge.
    fn note_gap(&mut self, segment: &Segment<'_>, gap: u16, owed: bool) {
        let rtt = self.rtt_hint();
        let sender = &mut self.senders[segment.direction.index()];
        if owed {
            // What the sender says now answers what it was told since: nothing earlier, unless it
            // comes when a timeout would bring the answer that was passed over.
            let passed = &mut sender.passed_over;
            let asked_at = passed.asked.answered_by(segment);
            let timed_out = asked_at.zip(rtt).is_some_and(|(asked_at, rtt)| {
                is_timeout_of_answer(segment.packet.time.since(asked_at), rtt)
            });
            passed.packets = u16::from(gap == 1 && timed_out);
            return;
        }
        let due = repeats_due(segment, sender, rtt);
        if gap > due && is_unexplained(segment, sender, rtt) {
            sender.ip_ids.note_foreign();
        }
        let passed = &mut sender.passed_over;
        passed.in_all += u32::from(gap);
        if gap > due && !passed.closed {
            if passed.packets == 0 {
                passed.since = passed.last_packet;
            }
            passed.packets = passed.packets.saturating_add(gap - due);
        }
    }

    /// Judges a segment that begins at or beyond the stream's end, before the end advances:
    /// `Some` when it was sent before.
    pub(in crate::flow::tcp) fn hidden_repeat(
        &mut self,
        segment: &Segment<'_>,
    ) -> Option<RetransmissionKind> {
        let (sender, peer) = split_pair(&mut self.senders, segment.direction);
        if segment.tcp.flags.syn() {
            let repeated = sender.passed_over.answers_earlier_syn;
            return repeated.then_some(RetransmissionKind::Control);
        }
        if sender.stats.packets <= 1 || sender.stats.oversized_segments > 0 {
            return None;
        }
        if sender.stats.missing_octets() > 0 {
            // The capture missed packets that arrived: those passed over may be the same.
            sender.passed_over.reset();
            return None;
        }
        let trust = sender.ip_ids.trust();
        if sender.passed_over.is_empty() && segment.start == sender.snd_max {
            let waited = segment.packet.time.nanos_since(sender.last_sent);
            if trust == Trust::PerConnection
                || !was_held_back_by_loss(segment, sender, peer, waited)
            {
                sender.passed_over.reset();
                return None;
            }
        }
        let sent_before = sender.passed_over.last_sent_before(sender.last_sent);
        let waited = segment.packet.time.nanos_since(sent_before);
        let repair_takes = whole_round_trip(&sender.rtt, &peer.rtt)
            .map_or(REPAIR_WITHOUT_RTT_NS, |rtt| rtt.saturating_mul(9) / 10);
        let hole = segment.start.saturating_sub(sender.snd_max);
        if hole > 0 {
            // Nobody knows in how many packets the octets of the hole were.
            sender.passed_over.packets = 0;
        }
        let passed_over =
            sender.passed_over.take_one(waited >= repair_takes) && !is_at_sender(sender, peer);
        let held_back = hole == 0 && was_held_back_by_loss(segment, sender, peer, waited);
        let hidden = match trust {
            Trust::PerConnection => passed_over,
            _ if held_back => true,
            Trust::NotYet if passed_over => {
                sender.passed_over.close();
                let segments = segments_of(segment, sender, peer.stats.mss);
                sender.doubtful.push(DoubtfulRepeat {
                    kind: kind_of(segment, waited),
                    segments,
                    octets: segment.packet.payload_len,
                });
                return None;
            }
            _ => false,
        };
        if !hidden {
            sender.passed_over.reset();
            return None;
        }
        sender.passed_over.close();
        Some(kind_of(segment, waited))
    }
}

impl SenderState {
    /// Packets that were passed over beyond those that were repaired: repeats that were lost as
    /// well. Nothing is known where the capture itself missed packets.
    pub fn note_lost_repeats(&mut self) {
        let counted = self.ip_ids.trust() == Trust::PerConnection
            && self.stats.oversized_segments == 0
            && self.passed_over.in_all > 0;
        if !counted || self.stats.missing_octets() > 0 {
            return;
        }
        let passed_over = u64::from(self.passed_over.in_all);
        let stats = self.stats.seldom();
        if stats.lost_before_capture > 0 {
            stats.repeats_lost_before_capture =
                passed_over.saturating_sub(stats.lost_before_capture);
        }
    }

    /// Counts the repeats that had to wait until the sender's identifications could be trusted.
    pub fn settle_doubtful_repeats(&mut self) {
        let doubtful = std::mem::take(&mut self.doubtful);
        if self.ip_ids.trust() != Trust::PerConnection || self.stats.oversized_segments > 0 {
            return;
        }
        for repeat in doubtful {
            let stats = self.stats.seldom();
            stats.retransmitted_segments += repeat.segments;
            stats.retransmitted_bytes += u64::from(repeat.octets);
            stats.retransmissions_by_kind[repeat.kind as usize] += repeat.segments;
            stats.lost_before_capture += repeat.segments;
        }
    }
}

fn kind_of(segment: &Segment<'_>, waited_ns: u64) -> RetransmissionKind {
    if segment.packet.payload_len == 0 {
        RetransmissionKind::Control
    } else if waited_ns >= REPAIR_WITHOUT_RTT_NS {
        RetransmissionKind::Timeout
    } else {
        RetransmissionKind::TailLossProbe
    }
}

/// Whether an answer that comes `delay` after what it answers, at the far end of a path of this
/// round trip, is when Linux's timer would send the answer again: smoothed round trip and 200 ms
/// (RFC 6298 §2.3 with its minimum of the variance term), plus the way there and back, and 20 %
/// for timer slack and variance.
fn is_timeout_of_answer(delay: Duration, rtt: Duration) -> bool {
    delay >= rtt + REPAIR_WITHOUT_RTT && delay <= (rtt * 2 + REPAIR_WITHOUT_RTT) * 6 / 5
}

/// The capture point is next to the sender: what is not in the capture was missed by it, not lost
/// on the way there.
fn is_at_sender(sender: &SenderState, peer: &SenderState) -> bool {
    let (Some(to_receiver), Some(to_sender)) = (sender.rtt.min_ns(), peer.rtt.min_ns()) else {
        return false;
    };
    to_sender <= AT_THE_CAPTURE_POINT_NS.max(to_receiver / 8) && to_sender < to_receiver
}

/// The segment before left more to be sent, nothing held it back, and a probe timeout passed.
fn was_held_back_by_loss(
    segment: &Segment<'_>,
    sender: &SenderState,
    peer: &SenderState,
    waited_ns: u64,
) -> bool {
    let (Some(near), Some(far), Some(before)) = (
        sender.rtt.min_ns(),
        peer.rtt.min_ns(),
        &sender.stats.last_data,
    ) else {
        return false;
    };
    let at_receiver = near < far / 4;
    // RFC 8985 §7.2: the probe timeout is two smoothed round trips; a window that an
    // acknowledgement opens is used after one.
    if !at_receiver || waited_ns < near.saturating_add(far).saturating_mul(7) / 4 {
        return false;
    }
    let follows = before.relative_seq + u64::from(before.payload_len)
        == sender.relative(segment.start)
        && !before.flags.has(TcpFlags::PSH);
    let open = peer
        .window
        .is_some_and(|window| window >= segment.packet.payload_len);
    follows && open
}

/// Segments of known holes that the sender must have repeated by now, so that packets passed over
/// may be those repeats. The hole that `segment` repairs counts when it comes a timeout late: the
/// first repair was lost then.
fn repeats_due(segment: &Segment<'_>, sender: &SenderState, rtt: Option<Duration>) -> u16 {
    let rtt = rtt.unwrap_or_default();
    let size = u64::from(sender.stats.largest_payload.max(1));
    let segments: u64 = sender
        .holes
        .iter()
        .filter(|hole| {
            let open_for = segment.packet.time.since(hole.opener.time);
            let repaired_now = segment.start < hole.range.end && hole.range.start < segment.end;
            open_for
                >= if repaired_now {
                    rtt + REPAIR_WITHOUT_RTT
                } else {
                    rtt
                }
        })
        .map(|hole| hole.range.len().div_ceil(size))
        .sum();
    u16::try_from(segments).unwrap_or(u16::MAX)
}

/// Octets that follow on those before them, with nothing missing and too soon for a repair: the
/// packets that the counter passed over between them were not of this connection.
fn is_unexplained(segment: &Segment<'_>, sender: &SenderState, rtt: Option<Duration>) -> bool {
    let repair_takes = rtt.map_or(REPAIR_WITHOUT_RTT, |rtt| rtt * 9 / 10);
    let waited = segment.packet.time.since(sender.passed_over.last_packet);
    let follows = segment.seq_len() > 0 && segment.start == sender.snd_max;
    follows && sender.holes.is_empty() && !sender.passed_over.closed && waited < repair_takes
}

/// A SYN-ACK that answers an earlier SYN than the latest, a timeout after it: the answer before
/// it was lost. (Looked at before the SYN-ACK acknowledges the SYN.)
fn is_repeated_syn_ack(segment: &Segment<'_>, client: &SenderState) -> bool {
    if !segment.tcp.flags.has(TcpFlags::SYN | TcpFlags::ACK) {
        return false;
    }
    let (Some((_, echo)), Some(syn)) = (segment.tcp.timestamps, client.outstanding.front()) else {
        return false;
    };
    let answers_earlier = syn.copies > 1 && syn.latest.ts_val.is_some_and(|latest| latest != echo);
    answers_earlier && segment.packet.time.since(syn.first_sent) >= SYN_ACK_TIMEOUT
}
