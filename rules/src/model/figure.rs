//! Figures: named numbers with a unit, and how the values of single occurrences become one.

use std::cmp::Reverse;
use std::collections::BTreeMap;

/// A named number; its unit is the ending of its name (`_ms`, `_s`, `_bytes`, `_percent`,
/// `_per_second`, or a bare count).
#[derive(Clone, PartialEq, Debug)]
pub struct Figure {
    /// Name in the JSON contract (`pcapdoc explain`).
    pub name: &'static str,
    /// Number or text.
    pub value: FigureValue,
    /// Spread over occurrences, when the value is a median of several.
    pub spread: Option<Spread>,
}

/// A figure's value.
#[derive(Clone, PartialEq, Debug)]
pub enum FigureValue {
    /// A number in the unit of the name.
    Number(f64),
    /// Text, such as a framing specification or an endpoint.
    Text(String),
}

/// How a figure's single values lie.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Spread {
    /// How many values.
    pub count: u64,
    /// Smallest.
    pub min: f64,
    /// Median.
    pub median: f64,
    /// Largest.
    pub max: f64,
}

/// Values of one figure over all occurrences, for a small histogram (timeouts).
#[derive(Clone, PartialEq, Debug)]
pub struct Distribution {
    /// The figure's name.
    pub figure: &'static str,
    /// The single values, sorted, at most 1,000 (evenly thinned).
    pub values: Vec<f64>,
}

/// Points kept for a picture, in which more could not be told apart.
const POINTS_PER_RELATION: usize = 1_000;

/// How one measure goes with another, for a small picture.
#[derive(Clone, PartialEq, Debug)]
pub struct Relation {
    /// What the first number of a point measures, with its unit as an ending.
    pub by: &'static str,
    /// What the second number measures.
    pub measure: &'static str,
    /// Pairs, sorted, at most 1,000 (evenly thinned).
    pub points: Vec<(f64, f64)>,
}

impl Relation {
    /// `points` sorted and thinned.
    #[must_use]
    pub fn new(by: &'static str, measure: &'static str, mut points: Vec<(f64, f64)>) -> Self {
        points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let step = points.len().div_ceil(POINTS_PER_RELATION).max(1);
        Self {
            by,
            measure,
            points: points.into_iter().step_by(step).collect(),
        }
    }
}

/// Unit of a figure; the ending of its name says the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Unit {
    /// Milliseconds.
    Milliseconds,
    /// Octets.
    Bytes,
    /// A bare count.
    Count,
    /// 0–100.
    Percent,
    /// Events per second.
    PerSecond,
    /// Words.
    Text,
}

impl Unit {
    /// Text for catalogues.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Bytes => "bytes",
            Self::Count => "count",
            Self::Percent => "%",
            Self::PerSecond => "per second",
            Self::Text => "text",
        }
    }
}

/// How single values become the figure of a finding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Fold {
    /// All added.
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// The middle one (the mean of the two middle ones), with the spread beside it.
    Median,
    /// Text: the most frequent one, the first in order among equals.
    Most,
}

impl Fold {
    /// Text for catalogues.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Max => "largest",
            Self::Min => "smallest",
            Self::Median => "median",
            Self::Most => "most frequent",
        }
    }
}

/// A declared figure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FigureSpec {
    /// Name in the JSON contract.
    pub name: &'static str,
    /// Unit.
    pub unit: Unit,
    /// Fold over occurrences.
    pub fold: Fold,
}

impl FigureSpec {
    /// The figure of all `values`; `None` when there is none.
    #[must_use]
    pub fn fold(&self, values: &[FigureValue]) -> Option<Figure> {
        if self.fold == Fold::Most {
            let texts = values.iter().filter_map(|value| match value {
                FigureValue::Text(text) => Some(text),
                FigureValue::Number(_) => None,
            });
            return most(texts).map(|text| Figure {
                name: self.name,
                value: FigureValue::Text(text.clone()),
                spread: None,
            });
        }
        let mut numbers: Vec<f64> = values
            .iter()
            .filter_map(|value| match value {
                FigureValue::Number(number) if number.is_finite() => Some(*number),
                _ => None,
            })
            .collect();
        let spread = spread(&mut numbers)?;
        let number = match self.fold {
            Fold::Sum => numbers.iter().sum(),
            Fold::Max => spread.max,
            Fold::Min => spread.min,
            Fold::Median | Fold::Most => spread.median,
        };
        let spread = (self.fold == Fold::Median && spread.count > 1).then_some(spread);
        Some(Figure {
            name: self.name,
            value: FigureValue::Number(rounded(number)),
            spread,
        })
    }
}

/// Count, extremes and median; sorts `numbers`. `None` when empty.
#[must_use]
pub fn spread(numbers: &mut [f64]) -> Option<Spread> {
    numbers.sort_by(f64::total_cmp);
    let (first, last) = (numbers.first()?, numbers.last()?);
    let middle = numbers.len() / 2;
    let median = if numbers.len() % 2 == 1 {
        numbers[middle]
    } else {
        f64::midpoint(numbers[middle - 1], numbers[middle])
    };
    Some(Spread {
        count: numbers.len() as u64,
        min: rounded(*first),
        median: rounded(median),
        max: rounded(*last),
    })
}

/// To the microsecond when the unit is milliseconds: finer digits are noise of the sum.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

/// The middle one of `values`, or the mean of the two middle ones.
#[must_use]
pub fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    spread(&mut values.collect::<Vec<_>>()).map(|spread| spread.median)
}

/// The different ones of `values` with how often they occur, the most frequent first; equals in
/// their own order.
#[must_use]
pub fn counted<T: Ord>(values: impl Iterator<Item = T>) -> Vec<(T, u64)> {
    let mut counts = BTreeMap::<T, u64>::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    let mut counted: Vec<_> = counts.into_iter().collect();
    counted.sort_by_key(|(_, count)| Reverse(*count));
    counted
}

/// The most frequent one of `values`, the first in order among equals.
#[must_use]
pub fn most<T: Ord>(values: impl Iterator<Item = T>) -> Option<T> {
    counted(values).into_iter().next().map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(values: &[f64]) -> Vec<FigureValue> {
        values
            .iter()
            .map(|value| FigureValue::Number(*value))
            .collect()
    }

    #[test]
    fn folds_of_the_same_values() {
        let values = numbers(&[5.0, 1.0, 3.0, 7.0]);
        let fold = |fold| {
            FigureSpec {
                name: "n",
                unit: Unit::Count,
                fold,
            }
            .fold(&values)
            .unwrap()
        };
        assert_eq!(fold(Fold::Sum).value, FigureValue::Number(16.0));
        assert_eq!(fold(Fold::Max).value, FigureValue::Number(7.0));
        assert_eq!(fold(Fold::Min).value, FigureValue::Number(1.0));
        let median = fold(Fold::Median);
        assert_eq!(median.value, FigureValue::Number(4.0));
        assert_eq!(
            median.spread,
            Some(Spread {
                count: 4,
                min: 1.0,
                median: 4.0,
                max: 7.0
            })
        );
    }

    #[test]
    fn text_takes_the_most_frequent() {
        let spec = FigureSpec {
            name: "t",
            unit: Unit::Text,
            fold: Fold::Most,
        };
        let values = ["b", "a", "b"].map(|text| FigureValue::Text(text.to_owned()));
        assert_eq!(
            spec.fold(&values).unwrap().value,
            FigureValue::Text("b".to_owned())
        );
        assert!(spec.fold(&[]).is_none());
    }
}
