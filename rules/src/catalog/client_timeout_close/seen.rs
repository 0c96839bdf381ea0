//! What is seen of a request whose client stopped waiting.

/// A request whose client gave up.
pub(crate) struct Seen {
    pub(super) timeout_ms: f64,
    /// The response came after the close and met a closed socket.
    pub(super) late: bool,
    /// How long after the request the response came, where it came after the close.
    pub(super) late_ms: Option<f64>,
    /// Part of the response came before the close.
    pub(super) partial: bool,
    /// What came of it lay behind a hole.
    pub(super) held_back: bool,
    /// Only the client has closed: it may still read.
    pub(super) undecided: bool,
    /// The protocol says that an answer was due.
    pub(super) expected: bool,
    /// It is HTTP, or TLS.
    pub(super) is_http: bool,
    /// Nobody knows whether one was due, and the server closed as well.
    pub(super) let_go: bool,
    /// Time of the client's socket in FIN-WAIT-2.
    pub(super) fin_wait_2: Option<InState>,
    /// Time of the server's socket in CLOSE-WAIT.
    pub(super) close_wait: Option<InState>,
    /// Method and target.
    pub(super) request: Option<String>,
    /// Response times of the server.
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
}

/// How long a socket was in a state.
pub(super) struct InState {
    pub(super) ms: f64,
    /// It still was when the capture ended.
    pub(super) open: bool,
}
