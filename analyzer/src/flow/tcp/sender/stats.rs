//! What one direction counts while the connection lives.
//!
//! A healthy connection needs few of [`Half`]'s figures; the rest are counted in a box that is
//! made when the first of them is.

use std::time::Duration;

use crate::connection::{Burst, Half, Probes};
use crate::event::SegmentRef;
use crate::time::Timestamp;

/// The figures of [`Half`] that nearly every connection has; their meaning is told there.
#[derive(Clone, Debug, Default)]
pub(in crate::flow::tcp) struct SenderStats {
    pub packets: u64,
    pub wire_bytes: u64,
    pub payload_bytes: u64,
    pub unique_bytes: u64,
    pub data_segments: u64,
    pub duplicate_acks: u64,
    pub acks_drawn: u64,
    pub cut_frames: u64,
    pub oversized_segments: u64,
    pub largest_payload: u32,
    pub largest_acked_payload: u32,
    pub window_min: Option<u32>,
    pub window_max: Option<u32>,
    pub mss: Option<u16>,
    pub window_shift: Option<u8>,
    pub sack_permitted: bool,
    pub timestamps: bool,
    pub fin: Option<SegmentRef>,
    pub fin_acked: Option<Timestamp>,
    pub first_data: Option<SegmentRef>,
    pub last_data: Option<SegmentRef>,
    pub last_segment: Option<SegmentRef>,
    pub last_burst: Option<Burst>,
    /// All other figures; `None` while they are zero.
    pub seldom: Option<Box<Half>>,
}

impl SenderStats {
    /// The figures that a healthy connection does not have. Those that stand in this struct are
    /// not counted there.
    pub fn seldom(&mut self) -> &mut Half {
        self.seldom.get_or_insert_default()
    }

    /// Octets of this end that were acknowledged and have not passed (yet).
    pub fn missing_octets(&self) -> u64 {
        let seldom = self.seldom.as_ref();
        seldom.map_or(0, |seldom| seldom.missing_octets)
    }

    /// The most by which the capture wrote a segment of this end too late; zero as long as that
    /// is not proved.
    pub fn written_late_max(&self) -> Duration {
        let seldom = self.seldom.as_ref();
        seldom.map_or(Duration::ZERO, |seldom| seldom.written_late_max)
    }

    /// Counts a segment that the capture wrote too late, by so much at least.
    pub fn note_written_late(&mut self, by: Duration) {
        let seldom = self.seldom();
        seldom.written_late += 1;
        seldom.written_late_max = seldom.written_late_max.max(by);
    }

    /// Counts a keep-alive probe.
    pub fn count_keep_alive(&mut self, probe: SegmentRef) {
        let seldom = self.seldom();
        seldom.keep_alives += 1;
        let first = seldom
            .unanswered_probes
            .map_or(probe, |probes| probes.first);
        let before = seldom.unanswered_probes.map_or(0, |probes| probes.count);
        seldom.unanswered_probes = Some(Probes {
            first,
            last: probe,
            count: before.saturating_add(1),
        });
    }

    /// Adds a time in which this end's window was closed.
    pub fn add_closed_window(&mut self, closed_for: Duration) {
        let seldom = self.seldom();
        seldom.zero_window_total += closed_for;
        seldom.zero_window_max = seldom.zero_window_max.max(closed_for);
    }
}
