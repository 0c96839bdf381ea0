//! The order of the points, and what is known of the way between each two of them.

use std::collections::HashMap;

use rayon::prelude::*;

use crate::clock::{Clock, Frames, GroupSamples, Keeps, Passage, Sample, Side, estimate, sample};
use crate::matching::Path;
use crate::pairing::Group;
use crate::reading::Point;

/// Delays of one direction between two points, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Way {
    pub least: i64,
    pub typical: i64,
    pub largest: i64,
}

/// Two points, the one nearer to the clients first.
#[derive(Clone, Debug)]
pub(crate) struct Leg {
    pub one: usize,
    pub other: usize,
    pub clock: Option<Clock>,
    pub keeps: Keeps,
    /// From `one` to `other`, and back.
    pub ways: [Option<Way>; 2],
    /// Connections whose client is on the other side.
    pub reversed: HashMap<usize, bool>,
}

/// What captures cannot resolve, in nanoseconds; queues and clocks take it from either side.
const RESOLUTION: i64 = 500_000;

/// Without any packet in common, time tells nothing.
const UNKNOWN: i64 = i64::MAX / 4;

impl Leg {
    /// What matching needs to know of one way (0: from `one` to `other`) for packets of a role.
    pub fn path(&self, way: usize, role: usize, full_segment: u32) -> Path {
        let known = self.ways[way];
        Path {
            keeps_ip_id: self.keeps.ip_id[role],
            keeps_timestamps: self.keeps.timestamps[role],
            tolerance: if known.is_some() { RESOLUTION } else { UNKNOWN },
            typical: known.map_or(0, |way| way.typical),
            largest: known.map_or(UNKNOWN, |way| 2 * way.largest + 100_000_000),
            full_segment,
        }
    }

    /// A time of one of the two points on their common line of time; `frame` is the one that bears it.
    pub fn line(&self, point: usize, frame: u64, time: i64) -> i64 {
        match &self.clock {
            Some(clock) if point == self.other => clock.line_of_second(frame, time),
            Some(clock) => clock.line_of_first(frame, time),
            None => time,
        }
    }

    /// About what the clock of one of the two points showed at a moment of their common line.
    pub fn shown(&self, point: usize, line: i64) -> i64 {
        let Some(clock) = &self.clock else {
            return line;
        };
        let shown = clock.shown_by_first(line);
        if point == self.other {
            shown.saturating_add(clock.offset_at(line))
        } else {
            shown
        }
    }

    /// When one of the two points captured, on their common line of time.
    pub fn window(&self, index: usize, point: &Point) -> (i64, i64) {
        let side = if index == self.other {
            Side::Second
        } else {
            Side::First
        };
        let was_set = |clock: &Clock| clock.settings.iter().any(|one| one.place.side == side);
        let (first, last) = if self.clock.as_ref().is_some_and(was_set) {
            point.ends
        } else {
            (point.first, point.last)
        };
        (self.line(index, 0, first), self.line(index, u64::MAX, last))
    }

    /// The largest delays: away from `from`, and back to it.
    pub fn reach(&self, from: usize) -> [i64; 2] {
        let largest = self.ways.map(|way| way.map_or(0, |way| way.largest.max(0)));
        if from == self.one {
            largest
        } else {
            [largest[1], largest[0]]
        }
    }

    /// Least round trip between the points in nanoseconds.
    pub fn round_trip(&self) -> i64 {
        self.ways
            .iter()
            .flatten()
            .map(|way| way.least)
            .sum::<i64>()
            .max(0)
    }

    /// Whether one-way figures mean something.
    pub fn has_clock(&self) -> bool {
        self.clock
            .as_ref()
            .is_some_and(|clock| clock.error.is_some())
    }
}

/// The points from client to server, and what lies between each two of them.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// Indices of points, client side first.
    pub order: Vec<usize>,
    /// One for each two points, in the order of the route.
    pub legs: Vec<Leg>,
    /// What the order rests on.
    pub basis: &'static str,
}

impl Route {
    /// The leg between two points, whichever comes first.
    pub fn leg(&self, a: usize, b: usize) -> Option<&Leg> {
        let joins = |leg: &&Leg| (leg.one, leg.other) == (a, b) || (leg.one, leg.other) == (b, a);
        self.legs.iter().find(joins)
    }
}

/// Samples of two points.
struct Sampled {
    pair: (usize, usize),
    groups: Vec<GroupSamples>,
    keeps: Keeps,
}

