//! Frames that prove.

use analyzer::event::SegmentRef;

use crate::model::connection_ref::ConnectionRef;

/// A frame that proves something, and what a reader will see at that frame.
#[derive(Clone, PartialEq, Debug)]
pub struct Evidence {
    /// The frame with its header fields.
    pub segment: SegmentRef,
    /// Its connection.
    pub connection: ConnectionRef,
    /// A fact that can be checked at that frame, without final full stop.
    pub note: String,
    /// The frame proves the state: without such a frame no finding is above info. Other frames show
    /// where it began, or only suggest it.
    pub proves: bool,
}
