//! What one direction of a connection counted.

use std::time::Duration;

use crate::event::SegmentRef;
use crate::time::Timestamp;

use super::histogram::Histogram;

/// Counters and extremes of one direction; all about what its *sender* sent.
#[derive(Clone, PartialEq, Debug, Default)]
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
    /// Originals that arrived after a later one.
    pub out_of_order: u64,
    /// Copies made by the network.
    pub network_duplicates: u64,
    /// Copies made by the capture (the same packet seen at two points).
    pub duplicate_frames: u64,
    /// Keep-alive probes sent.
    pub keep_alives: u64,
    /// Zero-window probes sent.
    pub zero_window_probes: u64,
    /// Duplicate ACKs sent (RFC 5681 §2).
    pub duplicate_acks: u64,
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
    /// What this end sent after the latest pause of the connection's payload; see [`Burst`].
    pub last_burst: Option<Burst>,
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
    /// The longest loaded round trip: the acknowledgement that ended it.
    pub longest_rtt_at: Option<SegmentRef>,
    /// Segments after which less than two more fitted into the peer's window.
    pub window_full_segments: u64,
    /// The first of them.
    pub window_full_first: Option<SegmentRef>,
    /// Largest number of octets in flight when a segment had filled the window.
    pub window_full_octets: u64,
}

impl Half {
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
#[derive(Clone, Copy, PartialEq, Debug)]
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
#[derive(Clone, Copy, PartialEq, Debug)]
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

/// Write-write-read against delayed acknowledgements: a small segment is outstanding, the rest of
/// the message waits for its ACK, which comes alone and late; then the rest is sent at once.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct HeldWrites {
    /// How often this end's rest waited (at least 20 ms and more than 1.5 round trips).
    pub count: u64,
    /// How long, from the small segment to the acknowledgement that released the rest.
    pub waits: Histogram,
    /// The first occurrence: the small segment, the late acknowledgement, the released rest.
    pub first: Option<[SegmentRef; 3]>,
}

/// Keep-alive probes in a row without an answer.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Probes {
    /// The first of them.
    pub first: SegmentRef,
    /// The latest.
    pub last: SegmentRef,
    /// How many.
    pub count: u32,
}
