//! One direction's sequence space as far as the capture point saw it.
//!
//! Offsets are 64-bit numbers whose low half is the sequence number on the wire; the initial
//! sequence number lies at [`SenderState::base`]. `snd_una` and friends are RFC 9293 §3.3.1 names
//! for what the *sender* must believe, inferred from what passed.

pub(super) mod acks_under_way;
pub(super) mod contents;
pub(super) mod passed_over;
pub(super) mod rtt;
pub(super) mod send_order;
mod stats;

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::Duration;

use crate::connection::Half;
use crate::decode::IcmpFields;
use crate::direction::Direction;
use crate::event::{RetransmissionKind, SegmentRef};
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::acks_under_way::AcksUnderWay;
use crate::seq::{RangeSet, SeqNumber, SeqRange};
use crate::time::Timestamp;

use contents::Contents;
use passed_over::PassedOver;
use rtt::{RttEstimator, whole_round_trip};
use send_order::{IpIdClock, Stamp};
use stats::SenderStats;

/// Outstanding segments remembered per direction: a 64 MiB flight of full-size segments.
const MAX_OUTSTANDING: usize = 1 << 16;

/// What is left of them when memory runs short: more than most flights.
const SHED_TO: usize = 1024;

/// A jump beyond this cannot be a window's worth of data (RFC 7323 §2.3: at most 2³⁰ octets).
pub(in crate::flow::tcp) const MAX_JUMP: u64 = 1 << 30;

/// Gives back room that is not used, but for what the next entries take: to shrink to fit at every
/// pause would copy a long queue for each segment that comes after one.
pub(in crate::flow::tcp) fn give_back<T>(queue: &mut VecDeque<T>) {
    if queue.capacity() / 4 >= queue.len() {
        queue.shrink_to(queue.len() * 2);
    }
}

/// A segment sent and not yet cumulatively acknowledged.
#[derive(Clone, Copy, Debug)]
pub(in crate::flow::tcp) struct Outstanding {
    pub range: SeqRange,
    /// First copy.
    pub first_sent: Timestamp,
    /// Latest copy.
    pub last_sent: Timestamp,
    /// Frame of the latest copy.
    pub frame: u64,
    /// Marks of the first copy seen and of the latest.
    pub first: Stamp,
    pub latest: Stamp,
    /// Copies known to exist: a repair's lost original counts.
    pub copies: u16,
    /// The first copy seen was itself a repeat.
    pub first_is_repeat: bool,
    /// A later copy brought its beginning only.
    pub in_pieces: bool,
    /// The peer reported it by SACK.
    pub sacked: bool,
    /// What its first copy says.
    pub contents: Contents,
}

/// Octets below `snd_max` that have not passed the capture point (yet).
#[derive(Clone, Debug)]
pub(in crate::flow::tcp) struct Hole {
    pub range: SeqRange,
    /// Octets missing when it was opened.
    pub opened_octets: u64,
    /// The first segment behind it.
    pub opener: SegmentRef,
    pub opener_stamp: Stamp,
    /// The first segment with payload behind it.
    pub first_behind: Option<SegmentRef>,
    /// The receiver said that it lacks these octets too: they are not only missing here.
    pub confirmed: bool,
    /// The latest segment with which the receiver said so.
    pub last_shown: Option<SegmentRef>,
    /// The first retransmission that went into it and how many did.
    pub repair: Option<SegmentRef>,
    pub repairs: u32,
}

/// A retransmission that a DSACK may still prove needless.
#[derive(Clone, Copy, Debug)]
pub(in crate::flow::tcp) struct Repeat {
    pub range: SeqRange,
    pub stamp: Stamp,
    /// When it passed.
    pub passed: Timestamp,
    /// Index in the connection's events, when it was kept.
    pub event: Option<usize>,
    pub spurious: bool,
    /// A SYN or FIN without payload.
    pub control: bool,
    /// An acknowledgement can prove it needless: a copy or a hole shows it.
    pub provable: bool,
    /// A DSACK named it.
    pub reported: bool,
}

/// Holes of one direction that are followed at once.
const MAX_HOLES: usize = 512;

