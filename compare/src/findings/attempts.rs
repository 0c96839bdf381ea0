//! Connection attempts that leave one point and never come to the next.

use std::collections::BTreeSet;

use rules::finding::Severity;
use rules::text::{many, number};

use super::draft::Draft;
use super::meta;
use super::view::Way;
use crate::reading::{Flow, Place};
use crate::result::PlacedFinding;

/// Attempts of clients that the next point never saw, although other connections to the same server
/// came through, or the same client's to others.
pub(super) fn attempts(way: Way<'_>, unpaired: &[Vec<u32>]) -> Option<PlacedFinding> {
    let facts = way.facts;
    let (up, down) = way.names();
    let leg = facts.route.leg(way.up, way.down)?;
    let known = hosts(way);
    let window = leg.window(way.down, &way.facts.points[way.down]);
    let points = facts.points;
    let mut draft = Draft::new(facts, meta("loss-between"), way.place, way.up);
    let mut attempts = 0;
    let mut segments = 0;
    for &index in &unpaired[way.up] {
        let flow = &points[way.up].flows[index as usize];
        if !is_lone_attempt(
            flow,
            points[way.up].records_of(flow).iter().map(|one| one.side()),
        ) {
            continue;
        }
        let client = flow.client();
        let ends = [flow.ends[client].0, flow.ends[1 - client].0];
        let began = leg.line(way.up, flow.first_frame, flow.first);
        if ends.iter().any(|end| known.contains(end)) && began >= window.0 && began <= window.1 {
            attempts += 1;
            segments += flow.packets;
            let note = format!("connection attempt leaves {up} and never reaches {down}");
            draft.cite_flow(way.up, index, note);
        }
    }
    if attempts == 0 {
        return None;
    }
    let title = format!(
        "{} {} lost between {up} and {down}",
        many(attempts, "connection attempt"),
        if attempts == 1 { "is" } else { "are" }
    );
    let summary = format!(
        "{} ({}) left {up} and never reached {down}, while other connections of the same hosts \
        did. Nothing answered {}.",
        many(attempts, "connection attempt"),
        many(segments, "SYN"),
        if attempts == 1 { "it" } else { "them" },
    );
    let draft = draft
        .words(title, summary)
        .severity(if attempts >= 3 {
            Severity::High
        } else {
            Severity::Medium
        })
        .confidence(
            0.9,
            "Other connections of the same hosts get through, so both captures \
            were running.",
        )
        .occurrences(attempts)
        .figure("lost", number(segments))
        .figure("segments", number(segments))
        .figure("lost_percent", 100.0)
        .figure("connections_cut", number(attempts))
        .advise(
            "network",
            "Look for a filter rule, a full connection table or an asymmetric \
            route between the two points.",
        );
    Some(draft.finish())
}

/// A client's SYNs and nothing else.
fn is_lone_attempt(flow: &Flow, mut sides: impl Iterator<Item = usize>) -> bool {
    let Some(opener) = flow.opener else {
        return false;
    };
    flow.acceptor.is_none() && sides.all(|side| side == opener)
}

/// Addresses, as the upstream point has them, of connections that came through.
fn hosts(way: Way<'_>) -> BTreeSet<[u8; 16]> {
    let facts = way.facts;
    let groups = way.connections().filter_map(|on| {
        let flow = facts.pairing.groups[on.group].flows[way.up]?;
        Some(&facts.points[way.up].flows[flow as usize])
    });
    let ends: Vec<[Place; 2]> = groups.map(|flow| flow.ends).collect();
    ends.into_iter()
        .flatten()
        .map(|(address, _)| address)
        .collect()
}
