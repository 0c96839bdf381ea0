//! What is seen of attempts that a listener dropped.

use std::time::Duration;

use analyzer::Timestamp;

/// What other connections show of the listener and the path.
pub(crate) enum Fact {
    /// A connection began then.
    Connection {
        /// By a SYN.
        opened: bool,
        /// When its server was last heard on it.
        heard: Option<Timestamp>,
    },
    /// The same data was sent in vain from then on.
    InVain {
        /// The last copy.
        until: Timestamp,
    },
}

/// A connection that the listener dropped or ignored.
#[derive(Clone)]
pub(crate) struct Seen {
    /// When it suffered no more: the answer, or the last copy in vain.
    pub(super) until: Timestamp,
    /// The last segment sent in vain.
    pub(super) last_vain: Timestamp,
    /// How long the client waited for the answer, where one came.
    pub(super) delay: Option<Duration>,
    /// The server ignored a finished handshake.
    pub(super) ignored: Option<Ignored>,
    /// Nothing got through to the end.
    pub(super) never: bool,
    /// The share of the attempts in that time that suffered.
    pub(super) share: f64,
    /// Connections from before the capture that live, where no other shows that the listener does.
    pub(super) held: Option<u64>,
}

/// How a finished handshake was ignored.
#[derive(Clone, Copy)]
pub(super) struct Ignored {
    /// The client's ACK or data had arrived: a frame proves it.
    pub(super) is_proved: bool,
    /// The SYN-ACK was repeated after it.
    pub(super) after_ack: bool,
    /// The client's first data was.
    pub(super) data: bool,
}
