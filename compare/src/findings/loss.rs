//! `loss-between`.

use rules::finding::Severity;
use rules::text::{many, number, percent, share};

use super::draft::Draft;
use super::view::{OnWay, Way, span_text};
use super::{Limits, meta};
use crate::result::PlacedFinding;
use crate::verdict::{Case, Fate, What};

/// Losses cited, at most.
const CITED: usize = 6;

/// Segments lost in a row, with none delivered after them, from which a connection is cut.
const CUT: u64 = 3;

/// The loss of one way.
pub(super) fn loss(way: Way<'_>, limits: &Limits<'_>) -> Option<PlacedFinding> {
    let total = &way.summary.total;
    let lost = total.proved_lost();
    if lost == 0 {
        return None;
    }
    let (up, down) = way.names();
    let part = share(lost, total.segments);
    let cut = way.connections().filter(is_cut).count() as u64;
    let severity = severity(part * 100.0, lost, cut, limits);
    let mut draft = Draft::new(way.facts, meta("loss-between"), way.place, way.up);
    let mut worst: Vec<(OnWay<'_>, &Case)> = way.cases(Fate::Lost).collect();
    for (on, case) in &worst {
        draft.affects(on.group, case.units);
    }
    // Data first: its loss is proved by what follows.
    worst.sort_by_key(|(_, case)| (case.what, case.time, case.up));
    for (on, case) in worst.iter().take(CITED) {
        let Some(frame) = case.up else { continue };
        let note = format!("{} leaves {up} and never reaches {down}", kind(case.what));
        draft.cite(on.group, way.up, on.role, frame, note);
    }
    let title = format!(
        "{} of segments {} are lost between {up} and {down}",
        percent(part),
        way.direction(),
    );
    let summary = format!(
        "{} of {} that left {up} {} never reached {down}{}; {}.",
        lost,
        many(total.segments, "segment"),
        way.direction(),
        span_text(way.summary.loss_span),
        many(draft.group_count(), "connection") + " lost some",
    );
    let draft = draft
        .words(title, summary)
        .severity(severity)
        .occurrences(lost)
        .figure("lost", number(lost))
        .figure("segments", number(total.segments))
        .figure("lost_percent", part * 100.0)
        .figure("connections_cut", number(cut))
        .because(format!(
            "{} of the same direction did reach {down}, so its capture was running",
            many(total.delivered, "segment")
        ))
        .advise(
            "network",
            "Check drop and error counters, queues and firewall logs of the devices between \
            the two points at these times.",
        );
    Some(draft.finish())
}

fn kind(what: What) -> &'static str {
    match what {
        What::Data => "segment",
        What::Acknowledgement => "acknowledgment",
        What::Reset => "reset",
        What::Datagram => "datagram",
        What::Icmp => "ICMP error",
    }
}

/// Whether the last segments of a connection in this direction were all lost.
fn is_cut(on: &OnWay<'_>) -> bool {
    let lost = on.judged.cases.iter().filter(|case| {
        case.fate == Fate::Lost
            && case.what == What::Data
            && on.judged.last_delivered.is_none_or(|last| case.time > last)
    });
    lost.map(|case| case.units).sum::<u64>() >= CUT
}

fn severity(part: f64, lost: u64, cut: u64, limits: &Limits<'_>) -> Severity {
    if cut > 0 || (part >= limits.of("loss-between", "high_percent") && lost > CUT) {
        Severity::High
    } else if part >= limits.of("loss-between", "medium_percent") && lost > CUT {
        Severity::Medium
    } else {
        Severity::Low
    }
}
