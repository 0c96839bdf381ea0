//! Findings that a host's file shows about connections of the capture.

use std::collections::{BTreeMap, BTreeSet};

use analyzer::Endpoint;

use super::{Line, network};
use crate::host::join::Joined;
use crate::model::evidence::Evidence;
use crate::model::figure::{Figure, FigureValue};
use crate::model::finding::{Assessment, Finding};
use crate::model::severity::Severity;
use crate::model::text::{self, many};

/// Connections listed with one.
const LISTED: usize = 1_000;
/// Findings of one kind.
const MOST: usize = 20;

/// All of them.
pub(super) fn all(joined: &Joined, assessment: &Assessment) -> Vec<(Finding, Vec<Line>)> {
    let is_selected = assessment
        .outcomes
        .iter()
        .any(|outcome| outcome.rule == "transparent-redirect");
    if is_selected {
        redirected(joined, assessment)
    } else {
        Vec::new()
    }
}

/// Connections whose tracker's entry names another destination: nothing on the wire shows it.
fn redirected(joined: &Joined, assessment: &Assessment) -> Vec<(Finding, Vec<Line>)> {
    let told: BTreeSet<u64> = assessment
        .findings
        .iter()
        .filter(|finding| finding.rule == "transparent-redirect")
        .flat_map(|finding| finding.connections.iter().map(|one| one.first_frame))
        .collect();
    let mut by_ends = BTreeMap::<(Endpoint, Endpoint), Vec<usize>>::new();
    for (at, one) in joined.watched.iter().enumerate() {
        by_ends
            .entry((one.connection.client, one.connection.server))
            .or_default()
            .push(at);
    }
    let mut groups = BTreeMap::<(Endpoint, Endpoint), (BTreeSet<usize>, Vec<Line>)>::new();
    for entry in &joined.files.facts.translations {
        if entry.destination == entry.reply_source || entry.is_unreplied {
            continue;
        }
        let found = by_ends.get(&(entry.reply_destination, entry.reply_source));
        let fresh = found
            .into_iter()
            .flatten()
            .filter(|at| !told.contains(&joined.watched[**at].connection.first_frame));
        let fresh: Vec<usize> = fresh.copied().collect();
        if fresh.is_empty() {
            continue;
        }
        let group = groups
            .entry((entry.destination, entry.reply_source))
            .or_default();
        group.0.extend(fresh);
        if group.1.len() < super::LINES_PER_ASK {
            group.1.push(network::translation(entry));
        }
    }
    let findings =
        groups
            .into_iter()
            .take(MOST)
            .map(|((intended, actual), (connections, lines))| {
                (redirect(joined, intended, actual, &connections), lines)
            });
    findings.collect()
}

fn redirect(
    joined: &Joined,
    intended: Endpoint,
    actual: Endpoint,
    connections: &BTreeSet<usize>,
) -> Finding {
    let all: Vec<_> = connections.iter().map(|at| &joined.watched[*at]).collect();
    let refs: Vec<_> = all.iter().map(|one| one.connection).take(LISTED).collect();
    let evidence = all.iter().take(3).flat_map(|one| {
        let of = |segment, note: String| Evidence {
            segment,
            connection: one.connection,
            note,
            proves: true,
        };
        let syn = one.syn.map(|segment| {
            of(
                segment,
                format!("segment to {actual}, which the client's program called {intended}"),
            )
        });
        let answer = one
            .answer
            .map(|segment| of(segment, format!("answer of {actual}")));
        syn.into_iter().chain(answer)
    });
    let count = all.len() as u64;
    let text_figure = |name, end: Endpoint| Figure {
        name,
        value: FigureValue::Text(end.to_string()),
        spread: None,
    };
    Finding {
        severity: Severity::Low,
        confidence: 0.95,
        confidence_reason: "The translating host's connection tracker lists both destinations; the packets alone show one.".to_owned(),
        title: format!("Connections to {intended} are redirected to {actual}"),
        summary: format!(
            "{} to {actual} were meant for {intended}: a host on the path translates the destination. \
             That is how services of a cluster and load balancers work; where nobody meant it to be so, another service answers.",
            many(count, "connection")
        ),
        occurrences: count,
        connection_count: count,
        filter: text::connections_filter(&refs),
        connections: refs,
        evidence: evidence.collect(),
        figures: vec![text_figure("intended", intended), text_figure("actual", actual)],
        why: vec!["the connection tracker has an entry for them whose two directions have different addresses".to_owned()],
        ..Finding::of("transparent-redirect")
    }
}
