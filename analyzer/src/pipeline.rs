//! Drives the stages over bounded rounds.

use crate::flow::Connection;

/// Takes connections as they end. One sink serves one shard, so it needs no lock.
///
/// The order of calls within a shard is fixed by the input alone; merge what several sinks hold
/// by something ordered, such as [`Connection::first_frame`].
pub trait ConnectionSink: Send {
    /// A connection has ended, expired or the capture is over.
    fn connection(&mut self, connection: &Connection);
}