/// One direction while the connection lives.
#[derive(Clone, Debug, Default)]
pub(in crate::flow::tcp) struct SenderState {
    /// What goes into the read model.
    pub stats: SenderStats,
    /// Offset of the initial sequence number; `None` until a segment was seen.
    pub base: Option<u64>,
    /// Highest offset seen + 1.
    pub snd_max: u64,
    /// Highest offset the peer acknowledged.
    pub snd_una: u64,
    /// Where it stood before its latest step.
    pub acked_from: u64,
    /// How it came there in the last round trip.
    pub acks_under_way: AcksUnderWay,
    /// When `snd_una` last advanced.
    pub una_advanced: Timestamp,
    /// When a segment that carried data, SYN or FIN passed last.
    pub last_sent: Timestamp,
    pub outstanding: VecDeque<Outstanding>,
    /// The segment that was acknowledged last.
    pub last_acked: Option<Outstanding>,
    /// In ascending order, without overlap; at most twice [`MAX_HOLES`].
    pub holes: Vec<Hole>,
    /// Acknowledged but never seen, while a late frame may still show it.
    pub missing: RangeSet,
    pub repeats: VecDeque<Repeat>,
    /// The highest of their ends.
    pub repeated_to: u64,
    /// Offsets the peer reported by SACK above `snd_una`.
    pub sacked: RangeSet,
    /// The hole at `snd_una` judged from the peer's SACKs and duplicate ACKs.
    pub sack_holes: Vec<SackHole>,
    /// Duplicate ACKs the peer sent at the current `snd_una`.
    pub duplicate_acks: u32,
    /// The first of them.
    pub first_duplicate_ack: Option<SegmentRef>,
    /// Retransmissions below this belong to a timeout's recovery (RFC 5681 §3.1).
    pub timeout_recovery_to: u64,
    /// Repeats below this repair what one loss took (NewReno's recovery point, RFC 6582 §3.2).
    pub fast_recovery_to: u64,
    /// When the peer's latest acknowledgement passed.
    pub ack_passed: Timestamp,
    /// What was sent below this was refused by a router as too large (ICMP).
    pub refused_to: u64,
    /// Offset of the octet that probed a closed window.
    pub probe_octet: Option<u64>,
    /// Losses below this belong to the latest loss event.
    pub loss_event_to: u64,
    /// The round trips of its segments, and the timeout that they make.
    pub rtt: RttEstimator,
    pub ip_ids: IpIdClock,
    pub passed_over: PassedOver,
    /// Marks of the segment that set `snd_max`.
    pub edge: Stamp,
    /// Marks of the packet sent last, of those seen.
    pub newest: Stamp,
    /// Shift that applies to this sender's window field.
    pub shift: u8,
    /// Last advertised window in octets; `None` before the first.
    pub window: Option<u32>,
    /// When this sender's window closed.
    pub window_closed_at: Option<Timestamp>,
    /// Window field of the last segment with ACK that was not a RST.
    pub last_ack_window: Option<u32>,
    /// Offset of the FIN, when one was seen.
    pub fin_at: Option<u64>,
    /// Keep-alive probes in a row without an answer.
    pub unanswered_probes: u32,
    /// Retransmissions in a row without progress.
    pub unanswered_repeats: u32,
    /// Hop limit seen first, and how many packets agree.
    pub hop_limit: Option<(u8, u32)>,
    /// Hop limit of the latest packet that was not a RST.
    pub newest_hop_limit: Option<u8>,
}

/// A loss behind the capture point, judged from acknowledgements.
#[derive(Clone, Debug)]
pub(in crate::flow::tcp) struct SackHole {
    /// What is missing.
    pub range: SeqRange,
    pub opened: SegmentRef,
    pub blocked_octets: u64,
    pub repair: Option<SegmentRef>,
    pub repairs: u32,
    pub repair_kind: RetransmissionKind,
    pub too_large: bool,
}

impl SackHole {
    pub const fn new(range: SeqRange, opened: SegmentRef) -> Self {
        Self {
            range,
            opened,
            blocked_octets: 0,
            repair: None,
            repairs: 0,
            repair_kind: RetransmissionKind::Unknown,
            too_large: false,
        }
    }

