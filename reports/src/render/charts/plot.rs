//! One plot: axes and shapes, drawn by plotters.

use std::ops::Range;

use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{PathElement, Polygon, Rectangle};
use plotters::prelude::IntoLogRange;
use plotters::style::{Color, ShapeStyle, TextStyle};

use super::svg::{Ink, SvgBackend};
use crate::error::Error;
use crate::words::escape;

/// Font size of labels in half CSS pixels; the style sheet says the same.
const LABEL_SIZE: u32 = 24;

/// Room for half a tick label, in half CSS pixels.
const RIGHT_MARGIN: u32 = 48;

/// What is plotted.
pub(super) struct Plot<'a> {
    /// Horizontal range.
    pub x: Range<f64>,
    /// Whether the horizontal axis is logarithmic.
    pub log_x: bool,
    /// Bottom of the vertical axis.
    pub bottom: f64,
    /// Top of the vertical axis.
    pub top: f64,
    /// Label of a horizontal tick.
    pub x_label: &'a (dyn Fn(f64) -> String + Sync),
    /// What the page's script writes behind the numbers of a stretch: `elapsed` (seconds since the
    /// capture began), `ms`, `bytes`, `number`, or `tail`, which cannot be stretched.
    pub x_unit: &'static str,
    /// Label of a vertical tick.
    pub y_label: &'a (dyn Fn(f64) -> String + Sync),
    /// Data, the first one lowest.
    pub shapes: Vec<Shape>,
}

/// One piece of data.
pub(super) enum Shape {
    /// A line through points.
    Line(u8, Vec<(f64, f64)>),
    /// Points that no line joins.
    Dots(u8, Vec<(f64, f64)>),
    /// The area between a lower and an upper line.
    Area(u8, Vec<(f64, f64, f64)>),
    /// Bars from zero: left, right, height.
    Bars(u8, Vec<(f64, f64, f64)>),
    /// Vertical strokes: place, lower end, upper end.
    Strokes(u8, Vec<(f64, f64, f64)>),
    /// A vertical line over the whole height that marks a value.
    Mark(f64),
    /// Shaded parts of the horizontal axis: from, to.
    Bands(Vec<(f64, f64)>),
}

type Area<'a> = DrawingArea<SvgBackend<'a>, Shift>;

