//! The summary on a terminal: verdict, caveats and ranked findings in about 30 lines.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style as Ansi};

use crate::against::sentences;
use crate::document::{Document, FindingView, Severity};
use crate::words::{escape, format};

/// How the terminal wants it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Style {
    /// Columns; text is broken to fit.
    pub width: usize,
    /// Whether colour is wanted.
    pub colour: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            width: 80,
            colour: false,
        }
    }
}

/// Findings shown in full; further ones take a line each.
const FULL_FINDINGS: usize = 3;

/// Findings listed at all.
const LISTED_FINDINGS: usize = 10;

/// Renders the summary. Text from packets cannot steer the terminal.
#[must_use]
pub fn render(document: &Document, style: Style) -> String {
    let mut screen = Screen {
        out: String::new(),
        style,
    };
    screen.verdict(document);
    screen.caveats(document);
    screen.findings(&document.findings);
    screen.actions(document);
    screen.against(document);
    screen.host_files(document);
    screen.checks(document);
    screen.out
}

struct Screen {
    out: String,
    style: Style,
}

impl Screen {
    fn verdict(&mut self, document: &Document) {
        let capture = &document.capture;
        let name = match capture.files.as_slice() {
            [] => "capture".to_owned(),
            [only] => only.name.clone(),
            [first, rest @ ..] => format!("{} and {} more", first.name, rest.len()),
        };
        let facts = format!(
            "{name}: {}, {}, {}, {}",
            format::counted(capture.packets, "packet"),
            format::size(capture.bytes as f64),
            format::seconds(capture.duration_s),
            format::counted(document.connection_total, "connection"),
        );
        self.paragraph("", Ansi::new().dimmed(), &facts);
        let ansi = document
            .verdict
            .severity
            .map_or(ansi_good(), severity_ansi)
            .bold();
        self.paragraph("", ansi, &document.verdict.sentence);
    }

    fn caveats(&mut self, document: &Document) {
        for quality in &document.capture.quality {
            let text = format!("{}: {}", quality.kind, quality.note);
            self.labelled("  ! ", AnsiColor::Yellow.on_default(), "", &text);
        }
        for notice in &document.notices {
            self.labelled("  i ", AnsiColor::Cyan.on_default(), "", notice);
        }
    }

    fn findings(&mut self, findings: &[FindingView]) {
        for (index, finding) in findings.iter().take(LISTED_FINDINGS).enumerate() {
            if index < FULL_FINDINGS {
                self.out.push('\n');
                self.heading(finding);
                self.body(finding);
            } else {
                if index == FULL_FINDINGS {
                    self.out.push('\n');
                }
                self.heading(finding);
            }
        }
        if let Some(more) = findings
            .len()
            .checked_sub(LISTED_FINDINGS)
            .filter(|&n| n > 0)
        {
            let text = format!("… and {more} more in the report");
            self.paragraph("    ", Ansi::new().dimmed(), &text);
        }
    }

    /// How long requests took, and the slowest of them by its steps.
    fn actions(&mut self, document: &Document) {
        let Some(actions) = &document.actions else {
            return;
        };
        let Some(slowest) = actions.slowest.first() else {
            return;
        };
        self.out.push('\n');
        if let Some(total) = actions.total() {
            let text = format!(
                "p50 {}, p95 {}, slowest {} ({} seen to the end)",
                format::duration(total.p50_ms),
                format::duration(total.p95_ms),
                format::duration(total.max_ms),
                format::counted(total.count, "request"),
            );
            self.labelled("", Ansi::new(), "Requests  ", &text);
        }
        let text = format!(
            "{} for {}: {}; frame {}",
            slowest.took(),
            slowest.what(),
            slowest.in_words(),
            slowest.frame
        );
        self.labelled("", Ansi::new(), "Slowest   ", &text);
    }

    fn against(&mut self, document: &Document) {
        let Some(against) = &document.against else {
            return;
        };
        self.out.push('\n');
        let good = format!("against {}:", against.good);
        self.paragraph("", Ansi::new().bold(), &good);
        for line in sentences(against) {
            self.labelled("    ", Ansi::new(), "", &line);
        }
    }

    fn heading(&mut self, finding: &FindingView) {
        let mark = severity_ansi(finding.severity);
        let label = format!(
            "{:<4}{:<9}",
            escape::terminal(&finding.id),
            finding.severity.as_str()
        );
        self.labelled(&label, mark, "", &finding.title);
    }

    fn body(&mut self, finding: &FindingView) {
        let indent = "    ";
        self.paragraph(indent, Ansi::new(), &first_sentences(&finding.summary, 240));
        if let Some(cost) = format::cost_phrase(&finding.cost) {
            self.labelled(indent, Ansi::new(), "impact    ", &cost);
        }
        if let Some(what_if) = &finding.what_if {
            self.labelled(indent, Ansi::new(), "without   ", &what_if.sentence());
        }
        if let Some(when) = &finding.onset {
            let bars = when.bars().map(|bars| format!(" {bars}"));
            let text = format!("{}{}", when.when(), bars.unwrap_or_default());
            self.labelled(indent, Ansi::new(), "when      ", &text);
            if let Some(before) = when.preceded_by.first() {
                self.labelled(indent, Ansi::new(), "after     ", &before.phrase());
            }
        }
        let mut evidence = format::confidence(finding.confidence);
        if let Some(look) = finding.look() {
            let _ = write!(evidence, "; {look}");
        }
        self.labelled(indent, Ansi::new(), "evidence  ", &evidence);
        if let Some(remedy) = finding.remedy.first() {
            let advice = format::advice(&remedy.product, &remedy.text);
            let mut advice = first_sentences(&advice, 240);
            if let Some(setting) = &remedy.setting {
                advice = format!("{}: {setting}", advice.trim_end_matches('.'));
            }
            self.labelled(indent, Ansi::new(), "fix       ", &advice);
        }
        // The first line decides most.
        if let Some(line) = finding.host_evidence.iter().flatten().next() {
            let (says, note) = (line.says.as_str(), &line.note);
            let text = format!("{says}: {note} ({}:{})", line.file, line.line);
            self.labelled(indent, Ansi::new(), "hosts     ", &text);
        }
        if !finding.explained_by.is_empty() {
            let causes = finding.explained_by.join(", ");
            self.labelled(indent, Ansi::new(), "cause     ", &format!("see {causes}"));
        }
    }

