//! The states of RFC 9293 and how long an end was in each.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

use crate::direction::Direction;

/// The states of RFC 9293 §3.3.2, for one end, as an observer sees them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum TcpState {
    /// LISTEN (only a server's state before a SYN; never reported with a duration).
    Listen,
    /// SYN-SENT.
    SynSent,
    /// SYN-RECEIVED.
    SynReceived,
    /// ESTABLISHED.
    Established,
    /// FIN-WAIT-1.
    FinWait1,
    /// FIN-WAIT-2.
    FinWait2,
    /// CLOSE-WAIT.
    CloseWait,
    /// CLOSING.
    Closing,
    /// LAST-ACK.
    LastAck,
    /// TIME-WAIT.
    TimeWait,
    /// CLOSED.
    Closed,
}

impl TcpState {
    /// All states, in the order in which reports list them.
    pub const ALL: [Self; 11] = [
        Self::Listen,
        Self::SynSent,
        Self::SynReceived,
        Self::Established,
        Self::FinWait1,
        Self::FinWait2,
        Self::CloseWait,
        Self::Closing,
        Self::LastAck,
        Self::TimeWait,
        Self::Closed,
    ];

    /// RFC spelling, such as `FIN-WAIT-2`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Listen => "LISTEN",
            Self::SynSent => "SYN-SENT",
            Self::SynReceived => "SYN-RECEIVED",
            Self::Established => "ESTABLISHED",
            Self::FinWait1 => "FIN-WAIT-1",
            Self::FinWait2 => "FIN-WAIT-2",
            Self::CloseWait => "CLOSE-WAIT",
            Self::Closing => "CLOSING",
            Self::LastAck => "LAST-ACK",
            Self::TimeWait => "TIME-WAIT",
            Self::Closed => "CLOSED",
        }
    }
}

/// One end in one state for a while.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StateSpan {
    /// Whose socket: the client's is `ClientToServer`'s sender.
    pub end: Direction,
    /// The state.
    pub state: TcpState,
    /// When it was entered, as seen at the capture point.
    pub from: Timestamp,
    /// When it was left; `None` while it lasted to the end of what was captured.
    pub to: Option<Timestamp>,
    /// Inferred rather than seen (for instance TIME-WAIT running out).
    pub inferred: bool,
}
