//! One connection along the route: its packets matched and judged hop by hop.

use std::collections::{HashMap, HashSet};

use crate::clock::Side;
use crate::matching::{Bases, Matching, Segment, match_copies, segments};
use crate::pairing::Group;
use crate::path::{Leg, Route};
use crate::reading::{Fact, Point, SYN};
use crate::verdict::{Direction, Judged, Translation, judge};

/// One connection between two neighbouring points.
#[derive(Clone, Debug)]
pub(crate) struct Hop {
    /// The client's side first.
    pub from: usize,
    pub to: usize,
    /// What the client sent, what the server sent.
    pub judged: [Judged; 2],
    /// Capture time of both points on the line of time of the cases.
    pub windows: [(i64, i64); 2],
    /// The largest delay of each.
    pub reach: [i64; 2],
    /// Whether one-way figures mean something.
    pub has_clock: bool,
}

/// What was found of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Traversed {
    pub group: usize,
    pub hops: Vec<Hop>,
}

/// All packets of one role at one point, by the clock of a leg's first point.
type Sides<'a> = [Vec<Segment<'a>>; 2];

/// Two points with what their packets have in common.
struct Crossing<'a> {
    leg: &'a Leg,
    /// At the first and the second point of the connection's own order.
    sides: [Sides<'a>; 2],
    paths: [crate::matching::Path; 2],
    matchings: [Matching; 2],
}

/// Follows one connection along the route.
pub(crate) fn traverse(
    points: &[Point],
    groups: &[Group],
    index: usize,
    route: &Route,
) -> Traversed {
    let group = &groups[index];
    let mut members: Vec<usize> = route
        .order
        .iter()
        .copied()
        .filter(|point| group.flows[*point].is_some())
        .collect();
    let is_reversed = |pair: &[usize]| {
        let leg = route.leg(pair[0], pair[1]);
        leg.is_some_and(|leg| leg.reversed.contains_key(&index))
    };
    if members.windows(2).any(is_reversed) {
        members.reverse();
    }
    let bases = Bases::of(points, group);
    let full_segment = full_segment(points, group);
    let mut crossings: HashMap<(usize, usize), Crossing<'_>> = HashMap::new();
    for (at, &from) in members.iter().enumerate() {
        for &to in &members[at + 1..] {
            if let Some(leg) = route.leg(from, to) {
                let crossing = cross(points, group, bases, (from, to), leg, full_segment);
                crossings.insert((from, to), crossing);
            }
        }
    }
    let hops = members
        .windows(2)
        .filter_map(|pair| hop(points, group, bases, (&members, pair), &crossings))
        .collect();
    Traversed { group: index, hops }
}

/// Matches the packets of two points in both directions.
fn cross<'a>(
    points: &'a [Point],
    group: &Group,
    bases: Bases,
    (from, to): (usize, usize),
    leg: &'a Leg,
    full_segment: u32,
) -> Crossing<'a> {
    let clock = leg.clock.as_ref();
    let at = |point: usize| {
        let side = if point == leg.other {
            Side::Second
        } else {
            Side::First
        };
        segments(points, group, bases, point, clock, side)
    };
    let sides = [at(from), at(to)];
    // The way from the leg's first point, when the connection goes that way.
    let way = usize::from(from != leg.one);
    let paths = [
        leg.path(way, 0, full_segment),
        leg.path(1 - way, 1, full_segment),
    ];
    let matchings = [
        match_copies(&sides[0][0], &sides[1][0], &paths[0]),
        match_copies(&sides[1][1], &sides[0][1], &paths[1]),
    ];
    Crossing {
        leg,
        sides,
        paths,
        matchings,
    }
}

/// Judges both directions between two neighbouring points.
fn hop(
    points: &[Point],
    group: &Group,
    bases: Bases,
    (members, pair): (&[usize], &[usize]),
    crossings: &HashMap<(usize, usize), Crossing<'_>>,
) -> Option<Hop> {
    let (from, to) = (pair[0], pair[1]);
    let crossing = crossings.get(&(from, to))?;
    let translation = |role: usize| translation(points, group, (from, to), role);
    let base = |point: usize, role: usize| bases.0[role].wrapping_add(group.shifts[point][role]);
    let round_trip = crossing.leg.round_trip();
    let judged = [0, 1].map(|role| {
        // What the client sent goes from the first point to the second, what the server sent back.
        let (up, down) = if role == 0 { (0, 1) } else { (1, 0) };
        let at = |end: usize| pair[end];
        let (beyond, before) = seen_elsewhere(members, pair, role, crossings);
        judge(&Direction {
            path: &crossing.paths[role],
            matching: &crossing.matchings[role],
            up: &crossing.sides[up][role],
            down: &crossing.sides[down][role],
            back_up: &crossing.sides[up][1 - role],
            back_down: &crossing.sides[down][1 - role],
            up_point: &points[at(up)],
            down_point: &points[at(down)],
            base_up: base(at(up), role),
            base_down: base(at(down), role),
            round_trip,
            translation: translation(role),
            seen_beyond: &beyond,
            seen_before: &before,
            has_beyond: if role == 0 {
                members.last() != Some(&to)
            } else {
                members.first() != Some(&from)
            },
        })
    });
    let window = |point: usize| crossing.leg.window(point, &points[point]);
    Some(Hop {
        from,
        to,
        judged,
        windows: [window(from), window(to)],
        reach: crossing.leg.reach(from),
        has_clock: crossing.leg.has_clock(),
    })
}

