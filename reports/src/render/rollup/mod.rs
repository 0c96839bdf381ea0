//! The roll-up: what a whole archive of captures says, in one page.
//!
//! Made from one [`SetSummary`] per analysed capture set; it reads no capture and no dataset.

mod build;
mod html;
mod markdown;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::document::Severity;
use crate::document::{Document, Quality};

pub use build::build;
pub use html::render as html;
pub use markdown::render as markdown;

/// What the roll-up keeps of one capture set.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SetSummary {
    /// Name of the set.
    pub name: String,
    /// Folder of the set.
    pub group: String,
    /// Day (UTC) on which it begins.
    pub date: String,
    /// Files read.
    pub files: u64,
    /// Their size as stored.
    pub stored_bytes: u64,
    /// Frames.
    pub packets: u64,
    /// Their length on the wire.
    pub bytes: u64,
    /// First to last frame.
    pub duration_s: f64,
    /// Connections.
    pub connections: u64,
    /// Segments sent again.
    pub retransmitted_segments: u64,
    /// Resets.
    pub resets: u64,
    /// Connections that were refused or never answered.
    pub failed_connections: u64,
    /// Worst severity.
    pub severity: Option<Severity>,
    /// The report in a sentence.
    pub verdict: String,
    /// Findings in the order of the report.
    pub findings: Vec<FindingSummary>,
    /// Limits of the capture.
    pub caveats: Vec<Quality>,
    /// Notes about the configuration, such as an ignore entry that matched nothing.
    #[serde(default)]
    pub notices: Vec<String>,
    /// The set's report, relative to the roll-up.
    pub report: Option<String>,
}

/// What the roll-up keeps of one finding.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FindingSummary {
    /// Rule id.
    pub rule: String,
    /// Harm.
    pub severity: Severity,
    /// How sure, 0–1.
    pub confidence: f64,
    /// One line.
    pub title: String,
    /// Server of the worst connection.
    pub server: Option<String>,
    /// How often.
    pub occurrences: u64,
    /// Time of the first frame of evidence.
    pub time: Option<String>,
}

impl SetSummary {
    /// Takes over what matters of a set's document.
    #[must_use]
    pub fn new(
        document: &Document,
        name: &str,
        group: &str,
        date: &str,
        report: Option<String>,
    ) -> Self {
        let sum = |pick: fn(&crate::document::Intervals) -> &[u64]| {
            let intervals = document.intervals.as_ref();
            intervals.map_or(0, |intervals| pick(intervals).iter().sum())
        };
        Self {
            name: name.to_owned(),
            group: group.to_owned(),
            date: date.to_owned(),
            files: document.capture.files.len() as u64,
            stored_bytes: document.capture.files.iter().map(|file| file.bytes).sum(),
            packets: document.capture.packets,
            bytes: document.capture.bytes,
            duration_s: document.capture.duration_s,
            connections: document.connection_total,
            retransmitted_segments: sum(|i| &i.client_to_server_retransmissions)
                + sum(|i| &i.server_to_client_retransmissions),
            resets: sum(|i| &i.resets),
            failed_connections: sum(|i| &i.failed),
            severity: document.verdict.severity,
            verdict: document.verdict.sentence.clone(),
            findings: document.findings.iter().map(FindingSummary::new).collect(),
            caveats: document.capture.quality.clone(),
            notices: document.notices.clone(),
            report,
        }
    }
}

impl FindingSummary {
    fn new(finding: &crate::document::FindingView) -> Self {
        Self {
            rule: finding.rule.clone(),
            severity: finding.severity,
            confidence: finding.confidence,
            title: finding.title.clone(),
            server: finding.connections.first().map(|c| c.server.clone()),
            occurrences: finding.occurrences,
            time: finding.evidence.iter().map(|one| one.time.clone()).min(),
        }
    }

    /// What makes it the same finding in another capture.
    #[must_use]
    pub fn key(&self) -> FindingKey {
        FindingKey {
            rule: self.rule.clone(),
            server: self.server.clone().unwrap_or_default(),
        }
    }
}

/// A rule at a server: one and the same problem, whichever capture shows it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct FindingKey {
    /// Rule id.
    pub rule: String,
    /// Server address and port; empty when the finding has no connection.
    pub server: String,
}

/// A file that gave nothing, or less than it should.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Trouble {
    /// The file or set.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// What the run itself did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RunCounts {
    /// Number of the run in this output folder, from 1.
    pub run: u64,
    /// Version of the program.
    pub version: String,
    /// Sets analysed now.
    pub analysed: u64,
    /// Sets that were done before.
    pub unchanged: u64,
    /// Files that could not be read, now or before.
    pub failed: u64,
    /// Files left out because they are there twice.
    pub left_out: u64,
    /// Sets that were judged by other settings or another version, and left as they were.
    pub other_settings: u64,
}

