//! The page's texts: every number already formatted, every list already cut.

use rayon::prelude::*;
use serde::Serialize;

use super::actions::ActionsPage;
use super::fact::Fact;
use super::finding::FindingPage;
use super::table::{CellPage, HeadPage, TablePage, number_cell, table, text_cell};
use super::timeline::Timeline;
use crate::against::sentences;
use crate::document::{
    Against, Check, ConnectionRow, Counted, Document, HostFileRow, HostSnapshotRow, Quality,
    TimePart,
};
use crate::error::Error;
use crate::render::charts::{self, Chart};
use crate::words::format;

/// Connections listed in the page; the JSON holds more.
const CONNECTIONS: usize = 200;

/// Everything the templates show.
#[derive(Serialize)]
pub(super) struct Page<'a> {
    title: String,
    tool: String,
    severity: Option<&'static str>,
    verdict: String,
    capture: String,
    facts: Vec<Fact>,
    quality: Vec<Quality>,
    notices: Vec<String>,
    against: Option<AgainstPage>,
    timeline: Option<Timeline>,
    findings: Vec<FindingPage<'a>>,
    host_files: &'a [HostFileRow],
    charts: Vec<Chart>,
    time: Option<TimePage>,
    actions: Option<ActionsPage>,
    states: Vec<Chart>,
    snapshots: Vec<SnapshotPage<'a>>,
    tables: Vec<TablePage>,
    clean: Vec<CheckPage>,
    partly: Vec<CheckPage>,
    blind: Vec<CheckPage>,
    files: TablePage,
    undecoded: Vec<String>,
    arguments: String,
    configuration: Vec<Fact>,
    configuration_file: Option<String>,
}

/// A host's listing of its sockets.
#[derive(Serialize)]
struct SnapshotPage<'a> {
    file: &'a str,
    host: Option<&'a str>,
    time: &'a str,
    counts: String,
    differences: &'a [String],
}

impl<'a> SnapshotPage<'a> {
    fn of(row: &'a HostSnapshotRow) -> Self {
        Self {
            file: &row.file,
            host: row.host.as_deref(),
            time: format::time_of_day(&row.time),
            counts: row.counts(),
            differences: &row.differences,
        }
    }
}

/// Where the time went.
#[derive(Serialize)]
struct TimePage {
    title: String,
    parts: Vec<TimePartPage>,
}

#[derive(Serialize)]
struct TimePartPage {
    label: String,
    time: String,
    share: String,
    /// Length of the bar, 0–200.
    bar: u32,
}

/// One rule in the lists of what was checked.
#[derive(Serialize)]
struct CheckPage {
    rule: String,
    title: String,
    assessed: String,
    reasons: Vec<String>,
}

impl<'a> Page<'a> {
    pub(super) fn new(document: &'a Document) -> Result<Self, Error> {
        let capture = &document.capture;
        let drawn_findings = || {
            let findings = document.findings.par_iter().enumerate();
            let pages = findings.map(|(index, finding)| FindingPage::new(index, finding, document));
            pages.collect::<Result<Vec<_>, _>>()
        };
        let (findings, (charts, states)) = rayon::join(drawn_findings, || {
            rayon::join(
                || charts::of_capture(document),
                || charts::of_states(document),
            )
        });
        let name = capture_name(document);
        let (clean, partly, blind) = checks(&document.checks);
        let mut tables: Vec<_> = document.tables.iter().map(table).collect();
        tables.extend(connections(document));
        Ok(Self {
            title: format!("{name} – pcapdoc"),
            tool: format!("{} {}", document.tool.name, document.tool.version),
            severity: document.verdict.severity.map(|severity| severity.as_str()),
            verdict: format::unbroken(&document.verdict.sentence),
            capture: name,
            facts: facts(document),
            quality: capture.quality.clone(),
            notices: document.notices.clone(),
            against: document.against.as_ref().map(AgainstPage::new),
            timeline: Timeline::new(document),
            findings: findings?,
            host_files: document.host_evidence.as_deref().unwrap_or_default(),
            charts: charts?,
            time: time(&document.time_split),
            actions: document
                .actions
                .as_ref()
                .map(|actions| ActionsPage::new(actions, document)),
            states: states?,
            snapshots: document
                .host_snapshots
                .iter()
                .map(SnapshotPage::of)
                .collect(),
            tables,
            clean,
            partly,
            blind,
            files: files(document),
            undecoded: capture
                .undecoded
                .iter()
                .map(|item| format!("{}: {}", item.name, format::counted(item.count, "frame")))
                .collect(),
            arguments: document.tool.arguments.join(" "),
            configuration: document
                .tool
                .configuration
                .iter()
                .map(|setting| Fact::new(setting.name.as_str(), setting.value.as_str()))
                .collect(),
            configuration_file: document.tool.configuration_file.clone(),
        })
    }
}

