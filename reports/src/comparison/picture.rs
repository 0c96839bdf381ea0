//! Pictures of a comparison as SVG: the path, what happened over time, and evidence with a lane for
//! each point.

use std::fmt::Write as _;

use super::{ComparisonDocument, PlacedFindingView, SliceView, WayView, words};
use crate::document::EvidenceView;
use crate::words::escape::html as text;
use crate::words::format;

/// Width of a point's box and of the way between two of them.
const BOX: usize = 130;
const WAY: usize = 270;

/// The points in order, with what happens between each two of them.
pub(super) fn path(document: &ComparisonDocument) -> String {
    let width = document.points.len() * BOX + document.hops.len() * WAY;
    let mut svg = format!(
        "<figure><svg class=\"path\" viewBox=\"0 0 {width} 128\" role=\"img\" aria-label=\"The \
        points in path order; the same follows as a table\">"
    );
    for (index, point) in document.points.iter().enumerate() {
        let x = index * (BOX + WAY);
        let _ = write!(
            svg,
            "<rect class=\"point\" x=\"{x}\" y=\"34\" width=\"{BOX}\" height=\"60\" rx=\"8\"/>\
             <text x=\"{}\" y=\"69\" text-anchor=\"middle\">{}</text>",
            x + BOX / 2,
            text(&format::shortened(&point.name, 16)),
        );
    }
    for (index, hop) in document.hops.iter().enumerate() {
        let from = index * (BOX + WAY) + BOX + 6;
        let to = from + WAY - 12;
        arrow(&mut svg, (from, to, 52), (30, 46), &hop.forward);
        arrow(&mut svg, (to, from, 76), (96, 112), &hop.backward);
    }
    svg.push_str("</svg></figure>\n");
    svg
}

fn arrow(
    svg: &mut String,
    (from, to, y): (usize, usize, usize),
    lines: (usize, usize),
    way: &WayView,
) {
    let is_lossy = words::proved_lost(way) > 0;
    let class = if is_lossy || way.made > 0 {
        "bad"
    } else {
        "fine"
    };
    let back = if to > from { to - 8 } else { to + 8 };
    let _ = write!(
        svg,
        "<path class=\"{class}\" d=\"M{from} {y}H{to}M{back} {}L{to} {y}L{back} {}\"/>",
        y - 5,
        y + 5
    );
    let loss = if is_lossy {
        format!("{} lost", words::lost(way))
    } else {
        format!("{} segments, none lost", format::count(way.segments))
    };
    let mut more = Vec::new();
    if let Some(delay) = way.delay_ms {
        more.push(format!("{} median", format::duration(delay.median)));
    }
    if way.undecided > 0 {
        more.push(format!("{} lost or not captured", way.undecided));
    }
    if way.made > 0 {
        more.push(format!("{} made", way.made));
    }
    let middle = usize::midpoint(from, to);
    let _ = write!(
        svg,
        "<text class=\"{class}\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
         <text class=\"note\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        lines.0,
        text(&loss),
        lines.1,
        text(&more.join(", ")),
    );
}

/// What a slice of time holds, in words.
fn told(slice: &SliceView) -> String {
    format!(
        "{} lost, {} missed by a capture, {} one or the other, {} made, {} copied or overtaken",
        slice.lost, slice.missed, slice.undecided, slice.made, slice.disturbed,
    )
}

/// Hop by time: what was lost, missed, made or disturbed in each slice.
pub(super) fn heat(document: &ComparisonDocument) -> String {
    let total = |slice: &SliceView| {
        slice.lost + slice.missed + slice.undecided + slice.made + slice.disturbed
    };
    let rows: Vec<(String, &Vec<SliceView>)> = document
        .hops
        .iter()
        .flat_map(|hop| {
            let [forward, backward] = words::ways(hop);
            [
                (forward.0, &hop.over_time[0]),
                (backward.0, &hop.over_time[1]),
            ]
        })
        .collect();
    let largest = rows
        .iter()
        .flat_map(|row| row.1.iter().map(total))
        .max()
        .unwrap_or(0);
    if largest == 0 {
        return String::new();
    }
    let height = rows.len() * 22 + 4;
    let mut svg = format!(
        "<figure><svg class=\"heat\" viewBox=\"0 0 900 {height}\" role=\"img\" \
        aria-label=\"Troubled segments by direction over time\">"
    );
    for (index, (name, slices)) in rows.iter().enumerate() {
        let y = index * 22 + 2;
        let _ = write!(
            svg,
            "<text x=\"0\" y=\"{}\">{}</text>",
            y + 15,
            text(&format::shortened(name, 30))
        );
        for (at, slice) in slices
            .iter()
            .enumerate()
            .filter(|(_, slice)| total(slice) > 0)
        {
            let strength = 25 + 75 * total(slice) / largest;
            let class = if slice.lost > 0 {
                "lost"
            } else if slice.made > 0 {
                "made"
            } else {
                "other"
            };
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{:.1}\" y=\"{y}\" width=\"10\" height=\"18\" \
                opacity=\"0.{strength:02}\"><title>{}</title></rect>",
                240.0 + at as f64 * 11.0,
                told(slice),
            );
        }
    }
    let start = document
        .points
        .first()
        .map_or("", |point| format::time_of_day(&point.start));
    let end = document
        .points
        .first()
        .map_or("", |point| format::time_of_day(&point.end));
    let _ = writeln!(
        svg,
        "</svg><figcaption>Lost (red), made (violet) and otherwise troubled segments over the \
        time of the captures, about {} to {}</figcaption></figure>",
        text(start),
        text(end)
    );
    svg
}

