//! Inferred timeouts of a finding as a document holds them.

use rules::waits::{Timer, Waits};
use serde::{Deserialize, Serialize};

use super::{SpreadView, rounded};

/// How long one side waited before it closed, connection by connection: for a small histogram.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WaitsView {
    /// `server-idle` (the server closed what was idle), `client-idle` (the client did), `answer`
    /// (the client gave up on an answer) or `path` (a middle box forgot the connection).
    pub wait: String,
    /// Milliseconds, sorted, at most 1,000 (evenly thinned: each stands for as many, the last for the rest).
    pub values_ms: Vec<f64>,
    /// Values before thinning.
    pub count: u64,
    /// Groups of values that one timer explains, by rising value; at most eight. Fewer than three
    /// values may be chance.
    pub timers: Vec<TimerView>,
}

/// Waits that agree with each other.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TimerView {
    /// Count, extremes and median in milliseconds.
    pub spread_ms: SpreadView,
    /// Documented defaults that agree with the median; none of them is proved by it.
    pub typical_of: Vec<KnownDefault>,
}

/// A documented default of a product.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct KnownDefault {
    /// Product and setting.
    pub product: String,
    /// Its value.
    pub seconds: f64,
    /// Where it is documented.
    pub source: String,
}

impl WaitsView {
    /// How many waits a value stands for.
    #[must_use]
    pub(crate) fn stands_for(&self, index: usize) -> u64 {
        let kept = self.values_ms.len() as u64;
        let step = self.count.div_ceil(kept.max(1)).max(1);
        let rest = self.count.saturating_sub(index as u64 * step);
        rest.min(step)
    }

    pub(crate) fn new(waits: &Waits) -> Self {
        Self {
            wait: waits.wait.as_str().to_owned(),
            values_ms: waits.values_ms.iter().copied().map(rounded).collect(),
            count: waits.count,
            timers: waits.timers.iter().map(TimerView::new).collect(),
        }
    }
}

impl TimerView {
    fn new(timer: &Timer) -> Self {
        let known = timer.typical_of.iter().map(|known| KnownDefault {
            product: known.product.to_owned(),
            seconds: known.seconds,
            source: known.source.to_owned(),
        });
        Self {
            spread_ms: SpreadView::from(&timer.spread),
            typical_of: known.collect(),
        }
    }
}
