//! How the single values behind one number lie.

use rules::finding::Spread;
use serde::{Deserialize, Serialize};

use super::rounded;

/// How a figure's single values lie.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SpreadView {
    /// How many values.
    pub count: u64,
    /// Smallest.
    pub min: f64,
    /// Median.
    pub median: f64,
    /// Largest.
    pub max: f64,
}

impl From<&Spread> for SpreadView {
    fn from(spread: &Spread) -> Self {
        Self {
            count: spread.count,
            min: rounded(spread.min),
            median: rounded(spread.median),
            max: rounded(spread.max),
        }
    }
}
