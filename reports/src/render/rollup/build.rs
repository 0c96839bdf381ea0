//! From the sets' summaries to the roll-up. Every list has a fixed order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::{
    Day, FindingKey, FindingSummary, HeatMap, HeatRow, Input, KeyView, Rollup, SetSummary, Totals,
    Trend, Trouble, Worst,
};
use crate::document::Severity;
use crate::words::format;

const HEAT_ROWS: usize = 40;
/// Columns beyond which the map goes from hours to days.
const HOUR_COLUMNS: usize = 48;
const WORST_SETS: usize = 25;
const CAVEATS: usize = 100;
/// Days shown; earlier ones are counted in the totals alone.
const DAYS: usize = 366;

/// Makes the roll-up.
#[must_use]
pub fn build(input: Input<'_>) -> Rollup {
    let totals = totals(&input.sets);
    let days = days(&input.sets);
    let severity = totals.findings.first().map(|(severity, _)| *severity);
    let (compared_with, new, gone) = compare(&input);
    let (caveats, caveats_left_out) = caveats(&input.sets);
    Rollup {
        verdict: verdict(&totals, new.len(), compared_with.as_deref()),
        severity,
        heat: heat_map(&input.sets),
        notices: notices(&input.sets),
        trends: trends(&input.sets, &days),
        worst: worst(&input.sets),
        run: input.run,
        broken: input.broken,
        totals,
        days,
        compared_with,
        new,
        gone,
        caveats,
        caveats_left_out,
    }
}

fn verdict(totals: &Totals, new: usize, compared_with: Option<&str>) -> String {
    let sets = format::counted(totals.sets, "capture set");
    let connections = format::counted(totals.connections, "connection");
    let Some((severity, count)) = totals.findings.first() else {
        return format!("Nothing found in {sets} with {connections}.");
    };
    let all: u64 = totals.findings.iter().map(|(_, count)| count).sum();
    let mut text = format!(
        "{} in {} of {sets}; {} of them {}.",
        format::counted(all, "finding"),
        format::count(totals.sets - totals.clean_sets),
        format::count(*count),
        severity.as_str()
    );
    if let Some(what) = compared_with {
        text.push_str(&format!(" {} new since {what}.", format::count(new as u64)));
    }
    text
}

fn totals(sets: &[&SetSummary]) -> Totals {
    let mut totals = Totals::default();
    let mut by_severity = BTreeMap::<Severity, u64>::new();
    for set in sets {
        totals.sets += 1;
        totals.files += set.files;
        totals.stored_bytes += set.stored_bytes;
        totals.packets += set.packets;
        totals.bytes += set.bytes;
        totals.connections += set.connections;
        totals.clean_sets += u64::from(set.findings.is_empty());
        for finding in &set.findings {
            *by_severity.entry(finding.severity).or_default() += 1;
        }
    }
    totals.findings = by_severity.into_iter().rev().collect();
    totals
}

fn days(sets: &[&SetSummary]) -> Vec<Day> {
    let mut days = BTreeMap::<&str, Day>::new();
    for set in sets {
        let day = days.entry(&set.date).or_insert_with(|| Day {
            date: set.date.clone(),
            ..Day::default()
        });
        day.sets += 1;
        day.connections += set.connections;
        day.packets += set.packets;
        day.retransmitted_segments += set.retransmitted_segments;
        day.resets += set.resets;
        day.failed_connections += set.failed_connections;
        day.findings += set.findings.len() as u64;
    }
    let skipped = days.len().saturating_sub(DAYS);
    days.into_values().skip(skipped).collect()
}

/// All findings with their sets.
fn findings<'a>(
    sets: &'a [&'a SetSummary],
) -> impl Iterator<Item = (&'a SetSummary, &'a FindingSummary)> {
    let of = |set: &&'a SetSummary| {
        let set: &'a SetSummary = set;
        set.findings.iter().map(move |finding| (set, finding))
    };
    sets.iter().flat_map(of)
}

/// The column a finding falls into.
fn column(set: &SetSummary, finding: &FindingSummary, by_hour: bool) -> String {
    let time = finding.time.as_deref().unwrap_or(&set.date);
    match (by_hour, time.get(..13)) {
        (true, Some(hour)) => format!("{}:00", hour.replace('T', " ")),
        _ => time.chars().take(10).collect(),
    }
}

