//! From the facts of a comparison to its document.

use std::collections::BTreeMap;

use analyzer::QualityNote;
use analyzer::capture::FileSummary;
use compare::{
    ClockSummary, Comparison, ConnectionHop, ConnectionSummary, Delays, HopSummary, Place,
    PlacedFinding, PointSummary, RequestTimes, Slice, Tally, WaySummary,
};

use super::{
    ChangedView, ClockView, ComparedConnection, ComparisonDocument, DelayView, EndsView, HopView,
    PathHopView, PlacedFindingView, PointView, RequestsView, SliceView, StepView, WayView,
};
use crate::document::{
    Counted, File, FindingView, HostFileRow, Quality, RunInfo, SCHEMA_VERSION, Verdict, rounded,
};
use crate::gather::tool;

impl ComparisonDocument {
    /// The document of a comparison that lists at most `limit` connections; `None` lists all.
    #[must_use]
    pub fn build(comparison: &Comparison, limit: Option<usize>, run: &RunInfo) -> Self {
        let names: Vec<&str> = comparison
            .points
            .iter()
            .map(|one| one.name.as_str())
            .collect();
        let mut listed: Vec<&ConnectionSummary> = comparison.connections.iter().collect();
        listed.sort_by_key(|connection| std::cmp::Reverse(trouble(connection)));
        listed.truncate(limit.unwrap_or(usize::MAX));
        let points = comparison.points.iter();
        Self {
            schema_version: SCHEMA_VERSION,
            kind: "comparison".to_owned(),
            tool: tool(run),
            verdict: Verdict {
                sentence: comparison.verdict.sentence.clone(),
                severity: comparison.verdict.severity,
            },
            unpaired: points
                .clone()
                .map(|point| (point.name.clone(), point.unpaired))
                .collect(),
            points: points.map(point).collect(),
            order_basis: comparison.order_basis.to_owned(),
            clocks: comparison
                .clocks
                .iter()
                .map(|one| clock(one, &names))
                .collect(),
            hops: comparison
                .hops
                .iter()
                .map(|hop| path_hop(hop, &names))
                .collect(),
            connection_total: comparison.connections.len() as u64,
            connections: listed
                .into_iter()
                .map(|one| connection(one, &names))
                .collect(),
            findings: comparison
                .findings
                .iter()
                .map(|one| placed(one, comparison, &names))
                .collect(),
            notices: comparison.notices.clone(),
        }
    }
}

/// Segments with another fate than to be delivered once and in order.
fn trouble(connection: &ConnectionSummary) -> u64 {
    let ways = connection
        .hops
        .iter()
        .flat_map(|hop| [&hop.client_to_server, &hop.server_to_client]);
    ways.map(|way| {
        let missed = way.missed_at_from + way.missed_at_to;
        way.lost + missed + way.reordered + way.duplicated + way.made
    })
    .sum()
}

fn point(point: &PointSummary) -> PointView {
    PointView {
        name: point.name.clone(),
        files: point.files.iter().map(file).collect(),
        packets: point.packets,
        start: point.first.rfc3339(),
        end: point.last.rfc3339(),
        quality: point.quality.iter().map(quality).collect(),
        missed: point.missed,
        unpaired_reasons: point
            .unpaired_reasons
            .iter()
            .map(|(name, count)| Counted {
                name: name.clone(),
                count: *count,
            })
            .collect(),
        ambiguous: point.ambiguous,
        host_evidence: point
            .host_files
            .clone()
            .map(|files| files.into_iter().map(HostFileRow::from).collect()),
    }
}

fn file(file: &FileSummary) -> File {
    File {
        name: file.name.clone(),
        format: file.format.clone(),
        bytes: file.stored_bytes,
        packets: file.frames,
        start: file.first.map(|time| time.rfc3339()),
        end: file.last.map(|time| time.rfc3339()),
        hash: None,
    }
}

fn quality(note: &QualityNote) -> Quality {
    Quality {
        kind: note.kind.as_str().to_owned(),
        count: note.count,
        note: note.note.clone(),
    }
}

fn clock(clock: &ClockSummary, names: &[&str]) -> ClockView {
    ClockView {
        from: names[clock.from].to_owned(),
        to: names[clock.to].to_owned(),
        offset_ms: clock.offset_ms.map(rounded),
        at: clock.at.rfc3339(),
        skew_ppm: rounded(clock.skew_ppm),
        // A bound is never rounded down.
        error_ms: clock.error_ms.map(|error| (error * 1e3).ceil() / 1e3),
        steps: clock
            .steps
            .iter()
            .map(|(time, ms)| StepView {
                time: time.rfc3339(),
                ms: rounded(*ms),
            })
            .collect(),
        basis: clock.basis.clone(),
    }
}

