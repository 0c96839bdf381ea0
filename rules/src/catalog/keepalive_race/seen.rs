//! What is seen of a connection that closed idle while a request was on its way.

/// A request that met the server's close.
pub(crate) struct Seen {
    /// The silence before the close, where it was captured whole.
    pub(super) idle_ms: Option<f64>,
    /// Otherwise: at least this long.
    pub(super) least_idle_ms: Option<f64>,
    /// The client had acknowledged the close.
    pub(super) late_write: bool,
    /// The request had arrived and was not read.
    pub(super) unread: bool,
    /// The RST's sequence number is the request's ACK number.
    pub(super) seq_fits: bool,
    pub(super) rtt_ms: Option<f64>,
    /// How long the client had not used the connection.
    pub(super) reuse_age_ms: Option<f64>,
    /// The server's product, as it names itself.
    pub(super) product: Option<String>,
    /// What its Keep-Alive header promises.
    pub(super) promised_ms: Option<f64>,
    /// Method and target.
    pub(super) request: Option<String>,
    /// Closes of this server after the same silence that met no request.
    pub(super) harmless: Option<u64>,
    /// Longest silence after which a client of this server closed.
    pub(super) client_idle_ms: Option<f64>,
    /// The server closed connections of every age at once.
    pub(super) restart: bool,
    /// It is HTTP, or TLS.
    pub(super) is_http: bool,
}