fn heat_map(sets: &[&SetSummary]) -> HeatMap {
    let columns = |by_hour| -> BTreeSet<String> {
        findings(sets)
            .map(|(set, finding)| column(set, finding, by_hour))
            .collect()
    };
    let hours = columns(true);
    let by_hour = hours.len() <= HOUR_COLUMNS;
    let columns: Vec<String> = if by_hour { hours } else { columns(false) }
        .into_iter()
        .collect();
    let mut rows = BTreeMap::<FindingKey, HeatRow>::new();
    for (set, finding) in findings(sets) {
        let key = finding.key();
        let row = rows.entry(key.clone()).or_insert_with(|| HeatRow {
            rule: key.rule,
            server: key.server,
            severity: finding.severity,
            occurrences: 0,
            sets: 0,
            cells: vec![0; columns.len()],
        });
        row.severity = row.severity.max(finding.severity);
        row.occurrences += finding.occurrences;
        row.sets += 1;
        if let Ok(at) = columns.binary_search(&column(set, finding, by_hour)) {
            row.cells[at] += finding.occurrences;
        }
    }
    let mut rows: Vec<HeatRow> = rows.into_values().collect();
    rows.sort_by_key(|row| Reverse((row.severity, row.occurrences)));
    let rows_left_out = rows.len().saturating_sub(HEAT_ROWS) as u64;
    rows.truncate(HEAT_ROWS);
    HeatMap {
        columns,
        rows,
        rows_left_out,
    }
}

fn trends(sets: &[&SetSummary], days: &[Day]) -> Vec<Trend> {
    let mut rules = BTreeMap::<&str, Vec<u64>>::new();
    for (set, finding) in findings(sets) {
        let Ok(at) = days.binary_search_by(|day| day.date.cmp(&set.date)) else {
            continue;
        };
        let per_day = rules
            .entry(&finding.rule)
            .or_insert_with(|| vec![0; days.len()]);
        per_day[at] += finding.occurrences;
    }
    rules
        .into_iter()
        .map(|(rule, per_day)| trend(rule, per_day))
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts of findings are small")]
fn trend(rule: &str, per_day: Vec<u64>) -> Trend {
    let (last_day, before) = per_day.split_last().map_or((0, &[][..]), |(l, b)| (*l, b));
    let mean_before = before.iter().sum::<u64>() as f64 / before.len().max(1) as f64;
    let direction = match last_day as f64 {
        _ if before.is_empty() => "one day only",
        last if last > 2.0 * mean_before && last >= mean_before + 2.0 => "more",
        last if 2.0 * last < mean_before && last + 2.0 <= mean_before => "fewer",
        _ => "steady",
    };
    Trend {
        rule: rule.to_owned(),
        last_day,
        mean_before,
        direction,
        per_day,
    }
}

fn worst(sets: &[&SetSummary]) -> Vec<Worst> {
    let mut worst: Vec<Worst> = sets
        .iter()
        .filter_map(|set| {
            Some(Worst {
                name: set.name.clone(),
                severity: set.severity?,
                findings: set.findings.len() as u64,
                verdict: set.verdict.clone(),
                report: set.report.clone(),
            })
        })
        .collect();
    worst.sort_by(|a, b| {
        let rank = |one: &Worst| (one.severity, one.findings);
        rank(b).cmp(&rank(a)).then_with(|| a.name.cmp(&b.name))
    });
    worst.truncate(WORST_SETS);
    worst
}

/// What is new and what is gone, the most severe first.
fn compare(input: &Input<'_>) -> (Option<String>, Vec<KeyView>, Vec<FindingKey>) {
    let Some((what, before)) = &input.before else {
        return (None, Vec::new(), Vec::new());
    };
    let mut now = BTreeMap::<FindingKey, (&SetSummary, &FindingSummary)>::new();
    for (set, finding) in findings(&input.sets) {
        let kept = now.entry(finding.key()).or_insert((set, finding));
        if finding.severity > kept.1.severity {
            *kept = (set, finding);
        }
    }
    let gone = before.iter().filter(|key| !now.contains_key(key));
    let gone = gone.cloned().collect();
    let mut new: Vec<KeyView> = now
        .into_iter()
        .filter(|(key, _)| !before.contains(key))
        .map(|(key, (set, finding))| KeyView {
            key,
            severity: finding.severity,
            title: finding.title.clone(),
            set: set.name.clone(),
            report: set.report.clone(),
        })
        .collect();
    new.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.key.cmp(&b.key)));
    (Some(what.clone()), new, gone)
}

/// What every set says about the configuration.
fn notices(sets: &[&SetSummary]) -> Vec<String> {
    let Some((first, rest)) = sets.split_first() else {
        return Vec::new();
    };
    let everywhere = |notice: &&String| rest.iter().all(|set| set.notices.contains(notice));
    first.notices.iter().filter(everywhere).cloned().collect()
}

fn caveats(sets: &[&SetSummary]) -> (Vec<Trouble>, u64) {
    let of = |set: &&SetSummary| {
        let name = set.name.clone();
        let notes = set.caveats.clone();
        notes.into_iter().map(move |note| Trouble {
            name: name.clone(),
            reason: note.note,
        })
    };
    // Damage first: it is what somebody has to mend.
    let is_cut = |set: &SetSummary| set.caveats.iter().any(|note| note.kind == "cut-short");
    let (cut, other): (Vec<&&SetSummary>, Vec<_>) = sets.iter().partition(|set| is_cut(set));
    let mut all: Vec<Trouble> = cut.into_iter().chain(other).flat_map(of).collect();
    let left_out = all.len().saturating_sub(CAVEATS) as u64;
    all.truncate(CAVEATS);
    (all, left_out)
}
