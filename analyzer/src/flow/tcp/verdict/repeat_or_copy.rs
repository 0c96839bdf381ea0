//! Which of several readings a late or repeated segment gets, by the order of sending.

use std::time::Duration;

use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::send_order::{SendOrder, Stamp};
use crate::flow::tcp::sender::{Hole, Outstanding, SenderState};
use crate::seq::SeqRange;
use crate::time::Timestamp;

/// Without any measured round trip a late segment within this time is taken for reordering
/// (the value Wireshark uses as well).
pub(super) const REORDERING_WITHOUT_RTT: Duration = Duration::from_millis(3);

/// Whether a segment that fills a hole was sent before the segment that showed the hole. Where no
/// mark tells, time must: a repair needs a round trip after that segment.
pub(in crate::flow::tcp) fn is_late_original(
    segment: &Segment<'_>,
    hole: &Hole,
    sender: &SenderState,
    late_by: Duration,
    rtt: Option<Duration>,
) -> bool {
    match Stamp::of(segment).order(hole.opener_stamp, &sender.ip_ids) {
        SendOrder::Earlier => true,
        SendOrder::Later => false,
        SendOrder::Same | SendOrder::Unknown => {
            late_by < rtt.map_or(REORDERING_WITHOUT_RTT, |rtt| rtt * 3 / 4)
                || late_by <= sender.stats.written_late_max()
        }
    }
}

/// What octets are that pass once more.
pub(in crate::flow::tcp) enum CopyKind {
    /// The host sent them again.
    Repeat,
    /// The network made a copy.
    OfNetwork,
    /// The original, after the repeat that was sent later.
    LateOriginal { repeat_passed: Timestamp },
}

/// Compares a segment with the copies known of the same octets.
pub(in crate::flow::tcp) fn copy_kind(
    segment: &Segment<'_>,
    sender: &SenderState,
    range: SeqRange,
    earlier: Option<&Outstanding>,
    rtt: Option<Duration>,
) -> CopyKind {
    if segment.tcp.flags.syn() {
        return CopyKind::Repeat;
    }
    let stamp = Stamp::of(segment);
    let repeats = || {
        let all = sender.repeats.iter().rev();
        all.filter(|repeat| repeat.range.start < range.end && range.start < repeat.range.end)
    };
    let same_marks = |known: Stamp| stamp.order(known, &sender.ip_ids) == SendOrder::Same;
    let soon = rtt.map_or(Duration::from_millis(1), |rtt| rtt / 2);
    let is_copy = |known: Stamp, passed: Timestamp| {
        // Without an identification equal marks mean one tick; only time can tell.
        same_marks(known)
            && (stamp.identification(&sender.ip_ids).is_some()
                || segment.packet.time.since(passed) < soon)
    };
    // A network copies whole packets: no other octets than those of the packet copied.
    let is_whole = |known: SeqRange| known.start <= range.start && range.end <= known.end;
    if earlier.is_some_and(|known| {
        is_whole(known.range)
            && (is_copy(known.first, known.first_sent) || is_copy(known.latest, known.last_sent))
    }) || repeats().any(|repeat| is_whole(repeat.range) && is_copy(repeat.stamp, repeat.passed))
    {
        return CopyKind::OfNetwork;
    }
    let is_earlier = |known: Stamp| stamp.order(known, &sender.ip_ids) == SendOrder::Earlier;
    let original = earlier.filter(|known| !known.first_is_repeat);
    let is_first_of_its_number = sender.ip_ids.is_first_of_its_number();
    if let Some(repeat) = repeats()
        .next_back()
        .filter(|repeat| is_earlier(repeat.stamp))
    {
        // Sent before the first repeat of these octets: the original, unless that was seen.
        return match original {
            Some(known) if !is_earlier(known.first) && is_first_of_its_number => CopyKind::Repeat,
            Some(known) if !is_earlier(known.first) => CopyKind::OfNetwork,
            _ => CopyKind::LateOriginal {
                repeat_passed: repeat.passed,
            },
        };
    }
    let known = earlier.is_some() || repeats().next().is_some();
    // An original is sent before any original behind it; sent later it is a repeat.
    let behind = sender.next_original(range.end).unwrap_or(sender.edge);
    let sent_before_originals_behind = stamp.order(behind, &sender.ip_ids) != SendOrder::Later;
    if !known
        && !is_first_of_its_number
        && sent_before_originals_behind
        && is_earlier(sender.newest)
    {
        return CopyKind::OfNetwork;
    }
    CopyKind::Repeat
}
