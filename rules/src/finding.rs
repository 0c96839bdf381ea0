//! What rules conclude: findings, and what was checked without one.

use analyzer::event::SegmentRef;
use analyzer::{Connection, Endpoint, QualityKind, Transport};
use serde::{Deserialize, Serialize};

use crate::waits::Waits;

/// How much harm a finding did, if it is true.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nobody was harmed.
    Info,
    /// A weakness, or harm that nobody would notice.
    Low,
    /// Users may have noticed.
    Medium,
    /// Requests failed or waited for long.
    High,
    /// The service was down for its users.
    Critical,
}

impl Severity {
    /// The name in the JSON contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// Which connection a finding speaks of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionRef {
    /// Frame of its first packet: its identity within the capture.
    pub first_frame: u64,
    /// TCP or UDP.
    pub transport: Transport,
    /// Who opened it.
    pub client: Endpoint,
    /// Who was called.
    pub server: Endpoint,
    /// Where the client's packets really went, when the server answers from another address.
    pub translated_to: Option<Endpoint>,
}

impl From<&Connection> for ConnectionRef {
    fn from(connection: &Connection) -> Self {
        Self {
            first_frame: connection.first_frame,
            transport: connection.transport,
            client: connection.client,
            server: connection.server,
            translated_to: connection.translated_from,
        }
    }
}

/// A frame that proves something, and what a reader will see at that frame.
#[derive(Clone, PartialEq, Debug)]
pub struct Evidence {
    /// The frame with its header fields.
    pub segment: SegmentRef,
    /// Its connection.
    pub connection: ConnectionRef,
    /// A fact that can be checked at that frame, without final full stop.
    pub note: String,
}

/// A named number; its unit is the ending of its name (`_ms`, `_s`, `_bytes`, `_percent`,
/// `_per_second`, or a bare count).
#[derive(Clone, PartialEq, Debug)]
pub struct Figure {
    /// Name in the JSON contract.
    pub name: &'static str,
    /// Number or text.
    pub value: FigureValue,
    /// Spread over occurrences, when the value is a median of several.
    pub spread: Option<Spread>,
}

/// A figure's value.
#[derive(Clone, PartialEq, Debug)]
pub enum FigureValue {
    /// A number in the unit of the name.
    Number(f64),
    /// Text, such as a framing specification or an endpoint.
    Text(String),
}

/// How a figure's single values lie.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Spread {
    /// How many values.
    pub count: u64,
    /// Smallest.
    pub min: f64,
    /// Median.
    pub median: f64,
    /// Largest.
    pub max: f64,
}

/// Another cause that looks alike, and why it is not this one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct LookAlike {
    /// Rule id or plain words.
    pub name: String,
    /// What in this capture speaks against it.
    pub why_not: String,
}

/// One thing to change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct Remedy {
    /// Product or layer: `any`, `nginx`, `Node.js`, `Go`, `Java`, `gunicorn`, `Envoy`, `HAProxy`,
    /// `AWS ALB`, `Linux`, ….
    pub product: String,
    /// What to do and why, with this capture's numbers.
    pub text: String,
    /// The setting or code to write, when there is one.
    pub setting: Option<String>,
}

/// A command to run on a host to confirm.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct HostCommand {
    /// Where: `client`, `server`, ….
    pub host: String,
    /// The command, with the measured addresses filled in.
    pub command: String,
    /// What its output will tell.
    pub tells: String,
}

/// Values of one figure over all occurrences, for a small histogram (timeouts).
#[derive(Clone, PartialEq, Debug)]
pub struct Distribution {
    /// The figure's name.
    pub figure: &'static str,
    /// The single values, sorted, at most 1,000 (evenly thinned).
    pub values: Vec<f64>,
}

/// One cause, with everything a reader needs to believe and cure it.
#[derive(Clone, PartialEq, Debug)]
pub struct Finding {
    /// `F1`, `F2`, … in ranked order.
    pub id: String,
    /// Rule id.
    pub rule: &'static str,
    /// Harm.
    pub severity: Severity,
    /// How sure, 0–1.
    pub confidence: f64,
    /// Why the confidence is what it is, one sentence.
    pub confidence_reason: String,
    /// One line, without final full stop.
    pub title: String,
    /// What happened here, two to four sentences with this capture's numbers.
    pub summary: String,
    /// How often.
    pub occurrences: u64,
    /// Affected connections, the worst first, at most 1,000.
    pub connections: Vec<ConnectionRef>,
    /// Affected connections in all.
    pub connection_count: u64,
    /// Frames of the best examples, in frame order within an example.
    pub evidence: Vec<Evidence>,
    /// Measured figures.
    pub figures: Vec<Figure>,
    /// What it cost, in user terms (requests failed, time lost, bytes lost).
    pub cost: Vec<Figure>,
    /// Why we believe it: facts, strongest first.
    pub why: Vec<String>,
    /// What it is not, and why.
    pub look_alikes: Vec<LookAlike>,
    /// What to change.
    pub remedy: Vec<Remedy>,
    /// How to verify on the hosts.
    pub host_commands: Vec<HostCommand>,
    /// Limits of the capture that touch this finding.
    pub caveats: Vec<(QualityKind, String)>,
    /// Ids of findings that cause this one.
    pub explained_by: Vec<String>,
    /// A Wireshark display filter that shows the evidence.
    pub filter: String,
    /// Distribution of the telling figure.
    pub distribution: Option<Distribution>,
    /// How long each side waited before it closed, where timeouts are the matter.
    pub timeouts: Vec<Waits>,
}

/// What one rule did on this capture.
#[derive(Clone, PartialEq, Debug)]
pub struct RuleOutcome {
    /// Rule id.
    pub rule: &'static str,
    /// One line from the declaration: what the rule looks for.
    pub title: &'static str,
    /// Connections judged.
    pub assessed: u64,
    /// Connections that could not be judged, by reason.
    pub not_assessed: Vec<(String, u64)>,
    /// Findings it gave.
    pub findings: u64,
    /// The rule failed on its own account (a defect of ours): what it said.
    pub failure: Option<String>,
}

/// The engine's result.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Assessment {
    /// Ranked: causes before their symptoms, then by severity, confidence and cost.
    pub findings: Vec<Finding>,
    /// One entry per selected rule, by id.
    pub outcomes: Vec<RuleOutcome>,
    /// Notes about the configuration, such as an ignore entry that matched nothing.
    pub notices: Vec<String>,
}
