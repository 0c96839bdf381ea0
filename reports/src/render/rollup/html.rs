//! The roll-up as one self-contained page, in the style of the reports.

use minijinja::context;
use minijinja::value::Serde;
use serde::Serialize;

use super::{HeatRow, Rollup, Trend};
use crate::error::Error;
use crate::render::html;
use crate::words::format;

const STYLE: &str = include_str!("rollup.css");

/// What the template shows beside the roll-up itself: texts and shades.
#[derive(Serialize)]
struct Page<'a> {
    rollup: &'a Rollup,
    facts: Vec<(&'static str, String)>,
    heat: Vec<Shaded<'a>>,
    trends: Vec<TrendText<'a>>,
    days: Vec<Vec<String>>,
}

/// A row of the heat map with a shade from 0 to 5 per cell.
#[derive(Serialize)]
struct Shaded<'a> {
    row: &'a HeatRow,
    sets: String,
    occurrences: String,
    cells: Vec<(String, u8)>,
}

#[derive(Serialize)]
struct TrendText<'a> {
    trend: &'a Trend,
    spark: String,
    mean: String,
}

/// Renders the page.
///
/// # Errors
/// Fails only if the template does not fit the roll-up, which is a defect of ours.
pub fn render(rollup: &Rollup) -> Result<String, Error> {
    let style = format!("{}{STYLE}", html::STYLE);
    let page = Page {
        rollup,
        facts: facts(rollup),
        heat: shaded(rollup),
        trends: rollup.trends.iter().map(trend).collect(),
        days: rollup.days.iter().map(day).collect(),
    };
    let mut environment = html::environment()?;
    environment.add_template("rollup.html", include_str!("rollup.html"))?;
    environment.add_filter("link", |path: String| link(&path));
    Ok(environment.get_template("rollup.html")?.render(context! {
        page => Serde(&page),
        policy => html::policy(&style, html::SCRIPT),
        script => html::SCRIPT,
        style => style,
    })?)
}

/// Sums for the head of the page.
pub(super) fn facts(rollup: &Rollup) -> Vec<(&'static str, String)> {
    let totals = &rollup.totals;
    let bytes = |bytes: u64| format::size(whole(bytes));
    vec![
        ("Capture sets", format::count(totals.sets)),
        (
            "Files",
            format!(
                "{} ({})",
                format::count(totals.files),
                bytes(totals.stored_bytes)
            ),
        ),
        (
            "Frames",
            format!(
                "{} ({})",
                format::count(totals.packets),
                bytes(totals.bytes)
            ),
        ),
        ("Connections", format::count(totals.connections)),
        ("Sets without findings", format::count(totals.clean_sets)),
        ("Analyzed in this run", format::count(rollup.run.analysed)),
        ("Done before", format::count(rollup.run.unchanged)),
        ("Not readable", format::count(rollup.run.failed)),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
const fn whole(number: u64) -> f64 {
    number as f64
}

fn shaded(rollup: &Rollup) -> Vec<Shaded<'_>> {
    let rows = &rollup.heat.rows;
    let most = rows.iter().flat_map(|row| &row.cells).max().copied();
    let most = whole(most.unwrap_or(1).max(1)).ln_1p();
    // Counts differ by powers of ten: the shade follows their logarithm.
    let shade = |count: u64| match count {
        0 => 0,
        count => (1..=4)
            .rev()
            .find(|step| whole(count).ln_1p() >= most * f64::from(*step) / 5.0)
            .map_or(1, |s| s + 1),
    };
    let cell = |count: &u64| {
        let text = if *count == 0 {
            String::new()
        } else {
            format::count(*count)
        };
        (text, shade(*count))
    };
    rows.iter()
        .map(|row| Shaded {
            row,
            sets: format::count(row.sets),
            occurrences: format::count(row.occurrences),
            cells: row.cells.iter().map(cell).collect(),
        })
        .collect()
}

fn trend(trend: &Trend) -> TrendText<'_> {
    TrendText {
        trend,
        spark: spark(&trend.per_day),
        mean: format::rounded(trend.mean_before),
    }
}

/// The last 60 values as a row of bars.
pub(super) fn spark(values: &[u64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = &values[values.len().saturating_sub(60)..];
    let most = shown.iter().max().copied().unwrap_or(0).max(1);
    shown
        .iter()
        .map(|value| match value {
            0 => '·',
            value => {
                BARS[usize::try_from(value.saturating_mul(7) / most)
                    .unwrap_or(7)
                    .min(7)]
            }
        })
        .collect()
}

fn day(day: &super::Day) -> Vec<String> {
    let counts = [
        day.sets,
        day.connections,
        day.packets,
        day.retransmitted_segments,
        day.resets,
        day.failed_connections,
        day.findings,
    ];
    std::iter::once(day.date.clone())
        .chain(counts.map(format::count))
        .collect()
}

/// A relative path as a link: everything but plain characters is percent-encoded.
pub(super) fn link(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
