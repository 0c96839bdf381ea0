//! Reads both directions of one TCP connection's stream.

use crate::flow::Direction;

use super::{AppFacts, At, FramingSpec};

/// What the user said about payloads.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AppSettings {
    /// Framing by server port (`--framing PORT=SPEC`); the first entry of a port counts.
    pub framings: Vec<(u16, FramingSpec)>,
}

/// What the complete messages of one direction are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
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
}

/// Reads both directions of one TCP connection's stream.
///
/// Bounded: about 16 KiB are kept per direction at most, and nothing is allocated before the first
/// payload octet. A stream recognised as opaque costs nothing more ([`Self::wants_data`]).
pub struct StreamReader {
    spec: Option<FramingSpec>,
}

impl StreamReader {
    /// A reader for a connection to `server_port`, which decides only whether a framing was given.
    #[must_use]
    pub fn new(settings: &AppSettings, server_port: u16) -> Self {
        let given = settings.framings.iter().find(|(port, _)| *port == server_port);
        Self { spec: given.map(|(_, spec)| *spec) }
    }

    /// Whether octets of this direction can still tell anything. Once false it stays false, and
    /// [`Self::data`], [`Self::gap`] and [`Self::segment_boundary`] need not be called any more.
    #[must_use]
    pub fn wants_data(&self, direction: Direction) -> bool {
        let _ = direction;
        self.spec.is_some()
    }

    /// Takes the next stream octets, each octet once and in order.
    ///
    /// A call whose frame differs from the one before it begins a new segment; so does the call
    /// after [`Self::segment_boundary`].
    pub fn data(&mut self, direction: Direction, bytes: &[u8], at: At) {
        let _ = (direction, bytes, at);
    }

    /// Says that the next octets of this direction begin a segment. `oversized`: longer than the
    /// MSS (captured before segmentation), so that message starts inside it are not counted as
    /// coalesced.
    pub fn segment_boundary(&mut self, direction: Direction, at: At, oversized: bool) {
        let _ = (direction, at, oversized);
    }

    /// Takes note of octets that passed and were not captured: the cut tail of a segment (`at` is
    /// its frame) or a capture drop (`at` is the first frame that proves it).
    pub fn gap(&mut self, direction: Direction, octets: u64, at: At) {
        let _ = (direction, octets, at);
    }

    /// Takes note of the end of this direction, after its last octet.
    pub fn fin(&mut self, direction: Direction, at: At) {
        let _ = (direction, at);
    }

    /// How many messages of this direction are known complete so far.
    #[must_use]
    pub fn message_position(&self, direction: Direction) -> MessagePosition {
        let _ = direction;
        MessagePosition::default()
    }

    /// What the payload told.
    #[must_use]
    pub fn finish(self) -> AppFacts {
        AppFacts::default()
    }
}
