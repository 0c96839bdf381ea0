//! Silences of a connection.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::SegmentRef;

/// A time in which no packet of the connection passed, keep-alive probes included.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct IdleGap {
    /// Last packet before it.
    pub before: SegmentRef,
    /// First packet after it.
    pub after: SegmentRef,
    /// The other end sent something after `after` other than a RST: the connection lived on.
    pub survived: bool,
}

impl IdleGap {
    /// How long it lasted.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.after.time.since(self.before.time)
    }
}

/// Silences of at least one second.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct IdleGaps {
    /// How many.
    pub count: u64,
    /// The longest one that the connection survived, and that the timestamps of both ends do not deny.
    pub longest_survived: Option<IdleGap>,
    /// The latest one, survived or not.
    pub last: Option<IdleGap>,
}
