//! What a transfer does to its path: round trips that grow with the data in flight, and flights
//! that fill the receiver's window.

use std::time::Duration;

use crate::event::SegmentRef;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::{SenderState, split_pair};

/// Segments in flight from which a path is under load.
const LOADED: u64 = 8;

/// Segments in flight up to which it is not.
const UNLOADED: u64 = 2;

/// Growth of a round trip that is worth following: people notice it in calls and games.
const GROWTH_NS: u64 = 30_000_000;

/// Takes a round trip that ended with `flight` octets outstanding. Nothing is kept before the
/// first long one under load.
pub(in crate::flow::tcp) fn note_round_trip(
    sender: &mut SenderState,
    rtt_ns: u64,
    flight: u64,
    reference: SegmentRef,
) {
    let least = sender.rtt.min_ns().unwrap_or_default();
    let grown = rtt_ns >= least.saturating_mul(2) && rtt_ns >= least.saturating_add(GROWTH_NS);
    let known = sender
        .stats
        .seldom
        .as_ref()
        .is_some_and(|seldom| seldom.longest_rtt_at.is_some());
    if !known && !grown {
        return;
    }
    let rtt = Duration::from_nanos(rtt_ns);
    let segments = flight / u64::from(sender.stats.largest_payload.max(1));
    if segments >= LOADED {
        let longest = rtt_ns >= sender.rtt.max_ns();
        let seldom = sender.stats.seldom();
        seldom.loaded_rtts.add(rtt);
        if longest || seldom.longest_rtt_at.is_none() {
            seldom.longest_rtt_at = Some(reference);
        }
    } else if segments <= UNLOADED && known {
        sender.stats.seldom().unloaded_rtts.add(rtt);
    }
}

/// Takes a segment with new payload that ends at offset `end`: whether it filled the window.
pub(in crate::flow::tcp) fn note_window(
    senders: &mut [SenderState; 2],
    segment: &Segment<'_>,
    end: u64,
) {
    let (sender, peer) = split_pair(senders, segment.direction);
    let Some(window) = peer.window.filter(|window| *window > 0) else {
        return;
    };
    let room = (sender.snd_una + u64::from(window)).saturating_sub(end);
    if room < 2 * u64::from(sender.stats.largest_payload) {
        let flight = end.saturating_sub(sender.snd_una);
        let seldom = sender.stats.seldom();
        seldom.window_full_segments += 1;
        seldom.window_full_octets = seldom.window_full_octets.max(flight);
        seldom.window_full_first.get_or_insert(segment.reference);
    }
}
