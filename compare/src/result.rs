//! What a comparison gives: the facts of the report, in path order.

use analyzer::capture::FileSummary;
use analyzer::{Endpoint, QualityNote, Timestamp, Transport};
use rules::Finding;
use rules::finding::Severity;
use rules::host::HostFileUse;

use crate::pairing::PairedBy;
use crate::verdict::{Delays, Tally};

/// Several captures of one path, compared.
#[derive(Clone, PartialEq, Debug)]
pub struct Comparison {
    /// The points, client side first.
    pub points: Vec<PointSummary>,
    /// What the order of the points rests on.
    pub order_basis: &'static str,
    /// Clocks of neighbouring points.
    pub clocks: Vec<ClockSummary>,
    /// Connections that at least two points saw.
    pub connections: Vec<ConnectionSummary>,
    /// All connections together, hop by hop, in path order.
    pub hops: Vec<HopSummary>,
    /// Findings, ranked.
    pub findings: Vec<PlacedFinding>,
    /// The sentence that ends the argument.
    pub verdict: Verdict,
    /// What limits the comparison.
    pub notices: Vec<String>,
}

/// The whole report in a sentence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// For people.
    pub sentence: String,
    /// Worst severity among the findings; absent without findings.
    pub severity: Option<Severity>,
}

/// One point of the path.
#[derive(Clone, PartialEq, Debug)]
pub struct PointSummary {
    /// As named by the user.
    pub name: String,
    /// Its captures.
    pub files: Vec<FileSummary>,
    /// Frames.
    pub packets: u64,
    /// Time of the first and last frame.
    pub first: Timestamp,
    /// See [`Self::first`].
    pub last: Timestamp,
    /// Limits of its capture.
    pub quality: Vec<QualityNote>,
    /// Connections and UDP flows without a partner at any other point.
    pub unpaired: u64,
    /// Likely reasons, with how many connections each explains.
    pub unpaired_reasons: Vec<(String, u64)>,
    /// Connections and UDP flows that fit several others equally well.
    pub ambiguous: u64,
    /// Segments that must have passed it unseen.
    pub missed: u64,
    /// What became of the hosts' files; `None` without any.
    pub host_files: Option<Vec<HostFileUse>>,
}

/// The clock of a point as against that of its neighbour.
#[derive(Clone, PartialEq, Debug)]
pub struct ClockSummary {
    /// Index of the point whose clock is the measure.
    pub from: usize,
    /// Index of the other point.
    pub to: usize,
    /// Clock of `to` minus clock of `from` at [`Self::at`], in milliseconds; absent without
    /// traffic in both directions.
    pub offset_ms: Option<f64>,
    /// First moment that both captures cover, by the clock of `from`.
    pub at: Timestamp,
    /// Gain of `to` against `from` in parts per million.
    pub skew_ppm: f64,
    /// Bound of the offset's error in milliseconds.
    pub error_ms: Option<f64>,
    /// Times, by the clock of `from`, at which the difference changed, and by how much in milliseconds.
    pub steps: Vec<(Timestamp, f64)>,
    /// What it rests on.
    pub basis: String,
}

/// One connection or UDP flow that several points saw.
#[derive(Clone, PartialEq, Debug)]
pub struct ConnectionSummary {
    /// TCP or UDP.
    pub transport: Transport,
    /// What showed that it is one.
    pub paired_by: PairedBy,
    /// Whether a point saw other addresses or ports than another.
    pub translated: bool,
    /// Whether sequence numbers are rewritten on the way.
    pub sequence_rewritten: bool,
    /// Client and server as each point saw them, by index of the point, in path order.
    pub at: Vec<(usize, Endpoint, Endpoint)>,
    /// Frame of its first packet at each of these points.
    pub first_frames: Vec<u64>,
    /// When it began, by the clock of the first of these points.
    pub start: Timestamp,
    /// Between each two neighbouring points of these.
    pub hops: Vec<ConnectionHop>,
    /// Requests that a proxy forwarded, where that is what pairs.
    pub requests: Option<RequestTimes>,
}

/// One connection between two neighbouring points.
#[derive(Clone, PartialEq, Debug)]
pub struct ConnectionHop {
    /// Index of the point on the client's side.
    pub from: usize,
    /// Index of the point on the server's side.
    pub to: usize,
    /// What the client sent.
    pub client_to_server: Tally,
    /// What the server sent.
    pub server_to_client: Tally,
}

/// Requests on two legs of a path that a proxy joins.
#[derive(Clone, PartialEq, Debug)]
pub struct RequestTimes {
    /// Requests found on both legs.
    pub requests: u64,
    /// From the request to the first octet of its answer on the client's leg.
    pub client_leg_ms: Option<Delays>,
    /// The same on the server's leg.
    pub server_leg_ms: Option<Delays>,
    /// What the proxy and the way to it add: the first less the second.
    pub proxy_ms: Option<Delays>,
}

/// All connections between two neighbouring points.
#[derive(Clone, PartialEq, Debug)]
pub struct HopSummary {
    /// Index of the point on the client's side.
    pub from: usize,
    /// Index of the point on the server's side.
    pub to: usize,
    /// Connections that crossed it.
    pub connections: u64,
    /// Requests that a proxy between the points forwarded.
    pub requests: Option<RequestTimes>,
    /// Along the path and against it.
    pub ways: [WaySummary; 2],
}

/// One direction between two neighbouring points: 0 away from the clients, 1 towards them.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct WaySummary {
    /// Sums over all connections.
    pub total: Tally,
    /// First and last loss, by the clock of the first point.
    pub loss_span: Option<(Timestamp, Timestamp)>,
    /// Packets lost, made, duplicated or missed over time: equal slices of the common time.
    pub slices: Vec<Slice>,
}

/// What happened in one slice of time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Slice {
    /// Segments lost.
    pub lost: u64,
    /// Segments that a capture missed.
    pub missed: u64,
    /// Segments that were lost or that a capture missed.
    pub undecided: u64,
    /// Segments made on the way.
    pub made: u64,
    /// Segments copied on the way or overtaken.
    pub disturbed: u64,
}

/// A finding with its place.
#[derive(Clone, PartialEq, Debug)]
pub struct PlacedFinding {
    /// As the rules give it.
    pub finding: Finding,
    /// Where it happens.
    pub place: Place,
    /// For each piece of evidence, the index of the point that its frame is of.
    pub evidence_points: Vec<usize>,
}

/// Where on the path something happens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Place {
    /// Between two neighbouring points, the client's side first.
    Between(usize, usize),
    /// At a point or beyond it, away from all others.
    At(usize),
}
