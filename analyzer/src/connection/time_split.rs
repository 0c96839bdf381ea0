//! Where the time of a connection went.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A connection's whole life by what it was waiting for; the parts add up to the duration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TimeSplit {
    /// SYN to the completing ACK.
    pub handshake: Duration,
    /// After a response (or the handshake), before the next request: the client thinks.
    pub client_think: Duration,
    /// First to last octet of requests, undisturbed.
    pub request_transfer: Duration,
    /// Request complete, response not begun: the server thinks.
    pub server_think: Duration,
    /// First to last octet of responses, undisturbed.
    pub response_transfer: Duration,
    /// Waiting for repairs of loss, by fast retransmission: only what no other data came in.
    pub recovery_fast: Duration,
    /// Waiting for repairs of loss, by timeout or tail loss probe.
    pub recovery_timeout: Duration,
    /// More was to be sent, but the receiver's window was closed or full (`tcpi_rwnd_limited`).
    pub receiver_window: Duration,
    /// Transfer in progress, nothing in flight and window open: the sender had nothing to send.
    pub sender_limited: Duration,
    /// Nothing for longer than any of these explain.
    pub idle: Duration,
}

impl TimeSplit {
    /// All parts together: the connection's duration.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.handshake
            + self.client_think
            + self.request_transfer
            + self.server_think
            + self.response_transfer
            + self.recovery_fast
            + self.recovery_timeout
            + self.receiver_window
            + self.sender_limited
            + self.idle
    }
}
