//! What is seen of datagrams that a receiver may cut.

use analyzer::connection::SizeClass;

/// What one flow sent.
pub(crate) enum Fact {
    /// Datagrams of one size.
    Size(SizeClass),
    /// Payload bytes and how many datagrams had them, by size.
    Counts(Vec<(u32, u64)>),
}

/// Why a buffer is thought to be too small, and between which sizes.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    pub(super) ground: Ground,
    pub(super) buffer: u32,
    /// Largest size known to be read whole.
    pub(super) largest_worked: u32,
    /// Smallest size known or thought to be cut.
    pub(super) smallest_failed: u32,
}

/// What the judgement rests on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ground {
    /// Small requests are answered in one way, larger ones in another or never.
    Answers,
    /// The user named the buffer.
    Configured,
    /// Answers follow the size up to one value.
    Proved,
}
