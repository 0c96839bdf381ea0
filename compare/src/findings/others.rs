//! The other rules of comparisons: what is made, copied, overtaken, delayed or missed on the way.

use rules::finding::Severity;
use rules::meta::RuleMeta;
use rules::text::{many, number, percent, share, time};

use super::draft::Draft;
use super::view::Way;
use super::{Limits, meta};
use crate::result::{Place, PlacedFinding};
use crate::tally::Facts;
use crate::verdict::{Case, Fate, What};

/// Frames cited, at most.
const CITED: usize = 6;

/// Packets that came from nowhere, one finding for each kind of packet.
pub(super) fn made(way: Way<'_>) -> Vec<PlacedFinding> {
    let kinds = [
        What::Reset,
        What::Data,
        What::Datagram,
        What::Icmp,
        What::Acknowledgement,
    ];
    kinds
        .into_iter()
        .filter_map(|what| made_of(way, what))
        .collect()
}

fn made_of(way: Way<'_>, what: What) -> Option<PlacedFinding> {
    let (up, down) = way.names();
    let mut draft = Draft::new(way.facts, meta("made-between"), way.place, way.down);
    let mut count = 0;
    let mut in_use = false;
    for (on, case) in way.cases(Fate::Made).filter(|(_, case)| case.what == what) {
        count += case.units;
        in_use |= on.judged.delivered > 3;
        draft.affects(on.group, case.units);
        if let Some(frame) = case.down.filter(|_| draft.cited() < CITED) {
            let note = format!("reaches {down} and never passed {up}");
            draft.cite(on.group, way.down, on.role, frame, note);
        }
    }
    if count == 0 {
        return None;
    }
    let (noun, severity) = match what {
        What::Reset if in_use => ("reset", Severity::High),
        What::Reset => ("reset", Severity::Medium),
        What::Data => ("segment with payload", Severity::High),
        What::Datagram => ("datagram", Severity::Medium),
        What::Icmp => ("ICMP error", Severity::Low),
        What::Acknowledgement => ("acknowledgment", Severity::Info),
    };
    let plural = match what {
        What::Data => format!("{count} segments with payload"),
        _ => many(count, noun),
    };
    let words = format!(
        "{plural} {} made between {up} and {down}",
        if count == 1 { "is" } else { "are" }
    );
    let summary = format!(
        "{plural} reached {down} {} and never passed {up}: a device between the two points made \
        {}. {} affected.",
        way.direction(),
        if count == 1 { "it" } else { "them" },
        many(draft.group_count(), "connection")
            + if draft.group_count() == 1 {
                " is"
            } else {
                " are"
            },
    );
    let resets = if what == What::Reset { count } else { 0 };
    let draft = draft
        .words(words, summary)
        .severity(severity)
        .occurrences(count)
        .figure("made", number(count))
        .figure("resets", number(resets))
        .advise(
            "network",
            "Find the device between the two points that does this: firewall, balancer, proxy \
            or intrusion prevention; its log at these times names the reason.",
        );
    Some(draft.finish())
}

/// Packets that came more often than they left.
pub(super) fn copied(way: Way<'_>, limits: &Limits<'_>) -> Option<PlacedFinding> {
    let count = way.summary.total.duplicated;
    let part = share(count, way.summary.total.segments);
    let low = limits.of("copied-between", "low_percent");
    let (up, down) = way.names();
    let words = format!("{} copied between {up} and {down}", are(count, "packet"));
    let summary = format!(
        "{} {} left {up} once and reached {down} more than once ({} of {}).",
        many(count, "packet"),
        way.direction(),
        percent(part),
        many(way.summary.total.segments, "segment"),
    );
    let draft = counted(
        way,
        Fate::Duplicated,
        meta("copied-between"),
        "an additional copy",
    )?;
    let draft = draft
        .words(words, summary)
        .severity(if part * 100.0 >= low {
            Severity::Low
        } else {
            Severity::Info
        })
        .figure("copies", number(count))
        .figure("segments", number(way.summary.total.segments))
        .advise(
            "network",
            "Look for bridging loops, leaking mirror sessions and bonding in \
            broadcast mode between the two points.",
        );
    Some(draft.finish())
}

/// Packets that were overtaken: the ordinary rule, with its place.
pub(super) fn reordered(way: Way<'_>) -> Option<PlacedFinding> {
    let count = way.summary.total.reordered;
    let reordering = rules::Engine::catalogue();
    let meta = reordering
        .into_iter()
        .find(|meta| meta.id == "reordering")?;
    if count < 3 {
        return None;
    }
    let part = share(count, way.summary.total.segments);
    let (up, down) = way.names();
    let words = format!(
        "{} out of order between {up} and {down}",
        are(count, "segment")
    );
    let summary = format!(
        "{} {} left {up} before others that reached {down} first ({} of {}). The network between them \
        delivers over unequal paths or queues.",
        many(count, "segment"),
        way.direction(),
        percent(part),
        many(way.summary.total.segments, "segment"),
    );
    let draft = counted(
        way,
        Fate::Reordered,
        meta,
        "arrives after a segment that left later",
    )?;
    let draft = draft
        .words(words, summary)
        .severity(if part >= 0.01 {
            Severity::Low
        } else {
            Severity::Info
        })
        .figure("segments", number(count))
        .advise(
            "network",
            "Balance per flow instead of per packet (ECMP, LACP, bonding mode round-robin).",
        );
    Some(draft.finish())
}