/// Packets of the upstream point that a point beyond the downstream one saw, and packets of the
/// downstream point that a point before the upstream one saw.
fn seen_elsewhere(
    members: &[usize],
    pair: &[usize],
    role: usize,
    crossings: &HashMap<(usize, usize), Crossing<'_>>,
) -> (HashSet<usize>, HashSet<usize>) {
    let mut beyond = HashSet::new();
    let mut before = HashSet::new();
    let place = |point: usize| members.iter().position(|one| *one == point);
    let (Some(from), Some(to)) = (place(pair[0]), place(pair[1])) else {
        return (beyond, before);
    };
    let matching = |a: usize, b: usize| {
        let crossing = crossings.get(&(members[a], members[b]));
        crossing.map(|crossing| &crossing.matchings[role])
    };
    if role == 0 {
        for far in to + 1..members.len() {
            let portions = matching(from, far).into_iter().flat_map(|m| &m.portions);
            beyond.extend(portions.map(|portion| portion.up));
        }
        for far in 0..from {
            let portions = matching(far, to).into_iter().flat_map(|m| &m.portions);
            before.extend(portions.map(|portion| portion.down));
        }
    } else {
        for far in 0..from {
            let portions = matching(far, to).into_iter().flat_map(|m| &m.portions);
            beyond.extend(portions.map(|portion| portion.up));
        }
        for far in to + 1..members.len() {
            let portions = matching(from, far).into_iter().flat_map(|m| &m.portions);
            before.extend(portions.map(|portion| portion.down));
        }
    }
    (beyond, before)
}

/// What is rewritten in all packets of one role between two points.
fn translation(points: &[Point], group: &Group, pair: (usize, usize), role: usize) -> Translation {
    let ends = |point: usize| {
        let flow = group.flows[point].map(|flow| &points[point].flows[flow as usize]);
        flow.map(|flow| [0, 1].map(|end| flow.ends[group.side(point, end)]))
    };
    let (Some(one), Some(other)) = (ends(pair.0), ends(pair.1)) else {
        return Translation::default();
    };
    let mut both = one.iter().zip(&other);
    Translation {
        addresses: both.clone().any(|(a, b)| a.0 != b.0),
        ports: both.any(|(a, b)| a.1 != b.1),
        numbers: group.shifts[pair.0][role] != group.shifts[pair.1][role],
    }
}

/// Payload of a full segment on the wire: what the SYNs allow, less the timestamps that each
/// segment bears; without SYNs the largest that is frequent or that two points saw, and that fits into an
/// Ethernet frame.
fn full_segment(points: &[Point], group: &Group) -> u32 {
    const TIMESTAMPS: u32 = 12;
    const ETHERNET: u32 = 1460;
    let records = || {
        group
            .members()
            .flat_map(|(point, flow)| points[point].records_of(&points[point].flows[flow as usize]))
    };
    let with_timestamps = records().any(|record| record.len > 0 && record.has(Fact::TIMESTAMPS));
    let mss = records()
        .filter(|record| record.flags & SYN != 0 && record.mss > 0)
        .map(|record| u32::from(record.mss))
        .min();
    let mut lengths: Vec<(u32, usize)> = group
        .members()
        .flat_map(|(point, flow)| {
            let records = points[point].records_of(&points[point].flows[flow as usize]);
            records.iter().map(move |record| (record.len, point))
        })
        .filter(|(len, _)| (1..=ETHERNET).contains(len))
        .collect();
    lengths.sort_unstable();
    let largest = lengths
        .chunk_by(|a, b| a.0 == b.0)
        .rev()
        .find(|run| run.len() >= 3 || run[0].1 != run[run.len() - 1].1);
    let largest = largest.map_or(0, |run| run[0].0);
    let options = if with_timestamps { TIMESTAMPS } else { 0 };
    match mss.map(|mss| mss.saturating_sub(options)) {
        Some(allowed) => allowed.max(largest),
        None if largest > 0 => largest,
        None => ETHERNET,
    }
}
