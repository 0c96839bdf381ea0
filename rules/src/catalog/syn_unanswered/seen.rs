//! What is seen of an attempt without answer.

use analyzer::Timestamp;

use crate::signs::attempts::{Attempt, Nobody};

/// SYNs that nobody answered.
pub(crate) struct Seen {
    pub(super) attempt: Attempt,
    /// The waits between them, in words.
    pub(super) gaps: String,
    /// Why that harmed nobody.
    pub(super) nobody: Option<Nobody>,
}

/// What other connections show.
pub(crate) struct Fact {
    /// Somebody tried to connect.
    pub(super) attempt: Option<Attempt>,
    /// When the server was last heard on it.
    pub(super) heard: Option<Timestamp>,
    /// The client went on although nothing of its server was captured.
    pub(super) answered_unseen: bool,
}
