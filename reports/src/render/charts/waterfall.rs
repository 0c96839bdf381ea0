//! The slowest requests as bars, one step after the other.

use std::fmt::Write as _;

use super::chart::{Chart, LegendItem, NARROW, WIDE};
use crate::document::{ActionRow, Actions, step_label};
use crate::words::{escape, format};

/// Half CSS pixels from one bar to the next: a line of text and the bar under it.
const ROW: u32 = 72;

/// Height of a bar, and where it stands in its row.
const BAR: u32 = 24;
const BAR_AT: u32 = 38;

/// Room for the axis below the bars, and beside half a label.
const AXIS: u32 = 56;
const MARGIN: u32 = 8;
const RIGHT_MARGIN: u32 = 48;

/// Half CSS pixels of a letter.
const LETTER: u32 = 14;

/// Steps with the series that gives them their colour, in the order of the legend.
const SERIES: [(&str, u8); 7] = [
    ("dns", 2),
    ("connect", 1),
    ("tls", 3),
    ("request", 5),
    ("server", 0),
    ("body", 8),
    ("recovery", 4),
];

/// The slowest requests; `None` without any, or when none of them took any time.
pub(super) fn waterfall(actions: &Actions) -> Option<Chart> {
    let longest = actions.slowest.first()?.total_ms;
    let title = actions.title().filter(|_| longest > 0.0)?;
    let legend = SERIES.iter().filter(|(step, _)| {
        let mut parts = actions.slowest.iter().flat_map(ActionRow::parts);
        parts.any(|(name, _)| name == *step)
    });
    let legend: Vec<_> = legend.copied().collect();
    let has_recovery = legend.iter().any(|(step, _)| *step == "recovery");
    let axes = format!(
        "Requests by the time since the first step of each{}; a thin line is a pause of the client",
        if has_recovery {
            ", with loss recovery at the end of the step that it delayed"
        } else {
            ""
        }
    );
    let drawn = |ending: &str, class, width| {
        let id = format!("waterfall-{ending}");
        draw(&id, class, width, actions, [&title, &axes])
    };
    let heads = ["Request", "Outcome", "Client", "Frame", "In capture"];
    let steps = legend.iter().map(|(step, _)| step_label(step));
    let heads = heads.into_iter().chain(steps).chain(["Total"]);
    let items = legend.iter();
    let items = items.map(|(step, series)| LegendItem::new(*series, step_label(step)));
    let rows = actions.slowest.iter();
    Some(Chart {
        id: "waterfall".to_owned(),
        height: height(actions) / 2,
        wide: drawn("w", "wide", WIDE.0 * 2),
        narrow: drawn("n", "narrow", NARROW.0 * 2),
        legend: items.collect(),
        heads: heads.map(str::to_owned).collect(),
        rows: rows.map(|row| cells(row, &legend)).collect(),
        places: (0..actions.slowest.len()).map(|at| at as f64).collect(),
        title,
        axes,
    })
}

fn cells(row: &ActionRow, shown: &[(&str, u8)]) -> Vec<String> {
    let parts = row.parts();
    let of_step = |step: &str| {
        let found = parts.iter().find(|(name, _)| *name == step);
        found.map_or_else(|| "–".to_owned(), |(_, ms)| format::duration(*ms))
    };
    let mut cells = vec![
        row.what(),
        row.outcome.clone(),
        row.client.clone(),
        row.frame.to_string(),
        format!("+{}", format::seconds(row.start_s)),
    ];
    cells.extend(shown.iter().map(|(step, _)| of_step(step)));
    cells.push(row.took());
    cells
}

fn height(actions: &Actions) -> u32 {
    u32::try_from(actions.slowest.len()).unwrap_or(0) * ROW + AXIS
}

/// The SVG; `width` in half CSS pixels.
fn draw(id: &str, class: &str, width: u32, actions: &Actions, [title, axes]: [&str; 2]) -> String {
    let height = height(actions);
    let longest = actions.slowest.first().map_or(1.0, |row| row.total_ms);
    let (left, right) = (MARGIN, width - RIGHT_MARGIN);
    let scale = Scale {
        left: f64::from(left),
        per_ms: f64::from(right - left) / longest,
    };
    let mut body = String::new();
    let bottom = height - AXIS;
    // Writing to a string cannot fail.
    for tick in ticks(longest, width / 280) {
        let x = scale.place(tick);
        let label = escape::html(&format::duration(tick));
        let anchor = if tick == 0.0 { "start" } else { "middle" };
        let _ = write!(
            body,
            "<path class=\"grid\" d=\"M{x:.0} 0V{bottom}\"/><text x=\"{x:.0}\" y=\"{}\" \
             text-anchor=\"{anchor}\">{label}</text>",
            bottom + 36
        );
    }
    for (index, row) in actions.slowest.iter().enumerate() {
        let top = u32::try_from(index).unwrap_or(0) * ROW;
        bar(&mut body, row, top, right, &scale);
    }
    let (title, axes) = (escape::html(title), escape::html(axes));
    format!(
        "<svg class=\"chart {class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-labelledby=\"{id}-t {id}-d\"><title id=\"{id}-t\">{title}</title>\
         <desc id=\"{id}-d\">{axes}</desc>{body}</svg>"
    )
}

