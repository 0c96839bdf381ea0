//! What is concluded from the counts: findings with their places, and the verdict.

mod attempts;
mod changed;
mod draft;
mod loss;
mod merge;
mod others;
mod unpaired;
mod verdict;
mod view;

use analyzer::Timestamp;
use rules::RuleSettings;
use rules::between;
use rules::meta::RuleMeta;
use rules::text::many;

use crate::assess::Assessed;
use crate::clock::Clock;
use crate::input::Settings;
use crate::path::Leg;
use crate::reading::Point;
use crate::result::{ClockSummary, Comparison, HopSummary, PlacedFinding, PointSummary, Verdict};
use crate::tally::Facts;
use crate::verdict::millis;
use view::Way;

/// The thresholds in force.
struct Limits<'a>(&'a RuleSettings);

impl Limits<'_> {
    /// A declared threshold of a rule of comparisons.
    fn of(&self, rule: &str, name: &str) -> f64 {
        let specs = meta(rule).thresholds.iter();
        let default = specs
            .filter(|spec| spec.name == name)
            .map(|spec| spec.default)
            .sum();
        self.0.threshold(rule, name).unwrap_or(default)
    }
}

/// The declaration of a rule of comparisons.
fn meta(id: &str) -> &'static RuleMeta {
    let found = between::ALL.iter().find(|meta| meta.id == id);
    found.unwrap_or(&between::ALL[0])
}

/// Draws all conclusions.
pub(crate) fn conclude(
    facts: &Facts<'_>,
    assessed: Vec<Assessed>,
    settings: &Settings,
) -> Comparison {
    let hops = facts.hop_summaries();
    let findings = findings(facts, &hops, &assessed, &settings.rules);
    let mut notices: Vec<String> = Vec::new();
    for (point, assessed) in facts.points.iter().zip(&assessed) {
        notices.extend(bounds(point));
        notices.extend(portless(point, &assessed.analysis));
    }
    notices.extend(Way::all(facts, &hops).into_iter().filter_map(undecided));
    let mut comparison = Comparison {
        points: points(facts, assessed, &hops),
        order_basis: facts.route.basis,
        clocks: clocks(facts),
        connections: facts.connections(),
        hops,
        findings,
        verdict: Verdict {
            sentence: String::new(),
            severity: None,
        },
        notices,
    };
    comparison.verdict = verdict::verdict(&comparison);
    comparison
}

/// What was lost or missed, and nothing shows which.
fn undecided(way: Way<'_>) -> Option<String> {
    let count = way.summary.total.undecided;
    let (up, down) = way.names();
    (count > 0).then(|| {
        format!(
            "{} {} left {up} and {} either lost before {down} or missed by its capture: nothing shows which, and {}",
            many(count, "segment"),
            way.direction(),
            if count == 1 { "was" } else { "were" },
            if count == 1 {
                "it is counted as what is likelier".to_owned()
            } else {
                format!("{} are counted as lost by what is likely", way.summary.total.undecided_lost)
            },
        )
    })
}

/// What did not fit into memory.
fn bounds(point: &Point) -> Vec<String> {
    let mut notices = Vec::new();
    let name = &point.name;
    if point.cut_segments > 0 {
        notices.push(format!(
            "{} at {name} {} cut before the TCP flags and are told apart by their ports, their \
            length and the beginning of their numbers: what they acknowledge, open, close or reset is not known \
            (capture at least 96 octets of each frame)",
            many(point.cut_segments, "segment"),
            if point.cut_segments == 1 { "was" } else { "were" }
        ));
    }
    if point.records_left_out > 0 {
        notices.push(format!(
            "{} packets at {name} exceeded the memory limit and are not compared: raise \
            --max-memory, or compare a part (--from, --to, --host)",
            point.records_left_out
        ));
    }
    if point.flows_left_out > 0 {
        notices.push(format!(
            "{} packets at {name} belong to connections above the memory limit",
            point.flows_left_out
        ));
    }
    notices
}

/// Packets of which the snap length left no ports: nothing of them can be followed, at any point.
fn portless(point: &Point, analysis: &analyzer::Analysis) -> Option<String> {
    let name = &point.name;
    let cut = analyzer::decode::DecodeStop::Cut("tcp").to_string();
    let stops = analysis.summary.undecoded.iter();
    let packets: u64 = stops
        .filter(|(stop, _)| **stop == cut)
        .map(|(_, count)| count)
        .sum();
    // Those of which the ports are left are told of by themselves.
    let packets = packets.saturating_sub(point.cut_segments);
    (packets > 0).then(|| {
        format!(
            "{} at {name} {} cut before the end of their TCP headers: what lacks ports or sequence numbers is \
            not compared (capture at least 96 octets of each frame)",
            many(packets, "segment"),
            if packets == 1 { "was" } else { "were" }
        )
    })
}

