//! What every protocol reader of a TCP stream offers, and the pieces it is fed.

use serde::{Deserialize, Serialize};

use crate::direction::Direction;
use crate::event::At;

use super::AppFacts;

/// What the complete messages of one direction are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum MessageUnit {
    /// Not known (yet).
    #[default]
    Unknown,
    /// HTTP messages.
    HttpMessage,
    /// HTTP/2 streams whose sender is done.
    Http2Stream,
    /// TLS records.
    TlsRecord,
    /// DNS messages.
    DnsMessage,
    /// Messages of a framed stream.
    FramedMessage,
}

/// How far one direction has been read, in messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MessagePosition {
    /// What is counted.
    pub unit: MessageUnit,
    /// Messages known complete so far; 0 while the unit is unknown.
    pub complete: u64,
    /// HTTP/2 only: streams open at this moment.
    pub open: u64,
}

/// Where a run of stream octets came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    /// Frame and time.
    pub at: At,
    /// The run begins a segment.
    pub starts_segment: bool,
    /// The segment is longer than the MSS.
    pub oversized: bool,
    /// These are the last octets that were captured of the segment, and not its last ones.
    pub tail_cut: bool,
}

/// Reads both directions of a stream whose protocol is known.
///
/// Runs of octets come in order, each octet once; how they are cut must not change the facts
/// (except those about segments, and where reading begins again after a gap).
pub(super) trait Reader: Send {
    /// Takes the next octets.
    fn data(&mut self, direction: Direction, bytes: &[u8], piece: Piece);
    /// Takes note of octets that passed and were not captured.
    fn gap(&mut self, direction: Direction, octets: u64, at: At);
    /// Takes note of the end of a direction: its sender's FIN follows what was handed over.
    fn fin(&mut self, direction: Direction, at: At);
    /// Whether octets can still tell anything. Once false it stays false.
    fn wants_data(&self, direction: Direction) -> bool;
    /// Messages known complete.
    fn position(&self, direction: Direction) -> MessagePosition;
    /// What was read.
    fn finish(self: Box<Self>) -> AppFacts;
}
