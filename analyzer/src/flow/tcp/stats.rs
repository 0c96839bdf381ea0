//! What one direction counts while the connection lives.
//!
//! A healthy connection needs few of [`Half`]'s figures; the rest are counted in a box that is
//! made when the first of them is.

use std::time::Duration;

use crate::event::SegmentRef;
use crate::flow::{Burst, Half};
use crate::time::Timestamp;

use super::half::SenderState;

/// The figures of [`Half`] that nearly every connection has; their meaning is told there.
#[derive(Clone, Debug, Default)]
pub(super) struct SenderStats {
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

    /// Adds a time in which this end's window was closed.
    pub fn add_closed_window(&mut self, closed_for: Duration) {
        let seldom = self.seldom();
        seldom.zero_window_total += closed_for;
        seldom.zero_window_max = seldom.zero_window_max.max(closed_for);
    }
}

impl SenderState {
    /// The read model of this direction of a connection that ended at `end`.
    pub fn finish(mut self, end: Timestamp) -> Half {
        if let Some(closed_at) = self.window_closed_at {
            self.stats.add_closed_window(end.since(closed_at));
        }
        self.note_lost_repeats();
        let counter_trust = self.counter_trust();
        let unacked_at_end = self.flight_size();
        let (stats, rtt) = (self.stats, self.rtt);
        let mut half = Half {
            packets: stats.packets,
            wire_bytes: stats.wire_bytes,
            payload_bytes: stats.payload_bytes,
            unique_bytes: stats.unique_bytes,
            data_segments: stats.data_segments,
            duplicate_acks: stats.duplicate_acks,
            acks_drawn: stats.acks_drawn,
            cut_frames: stats.cut_frames,
            oversized_segments: stats.oversized_segments,
            largest_payload: stats.largest_payload,
            largest_acked_payload: stats.largest_acked_payload,
            window_min: stats.window_min,
            window_max: stats.window_max,
            mss: stats.mss,
            window_shift: stats.window_shift,
            sack_permitted: stats.sack_permitted,
            timestamps: stats.timestamps,
            fin: stats.fin,
            fin_acked: stats.fin_acked,
            first_data: stats.first_data,
            last_data: stats.last_data,
            last_segment: stats.last_segment,
            last_burst: stats.last_burst,
            rtt_min: rtt.min(),
            rtt_max: rtt.max(),
            srtt: rtt.srtt(),
            rtt_samples: rtt.samples(),
            rto: (rtt.samples() > 0).then(|| rtt.rto()),
            unacked_at_end,
            hop_limit: self.hop_limit.map(|(usual, _)| usual),
            ..stats.seldom.map(|seldom| *seldom).unwrap_or_default()
        };
        half.settle(counter_trust);
        half
    }
}
