//! How a capture differs from one of a good day, as a document holds it.

use serde::{Deserialize, Serialize};

/// What differs from the report of a good day (`--against`).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Against {
    /// The captures of the good day.
    pub good: String,
    /// Findings that are new, worse, gone or better, in this order.
    pub findings: Vec<FindingChange>,
    /// Figures of both captures.
    pub figures: Vec<FigureChange>,
}

/// Which way something changed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Only in this capture.
    New,
    /// In both, and graver or on a larger share of the connections now.
    Worse,
    /// Only in that of the good day.
    Gone,
    /// In both, and less grave or on a smaller share of the connections now.
    Better,
}

impl Change {
    /// As a word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Worse => "worse",
            Self::Gone => "gone",
            Self::Better => "better",
        }
    }
}

/// A finding that one of the two captures has not, or not as badly.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FindingChange {
    /// Which way.
    pub change: Change,
    /// Rule id.
    pub rule: String,
    /// Its id in this document; absent when it is gone.
    pub finding: Option<String>,
    /// Its title, of this capture where it has it.
    pub title: String,
    /// Percent of the good day's connections that it affected.
    pub good_percent: Option<f64>,
    /// Percent of this capture's connections that it affects.
    pub now_percent: Option<f64>,
}

/// A figure of both captures.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FigureChange {
    /// What it is, with its unit, such as `response_p50_ms`.
    pub name: String,
    /// On the good day.
    pub good: f64,
    /// Now.
    pub now: f64,
}