    /// Takes a segment that goes into it once more. `refused`: ICMP said that it is too large;
    /// `mss`: what one packet can carry at most.
    pub fn take_repair(
        &mut self,
        repair: SegmentRef,
        kind: RetransmissionKind,
        refused: bool,
        mss: Option<u16>,
    ) {
        let first = *self.repair.get_or_insert(repair);
        let is_smaller =
            repair.relative_seq == first.relative_seq && repair.payload_len < first.payload_len;
        let is_one_packet = mss.is_some_and(|mss| first.payload_len <= mss.into());
        // The original and two repeats of it were lost whole.
        self.too_large |= refused || is_smaller && is_one_packet && self.repairs >= 2;
        self.repairs += 1;
        self.repair_kind = kind;
    }
}

impl SenderState {
    /// Offset 0 of a stream whose first sequence number on the wire was `seq`. The high half
    /// leaves room below, so that no arithmetic goes under zero.
    pub fn base_for(seq: SeqNumber) -> u64 {
        (1 << 32) + u64::from(seq.0)
    }

    /// Lifts a sequence number of this sender.
    pub fn lift(&self, seq: SeqNumber) -> u64 {
        seq.unwrap_near(self.snd_max)
    }

    /// Offset relative to the initial sequence number, as Wireshark shows it.
    pub fn relative(&self, offset: u64) -> u64 {
        offset.saturating_sub(self.base.unwrap_or(offset))
    }

    /// Octets in flight as far as the acknowledgements seen tell.
    pub fn flight_size(&self) -> u64 {
        self.snd_max.saturating_sub(self.snd_una)
    }

    /// Remembers a segment sent for the first time.
    pub fn push_outstanding(&mut self, segment: Outstanding) {
        if self.outstanding.len() >= MAX_OUTSTANDING {
            self.outstanding.pop_front();
        }
        // Originals arrive in order but for reordering.
        let in_order =
            (self.outstanding.back()).is_none_or(|last| last.range.start <= segment.range.start);
        let at = if in_order {
            self.outstanding.len()
        } else {
            self.outstanding
                .partition_point(|known| known.range.start <= segment.range.start)
        };
        if at == self.outstanding.len() {
            self.outstanding.push_back(segment);
        } else {
            self.outstanding.insert(at, segment);
        }
    }

    /// Roughly the octets in what it remembers of single segments.
    pub fn octets(&self) -> usize {
        self.outstanding.len() * size_of::<Outstanding>() + self.holes.len() * size_of::<Hole>()
    }

    /// Forgets all but the newest segments, for want of memory.
    pub fn shed(&mut self) {
        let old = self.outstanding.len().saturating_sub(SHED_TO);
        self.outstanding.drain(..old);
        self.outstanding.shrink_to_fit();
    }

    /// Outstanding segments that overlap `range`.
    pub fn overlapping(&mut self, range: SeqRange) -> impl Iterator<Item = &mut Outstanding> {
        let first = self
            .outstanding
            .partition_point(|known| known.range.end <= range.start);
        self.outstanding
            .range_mut(first..)
            .take_while(move |known| known.range.start < range.end)
    }

    /// The outstanding segment that shares most octets with `range`, the first of several.
    pub fn latest_copy(&self, range: SeqRange) -> Option<Outstanding> {
        let first = self
            .outstanding
            .partition_point(|known| known.range.end <= range.start);
        let known = self.outstanding.range(first..);
        let overlapping = known.take_while(|known| known.range.start < range.end);
        overlapping
            .min_by_key(|known| Reverse(known.range.shared(range)))
            .copied()
    }

    /// Takes that `range` is sent once more.
    pub fn note_copy(&mut self, range: SeqRange, segment: &Segment<'_>) {
        for known in self.overlapping(range) {
            known.copies = known.copies.saturating_add(1);
            known.in_pieces |= range.start <= known.range.start && range.end < known.range.end;
            // Cut otherwise than before: most of it is still the copy that passed then.
            if known.range.shared(range) * 2 < known.range.len() {
                continue;
            }
            known.last_sent = segment.packet.time;
            known.frame = segment.packet.frame;
            known.latest = Stamp::of(segment);
        }
    }

    /// Marks of the first outstanding original that begins at or behind `offset`.
    pub fn next_original(&self, offset: u64) -> Option<Stamp> {
        let first = self
            .outstanding
            .partition_point(|known| known.range.start < offset);
        let mut behind = self.outstanding.range(first..);
        behind
            .find(|known| !known.first_is_repeat)
            .map(|known| known.first)
    }

