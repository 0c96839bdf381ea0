//! When a finding began and what began shortly before it.

use analyzer::Timestamp;
use rules::finding::Onset;
use serde::{Deserialize, Serialize};

use super::seconds;

/// When occurrences of a finding showed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OnsetView {
    /// Time of the first one, RFC 3339, UTC.
    pub began: String,
    /// Since the capture's first frame.
    pub began_s: f64,
    /// Time at which the last one was over.
    pub ended: String,
    /// Since the capture's first frame.
    pub ended_s: f64,
    /// Occurrences in each of 48 equal slices of the capture; empty for a capture of one moment.
    pub slices: Vec<u64>,
    /// What began shortly before at the same hosts, the nearest first; at most three.
    pub preceded_by: Vec<Antecedent>,
}

/// A finding or an episode that began shortly before another finding.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Antecedent {
    /// The id of a finding, or the kind of an episode.
    pub what: String,
    /// What it is, in words.
    pub text: String,
    /// How much earlier it began.
    pub before_s: f64,
}

impl OnsetView {
    /// How long it lasted.
    #[must_use]
    pub fn length_s(&self) -> f64 {
        (self.ended_s - self.began_s).max(0.0)
    }

    /// `start` is the capture's first frame time.
    pub(crate) fn new(onset: &Onset, start: Option<Timestamp>) -> Self {
        let since = |time: Timestamp| start.map_or(0.0, |start| seconds(time.since(start)));
        Self {
            began: onset.began.rfc3339(),
            began_s: since(onset.began),
            ended: onset.ended.rfc3339(),
            ended_s: since(onset.ended),
            slices: onset.slices.clone(),
            preceded_by: Vec::new(),
        }
    }
}
