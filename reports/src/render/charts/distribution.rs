//! Charts of how values are distributed.

use super::chart::{Chart, LegendItem, whole};
use super::plot::{Plot, Shape};
use crate::document::{Bucket, Distribution, ResponseTimes, UdpSize};
use crate::error::Error;
use crate::words::format;

/// Fewer values are better read as numbers.
const MIN_VALUES: u64 = 5;

/// Width of a histogram's bucket: eight to a doubling.
const BUCKET_RATIO: f64 = 1.090_507_732_665_257_7;

/// Response times of all turns.
pub(super) fn response_times(times: &ResponseTimes) -> Result<Option<Chart>, Error> {
    let (slow, who) = match times.count {
        200.. => (times.p99_ms, "1 in 100 took"),
        MIN_FOR_TAIL.. => (times.p95_ms, "1 in 20 took"),
        _ => (times.max_ms, "the slowest took"),
    };
    let or_longer = if times.count < MIN_FOR_TAIL {
        ""
    } else {
        " or longer"
    };
    let slowest = format::duration(slow);
    let title = match times.count {
        1 => format!("The only response came within {slowest}"),
        count => format!(
            "Half of {} came within {}; {who} {slowest}{or_longer}",
            format::counted(count, "response"),
            format::duration(times.p50_ms),
        ),
    };
    durations(
        "response-times",
        title,
        "Responses by time from request to first byte",
        times,
        slow,
    )
}

/// Fewer responses have no tail to speak of.
const MIN_FOR_TAIL: u64 = 20;

/// How long the slowest share of responses took: the median lies at one side, the tail at the
/// other.
pub(super) fn percentiles(times: &ResponseTimes) -> Result<Option<Chart>, Error> {
    if times.count < MIN_FOR_TAIL || times.buckets.len() < 2 {
        return Ok(None);
    }
    let (share, slow) = if times.count >= 200 {
        ("99 of 100", times.p99_ms)
    } else {
        ("19 of 20", times.p95_ms)
    };
    let title = format!(
        "9 of 10 responses came within {}, {share} within {}, the slowest after {}",
        format::duration(times.p90_ms),
        format::duration(slow),
        format::duration(times.max_ms),
    );
    let axes = "Time from request to first byte that a share of responses stayed within; \
                every step to the right leaves a tenth of them"
        .to_owned();
    let curve = curve(times);
    let right = curve.last().map_or(1.0, |last| last.0);
    let plot = Plot {
        x: 0.0..right,
        log_x: false,
        bottom: 0.0,
        top: times.max_ms.max(1e-3) * 1.08,
        x_label: &tail_label,
        x_unit: "tail",
        y_label: &format::duration,
        shapes: vec![Shape::Line(0, curve.clone())],
    };
    Chart {
        id: "percentiles".to_owned(),
        heads: vec!["Share of responses".to_owned(), "Came within".to_owned()],
        rows: curve
            .iter()
            .map(|&(tail, ms)| vec![percentile(tail, 4), format::duration(ms)])
            .collect(),
        places: curve.iter().map(|point| point.0).collect(),
        title,
        axes,
        ..Chart::default()
    }
    .draw(&plot)
    .map(Some)
}

/// Points (−log₁₀ of the share that took longer, time). The last response of all stands where
/// half of it would be left, or it would lie infinitely far away.
fn curve(times: &ResponseTimes) -> Vec<(f64, f64)> {
    let all = times.count as f64;
    let mut below = 0;
    let mut curve = vec![(0.0, times.buckets.first().map_or(0.0, |bucket| bucket.ms))];
    for bucket in &times.buckets {
        below += bucket.count;
        let left = (times.count.saturating_sub(below) as f64).max(0.5) / all;
        curve.push((-left.log10(), bucket.ms.min(times.max_ms)));
    }
    curve
}

/// Ticks at 0 %, 90 %, 99 %, 99.9 % and so on.
fn tail_label(tail: f64) -> String {
    if (tail - tail.round()).abs() < 1e-9 {
        percentile(tail.round(), 6)
    } else {
        String::new()
    }
}

/// The share that a place on the axis stands for, with as few decimals as separate it from all.
fn percentile(tail: f64, most: usize) -> String {
    let share = 100.0 * (1.0 - 10_f64.powf(-tail));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few decimals"
    )]
    let decimals = (tail.ceil() as usize).saturating_sub(2).min(most);
    format!("{share:.decimals$} %")
}

/// Smallest round trip of each connection.
pub(super) fn round_trips(times: &ResponseTimes) -> Result<Option<Chart>, Error> {
    let title = format!(
        "Round trips: {} in the median of {}, {} at most",
        format::duration(times.p50_ms),
        format::counted(times.count, "connection"),
        format::duration(times.max_ms),
    );
    let axes = "Connections by smallest round trip time";
    durations("round-trips", title, axes, times, times.p95_ms)
}

