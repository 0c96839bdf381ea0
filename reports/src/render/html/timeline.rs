//! When findings and episodes happened, one row each over the length of the capture.

use std::fmt::Write as _;

use analyzer::Timestamp;
use serde::Serialize;

use crate::document::{Antecedent, Document, EpisodeRow, OnsetView, Severity};
use crate::words::format;

/// Width of a row.
const WIDTH: f64 = 240.0;

/// Height of a row.
const HEIGHT: u64 = 16;

/// Rows of each kind.
const FINDINGS: usize = 8;
const EPISODES: usize = 6;

/// When a finding showed.
#[derive(Serialize)]
pub(super) struct When {
    text: String,
    /// Occurrences over the capture as a path, where there are enough of them to show it.
    bars: Option<String>,
    after: Vec<String>,
}

impl When {
    pub fn new(one: &OnsetView) -> Self {
        Self {
            text: one.when(),
            bars: one.bars().map(|_| bars(&one.slices)),
            after: one.preceded_by.iter().map(Antecedent::phrase).collect(),
        }
    }
}

/// The rows, in the order in which what they show began.
#[derive(Serialize)]
pub(super) struct Timeline {
    rows: Vec<Row>,
    /// Times at the left and the right end.
    ends: [String; 2],
}

#[derive(Serialize)]
struct Row {
    /// The finding's id; none for an episode.
    id: Option<String>,
    severity: Option<Severity>,
    title: String,
    when: String,
    /// Left end and width of the time from its beginning to its end.
    from: String,
    width: String,
    bars: Option<String>,
    #[serde(skip)]
    began_s: f64,
}

impl Timeline {
    /// `None` where nothing happened, or the capture lasts no time.
    pub fn new(document: &Document) -> Option<Self> {
        let length_s = document.capture.duration_s;
        let start = document.capture.start.as_deref()?;
        let end = document.capture.end.as_deref()?;
        let findings = document.findings.iter();
        let told = findings.filter(|finding| finding.severity > Severity::Info);
        let rows = told.filter_map(|finding| {
            let one = finding.onset.as_ref()?;
            let span = (one.began_s, one.ended_s);
            let mut row = Row::new(span, length_s, finding.title.clone(), one.when());
            row.id = Some(finding.id.clone());
            row.severity = Some(finding.severity);
            row.bars = Some(bars(&one.slices));
            Some(row)
        });
        let mut rows: Vec<_> = rows.take(FINDINGS).collect();
        if rows.is_empty() || length_s <= 0.0 {
            return None;
        }
        let origin: Timestamp = start.parse().ok()?;
        let episodes = document.episodes.iter();
        let episodes = episodes.filter_map(|episode| of_episode(episode, origin, length_s));
        rows.extend(episodes.take(EPISODES));
        rows.sort_by(|a, b| a.began_s.total_cmp(&b.began_s));
        let ends = [start, end].map(|time| format::time_of_day(time).to_owned());
        Some(Self { rows, ends })
    }
}

impl Row {
    fn new((from, to): (f64, f64), length_s: f64, title: String, when: String) -> Self {
        let place = |s: f64| (s / length_s).clamp(0.0, 1.0) * WIDTH;
        let (left, right) = (place(from), place(to));
        // As wide as can be seen, and inside.
        let width = (right - left).max(2.0);
        Self {
            id: None,
            severity: None,
            title,
            when,
            from: format!("{:.1}", left.min(WIDTH - width)),
            width: format!("{width:.1}"),
            bars: None,
            began_s: from,
        }
    }
}

fn of_episode(episode: &EpisodeRow, origin: Timestamp, length_s: f64) -> Option<Row> {
    let place = |text: &str| Some(text.parse::<Timestamp>().ok()?.since(origin).as_secs_f64());
    let span = (place(&episode.start)?, place(&episode.end)?);
    let title = match (&episode.host, &episode.peer) {
        (Some(host), Some(peer)) => format!("{host} to {peer}: {}", episode.meaning),
        (Some(host), None) => format!("{host}: {}", episode.meaning),
        (None, _) => episode.meaning.clone(),
    };
    let least = if episode.is_cut { "at least " } else { "" };
    let mut when = format::time_of_day(&episode.start).to_owned();
    if episode.duration_s > 0.0 {
        let _ = write!(when, ", for {least}{}", format::seconds(episode.duration_s));
    }
    Some(Row::new(span, length_s, title, when))
}

/// A bar for each slice in which something happened.
fn bars(slices: &[u64]) -> String {
    let most = slices.iter().copied().max().unwrap_or(0).max(1);
    let wide = WIDTH / slices.len().max(1) as f64;
    let mut path = String::new();
    for (at, count) in slices.iter().enumerate().filter(|(_, count)| **count > 0) {
        let high = (count * (HEIGHT - 3)).div_ceil(most) + 3;
        let left = at as f64 * wide;
        // Writing to a string cannot fail.
        let _ = write!(path, "M{left} {HEIGHT}v-{high}h{:.1}v{high}z", wide - 1.0);
    }
    path
}
