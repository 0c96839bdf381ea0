//! What a person pastes into an incident: the page's order, shorter, as GitHub reads Markdown.
//!
//! The evidence is drawn as a Mermaid sequence diagram; charts are SVG files beside the text.
//! Every string passes [`escape::markdown`] or stands in a fence that it cannot leave.

use std::fmt;

use crate::against::sentences;
use crate::document::{
    Capture, Cell, Check, Document, HostFileRow, HostSnapshotRow, Table, TimePart,
};
use crate::error::Error;
use crate::render::charts::Chart;
use crate::words::{escape, format};

mod actions;
mod diagram;
mod finding;
mod pictures;

use pictures::Charts;

pub use pictures::Picture;

/// Rows per top list.
const ROWS: usize = 5;

/// Renders the report without pictures.
#[must_use]
pub fn render(document: &Document) -> String {
    Page::default().render(document, &Charts::default())
}

/// Renders the report with links to pictures in `folder`, which lies beside it, and gives the
/// pictures.
///
/// # Errors
/// Fails only if a chart cannot be drawn, which is a defect of ours.
pub fn render_with_pictures(
    document: &Document,
    folder: &str,
) -> Result<(String, Vec<Picture>), Error> {
    let charts = Charts::new(document, folder)?;
    let text = Page::default().render(document, &charts);
    Ok((text, charts.pictures()))
}

/// The text so far; every block ends with an empty line.
#[derive(Default)]
struct Page {
    out: String,
}

impl Page {
    fn render(mut self, document: &Document, charts: &Charts) -> String {
        self.head(document);
        if let Some(against) = &document.against {
            self.block(format_args!("## Against {}", text(&against.good)));
            self.list(sentences(against).iter().map(|line| text(line)));
        }
        for (index, finding) in document.findings.iter().enumerate() {
            self.finding(finding);
            let of_finding = charts.findings.get(index).map_or(&[][..], Vec::as_slice);
            self.pictures(of_finding, charts);
            if let Some(why) = document.untraced.as_ref().filter(|_| finding.cites_tcp()) {
                self.block(format_args!("> **No time-sequence graph:** {}.", text(why)));
            }
            self.remedies(finding);
        }
        self.host_files(document.host_evidence.as_deref().unwrap_or_default());
        if !charts.capture.is_empty() {
            self.block(format_args!("## Charts"));
            self.pictures(&charts.capture, charts);
        }
        if let Some(actions) = &document.actions {
            self.actions(actions, charts);
        }
        self.time(document);
        if !charts.states.is_empty() || !document.host_snapshots.is_empty() {
            self.block(format_args!("## Socket states over time"));
            self.pictures(&charts.states, charts);
            self.snapshots(&document.host_snapshots);
        }
        self.tables(&document.tables);
        self.checks(&document.checks);
        self.method(document);
        self.out
    }

    /// Every picture with what it shows, for those who cannot see it as well.
    fn pictures(&mut self, shown: &[Chart], charts: &Charts) {
        for chart in shown {
            let title = text(&chart.title);
            self.block(format_args!("{title}. {}:", text(&chart.axes)));
            self.block(format_args!(
                "![{title}]({}/{}.svg)",
                charts.folder, chart.id
            ));
        }
    }

    fn block(&mut self, text: fmt::Arguments<'_>) {
        self.lines(text);
        self.out.push('\n');
    }

    fn lines(&mut self, text: fmt::Arguments<'_>) {
        let written = fmt::write(&mut self.out, text);
        debug_assert!(written.is_ok(), "writing to a String cannot fail");
        self.out.push('\n');
    }

    fn list<I: fmt::Display>(&mut self, items: impl IntoIterator<Item = I>) {
        for item in items {
            self.lines(format_args!("- {item}"));
        }
        self.out.push('\n');
    }

    fn table_head(&mut self, labels: &[&str], is_number: impl Fn(usize) -> bool) {
        self.lines(format_args!("| {} |", labels.join(" | ")));
        let rules = (0..labels.len()).map(|at| if is_number(at) { "---:" } else { "---" });
        self.lines(format_args!(
            "| {} |",
            rules.collect::<Vec<_>>().join(" | ")
        ));
    }

    fn row(&mut self, cells: &[String]) {
        self.lines(format_args!("| {} |", cells.join(" | ")));
    }