/// Frames drawn.
const FRAMES: usize = 12;
const LANE: usize = 220;
const LEFT: usize = 110;

/// The frames that prove a finding, with a lane for each point.
pub(super) fn ladder(document: &ComparisonDocument, placed: &PlacedFindingView) -> String {
    let lanes: Vec<&str> = document
        .points
        .iter()
        .map(|point| point.name.as_str())
        .collect();
    let steps: Vec<&EvidenceView> = placed.finding.evidence.iter().take(FRAMES).collect();
    let lane_of = |step: &EvidenceView| {
        let point = step.point.as_deref()?;
        lanes.iter().position(|lane| *lane == point)
    };
    let width = LEFT + lanes.len() * LANE;
    let height = 44 + steps.len() * 34;
    let mut svg = format!(
        "<figure><svg class=\"ladder lanes\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
        aria-label=\"The frames at each point; they follow as a table\">"
    );
    let x = |lane: usize| LEFT + LANE / 2 + lane * LANE;
    for (lane, name) in lanes.iter().enumerate() {
        let _ = write!(
            svg,
            "<text class=\"end\" x=\"{0}\" y=\"16\" text-anchor=\"middle\">{1}</text><path \
            class=\"life\" d=\"M{0} 24V{height}\"/>",
            x(lane),
            text(&format::shortened(name, 24)),
        );
    }
    let hop = placed.between.as_ref().map(|pair| {
        pair.clone()
            .map(|name| lanes.iter().position(|lane| *lane == name).unwrap_or(0))
    });
    for (index, step) in steps.iter().enumerate() {
        let Some(lane) = lane_of(step) else { continue };
        let y = 54 + index * 34;
        let forward = step.is_from_client();
        let label = format!("{} {}", step.frame, step.flags);
        let _ = write!(
            svg,
            "<text class=\"time\" x=\"0\" y=\"{y}\">{}</text><circle cx=\"{2}\" cy=\"{y}\" \
            r=\"4\"/>\
             <text class=\"flags\" x=\"{3}\" y=\"{4}\">{1}</text>",
            text(format::time_of_day(&step.time)),
            text(&label),
            x(lane),
            x(lane) + 8,
            y - 6,
        );
        if let Some(pair) = hop {
            stroke(
                &mut svg,
                x(lane),
                other_lane(pair, lane).map(x),
                y,
                (forward, &step.note),
            );
        }
    }
    svg.push_str("</svg></figure>\n");
    svg
}

/// The other point of a hop.
fn other_lane([from, to]: [usize; 2], lane: usize) -> Option<usize> {
    if lane == from {
        Some(to)
    } else if lane == to {
        Some(from)
    } else {
        None
    }
}

/// The way of a packet: from the point it left, or to the point it came to; half the way where the
/// other point did not see it.
fn stroke(
    svg: &mut String,
    own: usize,
    other: Option<usize>,
    y: usize,
    (forward, note): (bool, &str),
) {
    let Some(other) = other else { return };
    let leaves = (other > own) == forward;
    let middle = usize::midpoint(own, other);
    if leaves && note.contains("never") {
        let _ = write!(
            svg,
            "<g class=\"rst\"><path class=\"arrow\" fill=\"none\" d=\"M{own} {y}H{middle}M{} \
            {}l10 10m0 -10l-10 10\"/></g>",
            middle - 5,
            y - 5
        );
    } else if leaves {
        let _ = write!(
            svg,
            "<path class=\"arrow\" fill=\"none\" d=\"M{own} {y}H{other}\"/>"
        );
    } else if note.contains("never") {
        let _ = write!(
            svg,
            "<g class=\"rst\"><path class=\"arrow\" fill=\"none\" d=\"M{middle} {y}H{own}\"/></g>"
        );
    }
}