/// Everything a roll-up is made from.
#[derive(Clone, Debug, Default)]
pub struct Input<'a> {
    /// Analysed sets.
    pub sets: Vec<&'a SetSummary>,
    /// Files that could not be read.
    pub broken: Vec<Trouble>,
    /// The run.
    pub run: RunCounts,
    /// What the findings are compared with: the last run's, or a baseline's.
    pub before: Option<(String, BTreeSet<FindingKey>)>,
}

/// The view model of the roll-up; also the run's summary as JSON.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Rollup {
    /// The whole archive in a sentence.
    pub verdict: String,
    /// Worst severity.
    pub severity: Option<Severity>,
    /// The run.
    pub run: RunCounts,
    /// Sums.
    pub totals: Totals,
    /// Days, in order.
    pub days: Vec<Day>,
    /// Findings by rule, server and time.
    pub heat: HeatMap,
    /// Rules over days.
    pub trends: Vec<Trend>,
    /// Sets with the worst findings.
    pub worst: Vec<Worst>,
    /// Compared with what; absent on the first run.
    pub compared_with: Option<String>,
    /// Findings that were not there before.
    pub new: Vec<KeyView>,
    /// Findings that were there before and are not any more.
    pub gone: Vec<FindingKey>,
    /// Files that could not be read.
    pub broken: Vec<Trouble>,
    /// Sets that were read in part, or whose capture misleads.
    pub caveats: Vec<Trouble>,
    /// Caveats beyond those listed.
    pub caveats_left_out: u64,
    /// Notes about the configuration that hold for every set, such as an ignore entry that
    /// matched nothing anywhere.
    pub notices: Vec<String>,
}

/// Sums over all sets.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Totals {
    /// Sets.
    pub sets: u64,
    /// Files.
    pub files: u64,
    /// Size of the files as stored.
    pub stored_bytes: u64,
    /// Frames.
    pub packets: u64,
    /// Their length on the wire.
    pub bytes: u64,
    /// Connections.
    pub connections: u64,
    /// Findings by severity, most severe first.
    pub findings: Vec<(Severity, u64)>,
    /// Sets without any finding.
    pub clean_sets: u64,
}

/// One day of the archive.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Day {
    /// Day (UTC).
    pub date: String,
    /// Sets that begin on it.
    pub sets: u64,
    /// Connections.
    pub connections: u64,
    /// Frames.
    pub packets: u64,
    /// Segments sent again.
    pub retransmitted_segments: u64,
    /// Resets.
    pub resets: u64,
    /// Connections that were refused or never answered.
    pub failed_connections: u64,
    /// Findings.
    pub findings: u64,
}

/// Occurrences of findings, one row per rule and server, one column per slice of time.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct HeatMap {
    /// Start of each column, such as `2026-11-24` or `2026-11-24 10:00`.
    pub columns: Vec<String>,
    /// Rows, worst first.
    pub rows: Vec<HeatRow>,
    /// Rows that were left out.
    pub rows_left_out: u64,
}

/// One row of the heat map.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct HeatRow {
    /// Rule id.
    pub rule: String,
    /// Server.
    pub server: String,
    /// Worst severity.
    pub severity: Severity,
    /// Occurrences in all.
    pub occurrences: u64,
    /// Sets in which it occurs.
    pub sets: u64,
    /// Occurrences per column.
    pub cells: Vec<u64>,
}

/// One rule over the days.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Trend {
    /// Rule id.
    pub rule: String,
    /// Occurrences per day, as in [`Rollup::days`].
    pub per_day: Vec<u64>,
    /// Occurrences on the last day.
    pub last_day: u64,
    /// Mean of the days before.
    pub mean_before: f64,
    /// Words for the change.
    pub direction: &'static str,
}

/// A set with bad findings.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Worst {
    /// Name of the set.
    pub name: String,
    /// Worst severity.
    pub severity: Severity,
    /// Findings.
    pub findings: u64,
    /// The report in a sentence.
    pub verdict: String,
    /// The set's report.
    pub report: Option<String>,
}

/// A finding with where to read of it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct KeyView {
    /// Rule and server.
    #[serde(flatten)]
    pub key: FindingKey,
    /// Worst severity.
    pub severity: Severity,
    /// The finding in one line.
    pub title: String,
    /// A set that shows it.
    pub set: String,
    /// That set's report.
    pub report: Option<String>,
}
