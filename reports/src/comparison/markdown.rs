//! Markdown for the incident: the same order as the page, shorter.

use std::fmt::Write as _;

use super::{ComparedConnection, ComparisonDocument, PlacedFindingView, words};
use crate::words::escape::{markdown as text, markdown_code as code};
use crate::words::format;

/// Connections in the table.
const CONNECTIONS: usize = 20;

/// Renders the report.
#[must_use]
pub fn render(document: &ComparisonDocument) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "# {}\n", text(&document.verdict.sentence));
    let _ = writeln!(out, "{}.\n", text(&words::scope(document)));
    path(&mut out, document);
    findings(&mut out, document);
    connections(&mut out, document);
    quality(&mut out, document);
    out
}

/// At most 15 lines for a chat.
#[must_use]
pub fn summary(document: &ComparisonDocument) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "**{}**", text(&document.verdict.sentence));
    for hop in &document.hops {
        for (name, way) in words::ways(hop) {
            let _ = writeln!(
                out,
                "- {}: lost {}, delay {}",
                text(&name),
                words::lost(way),
                words::delay(way.delay_ms.as_ref())
            );
        }
    }
    for placed in document.findings.iter().take(5) {
        let finding = &placed.finding;
        let _ = writeln!(
            out,
            "- {} {}: {}",
            finding.id,
            finding.severity.as_str(),
            text(&finding.title)
        );
    }
    out.lines()
        .take(15)
        .fold(String::new(), |all, line| all + line + "\n")
}

fn path(out: &mut String, document: &ComparisonDocument) {
    let _ = writeln!(out, "## The path\n");
    let _ = writeln!(
        out,
        "| direction | segments | lost | missed by a capture | reordered | copied | made | delay | changed |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    );
    for hop in &document.hops {
        for (name, way) in words::ways(hop) {
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                text(&name),
                way.segments,
                words::lost(way),
                words::missed(way),
                way.reordered,
                way.duplicated,
                way.made,
                words::delay(way.delay_ms.as_ref()),
                words::changed(way)
            );
        }
    }
    out.push('\n');
    let lines = document.hops.iter().filter_map(words::requests);
    for line in lines.chain(document.clocks.iter().map(words::clock)) {
        let _ = writeln!(out, "- {}", text(&line));
    }
    for line in words::unpaired(document) {
        let _ = writeln!(out, "- {}", text(&line));
    }
    out.push('\n');
}

fn findings(out: &mut String, document: &ComparisonDocument) {
    let _ = writeln!(out, "## Findings\n");
    if document.findings.is_empty() {
        let _ = writeln!(out, "None.\n");
    }
    for placed in &document.findings {
        finding(out, placed);
    }
}

fn finding(out: &mut String, placed: &PlacedFindingView) {
    let finding = &placed.finding;
    let _ = writeln!(out, "### {} {}\n", finding.id, text(&finding.title));
    let _ = writeln!(
        out,
        "{}, {}, confidence {}, {}.\n",
        finding.severity.as_str(),
        text(&words::place(placed)),
        format::confidence(finding.confidence),
        code(&finding.rule),
    );
    if !finding.summary.is_empty() {
        let _ = writeln!(out, "{}\n", text(&finding.summary));
    }
    for why in &finding.why {
        let _ = writeln!(out, "- {}", text(why));
    }
    if !finding.evidence.is_empty() {
        let _ = writeln!(out, "\n| frame | time | what |\n| --- | --- | --- |");
    }
    for one in &finding.evidence {
        let _ = writeln!(
            out,
            "| {} | {} | {} |",
            text(&words::frame(one.point.as_ref(), one.frame)),
            format::time_of_day(&one.time),
            text(&one.note)
        );
    }
    let lines = finding.host_evidence.as_deref().unwrap_or_default();
    if !lines.is_empty() {
        let _ = writeln!(out, "\nWhat the hosts say:\n");
    }
    for line in lines {
        let _ = writeln!(out, "- {}", text(&words::host_line(line)));
    }
    for remedy in &finding.remedy {
        let _ = writeln!(
            out,
            "\n{}",
            text(&format::advice(&remedy.product, &remedy.text))
        );
    }
    out.push('\n');
}

fn connections(out: &mut String, document: &ComparisonDocument) {
    if document.connections.is_empty() {
        return;
    }
    let _ = writeln!(out, "## Connections\n");
    let _ = writeln!(
        out,
        "| client → server | paired by | lost | delay |\n| --- | --- | --- | --- |"
    );
    for connection in document.connections.iter().take(CONNECTIONS) {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} |",
            text(&ends(connection)),
            connection.paired_by,
            lost(connection),
            delays(connection)
        );
    }
    let more = document.connection_total.saturating_sub(CONNECTIONS as u64);
    if more > 0 {
        let _ = writeln!(out, "\n{more} more are in the JSON document.");
    }
    out.push('\n');
}

/// The ends as the first point saw them.
pub(super) fn ends(connection: &ComparedConnection) -> String {
    let first = connection.hops.first().map(|hop| hop.from.clone());
    let ends = first
        .and_then(|point| connection.at.get(&point))
        .or(connection.at.values().next());
    ends.map_or_else(String::new, |ends| {
        format!("{} → {}", ends.client, ends.server)
    })
}

/// Segments lost in both directions on all hops.
pub(super) fn lost(connection: &ComparedConnection) -> u64 {
    let hops = connection.hops.iter();
    hops.map(|hop| hop.client_to_server.lost + hop.server_to_client.lost)
        .sum()
}

/// Median delays of both directions, hop by hop.
pub(super) fn delays(connection: &ComparedConnection) -> String {
    let median = |way: &super::WayView| {
        way.delay_ms
            .map_or_else(|| "–".to_owned(), |delay| format::duration(delay.median))
    };
    let hops = connection.hops.iter();
    let texts: Vec<String> = hops
        .map(|hop| {
            format!(
                "{} / {}",
                median(&hop.client_to_server),
                median(&hop.server_to_client)
            )
        })
        .collect();
    texts.join("; ")
}

fn quality(out: &mut String, document: &ComparisonDocument) {
    let _ = writeln!(out, "## Captures\n");
    for point in &document.points {
        let files: Vec<String> = point.files.iter().map(|file| code(&file.name)).collect();
        let _ = writeln!(
            out,
            "- {}: {}, {} to {}, {}; {} must have passed unseen",
            text(&point.name),
            format::counted(point.packets, "packet"),
            point.start,
            point.end,
            files.join(", "),
            format::counted(point.missed, "packet"),
        );
        for file in point.host_evidence.iter().flatten() {
            let _ = writeln!(out, "  - {}", text(&words::host_file(file)));
        }
        for note in &point.quality {
            let _ = writeln!(out, "  - {}: {}", note.kind, text(&note.note));
        }
    }
    for notice in &document.notices {
        let _ = writeln!(out, "- {}", text(notice));
    }
}
