//! Charts over capture time.

use std::ops::Range;

use super::bands::Bands;
use super::chart::{Chart, LegendItem, elapsed_label, whole};
use super::plot::{Plot, Shape};
use crate::document::Intervals;
use crate::error::Error;
use crate::words::format;

/// Fewer slices show no course of anything.
pub(super) const MIN_SLICES: usize = 3;

pub(super) const TIME_AXIS: &str = "time since the capture's first frame";

/// One named series over the slices.
struct Series<'a> {
    label: &'a str,
    values: Vec<f64>,
}

/// What was counted in each direction, by second; each counts as `weight`.
fn per_second(
    intervals: &Intervals,
    weight: f64,
    from_clients: &[u64],
    from_servers: &[u64],
) -> [Series<'static>; 2] {
    [
        ("from clients", from_clients),
        ("from servers", from_servers),
    ]
    .map(|(label, counts)| {
        let rate = |&count: &u64| count as f64 * weight / intervals.width_s.max(1e-9);
        let values = counts.iter().map(rate).collect();
        Series { label, values }
    })
}

/// Bits per second of each direction.
pub(super) fn throughput(intervals: &Intervals, bands: &Bands) -> Result<Option<Chart>, Error> {
    let series = per_second(
        intervals,
        8.0,
        &intervals.client_to_server_bytes,
        &intervals.server_to_client_bytes,
    );
    let Some(((slice, rate), label)) = highest(&series) else {
        return Ok(None);
    };
    let title = format!(
        "Throughput peaked at {} {label}, {} into the capture",
        format::bit_rate(rate),
        format::seconds(slice as f64 * intervals.width_s),
    );
    let axes = format!("Bits per second on the wire; {TIME_AXIS}");
    lines(
        intervals,
        bands,
        "throughput",
        title,
        axes,
        &series,
        &format::bit_rate,
    )
}

/// Packets per second of each direction.
pub(super) fn packets(intervals: &Intervals, bands: &Bands) -> Result<Option<Chart>, Error> {
    let series = per_second(
        intervals,
        1.0,
        &intervals.client_to_server_packets,
        &intervals.server_to_client_packets,
    );
    let Some(((slice, most), label)) = highest(&series) else {
        return Ok(None);
    };
    let sum = |counts: &[u64]| counts.iter().sum::<u64>();
    let title = format!(
        "{} from clients and {} from servers, at most {} a second {label}, at {}",
        format::counted(sum(&intervals.client_to_server_packets), "packet"),
        format::count(sum(&intervals.server_to_client_packets)),
        format::rounded(most),
        elapsed_label(slice as f64 * intervals.width_s),
    );
    let axes = format!(
        "Packets per second, counted over {}; {TIME_AXIS}",
        slice_text(intervals)
    );
    lines(
        intervals,
        bands,
        "packets",
        title,
        axes,
        &series,
        &format::rounded,
    )
}

/// The highest point of several series, and whose it is.
fn highest<'a>(series: &'a [Series<'_>]) -> Option<((usize, f64), &'a str)> {
    let peaks = series
        .iter()
        .filter_map(|series| Some((peak(&series.values)?, series.label)));
    peaks.max_by(|a, b| a.0.1.total_cmp(&b.0.1))
}

/// Segments sent again by each side.
pub(super) fn retransmissions(
    intervals: &Intervals,
    bands: &Bands,
) -> Result<Option<Chart>, Error> {
    let series = [
        Series {
            label: "by clients",
            values: floats(&intervals.client_to_server_retransmissions),
        },
        Series {
            label: "by servers",
            values: floats(&intervals.server_to_client_retransmissions),
        },
    ];
    let both: Vec<f64> = series[0]
        .values
        .iter()
        .zip(&series[1].values)
        .map(|(a, b)| a + b)
        .collect();
    let total: f64 = both.iter().sum();
    let packets: u64 = intervals.client_to_server_packets.iter().sum::<u64>()
        + intervals.server_to_client_packets.iter().sum::<u64>();
    if total == 0.0 {
        return Ok(None);
    }
    let share = format::percentage(total / packets.max(1) as f64);
    let (from, to, inside) = half_within(&both);
    let which = match format::rounded(total) {
        one if total <= 1.0 => format!("The {one} retransmitted segment"),
        all if inside < total => {
            format!(
                "{} of the {all} retransmitted segments",
                format::rounded(inside)
            )
        }
        all => format!("All {all} retransmitted segments"),
    };
    let title = format!(
        "{which} fell between {} and {}; {share} of all packets are retransmissions",
        elapsed_label(from as f64 * intervals.width_s),
        elapsed_label((to + 1) as f64 * intervals.width_s),
    );
    events(
        intervals,
        bands,
        "retransmissions",
        title,
        "Segments sent again",
        &series,
    )
}