/// What differs from a good day.
#[derive(Serialize)]
struct AgainstPage {
    good: String,
    lines: Vec<String>,
}

impl AgainstPage {
    fn new(against: &Against) -> Self {
        Self {
            good: against.good.clone(),
            lines: sentences(against),
        }
    }
}

fn capture_name(document: &Document) -> String {
    match document.capture.files.as_slice() {
        [] => "capture".to_owned(),
        [only] if only.name == "-" => "standard input".to_owned(),
        [only] => only
            .name
            .rsplit('/')
            .next()
            .unwrap_or(&only.name)
            .to_owned(),
        [first, rest @ ..] => {
            let first = first.name.rsplit('/').next().unwrap_or(&first.name);
            format!("{first} and {} more", rest.len())
        }
    }
}

fn facts(document: &Document) -> Vec<Fact> {
    let capture = &document.capture;
    let mut facts = Vec::new();
    if let Some(start) = &capture.start {
        facts.push(Fact::new("Captured", format::date_time(start)));
    }
    facts.push(Fact::new("Duration", format::seconds(capture.duration_s)));
    facts.push(Fact::new("Packets", format::count(capture.packets)));
    facts.push(Fact::new("Volume", format::size(capture.bytes as f64)));
    let connections = match (capture.tcp_connections, capture.udp_flows) {
        (tcp, 0) => format!("{} TCP", format::count(tcp)),
        (0, udp) => format!("{} UDP", format::count(udp)),
        (tcp, udp) => format!("{} TCP, {} UDP", format::count(tcp), format::count(udp)),
    };
    facts.push(Fact::new("Connections", connections));
    if !capture.link_types.is_empty() {
        facts.push(Fact::new("Link", capture.link_types.join(", ")));
    }
    facts
}

fn checks(checks: &[Check]) -> (Vec<CheckPage>, Vec<CheckPage>, Vec<CheckPage>) {
    let (mut clean, mut partly, mut blind) = (Vec::new(), Vec::new(), Vec::new());
    for check in checks {
        let missed: u64 = check.not_assessed.iter().map(|reason| reason.count).sum();
        let list = match (
            check.failure.is_some(),
            check.assessed,
            check.findings,
            missed,
        ) {
            (true, ..) | (_, 0, 0, _) => &mut blind,
            (_, _, 0, 0) => &mut clean,
            (_, _, 0, _) => &mut partly,
            _ => continue,
        };
        list.push(CheckPage {
            rule: check.rule.clone(),
            title: check.title.clone(),
            assessed: format::counted(check.assessed, "connection"),
            reasons: reasons(check),
        });
    }
    (clean, partly, blind)
}

fn reasons(check: &Check) -> Vec<String> {
    let failure = check
        .failure
        .iter()
        .map(|failure| format!("this rule failed, which is a defect of pcapdoc: {failure}"));
    let reasons = check.not_assessed.iter().map(|Counted { name, count }| {
        format!("{}: {name}", format::counted(*count, "connection"))
    });
    let mut all: Vec<_> = failure.chain(reasons).collect();
    if all.is_empty() && check.assessed == 0 {
        all.push("no connection of this kind in the capture".to_owned());
    }
    all
}

fn time(parts: &[TimePart]) -> Option<TimePage> {
    let total: f64 = parts.iter().map(|part| part.total_s).sum();
    let longest = parts.iter().map(|part| part.total_s).fold(0.0, f64::max);
    if total <= 0.0 {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0–200"
    )]
    let bar = |seconds: f64| (seconds / longest * 200.0).round() as u32;
    Some(TimePage {
        title: TimePart::sentence(parts)?,
        parts: parts
            .iter()
            .map(|part| TimePartPage {
                label: part.label.clone(),
                time: format::seconds(part.total_s),
                share: format::percentage(part.total_s / total),
                bar: bar(part.total_s),
            })
            .collect(),
    })
}