impl Plot<'_> {
    /// The SVG of `size` CSS pixels. `id` is unique in the page; `class` names the variant.
    pub(super) fn draw(
        &self,
        id: &str,
        class: &str,
        title: &str,
        description: &str,
        (width, height): (u32, u32),
    ) -> Result<String, Error> {
        let (width, height) = (width * 2, height * 2);
        let mut body = String::new();
        let left = {
            let area = SvgBackend::new(&mut body, (width, height)).into_drawing_area();
            if self.log_x {
                let range = self.x.clone().log_scale();
                self.fill(&area, |builder| {
                    builder.build_cartesian_2d(range, self.bottom..self.top)
                })
            } else {
                let range = self.x.clone();
                self.fill(&area, |builder| {
                    builder.build_cartesian_2d(range, self.bottom..self.top)
                })
            }
            .map_err(|error| Error::Chart(error.to_string()))?
        };
        let right = width - RIGHT_MARGIN;
        let (from, to) = (self.x.start, self.x.end);
        let scale = if self.log_x { "log" } else { "linear" };
        let (title, description) = (escape::html(title), escape::html(description));
        let unit = self.x_unit;
        Ok(format!(
            "<svg class=\"chart {class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             data-plot=\"{left} {right} {from} {to} {scale}\" data-unit=\"{unit}\" \
             aria-labelledby=\"{id}-t {id}-d\"><title id=\"{id}-t\">{title}</title>\
             <desc id=\"{id}-d\">{description}</desc>{body}</svg>"
        ))
    }

    /// Draws everything; gives the left edge of the plot.
    fn fill<'b, X>(
        &self,
        area: &Area<'b>,
        build: impl FnOnce(&mut ChartBuilder<'_, '_, SvgBackend<'b>>) -> Built<'b, X>,
    ) -> Result<u32, Failed>
    where
        X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let steps =
            (0..=8).map(|step| self.bottom + (self.top - self.bottom) * f64::from(step) / 8.0);
        // Labels of counts stand at whole numbers only.
        let labels = steps.flat_map(|value| [value, value.round()]);
        let widths = labels.map(|value| (self.y_label)(value).chars().count());
        let widest = widths.max().unwrap_or(0);
        let left = u32::try_from(widest).unwrap_or(8) * LABEL_SIZE * 6 / 10 + 16;
        let mut builder = ChartBuilder::on(area);
        builder
            .margin_top(16)
            .margin_right(RIGHT_MARGIN)
            .x_label_area_size(56)
            .y_label_area_size(left);
        let mut chart = build(&mut builder)?;
        let (width, height) = area.dim_in_pixel();
        let text = Ink::Text.colour();
        let label = TextStyle::from(("sans-serif", LABEL_SIZE)).color(&text);
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(plotters::style::TRANSPARENT)
            .bold_line_style(Ink::Grid.colour())
            .axis_style(Ink::Axis.colour())
            .label_style(label)
            .x_labels((width / 190).max(3) as usize)
            .y_labels((height / 90).max(3) as usize)
            .x_label_formatter(&|value| (self.x_label)(*value))
            .y_label_formatter(&|value| (self.y_label)(*value))
            .draw()?;
        for shape in &self.shapes {
            self.shape(&mut chart, shape)?;
        }
        Ok(left)
    }

    fn shape<X>(&self, chart: &mut Context<'_, '_, X>, shape: &Shape) -> Result<(), Failed>
    where
        X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        match shape {
            Shape::Line(index, points) => {
                let line = PathElement::new(points.clone(), Ink::Series(*index).colour());
                chart.draw_series([line])?;
            }
            Shape::Dots(index, points) => {
                let colour = Ink::Dot(*index).colour();
                chart.draw_series(
                    points
                        .iter()
                        .map(|&at| PathElement::new(vec![at, at], colour)),
                )?;
            }
            Shape::Area(index, points) => {
                let upper = points.iter().map(|&(x, _, high)| (x, high));
                let lower = points.iter().rev().map(|&(x, low, _)| (x, low));
                let outline: Vec<_> = upper.chain(lower).collect();
                chart.draw_series([Polygon::new(outline, Ink::Fill(*index).colour().filled())])?;
            }
            Shape::Bars(index, bars) => {
                let style: ShapeStyle = Ink::Fill(*index).colour().filled();
                let bars = bars.iter().filter(|bar| bar.2 > 0.0);
                chart.draw_series(bars.map(|&(left, right, height)| {
                    Rectangle::new([(left, 0.0), (right, height)], style)
                }))?;
            }
            Shape::Strokes(index, strokes) => {
                let colour = Ink::Stroke(*index).colour();
                chart.draw_series(
                    strokes
                        .iter()
                        .map(|&(x, low, high)| PathElement::new(vec![(x, low), (x, high)], colour)),
                )?;
            }
            Shape::Bands(bands) => {
                let style: ShapeStyle = Ink::Band.colour().filled();
                let place = |at: f64| at.clamp(self.x.start, self.x.end);
                chart.draw_series(bands.iter().map(|&(from, to)| {
                    Rectangle::new([(place(from), self.bottom), (place(to), self.top)], style)
                }))?;
            }
            Shape::Mark(at) => {
                let ends = vec![(*at, self.bottom), (*at, self.top)];
                chart.draw_series([PathElement::new(ends, Ink::Mark.colour())])?;
            }
        }
        Ok(())
    }
}

type Failed = plotters::drawing::DrawingAreaErrorKind<std::convert::Infallible>;
type Context<'a, 'b, X> = ChartContext<'a, SvgBackend<'b>, Cartesian2d<X, RangedCoordf64>>;
type Built<'b, X> = Result<Context<'b, 'b, X>, Failed>;
