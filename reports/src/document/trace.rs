//! The course of a connection in sequence space: the data of a time-sequence graph.

use serde::{Deserialize, Serialize};

use super::ConnectionKey;

/// What one side of a cited TCP connection sent, and what the other side made of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Trace {
    /// The connection.
    pub connection: ConnectionKey,
    /// Findings that cite it.
    pub findings: Vec<String>,
    /// Whose bytes are counted: `client` or `server`.
    pub sender: String,
    /// The whole connection first, then the incident alone when it is shorter.
    pub views: Vec<TraceView>,
}

/// A stretch of time, cut into equal slots.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TraceView {
    /// Start, since the capture's first frame.
    pub from_s: f64,
    /// End, since the capture's first frame.
    pub to_s: f64,
    /// Length of a slot.
    pub slot_s: f64,
    /// Share of the capture in this stretch that was read for the graph, 0–1; the whole below a
    /// size, above it pieces evenly apart. The counts here are of what was read.
    #[serde(default = "whole")]
    pub read_share: f64,
    /// Segments with payload in this stretch.
    pub segments: u64,
    /// Those of which every byte had been seen before.
    pub resent: u64,
    /// Longest time without a segment with payload, from the first such segment to the last.
    pub pause_s: f64,
    /// When that time began, since the capture's first frame.
    pub pause_from_s: f64,
    /// Slots in which something was seen, in order.
    pub slots: Vec<TraceSlot>,
}

/// What documents without this field mean.
const fn whole() -> f64 {
    1.0
}

/// What fell into one slot. Numbers count bytes from the sender's initial sequence number.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TraceSlot {
    /// Number of the slot, from 0.
    pub slot: u32,
    /// First and last byte sent for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<(u64, u64)>,
    /// First and last byte retransmitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resent: Option<(u64, u64)>,
    /// First and last byte that filled a gap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filled: Option<(u64, u64)>,
    /// Highest acknowledgment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acked: Option<u64>,
    /// End of the receive window as last announced; absent when its scale is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<u64>,
    /// First and last byte acknowledged selectively.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sacked: Option<(u64, u64)>,
    /// A reset was sent, by either side.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reset: bool,
}
