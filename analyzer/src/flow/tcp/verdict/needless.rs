//! What proves a repeat needless: a DSACK, or an acknowledgement that the repeat cannot have drawn.

use std::time::Duration;

use crate::event::EventKind;
use crate::flow::tcp::TcpTracker;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::{Repeat, SenderState, split_pair};
use crate::flow::tcp::verdict::hidden_loss::REPAIR_WITHOUT_RTT;
use crate::seq::{RangeSet, SeqRange};

impl TcpTracker {
    /// The receiver got `dsack` twice (RFC 2883): the copy that drew the report was needless. It is
    /// the latest that had the time to reach the receiver; one report names one copy of each octet.
    pub(in crate::flow::tcp) fn on_dsack(&mut self, segment: &Segment<'_>, dsack: SeqRange) {
        let (_, peer) = split_pair(&mut self.senders, segment.direction);
        let soonest = soonest_answer(peer);
        let time = segment.packet.time;
        let mut unnamed = RangeSet::default();
        unnamed.insert(dsack);
        let mut proven = Vec::new();
        for repeat in peer.repeats.iter_mut().rev() {
            let can_have_drawn = time.since(repeat.passed) >= soonest;
            if repeat.reported || !can_have_drawn || !unnamed.contains(repeat.range) {
                continue;
            }
            unnamed.remove(repeat.range);
            repeat.reported = true;
            if !repeat.spurious {
                repeat.spurious = true;
                proven.push(*repeat);
            }
        }
        self.count_spurious(segment, &proven);
    }

    /// The acknowledgement itself may tell what was needless: it echoes an older TSval than the
    /// repeat's (Eifel, RFC 3522), or it comes sooner than the repeat could have drawn it. Either
    /// way the octets had arrived before.
    pub(in crate::flow::tcp) fn prove_needless(
        &mut self,
        segment: &Segment<'_>,
        acked_before: u64,
    ) {
        let Some(ack) = segment.ack else { return };
        let echo = segment.tcp.timestamps.map(|(_, echo)| echo);
        let (sender, peer) = split_pair(&mut self.senders, segment.direction);
        if peer.repeated_to <= acked_before {
            return;
        }
        let soonest = soonest_answer(peer);
        // What is not acceptable is answered with an acknowledgement that bears the next number
        // (RFC 9293 §3.10.7.4); here that of octets sent before, which the first copy had drawn.
        let drawn_by_old =
            segment.seq_len() == 0 && segment.start > sender.snd_max && sender.flight_size() == 0;
        // One answer speaks of one copy: the latest that can have drawn it.
        let named = |repeat: &Repeat| {
            repeat.range == SeqRange::new(acked_before, ack)
                && segment.packet.time.since(repeat.passed) >= soonest
        };
        let drawn_by = drawn_by_old.then(|| peer.repeats.iter().rposition(named));
        let drawn_by = drawn_by.flatten();
        let is_needless = |repeat: &Repeat| {
            // What fills the hole at the left edge is echoed (RFC 7323 §4.3), what follows may not be.
            let echoes_older = (repeat.stamp.ts_val.zip(echo))
                .is_some_and(|(value, echo)| echo.wrapping_sub(value).cast_signed() < 0)
                && repeat.range.start <= acked_before;
            echoes_older || segment.packet.time.since(repeat.passed) < soonest
        };
        let proven: Vec<Repeat> = peer
            .repeats
            .iter_mut()
            .enumerate()
            .filter(|(at, repeat)| {
                !repeat.spurious
                    && repeat.provable
                    && repeat.range.end > acked_before
                    && repeat.range.end <= ack
                    && (drawn_by == Some(*at) || is_needless(repeat))
            })
            .map(|(_, repeat)| {
                repeat.spurious = true;
                *repeat
            })
            .collect();
        self.count_spurious(segment, &proven);
    }

    /// A segment that was sent a timeout ago for the first time, and acknowledges one segment alone
    /// now, answered that one then: the copies of it since were needless.
    pub(in crate::flow::tcp) fn prove_answered_before(&mut self, segment: &Segment<'_>) {
        let (_, peer) = split_pair(&mut self.senders, segment.direction);
        let answered = SeqRange::new(peer.acked_from, peer.snd_una);
        let mut proven = Vec::new();
        for repeat in peer.repeats.iter_mut().rev() {
            let since = segment.packet.time.since(repeat.passed);
            if since >= REPAIR_WITHOUT_RTT {
                break;
            }
            if repeat.range == answered && repeat.provable && !repeat.spurious {
                repeat.spurious = true;
                proven.push(*repeat);
            }
        }
        self.count_spurious(segment, &proven);
    }

    fn count_spurious(&mut self, segment: &Segment<'_>, proven: &[Repeat]) {
        if proven.is_empty() {
            return;
        }
        let (_, peer) = split_pair(&mut self.senders, segment.direction);
        let seldom = peer.stats.seldom();
        seldom.spurious_retransmissions += proven.len() as u64;
        seldom.spurious_control += proven.iter().filter(|repeat| repeat.control).count() as u64;
        for event in proven.iter().filter_map(|repeat| repeat.event) {
            if let Some(EventKind::Retransmission { spurious, .. }) =
                self.events.get_mut(event).map(|event| &mut event.kind)
            {
                *spurious = true;
            }
        }
    }
}

/// The least time from a segment's passing to an acknowledgement that it drew, less a tenth for how
/// exactly a capture tells time.
pub(in crate::flow::tcp) fn soonest_answer(peer: &SenderState) -> Duration {
    peer.rtt.min().unwrap_or_default() * 9 / 10
}
