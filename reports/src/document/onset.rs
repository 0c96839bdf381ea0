//! When a finding began and what began shortly before it.

use analyzer::Timestamp;
use rules::finding::Onset;
use serde::{Deserialize, Serialize};

use super::seconds;
use crate::words::format;

/// Occurrences from which a row of bars says more than the words.
const WORTH_A_PICTURE: u64 = 3;

/// Characters of a row of bars, the lowest first.
const BARS: [char; 7] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇'];

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
    /// `12:30:05.123, 4.2 s into the capture, for 7.3 s`.
    #[must_use]
    pub fn when(&self) -> String {
        let mut text = format::time_of_day(&self.began).to_owned();
        // What rounds to nothing is the beginning.
        if self.began_s >= 5e-7 {
            let since = format::seconds(self.began_s);
            text.push_str(&format!(", {since} into the capture"));
        }
        if self.length_s() > 0.0 {
            text.push_str(&format!(", for {}", format::seconds(self.length_s())));
        }
        text
    }

    /// A row of bars that shows how occurrences spread over the capture, where there are enough of them.
    #[must_use]
    pub fn bars(&self) -> Option<String> {
        if self.slices.iter().sum::<u64>() < WORTH_A_PICTURE {
            return None;
        }
        let pairs = self.slices.chunks(2);
        let pairs: Vec<u64> = pairs.map(|pair| pair.iter().sum()).collect();
        let most = pairs.iter().copied().max().filter(|most| *most > 0)?;
        let bar = |count: u64| match count {
            0 => '·',
            count => {
                let step = (count * BARS.len() as u64).div_ceil(most) - 1;
                BARS[usize::try_from(step).unwrap_or(0).min(BARS.len() - 1)]
            }
        };
        Some(pairs.into_iter().map(bar).collect())
    }

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

impl Antecedent {
    /// `0.4 s after F2: …`, or `0.4 s after an episode began (…)`, of which the kind is no word for people.
    #[must_use]
    pub fn phrase(&self) -> String {
        let before = format::seconds(self.before_s);
        if self.what.starts_with('F') {
            format!("{before} after {}: {}", self.what, self.text)
        } else {
            format!("{before} after an episode began ({})", self.text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn onset(slices: &[u64]) -> OnsetView {
        OnsetView {
            began: "2026-11-23T12:30:05.123456789Z".to_owned(),
            began_s: 4.25,
            ended: "2026-11-23T12:30:12.473456789Z".to_owned(),
            ended_s: 11.6,
            slices: slices.to_vec(),
            preceded_by: Vec::new(),
        }
    }

    #[test]
    fn says_when_and_for_how_long() {
        let text = onset(&[]).when();
        assert_eq!(text, "12:30:05.123, 4.25 s into the capture, for 7.35 s");
    }

    #[test]
    fn bars_show_the_spread_of_three_and_more() {
        assert_eq!(onset(&[0, 0, 1, 0, 6, 1]).bars().as_deref(), Some("·▁▇"));
        assert_eq!(onset(&[1, 0, 1, 0]).bars(), None);
        assert_eq!(onset(&[]).bars(), None);
    }
}