    fn head(&mut self, document: &Document) {
        self.block(format_args!("# {}", text(&document.verdict.sentence)));
        self.block(format_args!("{}", facts(document)));
        for quality in &document.capture.quality {
            self.block(format_args!(
                "> **Caveat, {}:** {}",
                text(&quality.kind),
                text(&quality.note)
            ));
        }
        for notice in &document.notices {
            self.block(format_args!("> **Note:** {}", text(notice)));
        }
        if document.findings.len() < 2 {
            return;
        }
        self.table_head(&["", "Severity", "Finding", "Impact", "Confidence"], |_| {
            false
        });
        for finding in &document.findings {
            self.row(&[
                text(&finding.id),
                finding.severity.as_str().to_owned(),
                text(&finding.title),
                format::cost_phrase(&finding.cost)
                    .map_or_else(|| "–".to_owned(), |cost| text(&cost)),
                format::percentage(finding.confidence),
            ]);
        }
        self.out.push('\n');
    }

    /// What hosts list beside what the packets say.
    fn snapshots(&mut self, rows: &[HostSnapshotRow]) {
        if rows.is_empty() {
            return;
        }
        self.list(rows.iter().map(|row| {
            let differences = match row.differences.as_slice() {
                [] => "both agree".to_owned(),
                some => some.join("; "),
            };
            let time = format::time_of_day(&row.time);
            format!(
                "{time} {}: {}; {}.",
                text(&row.file),
                text(&row.counts()),
                text(&differences)
            )
        }));
    }

    /// What became of host files.
    fn host_files(&mut self, files: &[HostFileRow]) {
        if files.is_empty() {
            return;
        }
        self.block(format_args!("## What the hosts say"));
        self.table_head(&["File", "Kind", "Host", "Lines", "Used", "Note"], |at| {
            matches!(at, 3 | 4)
        });
        for file in files {
            self.row(&[
                text(&file.file),
                text(&file.kind),
                file.host.as_deref().map_or_else(|| "–".to_owned(), text),
                file.lines.to_string(),
                file.used.to_string(),
                text(&file.note),
            ]);
        }
        self.out.push('\n');
    }

    fn time(&mut self, document: &Document) {
        let total: f64 = document.time_split.iter().map(|part| part.total_s).sum();
        if total <= 0.0 {
            return;
        }
        self.block(format_args!("## Where the time went"));
        if let Some(sentence) = TimePart::sentence(&document.time_split) {
            self.block(format_args!("{}.", text(&sentence)));
        }
        self.table_head(&["TCP connections, in sum", "Time", "Share"], |at| at > 0);
        for part in &document.time_split {
            self.row(&[
                text(&part.label),
                format::seconds(part.total_s),
                format::percentage(part.total_s / total),
            ]);
        }
        self.out.push('\n');
    }

    fn tables(&mut self, tables: &[Table]) {
        for table in tables.iter().filter(|table| !table.rows.is_empty()) {
            let title = escape::html(&table.title);
            self.block(format_args!("<details><summary>{title}</summary>"));
            let labels: Vec<_> = table
                .columns
                .iter()
                .map(|column| text(&column.label))
                .collect();
            let labels: Vec<_> = labels.iter().map(String::as_str).collect();
            self.table_head(&labels, |at| {
                let cells = table.rows.iter().filter_map(|row| row.get(at));
                cells
                    .clone()
                    .any(|cell| matches!(cell, Cell::Count(_) | Cell::Number(_)))
            });
            for row in table.rows.iter().take(ROWS) {
                let cells = row.iter().zip(&table.columns);
                self.row(
                    &cells
                        .map(|(value, column)| cell(value, &column.name))
                        .collect::<Vec<_>>(),
                );
            }
            self.out.push('\n');
            let left_out = table.rows.len().saturating_sub(ROWS) as u64 + table.rows_left_out;
            if left_out > 0 {
                self.block(format_args!(
                    "{} left out here.",
                    format::counted(left_out, "more row")
                ));
            }
            if let Some(note) = &table.note {
                self.block(format_args!("{}", text(note)));
            }
            self.block(format_args!("</details>"));
        }
    }

