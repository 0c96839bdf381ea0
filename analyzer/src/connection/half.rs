//! What one direction of a connection counted.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::{At, RetransmissionKind, SegmentRef};
use crate::time::Timestamp;

use crate::histogram::Histogram;

/// Counters and extremes of one direction; all about what its *sender* sent.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Half {
    /// Packets seen (copies made by the capture not counted).
    pub packets: u64,
    /// Octets on the wire of those packets.
    pub wire_bytes: u64,
    /// Sum of payload lengths of every frame seen, copies included, as tshark sums `tcp.len`.
    pub payload_bytes: u64,
    /// Distinct payload octets: the stream's length as far as seen.
    pub unique_bytes: u64,
    /// Segments sent again (data, SYN, FIN), see the JSON contract.
    pub retransmitted_segments: u64,
    /// Payload octets sent again.
    pub retransmitted_bytes: u64,
    /// Retransmissions by kind: fast, timeout, tail loss probe, control, unknown.
    pub retransmissions_by_kind: [u64; 5],
    /// Retransmissions the receiver did not need.
    pub spurious_retransmissions: u64,
    /// Of these: SYNs and FINs without payload.
    pub spurious_control: u64,
    /// Originals that arrived after a later one.
    pub out_of_order: u64,
    /// Copies made by the network.
    pub network_duplicates: u64,
    /// Segments that the capture wrote after the acknowledgement that covers them.
    pub written_late: u64,
    /// By how much at most.
    pub written_late_max: Duration,
    /// Copies made by the capture (the same packet seen at two points).
    pub duplicate_frames: u64,
    /// Keep-alive probes sent.
    pub keep_alives: u64,
    /// Zero-window probes sent.
    pub zero_window_probes: u64,
    /// Duplicate ACKs sent (RFC 5681 §2).
    pub duplicate_acks: u64,
    /// Acknowledgements that the peer's segments must have drawn, at most one each: those that made
    /// progress, and duplicate ones.
    pub acks_drawn: u64,
    /// Payload octets the peer acknowledged that never passed the capture point.
    pub missing_octets: u64,
    /// Frames of this direction cut by the snap length.
    pub cut_frames: u64,
    /// Segments longer than the peer's MSS allows: captured before segmentation.
    pub oversized_segments: u64,
    /// Segments with payload that the network saw beyond `data_segments`, which counts an offloaded
    /// one once.
    pub offloaded_segments: u64,
    /// Smallest round trip of this direction's sender visible at the capture point.
    pub rtt_min: Option<Duration>,
    /// Largest one.
    pub rtt_max: Option<Duration>,
    /// Smoothed round trip at the end (RFC 6298 §2).
    pub srtt: Option<Duration>,
    /// Number of samples.
    pub rtt_samples: u64,
    /// Retransmission timeout estimate at the end (RFC 6298 §2, Linux minimum 200 ms).
    pub rto: Option<Duration>,
    /// MSS option this end sent.
    pub mss: Option<u16>,
    /// Window shift this end sent; `None` when absent or unseen.
    pub window_shift: Option<u8>,
    /// This end sent SACK-permitted.
    pub sack_permitted: bool,
    /// This end sends timestamps.
    pub timestamps: bool,
    /// Largest payload of one segment or datagram.
    pub largest_payload: u32,
    /// Smallest window this end advertised after the handshake.
    pub window_min: Option<u32>,
    /// Largest window this end advertised.
    pub window_max: Option<u32>,
    /// Times this end's window closed.
    pub zero_windows: u64,
    /// Time this end's window was closed.
    pub zero_window_total: Duration,
    /// Longest time it was closed.
    pub zero_window_max: Duration,
    /// First FIN.
    pub fin: Option<SegmentRef>,
    /// When the peer's acknowledgement of the FIN passed.
    pub fin_acked: Option<Timestamp>,
    /// First segment with payload.
    pub first_data: Option<SegmentRef>,
    /// Last segment with new payload.
    pub last_data: Option<SegmentRef>,
    /// Last segment of any kind.
    pub last_segment: Option<SegmentRef>,
    /// Octets sent and not acknowledged when the connection ended.
    pub unacked_at_end: u64,
    /// The hop limit most of its packets bear.
    pub hop_limit: Option<u8>,
    /// Segments with payload, retransmissions included, copies made by the capture not.
    pub data_segments: u64,
    /// Of the needed retransmissions: those whose lost copy never passed the capture point.
    pub lost_before_capture: u64,
    /// Retransmissions that were lost before the capture point in their turn, as far as the
    /// sender's identification counter shows them.
    pub repeats_lost_before_capture: u64,
    /// Of the needed retransmissions: those whose lost copy had passed the capture point.
    pub lost_after_capture: u64,
    /// Of the retransmissions: those of segments that a router refused as too large (ICMP).
    pub refused_repeats: u64,
    /// A segment that was sent whole at least three times in vain and then in smaller pieces.
    pub too_large: Option<Stuck>,
    /// Losses counted as the sender has to: segments of one flight lost together are one (RFC 6675:
    /// until all is acknowledged that was sent when the loss showed).
    pub loss_events: u64,
    /// The longest time in which the same data was repeated in vain and at last acknowledged.
    pub outage: Option<Outage>,
    /// What this end sent after the latest pause of the connection's payload; see [`Burst`].
    pub last_burst: Option<Burst>,
    /// What may have been repeats, but only its identification counter and a pause say so.
    pub suspected: SuspectedRepeats,
    /// Of the retransmissions: those that no copy, no hole and no acknowledgement shows, but the
    /// counter of this end, or a write that went on after a pause. No loss is proved by them.
    pub presumed_repeats: u64,
    /// Largest payload of one segment that the peer acknowledged (by ACK or SACK).
    pub largest_acked_payload: u32,
    /// The segment at the oldest unacknowledged octet when the connection ended.
    pub stuck: Option<Stuck>,
    /// Keep-alive probes at the end of the connection that nothing answered.
    pub unanswered_probes: Option<Probes>,
    /// Small segments held back until the peer's delayed acknowledgement came.
    pub held_writes: HeldWrites,
    /// Round trips measured while at least eight segments were in flight.
    pub loaded_rtts: Histogram,
    /// Round trips measured with at most two segments in flight, after the first loaded one.
    pub unloaded_rtts: Histogram,
    /// How the path lets go of what is in flight, measured with the loaded round trips.
    pub drain: Option<Drain>,
    /// The longest loaded round trip: the acknowledgement that ended it.
    pub longest_rtt_at: Option<SegmentRef>,
    /// Acknowledgements that came late although at least two full segments waited for them, where the
    /// receiver is next to the capture point.
    pub late_acks: Option<LateAcks>,
    /// Packets that a congested router marked (RFC 3168 §5, CE).
    pub congestion_marks: u64,
    /// The first of them.
    pub first_congestion_mark: Option<SegmentRef>,
    /// Segments in which this end echoes such marks of the peer's packets (ECE).
    pub congestion_echoes: u64,
    /// The first of them.
    pub first_congestion_echo: Option<SegmentRef>,
    /// Segments in which this end says that it has slowed down (CWR).
    pub windows_reduced: u64,
    /// Acknowledgements of this end whose SACK blocks lie where its peer's stream cannot be: before
    /// its first octet, or beyond the window.
    pub impossible_sacks: u64,
    /// The first of them.
    pub first_impossible_sack: Option<SegmentRef>,
    /// Segments with new payload that end more than a full segment beyond what the peer's widest window
    /// allows.
    pub beyond_window: u64,
    /// The first of them.
    pub first_beyond_window: Option<SegmentRef>,
    /// Segments with octets that had passed before, whose contents could be compared.
    pub copies_compared: u64,
    /// The first of them that said something else.
    pub conflict: Option<DataConflict>,
    /// Segments after which less than two more fitted into the peer's window.
    pub window_full_segments: u64,
    /// The first of them.
    pub window_full_first: Option<SegmentRef>,
    /// Largest number of octets in flight when a segment had filled the window.
    pub window_full_octets: u64,
}