/// The most relevant connections.
fn connections(document: &Document) -> Option<TablePage> {
    if document.connections.is_empty() {
        return None;
    }
    let heads = [
        ("Client", false),
        ("Server", false),
        ("Protocol", false),
        ("End", false),
        ("Start", true),
        ("Duration", true),
        ("Bytes", true),
        ("Sent again", true),
        ("Round trip", true),
        ("Slowest response", true),
        ("First frame", true),
    ];
    let shown = document.connections.len().min(CONNECTIONS);
    let left_out = document.connection_total.saturating_sub(shown as u64);
    let start = document.capture.start.as_deref();
    Some(TablePage {
        id: "connections".to_owned(),
        title: "Connections, most relevant first".to_owned(),
        note: None,
        heads: heads
            .map(|(label, number)| HeadPage {
                label: label.to_owned(),
                number,
            })
            .into(),
        rows: document.connections[..shown]
            .iter()
            .map(|row| connection(row, start))
            .collect(),
        left_out: (left_out > 0).then(|| {
            format!(
                "{} of {} shown; the JSON output lists {}.",
                format::count(shown as u64),
                format::count(document.connection_total),
                if document.connections.len() as u64 == document.connection_total {
                    "all".to_owned()
                } else {
                    format::count(document.connections.len() as u64)
                },
            )
        }),
    })
}

fn connection(row: &ConnectionRow, start: Option<&str>) -> Vec<CellPage> {
    let ms = |ms: Option<f64>| match ms {
        Some(ms) => number_cell(ms, format::duration(ms)),
        None => text_cell("–".to_owned()),
    };
    let protocol = if row.protocol == "unknown" {
        &row.transport
    } else {
        &row.protocol
    };
    let mut server = match &row.server_name {
        Some(name) => format!("{} ({})", row.server, format::shortened(name, 60)),
        None => row.server.clone(),
    };
    let mut client = row.client.clone();
    for (shown, end) in [(&mut client, &row.client), (&mut server, &row.server)] {
        if let Some(process) = row.process.as_ref().filter(|one| one.is_at(end)) {
            let label = process.label();
            shown.push_str(&format!(", {}", format::shortened(&label, 60)));
        }
    }
    if let Some(side) = &row.proxied_to {
        server.push_str(&format!(", on to {}", side.remote));
    }
    let close = match row.resets.last() {
        Some(reset) if row.close == "reset" => format!("reset ({})", reset.kind),
        _ => row.close.to_string(),
    };
    let resent =
        row.client_to_server.retransmitted_segments + row.server_to_client.retransmitted_segments;
    let elapsed = start.and_then(|start| format::seconds_between(start, &row.start));
    vec![
        text_cell(client),
        text_cell(server),
        text_cell(protocol.to_string()),
        text_cell(close),
        match elapsed {
            Some(elapsed) => number_cell(elapsed, format!("+{}", format::seconds(elapsed))),
            None => text_cell(format::time_of_day(&row.start).to_owned()),
        },
        ms(Some(row.duration_ms)),
        number_cell(row.bytes as f64, format::size(row.bytes as f64)),
        number_cell(resent as f64, format::count(resent)),
        ms(row.rtt_ms),
        ms(row.response_max_ms),
        number_cell(row.first_frame as f64, row.first_frame.to_string()),
    ]
}

/// How the hashes were made, when not of whole files.
fn hash_note(document: &Document) -> Option<String> {
    let hashes = document.capture.files.iter();
    let partial = hashes
        .filter_map(|file| file.hash.as_ref())
        .find(|hash| hash.end_bytes.is_some())?;
    Some(format!(
        "Of files over {} both ends are hashed: {}",
        format::size(2.0 * partial.end_bytes.unwrap_or_default() as f64),
        partial.command()
    ))
}

fn files(document: &Document) -> TablePage {
    let heads = [
        ("File", false),
        ("Format", false),
        ("Size", true),
        ("Packets", true),
        ("First frame (UTC)", false),
        ("SHA-256", false),
    ];
    let rows = document.capture.files.iter().map(|file| {
        vec![
            text_cell(if file.name == "-" {
                "standard input".to_owned()
            } else {
                file.name.clone()
            }),
            text_cell(file.format.clone()),
            number_cell(file.bytes as f64, format::size(file.bytes as f64)),
            number_cell(file.packets as f64, format::count(file.packets)),
            text_cell(file.start.as_deref().unwrap_or("–").to_owned()),
            text_cell(match &file.hash {
                Some(hash) => hash.sha256.clone(),
                None => "–".to_owned(),
            }),
        ]
    });
    TablePage {
        id: "files".to_owned(),
        title: "Files".to_owned(),
        note: hash_note(document),
        heads: heads
            .map(|(label, number)| HeadPage {
                label: label.to_owned(),
                number,
            })
            .into(),
        rows: rows.collect(),
        left_out: None,
    }
}
