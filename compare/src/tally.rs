//! From the verdicts on single packets to the counts of connections, hops and time slices.

use analyzer::Timestamp;

use crate::forwarded::{Forwarded, times};
use crate::hops::{Hop, Traversed};
use crate::pairing::{PairedBy, Pairing, RequestPair};
use crate::path::Route;
use crate::reading::{Flow, Point};
use crate::result::{
    ConnectionHop, ConnectionSummary, HopSummary, RequestTimes, Slice, WaySummary,
};
use crate::verdict::{Case, Delays, Fate, Judged, Open, Tally, settle};

/// Everything that conclusions are drawn from.
pub(crate) struct Facts<'a> {
    pub points: &'a [Point],
    pub pairing: &'a Pairing,
    pub route: &'a Route,
    pub traversed: &'a [Traversed],
    pub forwarded: &'a [Forwarded],
}

/// Slices of the heat map.
const SLICES: usize = 60;

/// Decides what single connections left open.
pub(crate) fn settle_all(traversed: &mut [Traversed], route: &Route) {
    let mut open: Vec<Open<'_>> = Vec::new();
    for one in traversed.iter_mut() {
        let count = one.hops.len();
        for (place, hop) in one.hops.iter_mut().enumerate() {
            let (from, to, windows, reach) = (hop.from, hop.to, hop.windows, hop.reach);
            let beyond = [place + 1 < count, place > 0];
            let roles = hop.judged.iter_mut().enumerate();
            open.extend(roles.map(|(role, judged)| Open {
                key: if role == 0 { (from, to) } else { (to, from) },
                up_window: windows[role],
                down_window: windows[1 - role],
                reach: reach[role],
                has_beyond: beyond[role],
                judged,
            }));
        }
    }
    settle(&mut open);
    for one in traversed {
        pass_on(one, route);
    }
}

/// What a point missed and no point behind it saw is lost on the hop behind it.
fn pass_on(traversed: &mut Traversed, route: &Route) {
    for place in 0..traversed.hops.len() {
        for role in [0, 1] {
            let next = if role == 0 {
                Some(place + 1).filter(|next| *next < traversed.hops.len())
            } else {
                place.checked_sub(1)
            };
            let Some(next) = next else { continue };
            let hop = &traversed.hops[place];
            let shared = if role == 0 { hop.to } else { hop.from };
            let behind = &traversed.hops[next];
            let legs = (
                route.leg(hop.from, hop.to),
                route.leg(behind.from, behind.to),
            );
            let gone = hop.judged[role].cases.iter().filter(|case| case.is_gone);
            let lost: Vec<Case> = gone
                .map(|case| {
                    let shown = legs.0.map_or(case.time, |leg| leg.shown(shared, case.time));
                    Case {
                        fate: Fate::Lost,
                        time: legs.1.map_or(shown, |leg| leg.line(shared, 0, shown)),
                        elsewhere: legs.1.map_or(shown, |leg| leg.line(shared, 0, shown)),
                        up: None,
                        is_gone: false,
                        ..*case
                    }
                })
                .collect();
            traversed.hops[next].judged[role].cases.extend(lost);
        }
    }
}

/// Units of a fate.
pub(crate) fn units(cases: &[Case], fate: Fate) -> u64 {
    let of_fate = cases.iter().filter(|case| case.fate == fate);
    of_fate.map(|case| case.units).sum()
}

/// The counts of one direction. `role` says who sent it: 0 the client, 1 the server.
pub(crate) fn tally(judged: &Judged, role: usize, has_clock: bool) -> Tally {
    let count = |fate: Fate| units(&judged.cases, fate);
    let (likely_lost, likely_missed) = (count(Fate::LikelyLost), count(Fate::LikelyMissed));
    let (lost, down, up) = (
        count(Fate::Lost) + likely_lost,
        count(Fate::MissedDown) + likely_missed,
        count(Fate::MissedUp),
    );
    let (missed_at_from, missed_at_to) = if role == 0 { (up, down) } else { (down, up) };
    Tally {
        segments: judged.delivered + lost + down,
        delivered: judged.delivered,
        lost,
        missed_at_from,
        missed_at_to,
        undecided: likely_lost + likely_missed,
        undecided_lost: likely_lost,
        reordered: count(Fate::Reordered),
        duplicated: count(Fate::Duplicated),
        made: count(Fate::Made),
        changed: judged.changed,
        delay_ms: Delays::of(&judged.delays).filter(|_| has_clock),
    }
}