/// How far the identifications a sender's counter passed over may be read as packets of this
/// connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum CounterTrust {
    /// Not at all: no counter, or one that other connections use as well.
    Shared,
    /// The packets of the connection do not tell.
    #[default]
    Unknown,
    /// Fully: it counts the packets of this connection only.
    PerConnection,
}

/// Segments that were repeats if the sender's identification counter is this connection's own:
/// it passed over packets, and a pause came before them in which a timer could have run out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SuspectedRepeats {
    /// How many.
    pub segments: u64,
    /// Their payload octets.
    pub octets: u64,
    /// By kind, as [`Half::retransmissions_by_kind`].
    pub by_kind: [u64; 5],
    /// Frame of the first; 0 without any.
    pub first_frame: u64,
    /// Whether they are counted as retransmissions.
    pub counted: bool,
}

impl Half {
    /// Retransmissions of a kind.
    #[must_use]
    pub const fn repeated(&self, kind: RetransmissionKind) -> u64 {
        self.retransmissions_by_kind[kind as usize]
    }

    /// Counts the repeats that must have been needless because `peer`, which cannot report them,
    /// acknowledged more segments than would have arrived otherwise.
    pub(crate) fn count_needless(&mut self, peer: &Self) {
        if self.sack_permitted && peer.sack_permitted {
            return;
        }
        // SYN and FIN draw acknowledgements as well, and so do their copies.
        let control = 2 + self.repeated(RetransmissionKind::Control);
        let sent = self.segments_on_wire() + self.network_duplicates + control;
        let unanswered = sent.saturating_sub(peer.acks_drawn);
        let needed = self
            .lost_after_capture
            .saturating_sub(self.spurious_retransmissions);
        let needless = needed.saturating_sub(unanswered);
        self.spurious_retransmissions += needless;
    }

