//! Facts by name, of rules whose facts have no types yet. Goes with the last of them.

use analyzer::Connection;

use crate::model::figure::{Spread, counted, most, spread};
use crate::model::severity::Severity;
use crate::model::{narrative, observation};

/// Numbers and words by name.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Legacy {
    /// Further numbers for the words of the finding; not part of its figures.
    pub details: Vec<(&'static str, f64)>,
    /// Further words for the finding.
    pub labels: Vec<(&'static str, String)>,
}

pub type Observation = observation::Observation<Legacy>;
pub type Observations<F = ()> = observation::Observations<Legacy, F>;
pub type Collected<F = ()> = observation::Collected<Legacy, F>;
pub type Group<'a, F = ()> = narrative::Group<'a, Legacy, F>;

impl observation::Observation<Legacy> {
    /// An occurrence on `conn` that groups with others of the same `server` endpoint.
    #[must_use]
    pub fn untyped(conn: &Connection, confidence: f64, severity: Severity) -> Self {
        observation::Observation::new(conn, confidence, severity).seen(Legacy::default())
    }

    /// An occurrence that only the end of the capture shows.
    #[must_use]
    pub fn untyped_from<F>(
        note: &observation::Note<F>,
        confidence: f64,
        severity: Severity,
    ) -> Self {
        observation::Observation::from_note(note, confidence, severity).seen(Legacy::default())
    }

    /// A further number for the words of the finding.
    #[must_use]
    pub fn detail(mut self, name: &'static str, value: f64) -> Self {
        self.seen.details.push((name, value));
        self
    }

    /// A further number that may not be known.
    #[must_use]
    pub fn detail_if(self, name: &'static str, value: Option<f64>) -> Self {
        match value {
            Some(value) => self.detail(name, value),
            None => self,
        }
    }

    /// Further words for the finding.
    #[must_use]
    pub fn label(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.seen.labels.push((name, value.into()));
        self
    }

    /// The number of a figure or detail.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<f64> {
        let mut details = self.seen.details.iter();
        self.figure_value(name).or_else(|| {
            let detail = details.find(|(known, _)| *known == name);
            detail.map(|(_, value)| *value)
        })
    }

    /// The words of a label.
    #[must_use]
    pub fn words(&self, name: &str) -> Option<&str> {
        let labels = &self.seen.labels;
        let label = labels.iter().find(|(known, _)| *known == name);
        label.map(|(_, words)| words.as_str())
    }
}

impl<F> narrative::Group<'_, Legacy, F> {
    /// A declared figure as a number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<f64> {
        self.figure(name)
    }

    /// Count, extremes and median of a figure or detail over the observations.
    #[must_use]
    pub fn spread(&self, name: &str) -> Option<Spread> {
        spread(&mut self.all_of(name))
    }

    /// The median of a figure or detail.
    #[must_use]
    pub fn median(&self, name: &str) -> Option<f64> {
        self.spread(name).map(|spread| spread.median)
    }

    /// The sum of a figure or detail.
    #[must_use]
    pub fn sum(&self, name: &str) -> f64 {
        self.all_of(name).iter().sum()
    }

    /// All values of a figure or detail, in no order.
    #[must_use]
    pub fn all_of(&self, name: &str) -> Vec<f64> {
        let observations = self.observations.iter();
        observations.filter_map(|one| one.number(name)).collect()
    }

    /// How many observations have a figure or detail above zero.
    #[must_use]
    pub fn positive(&self, name: &str) -> u64 {
        let above = |one: &&Observation| one.number(name).is_some_and(|n| n > 0.0);
        self.observations.iter().filter(above).count() as u64
    }

    /// The most frequent words of a label.
    #[must_use]
    pub fn words(&self, name: &'static str) -> Option<String> {
        let words = self.observations.iter().filter_map(|one| one.words(name));
        most(words).map(str::to_owned)
    }

    /// The different words of a label with how many observations bear them, most frequent first.
    #[must_use]
    pub fn words_counted(&self, name: &str) -> Vec<(String, u64)> {
        let words = self.observations.iter().filter_map(|one| one.words(name));
        let counts = counted(words).into_iter();
        counts.map(|(words, n)| (words.to_owned(), n)).collect()
    }
}
