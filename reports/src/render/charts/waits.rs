//! How long each side waited before it closed: timers stand out as spikes.

use super::chart::{Chart, LegendItem, whole};
use super::plot::{Plot, Shape};
use crate::document::{TimerView, WaitsView};
use crate::error::Error;
use crate::words::format;

/// Fewer waits are better read as numbers.
const MIN_VALUES: usize = 3;

/// Waits that agree by chance are no timer.
const MIN_TIMER: u64 = 3;

/// Bars across the chart.
const BINS: usize = 60;

/// The waits of one finding as a histogram; `id` is unique in the page.
pub(super) fn histogram(id: &str, waits: &[WaitsView]) -> Result<Option<Chart>, Error> {
    let all = || waits.iter().flat_map(|waits| &waits.values_ms).copied();
    if all().count() < MIN_VALUES {
        return Ok(None);
    }
    let axis = Axis::over(
        all().fold(f64::INFINITY, f64::min),
        all().fold(0.0, f64::max),
    );
    let counts: Vec<_> = waits.iter().map(|waits| axis.counts(waits)).collect();
    let mut below = [0.0; BINS];
    let mut shapes = Vec::new();
    for (series, counts) in counts.iter().enumerate() {
        // Bars on each other: the first series is drawn over the sum of all behind it.
        let bars = counts.iter().enumerate().map(|(bin, &count)| {
            below[bin] += count as f64;
            (axis.edge(bin), axis.edge(bin + 1), below[bin])
        });
        shapes.insert(0, Shape::Bars(colour(series), bars.collect()));
    }
    let timers = || waits.iter().flat_map(|waits| &waits.timers);
    let timers = || timers().filter(|timer| timer.spread_ms.count >= MIN_TIMER);
    shapes.extend(timers().map(|timer| Shape::Mark(timer.spread_ms.median)));
    let title = title(waits);
    let axes = axes(timers());
    let plot = Plot {
        x: axis.low..axis.high,
        log_x: axis.log,
        bottom: 0.0,
        top: below.iter().copied().fold(0.0, f64::max) * 1.08,
        x_label: &format::duration,
        x_unit: "ms",
        y_label: &whole,
        shapes,
    };
    let filled: Vec<_> = (0..BINS).filter(|&bin| below[bin] > 0.0).collect();
    let heads = waits.iter().map(|waits| words(&waits.wait).to_owned());
    Chart {
        id: id.to_owned(),
        heads: std::iter::once("Waited".to_owned()).chain(heads).collect(),
        rows: filled.iter().map(|&bin| row(&axis, &counts, bin)).collect(),
        places: filled.iter().map(|&bin| axis.middle(bin)).collect(),
        legend: waits
            .iter()
            .enumerate()
            .map(|(series, waits)| LegendItem::new(colour(series), words(&waits.wait)))
            .collect(),
        title,
        axes,
        ..Chart::default()
    }
    .draw(&plot)
    .map(Some)
}

fn row(axis: &Axis, counts: &[[u64; BINS]], bin: usize) -> Vec<String> {
    let range = format!(
        "{} – {}",
        format::duration(axis.edge(bin)),
        format::duration(axis.edge(bin + 1))
    );
    let counts = counts.iter().map(|counts| format::count(counts[bin]));
    std::iter::once(range).chain(counts).collect()
}

/// The horizontal axis, cut into bins that look equally wide.
struct Axis {
    low: f64,
    high: f64,
    log: bool,
}

impl Axis {
    /// Equal values must look equal: never zoomed in on the noise of a timer.
    fn over(low: f64, high: f64) -> Self {
        let (low, high) = (low.max(0.001), high.max(0.001));
        if high / low > 8.0 {
            return Self {
                low: low / 1.5,
                high: high * 1.5,
                log: true,
            };
        }
        let room = high * 0.15;
        Self {
            low: (low - room).max(0.0),
            high: high + room,
            log: false,
        }
    }

    fn edge(&self, bin: usize) -> f64 {
        self.at(bin as f64 / BINS as f64)
    }

    fn middle(&self, bin: usize) -> f64 {
        self.at((bin as f64 + 0.5) / BINS as f64)
    }

    fn at(&self, share: f64) -> f64 {
        if self.log {
            self.low * (self.high / self.low).powf(share)
        } else {
            self.low + (self.high - self.low) * share
        }
    }

    fn counts(&self, waits: &WaitsView) -> [u64; BINS] {
        let mut counts = [0; BINS];
        for (index, &value) in waits.values_ms.iter().enumerate() {
            let share = if self.log {
                (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
            } else {
                (value - self.low) / (self.high - self.low)
            };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a bin"
            )]
            let bin = (share * BINS as f64) as usize;
            counts[bin.min(BINS - 1)] += waits.stands_for(index);
        }
        counts
    }
}

fn colour(series: usize) -> u8 {
    u8::try_from(series).unwrap_or(0)
}

