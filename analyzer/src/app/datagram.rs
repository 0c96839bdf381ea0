//! Reads the datagrams of one UDP flow: DNS, and what else is recognised by content.

use crate::flow::Direction;

use super::{AppFacts, At};

/// Reads the datagrams of one UDP flow.
#[derive(Debug, Default)]
pub struct DatagramReader {}

impl DatagramReader {
    /// Takes one datagram's payload (cut to what was captured), its true length in octets, and
    /// the ports as `(client, server)`, which are only a hint beside the content.
    pub fn datagram(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        true_len: u32,
        at: At,
        ports: (u16, u16),
    ) {
        let _ = (direction, bytes, true_len, at, ports);
    }

    /// The protocol recognised so far, such as `quic`, `rtp`, `dns`.
    #[must_use]
    pub fn protocol(&self) -> Option<&'static str> {
        None
    }

    /// What the payload told: DNS exchanges.
    #[must_use]
    pub fn finish(self) -> AppFacts {
        AppFacts::default()
    }
}
