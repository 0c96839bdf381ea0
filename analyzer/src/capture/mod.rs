//! From files to frames.

use crate::time::Timestamp;

/// One record of a capture, pointing into its [`Slab`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Wireshark's `frame.number`: 1-based over the set of files as given.
    pub number: u64,
    /// Capture time.
    pub time: Timestamp,
    /// Offset of the first captured byte in the slab.
    pub start: u32,
    /// Bytes present.
    pub captured_len: u32,
    /// Bytes on the wire.
    pub original_len: u32,
    /// Index into the capture's interfaces (over all files and sections).
    pub interface: u32,
}

/// A batch of whole records: the unit of parallel work.
#[derive(Clone, Debug, Default)]
pub struct Slab {
    /// Captured bytes; frames point into it.
    pub bytes: Vec<u8>,
    /// Frames in file order.
    pub frames: Vec<Frame>,
}
