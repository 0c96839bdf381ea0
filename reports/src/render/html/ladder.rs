//! Ladder diagrams: the evidence of one connection as arrows between two ends.
//!
//! Time runs downwards, not to scale; a long step is marked. Sequence
//! numbers are drawn twice, relative and absolute, and the style sheet shows one of them.

use std::fmt::Write as _;

use crate::document::{ConnectionKey, EvidenceView};
use crate::words::{escape, format};

/// Where things stand in a ladder of one width.
struct Layout {
    class: &'static str,
    width: i32,
    /// Right edge of the time column.
    time: i32,
    client: i32,
    server: i32,
    /// Left edge of the notes and characters per line; notes stand below the arrow when `None`.
    notes: Option<i32>,
    characters: usize,
}

const WIDE: Layout = Layout {
    class: "wide",
    width: 860,
    time: 84,
    client: 104,
    server: 484,
    notes: Some(506),
    characters: 52,
};

const NARROW: Layout = Layout {
    class: "narrow",
    width: 340,
    time: 0,
    client: 10,
    server: 330,
    notes: None,
    characters: 44,
};

const LINE: i32 = 17;
const HEAD: i32 = 44;
/// Steps from this length on are marked, so that a timeout meets the eye.
const LONG_GAP_S: f64 = 0.5;

/// Both variants of a ladder of `steps`, which belong to one connection.
pub(super) fn render(id: &str, connection: &ConnectionKey, steps: &[&EvidenceView]) -> String {
    let wide = draw(id, &WIDE, connection, steps);
    let narrow = draw(id, &NARROW, connection, steps);
    format!("{wide}{narrow}")
}

fn draw(id: &str, layout: &Layout, connection: &ConnectionKey, steps: &[&EvidenceView]) -> String {
    let mut body = String::new();
    let mut y = HEAD + 14;
    let first = steps.first().map_or(0.0, |step| step.elapsed_s);
    let mut before = first;
    let clock = Clock::of(steps);
    for step in steps {
        let gap = step.elapsed_s - before;
        if gap >= LONG_GAP_S {
            y += gap_mark(&mut body, layout, y, gap);
        }
        let time = clock.text(step.elapsed_s - first);
        y += row(&mut body, layout, y, step, &time);
        before = step.elapsed_s;
    }
    let height = y + 8;
    let (client, server) = (
        escape::html(&connection.client),
        escape::html(&connection.server),
    );
    let (from, to) = (layout.client, layout.server);
    let (client_x, client_anchor) = if layout.notes.is_some() {
        (from, "middle")
    } else {
        (0, "start")
    };
    let (server_x, server_anchor) = if layout.notes.is_some() {
        (to, "middle")
    } else {
        (layout.width, "end")
    };
    format!(
        "<svg class=\"ladder {class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-labelledby=\"{id}-{class}-t\"><title id=\"{id}-{class}-t\">Frames between client \
         {client} and server {server}; the same frames follow as a table</title>\
         <g class=\"ends\"><text x=\"{client_x}\" y=\"14\" text-anchor=\"{client_anchor}\">client</text>\
         <text class=\"end\" x=\"{client_x}\" y=\"31\" text-anchor=\"{client_anchor}\">{client}</text>\
         <text x=\"{server_x}\" y=\"14\" text-anchor=\"{server_anchor}\">server</text>\
         <text class=\"end\" x=\"{server_x}\" y=\"31\" text-anchor=\"{server_anchor}\">{server}</text></g>\
         <path class=\"life\" d=\"M{from} {HEAD}V{height}M{to} {HEAD}V{height}\"/>{body}</svg>",
        class = layout.class,
        width = layout.width,
    )
}

/// How times are written, the same for all steps of a ladder.
struct Clock {
    milliseconds: bool,
    decimals: usize,
}

impl Clock {
    /// As many decimals as separate the closest two steps.
    fn of(steps: &[&EvidenceView]) -> Self {
        let times = || steps.iter().map(|step| step.elapsed_s);
        let length = times().fold(0.0, f64::max) - times().fold(f64::INFINITY, f64::min);
        let milliseconds = length < 1.0;
        let gaps = times().zip(times().skip(1)).map(|(a, b)| b - a);
        let closest = gaps.filter(|gap| *gap > 0.0).fold(f64::INFINITY, f64::min);
        let decimals = match closest {
            closest if closest >= 0.002 => 3,
            closest if closest >= 0.000_2 => 4,
            _ => 6,
        };
        Self {
            milliseconds,
            decimals: decimals - if milliseconds { 3 } else { 0 },
        }
    }

    fn text(&self, elapsed_s: f64) -> String {
        let decimals = self.decimals;
        if self.milliseconds {
            format!("+{:.decimals$} ms", elapsed_s * 1e3)
        } else {
            format!("+{elapsed_s:.decimals$} s")
        }
    }
}

/// Marks a long step (other frames may lie in between); gives the height used.
fn gap_mark(body: &mut String, layout: &Layout, y: i32, gap_s: f64) -> i32 {
    let middle = i32::midpoint(layout.client, layout.server);
    let text = escape::html(&format!("{} later", format::seconds(gap_s)));
    let (from, to) = (layout.client, layout.server);
    put(
        body,
        format_args!(
            "<g class=\"gap\"><path d=\"M{from} {y}H{to}\"/>\
             <text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{text}</text></g>",
            y + 14
        ),
    );
    30
}

