//! Repeats whose first copy was lost before the capture point, with nothing behind it to show.
//!
//! The repeat of a lost tail looks like new data: it begins where the stream ended. Three marks
//! hint at it, each only where the sender's side of the path lies beyond the capture point, and only
//! after a silence in which the sender's timer could run out:
//!
//! - the identification counter of the connection passed over packets after the last octet seen,
//!   and the sender owed no acknowledgement that could have been one of them; a counter that passes
//!   over packets where none can be missing, or more than the connection can have sent, is the
//!   whole host's and tells nothing;
//! - the segment before it was full and did not end a write (PSH is not set, by a sender that sets
//!   it where it pauses), so more was there to be sent at once, and neither window nor
//!   acknowledgements held it back;
//! - a SYN-ACK echoes the TSval of an earlier SYN than the latest, a timeout after it.
//!
//! The first two prove no loss: they count as presumed ([`Half::presumed_repeats`]), and while it is
//! open whose the counter is as suspected ([`Half::suspected`]). They tell nothing of a sender whose
//! octets the capture is known to have missed.
//!
//! A pure ACK that bears a sequence number beyond the stream's end shows the loss itself; it
//! opens a hole like any later segment (`classify`).

use std::time::Duration;

#[cfg(doc)]
use crate::connection::Half;
use crate::connection::{CounterTrust, SuspectedRepeats};
use crate::decode::TcpFlags;
use crate::event::RetransmissionKind;
use crate::flow::tcp::TcpTracker;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::acks_under_way::AT_THE_CAPTURE_POINT_NS;
use crate::flow::tcp::sender::rtt::{RTO_MIN, whole_round_trip};
use crate::flow::tcp::sender::send_order::Passage;
use crate::flow::tcp::sender::{SenderState, split_pair};
use crate::flow::tcp::verdict::offload::segments_of;

/// What a repair takes when no round trip is known.
pub(super) const REPAIR_WITHOUT_RTT: Duration = RTO_MIN;
const REPAIR_WITHOUT_RTT_NS: u64 = RTO_MIN.as_nanos() as u64;

/// Segments that a sender has under way at most before anything was acknowledged (RFC 6928), and
/// repeats of them.
const INITIAL_WINDOW: u64 = 10;

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
        let counts = sender.ip_ids.is_counter() && segment.packet.ip_id.is_some();
        let passed = &mut sender.passed_over;
        if owed {
            passed.since = passed.last_packet;
        }
        passed.follows = counts;
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
        sender.passed_over.follows = passage == (Passage::InTurn { passed_over: 0 })
            && sender.ip_ids.is_counter()
            && segment.packet.ip_id.is_some();
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
        let (sender, peer) = split_pair(&mut self.senders, segment.direction);
        let rtt = whole_round_trip(&sender.rtt, &peer.rtt);
        let silence = segment
            .packet
            .time
            .nanos_since(sender.passed_over.last_packet);
        let timeouts = timeouts_within(silence);
        if u64::from(gap) > most_sent(sender) + u64::from(timeouts) {
            sender.ip_ids.note_served_others();
            return;
        }
        let due = repeats_due(segment, sender, rtt);
        let timed_out = rtt.is_some_and(|rtt| {
            answers_timed_out(segment, (sender, peer), gap.saturating_sub(due), owed, rtt)
        });
        if gap > due && !timed_out && segment.start <= sender.snd_max {
            sender.ip_ids.note_moved_on(silence);
        }
        if owed {
            // What the sender says now answers what it was told since: nothing earlier, unless it
            // comes when a timeout would bring the answer that was passed over.
            sender.passed_over.packets = u16::from(timed_out);
            return;
        }
        if gap > due && is_unexplained(segment, sender, repair_takes(sender, peer)) {
            sender.ip_ids.note_foreign();
        }
        // With nothing left to repeat for a timeout the recovery is over.
        if sender.flight_size() == 0 && silence >= REPAIR_WITHOUT_RTT_NS {
            sender.passed_over.closed = false;
        }
        let passed = &mut sender.passed_over;
        passed.in_all += u32::from(gap);
        passed.timeouts += timeouts + u32::from(!sender.holes.is_empty());
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
    ) -> Option<HiddenRepeat> {
        let (sender, peer) = split_pair(&mut self.senders, segment.direction);
        if segment.tcp.flags.syn() {
            let repeated = sender.passed_over.answers_earlier_syn;
            return repeated.then_some(HiddenRepeat {
                kind: RetransmissionKind::Control,
                hint: Hint::Echo,
            });
        }
        if sender.stats.packets <= 1 || sender.stats.oversized_segments > 0 {
            return None;
        }
        // The capture missed packets that arrived: those passed over may be the same. And nobody
        // knows in how many packets the octets of a hole were.
        let tells_nothing = sender.stats.missing_octets() > 0
            || segment.start > sender.snd_max
            || is_at_sender(sender, peer);
        let waited = segment.packet.time.nanos_since(sender.last_sent);
        let held_back = !tells_nothing && was_held_back_by_loss(segment, sender, peer, waited);
        if tells_nothing || sender.passed_over.is_empty() && !held_back {
            sender.passed_over.reset();
            return None;
        }
        let waited = sender.passed_over.waited(segment, sender.last_sent);
        let takes = repair_takes(sender, peer);
        // Repairs go out in the order of the stream: of each hole still open one was lost before.
        let repairs_lost = segments_in_holes(sender);
        let passed_over = u64::from(sender.passed_over.packets) > repairs_lost
            && sender.passed_over.take_one(waited >= takes);
        let trust = sender.ip_ids.trust();
        let suspected = passed_over && trust != CounterTrust::Shared;
        if !held_back && !suspected {
            sender.passed_over.reset();
            return None;
        }
        sender.passed_over.close();
        let kind = kind_of(segment, waited);
        let segments = segments_of(segment, peer.stats.mss);
        if held_back {
            sender.stats.seldom().presumed_repeats += segments;
            let hint = Hint::Pause;
            return Some(HiddenRepeat { kind, hint });
        }
        note_suspected(
            &mut sender.stats.seldom().suspected,
            segment,
            kind,
            segments,
        );
        if trust != CounterTrust::PerConnection {
            return None;
        }
        if waited >= REPAIR_WITHOUT_RTT_NS {
            self.prove_answered_before(segment);
        }
        let hint = Hint::Counter;
        Some(HiddenRepeat { kind, hint })
    }
}

