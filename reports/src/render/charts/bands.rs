//! Episodes as bands behind charts over capture time.

use analyzer::Timestamp;

use super::plot::Shape;
use crate::document::{Document, EpisodeRow};
use crate::words::format;

/// Kinds that last, with what is said of them.
const KINDS: [(&str, &str); 4] = [
    ("host-silent", "nothing received by"),
    ("path-dark", "no answer to"),
    ("restart", "restart of"),
    ("capture-gap", "frames missing from the capture"),
];

/// Episodes named below a chart; all are shaded.
const NAMED: usize = 3;

/// Spans of capture time to be shaded, in seconds since its first frame.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Bands {
    spans: Vec<(f64, f64)>,
    /// What they are, to be added below the chart; empty when there is none.
    pub legend: String,
}

impl Bands {
    /// Below all other shapes.
    pub fn shape(&self) -> Shape {
        Shape::Bands(self.spans.clone())
    }

    pub fn of(document: &Document) -> Self {
        let time = |text: &str| text.parse::<Timestamp>().ok();
        let Some(start) = document.capture.start.as_deref().and_then(time) else {
            return Self::default();
        };
        let lasting: Vec<(&EpisodeRow, &str, (f64, f64))> = document
            .episodes
            .iter()
            .filter_map(|episode| {
                let (_, words) = KINDS.iter().find(|(kind, _)| *kind == episode.kind)?;
                let place = |text: &str| Some(time(text)?.since(start).as_secs_f64());
                Some((
                    episode,
                    *words,
                    (place(&episode.start)?, place(&episode.end)?),
                ))
            })
            .collect();
        let named = lasting.iter().take(NAMED).map(|(episode, words, _)| {
            let host = episode.host.as_deref().unwrap_or_default();
            let least = if episode.is_cut { "at least " } else { "" };
            let length = format::seconds(episode.duration_s);
            format!("{words} {host} ({least}{length})").replace("  ", " ")
        });
        let mut named: Vec<String> = named.collect();
        if lasting.len() > NAMED {
            named.push(format!("{} more", lasting.len() - NAMED));
        }
        let legend = match named.as_slice() {
            [] => String::new(),
            named => format!("; shaded: {}", named.join(", ")),
        };
        Self {
            spans: lasting.into_iter().map(|(_, _, span)| span).collect(),
            legend,
        }
    }
}
