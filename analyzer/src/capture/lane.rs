//! One of the files that are read at the same time, with the frames of it that wait.

use std::time::Duration;

use super::open_file::OpenFile;
use super::{Frame, Remark, Slab};

/// A file of a ring may begin this much before the one before it ends: queues of the capturing
/// host were emptied in turn. Such files follow each other.
pub(super) const RING_OVERLAP: Duration = Duration::from_millis(100);

/// A file being read.
pub(super) struct Lane {
    pub file: OpenFile,
    /// Keeps the interfaces of files apart that are open at the same time.
    pub number: u32,
    pub slab: Slab,
    pub at: usize,
}

impl Lane {
    pub fn new(file: OpenFile, number: u32) -> Self {
        Self {
            file,
            number,
            slab: Slab::default(),
            at: 0,
        }
    }

    /// Whether no frame of it waits.
    pub fn is_drained(&self) -> bool {
        self.at >= self.slab.frames.len()
    }

    /// Its next frame.
    pub fn waiting(&self) -> Option<&Frame> {
        self.slab.frames.get(self.at)
    }

    /// Takes back what was read into `slab`; other files have older frames.
    pub fn hold(&mut self, slab: &mut Slab) {
        std::mem::swap(&mut self.slab, slab);
        slab.frames.clear();
        slab.remarks.clear();
        self.at = 0;
    }

    /// Moves the next frame into `slab` under a number.
    pub fn hand_out(&mut self, number: u64, slab: &mut Slab) -> Option<Frame> {
        let frame = *self.waiting()?;
        let start = u32::try_from(slab.bytes.len()).unwrap_or(u32::MAX);
        slab.bytes.extend_from_slice(self.slab.data(&frame));
        slab.frames.push(Frame {
            number,
            start,
            ..frame
        });
        let remarks = &self.slab.remarks;
        let first = remarks.partition_point(|remark| remark.frame < frame.number);
        let of_frame = remarks[first..].iter();
        let of_frame = of_frame.take_while(|remark| remark.frame == frame.number);
        slab.remarks.extend(of_frame.map(|remark| Remark {
            frame: number,
            ..remark.clone()
        }));
        self.at += 1;
        Some(frame)
    }
}
