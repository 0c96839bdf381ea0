//! Requests that a proxy forwarded: connections of two points that only their requests pair.

use std::collections::BTreeMap;

use crate::clock::{Frames, Passage, estimate};
use crate::pairing::{Pairing, RequestPair, pair_requests};
use crate::path::Route;
use crate::reading::Point;
use crate::result::RequestTimes;
use crate::verdict::Delays;

/// Two connections that a proxy joins, with the requests found on both.
#[derive(Clone, Debug)]
pub(crate) struct Forwarded {
    /// Point and flow on the client's side.
    pub one: (usize, u32),
    /// Point and flow on the server's side.
    pub other: (usize, u32),
    pub pairs: Vec<RequestPair>,
}

/// Pairs requests between neighbouring points; where nothing else compares their clocks, requests do.
pub(crate) fn forwarded(points: &[Point], pairing: &Pairing, route: &mut Route) -> Vec<Forwarded> {
    let lacks = without_partner(points, pairing);
    let mut all = Vec::new();
    let order = route.order.clone();
    for pair in order.windows(2) {
        let leg = route.leg(pair[0], pair[1]);
        let offset = leg.and_then(|leg| {
            let clock = leg.clock.as_ref()?;
            Some(clock.offset_at(leg.window(leg.one, &points[leg.one]).0))
        });
        let ends = leg.map_or((pair[0], pair[1]), |leg| (leg.one, leg.other));
        let requests = pair_requests(points, &lacks, ends, offset);
        if requests.is_empty() {
            continue;
        }
        if let Some(leg) = route
            .legs
            .iter_mut()
            .find(|leg| (leg.one, leg.other) == ends)
            && leg.clock.is_none()
        {
            leg.clock = estimate(&passages(&requests), &Frames::default);
        }
        let mut by_flows: BTreeMap<(u32, u32), Vec<RequestPair>> = BTreeMap::new();
        for request in requests {
            let flows = (request.one.flow, request.other.flow);
            by_flows.entry(flows).or_default().push(request);
        }
        all.extend(by_flows.into_iter().map(|((one, other), pairs)| Forwarded {
            one: (ends.0, one),
            other: (ends.1, other),
            pairs,
        }));
    }
    all
}

fn without_partner(points: &[Point], pairing: &Pairing) -> Vec<Vec<bool>> {
    let mut lacks: Vec<Vec<bool>> = points.iter().map(|p| vec![true; p.flows.len()]).collect();
    for group in &pairing.groups {
        for (point, flow) in group.members() {
            lacks[point][flow as usize] = false;
        }
    }
    lacks
}

/// A request went out and an answer came back.
fn passages(requests: &[RequestPair]) -> Vec<Passage> {
    let mut passages = Vec::new();
    for request in requests {
        passages.push(Passage {
            from_frame: request.one.frame,
            to_frame: request.other.frame,
            from_time: request.one.time,
            to_time: request.other.time,
            is_downstream: true,
        });
        if let (Some(one), Some(other)) = (request.one.answer, request.other.answer) {
            passages.push(Passage {
                from_frame: one.0,
                to_frame: other.0,
                from_time: one.1,
                to_time: other.1,
                is_downstream: false,
            });
        }
    }
    passages.sort_unstable_by_key(|passage| (passage.from_frame, passage.to_frame));
    passages
}

/// Times on both legs, of requests that were answered on both.
pub(crate) fn times(pairs: &[RequestPair]) -> Option<RequestTimes> {
    let answered = |request: &RequestPair| {
        let one = request.one.answer?.1 - request.one.time;
        let other = request.other.answer?.1 - request.other.time;
        Some((one, other))
    };
    let both: Vec<(i64, i64)> = pairs.iter().filter_map(answered).collect();
    let sorted = |value: fn(&(i64, i64)) -> i64| {
        let mut values: Vec<i64> = both.iter().map(value).collect();
        values.sort_unstable();
        Delays::of(&values)
    };
    (!pairs.is_empty()).then(|| RequestTimes {
        requests: pairs.len() as u64,
        client_leg_ms: sorted(|legs| legs.0),
        server_leg_ms: sorted(|legs| legs.1),
        proxy_ms: sorted(|legs| legs.0 - legs.1),
    })
}
