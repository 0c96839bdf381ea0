//! What a rule saw: single occurrences, facts kept for the end, and the bounds on both.
//!
//! Everything is kept by the first frame of its connection: when a bound is reached the
//! earliest stay, in every shard alike, so the result does not depend on how connections were
//! spread over shards.

use std::collections::BTreeMap;

use analyzer::app::At;
use analyzer::connection::Histogram;
use analyzer::event::SegmentRef;
use analyzer::{Connection, Direction, Endpoint, QualityKind, Timestamp};

use crate::model::connection_ref::ConnectionRef;
use crate::model::evidence::Evidence;
use crate::model::figure::FigureValue;
use crate::model::impact::Impact;

/// Occurrences kept per rule: enough for any figure to be right within its spread, at about
/// 1 kB each.
pub const OBSERVATIONS_PER_RULE: usize = 20_000;
/// Facts kept per rule, at about 200 bytes each.
pub const NOTES_PER_RULE: usize = 25_000;
/// Endpoints for which a rule may keep a histogram.
pub const HISTOGRAMS_PER_RULE: usize = 16_384;

/// One occurrence of a rule's state on one connection, with what the rule's words need of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Observation<S = ()> {
    /// Where.
    pub connection: ConnectionRef,
    /// Occurrences with an equal text become one finding.
    pub cause: String,
    /// When it showed.
    pub at: Timestamp,
    /// How much of the signature was seen, 0–1.
    pub confidence: f64,
    /// What it did to somebody.
    pub impact: Impact,
    /// How telling as an example: larger is shown first.
    pub weight: f64,
    /// How many times it happened on this connection.
    pub count: u64,
    /// Proof, in frame order.
    pub evidence: Vec<Evidence>,
    /// Declared figures.
    pub figures: Vec<(&'static str, FigureValue)>,
    /// Costs in user terms; summed over occurrences.
    pub cost: Vec<(&'static str, f64)>,
    /// What the words of the finding need beyond its figures.
    pub seen: S,
    /// Limits of the capture that touch the connection.
    pub limits: Vec<QualityKind>,
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
    OF_CONNECTIONS
        .into_iter()
        .filter(|limit| conn.is_touched_by(*limit))
        .collect()
}

impl Observation {
    /// An occurrence on `conn` that groups with others of the same `server` endpoint.
    #[must_use]
    pub fn new(conn: &Connection, confidence: f64, impact: Impact) -> Self {
        Self {
            connection: ConnectionRef::from(conn),
            cause: conn.server.to_string(),
            at: conn.start,
            confidence,
            impact,
            weight: 0.0,
            count: 1,
            evidence: Vec::new(),
            figures: Vec::new(),
            cost: Vec::new(),
            seen: (),
            limits: limits_of(conn),
        }
    }

    /// An occurrence that only the end of the capture shows, placed on a connection noted before.
    #[must_use]
    pub fn from_note<F>(note: &Note<F>, confidence: f64, impact: Impact) -> Self {
        Self {
            connection: note.connection,
            cause: note.connection.server.to_string(),
            at: note.at,
            confidence,
            impact,
            weight: 0.0,
            count: 1,
            evidence: Vec::new(),
            figures: Vec::new(),
            cost: Vec::new(),
            seen: (),
            limits: note.limits.clone(),
        }
    }

    /// Adds what the words of the finding need.
    #[must_use]
    pub fn seen<S>(self, seen: S) -> Observation<S> {
        Observation {
            connection: self.connection,
            cause: self.cause,
            at: self.at,
            confidence: self.confidence,
            impact: self.impact,
            weight: self.weight,
            count: self.count,
            evidence: self.evidence,
            figures: self.figures,
            cost: self.cost,
            seen,
            limits: self.limits,
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

    /// How telling as an example.
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
        self.set_impact(impact);
        self
    }

    /// Replaces what it did to somebody.
    pub fn set_impact(&mut self, impact: Impact) {
        self.impact = impact;
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

    fn add(&mut self, segment: SegmentRef, note: String, proves: bool) {
        self.evidence.push(Evidence {
            segment,
            connection: self.connection,
            note,
            proves,
        });
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

    /// A cost in user terms, such as `requests_failed` or `time_lost_ms`.
    #[must_use]
    pub fn cost(mut self, name: &'static str, value: f64) -> Self {
        self.cost.push((name, value));
        self
    }

    /// The number of a declared figure.
    #[must_use]
    pub fn figure_value(&self, name: &str) -> Option<f64> {
        match self.figures.iter().find(|(known, _)| *known == name)?.1 {
            FigureValue::Number(number) => Some(number),
            FigureValue::Text(_) => None,
        }
    }

    /// Replaces the value of a figure.
    pub fn set_figure(&mut self, name: &'static str, value: FigureValue) {
        self.figures.retain(|(known, _)| *known != name);
        self.figures.push((name, value));
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

/// What a rule hands over while it judges one connection.
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

    /// Whether nothing was handed over that is kept.
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