    /// Octets of `range` that never passed the capture point before.
    pub fn unseen_octets(&self, range: SeqRange) -> u64 {
        if range.start >= self.snd_max && self.missing.is_empty() {
            return range.len();
        }
        let beyond = range.end.saturating_sub(range.start.max(self.snd_max));
        let first = self
            .holes
            .partition_point(|hole| hole.range.end <= range.start);
        let in_holes: u64 = self.holes[first..]
            .iter()
            .take_while(|hole| hole.range.start < range.end)
            .map(|hole| {
                let (start, end) = (
                    hole.range.start.max(range.start),
                    hole.range.end.min(range.end),
                );
                end.saturating_sub(start)
            })
            .sum();
        beyond + in_holes + self.missing.overlap(range)
    }

    /// Takes an ICMP error: "fragmentation needed" or "packet too big" refuses what was sent so far.
    pub fn take_icmp(&mut self, icmp: &IcmpFields) {
        if icmp.mtu > 0 || (icmp.icmp_type, icmp.code) == (3, 4) {
            self.refused_to = self.snd_max;
        }
    }

    /// Takes a segment that had to be repeated from `start` on.
    pub fn note_loss(&mut self, start: u64) {
        if start >= self.loss_event_to {
            self.loss_event_to = self.snd_max;
            self.stats.seldom().loss_events += 1;
        }
    }

    /// Forgets the oldest holes when there are more than any receiver keeps open: without ACKs
    /// (a capture of one direction) nothing else ends them.
    pub fn bound_holes(&mut self) {
        if self.holes.len() >= 2 * MAX_HOLES {
            self.holes.drain(..MAX_HOLES);
        }
    }

    /// The first offset that has not passed: up to there the stream can be read.
    pub fn next_unseen(&self) -> u64 {
        self.holes
            .first()
            .map_or(self.snd_max, |hole| hole.range.start)
    }

    /// Writes the read model of this direction of a connection that ended at `end`. To be called once.
    pub fn finish(&mut self, end: Timestamp, half: &mut Half) {
        if let Some(closed_at) = self.window_closed_at {
            self.stats.add_closed_window(end.since(closed_at));
        }
        self.note_lost_repeats();
        let counter_trust = self.counter_trust();
        if let Some(seldom) = self.stats.seldom.take() {
            *half = *seldom;
        }
        let (stats, rtt) = (&self.stats, &self.rtt);
        half.packets = stats.packets;
        half.wire_bytes = stats.wire_bytes;
        half.payload_bytes = stats.payload_bytes;
        half.unique_bytes = stats.unique_bytes;
        half.data_segments = stats.data_segments;
        half.duplicate_acks = stats.duplicate_acks;
        half.acks_drawn = stats.acks_drawn;
        half.cut_frames = stats.cut_frames;
        half.oversized_segments = stats.oversized_segments;
        half.largest_payload = stats.largest_payload;
        half.largest_acked_payload = stats.largest_acked_payload;
        half.window_min = stats.window_min;
        half.window_max = stats.window_max;
        half.mss = stats.mss;
        half.window_shift = stats.window_shift;
        half.sack_permitted = stats.sack_permitted;
        half.timestamps = stats.timestamps;
        half.fin = stats.fin;
        half.fin_acked = stats.fin_acked;
        half.first_data = stats.first_data;
        half.last_data = stats.last_data;
        half.last_segment = stats.last_segment;
        half.last_burst = stats.last_burst;
        half.rtt_min = rtt.min();
        half.rtt_max = rtt.max();
        half.srtt = rtt.srtt();
        half.rtt_samples = rtt.samples();
        half.rto = (rtt.samples() > 0).then(|| rtt.rto());
        half.unacked_at_end = self.flight_size();
        half.hop_limit = self.hop_limit.map(|(usual, _)| usual);
        half.settle(counter_trust);
    }
}

/// The whole round trip, as well as it is known so far.
pub(in crate::flow::tcp) fn round_trip(senders: &[SenderState; 2]) -> Option<Duration> {
    let [client, server] = senders;
    whole_round_trip(&client.rtt, &server.rtt).map(Duration::from_nanos)
}

/// The state of `direction`'s sender and that of its peer.
pub(in crate::flow::tcp) fn split_pair(
    senders: &mut [SenderState; 2],
    direction: Direction,
) -> (&mut SenderState, &mut SenderState) {
    let [client, server] = senders;
    match direction {
        Direction::ClientToServer => (client, server),
        Direction::ServerToClient => (server, client),
    }
}