fn durations(
    id: &str,
    title: String,
    axes: &str,
    times: &ResponseTimes,
    slow: f64,
) -> Result<Option<Chart>, Error> {
    if times.count < MIN_VALUES || times.buckets.len() < 2 {
        return Ok(None);
    }
    let half = BUCKET_RATIO.sqrt();
    let bars = times.buckets.iter().map(|bucket| {
        let middle = bucket.ms.max(0.001);
        (middle / half, middle * half, bucket.count as f64)
    });
    let bars: Vec<_> = bars.collect();
    let low = bars.first().map_or(0.1, |bar| bar.0);
    let high = bars.last().map_or(1.0, |bar| bar.1);
    let axes = format!(
        "{axes}, logarithmic; lines mark the median and {}",
        format::duration(slow)
    );
    let plot = Plot {
        // At least a factor of ten, or the axis has no tick.
        x: (low / 1.5).min(high / 15.0)..high * 1.5,
        log_x: true,
        bottom: 0.0,
        top: bars.iter().map(|bar| bar.2).fold(0.0, f64::max) * 1.08,
        x_label: &format::duration,
        x_unit: "ms",
        y_label: &whole,
        shapes: vec![
            Shape::Bars(0, bars),
            Shape::Mark(times.p50_ms),
            Shape::Mark(slow),
        ],
    };
    let rows = times.buckets.iter().map(|Bucket { ms, count }| {
        vec![
            format!("about {}", format::duration(*ms)),
            format::count(*count),
        ]
    });
    Chart {
        id: id.to_owned(),
        heads: vec!["Time".to_owned(), "Count".to_owned()],
        rows: rows.collect(),
        places: times.buckets.iter().map(|bucket| bucket.ms).collect(),
        title,
        axes,
        ..Chart::default()
    }
    .draw(&plot)
    .map(Some)
}

/// UDP requests by size, those without an answer apart.
pub(super) fn udp_sizes(sizes: &[UdpSize]) -> Result<Option<Chart>, Error> {
    let requests: u64 = sizes.iter().map(|size| size.requests).sum();
    let answered: u64 = sizes.iter().map(|size| size.answered).sum();
    let [first, .., last] = sizes else {
        return Ok(None);
    };
    if requests < MIN_VALUES {
        return Ok(None);
    }
    let lost = sizes.iter().find(|size| size.answered < size.requests);
    let title = answered_sizes(requests, answered, first, last, lost);
    let bar = |size: &UdpSize, count: u64| {
        let right = f64::from(size.to_bytes) + 1.0;
        (f64::from(size.from_bytes), right, count as f64)
    };
    let all = sizes.iter().map(|size| bar(size, size.requests)).collect();
    let (some_answered, some_unanswered) = (answered > 0, lost.is_some());
    let answered = sizes
        .iter()
        .map(|size| bar(size, size.answered.min(size.requests)));
    let most = sizes.iter().map(|size| size.requests).max().unwrap_or(0);
    let axes = "UDP requests by payload size in bytes".to_owned();
    let plot = Plot {
        x: 0.0..f64::from(last.to_bytes) * 1.02,
        log_x: false,
        bottom: 0.0,
        top: most as f64 * 1.08,
        x_label: &format::size,
        x_unit: "bytes",
        y_label: &whole,
        shapes: vec![Shape::Bars(1, all), Shape::Bars(0, answered.collect())],
    };
    let rows = sizes.iter().map(|size| {
        vec![
            format!("{} – {} B", size.from_bytes, size.to_bytes),
            format::count(size.requests),
            format::count(size.answered),
        ]
    });
    Chart {
        id: "udp-sizes".to_owned(),
        legend: [
            (0, "answered", some_answered),
            (1, "without an answer", some_unanswered),
        ]
        .into_iter()
        .filter(|item| item.2)
        .map(|(series, label, _)| LegendItem::new(series, label))
        .collect(),
        heads: ["Payload", "Requests", "Answered"]
            .map(str::to_owned)
            .into(),
        rows: rows.collect(),
        places: sizes
            .iter()
            .map(|size| (f64::from(size.from_bytes) + f64::from(size.to_bytes)) / 2.0)
            .collect(),
        title,
        axes,
        ..Chart::default()
    }
    .draw(&plot)
    .map(Some)
}

