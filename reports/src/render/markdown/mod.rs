//! What a person pastes into an incident: the page's order, shorter, as GitHub reads Markdown.
//!
//! The evidence is drawn as a Mermaid sequence diagram; charts are SVG files beside the text.
//! Every string passes [`escape::markdown`] or stands in a fence that it cannot leave.

use std::fmt;

use crate::against::sentences;
use crate::document::{
    Capture, Cell, Check, ConnectionKey, Document, EvidenceView, FindingView, HostFileRow,
    HostLine, Remedy, Table, TimePart,
};
use crate::error::Error;
use crate::render::charts::Chart;
use crate::words::{escape, format, onset};

mod diagram;
mod pictures;

use diagram::{diagram, segment};
use pictures::Charts;

pub use pictures::Picture;

/// Frames drawn and listed per finding; the page and the JSON hold all.
const FRAMES: usize = 10;

/// Rows per top list.
const ROWS: usize = 5;

/// Affected connections named per finding.
const CONNECTIONS: usize = 10;

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
        self.time(document);
        if !charts.states.is_empty() {
            self.block(format_args!("## Socket states over time"));
            self.pictures(&charts.states, charts);
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

    fn finding(&mut self, finding: &FindingView) {
        self.block(format_args!(
            "## {}: {}",
            text(&finding.id),
            text(&finding.title)
        ));
        self.block(format_args!("{}", text(&finding.summary)));
        self.list(key_facts(finding));
        for caveat in &finding.caveats {
            self.block(format_args!(
                "> **Caveat, {}:** {}",
                text(&caveat.kind),
                text(&caveat.note)
            ));
        }
        self.proof(finding);
    }

    /// The second half of a finding, behind its pictures.
    fn remedies(&mut self, finding: &FindingView) {
        self.host_lines(finding.host_evidence.as_deref().unwrap_or_default());
        if !finding.why.is_empty() {
            self.block(format_args!("### Why we conclude this"));
            self.list(finding.why.iter().map(|fact| text(fact)));
        }
        if !finding.look_alikes.is_empty() {
            self.block(format_args!("### What it is not"));
            self.list(
                finding
                    .look_alikes
                    .iter()
                    .map(|other| format!("**{}**: {}", text(&other.name), text(&other.why_not))),
            );
        }
        self.remedy(&finding.remedy);
        if !finding.host_commands.is_empty() {
            self.block(format_args!("### How to confirm on the hosts"));
            for command in &finding.host_commands {
                let (host, tells) = (text(&command.host), text(&command.tells));
                self.block(format_args!("**{host}**: {tells}"));
                self.block(format_args!("{}", code(&command.command, "sh")));
            }
        }
        self.connections(finding);
    }

    /// The best example as a diagram, all examples as a table.
    fn proof(&mut self, finding: &FindingView) {
        let Some(first) = finding.evidence.first() else {
            return;
        };
        self.block(format_args!("### Evidence"));
        let mut example: Vec<_> = finding
            .evidence
            .iter()
            .filter(|step| step.connection == first.connection)
            .take(FRAMES)
            .collect();
        example.sort_by_key(|step| step.frame);
        self.block(format_args!(
            "{}",
            code(&diagram(&first.connection, &example), "mermaid")
        ));
        self.table_head(
            &["Frame", "Time (UTC)", "From", "Segment", "What it shows"],
            |at| at == 0,
        );
        for step in finding.evidence.iter().take(FRAMES) {
            self.row(&[
                step.frame.to_string(),
                text(format::time_of_day(&step.time)),
                text(sender(step)),
                text(&segment(step)),
                text(&step.note),
            ]);
        }
        self.out.push('\n');
        if finding.evidence.len() > FRAMES {
            let left_out = (finding.evidence.len() - FRAMES) as u64;
            self.block(format_args!(
                "{} in the HTML and JSON reports.",
                format::counted(left_out, "more frame")
            ));
        }
        if let Some(file) = &finding.evidence_file {
            self.block(format_args!(
                "Its frames, with these notes as packet comments: {}",
                escape::markdown_code(file)
            ));
        }
        if !finding.filter.is_empty() {
            self.block(format_args!("Wireshark display filter:"));
            self.block(format_args!("{}", code(&finding.filter, "")));
        }
    }

    /// Lines of host files about a finding.
    fn host_lines(&mut self, lines: &[HostLine]) {
        if lines.is_empty() {
            return;
        }
        self.block(format_args!("### What the hosts say"));
        self.list(lines.iter().map(|line| {
            format!(
                "**{}**: {} ({}:{}: {})",
                line.says.as_str(),
                text(&line.note),
                text(&line.file),
                line.line,
                escape::markdown_code(&line.text)
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

    /// General advice as text, advice per product as a table.
    fn remedy(&mut self, remedy: &[Remedy]) {
        // The first advice for any product stands among the facts.
        let told = usize::from(remedy.first().is_some_and(|first| first.product == "any"));
        let remedy = &remedy[told..];
        if remedy.len() + told < 2 {
            return;
        }
        self.block(format_args!("### How to fix it"));
        for step in remedy.iter().filter(|step| step.product == "any") {
            self.step(step);
        }
        let products = remedy.iter().filter(|step| step.product != "any");
        if products.clone().next().is_none() {
            return;
        }
        self.table_head(&["Where", "What", "Setting"], |_| false);
        for step in products {
            self.row(&[
                text(&step.product),
                text(&step.text),
                step.setting.as_deref().map_or_else(String::new, cell_code),
            ]);
        }
        self.out.push('\n');
    }

    fn step(&mut self, step: &Remedy) {
        self.block(format_args!("{}", text(&step.text)));
        if let Some(setting) = &step.setting {
            self.block(format_args!("{}", code(setting, "")));
        }
    }

    fn connections(&mut self, finding: &FindingView) {
        let total = finding.connection_count;
        self.block(format_args!(
            "<details><summary>{} affected</summary>",
            format::counted(total, "connection")
        ));
        let shown = finding.connections.iter().take(CONNECTIONS);
        let left_out = total.saturating_sub(shown.len() as u64);
        let mut items: Vec<_> = shown.map(connection).collect();
        if left_out > 0 {
            items.push(format!("{} more", format::count(left_out)));
        }
        self.list(items);
        self.block(format_args!("</details>"));
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
            self.block(format_args!("Checked, nothing found: {}.", names.join(", ")));
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

fn key_facts(finding: &FindingView) -> Vec<String> {
    let whose = if finding.origin.is_built_in() {
        ""
    } else {
        ", a rule of your own"
    };
    let mut facts = vec![format!(
        "Severity: **{}** ({}{whose})",
        finding.severity.as_str(),
        escape::markdown_code(&finding.rule)
    )];
    if let Some(cost) = format::cost_phrase(&finding.cost) {
        facts.push(format!("Impact: {}", text(&cost)));
    }
    if let Some(remedy) = finding.remedy.first() {
        let advice = format::advice(&remedy.product, &remedy.text);
        let setting = remedy.setting.as_deref().map(escape::markdown_code);
        let setting = setting.map_or_else(String::new, |setting| format!(" {setting}"));
        facts.push(format!("Fix: {}{setting}", text(&advice)));
    }
    if let Some(look) = finding.look() {
        facts.push(format!("Evidence: {look}"));
    }
    let mut sure = format!("Confidence: {}", format::confidence(finding.confidence));
    if !finding.confidence_reason.is_empty() {
        sure.push_str(&format!(": {}", text(&finding.confidence_reason)));
    }
    facts.push(sure);
    facts.push(format!(
        "Seen: {}, {} affected",
        format::counted(finding.occurrences, "time"),
        format::counted(finding.connection_count, "connection")
    ));
    if let Some(when) = &finding.onset {
        let bars = onset::bars(when).map(|bars| format!(" {bars}"));
        let bars = bars.unwrap_or_default();
        facts.push(format!("When: {}{bars}", text(&onset::when(when))));
        for before in &when.preceded_by {
            facts.push(format!("Began {}", text(&onset::after(before))));
        }
    }
    for (name, value) in &finding.figures {
        let (label, value) = (format::figure_label(name), format::figure(name, value));
        facts.push(format!("{}: {}", text(&label), text(&value)));
    }
    if !finding.explained_by.is_empty() {
        facts.push(format!(
            "Caused by: {}",
            text(&finding.explained_by.join(", "))
        ));
    }
    facts
}

fn sender(step: &EvidenceView) -> &str {
    if step.is_from_client() {
        &step.connection.client
    } else {
        &step.connection.server
    }
}

fn connection(key: &ConnectionKey) -> String {
    format!(
        "{} {} → {}, from frame {}",
        text(&key.transport),
        text(&key.client),
        text(&key.server),
        key.first_frame
    )
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
