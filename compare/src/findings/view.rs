//! All cases of one way between two neighbouring points, whichever end sent them.

use analyzer::Timestamp;

use crate::hops::Hop;
use crate::result::{HopSummary, Place, WaySummary};
use crate::tally::Facts;
use crate::verdict::{Case, Fate, Judged};

/// One way between two neighbouring points of the path.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    pub facts: &'a Facts<'a>,
    /// Indices of the points as they were given: sender's side first.
    pub up: usize,
    pub down: usize,
    /// 0 away from the clients, 1 towards them.
    pub way: usize,
    pub summary: &'a WaySummary,
    pub place: Place,
}

/// One connection on that way.
#[derive(Clone, Copy)]
pub(super) struct OnWay<'a> {
    pub group: usize,
    /// Who sent it: 0 the client, 1 the server.
    pub role: usize,
    pub judged: &'a Judged,
}

impl<'a> Way<'a> {
    /// Both ways of every hop.
    pub fn all(facts: &'a Facts<'a>, hops: &'a [HopSummary]) -> Vec<Self> {
        let mut ways = Vec::new();
        for hop in hops {
            let (from, to) = (facts.route.order[hop.from], facts.route.order[hop.to]);
            for (way, summary) in hop.ways.iter().enumerate() {
                let (up, down) = if way == 0 { (from, to) } else { (to, from) };
                ways.push(Self {
                    facts,
                    up,
                    down,
                    way,
                    summary,
                    place: Place::Between(hop.from, hop.to),
                });
            }
        }
        ways
    }

    /// Names of the upstream and the downstream point.
    pub fn names(&self) -> (&'a str, &'a str) {
        let points = self.facts.points;
        (&points[self.up].name, &points[self.down].name)
    }

    /// `from client to server` or the reverse.
    pub fn direction(&self) -> &'static str {
        if self.way == 0 {
            "from client to server"
        } else {
            "from server to client"
        }
    }

    /// The connections that go this way.
    pub fn connections(self) -> impl Iterator<Item = OnWay<'a>> {
        self.facts.traversed.iter().flat_map(move |traversed| {
            traversed.hops.iter().filter_map(move |hop| {
                let role = self.role(hop)?;
                Some(OnWay {
                    group: traversed.group,
                    role,
                    judged: &hop.judged[role],
                })
            })
        })
    }

    /// Who sends this way on a hop, if the hop is of these points.
    fn role(&self, hop: &Hop) -> Option<usize> {
        if (hop.from, hop.to) == (self.up, self.down) {
            Some(0)
        } else if (hop.from, hop.to) == (self.down, self.up) {
            Some(1)
        } else {
            None
        }
    }

    /// All cases of a fate, with the connection.
    pub fn cases(self, fate: Fate) -> impl Iterator<Item = (OnWay<'a>, &'a Case)> {
        self.connections().flat_map(move |on| {
            let cases = on.judged.cases.iter().filter(move |case| case.fate == fate);
            cases.map(move |case| (on, case))
        })
    }
}

/// The time of day of a moment, in UTC.
pub(super) fn clock_time(time: Timestamp) -> String {
    time.rfc3339().get(11..19).unwrap_or_default().to_owned()
}

/// A span of time in words: one moment or two.
pub(super) fn span_text(span: Option<(Timestamp, Timestamp)>) -> String {
    match span.map(|(first, last)| (clock_time(first), clock_time(last))) {
        None => String::new(),
        Some((first, last)) if first == last => format!(", {first}"),
        Some((first, last)) => format!(", {first}–{last}"),
    }
}
