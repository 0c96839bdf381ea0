//! Listings of a host's sockets beside what the packets say of the same moment.

use rules::host::HostSnapshot;
use serde::{Deserialize, Serialize};

use crate::words::format::seconds_between;

/// All TCP connections of a host in one listing.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HostSnapshotRow {
    /// The file that holds it.
    pub file: String,
    /// Address of the host, when it is known.
    pub host: Option<String>,
    /// Which end of its connections the host is: `client` or `server`.
    pub end: String,
    /// When it was taken, in the time of the capture.
    pub time: String,
    /// The same in seconds since the capture's first frame.
    pub from_s: Option<f64>,
    /// Sockets by state.
    pub states: Vec<StateCountRow>,
    /// Sockets of which the capture has no packet.
    pub unseen: u64,
    /// Why both differ, in sentences; empty when they agree.
    pub differences: Vec<String>,
}

/// How many sockets are in one state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StateCountRow {
    /// RFC spelling.
    pub state: String,
    /// As the host lists them.
    pub host: u64,
    /// As the packets of the host's connections say.
    pub capture: u64,
}

impl HostSnapshotRow {
    /// As a document shows it, with the time of the capture's first frame.
    pub(crate) fn new(snapshot: HostSnapshot, start: Option<&str>) -> Self {
        let time = snapshot.time.rfc3339();
        let states = snapshot.states.into_iter().map(|one| StateCountRow {
            state: one.state.as_str().to_owned(),
            host: one.host,
            capture: one.capture,
        });
        Self {
            file: snapshot.file,
            host: snapshot.host,
            end: snapshot.end.sender().to_owned(),
            from_s: start.and_then(|start| seconds_between(start, &time)),
            time,
            states: states.collect(),
            unseen: snapshot.unseen,
            differences: snapshot.differences,
        }
    }

    /// `FIN-WAIT-2 40 (capture 40), ESTABLISHED 2 (capture 1)`, for people.
    #[must_use]
    pub(crate) fn counts(&self) -> String {
        let counts = self
            .states
            .iter()
            .map(|one| format!("{} {} (capture {})", one.state, one.host, one.capture));
        counts.collect::<Vec<_>>().join(", ")
    }
}
