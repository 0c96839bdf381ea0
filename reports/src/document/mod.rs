//! The view model, which is also the JSON document.
//!
//! Everything a reader of any format sees is in [`Document`]: renderers add layout and wording,
//! never facts. What `pcapdoc analyze --format json` writes can be read back and rendered later
//! without the capture. Field names carry their units; times are RFC 3339 in UTC.
//!
//! The described fields are the contract (`schema/pcapdoc-1.schema.json`); new ones may be added
//! within a schema version, none is removed or changes its meaning.

use rules::finding::Origin;
use serde::{Deserialize, Serialize};

mod actions;
mod against;
mod connection;
mod finding;
mod host_files;
mod host_snapshots;
mod hosts;
pub(crate) mod lines;
mod onset;
mod series;
mod spread;
mod timeouts;
mod trace;
mod what_if;

pub(crate) use actions::step_label;
pub use actions::{ActionRow, ActionStep, Actions, StepTimes};
pub use against::{Against, Change, FigureChange, FindingChange};
pub use connection::{ConnectionRow, HalfRow, ProxiedToRow, ResetRow};
pub(crate) use finding::flag_names;
pub use finding::{CaveatView, ConnectionKey, EvidenceView, FindingView};
pub use host_files::{HostFileRow, ProcessRow};
pub use host_snapshots::{HostSnapshotRow, StateCountRow};
pub use hosts::{Attempts, EpisodeRow, HopLimit, HostRow};
pub use onset::{Antecedent, OnsetView};
pub use rules::finding::{HostCommand, HostLine, LookAlike, Remedy, Says, Severity};
pub(crate) use rules::rows::{millis, protocol_name, response_times, rounded};
pub use series::{
    Bucket, Distribution, DurationSlot, DurationsOverTime, Intervals, Relation, ResponseTimes,
    StateSeries, TimePart, UdpSize,
};
pub(crate) use series::{add_time_split, time_parts};
pub use spread::SpreadView;
pub use timeouts::{KnownDefault, TimerView, WaitsView};
pub use trace::{Trace, TraceSlot, TraceView};
pub use what_if::{Times, WhatIf};

/// Version of the JSON contract.
pub const SCHEMA_VERSION: u32 = 1;

/// What the program states about the run; the crate itself reads no clock and no environment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RunInfo {
    /// Version of the program.
    pub version: String,
    /// Arguments as given, the program's name left out.
    pub arguments: Vec<String>,
    /// Settings that differ from the defaults, as `(name, value)`.
    pub configuration: Vec<(String, String)>,
    /// The configuration file that was read.
    pub configuration_file: Option<String>,
}

/// One analysed capture: the JSON contract.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Document {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The program that made it.
    pub tool: Tool,
    /// The whole report in a sentence.
    pub verdict: Verdict,
    /// What was analysed.
    pub capture: Capture,
    /// Ranked: causes before their symptoms.
    pub findings: Vec<FindingView>,
    /// The files of `--host-evidence`, in the order read; absent without them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_evidence: Option<Vec<HostFileRow>>,
    /// Listings of sockets in them beside what the packets say; absent without any that has a time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_snapshots: Vec<HostSnapshotRow>,
    /// What differs from a good day; absent without `--against`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<Against>,
    /// What every selected rule did, by rule id.
    pub checks: Vec<Check>,
    /// Notes about the configuration.
    pub notices: Vec<String>,
    /// Charts' data over capture time; absent when no frame had a time.
    pub intervals: Option<Intervals>,
    /// Response times of all request/response turns.
    pub response_times: Option<ResponseTimes>,
    /// Round-trip times, one smallest value per TCP connection.
    pub round_trip_times: Option<ResponseTimes>,
    /// Round-trip times over capture time, by when TCP connections began.
    #[serde(default)]
    pub round_trips_over_time: Option<DurationsOverTime>,
    /// Requests step by step, from the lookup of a name to the last byte; absent without requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actions: Option<Actions>,
    /// UDP requests by the size of their payload.
    #[serde(default)]
    pub udp_sizes: Vec<UdpSize>,
    /// Connection-seconds by what they were waiting for, summed over TCP connections.
    pub time_split: Vec<TimePart>,
    /// Time-sequence data of cited TCP connections; empty when the capture could not be read again.
    #[serde(default)]
    pub traces: Vec<Trace>,
    /// Why cited TCP connections have no time-sequence data; absent when nothing is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untraced: Option<String>,
    /// What happened to many packets or connections at one time, by kind and time; at most 256.
    #[serde(default)]
    pub episodes: Vec<EpisodeRow>,
    /// Addresses seen, up to the limit; [`Self::hosts`] may hold fewer.
    #[serde(default)]
    pub host_total: u64,
    /// The addresses with the most packets, those first; at most 256.
    #[serde(default, serialize_with = "lines::a_line_each")]
    pub hosts: Vec<HostRow>,
    /// Top lists.
    pub tables: Vec<Table>,
    /// Connections in all; [`Self::connections`] may hold fewer.
    pub connection_total: u64,
    /// The most relevant connections, most relevant first.
    #[serde(serialize_with = "lines::a_line_each")]
    pub connections: Vec<ConnectionRow>,
}

