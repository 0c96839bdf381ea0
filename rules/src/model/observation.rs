//! What a rule saw: single occurrences, facts kept for the end, and the bounds on both.
//!
//! Everything is kept by the first frame of its connection: when a bound is reached the
//! earliest stay, in every shard alike, so the result does not depend on how connections were
//! spread over shards.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use analyzer::app::At;
use analyzer::connection::Histogram;
use analyzer::event::SegmentRef;
use analyzer::{Connection, Direction, Endpoint, QualityKind, Timestamp};

use crate::model::connection_ref::ConnectionRef;
use crate::model::figure::FigureValue;
use crate::model::impact::Impact;
use crate::model::occurrence::Occurrence;
use crate::model::owner::Owner;

/// Occurrences kept per rule: enough for any figure to be right within its spread, at about
/// 1 kB each.
pub const OBSERVATIONS_PER_RULE: usize = 20_000;
/// Facts kept per rule, at about 200 bytes each.
pub const NOTES_PER_RULE: usize = 10_000;
/// Endpoints for which a rule may keep a histogram.
pub const HISTOGRAMS_PER_RULE: usize = 16_384;

/// One occurrence of a rule's state on one connection, with what the rule's words need of it.
///
/// What all rules have in common lies apart: whatever is done with that alone is compiled once, not
/// once for each rule.
#[derive(Clone, PartialEq, Debug)]
pub struct Observation<S = ()> {
    /// What every occurrence has, of whatever rule.
    pub occurrence: Occurrence,
    /// What the words of the finding need beyond its figures.
    pub seen: S,
}

impl<S> Deref for Observation<S> {
    type Target = Occurrence;

    fn deref(&self) -> &Occurrence {
        &self.occurrence
    }
}

impl<S> DerefMut for Observation<S> {
    fn deref_mut(&mut self) -> &mut Occurrence {
        &mut self.occurrence
    }
}

/// The limits of the capture that may touch one connection and not another.
const OF_CONNECTIONS: [QualityKind; 6] = [
    QualityKind::CaptureDrops,
    QualityKind::DuplicateFrames,
    QualityKind::Snaplen,
    QualityKind::OneSided,
    QualityKind::Offload,
    QualityKind::CaptureDisorder,
];

fn limits_of(conn: &Connection) -> Vec<QualityKind> {
    let mut limits = Vec::new();
    for limit in OF_CONNECTIONS {
        if conn.is_touched_by(limit) {
            limits.push(limit);
        }
    }
    limits
}

impl Observation {
    /// An occurrence on `conn` that groups with others of the same `server` endpoint.
    #[must_use]
    pub fn new(conn: &Connection, confidence: f64, impact: Impact) -> Self {
        let occurrence = Occurrence::new(
            ConnectionRef::from(conn),
            conn.server.to_string(),
            conn.start,
            confidence,
            impact,
            limits_of(conn),
        );
        Self {
            occurrence: Occurrence {
                owner: Owner::of(conn),
                ..occurrence
            },
            seen: (),
        }
    }

    /// An occurrence that only the end of the capture shows, placed on a connection noted before.
    #[must_use]
    pub fn from_note<F>(note: &Note<F>, confidence: f64, impact: Impact) -> Self {
        let occurrence = Occurrence::new(
            note.connection,
            note.connection.server.to_string(),
            note.at,
            confidence,
            impact,
            note.limits.clone(),
        );
        Self {
            occurrence: Occurrence {
                owner: note.owner.clone(),
                ..occurrence
            },
            seen: (),
        }
    }

    /// Adds what the words of the finding need.
    #[must_use]
    pub fn seen<S>(self, seen: S) -> Observation<S> {
        Observation {
            occurrence: self.occurrence,
            seen,
        }
    }
}

impl<S> Observation<S> {
    /// Groups with occurrences of the same text instead of the same server.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = cause.into();
        self
    }

    /// When it showed.
    #[must_use]
    pub fn at(mut self, at: Timestamp) -> Self {
        self.at = at;
        self
    }

    /// From when to when its main figure was measured, where that is not the wait that begins when it
    /// showed: nothing is told of it where the capture's clock was set meanwhile.
    #[must_use]
    pub fn measured(mut self, from: Timestamp, to: Timestamp) -> Self {
        self.measured = Some((from, to));
        self
    }

    /// How good an example it is.
    #[must_use]
    pub fn weight(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }

    /// How many times it happened on this connection.
    #[must_use]
    pub fn count(mut self, count: u64) -> Self {
        self.count = count.max(1);
        self
    }

    /// What it did to somebody, where that shows only when all is known.
    #[must_use]
    pub fn impact(mut self, impact: Impact) -> Self {
        self.impact = impact;
        self
    }

    /// Adds a frame and a fact that can be checked there, which proves nothing by itself.
    #[must_use]
    pub fn evidence(mut self, segment: SegmentRef, note: impl Into<String>) -> Self {
        self.add(segment, note.into(), false);
        self
    }

    /// Adds a frame that proves the state, and what can be checked there.
    #[must_use]
    pub fn proof(mut self, segment: SegmentRef, note: impl Into<String>) -> Self {
        self.add(segment, note.into(), true);
        self
    }

    /// Adds a frame that proves the state, when there is one.
    #[must_use]
    pub fn proof_if(self, segment: Option<SegmentRef>, note: impl Into<String>) -> Self {
        match segment {
            Some(segment) => self.proof(segment, note),
            None => self,
        }
    }

    /// Adds a frame when there is one.
    #[must_use]
    pub fn evidence_if(self, segment: Option<SegmentRef>, note: impl Into<String>) -> Self {
        match segment {
            Some(segment) => self.evidence(segment, note),
            None => self,
        }
    }

    /// A declared figure.
    #[must_use]
    pub fn figure(mut self, name: &'static str, value: f64) -> Self {
        self.figures.push((name, FigureValue::Number(value)));
        self
    }

    /// A declared figure that may not be known here.
    #[must_use]
    pub fn figure_if(self, name: &'static str, value: Option<f64>) -> Self {
        match value {
            Some(value) => self.figure(name, value),
            None => self,
        }
    }

    /// A declared figure in words.
    #[must_use]
    pub fn text(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.figures.push((name, FigureValue::Text(value.into())));
        self
    }

    /// Times, from and to, in which the connection stood still because of it.
    #[must_use]
    pub fn stalls(mut self, spans: impl IntoIterator<Item = (Timestamp, Timestamp)>) -> Self {
        self.stalls.extend(spans);
        self
    }

    /// Names what its impact counts as failed or lost, such as `connections_failed`.
    #[must_use]
    pub fn failures(mut self, name: &'static str) -> Self {
        self.failures = Some(name);
        self
    }

    /// A cost in user terms, such as `requests_failed` or `time_lost_ms`.
    #[must_use]
    pub fn cost(mut self, name: &'static str, value: f64) -> Self {
        self.cost.push((name, value));
        self
    }
}

