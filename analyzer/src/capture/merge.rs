//! Files that overlap in time, put together frame by frame.
//!
//! Every file has a lane with the frames of it that wait for older ones of other files. At most
//! [`MAX_LANES`] files are open at once, each with one slab: memory does not depend on how long
//! they overlap. Order within a file is never changed.

use super::Slab;
use super::lane::RING_OVERLAP;
use super::reader::CaptureReader;
use crate::time::Timestamp;

/// Files merged at once; one more is read after one of them.
const MAX_LANES: usize = 64;

impl CaptureReader {
    /// Whether the next file has frames that are older than `newest`, the newest of the file
    /// that is read alone.
    pub(super) fn next_overlaps(&self, newest: Timestamp, done: bool) -> bool {
        self.next_first()
            .is_some_and(|first| newest > first && (!done || newest.since(first) >= RING_OVERLAP))
    }

    /// Fills `slab` with the oldest frames of all open files.
    pub(super) fn merge_into(&mut self, slab: &mut Slab) {
        slab.bytes.clear();
        slab.remarks.clear();
        slab.before = 0;
        self.mixed = true;
        while slab.bytes.len() < self.options.slab_bytes {
            self.refill();
            let lanes = self.lanes.iter().enumerate();
            let oldest = lanes
                .filter_map(|(at, lane)| Some((lane.waiting()?.time, at)))
                .min();
            let Some((time, at)) = oldest else {
                return;
            };
            if self.next_first().is_some_and(|next| next <= time) && self.lanes.len() < MAX_LANES {
                self.open_next();
                continue;
            }
            let number = self.handed_out + 1;
            if let Some(frame) = self.lanes[at].hand_out(number, slab) {
                self.handed_out = number;
                self.session.renumber(frame.number, number);
            }
            if let [lane] = &self.lanes[..]
                && lane.is_drained()
            {
                // From here on it is read alone, without copying.
                return;
            }
        }
    }

    /// Reads on where no frame waits; lanes whose files have ended go.
    fn refill(&mut self) {
        let mut at = 0;
        while let Some(lane) = self.lanes.get_mut(at) {
            if !lane.is_drained() {
                at += 1;
            } else if lane.file.done {
                self.close_lane(at);
            } else {
                let slab_bytes = self.options.slab_bytes;
                lane.file
                    .fill(&mut lane.slab, slab_bytes, &mut self.session);
                lane.at = 0;
            }
        }
    }
}
