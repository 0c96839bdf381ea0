//! What rules conclude: findings, and what was checked without one.

use analyzer::{QualityKind, Timestamp};
use serde::{Deserialize, Serialize};

pub use crate::model::connection_ref::ConnectionRef;
pub use crate::model::evidence::Evidence;
pub use crate::model::figure::{Distribution, Figure, FigureValue, Relation, Spread};
pub use crate::model::onset::Onset;
pub use crate::model::severity::Severity;
use crate::model::waits::Waits;

pub use crate::model::ask::{Ask, HostLine, Says};

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
    /// What its output will show.
    pub tells: String,
}

/// Whose a rule is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// One of `pcapdoc rules`.
    #[default]
    BuiltIn,
    /// The user's own, from `pcapdoc.toml` or `--rules`.
    User,
}

impl Origin {
    /// The name in the JSON contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in",
            Self::User => "user",
        }
    }

    /// Whether it is one of ours.
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        *self == Self::BuiltIn
    }
}

/// When a connection stood still.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Stall {
    /// Which one.
    pub connection: ConnectionRef,
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
}

/// One cause, with everything a reader needs to believe and cure it.
#[derive(Clone, PartialEq, Debug)]
pub struct Finding {
    /// `F1`, `F2`, … in ranked order.
    pub id: String,
    /// Rule id.
    pub rule: &'static str,
    /// Whose rule it is.
    pub origin: Origin,
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
    /// When; `None` where only host files show it.
    pub onset: Option<Onset>,
    /// Affected connections, the worst first, at most 1,000.
    pub connections: Vec<ConnectionRef>,
    /// Affected connections in all.
    pub connection_count: u64,
    /// Frames of the best examples, in frame order within an example.
    pub evidence: Vec<Evidence>,
    /// Measured figures .
    pub figures: Vec<Figure>,
    /// What it cost, in user terms (requests failed, time lost, bytes lost).
    pub cost: Vec<Figure>,
    /// When connections stood still because of it, by connection and time; they may overlap. At most
    /// 100,000.
    pub stalls: Vec<Stall>,
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
    /// Distribution of the main figure.
    pub distribution: Option<Distribution>,
    /// How one measure goes with another, where that is the matter.
    pub relation: Option<Relation>,
    /// How long each side waited before it closed, where timeouts are the matter.
    pub timeouts: Vec<Waits>,
    /// What the hosts' files say of it; `None` when none were given.
    pub host_evidence: Option<Vec<HostLine>>,
}

impl Finding {
    /// A finding of a rule that says nothing yet: whoever makes one fills in what it knows, and a new
    /// field needs a value here alone.
    #[must_use]
    pub const fn of(rule: &'static str) -> Self {
        Self {
            id: String::new(),
            rule,
            origin: Origin::BuiltIn,
            severity: Severity::Info,
            confidence: 0.0,
            confidence_reason: String::new(),
            title: String::new(),
            summary: String::new(),
            occurrences: 0,
            onset: None,
            connections: Vec::new(),
            connection_count: 0,
            evidence: Vec::new(),
            figures: Vec::new(),
            cost: Vec::new(),
            stalls: Vec::new(),
            why: Vec::new(),
            look_alikes: Vec::new(),
            remedy: Vec::new(),
            host_commands: Vec::new(),
            caveats: Vec::new(),
            explained_by: Vec::new(),
            filter: String::new(),
            distribution: None,
            relation: None,
            timeouts: Vec::new(),
            host_evidence: None,
        }
    }
}

/// What one rule did on this capture.
#[derive(Clone, PartialEq, Debug)]
pub struct RuleOutcome {
    /// Rule id.
    pub rule: &'static str,
    /// One line from the declaration: what the rule looks for.
    pub title: &'static str,
    /// Whose rule it is.
    pub origin: Origin,
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
