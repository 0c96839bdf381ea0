//! Resets: kind, shape and the evidence for them.

use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use crate::event::SegmentRef;
use crate::static_name::{self, StaticName};

/// The cause of a reset (docs/glossary.md, Resets).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum ResetKind {
    /// Answers a SYN: nobody listens.
    Refused,
    /// An application closed with `SO_LINGER` 0 (or was told to abort).
    LingerZero,
    /// An application closed with unread data in its receive queue.
    UnreadData,
    /// Data met a socket that its application had closed.
    AbortedAfterClose,
    /// The peer has no such connection (restart, idle drop, other host).
    HalfOpen,
    /// Keep-alive or user timeout ran out.
    KeepaliveExpired,
    /// Answers a segment to a connection in TIME-WAIT, or a collision of incarnations.
    TimeWait,
    /// Not sent by the end whose address it bears.
    Forged,
    /// The packets do not tell.
    Unknown,
}

impl ResetKind {
    /// The name used in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::LingerZero => "linger-zero",
            Self::UnreadData => "unread-data",
            Self::AbortedAfterClose => "aborted-after-close",
            Self::HalfOpen => "half-open",
            Self::KeepaliveExpired => "keepalive-expired",
            Self::TimeWait => "time-wait",
            Self::Forged => "forged",
            Self::Unknown => "unknown",
        }
    }
}

/// How a RST was made, from its own fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ResetShape {
    /// RST+ACK at the sender's next sequence number: an end gave up by itself.
    Active,
    /// Answers a segment that no socket wanted; sequence number taken from its ACK.
    Reply,
    /// Neither fits.
    Unclear,
}

/// One reset (with its repetitions) and the evidence for its kind.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Reset {
    /// The first RST of this kind from this end.
    pub segment: SegmentRef,
    /// RST segments of this end and kind.
    pub count: u32,
    /// Judged cause.
    pub kind: ResetKind,
    /// How sure, 0–1.
    pub confidence: f64,
    /// The next best reading and why it lost.
    #[serde(deserialize_with = "runner_up")]
    pub runner_up: Option<(ResetKind, StaticName)>,
    /// Active or reply.
    pub shape: ResetShape,
    /// The segment of the peer that a reply reset answers.
    pub answers: Option<SegmentRef>,
    /// Octets the resetter had sent and did not know to be acknowledged when it sent the RST:
    /// acknowledgements that passed less than a round trip before had not reached it.
    pub bytes_unacked: u64,
    /// Window of the RST minus window of the resetter's last ACK, in octets, when both are known
    /// and the shape is active: what close() emptied from the receive queue.
    pub window_jump: Option<i64>,
    /// Octets of the peer that arrived after the resetter's last data: never answered.
    pub unanswered_octets: u64,
    /// The resetter's own FIN came before.
    pub own_fin_before: bool,
    /// The peer's FIN came before.
    pub peer_fin_before: bool,
    /// Silence on the connection right before the RST (and before the segment it answers).
    pub idle_before: Duration,
    /// Hop limit of the RST.
    pub hop_limit: u8,
    /// Hop limit of the same end's other packets, when one value is typical.
    pub usual_hop_limit: Option<u8>,
    /// The supposed sender carried on with data or ACKs afterwards.
    pub sender_carried_on: bool,
    /// Text in its payload, which may state the cause (RFC 1122 §4.2.2.12): the first 80 characters.
    pub reason: Option<Box<str>>,
    /// What an option or trailer beside it states as its cause: a clause.
    pub stated: Option<Box<str>>,
}

/// Reads what lost to the judged cause, and why.
fn runner_up<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<(ResetKind, &'static str)>, D::Error> {
    let Some((kind, why)) = Option::<(ResetKind, String)>::deserialize(from)? else {
        return Ok(None);
    };
    let why =
        static_name::known(&why).ok_or_else(|| D::Error::custom("no reason of the program"))?;
    Ok(Some((kind, why)))
}
