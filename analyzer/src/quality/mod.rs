//! Limits of the capture itself. Never findings: caveats, with their counts.

mod notes;

use serde::{Deserialize, Serialize};

pub(crate) use notes::LimitCounts;

/// The closed list of ways in which a capture can mislead (JSON contract).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QualityKind {
    /// Bytes acknowledged but never seen, or drop counters of the capturing host.
    CaptureDrops,
    /// The same packet recorded more than once (an `any` capture, a mirror port).
    DuplicateFrames,
    /// Frames cut by the capture's snap length.
    Snaplen,
    /// Connections of which only one direction was recorded.
    OneSided,
    /// Segments larger than the MTU: captured before segmentation or after coalescing.
    Offload,
    /// Frames written in another order than they passed in: by several queues or taps.
    CaptureDisorder,
    /// Capture time that runs backwards, jumps, or runs too slow or too fast.
    ClockStep,
    /// The file ends inside a record, or is damaged from some place on.
    CutShort,
    /// Packets whose checksum is wrong: damaged, and discarded by whom they reached.
    BadChecksum,
    /// A limit of the analysis was reached: some of it is counted together or cut off.
    Summed,
    /// The files of one set hold both ends of one path.
    TwoPoints,
}

impl QualityKind {
    /// The name in the JSON contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CaptureDrops => "capture-drops",
            Self::DuplicateFrames => "duplicate-frames",
            Self::Snaplen => "snaplen",
            Self::OneSided => "one-sided",
            Self::Offload => "offload",
            Self::CaptureDisorder => "capture-disorder",
            Self::ClockStep => "clock-step",
            Self::CutShort => "cut-short",
            Self::BadChecksum => "bad-checksum",
            Self::Summed => "summed",
            Self::TwoPoints => "two-points",
        }
    }
}

/// One caveat about the capture.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct QualityNote {
    /// What kind of limit.
    pub kind: QualityKind,
    /// How many frames, bytes or connections the note says it counts.
    pub count: u64,
    /// One sentence: what was seen and what it means for the findings.
    pub note: String,
}
