//! Time-sequence graphs: what was sent, sent again and acknowledged, octet by octet over time.

use super::chart::{Chart, LegendItem, elapsed_label};
use super::plot::{Plot, Shape};
use crate::document::{Trace, TraceSlot, TraceView};
use crate::error::Error;
use crate::words::format;

/// Colours of the series.
const SENT: u8 = 0;
const RESENT: u8 = 4;
const FILLED: u8 = 5;
const ACKED: u8 = 3;
const WINDOW: u8 = 8;
const SACKED: u8 = 2;

/// A range of octets in a slot, for one series.
type Pick = fn(&TraceSlot) -> Option<(u64, u64)>;

/// Heights for a wide and a narrow page: a slope needs room.
const HEIGHTS: [u32; 2] = [340, 300];

/// The graphs of one connection: the incident, then the whole of it. `id` is unique in the page.
pub(super) fn graphs(id: &str, trace: &Trace) -> Result<Vec<Chart>, Error> {
    let mut charts = Vec::new();
    for (number, view) in trace.views.iter().enumerate().rev() {
        if view.slots.len() > 2 {
            charts.push(graph(&format!("{id}-{number}"), trace, view, number > 0)?);
        }
    }
    Ok(charts)
}

fn graph(id: &str, trace: &Trace, view: &TraceView, is_incident: bool) -> Result<Chart, Error> {
    let (bottom, top) = range(view);
    let (shapes, legend) = shapes(view, bottom, top);
    let at = |slot: &TraceSlot| middle(view, slot);
    let title = title(trace, view, is_incident);
    let axes = format!(
        "Bytes from the {}'s initial sequence number over time since the capture's first frame, \
         each stroke {} wide{}",
        trace.sender,
        format::seconds(view.slot_s),
        if view.slots.iter().any(|slot| slot.reset) {
            "; a dashed line marks a reset"
        } else {
            ""
        },
    ) + &partly(view);
    let plot = Plot {
        x: view.from_s..view.to_s.max(view.from_s + 1e-6),
        log_x: false,
        bottom,
        top,
        x_label: &elapsed_label,
        x_unit: "elapsed",
        y_label: &format::size,
        shapes,
    };
    Chart {
        id: id.to_owned(),
        title,
        axes,
        legend,
        heads: [
            "Time",
            "Sent",
            "Sent again",
            "Filled a hole",
            "Acknowledged",
            "Window end",
        ]
        .map(str::to_owned)
        .into(),
        places: view.slots.iter().map(at).collect(),
        rows: view.slots.iter().map(|slot| row(at(slot), slot)).collect(),
        ..Chart::default()
    }
    .draw_as_high(&plot, HEIGHTS)
}

/// The lines, strokes and marks of a view, each inside the chart's range, with their legend.
fn shapes(view: &TraceView, bottom: f64, top: f64) -> (Vec<Shape>, Vec<LegendItem>) {
    let at = |slot: &TraceSlot| middle(view, slot);
    let inside = |octet: u64| (octet as f64).clamp(bottom, top);
    let line = |pick: fn(&TraceSlot) -> Option<u64>| -> Vec<(f64, f64)> {
        steps(
            view.slots
                .iter()
                .filter_map(|slot| Some((at(slot), inside(pick(slot)?)))),
        )
    };
    let strokes = |pick: Pick| -> Vec<(f64, f64, f64)> {
        let slots = view.slots.iter();
        slots
            .filter_map(|slot| pick(slot).map(|(low, high)| (at(slot), inside(low), inside(high))))
            .collect()
    };
    let mut shapes = Vec::new();
    let mut legend = Vec::new();
    for (series, label, points) in [
        (
            WINDOW,
            "end of the receive window",
            line(|slot| slot.window),
        ),
        (ACKED, "acknowledged", line(|slot| slot.acked)),
    ] {
        if points.len() > 1 {
            shapes.push(Shape::Line(series, points));
            legend.push(LegendItem::new(series, label));
        }
    }
    let ranges: [(u8, &str, Pick); 4] = [
        (SACKED, "acknowledged selectively", |slot| slot.sacked),
        (SENT, "sent", |slot| slot.sent),
        (FILLED, "filled a hole", |slot| slot.filled),
        (RESENT, "sent again", |slot| slot.resent),
    ];
    for (series, label, pick) in ranges {
        let points = strokes(pick);
        if !points.is_empty() {
            shapes.push(Shape::Strokes(series, points));
            legend.push(LegendItem::new(series, label));
        }
    }
    shapes.extend(
        view.slots
            .iter()
            .filter(|slot| slot.reset)
            .map(|slot| Shape::Mark(at(slot))),
    );
    (shapes, legend)
}