fn answered_sizes(
    requests: u64,
    answered: u64,
    first: &UdpSize,
    last: &UdpSize,
    lost: Option<&UdpSize>,
) -> String {
    match lost {
        Some(_) if answered == 0 => format!(
            "{} to servers, none of them answered; the largest has {} at most",
            format::counted(requests, "datagram"),
            format::size(f64::from(last.to_bytes)),
        ),
        Some(lost) if answered > 0 && lost.from_bytes > first.from_bytes => format!(
            "{} of {} got no answer, none of them smaller than {}",
            format::count(requests - answered.min(requests)),
            format::counted(requests, "UDP request"),
            format::size(f64::from(lost.from_bytes)),
        ),
        Some(_) => format!(
            "{} of {} got no answer",
            format::count(requests - answered.min(requests)),
            format::counted(requests, "UDP request"),
        ),
        None => format!(
            "All {} were answered, the largest has {} at most",
            format::counted(requests, "UDP request"),
            format::size(f64::from(last.to_bytes)),
        ),
    }
}

/// Bins of a figure's histogram.
const BINS: usize = 40;

/// Single values of a finding's figure: a spike is a timer, a hill is not.
pub(super) fn figure(id: &str, values: &Distribution) -> Result<Option<Chart>, Error> {
    let sorted = &values.values;
    let [first, .., last] = sorted.as_slice() else {
        return Ok(None);
    };
    if (sorted.len() as u64) < MIN_VALUES {
        return Ok(None);
    }
    let median = sorted[sorted.len() / 2];
    // Equal values must look equal: never zoom in on the noise of a timer.
    let room = (median.abs() * 0.15).max((last - first) * 0.05).max(1e-3);
    let range = (first - room).max(0.0)..last + room;
    let width = (range.end - range.start) / BINS as f64;
    let mut counts = [0_u64; BINS];
    for value in sorted {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a bin"
        )]
        let bin = ((value - range.start) / width) as usize;
        counts[bin.min(BINS - 1)] += 1;
    }
    let edge = |bin: usize| range.start + bin as f64 * width;
    let bars = counts.iter().enumerate();
    let bars: Vec<_> = bars
        .map(|(bin, &count)| (edge(bin), edge(bin + 1), count as f64))
        .collect();
    let label = |value: f64| format::figure(&values.figure, &serde_json::json!(value));
    let near = sorted
        .iter()
        .filter(|value| (*value - median).abs() <= median.abs() * 0.05)
        .count();
    let name = format::figure_label(&values.figure);
    let title = format!(
        "{near} of {} values of {name} lie within 5 % of {}",
        sorted.len(),
        label(median)
    );
    let axes = format!("Occurrences by {name}");
    let top = bars.iter().map(|bar| bar.2).fold(0.0, f64::max) * 1.08;
    let shapes = vec![Shape::Bars(0, bars)];
    let plot = Plot {
        x: range.clone(),
        log_x: false,
        bottom: 0.0,
        top,
        x_label: &label,
        x_unit: figure_unit(&values.figure),
        y_label: &whole,
        shapes,
    };
    let rows = counts
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0)
        .map(|(bin, count)| {
            vec![
                format!("{} – {}", label(edge(bin)), label(edge(bin + 1))),
                format::count(*count),
            ]
        });
    Chart {
        id: id.to_owned(),
        heads: vec![name, "Occurrences".to_owned()],
        rows: rows.collect(),
        places: (0..BINS)
            .filter(|&bin| counts[bin] > 0)
            .map(|bin| edge(bin) + width / 2.0)
            .collect(),
        title,
        axes,
        ..Chart::default()
    }
    .draw(&plot)
    .map(Some)
}

/// The unit of a figure, as the page's script knows it.
pub(super) fn figure_unit(name: &str) -> &'static str {
    if name.ends_with("_ms") {
        "ms"
    } else if name.ends_with("_bytes") {
        "bytes"
    } else {
        "number"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_named_by_the_share_it_leaves() {
        assert_eq!(percentile(0.0, 6), "0 %");
        assert_eq!(percentile(1.0, 6), "90 %");
        assert_eq!(percentile(2.0, 6), "99 %");
        assert_eq!(percentile(3.0, 6), "99.9 %");
        assert_eq!(tail_label(1.5), "");
    }

    #[test]
    fn the_curve_ends_at_the_slowest_response() {
        let bucket = |ms, count| Bucket { ms, count };
        let times = ResponseTimes {
            count: 100,
            p50_ms: 10.0,
            p90_ms: 10.0,
            p95_ms: 100.0,
            p99_ms: 100.0,
            max_ms: 98.0,
            buckets: vec![bucket(10.0, 90), bucket(100.0, 10)],
        };
        let curve = curve(&times);
        assert_eq!(curve[1], (1.0, 10.0));
        assert!(curve[2].0 > 2.0 && curve[2].1 == 98.0, "{curve:?}");
    }
}
