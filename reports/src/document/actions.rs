//! What clients waited for, request by request and step by step.

use serde::{Deserialize, Serialize};

use crate::words::format;

/// Requests with the steps before and after them: name lookup, connection, TLS, request, response.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Actions {
    /// Requests that the figures rest on.
    pub count: u64,
    /// Requests in the capture.
    pub seen: u64,
    /// What the figures leave out; absent when that is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How long each step took, in the order of the steps; only those that took any time.
    pub steps: Vec<StepTimes>,
    /// The slowest, slowest first; at most ten.
    pub slowest: Vec<ActionRow>,
}

/// How long one step took.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StepTimes {
    /// `dns`, `connect` (from the first SYN), `tls`, `request`, `server` (end of the request to first
    /// byte of the response), `first_byte` (from the beginning of all steps), `body`, `recovery` (time in
    /// which data waited for a retransmission, where any did; the other steps are given without it) or
    /// `total` (of responses that were seen to their end).
    pub step: String,
    /// How many.
    pub count: u64,
    /// Median.
    pub p50_ms: f64,
    /// 95th percentile.
    pub p95_ms: f64,
    /// Largest.
    pub max_ms: f64,
}

/// One request with its steps.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ActionRow {
    /// Address and port of the client.
    pub client: String,
    /// Address and port of the server.
    pub server: String,
    /// Host header or TLS server name, when seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the payload is, as in `connections`.
    pub protocol: String,
    /// Method and target, or how much was sent; absent where the connection was opened ahead of its first
    /// request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Status, or how much came back.
    pub outcome: String,
    /// Whether the response was seen to its end; without that `total_ms` is a lower bound.
    pub complete: bool,
    /// When it began, RFC 3339, UTC.
    pub start: String,
    /// Since the capture's first frame.
    pub start_s: f64,
    /// From its beginning to its end, pauses of the client between steps included.
    pub total_ms: f64,
    /// Frame of the request, or of the connection's first packet.
    pub frame: u64,
    /// The connection, as in `connections`.
    pub first_frame: u64,
    /// Its steps in order.
    pub steps: Vec<ActionStep>,
}

/// One step of a request.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ActionStep {
    /// `dns`, `connect`, `tls`, `request`, `server` or `body`.
    pub step: String,
    /// When it began, since the beginning of the first step.
    pub from_ms: f64,
    /// How long it took.
    pub ms: f64,
    /// How long of it data waited for a retransmission.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub recovery_ms: f64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(ms: &f64) -> bool {
    *ms == 0.0
}

/// A step's name in a table.
#[must_use]
pub(crate) fn step_label(step: &str) -> &'static str {
    match step {
        "dns" => "DNS lookup",
        "connect" => "Connect",
        "tls" => "TLS handshake",
        "request" => "Request",
        "server" => "Server",
        "first_byte" => "First byte, from the start",
        "body" => "Response body",
        "recovery" => "Loss recovery",
        _ => "Total",
    }
}

/// A step's name in a sentence.
fn step_words(step: &str) -> &'static str {
    match step {
        "dns" => "DNS",
        "connect" => "connect",
        "tls" => "TLS",
        "request" => "request",
        "server" => "server",
        "body" => "response body",
        _ => "loss recovery",
    }
}

impl Actions {
    /// Heading of the figures: what they count.
    #[must_use]
    pub(crate) fn base(&self) -> String {
        if self.count == self.seen {
            format::counted(self.count, "request")
        } else {
            format!(
                "{} of {}",
                format::count(self.count),
                format::counted(self.seen, "request")
            )
        }
    }

    /// The figures of all steps together.
    #[must_use]
    pub(crate) fn total(&self) -> Option<&StepTimes> {
        self.steps.iter().find(|times| times.step == "total")
    }

    /// What the slowest one waited for, in a sentence without full stop.
    #[must_use]
    pub(crate) fn title(&self) -> Option<String> {
        let slowest = self.slowest.first()?;
        let which = match self.count {
            1 => "The only request".to_owned(),
            _ => format!("The slowest of {}", self.base()),
        };
        Some(format!(
            "{which} took {}: {}",
            slowest.took(),
            slowest.in_words(),
        ))
    }
}

impl ActionRow {
    /// What was asked of whom.
    #[must_use]
    pub(crate) fn what(&self) -> String {
        let whom = self.name.as_ref().unwrap_or(&self.server);
        let whom = format::shortened(whom, 60);
        match &self.request {
            Some(request) if self.protocol.starts_with("http") => format!("{request} ({whom})"),
            Some(request) => format!("{request} to {whom}"),
            None => format!("connection to {whom}, opened ahead"),
        }
    }

    /// Its steps and loss recovery with their lengths, in order.
    #[must_use]
    pub(crate) fn parts(&self) -> Vec<(&str, f64)> {
        let own = |step: &ActionStep| step.ms - step.recovery_ms;
        let steps = self.steps.iter();
        let mut parts: Vec<_> = steps.map(|step| (&*step.step, own(step))).collect();
        let recovery: f64 = self.steps.iter().map(|step| step.recovery_ms).sum();
        parts.push(("recovery", recovery));
        parts.retain(|(_, ms)| *ms > 0.0);
        parts
    }

    /// `connect 3 s, server 12 ms`: the longest steps, at most three.
    #[must_use]
    pub(crate) fn in_words(&self) -> String {
        let mut parts = self.parts();
        parts.sort_by(|a, b| b.1.total_cmp(&a.1));
        let words = |(step, ms): &(&str, f64)| {
            let words = step_words(step);
            format!("{words} {}", format::duration(*ms))
        };
        let longest = parts.iter().take(3).map(words);
        longest.collect::<Vec<_>>().join(", ")
    }

    /// `3.02 s` or `at least 5 s`.
    #[must_use]
    pub(crate) fn took(&self) -> String {
        let least = if self.complete { "" } else { "at least " };
        format!("{least}{}", format::duration(self.total_ms))
    }
}