/// Seconds since the capture's first frame of the middle of a slot.
fn middle(view: &TraceView, slot: &TraceSlot) -> f64 {
    view.from_s + (f64::from(slot.slot) + 0.5) * view.slot_s
}

fn title(trace: &Trace, view: &TraceView, is_incident: bool) -> String {
    let stretch = if is_incident {
        format!(
            "{} → {} around the proof, {} to {}",
            trace.connection.client,
            trace.connection.server,
            elapsed_label(view.from_s),
            elapsed_label(view.to_s)
        )
    } else {
        format!(
            "The whole of {} → {}",
            trace.connection.client, trace.connection.server
        )
    };
    if view.read_share < 1.0 {
        return format!("{stretch}: data from the {}, in pieces", trace.sender);
    }
    let mut title = format!(
        "{stretch}: the {} sent {}",
        trace.sender,
        format::counted(view.segments, "segment")
    );
    if view.resent > 0 {
        title.push_str(&format!(
            ", {} of them retransmitted",
            format::count(view.resent)
        ));
    }
    if view.pause_s > 0.0 {
        title.push_str(&format!(
            "; the longest pause was {}, from {}",
            format::seconds(view.pause_s),
            elapsed_label(view.pause_from_s)
        ));
    }
    title
}

/// Says that only a part of the stretch was read.
fn partly(view: &TraceView) -> String {
    if view.read_share >= 1.0 {
        return String::new();
    }
    format!(
        ". The stretch is long: pieces evenly apart were drawn, {} of its frames, so that single \
         segments and pauses between the pieces do not show",
        format::percentage(view.read_share)
    )
}

/// The octets that data and acknowledgements cover; the window may reach far beyond.
fn range(view: &TraceView) -> (f64, f64) {
    let ranges = view.slots.iter().flat_map(|slot| {
        [
            slot.sent,
            slot.resent,
            slot.filled,
            slot.acked.map(|ack| (ack, ack)),
        ]
    });
    let (low, high) = ranges.flatten().fold((u64::MAX, 0), |(low, high), range| {
        (low.min(range.0), high.max(range.1))
    });
    let (low, high) = (low.min(high) as f64, high as f64);
    let room = (high - low).max(1.0) * 0.06;
    ((low - room).max(0.0), high + room)
}

/// An acknowledgement stands until the next one.
fn steps(points: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut steps: Vec<(f64, f64)> = Vec::new();
    for (x, y) in points {
        if let Some(&(_, before)) = steps.last() {
            steps.push((x, before));
        }
        steps.push((x, y));
    }
    steps
}

fn row(at: f64, slot: &TraceSlot) -> Vec<String> {
    let range = |range: Option<(u64, u64)>| {
        range.map_or_else(
            || "–".to_owned(),
            |(low, high)| format!("{} – {}", format::count(low), format::count(high)),
        )
    };
    let one = |octet: Option<u64>| octet.map_or_else(|| "–".to_owned(), format::count);
    vec![
        elapsed_label(at),
        range(slot.sent),
        range(slot.resent),
        range(slot.filled),
        one(slot.acked),
        one(slot.window),
    ]
}
