//! What happened on a connection: typed, time-stamped facts with their frames.
//!
//! A healthy connection has few events however long it is. Events per connection are capped
//! (`EVENTS_PER_CONNECTION` in the tracker); what was dropped is counted in
//! [`crate::Connection::events_dropped`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decode::{IcmpFields, TcpFlags};
use crate::direction::Direction;
use crate::seq::SeqNumber;
use crate::time::Timestamp;

/// A place in the capture: a frame and its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct At {
    /// Wireshark's `frame.number`.
    pub frame: u64,
    /// Capture time.
    pub time: Timestamp,
}

/// A frame of a connection as a reader will check it: who, when, which header fields.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct SegmentRef {
    /// Wireshark's `frame.number`.
    pub frame: u64,
    /// Capture time.
    pub time: Timestamp,
    /// Who sent it.
    pub direction: Direction,
    /// Control bits (empty for UDP).
    pub flags: TcpFlags,
    /// Sequence number as sent; Wireshark: `tcp.seq_raw`.
    pub seq: SeqNumber,
    /// Acknowledgement number as sent; Wireshark: `tcp.ack_raw`.
    pub ack: SeqNumber,
    /// 64-bit offset from the sender's initial sequence number (SYN = 0, first byte = 1).
    pub relative_seq: u64,
    /// 64-bit offset of the acknowledgement from the peer's initial sequence number.
    pub relative_ack: u64,
    /// True payload length in octets.
    pub payload_len: u32,
    /// Window in octets after scaling; unscaled where the shift is unknown.
    pub window: u32,
}

impl SegmentRef {
    /// A place known by frame and time only: no control bits, numbers zero.
    ///
    /// A TCP segment always has a control bit set, so `flags` without any tells (for TCP) that
    /// the header fields here are not to be shown.
    #[must_use]
    pub const fn place(frame: u64, time: Timestamp, direction: Direction) -> Self {
        Self {
            frame,
            time,
            direction,
            flags: TcpFlags(0),
            seq: SeqNumber(0),
            ack: SeqNumber(0),
            relative_seq: 0,
            relative_ack: 0,
            payload_len: 0,
            window: 0,
        }
    }
}

/// How a retransmission was triggered, as far as the packets tell.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum RetransmissionKind {
    /// After duplicate ACKs, SACK or RACK evidence (RFC 5681 §3.2, RFC 6675, RFC 8985).
    Fast,
    /// After the retransmission timer ran out (RFC 6298 §5).
    Timeout,
    /// A tail loss probe: the last segment again after about 2 RTT (RFC 8985 §7).
    TailLossProbe,
    /// A handshake segment or FIN sent again.
    Control,
    /// Sent again, and the packets do not tell why.
    Unknown,
}

impl RetransmissionKind {
    /// The name in reports and in `pcapdoc explain-frame`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Timeout => "timeout",
            Self::TailLossProbe => "tail-loss-probe",
            Self::Control => "control",
            Self::Unknown => "unknown",
        }
    }
}

/// One fact.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// The segment (or ICMP quote) on which the fact was established.
    pub segment: SegmentRef,
    /// What it was.
    pub kind: EventKind,
}

/// The kinds of facts. Each says when it is emitted and what it does not imply.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum EventKind {
    /// Emitted when a segment carries octets (or SYN/FIN) its sender had sent before.
    Retransmission {
        /// What triggered it.
        kind: RetransmissionKind,
        /// Whether the receiver already had every octet (DSACK, or seen arriving twice).
        spurious: bool,
        /// Whether no copy and no hole shows it, but only hints (see
        /// [`crate::connection::Half::presumed_repeats`]).
        presumed: bool,
        /// Frame of the copy before it, when it was captured.
        original_frame: Option<u64>,
        /// Time since the copy before it (or since the hole was seen to open).
        after: Duration,
    },
    /// Emitted when an original arrives after a later one (RFC 4737). Implies no loss.
    OutOfOrder {
        /// Time since the first later segment arrived.
        late_by: Duration,
    },
    /// Emitted when the network delivered a second copy of one packet (same IP identification).
    NetworkDuplicate,
    /// Emitted when a probe below `snd_max` with 0 or 1 octets asks whether the peer lives.
    KeepAlive,
    /// Emitted when a keep-alive probe is answered.
    KeepAliveAck,
    /// Emitted when a segment probes a closed window (RFC 9293 §3.8.6.1).
    ZeroWindowProbe,
    /// Emitted when the sender of the segment advertises a window of zero for the first time.
    WindowClosed,
    /// Emitted when a closed window opens again.
    WindowOpened {
        /// How long it was closed.
        closed_for: Duration,
    },
    /// Emitted when data is sent although the peer's FIN was there first.
    WriteAfterPeerFin {
        /// Whether the segment's ACK number covers the peer's FIN: the writer knew.
        fin_acknowledged: bool,
    },
    /// Emitted when a SYN draws a plain ACK of an older connection (RFC 5961 §4), and again for
    /// the RST with which the client refuses that answer.
    ChallengeAck,
    /// Emitted when an acknowledgement covers octets that never passed the capture point.
    AckedUnseen {
        /// How many octets.
        octets: u64,
    },
    /// Emitted when an ICMP error quotes a packet of this connection.
    IcmpError(IcmpFields),
}
