//! The report in at most fifteen lines, for a chat.

use crate::document::{Document, FindingView};
use crate::words::{escape, format};

/// Lines at most.
const LINES: usize = 15;

/// Findings at most; each takes one line.
const FINDINGS: usize = 6;

/// Caveats at most.
const CAVEATS: usize = 2;

/// Renders the summary: Markdown that also reads well where Markdown is not rendered.
#[must_use]
pub fn render(document: &Document) -> String {
    let capture = &document.capture;
    let sentence = format::shortened(&document.verdict.sentence, 300);
    let mut lines = vec![format!("**{}**", escape::markdown(&sentence))];
    let start = capture.start.as_deref().map(format::date_time);
    lines.push(escape::markdown(&format!(
        "{}{}, {}, {}.",
        start.map_or_else(String::new, |start| format!("{start}, ")),
        format::seconds(capture.duration_s),
        format::counted(capture.packets, "packet"),
        format::counted(document.connection_total, "connection"),
    )));
    for quality in capture.quality.iter().take(CAVEATS) {
        let note = format::shortened(&quality.note, 160);
        lines.push(format!(
            "Caveat, {}: {}",
            escape::markdown(&quality.kind),
            escape::markdown(&note)
        ));
    }
    if let Some(more) = capture.quality.len().checked_sub(CAVEATS + 1) {
        let more = format::counted(more as u64 + 1, "more caveat");
        lines.push(format!("{more} in the report."));
    }
    lines.extend(document.findings.iter().take(FINDINGS).map(finding));
    if let Some(more) = document.findings.len().checked_sub(FINDINGS + 1) {
        let more = format::counted(more as u64 + 1, "more finding");
        lines.push(format!("{more} in the report."));
    }
    if let Some(first) = document.findings.first()
        && let Some(remedy) = first.remedy.first()
    {
        let text = format::shortened(&format::advice(&remedy.product, &remedy.text), 240);
        let mut line = format!("First fix: {}", escape::markdown(&text));
        if let Some(setting) = &remedy.setting {
            line.push_str(&format!(" {}", escape::markdown_code(setting)));
        }
        lines.push(line);
    }
    if let Some(first) = document.findings.first()
        && !first.filter.is_empty()
        && first.filter.chars().count() <= 300
    {
        let filter = escape::markdown_code(&first.filter);
        lines.push(format!("In Wireshark: {filter}"));
    }
    debug_assert!(lines.len() <= LINES, "{} lines", lines.len());
    // One list: single lines would run together where Markdown is rendered.
    lines.join("\n- ") + "\n"
}

fn finding(finding: &FindingView) -> String {
    let cost = format::cost_phrase(&finding.cost);
    let mut line = format!(
        "{} {}: {}",
        escape::markdown(&finding.id),
        finding.severity.as_str(),
        escape::markdown(&format::shortened(&finding.title, 160))
    );
    if let Some(cost) = cost {
        line.push_str(&format!("; {}", escape::markdown(&cost)));
    }
    line.push_str(&format!("; {}", format::confidence(finding.confidence)));
    if let Some(look) = finding.look() {
        line.push_str(&format!("; {look}"));
    }
    line
}
