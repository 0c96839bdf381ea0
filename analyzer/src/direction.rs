//! The two directions of a connection.

use serde::{Deserialize, Serialize};

/// One direction of a connection, named by its sender.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Direction {
    /// What the client sent.
    ClientToServer,
    /// What the server sent.
    ServerToClient,
}

impl Direction {
    /// Both, in the order of the JSON contract.
    pub const BOTH: [Self; 2] = [Self::ClientToServer, Self::ServerToClient];

    /// The other direction.
    #[must_use]
    pub const fn reverse(self) -> Self {
        match self {
            Self::ClientToServer => Self::ServerToClient,
            Self::ServerToClient => Self::ClientToServer,
        }
    }

    /// `0` for client to server, `1` for server to client.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Who sends in this direction: `client` or `server`.
    #[must_use]
    pub const fn sender(self) -> &'static str {
        match self {
            Self::ClientToServer => "client",
            Self::ServerToClient => "server",
        }
    }
}
