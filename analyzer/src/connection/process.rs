//! The program at one end of a connection.

use serde::{Deserialize, Serialize};

use crate::capture::ToldBy;

/// Which process had an end of a connection open, as a file of its host or the capture itself says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Process {
    /// Its name, when it is told.
    pub name: Option<String>,
    /// Its number.
    pub pid: Option<u32>,
    /// Its pod, as `namespace/name`, when it is told.
    pub pod: Option<String>,
    /// The name of its container, when it is told.
    pub container: Option<String>,
    /// The address of its host.
    pub host: Option<String>,
    /// Where that is said.
    pub source: String,
}

impl Process {
    /// Whether the capture itself names it, and no file of a host.
    #[must_use]
    pub fn is_of_capture(&self) -> bool {
        ToldBy::ALL.iter().any(|by| by.source() == self.source)
    }
}
