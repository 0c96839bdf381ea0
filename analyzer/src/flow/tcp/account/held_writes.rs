//! Small segments behind which the rest of a message waited for a delayed acknowledgement
//! (RFC 896 against RFC 1122 §4.2.3.2).

use std::time::Duration;

use crate::event::SegmentRef;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::{SenderState, split_pair};
use crate::flow::tcp::verdict::Verdict;

/// Shorter waits, in nanoseconds, may be a round trip.
const LEAST_WAIT_NS: u64 = 20_000_000;

/// How soon after the acknowledgement the rest leaves, apart from the way to the sender and back.
const AT_ONCE: Duration = Duration::from_millis(2);

/// Waits of one end that are kept with their times.
const SPANS: usize = 64;

/// Largest payload of a segment in an Ethernet frame (RFC 879).
const ETHERNET_MSS: u16 = 1460;

/// What is known of a message whose first part is outstanding.
#[derive(Clone, Copy, Debug)]
struct SmallWrite {
    segment: SegmentRef,
    /// Offset after it.
    end: u64,
    /// The lone acknowledgement of it, when that came late.
    released: Option<SegmentRef>,
}

/// What is known of one sender.
#[derive(Debug, Default)]
struct Writes {
    /// The small segment that is outstanding alone.
    alone: Option<SmallWrite>,
    /// Offset after the latest small segment.
    small_end: u64,
    /// Rests that were held back.
    held: u64,
    /// Small segments sent although an earlier one was outstanding.
    not_held: u64,
}

/// The small segments of both ends.
#[derive(Debug, Default)]
pub(in crate::flow::tcp) struct HeldWritesTracker([Writes; 2]);

impl HeldWritesTracker {
    /// Takes a segment with its verdict: new octets may be the rest of a message.
    pub fn take(
        &mut self,
        segment: &Segment<'_>,
        verdict: Verdict,
        senders: &mut [SenderState; 2],
    ) {
        if verdict != Verdict::New || segment.packet.payload_len == 0 {
            return;
        }
        let (sender, peer) = split_pair(senders, segment.direction);
        self.0[segment.direction.reverse().index()].alone = None;
        let writes = &mut self.0[segment.direction.index()];
        let alone = writes.alone.take();
        if segment.packet.payload_len >= full_size(sender, peer) {
            // Nagle's algorithm lets a full segment go.
            return;
        }
        if let Some(small) = alone
            && let Some(ack) = small.released
            && small.end == segment.start
            && leaves_at_once(segment, &ack, peer)
        {
            writes.held += 1;
            let held = &mut sender.stats.seldom().held_writes;
            let wait = ack.time.since(small.segment.time);
            held.count += 1;
            held.waits.add(wait);
            held.total += wait;
            if held.spans.len() < SPANS {
                held.spans.push((small.segment.time, ack.time));
            }
            held.not_held = writes.not_held;
            held.first
                .get_or_insert([small.segment, ack, segment.reference]);
        }
        if sender.snd_una < writes.small_end && writes.small_end <= segment.start {
            writes.not_held += 1;
            if writes.held > 0 {
                sender.stats.seldom().held_writes.not_held = writes.not_held;
            }
        }
        writes.small_end = segment.end;
        if sender.snd_una == segment.start {
            writes.alone = Some(SmallWrite {
                segment: segment.reference,
                end: segment.end,
                released: None,
            });
        }
    }

    /// Takes an acknowledgement of octets of `peer` that made progress.
    pub fn progress(&mut self, segment: &Segment<'_>, peer: &SenderState) {
        let place = &mut self.0[segment.direction.reverse().index()].alone;
        let Some(small) = place else { return };
        let is_late = || {
            let wait = segment.packet.time.nanos_since(small.segment.time);
            let round_trip = peer.rtt.min_ns().unwrap_or_default();
            wait >= LEAST_WAIT_NS && wait > round_trip.saturating_mul(3) / 2
        };
        if segment.seq_len() == 0 && segment.ack == Some(small.end) && is_late() {
            small.released = Some(segment.reference);
        } else {
            *place = None;
        }
    }
}

/// The payload of a full segment of `sender`: what `peer` takes, or less where a path of Ethernet's
/// size or options leave less room.
fn full_size(sender: &SenderState, peer: &SenderState) -> u32 {
    let taken = u32::from(peer.stats.mss.unwrap_or(ETHERNET_MSS));
    let least = taken.min(u32::from(ETHERNET_MSS)) * 3 / 4;
    taken.min(sender.stats.largest_payload).max(least)
}

/// The segment leaves its sender when the acknowledgement reaches it.
fn leaves_at_once(segment: &Segment<'_>, ack: &SegmentRef, peer: &SenderState) -> bool {
    let way = peer.rtt.min().unwrap_or_default();
    let after = segment.packet.time.since(ack.time);
    let slack = AT_ONCE.max(way / 10);
    after <= way + slack && after + slack >= way
}