    fn checks(&mut self, checks: &[Check]) {
        if checks.is_empty() {
            return;
        }
        self.block(format_args!("## Checks"));
        let judged = checks
            .iter()
            .filter(|check| check.findings == 0 && check.assessed > 0);
        let names: Vec<_> = judged
            .map(|check| escape::markdown_code(&check.rule))
            .collect();
        if !names.is_empty() {
            self.block(format_args!(
                "Checked, nothing found: {}.",
                names.join(", ")
            ));
        }
        let blind: Vec<_> = checks
            .iter()
            .filter(|check| check.failure.is_some() || check.findings == 0 && check.assessed == 0)
            .map(blind)
            .collect();
        if !blind.is_empty() {
            self.block(format_args!("Not assessed:"));
            self.list(blind);
        }
    }

    fn method(&mut self, document: &Document) {
        let tool = &document.tool;
        self.block(format_args!("## How this report was made"));
        let mut items = vec![format!("{} {}", text(&tool.name), text(&tool.version))];
        if !tool.arguments.is_empty() {
            items.push(format!(
                "Arguments: {}",
                escape::markdown_code(&tool.arguments.join(" "))
            ));
        }
        if let Some(file) = &tool.configuration_file {
            items.push(format!(
                "Configuration file: {}",
                escape::markdown_code(file)
            ));
        }
        for setting in &tool.configuration {
            items.push(format!("{}: {}", text(&setting.name), text(&setting.value)));
        }
        for file in &document.capture.files {
            let hash = file.hash.as_ref().map_or_else(String::new, |hash| {
                format!("; `{}` by `{}`", text(&hash.sha256), hash.command())
            });
            items.push(format!(
                "{}: {}, {}, {}{hash}",
                escape::markdown_code(file_name(&file.name)),
                text(&file.format),
                format::size(file.bytes as f64),
                format::counted(file.packets, "packet"),
            ));
        }
        for item in &document.capture.undecoded {
            items.push(format!(
                "Not decoded to the end: {}, {}",
                text(&item.name),
                format::counted(item.count, "frame")
            ));
        }
        self.list(items);
    }
}

fn text(text: &str) -> String {
    escape::markdown(text)
}

/// A fenced block without its final line end.
fn code(body: &str, language: &str) -> String {
    escape::markdown_code_block(body, language)
        .trim_end()
        .to_owned()
}

fn file_name(name: &str) -> &str {
    if name == "-" { "standard input" } else { name }
}

fn facts(document: &Document) -> String {
    let capture: &Capture = &document.capture;
    let names: Vec<_> = capture
        .files
        .iter()
        .map(|file| file_name(&file.name))
        .collect();
    let shown = match names.as_slice() {
        [] => "capture".to_owned(),
        [only] => escape::markdown_code(only),
        [first, rest @ ..] => format!("{} and {} more", escape::markdown_code(first), rest.len()),
    };
    let start = capture.start.as_deref().map(format::date_time);
    let start = start.map_or_else(String::new, |start| format!("from {}, ", text(&start)));
    format!(
        "{shown}: {start}{}, {}, {}, {}.",
        format::seconds(capture.duration_s),
        format::counted(capture.packets, "packet"),
        format::size(capture.bytes as f64),
        format::counted(document.connection_total, "connection"),
    )
}

/// Code in a cell of a table, which a pipe would end.
fn cell_code(code: &str) -> String {
    if code.contains(['|', '\\']) {
        text(code)
    } else {
        escape::markdown_code(code)
    }
}

fn cell(value: &Cell, column: &str) -> String {
    match value {
        Cell::Count(count) => format::table_count(column, *count),
        Cell::Number(number) => format::figure(column, &serde_json::json!(number)),
        Cell::Text(value) => text(value),
        Cell::Missing(()) => "–".to_owned(),
    }
}

/// A rule that judged nothing, and why.
fn blind(check: &Check) -> String {
    let name = escape::markdown_code(&check.rule);
    if let Some(failure) = &check.failure {
        return format!(
            "{name}: failed, which is a defect of pcapdoc: {}",
            text(failure)
        );
    }
    let reasons: Vec<_> = check
        .not_assessed
        .iter()
        .map(|reason| format!("{} ({})", text(&reason.name), format::count(reason.count)))
        .collect();
    if reasons.is_empty() {
        format!("{name}: no connection of this kind in the capture")
    } else {
        format!("{name}: {}", reasons.join("; "))
    }
}
