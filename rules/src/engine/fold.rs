//! Folds the observations of one cause into a finding: figures, costs, examples, distribution.

use analyzer::Analysis;

use crate::engine::owners;
use crate::model::connection_ref::ConnectionRef;
use crate::model::finding::{Finding, Stall};
use crate::model::meta::RuleMeta;
use crate::model::narrative::Narrative;
use crate::model::occurrence::{Occurrence, Occurrences, distinct};
use crate::model::severity::Severity;
use crate::model::text;

/// Connections listed with a finding; their number is always given in full.
const CONNECTIONS_PER_FINDING: usize = 1_000;
/// Stalls kept with a finding.
const STALLS_PER_FINDING: usize = 100_000;

/// Examples whose frames are given as evidence.
const EXAMPLES_PER_FINDING: usize = 3;

/// What a finding says unless its rule says otherwise; as grave as all occurrences together are by what
/// they did, not above what the rule declares.
pub(crate) fn default_narrative(meta: &RuleMeta, occurrences: &Occurrences<'_>) -> Narrative {
    Narrative {
        title: meta.title.to_owned(),
        summary: String::new(),
        severity: occurrences.impact().severity().min(meta.severity),
        confidence: occurrences.confidence(),
        confidence_reason: format!(
            "{} showed the signature.",
            text::many(occurrences.count(), "occurrence")
        ),
        why: Vec::new(),
        look_alikes: Vec::new(),
        remedy: Vec::new(),
        host_commands: Vec::new(),
        filter: None,
        timeouts: Vec::new(),
        relation: None,
    }
}

/// Nothing is above info that no frame proves, and a wait counts for nothing where the capture's
/// clock does not show it.
fn borne_out(analysis: &Analysis, occurrences: &Occurrences<'_>, severity: Severity) -> Severity {
    let mut evidence = occurrences.0.iter().flat_map(|one| &one.evidence);
    if !evidence.any(|evidence| evidence.proves) {
        return severity.min(Severity::Info);
    }
    if occurrences.0.iter().all(|one| is_timed(analysis, one)) {
        return severity;
    }
    let without = occurrences.impact().without_times();
    severity.min(without.severity())
}

/// Whether the capture's clock shows how long an occurrence made somebody wait.
fn is_timed(analysis: &Analysis, one: &Occurrence) -> bool {
    analysis.tells_time(one.at, one.at + one.impact.waited)
}

/// When connections stood still, where the capture's clock shows it.
fn stalls(analysis: &Analysis, occurrences: &Occurrences<'_>) -> Vec<Stall> {
    let of_one = |one: &Occurrence| {
        let connection = one.connection;
        let spans = one.stalls.clone().into_iter();
        spans.map(move |(from, to)| Stall {
            connection,
            from,
            to,
        })
    };
    let all = occurrences.0.iter().flat_map(|one| of_one(one));
    let timed = all.filter(|stall| analysis.tells_time(stall.from, stall.to));
    let mut stalls: Vec<Stall> = timed.take(STALLS_PER_FINDING).collect();
    stalls.sort_unstable();
    stalls
}

/// The finding of a group, with the rule's words and the engine's sums.
pub(crate) fn finding(
    meta: &'static RuleMeta,
    analysis: &Analysis,
    occurrences: &Occurrences<'_>,
    narrative: Narrative,
    connections: &[ConnectionRef],
) -> Finding {
    let examples = || occurrences.examples(EXAMPLES_PER_FINDING);
    Finding {
        severity: borne_out(analysis, occurrences, narrative.severity),
        confidence: narrative.confidence.clamp(0.0, 0.99),
        confidence_reason: narrative.confidence_reason,
        title: narrative.title,
        summary: narrative.summary,
        occurrences: occurrences.count(),
        connections: connections
            .iter()
            .take(CONNECTIONS_PER_FINDING)
            .copied()
            .collect(),
        connection_count: connections.len() as u64,
        evidence: examples()
            .flat_map(|one| one.evidence.iter().cloned())
            .collect(),
        figures: occurrences.figures(meta),
        cost: occurrences.costs(|one| is_timed(analysis, one)),
        stalls: stalls(analysis, occurrences),
        why: narrative.why,
        look_alikes: narrative.look_alikes,
        remedy: narrative.remedy,
        host_commands: narrative.host_commands,
        filter: narrative
            .filter
            .unwrap_or_else(|| text::connections_filter(&distinct(examples()))),
        distribution: occurrences.distribution(meta),
        timeouts: narrative.timeouts,
        relation: narrative.relation,
        host_evidence: owners::lines(meta, occurrences),
        ..Finding::of(meta.id)
    }
}