/// Where times stand.
struct Scale {
    left: f64,
    per_ms: f64,
}

impl Scale {
    fn place(&self, ms: f64) -> f64 {
        self.left + ms * self.per_ms
    }
}

fn bar(body: &mut String, row: &ActionRow, top: u32, right: u32, scale: &Scale) {
    let took = row.took();
    let taken = u32::try_from(took.chars().count()).unwrap_or(0) * LETTER;
    let room = (right - MARGIN).saturating_sub(taken + 2 * LETTER) / LETTER;
    let what = format!("{}: {}", row.what(), row.outcome);
    let what = format::shortened(&what, room as usize);
    let (text, middle) = (top + 28, top + BAR_AT + BAR / 2);
    let _ = write!(
        body,
        "<text x=\"{MARGIN}\" y=\"{text}\">{}</text><text x=\"{right}\" y=\"{text}\" \
         text-anchor=\"end\">{}</text><path class=\"axis\" d=\"M{:.0} {middle}H{:.0}\"/>",
        escape::html(&what),
        escape::html(&took),
        scale.place(0.0),
        scale.place(row.total_ms),
    );
    for step in &row.steps {
        let own = step.ms - step.recovery_ms;
        piece(body, series(&step.step), step.from_ms, own, top, scale);
        let recovers_at = step.from_ms + own;
        piece(
            body,
            series("recovery"),
            recovers_at,
            step.recovery_ms,
            top,
            scale,
        );
    }
}

fn piece(body: &mut String, series: u8, from_ms: f64, ms: f64, top: u32, scale: &Scale) {
    if ms <= 0.0 {
        return;
    }
    let width = (ms * scale.per_ms).max(2.0);
    let _ = write!(
        body,
        "<path class=\"area s{series}\" d=\"M{:.1} {}h{width:.1}v{BAR}h-{width:.1}z\"/>",
        scale.place(from_ms),
        top + BAR_AT,
    );
}

fn series(step: &str) -> u8 {
    let known = SERIES.iter().find(|(name, _)| *name == step);
    known.map_or(0, |(_, series)| *series)
}

/// Round times up to `longest`, about `most` of them.
fn ticks(longest: f64, most: u32) -> impl Iterator<Item = f64> {
    let rough = longest / f64::from(most.max(2));
    let power = 10_f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let step = steps.into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    (0..=most)
        .map(move |at| f64::from(at) * step)
        .take_while(move |tick| *tick <= longest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::ActionStep;

    fn step(step: &str, from_ms: f64, ms: f64, recovery_ms: f64) -> ActionStep {
        ActionStep {
            step: step.to_owned(),
            from_ms,
            ms,
            recovery_ms,
        }
    }

    fn actions() -> Actions {
        let row = ActionRow {
            client: "10.0.0.1:4000".to_owned(),
            server: "10.0.0.2:80".to_owned(),
            name: Some("shop.example".to_owned()),
            protocol: "http1".to_owned(),
            request: Some("GET /<script>".to_owned()),
            outcome: "200".to_owned(),
            complete: true,
            start: String::new(),
            start_s: 0.5,
            total_ms: 1_400.0,
            frame: 7,
            first_frame: 4,
            steps: vec![
                step("dns", 0.0, 100.0, 0.0),
                step("connect", 100.0, 1_000.0, 0.0),
                step("server", 1_100.0, 100.0, 0.0),
                step("body", 1_200.0, 200.0, 150.0),
            ],
        };
        Actions {
            count: 1,
            seen: 1,
            note: None,
            steps: Vec::new(),
            slowest: vec![row],
        }
    }

    #[test]
    fn every_step_has_its_piece_and_its_column() {
        let chart = waterfall(&actions()).unwrap();
        assert_eq!(
            chart.title,
            "The only request took 1.4 s: connect 1 s, loss recovery 150 ms, DNS 100 ms"
        );
        assert_eq!(chart.wide.matches("class=\"area").count(), 5);
        assert_eq!(chart.legend.len(), 5);
        assert_eq!(chart.rows[0].len(), chart.heads.len());
        assert_eq!(chart.rows[0].last().unwrap(), "1.4 s");
        assert!(!chart.wide.contains("<script>"));
    }

    #[test]
    fn ticks_are_round() {
        let all: Vec<f64> = ticks(1_400.0, 6).collect();
        assert_eq!(all, [0.0, 500.0, 1_000.0]);
    }
}
