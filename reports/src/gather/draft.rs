//! From the stages' results to the document, in two steps: what one reading of the capture gives,
//! and what is learned afterwards.

use std::collections::{BTreeMap, BTreeSet};

use analyzer::Analysis;
use analyzer::analysis::CaptureSummary;
use analyzer::capture::Mark;
use rules::finding::{Assessment, RuleOutcome};
use rules::host::{HostFileUse, HostSnapshot};

use super::action::Action;
use super::collector::{Collected, ConnectionCollector, UDP_CLASS_BYTES};
use super::{actions, antecedents, hosts, tables, what_if};
use crate::document::{
    Capture, Check, Counted, Document, File, FileHash, FindingView, HostFileRow, HostSnapshotRow,
    Interface, Intervals, Quality, ResponseTimes, RunInfo, SCHEMA_VERSION, Setting, Tool, Trace,
    UdpSize, Verdict, seconds, time_parts,
};
use crate::words::format;

/// What one reading of a capture gave: a document that lacks only what is learned afterwards.
#[derive(Clone, PartialEq, Debug)]
pub struct Draft {
    document: Document,
    marks: Vec<Mark>,
    actions: Vec<Action>,
}

/// What is learned after the first reading: from the capture read again, and from its files.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Afterwards {
    /// Time-sequence data of cited TCP connections.
    pub traces: Vec<Trace>,
    /// Why there is none.
    pub untraced: Option<String>,
    /// What identifies the bytes of each input file, in their order.
    pub hashes: Vec<Option<FileHash>>,
    /// Names of the captures that hold the frames of findings, by the finding's id.
    pub evidence_files: BTreeMap<String, String>,
}

impl Draft {
    /// Joins what the stages found.
    #[must_use]
    pub fn new(
        analysis: &Analysis,
        assessment: &Assessment,
        connections: ConnectionCollector,
        run: &RunInfo,
    ) -> Self {
        let (document, actions) = document(analysis, assessment, connections, run);
        Self {
            document,
            marks: analysis.marks.clone(),
            actions,
        }
    }

    /// Adds what became of host files.
    #[must_use]
    pub fn with_host_files(
        mut self,
        files: Vec<HostFileUse>,
        snapshots: Vec<HostSnapshot>,
    ) -> Self {
        let rows = files.into_iter().map(HostFileRow::from);
        self.document.host_evidence = Some(rows.collect());
        let start = self.document.capture.start.as_deref();
        let rows = snapshots.into_iter();
        let rows = rows.map(|snapshot| HostSnapshotRow::new(snapshot, start));
        self.document.host_snapshots = rows.collect();
        self
    }

    /// The document as far as it is known.
    #[must_use]
    pub const fn document(&self) -> &Document {
        &self.document
    }

    /// All actions that were kept, in the order in which they began.
    pub(crate) fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// Places at which the capture can be read again.
    #[must_use]
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// The one value that all renderers read.
    #[must_use]
    pub fn finish(self, afterwards: Afterwards) -> Document {
        let mut document = self.document;
        document.traces = afterwards.traces;
        document.untraced = afterwards.untraced;
        for (file, hash) in document.capture.files.iter_mut().zip(afterwards.hashes) {
            file.hash = hash;
        }
        let mut evidence_files = afterwards.evidence_files;
        for finding in &mut document.findings {
            finding.evidence_file = evidence_files.remove(&finding.id);
        }
        document
    }
}

fn document(
    analysis: &Analysis,
    assessment: &Assessment,
    connections: ConnectionCollector,
    run: &RunInfo,
) -> (Document, Vec<Action>) {
    let Collected {
        rows,
        table_rows,
        actions: all_actions,
        requests,
        operations,
        totals,
    } = connections.into_parts();
    // Attempts that were only summed never reached a collector.
    let summed = analysis.tcp_connections + analysis.udp_flows;
    let connection_total = totals.connections.max(summed);
    let response_times = ResponseTimes::new(&totals.response_times);
    let requests = requests.table(response_times.as_ref(), analysis.summary.first);
    let mut tables = tables::top_lists(&table_rows, connection_total);
    tables.splice(0..0, requests.into_iter().chain(operations.table()));
    tables.extend(hosts::top_list(analysis));
    let mut findings: Vec<_> = assessment
        .findings
        .iter()
        .map(|finding| FindingView::new(finding, analysis.summary.first))
        .collect();
    antecedents::tell(&mut findings, &assessment.findings, analysis);
    what_if::ask(&mut findings, &assessment.findings, &all_actions);
    let checks: Vec<_> = assessment.outcomes.iter().map(check).collect();
    let document = Document {
        schema_version: SCHEMA_VERSION,
        tool: tool(run),
        verdict: verdict(&findings, &checks, connection_total),
        capture: capture(analysis),
        host_evidence: None,
        host_snapshots: Vec::new(),
        against: None,
        checks,
        notices: assessment.notices.clone(),
        intervals: Intervals::new(&analysis.intervals),
        response_times,
        round_trip_times: ResponseTimes::new(&totals.round_trip_times),
        round_trips_over_time: totals.round_trips_over_time.finish(analysis.summary.first),
        udp_sizes: udp_sizes(&totals.udp_sizes),
        time_split: time_parts(&totals.time_split),
        traces: Vec::new(),
        untraced: None,
        episodes: hosts::episode_rows(analysis),
        host_total: analysis.hosts.len() as u64,
        hosts: hosts::host_rows(analysis),
        tables,
        connection_total,
        connections: rows,
        actions: actions::view(&all_actions, totals.actions, analysis.summary.first),
        findings,
    };
    (document, all_actions)
}

