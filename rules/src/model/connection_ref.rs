//! The name of a connection within a capture.

use analyzer::{Connection, Endpoint, Transport};

/// Which connection a finding speaks of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionRef {
    /// Frame of its first packet: its identity within the capture.
    pub first_frame: u64,
    /// TCP or UDP.
    pub transport: Transport,
    /// Who opened it.
    pub client: Endpoint,
    /// Who was called.
    pub server: Endpoint,
    /// Where the client's packets really went, when the server answers from another address.
    pub translated_to: Option<Endpoint>,
}

impl From<&Connection> for ConnectionRef {
    fn from(connection: &Connection) -> Self {
        Self {
            first_frame: connection.first_frame,
            transport: connection.transport,
            client: connection.client,
            server: connection.server,
            translated_to: connection.translated_from,
        }
    }
}
