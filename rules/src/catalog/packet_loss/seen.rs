//! What is seen of losses, and of the segments they are a share of.

use analyzer::Direction;
use analyzer::connection::{CapturePoint, Outage};

use crate::model::{narrative, observation};

pub(super) type Group<'a> = narrative::Group<'a, Seen, Fact>;
pub(super) type Observation = observation::Observation<Seen>;
pub(super) type Observations = observation::Observations<Seen, Fact>;
pub(super) type Collected = observation::Collected<Seen, Fact>;

/// What one end of a connection sent.
pub(crate) struct Fact {
    pub(super) sender: Direction,
    /// Segments, those not captured included.
    pub(super) segments: u64,
}

/// Losses of one sender.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    pub(super) sender: Direction,
    /// Segments of the sender on all connections to this server.
    pub(super) sent: u64,
    /// Lost before the capture point.
    pub(super) before: u64,
    /// Lost behind it.
    pub(super) after: u64,
    /// Repaired by fast retransmission or probe.
    pub(super) fast: u64,
    /// Repaired by timeout.
    pub(super) timeout: u64,
    /// Loss events.
    pub(super) events: u64,
    /// Further repeats that only hints show.
    pub(super) presumed: u64,
    /// The longest time in which nothing got through.
    pub(super) outage: Option<Outage>,
    pub(super) point: CapturePoint,
}