fn udp_sizes(classes: &BTreeMap<u32, (u64, u64)>) -> Vec<UdpSize> {
    let sizes = classes
        .iter()
        .map(|(class, &(requests, answered))| UdpSize {
            from_bytes: class * UDP_CLASS_BYTES,
            to_bytes: class * UDP_CLASS_BYTES + (UDP_CLASS_BYTES - 1),
            requests,
            answered,
        });
    sizes.collect()
}

/// How the program was called.
pub(crate) fn tool(run: &RunInfo) -> Tool {
    Tool {
        name: "pcapdoc".to_owned(),
        version: run.version.clone(),
        arguments: run.arguments.clone(),
        configuration: run
            .configuration
            .iter()
            .map(|(name, value)| Setting {
                name: name.clone(),
                value: value.clone(),
            })
            .collect(),
        configuration_file: run.configuration_file.clone(),
    }
}

/// The first finding leads: causes are ranked before their symptoms.
fn verdict(findings: &[FindingView], checks: &[Check], connections: u64) -> Verdict {
    let severity = findings.iter().map(|finding| finding.severity).max();
    let sentence = match findings {
        [] => nothing_found(checks, connections),
        [first, rest @ ..] => with_consequence(first, rest),
    };
    Verdict { sentence, severity }
}

/// The leading cause, its worst consequence when that weighs more, and how many findings follow.
fn with_consequence(first: &FindingView, rest: &[FindingView]) -> String {
    let worst = rest
        .iter()
        .filter(|other| other.severity > first.severity && other.explained_by.contains(&first.id))
        .max_by_key(|other| (other.severity, std::cmp::Reverse(&other.id)));
    let mut sentence = statement(first);
    if let Some(worst) = worst {
        sentence.push_str(" It causes: ");
        sentence.push_str(&statement(worst));
    }
    match rest.len() - usize::from(worst.is_some()) {
        0 => {}
        1 => sentence.push_str(" One more finding follows."),
        n => sentence.push_str(&format!(" {n} more findings follow.")),
    }
    sentence
}

/// A finding's title with its cost.
fn statement(finding: &FindingView) -> String {
    let title = finding.full_title.trim_end_matches('.');
    match format::cost_phrase(&finding.cost) {
        Some(cost) => format!("{title} — {cost}."),
        None => format!("{title}."),
    }
}

fn nothing_found(checks: &[Check], connections: u64) -> String {
    let judged = checks.iter().filter(|check| check.assessed > 0).count() as u64;
    let blind = checks.len() as u64 - judged;
    let checked = format!(
        "Nothing found: {} over {} gave no finding",
        format::counted(judged, "check"),
        format::counted(connections, "connection")
    );
    if blind == 0 {
        format!("{checked}.")
    } else {
        format!(
            "{checked}; {} did not apply.",
            format::counted(blind, "check")
        )
    }
}

fn capture(analysis: &Analysis) -> Capture {
    let summary = &analysis.summary;
    Capture {
        files: files(summary),
        packets: summary.packets,
        bytes: summary.bytes,
        duration_s: seconds(summary.duration()),
        link_types: summary
            .interfaces
            .iter()
            .map(|interface| interface.link_type.clone())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
        quality: analysis
            .quality
            .iter()
            .map(|note| Quality {
                kind: note.kind.as_str().to_owned(),
                count: note.count,
                note: note.note.clone(),
            })
            .collect(),
        start: summary.first.map(|time| time.rfc3339()),
        end: summary.last.map(|time| time.rfc3339()),
        interfaces: interfaces(summary),
        protocols: counted(
            summary
                .protocols
                .iter()
                .map(|(&name, &count)| (name, count)),
        ),
        undecoded: counted(
            summary
                .undecoded
                .iter()
                .map(|(name, &count)| (name.as_str(), count)),
        ),
        tcp_connections: analysis.tcp_connections,
        udp_flows: analysis.udp_flows,
    }
}

fn files(summary: &CaptureSummary) -> Vec<File> {
    summary
        .files
        .iter()
        .map(|file| File {
            name: file.name.clone(),
            format: file.format.clone(),
            bytes: file.stored_bytes,
            packets: file.frames,
            start: file.first.map(|time| time.rfc3339()),
            end: file.last.map(|time| time.rfc3339()),
            hash: None,
        })
        .collect()
}

fn interfaces(summary: &CaptureSummary) -> Vec<Interface> {
    summary
        .interfaces
        .iter()
        .map(|interface| Interface {
            name: interface.name.clone(),
            link_type: interface.link_type.clone(),
            snaplen_bytes: interface.snaplen,
            packets: interface.frames,
            drops: interface.drops,
        })
        .collect()
}

/// Most frequent first, then by name.
fn counted<N: Into<String>>(items: impl Iterator<Item = (N, u64)>) -> Vec<Counted> {
    let mut list: Vec<_> = items
        .map(|(name, count)| Counted {
            name: name.into(),
            count,
        })
        .collect();
    list.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    list
}

fn check(outcome: &RuleOutcome) -> Check {
    Check {
        rule: outcome.rule.to_owned(),
        origin: outcome.origin,
        title: outcome.title.to_owned(),
        assessed: outcome.assessed,
        not_assessed: outcome
            .not_assessed
            .iter()
            .map(|(reason, count)| Counted {
                name: reason.clone(),
                count: *count,
            })
            .collect(),
        findings: outcome.findings,
        failure: outcome.failure.clone(),
    }
}