/// `1 packet is`, `3 packets are`.
fn are(count: u64, noun: &str) -> String {
    format!(
        "{} {}",
        many(count, noun),
        if count == 1 { "is" } else { "are" }
    )
}

/// A finding over all cases of a fate, with the first of them cited downstream.
fn counted<'a>(way: Way<'a>, fate: Fate, meta: &'static RuleMeta, note: &str) -> Option<Draft<'a>> {
    let mut draft = Draft::new(way.facts, meta, way.place, way.down);
    let mut count = 0;
    for (on, case) in way.cases(fate) {
        count += case.units;
        draft.affects(on.group, case.units);
        if let Some(frame) = case.down.filter(|_| draft.cited() < CITED) {
            draft.cite(on.group, way.down, on.role, frame, note.to_owned());
        }
    }
    (count > 0).then(|| draft.occurrences(count))
}

/// Packets that wait.
pub(super) fn delayed(way: Way<'_>, limits: &Limits<'_>) -> Option<PlacedFinding> {
    let delay = way.summary.total.delay_ms?;
    let wait = delay.p99 - delay.min;
    if wait < limits.of("delay-between", "low_ms") || delay.p99 < 2.0 * delay.min {
        return None;
    }
    let severity = if wait >= limits.of("delay-between", "medium_ms") {
        Severity::Medium
    } else {
        Severity::Low
    };
    let (up, down) = way.names();
    let mut draft = Draft::new(way.facts, meta("delay-between"), way.place, way.up);
    let mut slowest: Vec<_> = way
        .connections()
        .filter_map(|on| Some((on, on.judged.slowest?)))
        .collect();
    slowest.sort_by_key(|(on, slowest)| (std::cmp::Reverse(slowest.0), on.group));
    let limit = (delay.min + wait / 2.0) * 1e6;
    for (on, (nanos, from, to, _)) in slowest.iter().filter(|(_, one)| one.0 as f64 >= limit) {
        draft.affects(on.group, u64::try_from(*nanos).unwrap_or(0));
        if draft.cited() < CITED {
            let took = time(*nanos as f64 / 1e6);
            draft.cite(on.group, way.up, on.role, *from, format!("leaves {up}"));
            draft.cite(
                on.group,
                way.down,
                on.role,
                *to,
                format!("reaches {down} after {took}"),
            );
        }
    }
    let words = format!(
        "Packets wait up to {} between {up} and {down}",
        time(delay.max - delay.min)
    );
    let summary = format!(
        "Packets {} take {} from {up} to {down} in the median, {} at the 99th percentile and {} \
        at worst; the least delay is {}.",
        way.direction(),
        time(delay.median),
        time(delay.p99),
        time(delay.max),
        time(delay.min),
    );
    let draft = draft
        .words(words, summary)
        .severity(severity)
        .occurrences(way.summary.total.delivered / 100)
        .figure("delay_ms_p99", delay.p99)
        .figure("delay_ms_min", delay.min)
        .figure("delay_ms_max", delay.max)
        .advise(
            "network",
            "Compare with the load of the links between the two points at these \
            times; use fq_codel or CAKE where a queue fills.",
        );
    Some(draft.finish())
}

/// What the capture of a point missed.
pub(super) fn missed(
    facts: &Facts<'_>,
    ways: &[Way<'_>],
    point: usize,
    limits: &Limits<'_>,
) -> Option<PlacedFinding> {
    let place = Place::At(facts.place(point));
    let mut draft = Draft::new(facts, meta("capture-missed"), place, point);
    let (mut count, mut seen) = (0, 0);
    let name = &facts.points[point].name;
    for way in ways {
        let (fate, other): (Fate, fn(&Case) -> Option<u64>) = if way.down == point {
            (Fate::MissedDown, |case| case.up)
        } else if way.up == point {
            (Fate::MissedUp, |case| case.down)
        } else {
            continue;
        };
        let other_point = if way.down == point { way.up } else { way.down };
        seen += way.summary.total.delivered;
        for (on, case) in way.cases(fate) {
            count += case.units;
            draft.affects(on.group, case.units);
            if let Some(frame) = other(case).filter(|_| draft.cited() < CITED) {
                let note = format!("must have passed {name}, but is missing from its capture");
                draft.cite(on.group, other_point, on.role, frame, note);
            }
        }
    }
    if count == 0 {
        return None;
    }
    let part = share(count, count + seen);
    let low = limits.of("capture-missed", "low_percent");
    let words = format!("The capture at {name} missed {}", many(count, "packet"));
    let summary = format!(
        "{} passed {name} and {} not in its capture ({} of those expected there): the \
        capture lost {} or was not running at that time; the network did not lose any.",
        many(count, "packet"),
        if count == 1 { "is" } else { "are" },
        percent(part),
        if count == 1 { "it" } else { "them" },
    );
    let draft = draft
        .words(words, summary)
        .severity(if part * 100.0 >= low {
            Severity::Low
        } else {
            Severity::Info
        })
        .occurrences(count)
        .figure("missed", number(count))
        .figure("missed_percent", part * 100.0)
        .advise(
            "tcpdump",
            "Capture with a larger buffer (-B 65536), a snap length or a filter.",
        );
    Some(draft.finish())
}
