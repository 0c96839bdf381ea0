//! A comparison of several captures of one path: view model, JSON contract and renderers.

mod build;
pub mod evidence;
pub mod html;
pub mod markdown;
mod picture;
mod redact;
pub mod terminal;
mod words;

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

use serde::{Deserialize, Serialize};

use crate::document::{File, FindingView, HostFileRow, Quality, Severity, Tool, Verdict};

/// The JSON Schema of a comparison.
pub const SCHEMA: &str = include_str!("../../schema/pcapdoc-comparison-1.schema.json");

/// Several captures of one path, compared: the JSON contract.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ComparisonDocument {
    /// Version of the JSON contract.
    pub schema_version: u32,
    /// `comparison`.
    pub kind: String,
    /// The program that made it.
    pub tool: Tool,
    /// The sentence that ends the argument.
    pub verdict: Verdict,
    /// The points in path order, client side first.
    pub points: Vec<PointView>,
    /// What the order of the points rests on.
    pub order_basis: String,
    /// Clocks of neighbouring points: clock of `to` minus clock of `from`.
    pub clocks: Vec<ClockView>,
    /// All connections together, for each two neighbouring points.
    pub hops: Vec<PathHopView>,
    /// Connections that at least two points saw; [`Self::connections`] may hold fewer.
    pub connection_total: u64,
    /// Connections, those with trouble first.
    #[serde(serialize_with = "crate::document::lines::a_line_each")]
    pub connections: Vec<ComparedConnection>,
    /// Connections and UDP flows without a partner, by name of the point.
    pub unpaired: BTreeMap<String, u64>,
    /// Ranked.
    pub findings: Vec<PlacedFindingView>,
    /// What limits the comparison.
    pub notices: Vec<String>,
}

/// One point.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PointView {
    /// As named on the command line.
    pub name: String,
    /// Its captures.
    pub files: Vec<File>,
    /// Frames.
    pub packets: u64,
    /// Time of its first frame.
    pub start: String,
    /// Time of its last frame.
    pub end: String,
    /// Caveats.
    pub quality: Vec<Quality>,
    /// Segments that must have passed it unseen.
    pub missed: u64,
    /// Why connections have no partner at any other point, with how many each reason explains.
    pub unpaired_reasons: Vec<crate::document::Counted>,
    /// Connections and flows that fit several others equally well.
    pub ambiguous: u64,
    /// The files of `--host-evidence` that were read for it; absent without them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_evidence: Option<Vec<HostFileRow>>,
}

/// The clock of a point as against that of its neighbour.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ClockView {
    /// The point whose clock is the measure.
    pub from: String,
    /// The other point.
    pub to: String,
    /// Clock of `to` minus clock of `from`; absent without traffic in both directions.
    pub offset_ms: Option<f64>,
    /// When that holds: the first moment that both captures cover, by the clock of `from`.
    pub at: String,
    /// Gain of `to` against `from`, in parts per million.
    pub skew_ppm: f64,
    /// Bound of the offset's error.
    pub error_ms: Option<f64>,
    /// Steps of either clock.
    pub steps: Vec<StepView>,
    /// What it rests on.
    pub basis: String,
}

/// A step of a clock.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StepView {
    /// When, by the clock of `from`.
    pub time: String,
    /// By how much the difference changed.
    pub ms: f64,
}

/// One connection or UDP flow.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ComparedConnection {
    /// `tcp` or `udp`.
    pub transport: String,
    /// What showed that it is one: `sequence-numbers`, `segments`, `payload`, `addresses`, `requests`.
    pub paired_by: String,
    /// Whether a point saw other addresses or ports than another.
    pub translated: bool,
    /// Whether sequence numbers are rewritten on the way.
    pub sequence_rewritten: bool,
    /// Its ends as each point saw them, by name of the point.
    pub at: BTreeMap<String, EndsView>,
    /// When it began, by the clock of the first point that saw it.
    pub start: String,
    /// Between each two neighbouring points that saw it, the client's side first.
    pub hops: Vec<HopView>,
    /// Requests that a proxy forwarded, where that is what pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<RequestsView>,
}

/// The two ends of a connection at a point.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EndsView {
    /// Who opened it.
    pub client: String,
    /// Who was called.
    pub server: String,
    /// Its first frame there.
    pub first_frame: u64,
}

/// One connection between two neighbouring points.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HopView {
    /// The point on the client's side.
    pub from: String,
    /// The point on the server's side.
    pub to: String,
    /// What the client sent.
    pub client_to_server: WayView,
    /// What the server sent.
    pub server_to_client: WayView,
}