/// Fewer connections are better read in their table.
const MIN_OPENED: u64 = 20;

/// Connections opened and failed.
pub(super) fn connections(intervals: &Intervals, bands: &Bands) -> Result<Option<Chart>, Error> {
    let failed: u64 = intervals.failed.iter().sum();
    let resets: u64 = intervals.resets.iter().sum();
    let opened: u64 = intervals.opened.iter().sum();
    if failed + resets < 2 && opened < MIN_OPENED {
        return Ok(None);
    }
    let series = [
        Series {
            label: "opened",
            values: floats(&intervals.opened),
        },
        Series {
            label: "refused or unanswered",
            values: floats(&intervals.failed),
        },
        Series {
            label: "resets",
            values: floats(&intervals.resets),
        },
    ];
    let title = format!(
        "{} began, {}; {}",
        format::counted(opened, "connection"),
        match failed {
            0 => "none was refused or unanswered".to_owned(),
            failed => format!("{} refused or unanswered", format::count(failed)),
        },
        match resets {
            0 => "no reset".to_owned(),
            resets => format::counted(resets, "reset"),
        },
    );
    events(
        intervals,
        bands,
        "connections-over-time",
        title,
        "Connections and resets",
        &series,
    )
}

/// Bars across a chart at most: wide enough to be seen as bars.
const BARS: usize = 120;

