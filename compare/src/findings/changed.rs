//! `changed-between`: one finding for each field that is rewritten between two points.

use rules::finding::Severity;
use rules::text::{many, number};

use super::draft::Draft;
use super::meta;
use super::view::Way;
use crate::result::PlacedFinding;

/// Frames cited, at most.
const CITED: usize = 6;

/// What is said of a field: name in the contract, name for people, severity, what it means.
const FIELDS: [(&str, &str, Severity, &str); 10] = [
    (
        "payload",
        "payload",
        Severity::Medium,
        "The receiver reads other bytes than were sent",
    ),
    (
        "window_scale",
        "the window scale option",
        Severity::Medium,
        "Each end then misreads the other's window, or is limited to 64 kB a round trip",
    ),
    (
        "sack_permitted",
        "the SACK-permitted option",
        Severity::Low,
        "Recovery from several losses takes a round trip each",
    ),
    (
        "timestamps",
        "TCP timestamps",
        Severity::Info,
        "Round trips and wrapped sequence numbers are harder to identify",
    ),
    (
        "window",
        "the receive window",
        Severity::Low,
        "The device limits how much may be in flight",
    ),
    (
        "ecn",
        "ECN marks",
        Severity::Info,
        "Congestion marks are set or cleared on the path",
    ),
    (
        "dscp",
        "DSCP marks",
        Severity::Info,
        "Packets get another class of service from here on",
    ),
    (
        "mss",
        "the maximum segment size",
        Severity::Info,
        "Segments are kept small enough for a path with a smaller MTU",
    ),
    (
        "options",
        "other TCP options",
        Severity::Info,
        "Extensions such as MPTCP or Fast Open may not work across",
    ),
    (
        "sequence_numbers",
        "sequence numbers",
        Severity::Info,
        "The device must translate acknowledgments and SACK blocks as well",
    ),
];

/// All rewritten fields of one way.
pub(super) fn changed(way: Way<'_>) -> Vec<PlacedFinding> {
    let fields = way.summary.total.changed.fields();
    let count = |name: &str| {
        fields
            .iter()
            .find(|one| one.0 == name)
            .map_or(0, |one| one.1)
    };
    let mut found: Vec<PlacedFinding> = FIELDS
        .iter()
        .filter(|field| count(field.0) > 0)
        .map(|field| one(way, &[field.0], field.1, field.2, field.3, count(field.0)))
        .collect();
    let translated = count("addresses").max(count("ports"));
    // One finding for both ways: addresses are translated back.
    if translated > 0 && way.way == 0 {
        let means = "The device keeps a table of connections, whose timeout ends idle ones";
        let name = "addresses or ports";
        found.push(one(
            way,
            &["addresses", "ports"],
            name,
            Severity::Info,
            means,
            translated,
        ));
    }
    found
}

fn one(
    way: Way<'_>,
    fields: &[&str],
    name: &str,
    severity: Severity,
    means: &str,
    count: u64,
) -> PlacedFinding {
    let (up, down) = way.names();
    let mut draft = Draft::new(way.facts, meta("changed-between"), way.place, way.up);
    for on in way.connections() {
        let own = on.judged.changed.fields();
        let weight = own
            .iter()
            .filter(|one| fields.contains(&one.0))
            .map(|one| one.1)
            .max();
        let Some(weight) = weight.filter(|weight| *weight > 0) else {
            continue;
        };
        draft.affects(on.group, weight);
        let examples = on
            .judged
            .examples
            .iter()
            .filter(|one| fields.contains(&one.0));
        for (_, from, to, _) in examples.take(1) {
            if draft.cited() < CITED {
                draft.cite(on.group, way.up, on.role, *from, format!("leaves {up}"));
                draft.cite(
                    on.group,
                    way.down,
                    on.role,
                    *to,
                    format!("reaches {down} with {name} changed"),
                );
            }
        }
    }
    let mut title = format!("{name} change between {up} and {down}");
    if matches!(fields, [single] if matches!(*single, "payload" | "mss" | "window" | "window_scale" | "sack_permitted"))
    {
        title = format!("{name} changes between {up} and {down}");
    }
    if let Some(letter) = title.chars().next() {
        title.replace_range(..letter.len_utf8(), &letter.to_uppercase().to_string());
    }
    let summary = format!(
        "A device between {up} and {down} rewrites {name} in {} of {} {}. {means}.",
        count,
        many(way.summary.total.delivered, "segment"),
        way.direction(),
    );
    draft
        .words(title, summary)
        .severity(severity)
        .occurrences(count)
        .figure("changed", number(count))
        .figure("segments", number(way.summary.total.delivered))
        .finish()
}
