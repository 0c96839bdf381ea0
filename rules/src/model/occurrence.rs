//! What occurrences of all rules have in common, and the sums over those of one cause.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use analyzer::connection::Reset;
use analyzer::event::SegmentRef;
use analyzer::{Analysis, Endpoint, QualityKind, Timestamp};

use crate::model::connection_ref::ConnectionRef;
use crate::model::evidence::Evidence;
use crate::model::figure::{Distribution, Figure, FigureSpec, FigureValue, Fold, spread};
use crate::model::impact::{Impact, Slowed};
use crate::model::meta::RuleMeta;
use crate::model::owner::Owner;
use crate::model::text::number;

/// Single values kept for a histogram.
const VALUES_PER_DISTRIBUTION: usize = 1_000;

/// Where, when and how one occurrence showed, and what it did.
#[derive(Clone, PartialEq, Debug)]
pub struct Occurrence {
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
    /// How good an example it is: larger is shown first.
    pub weight: f64,
    /// How many times it happened on this connection.
    pub count: u64,
    /// Proof, in frame order.
    pub evidence: Vec<Evidence>,
    /// Declared figures.
    pub figures: Vec<(&'static str, FigureValue)>,
    /// Costs in user terms; summed over occurrences.
    pub cost: Vec<(&'static str, f64)>,
    /// What failed or was lost, such as `connections_failed`: a cost of as many as its impact counts in the end.
    pub failures: Option<&'static str>,
    /// When the connection stood still because of it, from and to, as far as frames show it. They may
    /// overlap.
    pub stalls: Vec<(Timestamp, Timestamp)>,
    /// From when to when its main figure was measured, where that is not the wait that begins at `at`.
    pub measured: Option<(Timestamp, Timestamp)>,
    /// Limits of the capture that touch the connection.
    pub limits: Vec<QualityKind>,
    /// Whose the connection is, as the capture itself says.
    pub owner: Option<Box<Owner>>,
}

impl Occurrence {
    pub(crate) const fn new(
        connection: ConnectionRef,
        cause: String,
        at: Timestamp,
        confidence: f64,
        impact: Impact,
        limits: Vec<QualityKind>,
    ) -> Self {
        Self {
            connection,
            cause,
            at,
            confidence,
            impact,
            weight: 0.0,
            count: 1,
            evidence: Vec::new(),
            figures: Vec::new(),
            cost: Vec::new(),
            failures: None,
            stalls: Vec::new(),
            measured: None,
            limits,
            owner: None,
        }
    }

    /// Adds a frame and what can be checked there.
    pub(crate) fn add(&mut self, segment: SegmentRef, note: String, proves: bool) {
        self.evidence.push(Evidence {
            segment,
            connection: self.connection,
            note,
            proves,
        });
    }

    /// Whether the capture's clock shows what was measured, as far as is known: it was not set meanwhile.
    pub(crate) fn is_timed(&self, analysis: &Analysis) -> bool {
        let measured = self.measured;
        measured.is_none_or(|(from, to)| !analysis.is_stretched(from, to))
    }

    /// Quotes what resets among its frames state as their cause.
    pub(crate) fn quote_resets(&mut self, resets: &[Reset]) {
        for reset in resets {
            let payload = reset.reason.as_ref();
            let payload = payload.map(|reason| format!("; its payload states \"{reason}\""));
            let beside = reset.stated.as_ref().map(|clause| format!("; {clause}"));
            let frame = reset.segment.frame;
            for evidence in &mut self.evidence {
                if evidence.segment.frame == frame {
                    evidence.note.extend(
                        [&payload, &beside]
                            .into_iter()
                            .flatten()
                            .map(String::as_str),
                    );
                }
            }
        }
    }

    /// Puts its frames in their order.
    pub(crate) fn sort_evidence(&mut self) {
        self.evidence.sort_by_key(|evidence| evidence.segment.frame);
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

/// The occurrences of one cause, the best example first; never empty.
pub struct Occurrences<'a>(pub(crate) Vec<&'a Occurrence>);

impl Occurrences<'_> {
    /// The best example.
    #[must_use]
    pub fn best(&self) -> &Occurrence {
        self.0[0]
    }

    /// How many times it happened.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().map(|one| one.count).sum()
    }

    /// What all together did to somebody; failed attempts are those of the client that failed most
    /// often.
    #[must_use]
    pub fn impact(&self) -> Impact {
        Impact::of_clients(
            &mut self
                .0
                .iter()
                .map(|one| (one.connection.client.ip, one.impact)),
        )
    }

    /// Distinct connections.
    #[must_use]
    pub fn connections(&self) -> u64 {
        let ids: BTreeSet<u64> = self
            .0
            .iter()
            .map(|one| one.connection.first_frame)
            .collect();
        ids.len() as u64
    }

    /// Distinct client addresses.
    #[must_use]
    pub fn client_ips(&self) -> BTreeSet<IpAddr> {
        self.0.iter().map(|one| one.connection.client.ip).collect()
    }

    /// Distinct servers.
    #[must_use]
    pub fn servers(&self) -> BTreeSet<Endpoint> {
        self.0.iter().map(|one| one.connection.server).collect()
    }

    /// First and last time it showed.
    #[must_use]
    pub fn time_span(&self) -> (Timestamp, Timestamp) {
        let times = self.0.iter().map(|one| one.at);
        let (first, last) = (times.clone().min(), times.max());
        (first.unwrap_or_default(), last.unwrap_or_default())
    }

    /// When the last one was over: what was waited or measured, and how long a connection stood still,
    /// included.
    #[must_use]
    pub fn ended(&self) -> Timestamp {
        let ends = self.0.iter().map(|one| {
            let spans = one.stalls.iter().chain(&one.measured);
            let over = spans.map(|(_, to)| *to).max();
            over.unwrap_or_default().max(one.at + one.impact.waited)
        });
        ends.max().unwrap_or_default()
    }

    /// All figures that the rule declares, folded.
    #[must_use]
    pub fn figures(&self, meta: &RuleMeta) -> Vec<Figure> {
        let figures = meta.figures.iter();
        figures.filter_map(|spec| self.folded(spec)).collect()
    }

    /// A declared figure as a number, as the finding will bear it.
    #[must_use]
    pub fn figure(&self, meta: &RuleMeta, name: &str) -> Option<f64> {
        let spec = meta.figures.iter().find(|spec| spec.name == name)?;
        match self.folded(spec)?.value {
            FigureValue::Number(number) => Some(number),
            FigureValue::Text(_) => None,
        }
    }

    fn folded(&self, spec: &FigureSpec) -> Option<Figure> {
        let figures = self.0.iter().flat_map(|one| &one.figures);
        let values = figures.filter(|(known, _)| *known == spec.name);
        spec.fold(&values.map(|(_, value)| value.clone()).collect::<Vec<_>>())
    }

    /// The values of the first figure folded by median, when there are enough for a picture.
    #[must_use]
    pub fn distribution(&self, meta: &RuleMeta) -> Option<Distribution> {
        let mut figures = meta.figures.iter();
        let spec = figures.find(|spec| spec.fold == Fold::Median)?;
        let values = self.0.iter().filter_map(|one| one.figure_value(spec.name));
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let step = values.len().div_ceil(VALUES_PER_DISTRIBUTION).max(1);
        (values.len() >= 3).then(|| Distribution {
            figure: spec.name,
            values: values.into_iter().step_by(step).collect(),
        })
    }

    /// Costs summed by name, in order of name: those that the rule names, else the time in which somebody
    /// waited, of occurrences that `is_timed`; without any of these, how much transfers were slowed.
    #[must_use]
    pub fn costs(&self, is_timed: impl Fn(&Occurrence) -> bool) -> Vec<Figure> {
        let mut sums = BTreeMap::<&'static str, f64>::new();
        for (name, value) in self.0.iter().flat_map(|one| &one.cost) {
            *sums.entry(name).or_default() += value;
        }
        for one in &self.0 {
            if let Some(name) = one.failures {
                let failed = one.impact.attempts_failed + one.impact.requests_lost;
                *sums.entry(name).or_default() += number(failed);
            }
        }
        if sums.is_empty() {
            let timed = self.0.iter().filter(|one| is_timed(one));
            let waited: Duration = timed.map(|one| one.impact.waited).sum();
            sums.insert("time_lost_ms", waited.as_secs_f64() * 1e3);
        }
        let figure = |name, value| Figure {
            name,
            value,
            spread: None,
        };
        let counted = sums.into_iter().filter(|(_, value)| *value > 0.0);
        let counted = counted.map(|(name, value)| {
            let rounded = (value * 1000.0).round() / 1000.0;
            figure(name, FigureValue::Number(rounded))
        });
        let costs: Vec<Figure> = counted.collect();
        let slowed = self.0.iter().map(|one| one.impact.slowed).max();
        match slowed.and_then(Slowed::describe) {
            Some(how) if costs.is_empty() => {
                vec![figure("transfers", FigureValue::Text(how.to_owned()))]
            }
            _ => costs,
        }
    }

    /// The middle one of their confidences.
    #[must_use]
    pub fn confidence(&self) -> f64 {
        let mut confidences: Vec<f64> = self.0.iter().map(|one| one.confidence).collect();
        spread(&mut confidences).map_or(0.0, |spread| spread.median)
    }

    /// Distinct connections, the heaviest first.
    #[must_use]
    pub fn worst_first(&self) -> Vec<ConnectionRef> {
        let mut ordered = self.0.clone();
        ordered.sort_by(|a, b| {
            b.weight
                .total_cmp(&a.weight)
                .then(a.connection.first_frame.cmp(&b.connection.first_frame))
        });
        distinct(ordered.into_iter())
    }

    /// The best examples.
    pub fn examples(&self, most: usize) -> impl Iterator<Item = &Occurrence> {
        self.0.iter().copied().take(most)
    }
}

/// The connections of `occurrences`, each once.
pub(crate) fn distinct<'a>(
    occurrences: impl Iterator<Item = &'a Occurrence>,
) -> Vec<ConnectionRef> {
    let mut seen = BTreeSet::new();
    occurrences
        .map(|one| one.connection)
        .filter(|connection| seen.insert(connection.first_frame))
        .collect()
}