impl Tally {
    /// Those that are counted as unseen at the downstream point because that is likely.
    pub(crate) const fn likely_missed(&self) -> u64 {
        self.undecided - self.undecided_lost
    }

    /// Those that were lost for certain.
    #[must_use]
    pub(crate) const fn proved_lost(&self) -> u64 {
        self.lost - self.undecided_lost
    }

    fn add(&mut self, other: &Self) {
        self.segments += other.segments;
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.missed_at_from += other.missed_at_from;
        self.missed_at_to += other.missed_at_to;
        self.undecided += other.undecided;
        self.undecided_lost += other.undecided_lost;
        self.reordered += other.reordered;
        self.duplicated += other.duplicated;
        self.made += other.made;
        self.changed.add(&other.changed);
    }
}

impl Facts<'_> {
    /// Place of a point in path order.
    pub fn place(&self, point: usize) -> usize {
        let order = &self.route.order;
        order.iter().position(|one| *one == point).unwrap_or(0)
    }

    /// Per point, its flows without a partner.
    pub fn unpaired(&self) -> Vec<Vec<u32>> {
        let mut paired: Vec<Vec<bool>> = self
            .points
            .iter()
            .map(|point| vec![false; point.flows.len()])
            .collect();
        for group in &self.pairing.groups {
            for (point, flow) in group.members() {
                paired[point][flow as usize] = true;
            }
        }
        for forwarded in self.forwarded {
            for (point, flow) in [forwarded.one, forwarded.other] {
                paired[point][flow as usize] = true;
            }
        }
        let lone = |flows: Vec<bool>| {
            let indices = (0..).zip(flows);
            indices
                .filter(|(_, paired)| !paired)
                .map(|(index, _)| index)
                .collect()
        };
        paired.into_iter().map(lone).collect()
    }

    /// The connections for the report; points are counted in path order.
    pub fn connections(&self) -> Vec<ConnectionSummary> {
        let whole = self
            .traversed
            .iter()
            .map(|traversed| self.connection(traversed));
        let joined = self
            .forwarded
            .iter()
            .map(|forwarded| self.joined(forwarded));
        whole.chain(joined).collect()
    }

    fn connection(&self, traversed: &Traversed) -> ConnectionSummary {
        let group = &self.pairing.groups[traversed.group];
        let mut members: Vec<(usize, u32)> = group.members().collect();
        members.sort_by_key(|(point, _)| self.place(*point));
        let flow = |(point, flow): (usize, u32)| &self.points[point].flows[flow as usize];
        let ends = |member: (usize, u32)| {
            let flow = flow(member);
            let side = group.side(member.0, 0);
            (flow.endpoint(side), flow.endpoint(1 - side))
        };
        let at: Vec<_> = members
            .iter()
            .map(|member| {
                let (client, server) = ends(*member);
                (self.place(member.0), client, server)
            })
            .collect();
        let translated = at
            .windows(2)
            .any(|pair| (pair[0].1, pair[0].2) != (pair[1].1, pair[1].2));
        let first = members.first().copied();
        ConnectionSummary {
            transport: first.map_or(analyzer::Transport::Tcp, |member| flow(member).transport),
            paired_by: group.by,
            translated,
            sequence_rewritten: group.is_rewritten(),
            at,
            first_frames: members
                .iter()
                .map(|member| flow(*member).first_frame)
                .collect(),
            start: Timestamp::from_nanos(first.map_or(0, |member| flow(member).first)),
            hops: traversed.hops.iter().map(|hop| self.hop(hop)).collect(),
            requests: None,
        }
    }

    /// Two connections that a proxy joins.
    fn joined(&self, forwarded: &Forwarded) -> ConnectionSummary {
        let flow = |(point, flow): (usize, u32)| &self.points[point].flows[flow as usize];
        let (one, other) = (flow(forwarded.one), flow(forwarded.other));
        let ends = |flow: &Flow| {
            let client = flow.client();
            (flow.endpoint(client), flow.endpoint(1 - client))
        };
        let (from, to) = (self.place(forwarded.one.0), self.place(forwarded.other.0));
        let at = vec![
            (from, ends(one).0, ends(one).1),
            (to, ends(other).0, ends(other).1),
        ];
        ConnectionSummary {
            transport: one.transport,
            paired_by: PairedBy::Requests,
            translated: ends(one) != ends(other),
            sequence_rewritten: false,
            at,
            first_frames: vec![one.first_frame, other.first_frame],
            start: Timestamp::from_nanos(one.first),
            hops: vec![ConnectionHop {
                from,
                to,
                client_to_server: Tally::default(),
                server_to_client: Tally::default(),
            }],
            requests: times(&forwarded.pairs),
        }
    }

    fn hop(&self, hop: &Hop) -> ConnectionHop {
        let [client, server] = [0, 1].map(|role| tally(&hop.judged[role], role, hop.has_clock));
        ConnectionHop {
            from: self.place(hop.from),
            to: self.place(hop.to),
            client_to_server: client,
            server_to_client: server,
        }
    }

    /// All connections together between neighbouring points of the path.
    pub fn hop_summaries(&self) -> Vec<HopSummary> {
        let order = &self.route.order;
        let pairs = order.windows(2);
        pairs
            .map(|pair| self.hop_summary(pair[0], pair[1]))
            .collect()
    }

    fn hop_summary(&self, from: usize, to: usize) -> HopSummary {
        let span = self.common_time(from, to);
        let mut summary = HopSummary {
            from: self.place(from),
            to: self.place(to),
            connections: 0,
            requests: self.requests(from, to),
            ways: [WaySummary::default(), WaySummary::default()],
        };
        let mut delays = [Vec::new(), Vec::new()];
        let mut has_clock = false;
        for hop in self.traversed.iter().flat_map(|one| &one.hops) {
            let is_reversed = (hop.from, hop.to) == (to, from);
            if !is_reversed && (hop.from, hop.to) != (from, to) {
                continue;
            }
            summary.connections += 1;
            has_clock |= hop.has_clock;
            for (role, judged) in hop.judged.iter().enumerate() {
                // A reversed connection's client sends against the path.
                let way = if is_reversed { 1 - role } else { role };
                let counts = tally(judged, way, false);
                summary.ways[way].total.add(&counts);
                delays[way].extend_from_slice(&judged.delays);
                slice(&mut summary.ways[way], &judged.cases, span);
            }
        }
        let leg = self.route.leg(from, to);
        if let Some(clock) = leg.and_then(|leg| leg.clock.as_ref()) {
            let shown =
                |time: Timestamp| Timestamp::from_nanos(clock.shown_by_first(time.as_nanos()));
            for way in &mut summary.ways {
                way.loss_span = way.loss_span.map(|span| (shown(span.0), shown(span.1)));
            }
        }
        for (way, mut delays) in delays.into_iter().enumerate() {
            delays.sort_unstable();
            summary.ways[way].total.delay_ms = Delays::of(&delays).filter(|_| has_clock);
        }
        summary
    }

    /// Requests that were forwarded between two points.
    fn requests(&self, from: usize, to: usize) -> Option<RequestTimes> {
        let here = self
            .forwarded
            .iter()
            .filter(|one| (one.one.0, one.other.0) == (from, to));
        let pairs: Vec<RequestPair> = here.flat_map(|one| &one.pairs).copied().collect();
        times(&pairs)
    }

    /// The time that either capture covers, on the line of time of the leg.
    fn common_time(&self, from: usize, to: usize) -> (i64, i64) {
        let window = |point: usize| {
            let own = &self.points[point];
            let leg = self.route.leg(from, to);
            leg.map_or((own.first, own.last), |leg| leg.window(point, own))
        };
        let (one, other) = (window(from), window(to));
        (one.0.min(other.0), one.1.max(other.1))
    }
}