fn connection(connection: &ConnectionSummary, names: &[&str]) -> ComparedConnection {
    let frames = connection.first_frames.iter();
    let at: BTreeMap<String, EndsView> = connection
        .at
        .iter()
        .zip(frames)
        .map(|((point, client, server), first_frame)| {
            let ends = EndsView {
                client: client.to_string(),
                server: server.to_string(),
                first_frame: *first_frame,
            };
            (names[*point].to_owned(), ends)
        })
        .collect();
    ComparedConnection {
        transport: connection.transport.as_str().to_owned(),
        paired_by: connection.paired_by.as_str().to_owned(),
        translated: connection.translated,
        sequence_rewritten: connection.sequence_rewritten,
        at,
        start: connection.start.rfc3339(),
        hops: connection.hops.iter().map(|one| hop(one, names)).collect(),
        requests: connection.requests.as_ref().map(requests),
    }
}

fn requests(times: &RequestTimes) -> RequestsView {
    RequestsView {
        count: times.requests,
        client_leg_ms: times.client_leg_ms.map(delay),
        server_leg_ms: times.server_leg_ms.map(delay),
        proxy_ms: times.proxy_ms.map(delay),
    }
}

fn hop(hop: &ConnectionHop, names: &[&str]) -> HopView {
    HopView {
        from: names[hop.from].to_owned(),
        to: names[hop.to].to_owned(),
        client_to_server: way(&hop.client_to_server),
        server_to_client: way(&hop.server_to_client),
    }
}

fn path_hop(hop: &HopSummary, names: &[&str]) -> PathHopView {
    let slices = |way: &WaySummary| way.slices.iter().map(slice).collect();
    PathHopView {
        from: names[hop.from].to_owned(),
        to: names[hop.to].to_owned(),
        connections: hop.connections,
        requests: hop.requests.as_ref().map(requests),
        forward: way(&hop.ways[0].total),
        backward: way(&hop.ways[1].total),
        over_time: [slices(&hop.ways[0]), slices(&hop.ways[1])],
    }
}

fn slice(slice: &Slice) -> SliceView {
    SliceView {
        lost: slice.lost,
        missed: slice.missed,
        undecided: slice.undecided,
        made: slice.made,
        disturbed: slice.disturbed,
    }
}

fn way(tally: &Tally) -> WayView {
    let changed = &tally.changed;
    WayView {
        segments: tally.segments,
        delivered: tally.delivered,
        lost: tally.lost,
        missed_at_from: tally.missed_at_from,
        missed_at_to: tally.missed_at_to,
        undecided: tally.undecided,
        undecided_lost: tally.undecided_lost,
        reordered: tally.reordered,
        duplicated: tally.duplicated,
        made: tally.made,
        changed: ChangedView {
            dscp: changed.dscp,
            ecn: changed.ecn,
            mss: changed.mss,
            window_scale: changed.window_scale,
            sack_permitted: changed.sack_permitted,
            timestamps: changed.timestamps,
            options: changed.options,
            window: changed.window,
            addresses: changed.addresses,
            ports: changed.ports,
            sequence_numbers: changed.sequence_numbers,
            payload: changed.payload,
        },
        delay_ms: tally.delay_ms.map(delay),
    }
}

fn delay(delay: Delays) -> DelayView {
    DelayView {
        min: rounded(delay.min),
        median: rounded(delay.median),
        p99: rounded(delay.p99),
        max: rounded(delay.max),
    }
}

fn placed(placed: &PlacedFinding, comparison: &Comparison, names: &[&str]) -> PlacedFindingView {
    let start = comparison.points.first().map(|point| point.first);
    let mut finding = FindingView::new(&placed.finding, start);
    for (evidence, point) in finding.evidence.iter_mut().zip(&placed.evidence_points) {
        evidence.point = Some(names[*point].to_owned());
    }
    let (between, at) = match placed.place {
        Place::Between(from, to) => (Some([names[from].to_owned(), names[to].to_owned()]), None),
        Place::At(point) => (None, Some(names[point].to_owned())),
    };
    PlacedFindingView {
        finding,
        between,
        at,
    }
}
