//! How grave a finding is.

use serde::{Deserialize, Serialize};

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