/// A fact about one connection that a rule needs at the end of the capture.
#[derive(Clone, PartialEq, Debug)]
pub struct Note<F> {
    /// Where.
    pub connection: ConnectionRef,
    /// When.
    pub at: Timestamp,
    /// What.
    pub fact: F,
    /// Limits of the capture that touch the connection.
    pub limits: Vec<QualityKind>,
    /// Whose the connection is, as the capture itself says.
    pub owner: Option<Box<Owner>>,
}

impl<F> Note<F> {
    /// A fact of `conn`.
    #[must_use]
    pub fn new(conn: &Connection, fact: F) -> Self {
        Self {
            connection: ConnectionRef::from(conn),
            at: conn.start,
            fact,
            limits: limits_of(conn),
            owner: Owner::of(conn),
        }
    }

    /// When it was so.
    #[must_use]
    pub fn at(mut self, at: Timestamp) -> Self {
        self.at = at;
        self
    }
}

/// The segment of a place, where the read model still holds it; else the place alone.
#[must_use]
pub fn segment_at(conn: &Connection, at: At, direction: Direction) -> SegmentRef {
    let turns = conn
        .turns
        .last
        .iter()
        .chain(&conn.turns.before_last)
        .chain(&conn.turns.slowest);
    let spans = turns
        .flat_map(|turn| [Some(turn.request), turn.response])
        .flatten();
    let ends = spans.flat_map(|span| [span.first, span.last]);
    let halves = conn
        .halves
        .iter()
        .flat_map(|half| [half.first_data, half.last_data])
        .flatten();
    let place = SegmentRef::place(at.frame, at.time, direction);
    ends.chain(halves)
        .find(|segment| segment.frame == at.frame)
        .unwrap_or(place)
}

/// What a rule records while it judges one connection.
pub struct Observations<S = (), F = ()> {
    pub(crate) observations: Vec<Observation<S>>,
    pub(crate) notes: Vec<Note<F>>,
    /// No more facts are kept: those of this connection are only counted.
    pub(crate) counts_notes: bool,
    pub(crate) notes_counted: u64,
    pub(crate) histograms: Vec<(Endpoint, Histogram)>,
    pub(crate) not_assessed: Option<&'static str>,
}

impl<S, F> Observations<S, F> {
    pub(crate) const fn new(counts_notes: bool) -> Self {
        Self {
            observations: Vec::new(),
            notes: Vec::new(),
            counts_notes,
            notes_counted: 0,
            histograms: Vec::new(),
            not_assessed: None,
        }
    }

    /// An occurrence.
    pub fn push(&mut self, observation: Observation<S>) {
        self.observations.push(observation);
    }

    /// A fact for the end, which is made only if it may be kept.
    pub fn note(&mut self, make: impl FnOnce() -> Note<F>) {
        if self.counts_notes {
            self.notes_counted += 1;
        } else {
            self.notes.push(make());
        }
    }

    /// Adds durations to the distribution of an endpoint.
    pub fn durations(&mut self, endpoint: Endpoint, histogram: &Histogram) {
        if histogram.count() > 0 {
            self.histograms.push((endpoint, histogram.clone()));
        }
    }

    /// Whether nothing was recorded that is kept.
    pub(crate) const fn is_empty(&self) -> bool {
        self.observations.is_empty() && self.notes.is_empty() && self.histograms.is_empty()
    }

    /// This connection cannot be judged: why.
    pub fn not_assessed(&mut self, reason: &'static str) {
        self.not_assessed = Some(reason);
    }
}

/// Everything one rule collected over the whole capture.
pub struct Collected<S = (), F = ()> {
    /// Occurrences, by first frame of their connection.
    pub observations: Vec<Observation<S>>,
    /// Facts, by first frame of their connection.
    pub notes: Vec<Note<F>>,
    /// Distributions per endpoint.
    pub durations: BTreeMap<Endpoint, Histogram>,
}