/// Adds cases to the time slices and the span of losses.
fn slice(way: &mut WaySummary, cases: &[Case], (first, last): (i64, i64)) {
    if way.slices.is_empty() {
        way.slices = vec![Slice::default(); SLICES];
    }
    let width = (last.saturating_sub(first) / SLICES as i64).max(1);
    for case in cases {
        let index = (case.time.saturating_sub(first) / width).clamp(0, SLICES as i64 - 1);
        let slice = &mut way.slices[usize::try_from(index).unwrap_or(0)];
        match case.fate {
            Fate::Twice => {}
            Fate::LikelyLost | Fate::LikelyMissed | Fate::LostOrMissed => {
                slice.undecided += case.units;
            }
            Fate::Lost | Fate::LostOrTwice => {
                slice.lost += case.units;
                let time = Timestamp::from_nanos(case.time);
                let span = way.loss_span.get_or_insert((time, time));
                *span = (span.0.min(time), span.1.max(time));
            }
            Fate::MissedDown | Fate::MissedUp => slice.missed += case.units,
            Fate::Made | Fate::MadeOrMissed => slice.made += case.units,
            Fate::Duplicated | Fate::DuplicatedOrMissed | Fate::Reordered => {
                slice.disturbed += case.units;
            }
        }
    }
}