/// Counts of events as bars beside each other, slices taken together where there are many.
fn events(
    intervals: &Intervals,
    bands: &Bands,
    id: &str,
    title: String,
    what: &str,
    series: &[Series<'_>],
) -> Result<Option<Chart>, Error> {
    let slices = intervals.opened.len();
    let drawn = series.iter().enumerate();
    let drawn: Vec<_> = drawn
        .filter(|(_, series)| series.values.iter().any(|&value| value > 0.0))
        .map(|(index, series)| (u8::try_from(index).unwrap_or(0), series))
        .collect();
    if slices < MIN_SLICES || drawn.is_empty() {
        return Ok(None);
    }
    let together = slices.div_ceil(BARS / drawn.len()).max(1);
    let width_s = intervals.width_s * together as f64;
    let sums: Vec<Vec<f64>> = drawn
        .iter()
        .map(|(_, series)| {
            series
                .values
                .chunks(together)
                .map(|c| c.iter().sum())
                .collect()
        })
        .collect();
    let bar = width_s * 0.9 / drawn.len() as f64;
    let shapes = drawn.iter().zip(&sums).enumerate();
    let shapes = shapes.map(|(place, ((index, _), sums))| {
        let bars = sums.iter().enumerate().map(|(bin, &sum)| {
            let left = (bin as f64 + 0.05) * width_s + place as f64 * bar;
            (left, left + bar, sum)
        });
        Shape::Bars(*index, bars.collect())
    });
    let bins = slices.div_ceil(together);
    let plot = Plot {
        x: 0.0..width_s.max(1e-9) * bins as f64,
        log_x: false,
        bottom: 0.0,
        top: sums.iter().flatten().copied().fold(0.0, f64::max) * 1.08,
        x_label: &elapsed_label,
        x_unit: "elapsed",
        y_label: &whole,
        shapes: std::iter::once(bands.shape()).chain(shapes).collect(),
    };
    let axes = format!(
        "{what} per {}; {TIME_AXIS}{}",
        format::seconds(width_s),
        bands.legend
    );
    let heads = std::iter::once("Time").chain(drawn.iter().map(|(_, series)| series.label));
    let rows = (0..bins).map(|bin| {
        let counts = sums.iter().map(|sums| format::rounded(sums[bin]));
        std::iter::once(elapsed_label(bin as f64 * width_s))
            .chain(counts)
            .collect()
    });
    Chart {
        id: id.to_owned(),
        heads: heads.map(str::to_owned).collect(),
        rows: rows.collect(),
        places: (0..bins).map(|bin| (bin as f64 + 0.5) * width_s).collect(),
        legend: drawn
            .iter()
            .map(|(index, series)| LegendItem::new(*index, series.label))
            .collect(),
        title,
        axes,
        ..Chart::default()
    }
    .draw(&plot)
    .map(Some)
}

fn lines(
    intervals: &Intervals,
    bands: &Bands,
    id: &str,
    title: String,
    axes: String,
    series: &[Series<'_>],
    label: &(dyn Fn(f64) -> String + Sync),
) -> Result<Option<Chart>, Error> {
    let top = series
        .iter()
        .flat_map(|series| &series.values)
        .copied()
        .fold(0.0, f64::max);
    if intervals.opened.len() < MIN_SLICES || top <= 0.0 {
        return Ok(None);
    }
    let drawn = series
        .iter()
        .enumerate()
        .filter(|(_, s)| s.values.iter().any(|&v| v > 0.0));
    let drawn: Vec<_> = drawn
        .map(|(index, s)| (u8::try_from(index).unwrap_or(0), s))
        .collect();
    let shapes = drawn.iter().map(|(index, series)| {
        let points = series.values.iter().enumerate();
        Shape::Line(
            *index,
            points
                .map(|(slice, &value)| (middle(intervals, slice), value))
                .collect(),
        )
    });
    let plot = Plot {
        x: time_range(intervals),
        log_x: false,
        bottom: 0.0,
        top: top * 1.08,
        x_label: &elapsed_label,
        x_unit: "elapsed",
        y_label: label,
        shapes: std::iter::once(bands.shape()).chain(shapes).collect(),
    };
    let heads = std::iter::once("Time").chain(drawn.iter().map(|(_, series)| series.label));
    let rows = (0..intervals.opened.len()).map(|slice| {
        let values = drawn
            .iter()
            .map(|(_, s)| s.values.get(slice).copied().unwrap_or(0.0));
        let time = elapsed_label(slice as f64 * intervals.width_s);
        std::iter::once(time).chain(values.map(label)).collect()
    });
    Chart {
        id: id.to_owned(),
        heads: heads.map(str::to_owned).collect(),
        rows: rows.collect(),
        places: (0..intervals.opened.len())
            .map(|slice| middle(intervals, slice))
            .collect(),
        legend: drawn
            .iter()
            .map(|(index, s)| LegendItem::new(*index, s.label))
            .collect(),
        title,
        axes: axes + &bands.legend,
        ..Chart::default()
    }
    .draw(&plot)
    .map(Some)
}

fn floats(counts: &[u64]) -> Vec<f64> {
    counts.iter().map(|&count| count as f64).collect()
}

/// Slice and value of the first maximum; `None` when all is zero.
fn peak(values: &[f64]) -> Option<(usize, f64)> {
    let found = values
        .iter()
        .copied()
        .enumerate()
        .rev()
        .max_by(|a, b| a.1.total_cmp(&b.1));
    found.filter(|(_, value)| *value > 0.0)
}

/// The shortest run of slices that holds at least half of everything, and how much it holds.
fn half_within(values: &[f64]) -> (usize, usize, f64) {
    let half = values.iter().sum::<f64>() / 2.0;
    let mut best = (0, values.len().saturating_sub(1), half * 2.0);
    let (mut from, mut inside) = (0, 0.0);
    for (to, value) in values.iter().enumerate() {
        inside += value;
        while inside - values[from] >= half && from < to {
            inside -= values[from];
            from += 1;
        }
        if inside >= half && to - from < best.1 - best.0 {
            best = (from, to, inside);
        }
    }
    best
}

fn slice_text(intervals: &Intervals) -> String {
    format::seconds(intervals.width_s)
}

pub(super) fn middle(intervals: &Intervals, slice: usize) -> f64 {
    (slice as f64 + 0.5) * intervals.width_s
}

pub(super) fn time_range(intervals: &Intervals) -> Range<f64> {
    0.0..intervals.width_s.max(1e-9) * intervals.opened.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_run_with_half_of_all() {
        assert_eq!(half_within(&[1.0, 0.0, 5.0, 4.0, 0.0, 1.0]), (2, 3, 9.0));
        assert_eq!(half_within(&[1.0, 0.0, 7.0, 1.0]), (2, 2, 7.0));
        assert_eq!(half_within(&[0.0, 3.0]), (1, 1, 3.0));
    }

    #[test]
    fn the_first_of_equal_peaks_is_named() {
        assert_eq!(peak(&[0.0, 2.0, 2.0]), Some((1, 2.0)));
        assert_eq!(peak(&[0.0, 0.0]), None);
    }
}