/// A repeat that no copy and no hole shows.
#[derive(Clone, Copy, Debug)]
pub(in crate::flow::tcp) struct HiddenRepeat {
    pub kind: RetransmissionKind,
    pub hint: Hint,
}

/// What shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::flow::tcp) enum Hint {
    /// The timestamp it echoes: a proof.
    Echo,
    /// A write that went on after a pause.
    Pause,
    /// Its sender's counter: counted when that is known to be this connection's own.
    Counter,
}

/// Whether a segment comes when a timeout would bring again what was among `gap` packets passed over.
/// `owed`: its sender had something to acknowledge; `rtt`: the whole round trip.
fn answers_timed_out(
    segment: &Segment<'_>,
    (sender, peer): (&SenderState, &SenderState),
    gap: u16,
    owed: bool,
    rtt: u64,
) -> bool {
    let is_timeout_since =
        |since| is_timeout_of_answer(segment.packet.time.nanos_since(since), rtt);
    let asked = &sender.passed_over.asked;
    let questions = u16::from(asked.count);
    // Each question may have drawn an acknowledgement.
    if gap == 0 || gap > questions.max(1) {
        return false;
    }
    if !owed {
        return is_timeout_since(sender.passed_over.last_packet);
    }
    if questions > 1 && gap == questions {
        // It answered all of them: this may be the answer to any, once more.
        return asked.times().any(is_timeout_since);
    }
    // What its packet before did not acknowledge it was asked before that.
    let soonest = peer.rtt.min_ns().unwrap_or_default() * 9 / 10;
    let asked_at = asked.answered_by(segment, soonest);
    is_timeout_since(asked_at.unwrap_or(peer.last_sent))
}

fn note_suspected(
    suspected: &mut SuspectedRepeats,
    segment: &Segment<'_>,
    kind: RetransmissionKind,
    segments: u64,
) {
    if suspected.segments == 0 {
        suspected.first_frame = segment.packet.frame;
    }
    suspected.segments += segments;
    suspected.octets += u64::from(segment.packet.payload_len);
    suspected.by_kind[kind as usize] += segments;
}

impl SenderState {
    /// Packets that were passed over beyond those that were repaired: repeats that were lost as
    /// well, no more than timers ran out. Nothing is known where the capture itself missed packets.
    pub fn note_lost_repeats(&mut self) {
        let counted = self.ip_ids.trust() == CounterTrust::PerConnection
            && self.stats.oversized_segments == 0
            && self.passed_over.in_all > 0;
        if !counted || self.stats.missing_octets() > 0 {
            return;
        }
        let passed_over = u64::from(self.passed_over.in_all);
        let timeouts = u64::from(self.passed_over.timeouts);
        let stats = self.stats.seldom();
        if stats.lost_before_capture > 0 {
            let repaired = stats.lost_before_capture + stats.presumed_repeats;
            stats.repeats_lost_before_capture = passed_over.saturating_sub(repaired).min(timeouts);
        }
    }

