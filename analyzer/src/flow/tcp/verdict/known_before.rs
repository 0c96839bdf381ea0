//! What a segment is judged beside, gathered for its explanation.

use std::time::Duration;

use crate::connection::CounterTrust;
use crate::decode::{Packet, TcpFields};
use crate::direction::Direction;
use crate::event::{EventKind, SegmentRef};
use crate::flow::tcp::TcpTracker;
use crate::flow::tcp::lift::lift;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::send_order::{SendOrder, Stamp};
use crate::flow::tcp::sender::split_pair;
use crate::flow::tcp::verdict::recent_packets::signature;
use crate::seq::SeqRange;

/// A copy or a hole that the segment is compared with.
pub(crate) struct Beside {
    pub frame: u64,
    pub apart: Duration,
    pub order: SendOrder,
    pub by: &'static str,
}

/// What was known when a segment came, for its explanation.
pub(crate) struct KnownBefore {
    pub reference: SegmentRef,
    /// Octets from the stream's end to the segment's first (negative: below it).
    pub ahead: i64,
    pub seq_len: u64,
    pub unseen: u64,
    pub hole: Option<Beside>,
    pub copy: Option<Beside>,
    pub acknowledged: bool,
    pub sacked: bool,
    pub duplicate_acks: u32,
    pub later_sacked: bool,
    pub quiet: Duration,
    pub rto: Duration,
    pub rtt: Option<Duration>,
    pub peer_window_closed: bool,
    pub trust: CounterTrust,
    /// A packet with the same fields passed lately.
    pub copied: bool,
}

impl TcpTracker {
    /// What is known before a segment is taken. (To lift its numbers changes no verdict.)
    pub(crate) fn known_before(
        &mut self,
        packet: &Packet,
        tcp: &TcpFields,
        direction: Direction,
    ) -> KnownBefore {
        let rtt = self.rtt_hint();
        let segment = lift(&mut self.senders, packet, tcp, direction);
        let copied = self.recent.knows(signature(&segment));
        let (sender, peer) = split_pair(&mut self.senders, direction);
        let range = SeqRange::new(segment.start, segment.end);
        let stamp = Stamp::of(&segment);
        let beside = |known: Stamp, frame, time| Beside {
            frame,
            apart: packet.time.since(time),
            order: stamp.order(known, &sender.ip_ids),
            by: mark_that_tells(&segment, stamp, known),
        };
        let overlaps = |start: u64, end: u64| start < range.end && range.start < end;
        let hole = sender
            .holes
            .iter()
            .find(|hole| overlaps(hole.range.start, hole.range.end))
            .map(|hole| beside(hole.opener_stamp, hole.opener.frame, hole.opener.time));
        let copy = sender
            .latest_copy(range)
            .map(|known| beside(known.latest, known.frame, known.last_sent));
        KnownBefore {
            reference: segment.reference,
            ahead: segment.start.wrapping_sub(sender.snd_max).cast_signed(),
            seq_len: segment.seq_len(),
            unseen: sender.unseen_octets(range),
            hole,
            copy,
            acknowledged: !range.is_empty() && range.end <= sender.snd_una,
            sacked: !range.is_empty() && sender.sacked.contains(range),
            duplicate_acks: sender.duplicate_acks,
            later_sacked: sender
                .sacked
                .ranges()
                .iter()
                .any(|known| known.start >= range.end),
            quiet: packet.time.since(sender.last_sent.max(sender.una_advanced)),
            rto: sender.rtt.rto(),
            rtt,
            peer_window_closed: peer.window == Some(0),
            trust: sender.ip_ids.trust(),
            copied,
        }
    }

    /// Whether a retransmission in `frame` has been proven needless.
    pub(crate) fn was_needless(&self, frame: u64) -> bool {
        self.events.iter().any(|event| {
            event.segment.frame == frame
                && matches!(event.kind, EventKind::Retransmission { spurious: true, .. })
        })
    }
}

/// Which mark decides the order of sending.
fn mark_that_tells(segment: &Segment<'_>, own: Stamp, known: Stamp) -> &'static str {
    match (own.ts_val, known.ts_val) {
        (Some(own), Some(known)) if own != known => "its TSval",
        _ if segment.packet.ip_id.is_some_and(|id| id != 0) => "its IP identification",
        _ => "the time between them",
    }
}
