//! Why connections have no partner at any other point.

use std::collections::{BTreeMap, BTreeSet};

use crate::tally::Facts;

/// The likely reasons for the flows of a point without a partner, most frequent first.
pub(super) fn reasons(facts: &Facts<'_>, point: usize, flows: &[u32]) -> Vec<(String, u64)> {
    if flows.is_empty() {
        return Vec::new();
    }
    let place = facts.place(point);
    let order = &facts.route.order;
    let neighbour = order
        .get(place + 1)
        .or_else(|| order.get(place.wrapping_sub(1)));
    let Some(&other) = neighbour else {
        return Vec::new();
    };
    let name = &facts.points[other].name;
    let there: BTreeSet<[u8; 16]> = facts.points[other]
        .flows
        .iter()
        .flat_map(|flow| flow.ends.map(|end| end.0))
        .collect();
    let window = window(facts, point, other);
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for &index in flows {
        let flow = &facts.points[point].flows[index as usize];
        let reason = match window {
            None => format!("nothing at {name} is the same traffic"),
            Some((first, _)) if flow.last < first => {
                format!("over before the capture at {name} begins")
            }
            Some((_, last)) if flow.first > last => {
                format!("begins after the capture at {name} ends")
            }
            Some(_) if flow.ends.iter().all(|end| !there.contains(&end.0)) => {
                format!(
                    "addresses that do not occur at {name}: another path, a filter or translation"
                )
            }
            Some(_) => format!("not seen at {name}"),
        };
        *counts.entry(reason).or_default() += 1;
    }
    let mut counted: Vec<(String, u64)> = counts.into_iter().collect();
    counted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counted
}

/// When the other point captured, by the clock of this one; `None` without anything in common.
fn window(facts: &Facts<'_>, point: usize, other: usize) -> Option<(i64, i64)> {
    let leg = facts.route.leg(point, other)?;
    let clock = leg.clock.as_ref()?;
    let data = &facts.points[other];
    Some(if leg.other == other {
        (
            clock.to_first(0, data.first),
            clock.to_first(u64::MAX, data.last),
        )
    } else {
        let shift = |time: i64| time.saturating_add(clock.offset_at(time));
        (shift(data.first), shift(data.last))
    })
}
