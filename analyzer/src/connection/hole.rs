//! Holes in the octets of a direction and what waited behind them.

use std::time::Duration;

use crate::app::MessageUnit;
use crate::event::{RetransmissionKind, SegmentRef};

use crate::direction::Direction;

/// A hole in one direction's octets that kept later ones from the application.
#[derive(Clone, PartialEq, Debug)]
pub struct HoleEpisode {
    /// Whose octets were missing.
    pub direction: Direction,
    /// First evidence of data behind the hole: the later segment (receiver side) or the ACK with
    /// the first SACK block or third duplicate (sender side).
    pub opened: SegmentRef,
    /// What filled it: the retransmission (receiver side) or the ACK that passed it (sender side).
    pub filled: SegmentRef,
    /// The first retransmission that went into the hole, when captured.
    pub repair: Option<SegmentRef>,
    /// How the repair was triggered.
    pub repair_kind: RetransmissionKind,
    /// Segments sent again for this hole.
    pub repairs: u32,
    /// Octets missing when the hole opened.
    pub missing_octets: u64,
    /// Octets that waited behind it when it was filled.
    pub blocked_octets: u64,
    /// Segments that waited behind it when it was filled.
    pub blocked_segments: u32,
    /// From the first octet blocked until the hole was filled, brought to the receiver's view.
    pub stall: Duration,
    /// Judged from SACK or duplicate ACKs at the sender's side.
    pub seen_at_sender: bool,
    /// The receiver said that it lacked these octets: not only the capture did.
    pub confirmed: bool,
    /// Messages that could be read only when it was filled; of HTTP/2: the streams open then.
    /// 0 where the payload was not understood, and at the sender's side.
    pub blocked_messages: u64,
    /// What `blocked_messages` counts.
    pub message_unit: MessageUnit,
}

/// All holes of a connection: counted whole, the longest eight kept.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Holes {
    /// How many holes were opened and filled by a retransmission.
    pub count: u64,
    /// Sum of their stalls.
    pub stall_total: Duration,
    /// The longest stall.
    pub stall_max: Duration,
    /// Octets that waited, summed over holes.
    pub blocked_octets: u64,
    /// The longest, longest first.
    pub longest: Vec<HoleEpisode>,
}