/// All connections between two neighbouring points.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PathHopView {
    /// The point nearer to the clients.
    pub from: String,
    /// The point nearer to the servers.
    pub to: String,
    /// Connections that crossed it.
    pub connections: u64,
    /// Requests that a proxy between the points forwarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<RequestsView>,
    /// Away from the clients.
    pub forward: WayView,
    /// Towards them.
    pub backward: WayView,
    /// Equal slices of the time that the captures cover, one row per direction.
    pub over_time: [Vec<SliceView>; 2],
}

/// What happened in a slice of time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SliceView {
    /// Segments lost.
    pub lost: u64,
    /// Segments that a capture missed.
    pub missed: u64,
    /// Segments that were lost or that a capture missed.
    #[serde(default)]
    pub undecided: u64,
    /// Segments made on the way.
    pub made: u64,
    /// Segments copied or overtaken on the way.
    pub disturbed: u64,
}

/// One direction between two neighbouring points.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WayView {
    /// Copies that left the upstream point, retransmissions included.
    pub segments: u64,
    /// Those that came to the downstream point.
    pub delivered: u64,
    /// Those that did not, as far as is known or likely.
    pub lost: u64,
    /// Segments that passed `from` unseen.
    pub missed_at_from: u64,
    /// Segments that passed `to` unseen.
    pub missed_at_to: u64,
    /// Those of the lost and of the unseen at the downstream point of which nothing shows which they are: they are
    /// divided by what is likely.
    #[serde(default)]
    pub undecided: u64,
    /// Those of them that are counted as lost.
    #[serde(default)]
    pub undecided_lost: u64,
    /// Segments that were overtaken.
    pub reordered: u64,
    /// Additional copies of segments.
    pub duplicated: u64,
    /// Frames at the downstream point that never passed the upstream one.
    pub made: u64,
    /// Segments by what was rewritten in them.
    pub changed: ChangedView,
    /// One-way delay; absent without a common clock or without a delivered segment.
    pub delay_ms: Option<DelayView>,
}

/// Segments by what was rewritten in them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[allow(missing_docs, reason = "named as the fields of the headers")]
pub struct ChangedView {
    pub dscp: u64,
    pub ecn: u64,
    pub mss: u64,
    pub window_scale: u64,
    pub sack_permitted: u64,
    pub timestamps: u64,
    pub options: u64,
    pub window: u64,
    pub addresses: u64,
    pub ports: u64,
    pub sequence_numbers: u64,
    pub payload: u64,
}

/// Quantiles of a duration in milliseconds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DelayView {
    /// Smallest.
    pub min: f64,
    /// Median.
    pub median: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

/// Requests on two legs of a path that a proxy joins.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RequestsView {
    /// Requests found on both legs.
    pub count: u64,
    /// From the request to the first byte of its response on the client's leg.
    pub client_leg_ms: Option<DelayView>,
    /// The same on the server's leg.
    pub server_leg_ms: Option<DelayView>,
    /// What the proxy and the way to it add.
    pub proxy_ms: Option<DelayView>,
}

/// A finding with its place.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PlacedFindingView {
    /// As in the document of one capture; its evidence names the point of each frame.
    #[serde(flatten)]
    pub finding: FindingView,
    /// The two neighbouring points between which it happens, the client's side first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between: Option<[String; 2]>,
    /// The point at which, or beyond which, it happens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

impl ComparisonDocument {
    /// Whether any finding is at or above `severity` (`--fail-on`).
    #[must_use]
    pub fn has_finding_at(&self, severity: Severity) -> bool {
        self.verdict.severity.is_some_and(|worst| worst >= severity)
    }
}

/// Writes a comparison with indentation, a connection to a line, and a final line end.
///
/// # Errors
/// Fails only if `out` cannot be written.
pub fn write_json(document: &ComparisonDocument, out: impl Write) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(64 << 10, out);
    serde_json::to_writer_pretty(&mut out, document)?;
    out.write_all(b"\n")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To write it again: `PCAPDOC_BLESS=1 cargo test -p pcapdoc-reports`.
    #[test]
    fn the_schema_is_that_of_the_types() {
        let mut schema = schemars::schema_for!(ComparisonDocument);
        schema.insert(
            "title".to_owned(),
            "pcapdoc comparison, schema version 1".into(),
        );
        let written = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var_os("PCAPDOC_BLESS").is_some() {
            let file = concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/schema/pcapdoc-comparison-1.schema.json"
            );
            std::fs::write(file, &written).unwrap();
        } else {
            assert_eq!(
                written, SCHEMA,
                "run with PCAPDOC_BLESS=1 and look at the change"
            );
        }
    }
}