/// All findings, ranked, with ids and links.
fn findings(
    facts: &Facts<'_>,
    hops: &[HopSummary],
    assessed: &[Assessed],
    rules: &RuleSettings,
) -> Vec<PlacedFinding> {
    let limits = Limits(rules);
    let ways = Way::all(facts, hops);
    let unpaired = facts.unpaired();
    let mut own: Vec<PlacedFinding> = Vec::new();
    for &way in &ways {
        own.extend(loss::loss(way, &limits));
        if way.way == 0 {
            own.extend(attempts::attempts(way, &unpaired));
        }
        own.extend(others::made(way));
        own.extend(changed::changed(way));
        own.extend(others::copied(way, &limits));
        own.extend(others::reordered(way));
        own.extend(others::delayed(way, &limits));
    }
    for &point in &facts.route.order {
        own.extend(others::missed(facts, &ways, point, &limits));
    }
    own.retain(|one| rules.is_enabled(one.finding.rule));
    let (mut all, renamed) = merge::merge(facts, assessed);
    let count = all.len();
    // The order between points is known better than what one point infers of it.
    let is_reordering = own.iter().any(|one| one.finding.rule == "reordering");
    all.extend(own);
    rank(all, count, &renamed, facts, is_reordering)
}

/// Orders findings by severity, those of comparisons first, and gives them ids; `count` of them come
/// from single points and bear links of their points.
fn rank(
    mut all: Vec<PlacedFinding>,
    count: usize,
    renamed: &merge::Renamed,
    facts: &Facts<'_>,
    is_reordering: bool,
) -> Vec<PlacedFinding> {
    let mut order: Vec<usize> = (0..all.len())
        .filter(|index| {
            *index >= count || !is_reordering || all[*index].finding.rule != "reordering"
        })
        .collect();
    order.sort_by(|a, b| {
        let (one, other) = (&all[*a].finding, &all[*b].finding);
        other
            .severity
            .cmp(&one.severity)
            .then((*a < count).cmp(&(*b < count)))
            .then(other.confidence.total_cmp(&one.confidence))
            .then(a.cmp(b))
    });
    let id_of = |index: usize| {
        let at = order.iter().position(|one| *one == index)?;
        Some(format!("F{}", at + 1))
    };
    let losses: Vec<(usize, String)> = (count..all.len())
        .filter(|index| all[*index].finding.rule == "loss-between")
        .filter_map(|index| Some((index, id_of(index)?)))
        .collect();
    let mut links: Vec<Vec<String>> = Vec::with_capacity(all.len());
    for (index, placed) in all.iter().enumerate() {
        let point = placed.evidence_points.first().copied().unwrap_or(0);
        let own = placed.finding.explained_by.iter();
        let mut causes: Vec<String> = own
            .filter_map(|id| id_of(*renamed.get(&(point, id.clone()))?))
            .collect();
        if index < count && merge::LOSS.contains(&placed.finding.rule) {
            let here = losses
                .iter()
                .filter(|(loss, _)| all[*loss].place == placed.place);
            causes.extend(here.map(|(_, id)| id.clone()));
        }
        causes.sort();
        causes.dedup();
        links.push(causes);
    }
    let _ = facts;
    let mut ranked = Vec::with_capacity(order.len());
    let ids: Vec<Option<String>> = (0..all.len()).map(id_of).collect();
    for &index in &order {
        let mut placed = all[index].clone();
        placed.finding.explained_by = std::mem::take(&mut links[index]);
        placed.finding.id = ids[index].clone().unwrap_or_default();
        ranked.push(placed);
    }
    all.clear();
    ranked
}

fn points(
    facts: &Facts<'_>,
    mut assessed: Vec<Assessed>,
    hops: &[HopSummary],
) -> Vec<PointSummary> {
    let unpaired = facts.unpaired();
    let summary = |place: usize, index: usize, assessed: &mut Assessed| {
        let quality = std::mem::take(&mut assessed.analysis.quality);
        let host_files = assessed.host_files.take();
        let point = &facts.points[index];
        PointSummary {
            name: point.name.clone(),
            files: point.files.clone(),
            packets: point.packets,
            first: Timestamp::from_nanos(point.first),
            last: Timestamp::from_nanos(point.last),
            quality,
            unpaired: unpaired[index].len() as u64,
            unpaired_reasons: unpaired::reasons(facts, index, &unpaired[index]),
            ambiguous: facts.pairing.ambiguous[index],
            missed: missed(hops, place),
            host_files,
        }
    };
    let order = facts.route.order.iter().enumerate();
    order
        .map(|(place, &index)| summary(place, index, &mut assessed[index]))
        .collect()
}

/// Segments that must have passed a point unseen, by the hop on either side that saw more of it.
fn missed(hops: &[HopSummary], place: usize) -> u64 {
    let counts = hops.iter().map(|hop| {
        let [forward, backward] = hop.ways.each_ref().map(|way| &way.total);
        // Likely ones are counted at the point that a direction leads to.
        if hop.from == place {
            forward.missed_at_from + backward.missed_at_from - backward.likely_missed()
        } else if hop.to == place {
            forward.missed_at_to + backward.missed_at_to - forward.likely_missed()
        } else {
            0
        }
    });
    counts.max().unwrap_or(0)
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
    let windows = [leg.window(leg.one, one), leg.window(leg.other, other)];
    // The first moment that both captures cover, by the first one's clock.
    let line = windows[0].0.max(windows[1].0);
    let at = clock.shown_by_first(line);
    let is_known = clock.error.is_some();
    let steps = clock.steps().into_iter();
    ClockSummary {
        from: facts.place(leg.one),
        to: facts.place(leg.other),
        offset_ms: is_known.then(|| millis(clock.offset_at(line))),
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
