//! Which rules run, with which limits, and what is known beforehand about the network.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use analyzer::Endpoint;

use crate::own::OwnRule;

/// Findings not to report, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IgnoreEntry {
    /// Rule id, or a prefix followed by `*`.
    pub rule: String,
    /// Server address, or address and port; any server when `None`.
    pub server: Option<String>,
    /// Why it is known and accepted.
    pub reason: String,
    /// Day (`2026-12-31`) until which the entry holds, by capture time.
    pub expires: Option<String>,
}

impl IgnoreEntry {
    /// Whether the entry speaks of this rule and one of these servers.
    #[must_use]
    pub fn matches(&self, rule: &str, servers: &BTreeSet<Endpoint>) -> bool {
        let server_matches = match &self.server {
            None => true,
            Some(text) => servers
                .iter()
                .any(|server| server.to_string() == *text || server.ip.to_string() == *text),
        };
        pattern_matches(&self.rule, rule) && server_matches
    }

    /// Whether the entry has run out on the day of `now` (RFC 3339 text).
    #[must_use]
    pub fn is_expired(&self, now: &str) -> bool {
        self.expires
            .as_deref()
            .is_some_and(|day| now.get(..10).is_some_and(|today| today > day))
    }
}

/// Resolved settings of the rules.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RuleSettings {
    pub(crate) selected: Option<BTreeSet<&'static str>>,
    pub(crate) ignored: BTreeSet<&'static str>,
    pub(crate) thresholds: BTreeMap<(&'static str, &'static str), f64>,
    /// Rules of the user's own.
    pub own: Vec<Arc<OwnRule>>,
    /// Accepted findings.
    pub ignores: Vec<IgnoreEntry>,
    /// Known receive buffers of UDP servers, by port, in octets.
    pub udp_recv_buffers: BTreeMap<u16, u32>,
    /// Known framings of TCP streams, by port, as `--framing` writes them. Rules do not read
    /// them; they are parsed here because they stand in the same file.
    pub framings: BTreeMap<u16, String>,
}

impl RuleSettings {
    /// Whether a rule runs.
    #[must_use]
    pub fn is_enabled(&self, rule: &str) -> bool {
        self.selected
            .as_ref()
            .is_none_or(|selected| selected.contains(rule))
            && !self.ignored.contains(rule)
    }

    /// A configured threshold; `None` when the default holds.
    #[must_use]
    pub fn threshold(&self, rule: &str, name: &str) -> Option<f64> {
        self.thresholds
            .iter()
            .find(|((known_rule, known), _)| *known_rule == rule && *known == name)
            .map(|(_, value)| *value)
    }
}

/// Whether `pattern`, an id or a prefix followed by `*`, fits the rule `id`.
pub(crate) fn pattern_matches(pattern: &str, id: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => id.starts_with(prefix),
        None => pattern == id,
    }
}
