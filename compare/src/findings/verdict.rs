//! The sentence that ends the argument.

use rules::finding::Severity;
use rules::text::{many, time};

use super::view::span_text;
use crate::result::{Comparison, Place, PlacedFinding, PointSummary, Verdict, WaySummary};

/// Concludes from everything else that was found.
pub(super) fn verdict(comparison: &Comparison) -> Verdict {
    let severity = comparison
        .findings
        .iter()
        .map(|one| one.finding.severity)
        .max();
    let sentence = if comparison.connections.is_empty() {
        nothing_in_common(comparison)
    } else {
        match worst(comparison) {
            Some(finding) if finding.finding.rule == "loss-between" => losses(comparison, finding),
            Some(finding) => other(comparison, finding),
            None => healthy(comparison),
        }
    };
    Verdict { sentence, severity }
}

/// The first finding that somebody would argue about.
fn worst(comparison: &Comparison) -> Option<&PlacedFinding> {
    let grave = |one: &&PlacedFinding| one.finding.severity >= Severity::Low;
    let findings = comparison.findings.iter();
    findings
        .filter(grave)
        .find(|one| one.finding.rule != "capture-missed")
}

fn names(comparison: &Comparison) -> String {
    let names: Vec<String> = comparison
        .points
        .iter()
        .map(|point| format!("`{}`", point.name))
        .collect();
    match &names[..] {
        [rest @ .., last] if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.join(""),
    }
}

fn nothing_in_common(comparison: &Comparison) -> String {
    let has_none = |point: &PointSummary| point.unpaired == 0;
    if !comparison.notices.is_empty() && comparison.points.iter().all(has_none) {
        return format!(
            "Nothing can be compared: the captures at {} hold no connection that can be followed.",
            names(comparison)
        );
    }
    let counts: Vec<String> = comparison
        .points
        .iter()
        .map(|point| format!("{} at `{}`", many(point.unpaired, "connection"), point.name))
        .collect();
    format!(
        "These captures have no traffic in common: of {}, none matches.",
        counts.join(" and ")
    )
}

/// Losses by hop and direction, and that there are none elsewhere.
fn losses(comparison: &Comparison, worst: &PlacedFinding) -> String {
    let mut parts: Vec<(u64, String)> = Vec::new();
    let mut clean = 0;
    for hop in &comparison.hops {
        for (way, summary) in hop.ways.iter().enumerate() {
            if summary.total.proved_lost() == 0 {
                clean += usize::from(summary.total.undecided == 0);
                continue;
            }
            let (a, b) = (
                &comparison.points[hop.from].name,
                &comparison.points[hop.to].name,
            );
            parts.push((summary.total.proved_lost(), lost(summary, way, a, b)));
        }
    }
    parts.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    if parts.is_empty() {
        return format!("{}.", worst.finding.title);
    }
    let texts: Vec<String> = parts.into_iter().map(|(_, text)| text).collect();
    let ending = if clean > 0 {
        "; nothing is lost elsewhere."
    } else {
        "."
    };
    format!("{}{ending}", texts.join("; "))
}

fn lost(summary: &WaySummary, way: usize, a: &str, b: &str) -> String {
    let direction = if way == 0 {
        "client to server"
    } else {
        "server to client"
    };
    format!(
        "{} of {} from {direction} {} lost between `{a}` and `{b}`{}",
        summary.total.proved_lost(),
        many(summary.total.segments, "segment"),
        if summary.total.proved_lost() == 1 {
            "is"
        } else {
            "are"
        },
        span_text(summary.loss_span),
    )
}

fn other(comparison: &Comparison, finding: &PlacedFinding) -> String {
    let name = |place: usize| &comparison.points[place].name;
    let title = finding.finding.title.trim_end_matches('.');
    let place = match finding.place {
        Place::Between(a, b)
            if title.contains(name(a).as_str()) && title.contains(name(b).as_str()) =>
        {
            String::new()
        }
        Place::Between(a, b) => format!(" — between `{}` and `{}`", name(a), name(b)),
        Place::At(point) => format!(" — at or beyond `{}`", name(point)),
    };
    let lost: u64 = comparison
        .hops
        .iter()
        .flat_map(|hop| &hop.ways)
        .map(|way| way.total.proved_lost() + way.total.undecided)
        .sum();
    let rest = if lost == 0 {
        format!("; nothing is lost between {}", names(comparison))
    } else {
        String::new()
    };
    format!("{title}{place}{rest}.")
}

/// What a proxy forwards, where that is all that the points have in common.
fn forwarded(comparison: &Comparison) -> Option<String> {
    let (hop, requests) = comparison
        .hops
        .iter()
        .find_map(|hop| Some((hop, hop.requests.as_ref()?)))?;
    let median = |delays: Option<crate::Delays>| delays.map(|delays| time(delays.median));
    let (a, b) = (
        &comparison.points[hop.from].name,
        &comparison.points[hop.to].name,
    );
    Some(format!(
        "A proxy between `{a}` and `{b}` forwards {}: responses take {} at `{a}` and {} at `{b}`, so \
        that the proxy and the path to it add {} (medians).",
        many(requests.requests, "request"),
        median(requests.client_leg_ms)?,
        median(requests.server_leg_ms)?,
        median(requests.proxy_ms)?,
    ))
}

fn healthy(comparison: &Comparison) -> String {
    let ways = || comparison.hops.iter().flat_map(|hop| &hop.ways);
    let segments: u64 = ways().map(|way| way.total.segments).sum();
    let delivered: u64 = ways().map(|way| way.total.delivered).sum();
    let missed: u64 = comparison.points.iter().map(|point| point.missed).sum();
    let delays: Vec<String> = ways()
        .filter_map(|way| way.total.delay_ms)
        .map(|delay| time(delay.median))
        .collect();
    let took = match &delays[..] {
        [out, back] => format!(", in {out} one way and {back} the other (medians)"),
        _ => String::new(),
    };
    let seen = if missed > 0 {
        format!("; the captures missed {}", many(missed, "packet"))
    } else {
        String::new()
    };
    if segments == 0
        && let Some(sentence) = forwarded(comparison)
    {
        return sentence;
    }
    let arrived = if delivered == segments {
        format!("all {segments} segments")
    } else {
        format!("{delivered} of {}", many(segments, "segment"))
    };
    let lost = if ways().any(|way| way.total.undecided > 0) {
        "No loss is proved"
    } else {
        "Nothing is lost"
    };
    format!(
        "{lost} between {}: {arrived} of {} are seen at both{took}{seen}.",
        names(comparison),
        many(comparison.connections.len() as u64, "connection"),
    )
}
