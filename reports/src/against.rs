//! Compares a document with the one of a good day: what is new, worse, gone or better.
//!
//! Captures differ in length and load, so findings are compared by their severity and by the share of
//! connections that they affect, figures by quantiles and rates.

use std::collections::BTreeSet;

use crate::document::{
    Against, Change, ConnectionKey, Document, FigureChange, FindingChange, FindingView,
    ResponseTimes,
};
use crate::words::format;

/// A share that grows or shrinks by less than this factor may be chance.
const TELLING: f64 = 1.5;

/// So many connections more or fewer are no single event.
const SEVERAL: u64 = 3;

/// What of `now` differs from `good`.
#[must_use]
pub fn compare(good: &Document, now: &Document) -> Against {
    let mut left: Vec<&FindingView> = good.findings.iter().collect();
    let mut findings = Vec::new();
    for finding in &now.findings {
        let known = left
            .iter()
            .position(|other| is_same_cause(other, finding))
            .map(|at| left.remove(at));
        let change = known.map_or(Some(Change::New), |known| change(good, known, now, finding));
        findings.extend(change.map(|change| FindingChange {
            change,
            rule: finding.rule.clone(),
            finding: Some(finding.id.clone()),
            title: finding.title.clone(),
            good_percent: known.map(|known| percent(good, known)),
            now_percent: Some(percent(now, finding)),
        }));
    }
    findings.extend(left.into_iter().map(|known| FindingChange {
        change: Change::Gone,
        rule: known.rule.clone(),
        finding: None,
        title: known.title.clone(),
        good_percent: Some(percent(good, known)),
        now_percent: None,
    }));
    findings.sort_by_key(|one| one.change);
    let names = good.capture.files.iter().map(|file| file.name.as_str());
    Against {
        good: names.collect::<Vec<_>>().join(", "),
        findings,
        figures: figures(good, now),
    }
}

/// One rule on the same servers, or on the same clients where servers changed.
fn is_same_cause(one: &FindingView, other: &FindingView) -> bool {
    let ends = |finding: &FindingView, end: fn(&ConnectionKey) -> &str| -> BTreeSet<String> {
        let address = |key| end(key).rsplit_once(':').map_or(end(key), |(ip, _)| ip);
        let of_all = finding.connections.iter().map(address);
        of_all.map(str::to_owned).collect()
    };
    let shares = |end| !ends(one, end).is_disjoint(&ends(other, end));
    let without = one.connections.is_empty() && other.connections.is_empty();
    one.rule == other.rule && (without || shares(|key| &key.server) || shares(|key| &key.client))
}

/// Which way a finding of both captures changed, if it did.
fn change(
    good: &Document,
    known: &FindingView,
    now: &Document,
    finding: &FindingView,
) -> Option<Change> {
    if finding.severity != known.severity {
        let is_worse = finding.severity > known.severity;
        return Some(if is_worse {
            Change::Worse
        } else {
            Change::Better
        });
    }
    if (finding.connection_count).abs_diff(known.connection_count) < SEVERAL {
        return None;
    }
    let (before, after) = (percent(good, known), percent(now, finding));
    if after >= before * TELLING {
        Some(Change::Worse)
    } else if before >= after * TELLING {
        Some(Change::Better)
    } else {
        None
    }
}

/// The share of a capture's connections that a finding affects, in percent.
fn percent(document: &Document, finding: &FindingView) -> f64 {
    let all = document.connection_total.max(1) as f64;
    (finding.connection_count as f64 / all * 100.0).min(100.0)
}

/// A quantile by its name.
type Quantile = (&'static str, fn(&ResponseTimes) -> f64);

/// Figures that both captures have.
fn figures(good: &Document, now: &Document) -> Vec<FigureChange> {
    let mut all = Vec::new();
    let mut add = |name: &str, good: Option<f64>, now: Option<f64>| {
        let both = good.zip(now);
        all.extend(both.map(|(good, now)| FigureChange {
            name: name.to_owned(),
            good,
            now,
        }));
    };
    let quantiles: [Quantile; 3] = [
        ("p50", |times| times.p50_ms),
        ("p95", |times| times.p95_ms),
        ("p99", |times| times.p99_ms),
    ];
    for (name, quantile) in quantiles {
        let of = |document: &Document| document.response_times.as_ref().map(quantile);
        add(&format!("response_{name}_ms"), of(good), of(now));
    }
    for (name, quantile) in quantiles {
        let of = |document: &Document| document.round_trip_times.as_ref().map(quantile);
        add(&format!("round_trip_{name}_ms"), of(good), of(now));
    }
    let per_second = |document: &Document, count: u64| {
        let seconds = document.capture.duration_s;
        (seconds > 0.0).then(|| count as f64 / seconds)
    };
    let rate = |document: &Document| per_second(document, document.connection_total);
    add("connections_per_second", rate(good), rate(now));
    let rate = |document: &Document| per_second(document, document.capture.packets);
    add("packets_per_second", rate(good), rate(now));
    all
}

/// What changed, a line each, for renderers.
#[must_use]
pub fn sentences(against: &Against) -> Vec<String> {
    let mut lines: Vec<String> = against.findings.iter().map(finding_sentence).collect();
    if lines.is_empty() {
        lines.push("No finding is new, worse, gone or better".to_owned());
    }
    lines.extend(against.figures.iter().filter_map(figure_sentence));
    lines
}

fn finding_sentence(one: &FindingChange) -> String {
    let share =
        |percent: f64| format!("{} of the connections", format::percentage(percent / 100.0));
    let shares = match (one.good_percent, one.now_percent) {
        (Some(good), Some(now)) => format!("{} then, {} now", share(good), share(now)),
        (Some(good), None) => format!("{} then", share(good)),
        (None, Some(now)) => format!("{} now", share(now)),
        (None, None) => return format!("{}: {}", one.change.as_str(), one.title),
    };
    let id = one
        .finding
        .as_ref()
        .map_or(String::new(), |id| format!(" {id}"));
    format!("{}{id}: {} ({shares})", one.change.as_str(), one.title)
}

/// A figure that changed by half or more.
fn figure_sentence(one: &FigureChange) -> Option<String> {
    let (small, large) = (one.good.min(one.now), one.good.max(one.now));
    let value = |value: f64| match one.name.strip_suffix("_ms") {
        Some(_) => format::seconds(value / 1e3),
        None => format!("{value:.1}"),
    };
    let name = one.name.trim_end_matches("_ms").replace('_', " ");
    (large >= small * TELLING)
        .then(|| format!("{name}: {} then, {} now", value(one.good), value(one.now)))
}
