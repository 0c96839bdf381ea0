//! Folds the observations of one cause into a finding: figures, costs, examples, distribution.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::connection_ref::ConnectionRef;
use crate::model::figure::{Distribution, Figure, FigureValue};
use crate::model::figure::{Fold, spread};
use crate::model::finding::{Finding, Origin};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::Observation;
use crate::model::severity::Severity;
use crate::model::text;

/// Connections listed with a finding; their number is always given in full.
const CONNECTIONS_PER_FINDING: usize = 1_000;
/// Examples whose frames are given as evidence.
const EXAMPLES_PER_FINDING: usize = 3;
/// Single values kept for a histogram.
const VALUES_PER_DISTRIBUTION: usize = 1_000;

/// What a finding says unless its rule says otherwise.
pub(crate) fn default_narrative<S, F>(group: &Group<'_, S, F>) -> Narrative {
    let mut confidences: Vec<f64> = group
        .observations
        .iter()
        .map(|one| one.confidence)
        .collect();
    let typical = spread(&mut confidences).map_or(0.0, |spread| spread.median);
    Narrative {
        title: group.meta.title.to_owned(),
        summary: String::new(),
        severity: severity(group),
        confidence: typical,
        confidence_reason: format!(
            "{} showed the signature.",
            text::many(group.occurrences(), "occurrence")
        ),
        why: Vec::new(),
        look_alikes: Vec::new(),
        remedy: Vec::new(),
        host_commands: Vec::new(),
        filter: None,
        timeouts: Vec::new(),
    }
}

/// How grave all observations together are by what they did, not above what the rule declares.
fn severity<S, F>(group: &Group<'_, S, F>) -> Severity {
    group.impact().severity().min(group.meta.severity)
}

/// Nothing is above info that no frame proves, and a wait counts for nothing where the capture's
/// clock does not tell it.
fn borne_out<S, F>(group: &Group<'_, S, F>, severity: Severity) -> Severity {
    let mut evidence = group.observations.iter().flat_map(|one| &one.evidence);
    if !evidence.any(|evidence| evidence.proves) {
        return severity.min(Severity::Info);
    }
    let is_timed = |one: &Observation<S>| {
        let waited = one.impact.waited;
        group.analysis.tells_time(one.at, one.at + waited)
    };
    if group.observations.iter().all(is_timed) {
        return severity;
    }
    let without = group.impact().without_times();
    severity.min(without.severity())
}

/// Distinct connections, the heaviest first.
pub(crate) fn worst_first<S>(observations: &[Observation<S>]) -> Vec<ConnectionRef> {
    let mut seen = BTreeSet::new();
    let mut ordered: Vec<&Observation<S>> = observations.iter().collect();
    ordered.sort_by(|a, b| {
        b.weight
            .total_cmp(&a.weight)
            .then(a.connection.first_frame.cmp(&b.connection.first_frame))
    });
    ordered
        .into_iter()
        .map(|one| one.connection)
        .filter(|connection| seen.insert(connection.first_frame))
        .collect()
}

/// The finding of a group, with the rule's words and the engine's sums.
pub(crate) fn finding<S, F>(
    group: &Group<'_, S, F>,
    narrative: Narrative,
    connections: &[ConnectionRef],
) -> Finding {
    let examples: Vec<&Observation<S>> = group
        .observations
        .iter()
        .take(EXAMPLES_PER_FINDING)
        .collect();
    let example_connections: Vec<ConnectionRef> = worst_first_of(&examples);
    Finding {
        id: String::new(),
        rule: group.meta.id,
        origin: Origin::BuiltIn,
        severity: borne_out(group, narrative.severity),
        confidence: narrative.confidence.clamp(0.0, 0.99),
        confidence_reason: narrative.confidence_reason,
        title: narrative.title,
        summary: narrative.summary,
        occurrences: group.occurrences(),
        connections: connections
            .iter()
            .take(CONNECTIONS_PER_FINDING)
            .copied()
            .collect(),
        connection_count: connections.len() as u64,
        evidence: examples
            .iter()
            .flat_map(|one| one.evidence.iter().cloned())
            .collect(),
        figures: group.figures(),
        cost: costs(group.observations),
        why: narrative.why,
        look_alikes: narrative.look_alikes,
        remedy: narrative.remedy,
        host_commands: narrative.host_commands,
        caveats: Vec::new(),
        explained_by: Vec::new(),
        filter: narrative
            .filter
            .unwrap_or_else(|| text::connections_filter(&example_connections)),
        distribution: distribution(group),
        timeouts: narrative.timeouts,
        host_evidence: None,
    }
}

fn worst_first_of<S>(examples: &[&Observation<S>]) -> Vec<ConnectionRef> {
    let mut seen = BTreeSet::new();
    examples
        .iter()
        .map(|one| one.connection)
        .filter(|connection| seen.insert(connection.first_frame))
        .collect()
}

/// Costs summed by name, in order of name.
fn costs<S>(observations: &[Observation<S>]) -> Vec<Figure> {
    let mut sums = BTreeMap::<&'static str, f64>::new();
    for (name, value) in observations.iter().flat_map(|one| &one.cost) {
        *sums.entry(name).or_default() += value;
    }
    sums.into_iter()
        .filter(|(_, value)| *value > 0.0)
        .map(|(name, value)| Figure {
            name,
            value: FigureValue::Number((value * 1000.0).round() / 1000.0),
            spread: None,
        })
        .collect()
}

/// The values of the first figure folded by median, when there are enough for a picture.
fn distribution<S, F>(group: &Group<'_, S, F>) -> Option<Distribution> {
    let spec = group
        .meta
        .figures
        .iter()
        .find(|spec| spec.fold == Fold::Median)?;
    let mut values: Vec<f64> = group
        .observations
        .iter()
        .filter_map(|one| one.figure_value(spec.name))
        .collect();
    values.sort_by(f64::total_cmp);
    let step = values.len().div_ceil(VALUES_PER_DISTRIBUTION).max(1);
    (values.len() >= 3).then(|| Distribution {
        figure: spec.name,
        values: values.into_iter().step_by(step).collect(),
    })
}
