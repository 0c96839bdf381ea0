//! Round trips over capture time.

use super::chart::{Chart, LegendItem, elapsed_label};
use super::over_time::{MIN_SLICES, TIME_AXIS};
use super::plot::{Plot, Shape};
use crate::document::{DurationSlot, DurationsOverTime};
use crate::error::Error;
use crate::words::format;

/// Medians within this factor of each other are no course worth a story.
const STEADY: f64 = 1.5;

/// Smallest round trip of the connections that began in each slot: median and largest, joined by
/// lines only where most slots hold something.
pub(super) fn round_trips(times: &DurationsOverTime) -> Result<Option<Chart>, Error> {
    let slots = &times.slots;
    let [first, .., last] = slots.as_slice() else {
        return Ok(None);
    };
    if slots.len() < MIN_SLICES {
        return Ok(None);
    }
    let place = |from_s: f64| (from_s + times.slot_s / 2.0).max(0.0);
    let title = title(times, place);
    let axes = format!(
        "Smallest round trip of each TCP connection, by when it began, per {}; {TIME_AXIS}",
        format::seconds(times.slot_s)
    );
    let line = |pick: fn(&DurationSlot) -> f64| {
        let points = slots.iter();
        points
            .map(|slot| (place(slot.from_s), pick(slot)))
            .collect::<Vec<_>>()
    };
    let top = slots.iter().map(|slot| slot.max_ms).fold(0.0, f64::max);
    let reach = (last.from_s - first.from_s) / times.slot_s.max(1e-9) + 1.0;
    let is_dense = slots.len() as f64 >= reach / 2.0;
    let plot = Plot {
        x: place(first.from_s)..place(last.from_s).max(place(first.from_s) + 1e-6),
        log_x: false,
        bottom: 0.0,
        top: (top * 1.08).max(1e-3),
        x_label: &elapsed_label,
        x_unit: "elapsed",
        y_label: &format::duration,
        shapes: [(1, line(|slot| slot.max_ms)), (0, line(|slot| slot.p50_ms))]
            .map(|(series, points)| {
                if is_dense {
                    Shape::Line(series, points)
                } else {
                    Shape::Dots(series, points)
                }
            })
            .into(),
    };
    Chart {
        id: "round-trips-over-time".to_owned(),
        legend: vec![LegendItem::new(0, "median"), LegendItem::new(1, "largest")],
        heads: ["Time", "Connections", "Median", "Largest"]
            .map(str::to_owned)
            .into(),
        rows: slots
            .iter()
            .map(|slot| {
                vec![
                    elapsed_label(place(slot.from_s)),
                    format::count(slot.count),
                    format::duration(slot.p50_ms),
                    format::duration(slot.max_ms),
                ]
            })
            .collect(),
        places: slots.iter().map(|slot| place(slot.from_s)).collect(),
        title,
        axes,
        ..Chart::default()
    }
    .draw(&plot)
    .map(Some)
}

/// Where round trips took longest, or that they took as long all the time.
fn title(times: &DurationsOverTime, place: impl Fn(f64) -> f64) -> String {
    let slots = &times.slots;
    let worst = slots
        .iter()
        .rev()
        .max_by(|a, b| a.p50_ms.total_cmp(&b.p50_ms));
    let best = slots.iter().min_by(|a, b| a.p50_ms.total_cmp(&b.p50_ms));
    let (Some(worst), Some(best)) = (worst, best) else {
        return String::new();
    };
    if worst.p50_ms <= best.p50_ms * STEADY {
        let (low, high) = (
            format::duration(best.p50_ms),
            format::duration(worst.p50_ms),
        );
        if low == high {
            format!("Round trips stayed at {low} in the median")
        } else {
            format!("Round trips stayed between {low} and {high} in the median")
        }
    } else {
        format!(
            "Round trips took {} in the median for connections that began around {}, elsewhere as little as {}",
            format::duration(worst.p50_ms),
            elapsed_label(place(worst.from_s)),
            format::duration(best.p50_ms)
        )
    }
}
