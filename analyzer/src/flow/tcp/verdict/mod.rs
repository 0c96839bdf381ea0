//! What a segment was, and how that is told.

mod acknowledge;
mod challenge;
mod classify;
mod contents;
mod expected;
mod hidden_loss;
mod holes;
mod known_before;
mod needless;
mod offload;
pub(super) mod recent_packets;
mod repeat_or_copy;
mod retransmission;

use crate::event::RetransmissionKind;

pub(crate) use known_before::{Beside, KnownBefore};

/// What a segment was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Octets (or SYN, FIN) sent for the first time.
    New,
    /// Some octets seen before, some new.
    PartlyNew,
    /// Octets sent again.
    Retransmission(RetransmissionKind),
    /// An original that arrived after a later one.
    OutOfOrder,
    /// A copy made by the network.
    NetworkDuplicate,
    /// A copy made by the capture.
    DuplicateFrame,
    /// A keep-alive probe.
    KeepAlive,
    /// A probe of a closed window.
    ZeroWindowProbe,
    /// Too far from anything sent.
    OutsideWindow,
    /// Carries nothing but an acknowledgement.
    Acknowledgement,
    /// A reset.
    Reset,
}

impl Verdict {
    /// The name in `pcapdoc explain-frame`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::PartlyNew => "partly-new",
            Self::Retransmission(_) => "retransmission",
            Self::OutOfOrder => "out-of-order",
            Self::NetworkDuplicate => "network-duplicate",
            Self::DuplicateFrame => "duplicate-frame",
            Self::KeepAlive => "keep-alive",
            Self::ZeroWindowProbe => "zero-window-probe",
            Self::OutsideWindow => "outside-window",
            Self::Acknowledgement => "acknowledgement",
            Self::Reset => "reset",
        }
    }

    /// Whether octets passed that had not passed before.
    #[must_use]
    pub const fn brings_new_octets(self) -> bool {
        matches!(
            self,
            Self::New | Self::PartlyNew | Self::OutOfOrder | Self::Retransmission(_)
        )
    }
}