    /// How far its counter tells of this connection, as far as the connection itself shows.
    pub fn counter_trust(&self) -> CounterTrust {
        if self.stats.oversized_segments > 0 {
            return CounterTrust::Shared;
        }
        self.ip_ids.trust()
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
fn is_timeout_of_answer(delay_ns: u64, rtt_ns: u64) -> bool {
    let soonest = rtt_ns.saturating_add(REPAIR_WITHOUT_RTT_NS);
    let there_and_back = soonest.saturating_add(rtt_ns);
    delay_ns >= soonest && delay_ns <= there_and_back.saturating_add(there_and_back / 5)
}

/// More than this a sender cannot have sent since its last packet, timers apart: its window grows
/// by a segment for each that was acknowledged (RFC 5681 §3.1).
const fn most_sent(sender: &SenderState) -> u64 {
    INITIAL_WINDOW + sender.stats.data_segments
}

/// How often a timer can run out within a silence; each time it waits twice as long (RFC 6298 §5.5).
const fn timeouts_within(silence_ns: u64) -> u32 {
    (silence_ns / REPAIR_WITHOUT_RTT_NS + 1).ilog2()
}

/// The least time, in nanoseconds, from a sender's last packet to the repeat of one behind it: a
/// round trip while losses are being repaired, else a probe timeout (RFC 8985 §7.2: two smoothed
/// round trips), each less 10 % for the capture's own delay.
fn repair_takes(sender: &SenderState, peer: &SenderState) -> u64 {
    let recovers = sender.passed_over.closed || !sender.holes.is_empty();
    let both_known = sender.rtt.samples() > 0 && peer.rtt.samples() > 0;
    match whole_round_trip(&sender.rtt, &peer.rtt) {
        Some(rtt) if recovers => rtt.saturating_mul(9) / 10,
        Some(rtt) if both_known => rtt.saturating_mul(9) / 5,
        _ => REPAIR_WITHOUT_RTT_NS,
    }
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
    let timed_out = waited_ns >= near.saturating_add(far).saturating_mul(7) / 4;
    if !at_receiver || !timed_out {
        return false;
    }
    let counter_denies = sender.passed_over.follows
        || sender.passed_over.is_empty() && sender.ip_ids.trust() == CounterTrust::PerConnection;
    // Of a sender not seen pausing after a PSH, its counter must say the same.
    let pushes = sender.passed_over.pushed_pauses > 0
        || segment.tcp.flags.has(TcpFlags::PSH)
            && !sender.passed_over.is_empty()
            && sender.ip_ids.trust() != CounterTrust::Shared;
    if counter_denies || !pushes {
        return false;
    }
    let follows = before.relative_seq + u64::from(before.payload_len)
        == sender.relative(segment.start)
        && !before.flags.has(TcpFlags::PSH)
        && before.payload_len == sender.stats.largest_payload;
    let open = peer
        .window
        .is_some_and(|window| window >= segment.packet.payload_len);
    follows && open
}

/// Counts a pause of at least a round trip before new data when the data before it ended a write.
pub(in crate::flow::tcp) fn note_pushed_pause(
    sender: &mut SenderState,
    peer: &SenderState,
    segment: &Segment<'_>,
) {
    let pushed =
        (sender.stats.last_data.as_ref()).is_some_and(|before| before.flags.has(TcpFlags::PSH));
    let waited = segment.packet.time.nanos_since(sender.last_sent);
    let round_trip = whole_round_trip(&sender.rtt, &peer.rtt);
    if pushed && round_trip.is_some_and(|rtt| waited >= rtt) {
        let pauses = &mut sender.passed_over.pushed_pauses;
        *pauses = pauses.saturating_add(1);
    }
}

/// Segments of known holes that the sender must have repeated by now, so that packets passed over
/// may be those repeats. The hole that `segment` repairs counts when it comes a timeout late: the
/// first repair was lost then.
fn repeats_due(segment: &Segment<'_>, sender: &SenderState, rtt: Option<u64>) -> u16 {
    if sender.holes.is_empty() {
        return 0;
    }
    let rtt = Duration::from_nanos(rtt.unwrap_or_default());
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

/// Segments that the open holes lack, as far as known from the largest.
fn segments_in_holes(sender: &SenderState) -> u64 {
    let size = u64::from(sender.stats.largest_payload.max(1));
    let holes = sender.holes.iter();
    holes.map(|hole| hole.range.len().div_ceil(size)).sum()
}

/// Octets that follow on those before them, with nothing missing and too soon for a repair: the
/// packets that the counter passed over between them were not of this connection.
fn is_unexplained(segment: &Segment<'_>, sender: &SenderState, repair_takes_ns: u64) -> bool {
    let waited = segment
        .packet
        .time
        .nanos_since(sender.passed_over.last_packet);
    let follows = segment.seq_len() > 0 && segment.start == sender.snd_max;
    follows && sender.holes.is_empty() && !sender.passed_over.closed && waited < repair_takes_ns
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
