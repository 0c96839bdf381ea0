//! Phrases that all renderers of a comparison share.

use super::{
    ClockView, ComparisonDocument, DelayView, PathHopView, PlacedFindingView, RequestsView, WayView,
};
use crate::document::{HostFileRow, HostLine};
use crate::words::format;

/// A line of a host's file, as it supports, contradicts or names.
pub(super) fn host_line(line: &HostLine) -> String {
    format!(
        "{} ({}:{}): {} [{}]",
        line.says.as_str(),
        line.file,
        line.line,
        line.text.trim(),
        line.note
    )
}

/// What became of a host's file.
pub(super) fn host_file(file: &HostFileRow) -> String {
    let host = file
        .host
        .as_ref()
        .map(|host| format!(" of {host}"))
        .unwrap_or_default();
    let note = if file.note.is_empty() {
        String::new()
    } else {
        format!("; {}", file.note)
    };
    format!(
        "{} ({}){host}: {} of {} lines used{note}",
        file.file, file.kind, file.used, file.lines
    )
}

/// Where a finding happens, without markup.
pub(super) fn place(finding: &PlacedFindingView) -> String {
    match (&finding.between, &finding.at) {
        (Some([from, to]), _) => format!("between {from} and {to}"),
        (None, Some(point)) => format!("at or beyond {point}"),
        (None, None) => String::new(),
    }
}

/// `point:frame`.
pub(super) fn frame(point: Option<&String>, frame: u64) -> String {
    match point {
        Some(point) => format!("{point}:{frame}"),
        None => frame.to_string(),
    }
}

/// `median 20.4 ms (20.1–35.2 ms)`.
pub(super) fn delay(delay: Option<&DelayView>) -> String {
    match delay {
        Some(delay) => format!(
            "{} (least {}, 99th percentile {})",
            format::duration(delay.median),
            format::duration(delay.min),
            format::duration(delay.p99)
        ),
        None => "–".to_owned(),
    }
}

/// What is proved to be lost of a way: `9 of 312 (2.9 %)`.
pub(super) fn lost(way: &WayView) -> String {
    let lost = proved_lost(way);
    if lost == 0 {
        return "0".to_owned();
    }
    let share = lost as f64 / way.segments.max(1) as f64;
    format!(
        "{} of {} ({})",
        lost,
        way.segments,
        format::percentage(share)
    )
}

/// Segments that are lost for certain.
pub(super) const fn proved_lost(way: &WayView) -> u64 {
    way.lost.saturating_sub(way.undecided_lost)
}

/// What captures are proved to have missed of a way: `12`, or `12 and 3 missed or lost`.
pub(super) fn missed(way: &WayView) -> String {
    let likely = way.undecided.saturating_sub(way.undecided_lost);
    let missed = (way.missed_at_from + way.missed_at_to).saturating_sub(likely);
    match way.undecided {
        0 => missed.to_string(),
        open => format!("{missed} and {open} missed or lost"),
    }
}

/// Rewritten fields with their counts, by the names of the contract.
pub(super) fn changed(way: &WayView) -> String {
    let changed = &way.changed;
    let fields = [
        ("addresses", changed.addresses),
        ("ports", changed.ports),
        ("sequence numbers", changed.sequence_numbers),
        ("MSS", changed.mss),
        ("window scale", changed.window_scale),
        ("SACK", changed.sack_permitted),
        ("timestamps", changed.timestamps),
        ("options", changed.options),
        ("window", changed.window),
        ("DSCP", changed.dscp),
        ("ECN", changed.ecn),
        ("payload", changed.payload),
    ];
    let parts: Vec<String> = fields
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if parts.is_empty() {
        "–".to_owned()
    } else {
        parts.join(", ")
    }
}

/// The two directions of a hop with their names.
pub(super) fn ways(hop: &PathHopView) -> [(String, &WayView); 2] {
    [
        (format!("{} → {}", hop.from, hop.to), &hop.forward),
        (format!("{} → {}", hop.to, hop.from), &hop.backward),
    ]
}

/// What is known of a clock.
pub(super) fn clock(clock: &ClockView) -> String {
    let Some(offset) = clock.offset_ms else {
        return format!(
            "clocks of {} and {} cannot be compared: traffic in one direction only",
            clock.from, clock.to
        );
    };
    let error = clock.error_ms.map_or_else(String::new, |error| {
        format!(", to within {}", format::duration(error))
    });
    let ahead = if offset < 0.0 { "behind" } else { "ahead of" };
    let mut text = format!(
        "the clock of {} is {} {ahead} that of {}{error}",
        clock.to,
        format::duration(offset.abs()),
        clock.from,
    );
    if clock.skew_ppm != 0.0 {
        text.push_str(&format!(", skew {:.1} ppm", clock.skew_ppm));
    }
    for step in &clock.steps {
        let time = format::time_of_day(&step.time);
        text.push_str(&format!(
            ", step of {} ms at {time}",
            format::rounded(step.ms)
        ));
    }
    text
}

/// Where the time of forwarded requests goes.
pub(super) fn requests(hop: &PathHopView) -> Option<String> {
    let RequestsView {
        count,
        client_leg_ms,
        server_leg_ms,
        proxy_ms,
    } = hop.requests.as_ref()?;
    let median = |delay: &Option<DelayView>| {
        delay.map_or_else(|| "–".to_owned(), |delay| format::duration(delay.median))
    };
    Some(format!(
        "{} forwarded between {} and {}: answered in {} at {}, of which {} beyond {}; the proxy \
        and the way to it add {} (medians)",
        format::counted(*count, "request"),
        hop.from,
        hop.to,
        median(client_leg_ms),
        hop.from,
        median(server_leg_ms),
        hop.to,
        median(proxy_ms),
    ))
}

/// One line about what was compared.
pub(super) fn scope(document: &ComparisonDocument) -> String {
    let names: Vec<&str> = document
        .points
        .iter()
        .map(|point| point.name.as_str())
        .collect();
    format!(
        "{}: {} seen at two or more points (order by {})",
        names.join(" → "),
        format::counted(document.connection_total, "connection"),
        document.order_basis,
    )
}

/// One line about what has no partner, for each point that has any.
pub(super) fn unpaired(document: &ComparisonDocument) -> Vec<String> {
    let lone =
        |point: &&super::PointView| document.unpaired.get(&point.name).is_some_and(|n| *n > 0);
    let line = |point: &super::PointView| {
        let count = document.unpaired.get(&point.name).copied().unwrap_or(0);
        let reasons: Vec<String> = point
            .unpaired_reasons
            .iter()
            .map(|reason| format!("{} {}", reason.count, reason.name))
            .collect();
        let ambiguous = if point.ambiguous > 0 {
            format!(
                "; {} match several others equally well and are not paired",
                point.ambiguous
            )
        } else {
            String::new()
        };
        format!(
            "{} at {} without a partner: {}{ambiguous}",
            format::counted(count, "connection"),
            point.name,
            reasons.join("; ")
        )
    };
    document.points.iter().filter(lone).map(line).collect()
}
