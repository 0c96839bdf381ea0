//! The ordinary rules' findings of all points, each cause once, with its place on the path.

use std::collections::{BTreeMap, BTreeSet};

use analyzer::{Direction, Endpoint, Transport};
use rules::Finding;
use rules::finding::{HostLine, Says};

use crate::assess::Assessed;
use crate::result::{Place, PlacedFinding};
use crate::tally::{Facts, units};
use crate::verdict::{Fate, What};

/// Rules whose cause is loss or disorder on the path.
pub(super) const LOSS: [&str; 3] = ["packet-loss", "retransmit-hol", "spurious-retransmission"];

/// Rules that speak of resets.
const RESETS: [&str; 4] = [
    "injected-reset",
    "linger-zero-reset",
    "unread-data-reset",
    "connection-refused",
];

/// A finding of one point.
struct Seen {
    /// Place of the point on the path.
    place: usize,
    finding: Finding,
    groups: BTreeSet<usize>,
}

/// A cause, as the points that see it have it.
struct Cause {
    seen: Vec<Seen>,
    groups: BTreeSet<usize>,
}

/// Ids that findings had at a point, and the finding that each became.
pub(super) type Renamed = BTreeMap<(usize, String), usize>;

/// Merges the findings of all points. Ids and links between them are still those of the points.
pub(super) fn merge(facts: &Facts<'_>, assessed: &[Assessed]) -> (Vec<PlacedFinding>, Renamed) {
    let by_ends = ends_of_groups(facts);
    let mut causes: Vec<Cause> = Vec::new();
    for (place, &point) in facts.route.order.iter().enumerate() {
        for finding in &assessed[point].assessment.findings {
            let groups: BTreeSet<usize> = finding
                .connections
                .iter()
                .filter_map(|one| by_ends.get(&key(point, one.transport, one.client, one.server)))
                .flatten()
                .copied()
                .collect();
            let seen = Seen {
                place,
                finding: finding.clone(),
                groups,
            };
            add(&mut causes, seen);
        }
    }
    settle_resets(facts, &mut causes);
    let mut merged = Vec::new();
    let mut renamed = Renamed::new();
    for cause in causes {
        for seen in &cause.seen {
            renamed.insert((seen.place, seen.finding.id.clone()), merged.len());
        }
        merged.push(placed(facts, cause));
    }
    (merged, renamed)
}

type Key = (usize, Transport, Endpoint, Endpoint);

/// Whoever is judged to be the client.
fn key(point: usize, transport: Transport, one: Endpoint, other: Endpoint) -> Key {
    (point, transport, one.min(other), one.max(other))
}

fn ends_of_groups(facts: &Facts<'_>) -> BTreeMap<Key, Vec<usize>> {
    let mut all: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
    for (index, group) in facts.pairing.groups.iter().enumerate() {
        for (point, flow) in group.members() {
            let flow = &facts.points[point].flows[flow as usize];
            let key = key(point, flow.transport, flow.endpoint(0), flow.endpoint(1));
            all.entry(key).or_default().push(index);
        }
    }
    all
}

/// Joins it to a cause of the same rule on the same connections that another point saw.
fn add(causes: &mut Vec<Cause>, seen: Seen) {
    let same = causes.iter_mut().find(|cause| {
        cause.seen[0].finding.rule == seen.finding.rule
            && cause.seen.iter().all(|other| other.place != seen.place)
            && !cause.groups.is_disjoint(&seen.groups)
    });
    match same {
        Some(cause) => {
            cause.groups.extend(&seen.groups);
            cause.seen.push(seen);
        }
        None => causes.push(Cause {
            groups: seen.groups.clone(),
            seen: vec![seen],
        }),
    }
}

/// Lines of the hosts that support a finding of it.
fn is_supported(cause: &Cause) -> bool {
    let lines = cause
        .seen
        .iter()
        .flat_map(|seen| seen.finding.host_evidence.iter().flatten());
    lines.into_iter().any(|line| line.says == Says::Supports)
}

/// Where the hosts' files of one point tell why connections were reset, what the packets alone suggest
/// at another gives way.
fn settle_resets(facts: &Facts<'_>, causes: &mut Vec<Cause>) {
    let is_reset = |cause: &Cause| RESETS.contains(&cause.seen[0].finding.rule);
    let told: Vec<bool> = causes
        .iter()
        .map(|one| is_reset(one) && is_supported(one))
        .collect();
    let mut given_way = BTreeSet::new();
    for (at, cause) in causes.iter().enumerate() {
        if !is_reset(cause) || told[at] {
            continue;
        }
        let others = causes.iter().zip(&told);
        let mut others =
            others.filter(|(other, told)| **told && cause.groups.is_subset(&other.groups));
        if !cause.groups.is_empty() && others.next().is_some() {
            given_way.insert(at);
        }
    }
    let mut notes: Vec<(BTreeSet<usize>, String)> = Vec::new();
    let mut at = 0;
    causes.retain(|cause| {
        let goes = given_way.contains(&at);
        at += 1;
        if goes {
            let seen = cause.seen.iter();
            let names = seen.map(|seen| facts.points[facts.route.order[seen.place]].name.as_str());
            let names: Vec<&str> = names.collect();
            let rule = cause.seen[0].finding.rule;
            let note = format!(
                "At {} the packets alone read as {rule}; the hosts' files settle it.",
                names.join(" and ")
            );
            notes.push((cause.groups.clone(), note));
        }
        !goes
    });
    for (groups, note) in notes {
        let told = causes
            .iter_mut()
            .filter(|cause| is_reset(cause) && is_supported(cause));
        for cause in told.filter(|cause| groups.is_subset(&cause.groups)) {
            for seen in &mut cause.seen {
                seen.finding.why.push(note.clone());
            }
        }
    }
}

