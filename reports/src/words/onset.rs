//! When a finding began, in words and as a row of bars.

use super::format;
use crate::document::{Antecedent, OnsetView};

/// Occurrences from which a row of bars says more than the words.
const WORTH_A_PICTURE: u64 = 3;

/// Characters of a row of bars, the lowest first.
const BARS: [char; 7] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇'];

/// `12:30:05.123, 4.2 s into the capture, for 7.3 s`.
#[must_use]
pub fn when(onset: &OnsetView) -> String {
    let mut text = format::time_of_day(&onset.began).to_owned();
    if onset.began_s > 0.0 {
        text.push_str(&format!(
            ", {} into the capture",
            format::seconds(onset.began_s)
        ));
    }
    if onset.length_s() > 0.0 {
        text.push_str(&format!(", for {}", format::seconds(onset.length_s())));
    }
    text
}

/// How occurrences spread over the capture, where there are enough of them to show it.
#[must_use]
pub fn bars(onset: &OnsetView) -> Option<String> {
    if onset.slices.iter().sum::<u64>() < WORTH_A_PICTURE {
        return None;
    }
    let pairs = onset.slices.chunks(2);
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

/// `0.4 s after F2: …`.
#[must_use]
pub fn after(one: &Antecedent) -> String {
    let before = format::seconds(one.before_s);
    format!("{before} after {}: {}", one.what, one.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn onset(slices: &[u64]) -> OnsetView {
        OnsetView {
            began: "2026-11-23T12:30:05.123456789Z".to_owned(),
            began_s: 4.2,
            ended: "2026-11-23T12:30:12.423456789Z".to_owned(),
            ended_s: 11.5,
            slices: slices.to_vec(),
            preceded_by: Vec::new(),
        }
    }

    #[test]
    fn says_when_and_for_how_long() {
        let text = when(&onset(&[]));
        assert_eq!(text, "12:30:05.123, 4.20 s into the capture, for 7.30 s");
    }

    #[test]
    fn bars_show_the_spread_of_three_and_more() {
        assert_eq!(bars(&onset(&[0, 0, 1, 0, 6, 1])).as_deref(), Some("·▁▇"));
        assert_eq!(bars(&onset(&[1, 0, 1, 0])), None);
        assert_eq!(bars(&onset(&[])), None);
    }
}
