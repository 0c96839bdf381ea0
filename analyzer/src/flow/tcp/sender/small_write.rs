//! A small segment that is outstanding alone.

use crate::event::SegmentRef;

/// What is known of a message whose first part is outstanding.
#[derive(Clone, Copy, Debug)]
pub(in crate::flow::tcp) struct SmallWrite {
    pub segment: SegmentRef,
    /// Offset after it.
    pub end: u64,
    /// The lone acknowledgement of it, when that came late.
    pub released: Option<SegmentRef>,
}