/// Finds the order of the points and the clocks between them.
pub(crate) fn route(points: &[Point], groups: &[Group]) -> Route {
    let count = points.len();
    let pairs: Vec<(usize, usize)> = (0..count)
        .flat_map(|one| (one + 1..count).map(move |other| (one, other)))
        .collect();
    let sampled: Vec<Sampled> = pairs
        .into_par_iter()
        .map(|pair| {
            let (groups, keeps) = sample(points, groups, pair);
            Sampled {
                pair,
                groups,
                keeps,
            }
        })
        .collect();
    let mut wins = vec![0_i64; count];
    let mut basis = "order given";
    for one in &sampled {
        let (vote, by) = nearer(&one.groups);
        if vote != 0 {
            basis = by;
        }
        // Half a win for the order given where nothing tells.
        wins[one.pair.0] += if vote >= 0 { 2 } else { 0 } - i64::from(vote == 0);
        wins[one.pair.1] += if vote < 0 { 2 } else { 0 };
    }
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|point| (std::cmp::Reverse(wins[*point]), *point));
    let place = |point: usize| order.iter().position(|one| *one == point);
    let legs = sampled
        .into_par_iter()
        .map(|one| {
            let flips = place(one.pair.0) > place(one.pair.1);
            leg(points, one, flips)
        })
        .collect();
    Route { order, legs, basis }
}

/// Positive when the first point is nearer to the clients, and what tells.
fn nearer(groups: &[GroupSamples]) -> (i64, &'static str) {
    let by_hops: i64 = groups
        .iter()
        .map(|group| hops(&group.samples).signum())
        .sum();
    let by_delay: i64 = groups
        .iter()
        .map(|group| turns(&group.samples).signum())
        .sum();
    let is_clear = by_delay.unsigned_abs() * 10 >= groups.len() as u64 * 8;
    match (by_hops.signum(), by_delay.signum()) {
        (0, _) => (by_delay, "smallest delays"),
        (hops, delay) if hops == -delay && is_clear => (by_delay, "smallest delays"),
        _ => (by_hops, "hop limits"),
    }
}

/// Positive when hop limits say that the first point is nearer to the client.
fn hops(samples: &[Sample]) -> i64 {
    let votes = samples.iter().map(|sample| {
        let sign = i64::from(sample.hops.signum());
        if sample.role == 0 { sign } else { -sign }
    });
    votes.sum()
}

/// Positive when a packet of the client and one of the server that follow each other are further
/// apart at the first point: the way to the second one and back lies between.
fn turns(samples: &[Sample]) -> i64 {
    let difference = |sample: &Sample| sample.times[1] - sample.times[0];
    let pairs = samples
        .windows(2)
        .filter(|pair| pair[0].role != pair[1].role);
    let votes = pairs.map(|pair| {
        let (client, server) = if pair[0].role == 0 {
            (&pair[0], &pair[1])
        } else {
            (&pair[1], &pair[0])
        };
        (difference(client) - difference(server)).signum()
    });
    votes.sum()
}

/// The clock between two points and the connections that cross them the other way round.
fn leg(points: &[Point], sampled: Sampled, flips: bool) -> Leg {
    let Sampled {
        pair,
        mut groups,
        keeps,
    } = sampled;
    let (one, other) = if flips { (pair.1, pair.0) } else { pair };
    if flips {
        for group in &mut groups {
            for sample in &mut group.samples {
                sample.frames.swap(0, 1);
                sample.times.swap(0, 1);
                sample.hops = -sample.hops;
            }
        }
    }
    let mut reversed = HashMap::new();
    let mut passages = Vec::new();
    for group in &groups {
        let vote = match hops(&group.samples) {
            0 => turns(&group.samples),
            vote => vote,
        };
        let is_reversed = vote < 0;
        if is_reversed {
            reversed.insert(group.group, true);
        }
        passages.extend(group.samples.iter().map(|sample| Passage {
            from_frame: sample.frames[0],
            to_frame: sample.frames[1],
            from_time: sample.times[0],
            to_time: sample.times[1],
            is_downstream: (sample.role == 0) != is_reversed,
        }));
    }
    passages.sort_unstable_by_key(|passage| (passage.from_frame, passage.to_frame));
    let clock = estimate(&passages, &|| Frames {
        first: frames(&points[one]),
        second: frames(&points[other]),
    });
    let ways = match &clock {
        Some(clock) => [true, false].map(|downstream| way(clock, &passages, downstream)),
        None => [None, None],
    };
    Leg {
        one,
        other,
        clock,
        keeps,
        ways,
        reversed,
    }
}

/// Frames of a point with their times, in their order.
fn frames(point: &Point) -> Vec<(u64, i64)> {
    let records = point.records.iter();
    let mut frames: Vec<(u64, i64)> = records.map(|one| (one.frame, one.time)).collect();
    frames.sort_unstable();
    frames
}

fn way(clock: &Clock, passages: &[Passage], is_downstream: bool) -> Option<Way> {
    let mut delays: Vec<i64> = passages
        .iter()
        .filter(|passage| passage.is_downstream == is_downstream)
        .map(|passage| {
            let passed = clock.line_of_second(passage.to_frame, passage.to_time)
                - clock.line_of_first(passage.from_frame, passage.from_time);
            if is_downstream { passed } else { -passed }
        })
        .collect();
    delays.sort_unstable();
    Some(Way {
        least: *delays.first()?,
        typical: delays[delays.len() / 2],
        largest: *delays.last()?,
    })
}
