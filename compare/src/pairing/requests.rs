//! Across a proxy, which ends connections: by the requests that it forwards.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::is_tcp;
use crate::reading::{Fact, Point};
use crate::requests::Request;

/// One request on two legs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RequestPair {
    /// Flow, frame and time of the request on the client's leg.
    pub one: Leg,
    /// The same on the server's leg.
    pub other: Leg,
    /// Whether a header named it.
    pub by_id: bool,
}

/// A request and the beginning of its answer on one leg.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Leg {
    pub flow: u32,
    pub frame: u64,
    /// When the request was captured.
    pub time: i64,
    /// Frame and time of the first payload that came back.
    pub answer: Option<(u64, i64)>,
}

/// Pairs the requests of flows that have no partner, between two points in the order of the path.
///
/// `offset` is what is to be taken off the times at `other`, where it is known. Requests with an
/// id pair by it; others by method, target and Host, or by method and target alone, in their order,
/// where each point has the same number of them.
pub(crate) fn pair_requests(
    points: &[Point],
    lacks: &[Vec<bool>],
    (one, other): (usize, usize),
    offset: Option<i64>,
) -> Vec<RequestPair> {
    let single = |point: usize| -> Vec<&Request> {
        let data = &points[point];
        let requests = data.requests.iter();
        requests
            .filter(|request| lacks[point][request.flow as usize])
            .filter(|request| is_tcp(&data.flows[request.flow as usize]))
            .collect()
    };
    let (here, there) = (single(one), single(other));
    if here.is_empty() || there.is_empty() {
        return Vec::new();
    }
    let mut pairs = by_id(&here, &there);
    pairs.extend(by_what(&here, &there, &pairs, offset, |request| {
        request.what
    }));
    // Proxies may call the server by a name of its own.
    pairs.extend(by_what(&here, &there, &pairs, offset, |request| {
        request.target
    }));
    pairs.sort_unstable_by_key(|(a, b, _)| (a.frame, b.frame));
    pairs
        .into_iter()
        .map(|(a, b, by_id)| RequestPair {
            one: leg(&points[one], a),
            other: leg(&points[other], b),
            by_id,
        })
        .collect()
}

type Pair<'a> = (&'a Request, &'a Request, bool);

fn by_id<'a>(here: &[&'a Request], there: &[&'a Request]) -> Vec<Pair<'a>> {
    let mut owners: HashMap<u64, Vec<&Request>, FixedState> = HashMap::default();
    for request in there {
        if let Some(id) = request.id {
            owners.entry(id).or_default().push(request);
        }
    }
    let mut used: HashMap<u64, u32, FixedState> = HashMap::default();
    for id in here.iter().filter_map(|request| request.id) {
        *used.entry(id).or_default() += 1;
    }
    here.iter()
        .filter_map(|request| {
            let id = request.id.filter(|id| used.get(id) == Some(&1))?;
            match owners.get(&id).map(|found| &found[..]) {
                Some([partner]) => Some((*request, *partner, true)),
                _ => None,
            }
        })
        .collect()
}

/// Requests that read alike, paired in their order. Without a common clock only where both points
/// have as many; with one each takes the first that follows it.
fn by_what<'a>(
    here: &[&'a Request],
    there: &[&'a Request],
    known: &[Pair<'a>],
    offset: Option<i64>,
    what: fn(&Request) -> u64,
) -> Vec<Pair<'a>> {
    let mut taken_here: Vec<u64> = known.iter().map(|(a, _, _)| a.frame).collect();
    taken_here.sort_unstable();
    let mut taken_there: Vec<u64> = known.iter().map(|(_, b, _)| b.frame).collect();
    taken_there.sort_unstable();
    let mut by_what: HashMap<u64, (Vec<&Request>, Vec<&Request>), FixedState> = HashMap::default();
    let is_open = |one: &&&Request| taken_here.binary_search(&one.frame).is_err();
    for request in here.iter().filter(is_open) {
        by_what.entry(what(request)).or_default().0.push(request);
    }
    let is_free = |one: &&&Request| taken_there.binary_search(&one.frame).is_err();
    for request in there.iter().filter(is_free) {
        by_what.entry(what(request)).or_default().1.push(request);
    }
    let mut pairs = Vec::new();
    for (mut a, mut b) in by_what.into_values() {
        a.sort_unstable_by_key(|one| (one.time, one.frame));
        b.sort_unstable_by_key(|one| (one.time, one.frame));
        match offset {
            None if a.len() == b.len() => {
                pairs.extend(a.into_iter().zip(b).map(|(a, b)| (a, b, false)));
            }
            None => {}
            Some(offset) => {
                let mut next = 0;
                for (at, &request) in a.iter().enumerate() {
                    let until = a.get(at + 1).map_or(i64::MAX, |one| one.time);
                    while b
                        .get(next)
                        .is_some_and(|one| one.time - offset < request.time)
                    {
                        next += 1;
                    }
                    if let Some(&partner) = b.get(next)
                        && (partner.time - offset < until || a.len() - at <= b.len() - next)
                    {
                        pairs.push((request, partner, false));
                        next += 1;
                    }
                }
            }
        }
    }
    pairs
}

fn leg(point: &Point, request: &Request) -> Leg {
    let records = point.records_of(&point.flows[request.flow as usize]);
    let answer = records
        .iter()
        .skip_while(|record| record.frame <= request.frame)
        .find(|record| record.side() != request.side && record.len > 0 && record.has(Fact::TCP));
    Leg {
        flow: request.flow,
        frame: request.frame,
        time: request.time,
        answer: answer.map(|record| (record.frame, record.time)),
    }
}
