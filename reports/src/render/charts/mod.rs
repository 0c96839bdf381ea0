//! Charts as inline SVG, each with a title that says what to see, a text alternative and its data.
//!
//! A chart that says nothing is left out: no trend in two slices, no distribution of four values.

use std::fmt::Write as _;

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use crate::document::{Document, FindingView, Trace};
use crate::error::Error;
use crate::words::{escape, format};

mod bands;
mod distribution;
mod plot;
mod sequence;
mod states;
mod svg;
mod time;
mod waits;

use bands::Bands;

/// CSS pixels of a chart on a wide page.
const WIDE: (u32, u32) = (860, 240);
/// CSS pixels of a chart on a narrow page.
const NARROW: (u32, u32) = (360, 230);

/// One chart, ready for a page. Serialised, its data table is a body of markup.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Chart {
    /// Unique within the page.
    pub id: String,
    /// What to see, in a sentence without final full stop.
    pub title: String,
    /// What the axes are.
    pub axes: String,
    /// Height of [`Self::wide`] in CSS pixels.
    pub height: u32,
    /// SVG for a wide page.
    pub wide: String,
    /// SVG for a narrow page.
    pub narrow: String,
    /// Names of the series; empty when there is one only.
    pub legend: Vec<LegendItem>,
    /// Headings of the data table.
    pub heads: Vec<String>,
    /// Rows of the data table.
    pub rows: Vec<Vec<String>>,
    /// Where each row stands on the horizontal axis.
    pub places: Vec<f64>,
}

impl Chart {
    /// Draws both variants, on the height that most charts have.
    fn draw(self, plot: &plot::Plot<'_>) -> Result<Self, Error> {
        self.draw_as_high(plot, [WIDE.1, NARROW.1])
    }

    /// Draws both variants; heights in CSS pixels.
    fn draw_as_high(self, plot: &plot::Plot<'_>, [wide, narrow]: [u32; 2]) -> Result<Self, Error> {
        let draw = |ending, class, size| {
            let id = format!("{}-{ending}", self.id);
            plot.draw(&id, class, &self.title, &self.axes, size)
        };
        let (for_wide, for_narrow) = rayon::join(
            || draw("w", "wide", (WIDE.0, wide)),
            || draw("n", "narrow", (NARROW.0, narrow)),
        );
        Ok(Self {
            height: wide,
            wide: for_wide?,
            narrow: for_narrow?,
            ..self
        })
    }

    /// The rows of the data table as markup: a page has thousands of cells, and a template takes
    /// its time for each.
    fn body(&self) -> String {
        let mut body = String::new();
        for (row, place) in self.rows.iter().zip(&self.places) {
            // Writing to a string cannot fail.
            let _ = write!(body, "<tr data-place=\"{place}\">");
            for cell in row {
                let _ = write!(body, "<td class=\"n\">{}</td>", escape::html(cell));
            }
            body.push_str("</tr>\n");
        }
        body
    }
}

impl Serialize for Chart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut chart = serializer.serialize_struct("Chart", 8)?;
        chart.serialize_field("id", &self.id)?;
        chart.serialize_field("title", &self.title)?;
        chart.serialize_field("axes", &self.axes)?;
        chart.serialize_field("wide", &self.wide)?;
        chart.serialize_field("narrow", &self.narrow)?;
        chart.serialize_field("legend", &self.legend)?;
        chart.serialize_field("heads", &self.heads)?;
        chart.serialize_field("body", &self.body())?;
        chart.end()
    }
}

/// The name of a series.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LegendItem {
    /// Number of the series: the style sheet's class `s0`, `s1`, ….
    pub series: u8,
    /// Name.
    pub label: String,
}

impl LegendItem {
    fn new(series: u8, label: impl Into<String>) -> Self {
        Self {
            series,
            label: label.into(),
        }
    }
}

/// The charts of a whole capture, in the order of the page.
///
/// # Errors
/// Fails only if drawing fails, which is a defect of ours.
pub fn of_capture(document: &Document) -> Result<Vec<Chart>, Error> {
    let mut charts = Vec::new();
    if let Some(intervals) = &document.intervals {
        let bands = &Bands::of(document);
        charts.extend(time::throughput(intervals, bands)?);
        charts.extend(time::packets(intervals, bands)?);
        charts.extend(time::retransmissions(intervals, bands)?);
        charts.extend(time::connections(intervals, bands)?);
    }
    if let Some(times) = &document.round_trips_over_time {
        charts.extend(time::round_trips(times)?);
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

/// How many sockets were in which state over time, for client ends and server ends.
///
/// # Errors
/// Fails only if drawing fails, which is a defect of ours.
pub fn of_states(document: &Document) -> Result<Vec<Chart>, Error> {
    let Some(intervals) = &document.intervals else {
        return Ok(Vec::new());
    };
    let bands = &Bands::of(document);
    let charts = ["client", "server"].map(|end| states::states(intervals, bands, end));
    charts.into_iter().filter_map(Result::transpose).collect()
}

/// How a finding's telling figure lies, when it has single values, and the course of the
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
    // The telling figure of a timeout is the wait itself.
    if let Some(values) = finding.distribution.as_ref().filter(|_| !shows_waits) {
        charts.extend(distribution::figure(&format!("values-{index}"), values)?);
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

/// Counts are whole; ticks between are left without a label.
fn whole(value: f64) -> String {
    if value.fract().abs() < 1e-9 {
        format::rounded(value)
    } else {
        String::new()
    }
}

/// A tick label on the time axis.
fn elapsed_label(seconds: f64) -> String {
    if seconds == 0.0 {
        "0 s".to_owned()
    } else {
        format!("+{}", format::seconds(seconds))
    }
}