/// One frame; gives the height used.
fn row(body: &mut String, layout: &Layout, y: i32, step: &EvidenceView, time: &str) -> i32 {
    let notes = if layout.notes.is_some() {
        lines(&step.note, layout.characters)
    } else {
        lines(&format!("{time}: {}", step.note), layout.characters)
    };
    let note_lines = i32::try_from(notes.len()).unwrap_or(1);
    let (from, to, tip) = if step.is_from_client() {
        (layout.client, layout.server, -1)
    } else {
        (layout.server, layout.client, 1)
    };
    let arrow = y + 22;
    let class = if step.flags.contains("RST") {
        " rst"
    } else {
        ""
    };
    put(
        body,
        format_args!(
            "<g class=\"step{class}\"><path class=\"arrow\" d=\"M{from} {arrow}H{}\"/>\
             <path class=\"tip\" d=\"M{to} {arrow}l{} -5v10z\"/>",
            to + tip * 8,
            tip * 9
        ),
    );
    let middle = i32::midpoint(layout.client, layout.server);
    let label_y = arrow - 6;
    put(
        body,
        format_args!(
            "<text class=\"label\" x=\"{middle}\" y=\"{label_y}\" text-anchor=\"middle\">"
        ),
    );
    put(
        body,
        format_args!("<tspan class=\"frame\">#{}</tspan> ", step.frame),
    );
    header(body, step);
    body.push_str("</text>");
    let used = if let Some(x) = layout.notes {
        put(
            body,
            format_args!(
                "<text class=\"time\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{time}</text>",
                layout.time,
                arrow + 4
            ),
        );
        let top = arrow + 4 - (note_lines - 1) * LINE / 2;
        note(body, x, top.max(y + 12), &notes);
        (note_lines * LINE + 18).max(44)
    } else {
        note(body, layout.client + 8, arrow + 18, &notes);
        44 + note_lines * LINE
    };
    body.push_str("</g>");
    used
}

/// Flags, sequence numbers both ways, and length, as tcpdump writes them.
fn header(body: &mut String, step: &EvidenceView) {
    if step.connection.transport == "udp" {
        put(body, format_args!("UDP {} B", step.payload_bytes));
        return;
    }
    // A place known by its frame alone has no header fields to show.
    if step.flags.is_empty() {
        body.push_str("segment");
        return;
    }
    let flags = escape::html(&step.flags);
    let has_ack = step.flags.contains("ACK");
    put(
        body,
        format_args!("<tspan class=\"flags\">{flags}</tspan> "),
    );
    let relative = sequence(step.relative_seq, step.relative_ack, step, has_ack);
    let absolute = sequence(u64::from(step.seq), u64::from(step.ack), step, has_ack);
    put(
        body,
        format_args!(
            "<tspan class=\"relative\">{relative}</tspan><tspan class=\"absolute\">{absolute}</tspan>"
        ),
    );
}

fn sequence(seq: u64, ack: u64, step: &EvidenceView, has_ack: bool) -> String {
    let mut text = format!("seq {seq}");
    if has_ack {
        let _ = write!(text, " ack {ack}");
    }
    if step.payload_bytes > 0 {
        let _ = write!(text, " len {}", step.payload_bytes);
    }
    text
}

fn note(body: &mut String, x: i32, y: i32, lines: &[String]) {
    put(
        body,
        format_args!("<text class=\"note\" x=\"{x}\" y=\"{y}\">"),
    );
    for (index, line) in lines.iter().enumerate() {
        let step = if index == 0 { 0 } else { LINE };
        put(
            body,
            format_args!(
                "<tspan x=\"{x}\" dy=\"{step}\">{}</tspan>",
                escape::html(line)
            ),
        );
    }
    body.push_str("</text>");
}

/// Breaks a note at spaces, long words anywhere; at most six lines.
fn lines(text: &str, limit: usize) -> Vec<String> {
    let visible = escape::visible(text);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in visible.split_whitespace() {
        let characters: Vec<char> = word.chars().collect();
        for (index, piece) in characters.chunks(limit).enumerate() {
            let room = if used == 0 {
                limit
            } else {
                limit.saturating_sub(used + 1)
            };
            if index > 0 || piece.len() > room {
                lines.push(String::new());
                used = 0;
            }
            if let Some(line) = lines.last_mut() {
                if used > 0 {
                    line.push(' ');
                    used += 1;
                }
                line.extend(piece);
                used += piece.len();
            }
        }
    }
    lines.retain(|line| !line.is_empty());
    if lines.len() > 6 {
        lines.truncate(6);
        lines[5].push('…');
    }
    lines
}

fn put(body: &mut String, text: std::fmt::Arguments<'_>) {
    let written = body.write_fmt(text);
    debug_assert!(written.is_ok(), "writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_break_at_words_and_end() {
        assert_eq!(lines("one two three", 8), ["one two", "three"]);
        assert_eq!(lines("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(lines(&"word ".repeat(100), 8).len(), 6);
        assert!(lines("", 8).is_empty());
    }
}
