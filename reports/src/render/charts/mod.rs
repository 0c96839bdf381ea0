//! Charts as inline SVG, each with a title that says what to see, a text alternative and its data.
//!
//! A chart that says nothing is left out: no trend in two slices, no distribution of four values.

use crate::document::{Document, FindingView, Trace};
use crate::error::Error;
use crate::words::escape;

mod bands;
mod chart;
mod distribution;
mod over_time;
mod plot;
mod relation;
mod round_trips;
mod sequence;
mod states;
mod svg;
mod waits;
mod waterfall;

use bands::Bands;
use chart::WIDE;
pub use chart::{Chart, LegendItem};

/// The charts of a whole capture, in the order of the page.
///
/// # Errors
/// Fails only if drawing fails, which is a defect of ours.
pub fn of_capture(document: &Document) -> Result<Vec<Chart>, Error> {
    let mut charts = Vec::new();
    if let Some(intervals) = &document.intervals {
        let bands = &Bands::of(document);
        charts.extend(over_time::throughput(intervals, bands)?);
        charts.extend(over_time::packets(intervals, bands)?);
        charts.extend(over_time::retransmissions(intervals, bands)?);
        charts.extend(over_time::connections(intervals, bands)?);
    }
    if let Some(times) = &document.round_trips_over_time {
        charts.extend(round_trips::round_trips(times)?);
    }
    if let Some(times) = &document.response_times {
        charts.extend(distribution::response_times(times)?);
        charts.extend(distribution::percentiles(times)?);
    }
    if let Some(times) = &document.round_trip_times {
        charts.extend(distribution::round_trips(times)?);
    }
    charts.extend(distribution::udp_sizes(&document.udp_sizes)?);
    Ok(charts)
}

/// The slowest requests, step by step.
#[must_use]
pub fn of_actions(document: &Document) -> Option<Chart> {
    waterfall::waterfall(document.actions.as_ref()?)
}

/// How many sockets were in which state over time, for client ends and server ends.
///
/// # Errors
/// Fails only if drawing fails, which is a defect of ours.
pub fn of_states(document: &Document) -> Result<Vec<Chart>, Error> {
    let Some(intervals) = &document.intervals else {
        return Ok(Vec::new());
    };
    let bands = &Bands::of(document);
    let snapshots = &document.host_snapshots;
    let charts = ["client", "server"].map(|end| states::states(intervals, snapshots, bands, end));
    charts.into_iter().filter_map(Result::transpose).collect()
}

/// How a finding's main figure is distributed, when it has single values, and the course of the
/// connection it cites first. A connection that several findings cite is drawn with the first of
/// them. `index` is the finding's place in the document and makes the charts' ids.
///
/// # Errors
/// Fails only if drawing fails, which is a defect of ours.
pub fn of_finding(
    index: usize,
    finding: &FindingView,
    traces: &[Trace],
) -> Result<Vec<Chart>, Error> {
    let mut charts = Vec::new();
    let waits = waits::histogram(&format!("waits-{index}"), &finding.timeouts)?;
    let shows_waits = waits.is_some();
    charts.extend(waits);
    // The main figure of a timeout is the wait itself.
    if let Some(values) = finding.distribution.as_ref().filter(|_| !shows_waits) {
        charts.extend(distribution::figure(&format!("values-{index}"), values)?);
    }
    if let Some(relation) = &finding.relation {
        charts.extend(relation::points(&format!("relation-{index}"), relation)?);
    }
    let traces = traces.iter().enumerate();
    for (number, trace) in traces.filter(|(_, trace)| trace.findings.first() == Some(&finding.id)) {
        charts.extend(sequence::graphs(&format!("sequence-{number}"), trace)?);
    }
    Ok(charts)
}

/// Style of a chart outside the page: its colours on a ground that suits them, light or dark.
const STYLE: &str = include_str!("standalone.css");

/// A chart as a file of its own, with its legend drawn into it.
#[must_use]
pub fn standalone(chart: &Chart) -> String {
    let (width, height) = (WIDE.0 * 2, chart.height * 2);
    let rows = chart.legend.len().div_ceil(LEGEND_COLUMNS) as u32;
    let legend_height = if chart.legend.len() > 1 { rows * 40 } else { 0 };
    let mut legend = String::new();
    for (index, item) in chart
        .legend
        .iter()
        .enumerate()
        .filter(|_| legend_height > 0)
    {
        let x = 20 + index % LEGEND_COLUMNS * (width as usize / LEGEND_COLUMNS);
        let y = height as usize + 12 + index / LEGEND_COLUMNS * 40;
        legend.push_str(&format!(
            "<path class=\"area s{}\" d=\"M{x} {y}h20v20h-20z\"/><text x=\"{}\" y=\"{}\">{}</text>",
            item.series,
            x + 30,
            y + 18,
            escape::html(&item.label)
        ));
    }
    let total = height + legend_height;
    let inner = chart.wide.split_once('>').map_or("", |(_, inner)| inner);
    let inner = inner.strip_suffix("</svg>").unwrap_or(inner);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {total}\" \
         width=\"{}\" height=\"{}\" role=\"img\" class=\"chart\"><style>{STYLE}</style>\
         <rect class=\"ground\" width=\"{width}\" height=\"{total}\"/>{inner}{legend}</svg>\n",
        width / 2,
        total / 2
    )
}

/// Names beside each other in a drawn legend.
const LEGEND_COLUMNS: usize = 4;
