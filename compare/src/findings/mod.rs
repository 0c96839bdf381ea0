//! What is concluded from the counts.

use analyzer::Timestamp;
use rules::finding::Severity;

use crate::Settings;
use crate::assess::Assessed;
use crate::clock::Clock;
use crate::path::Leg;
use crate::reading::Point;
use crate::result::{ClockSummary, Comparison, PlacedFinding, PointSummary, Verdict};
use crate::tally::Facts;
use crate::verdict::millis;

/// Draws all conclusions.
pub(crate) fn conclude(
    facts: &Facts<'_>,
    assessed: Vec<Assessed>,
    _settings: &Settings,
) -> Comparison {
    let connections = facts.connections();
    let hops = facts.hop_summaries();
    let findings: Vec<PlacedFinding> = Vec::new();
    let severity: Option<Severity> = findings.iter().map(|one| one.finding.severity).max();
    Comparison {
        points: points(facts, assessed),
        order_basis: facts.route.basis,
        clocks: clocks(facts),
        connections,
        hops,
        findings,
        verdict: Verdict {
            sentence: String::new(),
            severity,
        },
        notices: Vec::new(),
    }
}

fn points(facts: &Facts<'_>, assessed: Vec<Assessed>) -> Vec<PointSummary> {
    let mut paired: Vec<Vec<bool>> = facts
        .points
        .iter()
        .map(|point| vec![false; point.flows.len()])
        .collect();
    for group in &facts.pairing.groups {
        for (point, flow) in group.members() {
            paired[point][flow as usize] = true;
        }
    }
    let mut assessed: Vec<Option<Assessed>> = assessed.into_iter().map(Some).collect();
    let summary = |index: usize| {
        let point = &facts.points[index];
        let quality = assessed[index].take().map(|one| one.analysis.quality);
        PointSummary {
            name: point.name.clone(),
            files: point.files.clone(),
            packets: point.packets,
            first: Timestamp::from_nanos(point.first),
            last: Timestamp::from_nanos(point.last),
            quality: quality.unwrap_or_default(),
            unpaired: paired[index].iter().filter(|paired| !**paired).count() as u64,
            unpaired_reasons: Vec::new(),
            ambiguous: facts.pairing.ambiguous[index],
            missed: 0,
        }
    };
    facts.route.order.iter().copied().map(summary).collect()
}

fn clocks(facts: &Facts<'_>) -> Vec<ClockSummary> {
    let order = &facts.route.order;
    let neighbours = order.windows(2);
    neighbours
        .filter_map(|pair| {
            let leg = facts.route.leg(pair[0], pair[1])?;
            let clock = leg.clock.as_ref()?;
            Some(summary(facts, leg, clock))
        })
        .collect()
}

fn summary(facts: &Facts<'_>, leg: &Leg, clock: &Clock) -> ClockSummary {
    let (one, other) = (&facts.points[leg.one], &facts.points[leg.other]);
    let at = first_common(one, other, clock);
    let is_known = clock.error.is_some();
    let steps = clock.steps().into_iter();
    ClockSummary {
        from: facts.place(leg.one),
        to: facts.place(leg.other),
        offset_ms: is_known.then(|| millis(clock.offset_at(at))),
        at: Timestamp::from_nanos(at),
        skew_ppm: clock.skew * 1e6,
        error_ms: clock.error.map(millis),
        steps: steps
            .map(|(time, step)| (Timestamp::from_nanos(time), millis(step)))
            .collect(),
        basis: format!(
            "least delays of {} packets one way and {} the other",
            clock.passages[0], clock.passages[1]
        ),
    }
}

/// The first moment that both captures cover, by the first one's clock.
fn first_common(one: &Point, other: &Point, clock: &Clock) -> i64 {
    one.first.max(clock.to_first(0, other.first))
}