    /// Counts the suspected repeats as retransmissions, or takes them out again, by what the connection
    /// shows of the sender's counter.
    pub fn settle(&mut self, trust: CounterTrust) {
        let counts = trust == CounterTrust::PerConnection;
        if counts == self.suspected.counted {
            return;
        }
        self.suspected.counted = counts;
        let suspected = self.suspected;
        let change = |figure: &mut u64, by: u64| {
            *figure = if counts {
                *figure + by
            } else {
                figure.saturating_sub(by)
            };
        };
        change(&mut self.retransmitted_segments, suspected.segments);
        change(&mut self.retransmitted_bytes, suspected.octets);
        change(&mut self.presumed_repeats, suspected.segments);
        for (kind, by) in self
            .retransmissions_by_kind
            .iter_mut()
            .zip(suspected.by_kind)
        {
            change(kind, by);
        }
    }

    /// Segments with payload that the network saw, as the kernel counts them: of those that were
    /// captured, an offloaded one is several.
    #[must_use]
    pub const fn segments_on_wire(&self) -> u64 {
        self.data_segments + self.offloaded_segments
    }
}

/// The payload an end sent after the latest pause: at least 100 ms and three smoothed round trips
/// in which neither end sent new payload. Tells what an idle close was preceded by, even when
/// the closing end said goodbye first (a TLS alert, an HTTP/2 GOAWAY).
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Burst {
    /// The last segment with new payload before the pause, of either end; `None` when the burst
    /// is the first payload of the connection.
    pub before: Option<SegmentRef>,
    /// First segment of the burst.
    pub first: SegmentRef,
    /// Octets of new payload this end sent in the burst.
    pub octets: u64,
}

/// A segment that was sent and never acknowledged.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Stuck {
    /// Its first repeat.
    pub first: SegmentRef,
    /// Its last one.
    pub last: SegmentRef,
    /// How often it was sent.
    pub copies: u32,
    /// Later octets of this end were acknowledged by SACK, or smaller segments got through.
    pub smaller_passed: bool,
}

/// A time in which nothing of one direction got through: the segment at the oldest unacknowledged
/// octet was repeated at least twice in vain, and no later octet was reported either.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Outage {
    /// When the first copy passed.
    pub since: Timestamp,
    /// Its first repeat.
    pub first: SegmentRef,
    /// Its last one.
    pub last: SegmentRef,
    /// How often it was sent.
    pub copies: u32,
    /// The acknowledgement that ended it.
    pub ended: SegmentRef,
}

impl Outage {
    /// From the first copy to the acknowledgement.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.ended.time.since(self.since)
    }
}

/// Octets that passed twice with different contents.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct DataConflict {
    /// The copy that passed first.
    pub first: At,
    /// The one that passed later.
    pub second: SegmentRef,
    /// Octets that both carry.
    pub octets: u64,
    /// The acknowledgement that covers the first copy and passed before the second: the receiver
    /// had taken the first.
    pub taken: Option<SegmentRef>,
    /// What else tells the first from the second.
    pub marks: [CopyMarks; 2],
    /// Segments of this direction that contradict earlier ones.
    pub count: u64,
}

/// Marks of a packet by which stacks differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CopyMarks {
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// IPv4 identification.
    pub ip_id: Option<u16>,
    /// It bears the timestamp option (RFC 7323 §3).
    pub timestamps: bool,
}

/// Write-write-read against delayed acknowledgements: a small segment is outstanding, the rest of
/// the message waits for its ACK, which comes alone and late; then the rest is sent at once.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct HeldWrites {
    /// How often this end's rest waited (at least 20 ms and more than 1.5 round trips).
    pub count: u64,
    /// How long, from the small segment to the acknowledgement that released the rest.
    pub waits: Histogram,
    /// The sum of these.
    pub total: Duration,
    /// How often this end sent a small segment although an earlier small one was not acknowledged,
    /// which Nagle's algorithm forbids.
    pub not_held: u64,
    /// The first occurrence: the small segment, the late acknowledgement, the released rest.
    pub first: Option<[SegmentRef; 3]>,
    /// When the rest waited: from the small segment to the acknowledgement, the first 64 times.
    pub spans: Vec<(Timestamp, Timestamp)>,
}

/// The pace at which acknowledgements come one behind the other while a path is under load. A queue is
/// emptied at the rate of its link; what was held by a stop comes all at once.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Drain {
    /// The time between acknowledgements of segments that were in flight together.
    pub took: Duration,
    /// The time that a queue would have taken for it: the share of the flight that each of them
    /// acknowledged, of its round trip.
    pub due: Duration,
    /// When the latest of them came.
    pub(crate) last: Timestamp,
    /// What it acknowledged.
    pub(crate) acknowledged: u64,
}

/// Late acknowledgements of what one end sent.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct LateAcks {
    /// How many.
    pub count: u64,
    /// How long they took in all, from the segment to its acknowledgement.
    pub total: Duration,
    /// The latest of them.
    pub longest: Duration,
    /// It.
    pub ack: SegmentRef,
}

/// Keep-alive probes in a row without an answer.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Probes {
    /// The first of them.
    pub first: SegmentRef,
    /// The latest.
    pub last: SegmentRef,
    /// How many.
    pub count: u32,
}
