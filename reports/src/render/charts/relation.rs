//! How one measure goes with another.

use super::chart::{Chart, LegendItem};
use super::distribution::figure_unit;
use super::plot::{Plot, Shape};
use crate::document::Relation;
use crate::error::Error;
use crate::words::format;

/// Fewer points show no relation.
const MIN_POINTS: usize = 10;
/// Parts of equal size whose medians make the line.
const PARTS: usize = 5;

/// Every pair as a dot, and a line through the medians of its fifths.
pub(super) fn points(id: &str, relation: &Relation) -> Result<Option<Chart>, Error> {
    let points = &relation.points;
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return Ok(None);
    };
    if points.len() < MIN_POINTS || last.0 <= first.0 {
        return Ok(None);
    }
    let fifths: Vec<Fifth> = (0..PARTS).map(|part| Fifth::of(points, part)).collect();
    let by = |value: f64| format::figure(&relation.by, &serde_json::json!(value));
    let measure = |value: f64| format::figure(&relation.measure, &serde_json::json!(value));
    let name = format::figure_label(&relation.by);
    let measured = format::figure_label(&relation.measure);
    let (few, many) = (&fifths[0], &fifths[PARTS - 1]);
    let title = format!(
        "Median {measured}: {} in the fifth with the fewest {name}, {} in the fifth with the most",
        measure(few.median),
        measure(many.median),
    );
    let highest = points.iter().map(|point| point.1).fold(0.0, f64::max);
    let plot = Plot {
        x: first.0..last.0,
        log_x: false,
        bottom: 0.0,
        top: highest.max(1e-3) * 1.08,
        x_label: &by,
        x_unit: figure_unit(&relation.by),
        y_label: &measure,
        shapes: vec![
            Shape::Dots(0, points.clone()),
            Shape::Line(
                1,
                fifths.iter().map(|one| (one.middle, one.median)).collect(),
            ),
        ],
    };
    let rows = fifths.iter().map(|one| {
        let range = format!("{} – {}", by(one.from), by(one.to));
        vec![range, format::count(one.count as u64), measure(one.median)]
    });
    Chart {
        id: id.to_owned(),
        heads: vec![
            name.clone(),
            "Count".to_owned(),
            format!("median {measured}"),
        ],
        rows: rows.collect(),
        places: fifths.iter().map(|one| one.middle).collect(),
        legend: vec![
            LegendItem::new(0, "one value each"),
            LegendItem::new(1, "median of a fifth"),
        ],
        title,
        axes: format!("Values of {measured} by {name}"),
        ..Chart::default()
    }
    .draw(&plot)
    .map(Some)
}

/// A fifth of the points, in order of what they go by.
struct Fifth {
    from: f64,
    middle: f64,
    to: f64,
    count: usize,
    median: f64,
}

impl Fifth {
    /// Of at least [`MIN_POINTS`] points.
    fn of(points: &[(f64, f64)], part: usize) -> Self {
        let (from, to) = (
            points.len() * part / PARTS,
            points.len() * (part + 1) / PARTS,
        );
        let points = &points[from..to];
        let mut values: Vec<f64> = points.iter().map(|point| point.1).collect();
        values.sort_by(f64::total_cmp);
        Self {
            from: points[0].0,
            middle: points[points.len() / 2].0,
            to: points[points.len() - 1].0,
            count: points.len(),
            median: values[values.len() / 2],
        }
    }
}