    /// What became of host files, the used ones in number.
    fn host_files(&mut self, document: &Document) {
        let Some(files) = &document.host_evidence else {
            return;
        };
        let used = files.iter().filter(|file| file.used > 0).count();
        let text = format!("{used} of {} host files used", files.len());
        self.out.push('\n');
        self.labelled("", Ansi::new(), "What the hosts say  ", &text);
        for file in files.iter().filter(|file| file.used == 0).take(4) {
            let text = format!("{} ({}): {}", file.file, file.kind, file.note);
            self.labelled("  ", Ansi::new(), "", &text);
        }
    }

    fn checks(&mut self, document: &Document) {
        let clean: Vec<_> = document
            .checks
            .iter()
            .filter(|check| check.findings == 0 && check.assessed > 0 && check.failure.is_none())
            .map(|check| check.rule.as_str())
            .collect();
        let blind: Vec<_> = document
            .checks
            .iter()
            .filter(|check| check.assessed == 0 && check.findings == 0 || check.failure.is_some())
            .map(|check| check.rule.as_str())
            .collect();
        if !clean.is_empty() || !blind.is_empty() {
            self.out.push('\n');
        }
        // In full only when there is nothing else to read.
        let limit = if document.findings.is_empty() {
            usize::MAX
        } else {
            6
        };
        self.rule_list("Checked, nothing found  ", &clean, limit);
        self.rule_list("Not assessed            ", &blind, limit);
    }

    fn rule_list(&mut self, label: &str, rules: &[&str], limit: usize) {
        if rules.is_empty() {
            return;
        }
        let mut text = rules[..rules.len().min(limit)].join(", ");
        if rules.len() > limit {
            let _ = write!(text, " and {} more", rules.len() - limit);
        }
        self.labelled("", Ansi::new(), label, &text);
    }

    /// Text broken to the width, every line indented.
    fn paragraph(&mut self, indent: &str, ansi: Ansi, text: &str) {
        for line in wrapped(
            text,
            self.style.width.saturating_sub(indent.chars().count()),
        ) {
            self.out.push_str(indent);
            self.painted(ansi, &line);
            self.out.push('\n');
        }
    }

    /// A label, then text broken to the rest of the width and aligned behind the label.
    fn labelled(&mut self, mark: &str, ansi: Ansi, label: &str, text: &str) {
        let indent = mark.chars().count() + label.chars().count();
        let lines = wrapped(text, self.style.width.saturating_sub(indent));
        for (index, line) in lines.iter().enumerate() {
            if index == 0 {
                self.painted(ansi, mark);
                self.painted(Ansi::new().dimmed(), label);
            } else {
                self.out.extend(std::iter::repeat_n(' ', indent));
            }
            self.out.push_str(line);
            self.out.push('\n');
        }
    }

    fn painted(&mut self, ansi: Ansi, text: &str) {
        if self.style.colour && !text.trim().is_empty() && ansi != Ansi::new() {
            let _ = write!(self.out, "{ansi}{text}{ansi:#}");
        } else {
            self.out.push_str(text);
        }
    }
}

fn ansi_good() -> Ansi {
    AnsiColor::Green.on_default()
}

fn severity_ansi(severity: Severity) -> Ansi {
    match severity {
        Severity::Critical | Severity::High => AnsiColor::Red.on_default(),
        Severity::Medium => AnsiColor::Yellow.on_default(),
        Severity::Low => AnsiColor::Blue.on_default(),
        Severity::Info => AnsiColor::Cyan.on_default(),
    }
}

/// As many whole sentences as fit into `limit` characters, at least a cut first one.
fn first_sentences(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let end = text
        .char_indices()
        .nth(limit + 1)
        .map_or(text.len(), |(at, _)| at);
    match text[..end].rfind(". ") {
        Some(end) => text[..=end].to_owned(),
        None => format::shortened(text, limit),
    }
}

/// Lines of at most `width` characters, broken at spaces, longer words anywhere. Escaped first,
/// so that an escape cannot be cut into something else.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(16);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in escape::terminal(text)
        .split(' ')
        .filter(|word| !word.is_empty())
    {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            lines.push(String::new());
            used = 0;
        }
        for (index, character) in word.chars().enumerate() {
            if used >= width {
                lines.push(String::new());
                used = 0;
            }
            if let Some(line) = lines.last_mut() {
                if index == 0 && used > 0 {
                    line.push(' ');
                    used += 1;
                }
                line.push(character);
                used += 1;
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_never_exceed_the_width() {
        let text = format!("a short one and {} then more", "x".repeat(70));
        let lines = wrapped(&text, 30);
        assert!(
            lines.iter().all(|line| line.chars().count() <= 30),
            "{lines:?}"
        );
        assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""));
    }

    #[test]
    fn sentences_are_kept_whole_where_possible() {
        assert_eq!(
            first_sentences("One. Two is longer. Three", 20),
            "One. Two is longer."
        );
        assert_eq!(first_sentences("Nothing to break here", 10), "Nothing t…");
    }
}