/// Who ended which wait.
fn words(wait: &str) -> &'static str {
    match wait {
        "server-idle" => "the server closed an idle connection",
        "client-idle" => "the client closed an idle connection",
        "answer" => "the client timed out waiting for a response",
        _ => "the path dropped an idle connection",
    }
}

/// Names the timer that explains most waits.
fn title(waits: &[WaitsView]) -> String {
    let timers = waits
        .iter()
        .flat_map(|waits| waits.timers.iter().map(move |timer| (waits, timer)));
    let leading = timers
        .rev()
        .max_by_key(|(_, timer)| timer.spread_ms.count)
        .filter(|(_, timer)| timer.spread_ms.count >= MIN_TIMER);
    let all: u64 = waits.iter().map(|waits| waits.count).sum();
    let Some((waits, timer)) = leading else {
        return format!("No timer shows in {}", format::counted(all, "wait"));
    };
    let spread = &timer.spread_ms;
    let (low, high) = (format::duration(spread.min), format::duration(spread.max));
    let within = if low == high {
        format!("after {low}")
    } else {
        format!("after {low} to {high}")
    };
    format!(
        "{} of {} {within}, {}",
        format::count(spread.count),
        format::counted(all, "wait"),
        match waits.wait.as_str() {
            "answer" => "a timer: the client timed out waiting for a response",
            "client-idle" => "a timer: the client closed an idle connection",
            "server-idle" => "a timer: the server closed an idle connection",
            _ => "a timer: the path dropped an idle connection",
        }
    )
    .replacen(" after", " ended after", 1)
}

fn axes<'a>(timers: impl Iterator<Item = &'a TimerView>) -> String {
    let timers: Vec<_> = timers
        .map(|timer| {
            let median = format::duration(timer.spread_ms.median);
            let known: Vec<_> = timer
                .typical_of
                .iter()
                .map(|known| known.product.as_str())
                .collect();
            if known.is_empty() {
                median
            } else {
                format!("{median} (the default of {})", known.join(", "))
            }
        })
        .collect();
    let mut axes = "Connections by the wait before the close".to_owned();
    if !timers.is_empty() {
        axes.push_str(&format!(
            "; dashed lines mark timers: {}",
            timers.join(", ")
        ));
    }
    axes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::SpreadView;

    fn waits(wait: &str, values_ms: &[f64]) -> WaitsView {
        let spread_ms = SpreadView {
            count: values_ms.len() as u64,
            min: values_ms[0],
            median: values_ms[values_ms.len() / 2],
            max: values_ms[values_ms.len() - 1],
        };
        WaitsView {
            wait: wait.to_owned(),
            values_ms: values_ms.to_vec(),
            count: values_ms.len() as u64,
            timers: vec![TimerView {
                spread_ms,
                typical_of: Vec::new(),
            }],
        }
    }

    #[test]
    fn a_timer_is_named_with_its_spread_and_who_set_it() {
        let chart = histogram("t", &[waits("answer", &[5_001.0, 5_002.0, 5_020.0])]);
        let chart = chart.unwrap().unwrap();
        assert_eq!(
            chart.title,
            "3 of 3 waits ended after 5 s to 5.02 s, a timer: the client timed out waiting for a response"
        );
        assert!(
            chart.rows.len() <= 2,
            "no zoom into noise: {:?}",
            chart.rows
        );
    }

    #[test]
    fn the_bars_are_as_many_as_the_title_says() {
        for count in [3_u64, 1_000, 1_001, 2_003, 19_999] {
            let step = count.div_ceil(1_000);
            let all = (0..count).map(|n| n as f64 + 5_000.0);
            let kept: Vec<f64> = all.step_by(usize::try_from(step).unwrap()).collect();
            let mut one = waits("answer", &kept);
            one.count = count;
            one.timers[0].spread_ms.count = count;
            let other = waits("server-idle", &[7_000.0, 7_000.0]);
            let chart = histogram("t", &[one, other]).unwrap().unwrap();
            let cells = chart.rows.iter().flat_map(|row| &row[1..]);
            let bars: u64 = cells
                .map(|cell| cell.replace(',', "").parse::<u64>().unwrap())
                .sum();
            assert_eq!(bars, count + 2);
            let said = format!(
                "{} of {} waits",
                format::count(count),
                format::count(count + 2)
            );
            assert!(chart.title.starts_with(&said), "{}", chart.title);
        }
    }

    #[test]
    fn two_waits_are_no_histogram_and_two_agreeing_ones_no_timer() {
        assert!(
            histogram("t", &[waits("answer", &[1.0, 2.0])])
                .unwrap()
                .is_none()
        );
        let mut few = waits("server-idle", &[1.0, 2.0, 9_000.0]);
        few.timers[0].spread_ms.count = 2;
        let chart = histogram("t", &[few]).unwrap().unwrap();
        assert_eq!(chart.title, "No timer shows in 3 waits");
        assert!(
            chart.wide.contains("log"),
            "far apart values need a logarithm"
        );
    }
}