/// The hosts' lines of all points that see a cause, each once; `None` without any files.
fn host_lines(cause: &Cause) -> Option<Vec<HostLine>> {
    let mut all: Option<Vec<HostLine>> = None;
    for lines in cause
        .seen
        .iter()
        .filter_map(|seen| seen.finding.host_evidence.as_ref())
    {
        let known = all.get_or_insert_with(Vec::new);
        for line in lines {
            let is_same = |one: &HostLine| {
                (&one.file, one.line, one.says) == (&line.file, line.line, line.says)
            };
            if !known.iter().any(is_same) {
                known.push(line.clone());
            }
        }
    }
    all
}

/// The view of the point that is surest of it, with the place that all points together tell.
fn placed(facts: &Facts<'_>, cause: Cause) -> PlacedFinding {
    let place = place(facts, &cause);
    let lines = host_lines(&cause);
    let points: BTreeSet<usize> = cause.seen.iter().map(|seen| seen.place).collect();
    let best = cause.seen.into_iter().max_by(|a, b| {
        let rank = |seen: &Seen| (seen.finding.severity, std::cmp::Reverse(seen.place));
        let surer = a.finding.confidence.total_cmp(&b.finding.confidence);
        surer.then(rank(a).cmp(&rank(b)))
    });
    let Some(Seen {
        place: at,
        mut finding,
        ..
    }) = best
    else {
        unreachable!("a cause is made of at least one finding")
    };
    finding.host_evidence = lines;
    let names: Vec<&str> = points
        .iter()
        .map(|place| facts.points[facts.route.order[*place]].name.as_str())
        .collect();
    let present = present(facts, &cause.groups);
    if present.len() > 1 {
        finding.why.push(format!(
            "Seen at {} of the points {}.",
            names.join(" and "),
            {
                let all = present
                    .iter()
                    .map(|p| facts.points[facts.route.order[*p]].name.as_str());
                all.collect::<Vec<_>>().join(", ")
            }
        ));
    }
    PlacedFinding {
        evidence_points: vec![at; finding.evidence.len()],
        finding,
        place,
    }
}

/// Places of the points that saw any of the connections.
fn present(facts: &Facts<'_>, groups: &BTreeSet<usize>) -> BTreeSet<usize> {
    let members = groups
        .iter()
        .flat_map(|group| facts.pairing.groups[*group].members());
    members.map(|(point, _)| facts.place(point)).collect()
}

fn place(facts: &Facts<'_>, cause: &Cause) -> Place {
    let rule = cause.seen[0].finding.rule;
    let present: Vec<usize> = present(facts, &cause.groups).into_iter().collect();
    let seen: BTreeSet<usize> = cause.seen.iter().map(|one| one.place).collect();
    let hop_with = |fate: Fate, what: Option<What>| hop_with(facts, &cause.groups, fate, what);
    if LOSS.contains(&rule)
        && let Some(place) = hop_with(Fate::Lost, None)
    {
        return place;
    }
    if rule == "reordering"
        && let Some(place) = hop_with(Fate::Reordered, None)
    {
        return place;
    }
    if RESETS.contains(&rule)
        && let Some(place) = hop_with(Fate::Made, Some(What::Reset))
    {
        return place;
    }
    let (Some(&first), Some(&last)) = (present.first(), present.last()) else {
        return Place::At(seen.first().copied().unwrap_or(0));
    };
    let unseen = |place: usize| !seen.contains(&place);
    let gap = present
        .windows(2)
        .find(|pair| unseen(pair[0]) != unseen(pair[1]));
    if let Some(pair) = gap {
        return Place::Between(pair[0], pair[1]);
    }
    // Every point sees it: the end that sent what proves it.
    let sender = cause.seen[0].finding.evidence.last();
    match sender.map(|evidence| evidence.segment.direction) {
        Some(Direction::ClientToServer) => Place::At(first),
        _ => Place::At(last),
    }
}

/// The hop on which most packets of these connections had a fate.
fn hop_with(
    facts: &Facts<'_>,
    groups: &BTreeSet<usize>,
    fate: Fate,
    what: Option<What>,
) -> Option<Place> {
    let mut counts: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    let traversed = facts
        .traversed
        .iter()
        .filter(|one| groups.contains(&one.group));
    for hop in traversed.flat_map(|one| &one.hops) {
        let (a, b) = (facts.place(hop.from), facts.place(hop.to));
        let entry = counts.entry((a.min(b), a.max(b))).or_default();
        for judged in &hop.judged {
            let cases: Vec<_> = judged
                .cases
                .iter()
                .filter(|case| what.is_none_or(|what| case.what == what))
                .copied()
                .collect();
            *entry += units(&cases, fate);
        }
    }
    let best = counts.into_iter().filter(|(_, count)| *count > 0);
    let (hop, _) = best.max_by_key(|(hop, count)| (*count, std::cmp::Reverse(*hop)))?;
    Some(Place::Between(hop.0, hop.1))
}
