//! What a transfer does to its path: round trips that grow with the data in flight, and flights
//! that fill the receiver's window.

use std::time::Duration;

use crate::connection::{Drain, LateAcks};
use crate::event::SegmentRef;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::rtt::RoundTrip;
use crate::flow::tcp::sender::{SenderState, split_pair};
use crate::flow::tcp::verdict::Verdict;

/// Segments in flight from which a path is under load.
const LOADED: u64 = 8;

/// Segments in flight up to which it is not.
const UNLOADED: u64 = 2;

/// Growth of a round trip that is worth following: people notice it in calls and games.
const GROWTH_NS: u64 = 30_000_000;

/// The default of the largest segment (RFC 9293 §3.7.1): shorter ones are no full ones.
const MSS_LEAST: u32 = 536;

/// The receiver stands next to the capture point when it has answered within this: what is later is its
/// own doing and no queue's.
const NEXT_DOOR_NS: u64 = 1_000_000;

/// The longest that an acknowledgement may be delayed on purpose by the stacks in use (Linux; RFC 1122
/// §4.2.3.2 allows 500 ms), and only while less than two full segments wait for it.
const DELAYED_ACK_NS: u64 = 200_000_000;

/// Takes an acknowledgement that a busy receiver sent late.
fn note_late_ack(sender: &mut SenderState, trip: RoundTrip, ack: SegmentRef) {
    let full_segment = u64::from(sender.stats.largest_payload.max(MSS_LEAST));
    if trip.flight < 2 * full_segment {
        return;
    }
    let took = Duration::from_nanos(trip.ns);
    let late = sender.stats.seldom().late_acks.get_or_insert(LateAcks {
        count: 0,
        total: Duration::ZERO,
        longest: Duration::ZERO,
        ack,
    });
    late.count += 1;
    late.total += took;
    if took > late.longest {
        (late.longest, late.ack) = (took, ack);
    }
}

/// Takes the acknowledgement of a segment that left under load.
fn note_drain(sender: &mut SenderState, trip: RoundTrip, ack: SegmentRef) {
    let acknowledged = sender.snd_una;
    let drain = sender.stats.seldom().drain.get_or_insert(Drain {
        took: Duration::ZERO,
        due: Duration::ZERO,
        last: ack.time,
        acknowledged,
    });
    let gap = ack.time.since(drain.last);
    // Both segments were in flight when the earlier acknowledgement came.
    if gap < Duration::from_nanos(trip.ns) {
        let octets = acknowledged.saturating_sub(drain.acknowledged);
        let due = trip.ns.saturating_mul(octets.min(trip.flight)) / trip.flight.max(1);
        drain.took += gap;
        drain.due += Duration::from_nanos(due);
    }
    (drain.last, drain.acknowledged) = (ack.time, acknowledged);
}

/// Takes a round trip of `sender` that `ack` ended. Nothing is kept before the first long one
/// under load.
pub(in crate::flow::tcp) fn note_round_trip(
    sender: &mut SenderState,
    trip: RoundTrip,
    ack: SegmentRef,
) {
    let RoundTrip { ns: rtt_ns, flight } = trip;
    let least = sender.rtt.min_ns().unwrap_or_default();
    let grown = rtt_ns >= least.saturating_mul(2) && rtt_ns >= least.saturating_add(GROWTH_NS);
    if grown && least <= NEXT_DOOR_NS && rtt_ns >= least.saturating_add(DELAYED_ACK_NS) {
        note_late_ack(sender, trip, ack);
    }
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
        note_drain(sender, trip, ack);
        let seldom = sender.stats.seldom();
        seldom.loaded_rtts.add(rtt);
        if longest || seldom.longest_rtt_at.is_none() {
            seldom.longest_rtt_at = Some(ack);
        }
    } else if segments <= UNLOADED && known {
        sender.stats.seldom().unloaded_rtts.add(rtt);
    }
}

/// Takes a segment with its verdict: whether new payload filled the window.
pub(in crate::flow::tcp) fn note_window(
    segment: &Segment<'_>,
    verdict: Verdict,
    senders: &mut [SenderState; 2],
) {
    if verdict != Verdict::New || segment.packet.payload_len == 0 {
        return;
    }
    let (sender, peer) = split_pair(senders, segment.direction);
    let Some(window) = peer.window.filter(|window| *window > 0) else {
        return;
    };
    let room = (sender.snd_una + u64::from(window)).saturating_sub(segment.end);
    if room < 2 * u64::from(sender.stats.largest_payload) {
        let flight = segment.end.saturating_sub(sender.snd_una);
        // No acknowledgement seen allowed more; older ones overtaken by newer allow less.
        let widest = peer.stats.window_max.unwrap_or(window).max(window);
        let allowed = sender.snd_una + u64::from(widest);
        let full_segment = u64::from(sender.stats.largest_payload);
        let seldom = sender.stats.seldom();
        seldom.window_full_segments += 1;
        seldom.window_full_octets = seldom.window_full_octets.max(flight);
        seldom.window_full_first.get_or_insert(segment.reference);
        if segment.end > allowed + full_segment {
            seldom.beyond_window += 1;
            seldom.first_beyond_window.get_or_insert(segment.reference);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::direction::Direction;
    use crate::time::Timestamp;

    #[test]
    fn nothing_is_kept_before_a_round_trip_grows_under_load() {
        let mut sender = SenderState::default();
        sender.stats.largest_payload = 1000;
        sender.rtt.sample(20_000_000);
        let ack = SegmentRef::place(20, Timestamp::default(), Direction::ServerToClient);
        let mut note = |ms: u64, segments: u64| {
            let (ns, flight) = (ms * 1_000_000, segments * 1000);
            note_round_trip(&mut sender, RoundTrip { ns, flight }, ack);
            let seldom = sender.stats.seldom.as_ref();
            seldom.map_or((0, 0), |it| {
                (it.loaded_rtts.count(), it.unloaded_rtts.count())
            })
        };
        assert_eq!(note(20, 1), (0, 0));
        assert_eq!(note(300, 10), (1, 0));
        assert_eq!(note(25, 1), (1, 1));
        assert_eq!(note(100, 5), (1, 1), "neither loaded nor unloaded");
    }

    /// Acknowledgements of one segment each, so many microseconds apart, of a flight of twenty that
    /// waited for 300 ms; what they took and would have taken in a queue.
    fn drained(gap_us: i64) -> Drain {
        let mut sender = SenderState::default();
        sender.stats.largest_payload = 1000;
        sender.rtt.sample(20_000_000);
        for number in 0..12_i64 {
            sender.snd_una += 1000;
            let time = Timestamp::from_nanos(number * gap_us * 1_000);
            let ack = SegmentRef::place(20, time, Direction::ServerToClient);
            let trip = RoundTrip {
                ns: 300_000_000,
                flight: 20_000,
            };
            note_round_trip(&mut sender, trip, ack);
        }
        sender.stats.seldom().drain.expect("loaded")
    }

    #[test]
    fn a_queue_lets_go_at_its_rate_and_a_stop_all_at_once() {
        let due = Duration::from_millis(11 * 300 / 20);
        assert_eq!(drained(15_000).took, due);
        assert_eq!(drained(15_000).due, due);
        assert_eq!(drained(20).took, Duration::from_micros(220));
        assert_eq!(drained(20).due, due);
        assert_eq!(
            drained(400_000).due,
            Duration::ZERO,
            "never in flight together"
        );
    }
}
