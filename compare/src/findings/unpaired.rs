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
    // Without anything in common no time can be compared.
    let leg = facts.route.leg(point, other);
    let leg = leg.filter(|leg| leg.clock.is_some());
    let window = leg.map(|leg| leg.window(other, &facts.points[other]));
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for &index in flows {
        let flow = &facts.points[point].flows[index as usize];
        let line = |time: i64| leg.map_or(time, |leg| leg.line(point, flow.first_frame, time));
        let reason = match window {
            None => format!("{name} captured none of this traffic"),
            Some((first, _)) if line(flow.last) < first => {
                format!("over before the capture at {name} begins")
            }
            Some((_, last)) if line(flow.first) > last => {
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
