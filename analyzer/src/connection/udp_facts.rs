//! What one UDP flow showed beyond its counters.

use serde::{Deserialize, Serialize};

use crate::event::SegmentRef;
use crate::static_name::{self, StaticName};

use crate::histogram::Histogram;

/// Datagrams of one size from the client and what became of them.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SizeClass {
    /// UDP payload octets of the request.
    pub request_len: u32,
    /// How many were sent.
    pub requests: u64,
    /// How many were answered.
    pub answered: u64,
    /// Smallest answer.
    pub answer_min: u32,
    /// Largest answer.
    pub answer_max: u32,
    /// First request of this size.
    pub first_request: SegmentRef,
    /// Its answer, or that of the first answered one.
    pub first_answer: Option<SegmentRef>,
    /// The first that begins as one before it (32 octets) of this size that had no answer yet: the
    /// client asks again.
    pub first_repeat: Option<SegmentRef>,
}

/// What is kept of a UDP flow beyond its counters.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct UdpFacts {
    /// Request sizes and their answers, by size, at most 128; further sizes are only counted.
    pub size_classes: Vec<SizeClass>,
    /// `(UDP payload octets, requests)` by size, at most 2048 sizes.
    pub size_counts: Vec<(u32, u64)>,
    /// Requests whose size found no place in `size_counts` any more.
    pub uncounted_requests: u64,
    /// Largest number of client datagrams in one second of capture time.
    pub peak_per_second: u64,
    /// Client datagrams per second, median over seconds between first and last.
    pub median_per_second: f64,
    /// Seconds with at least one client datagram.
    pub active_seconds: u64,
    /// Datagrams of the server that no request was waiting for.
    pub unasked: u64,
    /// Answer time (request to next answer), counted per bucket.
    pub response_times: Histogram,
    /// A protocol recognised by content that uses one flow by design (`quic`, `rtp`, `vxlan`,
    /// `wireguard`, …) or another name (`dns`); `None` when unknown.
    #[serde(deserialize_with = "static_name::read_option")]
    pub protocol: Option<StaticName>,
    /// Datagrams that came in fragments and were reassembled.
    pub reassembled: u64,
    /// Datagrams of which a fragment never came: `(first frame, fragments seen)`, at most eight.
    pub incomplete: Vec<(SegmentRef, u32)>,
    /// How many datagrams were never complete.
    pub incomplete_count: u64,
}
