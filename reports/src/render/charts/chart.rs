//! One chart: its two drawings, its legend and its data.

use std::fmt::Write as _;

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::plot::Plot;
use crate::error::Error;
use crate::words::{escape, format};

/// CSS pixels of a chart on a wide page.
pub(super) const WIDE: (u32, u32) = (860, 240);
/// CSS pixels of a chart on a narrow page.
pub(super) const NARROW: (u32, u32) = (360, 230);

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
    pub(super) fn draw(self, plot: &Plot<'_>) -> Result<Self, Error> {
        self.draw_as_high(plot, [WIDE.1, NARROW.1])
    }

    /// Draws both variants; heights in CSS pixels.
    pub(super) fn draw_as_high(
        self,
        plot: &Plot<'_>,
        [wide, narrow]: [u32; 2],
    ) -> Result<Self, Error> {
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
    pub(super) fn new(series: u8, label: impl Into<String>) -> Self {
        Self {
            series,
            label: label.into(),
        }
    }
}

/// Counts are whole; ticks between are left without a label.
pub(super) fn whole(value: f64) -> String {
    if value.fract().abs() < 1e-9 {
        format::rounded(value)
    } else {
        String::new()
    }
}

/// A tick label on the time axis.
pub(super) fn elapsed_label(seconds: f64) -> String {
    if seconds == 0.0 {
        "0 s".to_owned()
    } else {
        format!("+{}", format::seconds(seconds))
    }
}
