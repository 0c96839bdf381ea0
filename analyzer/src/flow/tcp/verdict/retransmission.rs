//! Retransmissions: how they count, what triggered them, and those that get no answer.

use std::time::Duration;

use crate::connection::Stuck;
use crate::event::{EventKind, RetransmissionKind};
use crate::flow::tcp::TcpTracker;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::rtt::whole_round_trip;
use crate::flow::tcp::sender::send_order::Stamp;
use crate::flow::tcp::sender::{Repeat, SenderState, split_pair};
use crate::flow::tcp::verdict::classify::payload_part;
use crate::flow::tcp::verdict::needless::soonest_answer;
use crate::flow::tcp::verdict::offload::segments_of;
use crate::seq::SeqRange;
use crate::time::Timestamp;

/// Retransmissions remembered for a DSACK to come.
const REPEATS: usize = 1024;

impl TcpTracker {
    /// Takes a retransmission of octets whose copy or absence was seen.
    pub(in crate::flow::tcp) fn take_repeat(
        &mut self,
        segment: &Segment<'_>,
        range: SeqRange,
        kind: RetransmissionKind,
        original_frame: Option<u64>,
        after: Duration,
    ) {
        let sender = &self.senders[segment.direction.index()];
        // Octets acknowledged before the copy passed had arrived, whether a DSACK says so or not. And
        // nobody can know of a loss sooner than a round trip after the copy before.
        let too_soon = original_frame.is_some() && after < soonest_answer(sender);
        let acknowledged = range.end <= sender.snd_una;
        let spurious = acknowledged || too_soon && segment.packet.payload_len > 0;
        self.count_repeat(segment, range, kind, spurious);
        let event = EventKind::Retransmission {
            kind,
            spurious,
            presumed: false,
            original_frame,
            after,
        };
        self.note_repeat(segment, range, event);
    }

    pub(in crate::flow::tcp) fn count_repeat(
        &mut self,
        segment: &Segment<'_>,
        range: SeqRange,
        kind: RetransmissionKind,
        spurious: bool,
    ) {
        let peer_mss = self.peer_mss(segment);
        let sender = &mut self.senders[segment.direction.index()];
        let segments = segments_of(segment, peer_mss);
        let stats = sender.stats.seldom();
        stats.retransmitted_segments += segments;
        stats.retransmitted_bytes += payload_part(segment, range.len());
        stats.retransmissions_by_kind[kind as usize] += segments;
        if spurious {
            stats.spurious_retransmissions += segments;
            stats.spurious_control += u64::from(kind == RetransmissionKind::Control);
        }
    }

    /// Remembers a retransmission until something could prove it needless.
    pub(in crate::flow::tcp) fn note_repeat(
        &mut self,
        segment: &Segment<'_>,
        range: SeqRange,
        kind: EventKind,
    ) {
        let EventKind::Retransmission {
            spurious, presumed, ..
        } = kind
        else {
            return;
        };
        let event = self.event(segment, kind);
        let sender = &mut self.senders[segment.direction.index()];
        sender.unanswered_repeats += 1;
        if sender.repeats.len() >= REPEATS {
            sender.repeats.pop_front();
        }
        sender.repeats.push_back(Repeat {
            range,
            stamp: Stamp::of(segment),
            passed: segment.packet.time,
            event,
            spurious,
            control: segment.packet.payload_len == 0,
            provable: !presumed,
            reported: false,
        });
        sender.repeated_to = sender.repeated_to.max(range.end);
    }

    /// What made the sender repeat `range`, which it sent last at `since`.
    pub(in crate::flow::tcp) fn repeat_kind(
        &mut self,
        segment: &Segment<'_>,
        range: SeqRange,
        since: Timestamp,
    ) -> RetransmissionKind {
        if segment.packet.payload_len == 0 {
            return RetransmissionKind::Control;
        }
        let time = segment.packet.time;
        let (sender, peer) = split_pair(&mut self.senders, segment.direction);
        let quiet = time.since(since.max(sender.una_advanced));
        let drawn_by_ack = time.since(sender.ack_passed) <= reaction(sender, peer);
        let later_sacked = (sender.sacked.ranges().last()).is_some_and(|it| it.start >= range.end);
        let reported = sender.duplicate_acks >= 3 || later_sacked;
        // RFC 6582 §3.2: in recovery each acknowledgement that stops short draws the next repair.
        let partial = range.start == sender.snd_una && range.start < sender.fast_recovery_to;
        if drawn_by_ack && (reported || partial) {
            sender.fast_recovery_to = sender.fast_recovery_to.max(sender.snd_max);
            return RetransmissionKind::Fast;
        }
        // RFC 6298 §5: the timer runs from the last progress; 10 % for the capture's own delay.
        if quiet >= path_rto(sender, peer) * 9 / 10 && range.start <= sender.snd_una {
            sender.timeout_recovery_to = sender.snd_max;
            return RetransmissionKind::Timeout;
        }
        if reported || !sender.holes.is_empty() {
            return RetransmissionKind::Fast;
        }
        if range.start < sender.timeout_recovery_to {
            return RetransmissionKind::Timeout;
        }
        // RFC 8985 §7.2: the probe waits two smoothed round trips.
        let probe_timeout = whole_round_trip(&sender.rtt, &peer.rtt).unwrap_or_default() * 9 / 5;
        if range.end >= sender.snd_max && quiet >= Duration::from_nanos(probe_timeout) {
            return RetransmissionKind::TailLossProbe;
        }
        RetransmissionKind::Unknown
    }
}

/// How soon after an acknowledgement passes what it draws from `sender` can be here: the way there
/// and back, half as much for its changes, and 1 ms for the host.
fn reaction(sender: &SenderState, peer: &SenderState) -> Duration {
    let way = (peer.rtt.srtt())
        .or_else(|| whole_round_trip(&sender.rtt, &peer.rtt).map(Duration::from_nanos));
    way.unwrap_or_default() * 3 / 2 + Duration::from_millis(1)
}

/// The sender's retransmission timeout, from the round trips on both sides of the capture point.
fn path_rto(sender: &SenderState, peer: &SenderState) -> Duration {
    sender.rtt.rto() + peer.rtt.srtt().unwrap_or_default()
}

/// Remembers the oldest segment that gets no acknowledgement.
pub(in crate::flow::tcp) fn note_stuck(
    sender: &mut SenderState,
    segment: &Segment<'_>,
    range: SeqRange,
    peer_mss: Option<u16>,
) {
    if range.start > sender.snd_una || range.end <= sender.snd_una {
        return;
    }
    let seldom = sender.stats.seldom();
    if let Some(stuck) = seldom.stuck
        && stuck.first.relative_seq == segment.reference.relative_seq
        && stuck.first.payload_len > segment.packet.payload_len
        && stuck.copies >= 3
        && peer_mss.is_some_and(|mss| stuck.first.payload_len <= mss.into())
    {
        seldom.too_large.get_or_insert(stuck);
    }
    match &mut seldom.stuck {
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
