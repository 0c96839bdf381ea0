//! Small segments behind which the rest of a message waited for a delayed acknowledgement
//! (RFC 896 against RFC 1122 §4.2.3.2).

use std::time::Duration;

use crate::event::SegmentRef;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::{SenderState, split_pair};
use crate::flow::tcp::verdict::Verdict;

/// Shorter waits may be a round trip.
const LEAST_WAIT: Duration = Duration::from_millis(20);

/// How soon after the acknowledgement the rest leaves, apart from the way to the sender and back.
const AT_ONCE: Duration = Duration::from_millis(2);

/// What is known of a message whose first part is outstanding.
#[derive(Clone, Copy, Debug)]
struct SmallWrite {
    segment: SegmentRef,
    /// Offset after it.
    end: u64,
    /// The lone acknowledgement of it, when that came late.
    released: Option<SegmentRef>,
}

/// The small segments of both ends that are outstanding alone.
#[derive(Debug, Default)]
pub(in crate::flow::tcp) struct HeldWritesTracker([Option<SmallWrite>; 2]);

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
        self.0[segment.direction.reverse().index()] = None;
        if let Some(small) = self.0[segment.direction.index()].take()
            && let Some(ack) = small.released
            && small.end == segment.start
        {
            let way = peer.rtt.min().unwrap_or_default();
            let after = segment.packet.time.since(ack.time);
            let slack = AT_ONCE.max(way / 10);
            if after <= way + slack && after + slack >= way {
                let held = &mut sender.stats.seldom().held_writes;
                held.count += 1;
                held.waits.add(ack.time.since(small.segment.time));
                held.first
                    .get_or_insert([small.segment, ack, segment.reference]);
            }
        }
        let full = u32::from(peer.stats.mss.unwrap_or(1460)).min(sender.stats.largest_payload);
        let is_small = segment.packet.payload_len < full.max(536);
        if is_small && sender.snd_una == segment.start {
            self.0[segment.direction.index()] = Some(SmallWrite {
                segment: segment.reference,
                end: segment.end,
                released: None,
            });
        }
    }

    /// Takes an acknowledgement of octets of `peer` that made progress.
    pub fn progress(&mut self, segment: &Segment<'_>, peer: &SenderState) {
        let place = &mut self.0[segment.direction.reverse().index()];
        let Some(small) = place else { return };
        let wait = segment.packet.time.since(small.segment.time);
        let round_trip = peer.rtt.min().unwrap_or_default();
        let is_late = wait >= LEAST_WAIT && wait > round_trip * 3 / 2;
        if segment.seq_len() == 0 && segment.ack == Some(small.end) && is_late {
            small.released = Some(segment.reference);
        } else {
            *place = None;
        }
    }
}
