//! The roll-up as Markdown, for a ticket or a chat.

use std::fmt::Write as _;

use super::html::{facts, link, spark};
use super::{Rollup, Trouble};
use crate::words::escape::markdown as md;
use crate::words::format;

/// Renders the roll-up.
#[must_use]
pub fn render(rollup: &Rollup) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "# {}\n", md(&rollup.verdict));
    for (name, value) in facts(rollup) {
        let _ = writeln!(out, "- {name}: {}", md(&value));
    }
    for notice in &rollup.notices {
        let _ = writeln!(out, "- Note: {}", md(notice));
    }
    new_and_gone(rollup, &mut out);
    worst(rollup, &mut out);
    heat(rollup, &mut out);
    trends(rollup, &mut out);
    troubles("Not readable", &rollup.broken, &mut out);
    troubles("Read in part, or with a caveat", &rollup.caveats, &mut out);
    out
}

fn linked(name: &str, report: Option<&str>) -> String {
    match report {
        Some(report) => format!("[{}]({})", md(name), link(report)),
        None => md(name),
    }
}

fn new_and_gone(rollup: &Rollup, out: &mut String) {
    let Some(what) = &rollup.compared_with else {
        return;
    };
    let _ = writeln!(out, "\n## New since {}\n", md(what));
    if rollup.new.is_empty() {
        out.push_str("Nothing new.\n");
    }
    for one in &rollup.new {
        let _ = writeln!(
            out,
            "- **{}** {} at {}: {} ({})",
            one.severity.as_str(),
            md(&one.key.rule),
            md(&one.key.server),
            md(&one.title),
            linked(&one.set, one.report.as_deref())
        );
    }
    if !rollup.gone.is_empty() {
        out.push_str("\n## No longer seen\n\n");
    }
    for key in &rollup.gone {
        let _ = writeln!(out, "- {} at {}", md(&key.rule), md(&key.server));
    }
}

fn worst(rollup: &Rollup, out: &mut String) {
    if rollup.worst.is_empty() {
        return;
    }
    out.push_str("\n## Worst captures\n\n| capture set | severity | findings | in a sentence |\n|---|---|---:|---|\n");
    for one in &rollup.worst {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} |",
            linked(&one.name, one.report.as_deref()),
            one.severity.as_str(),
            one.findings,
            md(&one.verdict)
        );
    }
}

fn heat(rollup: &Rollup, out: &mut String) {
    if rollup.heat.rows.is_empty() {
        return;
    }
    let columns = &rollup.heat.columns;
    let from = columns.first().map_or("", String::as_str);
    let to = columns.last().map_or("", String::as_str);
    let _ = writeln!(
        out,
        "\n## What happened where and when ({from} to {to}, UTC)\n"
    );
    out.push_str("| rule | server | severity | sets | occurrences | over time |\n|---|---|---|---:|---:|---|\n");
    for row in &rollup.heat.rows {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            md(&row.rule),
            md(&row.server),
            row.severity.as_str(),
            format::count(row.sets),
            format::count(row.occurrences),
            spark(&row.cells)
        );
    }
}

fn trends(rollup: &Rollup, out: &mut String) {
    if rollup.days.len() < 2 || rollup.trends.is_empty() {
        return;
    }
    out.push_str("\n## Trends\n\n| rule | per day | last day | mean before | direction |\n|---|---|---:|---:|---|\n");
    for trend in &rollup.trends {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            md(&trend.rule),
            spark(&trend.per_day),
            format::count(trend.last_day),
            format::rounded(trend.mean_before),
            trend.direction
        );
    }
}

fn troubles(title: &str, list: &[Trouble], out: &mut String) {
    if list.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n## {title}\n");
    for one in list {
        let _ = writeln!(out, "- {}: {}", md(&one.name), md(&one.reason));
    }
}
