//! How many sockets of one end were in which state, over time.

use std::ops::Range;

use super::bands::Bands;
use super::chart::{Chart, LegendItem, elapsed_label, whole};
use super::over_time::{MIN_SLICES, TIME_AXIS, middle, time_range};
use super::plot::{Plot, Shape};
use crate::document::{HostSnapshotRow, Intervals, StateSeries};
use crate::error::Error;
use crate::words::format;

/// Sockets of one end by state, stacked, with what its hosts listed as points.
pub(super) fn states(
    intervals: &Intervals,
    snapshots: &[HostSnapshotRow],
    bands: &Bands,
    end: &str,
) -> Result<Option<Chart>, Error> {
    let series: Vec<_> = intervals
        .states
        .iter()
        .filter(|series| series.end == end)
        .collect();
    let slices = intervals.opened.len();
    let totals: Vec<u32> = (0..slices)
        .map(|slice| series.iter().filter_map(|s| s.sockets.get(slice)).sum())
        .collect();
    let most = totals.iter().copied().max().unwrap_or(0);
    if slices < MIN_SLICES || most < 2 {
        return Ok(None);
    }
    let title = states_title(&series, end, &totals, intervals.width_s);
    let listed = Listed::of(snapshots, &series, end, time_range(intervals));
    let axes = format!(
        "Sockets of {end} ends by state; {TIME_AXIS}{}{}",
        bands.legend, listed.legend
    );
    let mut below = vec![0.0; slices];
    let mut shapes = vec![bands.shape()];
    for series in &series {
        let index = state_colour(&series.state);
        let area =
            below
                .iter_mut()
                .zip(&series.sockets)
                .enumerate()
                .map(|(slice, (below, &count))| {
                    let low = *below;
                    *below += f64::from(count);
                    (middle(intervals, slice), low, *below)
                });
        shapes.push(Shape::Area(index, area.collect()));
    }
    shapes.extend(listed.shapes);
    let plot = Plot {
        x: time_range(intervals),
        log_x: false,
        bottom: 0.0,
        top: f64::from(most).max(listed.most) * 1.08,
        x_label: &elapsed_label,
        x_unit: "elapsed",
        y_label: &whole,
        shapes,
    };
    let places = (0..slices).map(|slice| middle(intervals, slice)).collect();
    let id = format!("states-{end}");
    let labels: Vec<_> = series.iter().map(|series| series.state.clone()).collect();
    let rows = (0..slices).map(|slice| {
        let counts = series
            .iter()
            .map(|s| s.sockets.get(slice).copied().unwrap_or(0));
        let time = elapsed_label(middle(intervals, slice));
        std::iter::once(time)
            .chain(counts.map(|n| format::count(u64::from(n))))
            .collect()
    });
    Chart {
        legend: series
            .iter()
            .map(|series| LegendItem::new(state_colour(&series.state), series.state.as_str()))
            .collect(),
        heads: std::iter::once("Time".to_owned()).chain(labels).collect(),
        rows: rows.collect(),
        places,
        id,
        title,
        axes,
        ..Chart::default()
    }
    .draw(&plot)
    .map(Some)
}

/// What hosts list, as points: where both agree, a point lies on the upper edge of its state's area.
struct Listed {
    shapes: Vec<Shape>,
    most: f64,
    legend: &'static str,
}

impl Listed {
    fn of(
        snapshots: &[HostSnapshotRow],
        series: &[&StateSeries],
        end: &str,
        range: Range<f64>,
    ) -> Self {
        let mut points: Vec<(u8, Vec<(f64, f64)>)> = Vec::new();
        let mut most = 0.0_f64;
        for snapshot in snapshots.iter().filter(|one| one.end == end) {
            let Some(at) = snapshot.from_s.filter(|at| range.contains(at)) else {
                continue;
            };
            let mut sum = 0.0;
            let known = series.iter().map(|series| series.state.as_str());
            let (known, others): (Vec<_>, Vec<_>) = snapshot
                .states
                .iter()
                .partition(|one| known.clone().any(|state| state == one.state));
            let in_order = series
                .iter()
                .filter_map(|series| known.iter().find(|one| one.state == series.state).copied());
            for one in in_order.chain(others).filter(|one| one.host > 0) {
                sum += one.host as f64;
                points.push((state_colour(&one.state), vec![(at, sum)]));
            }
            most = most.max(sum);
        }
        Self {
            most,
            legend: if points.is_empty() {
                ""
            } else {
                "; points: as the hosts list them"
            },
            shapes: points
                .into_iter()
                .map(|(colour, at)| Shape::Dots(colour, at))
                .collect(),
        }
    }
}

/// Names the state other than ESTABLISHED that most sockets were in at once.
fn states_title(series: &[&StateSeries], end: &str, totals: &[u32], width_s: f64) -> String {
    let peaks = series
        .iter()
        .filter(|series| series.state != "ESTABLISHED")
        .filter_map(|series| {
            let (slice, count) = first_maximum(&series.sockets)?;
            Some((count, slice, series.state.as_str()))
        });
    let most = peaks.rev().max_by_key(|&(count, ..)| count);
    match most {
        Some((count, slice, state)) if count > 1 => format!(
            "Up to {} {end} sockets in {state} at once, at {}",
            format::count(u64::from(count)),
            elapsed_label((slice as f64 + 0.5) * width_s)
        ),
        _ => format!(
            "Up to {} {end} sockets at once",
            format::count(u64::from(totals.iter().copied().max().unwrap_or(0)))
        ),
    }
}

fn first_maximum(counts: &[u32]) -> Option<(usize, u32)> {
    counts
        .iter()
        .copied()
        .enumerate()
        .rev()
        .max_by_key(|&(_, count)| count)
}

/// A state keeps its colour in both charts.
fn state_colour(state: &str) -> u8 {
    const ORDER: [&str; 9] = [
        "ESTABLISHED",
        "FIN-WAIT-2",
        "CLOSE-WAIT",
        "TIME-WAIT",
        "SYN-SENT",
        "SYN-RECEIVED",
        "FIN-WAIT-1",
        "LAST-ACK",
        "CLOSING",
    ];
    let index = ORDER
        .iter()
        .position(|known| *known == state)
        .unwrap_or(ORDER.len() - 1);
    u8::try_from(index).unwrap_or(0)
}
