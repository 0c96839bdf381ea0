//! Small segments behind which the rest of a message waited for a delayed acknowledgement
//! (RFC 896 against RFC 1122 §4.2.3.2).

use std::time::Duration;

use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::small_write::SmallWrite;
use crate::flow::tcp::sender::{SenderState, split_pair};

/// Shorter waits may be a round trip.
const LEAST_WAIT: Duration = Duration::from_millis(20);

/// How soon after the acknowledgement the rest leaves, apart from the way to the sender and back.
const AT_ONCE: Duration = Duration::from_millis(2);

/// Takes a segment that brought new octets; `start` and `end` are its offsets.
pub(in crate::flow::tcp) fn on_data(
    senders: &mut [SenderState; 2],
    segment: &Segment<'_>,
    start: u64,
    end: u64,
) {
    let (sender, peer) = split_pair(senders, segment.direction);
    peer.small_write = None;
    if let Some(small) = sender.small_write.take()
        && let Some(ack) = small.released
        && small.end == start
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
    if is_small && sender.snd_una == start {
        sender.small_write = Some(SmallWrite {
            segment: segment.reference,
            end,
            released: None,
        });
    }
}

/// Takes an acknowledgement that made progress.
pub(in crate::flow::tcp) fn on_progress(
    senders: &mut [SenderState; 2],
    segment: &Segment<'_>,
    ack: u64,
) {
    let (_, peer) = split_pair(senders, segment.direction);
    let Some(small) = &mut peer.small_write else {
        return;
    };
    let wait = segment.packet.time.since(small.segment.time);
    let round_trip = peer.rtt.min().unwrap_or_default();
    if segment.seq_len() == 0 && ack == small.end && wait >= LEAST_WAIT && wait > round_trip * 3 / 2
    {
        small.released = Some(segment.reference);
    } else {
        peer.small_write = None;
    }
}
