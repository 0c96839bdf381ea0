//! The summary for a terminal: about 30 lines.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style as Ansi};

use super::{ComparisonDocument, words};
use crate::document::Severity;
use crate::render::terminal::Style;
use crate::words::escape;

/// Findings listed.
const LISTED: usize = 8;

/// Renders the summary. Text from packets cannot steer the terminal.
#[must_use]
pub fn render(document: &ComparisonDocument, style: Style) -> String {
    let mut screen = Screen {
        out: String::new(),
        style,
    };
    screen.line(0, Ansi::new().dimmed(), &words::scope(document));
    let colour = document.verdict.severity.map_or(AnsiColor::Green, colour);
    screen.line(0, colour.on_default().bold(), &document.verdict.sentence);
    screen.out.push('\n');
    for hop in &document.hops {
        for (name, way) in words::ways(hop) {
            let text = format!(
                "{name}: {} segments, lost {}, delay {}",
                way.segments,
                words::lost(way),
                words::delay(way.delay_ms.as_ref()),
            );
            screen.line(2, Ansi::new(), &text);
        }
        if let Some(text) = words::requests(hop) {
            screen.line(2, Ansi::new(), &text);
        }
    }
    for clock in &document.clocks {
        screen.line(2, Ansi::new().dimmed(), &words::clock(clock));
    }
    for text in words::unpaired(document).iter().chain(&document.notices) {
        screen.line(2, AnsiColor::Yellow.on_default(), text);
    }
    if !document.findings.is_empty() {
        screen.out.push('\n');
    }
    for placed in document.findings.iter().take(LISTED) {
        let finding = &placed.finding;
        let head = format!(
            "{} {} {}",
            finding.id,
            finding.severity.as_str(),
            finding.title
        );
        screen.line(0, colour_of(finding.severity), &head);
        screen.line(
            3,
            Ansi::new(),
            &format!("{} ({})", words::place(placed), finding.rule),
        );
        if finding.severity >= Severity::Low {
            screen.line(3, Ansi::new(), &finding.summary);
            let frames: Vec<String> = finding
                .evidence
                .iter()
                .take(6)
                .map(|one| words::frame(one.point.as_ref(), one.frame))
                .collect();
            if !frames.is_empty() {
                screen.line(
                    3,
                    Ansi::new().dimmed(),
                    &format!("Evidence: {}", frames.join(", ")),
                );
            }
            if let Some(line) = finding.host_evidence.iter().flatten().next() {
                screen.line(3, Ansi::new(), &words::host_line(line));
            }
        }
    }
    if document.findings.len() > LISTED {
        let more = document.findings.len() - LISTED;
        screen.line(
            0,
            Ansi::new(),
            &format!("{more} more findings are in the report"),
        );
    }
    screen.out
}

const fn colour(severity: Severity) -> AnsiColor {
    match severity {
        Severity::Critical | Severity::High => AnsiColor::Red,
        Severity::Medium => AnsiColor::Yellow,
        Severity::Low | Severity::Info => AnsiColor::Cyan,
    }
}

fn colour_of(severity: Severity) -> Ansi {
    colour(severity).on_default().bold()
}

struct Screen {
    out: String,
    style: Style,
}

impl Screen {
    /// A paragraph, broken to fit and indented.
    fn line(&mut self, indent: usize, ansi: Ansi, text: &str) {
        let text = escape::terminal(text).into_owned();
        let room = self.style.width.saturating_sub(indent).max(20);
        let mut rows: Vec<String> = vec![String::new()];
        for word in text.split(' ') {
            let row = rows.last().map_or(0, |row| row.chars().count());
            if row > 0 && row + 1 + word.chars().count() > room {
                rows.push(String::new());
            }
            if let Some(row) = rows.last_mut() {
                if !row.is_empty() {
                    row.push(' ');
                }
                row.push_str(word);
            }
        }
        for row in rows {
            let pad = " ".repeat(indent);
            // Writing to a string cannot fail.
            let _ = if self.style.colour {
                writeln!(self.out, "{pad}{ansi}{row}{ansi:#}")
            } else {
                writeln!(self.out, "{pad}{row}")
            };
        }
    }
}