impl Document {
    /// Whether any finding is at or above `severity` (`--fail-on`).
    #[must_use]
    pub fn has_finding_at(&self, severity: Severity) -> bool {
        self.verdict.severity.is_some_and(|worst| worst >= severity)
    }
}

/// The program that made a document.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Tool {
    /// `pcapdoc`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Arguments it was called with.
    pub arguments: Vec<String>,
    /// Settings that differ from the defaults.
    pub configuration: Vec<Setting>,
    /// Configuration file that was read.
    pub configuration_file: Option<String>,
}

/// One setting of the run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Setting {
    /// Name as in `pcapdoc.toml`.
    pub name: String,
    /// Value.
    pub value: String,
}

/// The whole report in a sentence.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Verdict {
    /// For people.
    pub sentence: String,
    /// Worst severity among the findings; absent without findings.
    pub severity: Option<Severity>,
}

/// What was analysed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Capture {
    /// Input files in the order analysed.
    pub files: Vec<File>,
    /// Frames.
    pub packets: u64,
    /// Their length on the wire.
    pub bytes: u64,
    /// First to last frame.
    pub duration_s: f64,
    /// LINKTYPE_ names, each once.
    pub link_types: Vec<String>,
    /// Caveats.
    pub quality: Vec<Quality>,
    /// Time of the first frame.
    pub start: Option<String>,
    /// Time of the last frame.
    pub end: Option<String>,
    /// Interfaces.
    pub interfaces: Vec<Interface>,
    /// Frames by protocol.
    pub protocols: Vec<Counted>,
    /// Frames that were not decoded to the end, by what was met.
    pub undecoded: Vec<Counted>,
    /// TCP connections.
    pub tcp_connections: u64,
    /// UDP flows.
    pub udp_flows: u64,
}

/// One input file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct File {
    /// Name as given.
    pub name: String,
    /// Format and compression.
    pub format: String,
    /// Size as stored; 0 for a pipe.
    pub bytes: u64,
    /// Frames read from it.
    pub packets: u64,
    /// Time of its first frame.
    pub start: Option<String>,
    /// Time of its last frame.
    pub end: Option<String>,
    /// Hash of its bytes as stored; absent for a pipe and in redacted reports, where it would let
    /// anybody try out what was hidden.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<FileHash>,
}

/// What identifies a file's bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileHash {
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// When only both ends of the file were hashed, one after the other: how many bytes of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_bytes: Option<u64>,
}

impl FileHash {
    /// How to hash a file in the same way on a command line.
    pub(crate) fn command(&self) -> String {
        self.end_bytes.map_or_else(
            || "sha256sum FILE".to_owned(),
            |bytes| format!("(head -c {bytes} FILE; tail -c {bytes} FILE) | sha256sum"),
        )
    }
}

/// One interface of the capture.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Interface {
    /// Name from the file.
    pub name: Option<String>,
    /// LINKTYPE_ name.
    pub link_type: String,
    /// Snap length; 0 means no limit.
    pub snaplen_bytes: u32,
    /// Frames recorded on it.
    pub packets: u64,
    /// Frames the capturing host says it dropped.
    pub drops: Option<u64>,
}

/// A caveat about the capture itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Quality {
    /// One of the contract's kinds.
    pub kind: String,
    /// How many frames, bytes or connections.
    pub count: u64,
    /// What was seen and what it means for the findings.
    pub note: String,
}

/// A name with a count.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Counted {
    /// Name.
    pub name: String,
    /// Count.
    pub count: u64,
}

/// What one rule did on this capture.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Check {
    /// Rule id.
    pub rule: String,
    /// `user` for a rule of the user's own; absent for ours.
    #[serde(default, skip_serializing_if = "Origin::is_built_in")]
    pub origin: Origin,
    /// What it looks for.
    pub title: String,
    /// Connections judged.
    pub assessed: u64,
    /// Connections that could not be judged, by reason.
    pub not_assessed: Vec<Counted>,
    /// Findings it gave.
    pub findings: u64,
    /// What it said when it failed on its own account.
    pub failure: Option<String>,
}

/// A top list with named columns.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Table {
    /// Stable id, such as `top-talkers`.
    pub id: String,
    /// What the list shows.
    pub title: String,
    /// Columns; a name's ending is the unit.
    pub columns: Vec<Column>,
    /// Rows in rank order.
    pub rows: Vec<Vec<Cell>>,
    /// Rows that were left out.
    pub rows_left_out: u64,
    /// What the list rests on, when that is not the whole capture.
    pub note: Option<String>,
}

/// One column of a [`Table`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Column {
    /// Stable name with its unit.
    pub name: String,
    /// Heading for people.
    pub label: String,
}

/// One cell of a [`Table`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Cell {
    /// A count.
    Count(u64),
    /// A measured number in the unit of the column's name.
    Number(f64),
    /// Text.
    Text(String),
    /// Not measured.
    Missing(()),
}

/// Seconds of a duration, to the microsecond.
#[must_use]
pub(crate) fn seconds(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}
