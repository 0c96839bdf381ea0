//! What was read: files and interfaces, for the report.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// One input file as it was read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileSummary {
    /// Name as given; `-` is standard input.
    pub name: String,
    /// `pcap`, `pcapng`, `snoop`, with the compression when there was one: `pcap (gzip)`.
    pub format: String,
    /// Bytes as stored (compressed size for a compressed file; 0 for a pipe).
    pub stored_bytes: u64,
    /// Frames read from it.
    pub frames: u64,
    /// First frame's time.
    pub first: Option<Timestamp>,
    /// Last frame's time.
    pub last: Option<Timestamp>,
}

/// One interface of the capture.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InterfaceSummary {
    /// Index in [`crate::capture::Frame::interface`].
    pub index: u32,
    /// Name from the file, when it has one.
    pub name: Option<String>,
    /// LINKTYPE_ name without its prefix, such as `ETHERNET`.
    pub link_type: String,
    /// Snap length; 0 means no limit.
    pub snaplen: u32,
    /// Frames recorded on it.
    pub frames: u64,
    /// Frames the capturing host says it dropped, when the file tells.
    pub drops: Option<u64>,
}
