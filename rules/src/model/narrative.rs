//! The words and the judgement of one finding, and the group of observations they speak of.

use std::collections::BTreeSet;
use std::net::IpAddr;

use analyzer::{Analysis, Endpoint, Timestamp};

use crate::model::context::Context;
use crate::model::figure::{Relation, Spread, spread};
use crate::model::finding::{HostCommand, LookAlike, Remedy};
use crate::model::impact::Impact;
use crate::model::meta::RuleMeta;
use crate::model::observation::{Note, Observation};
use crate::model::occurrence::Occurrences;
use crate::model::severity::Severity;
use crate::model::timeouts::Wait;
use crate::model::waits::Waits;

/// Observations of one rule with one cause, best example first.
pub struct Group<'a, S = (), F = ()> {
    /// The rule's declaration.
    pub meta: &'static RuleMeta,
    /// The observations, the best example first; never empty.
    pub observations: &'a [Observation<S>],
    /// What they have in common with those of all rules, in the same order.
    pub common: &'a Occurrences<'a>,
    /// Everything the rule noted on any connection, by first frame.
    pub notes: &'a [Note<F>],
    /// The capture as a whole.
    pub analysis: &'a Analysis,
    /// Thresholds and settings.
    pub ctx: Context<'a>,
}

impl<S, F> Group<'_, S, F> {
    /// How many times it happened.
    #[must_use]
    pub fn occurrences(&self) -> u64 {
        self.common.count()
    }

    /// What all observations together did to somebody; failed attempts are those of the client that
    /// failed most often.
    #[must_use]
    pub fn impact(&self) -> Impact {
        self.common.impact()
    }

    /// The best example.
    #[must_use]
    pub fn best(&self) -> &Observation<S> {
        &self.observations[0]
    }

    /// The server of the best example.
    #[must_use]
    pub fn server(&self) -> Endpoint {
        self.common.best().connection.server
    }

    /// The client of the best example.
    #[must_use]
    pub fn client(&self) -> Endpoint {
        self.common.best().connection.client
    }

    /// Distinct connections.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.common.connections()
    }

    /// Distinct client addresses.
    #[must_use]
    pub fn client_ips(&self) -> BTreeSet<IpAddr> {
        self.common.client_ips()
    }

    /// Distinct servers.
    #[must_use]
    pub fn servers(&self) -> BTreeSet<Endpoint> {
        self.common.servers()
    }

    /// Who the clients are, in words: one address, or their number.
    #[must_use]
    pub fn clients_text(&self) -> String {
        let ips = self.client_ips();
        match ips.first() {
            Some(ip) if ips.len() == 1 => ip.to_string(),
            _ => format!("{} clients", ips.len()),
        }
    }

    /// First and last time it showed.
    #[must_use]
    pub fn time_span(&self) -> (Timestamp, Timestamp) {
        self.common.time_span()
    }

    /// A declared figure as a number, as the finding will bear it.
    #[must_use]
    pub fn figure(&self, name: &str) -> Option<f64> {
        self.common.figure(self.meta, name)
    }

    /// What was seen, the best example first.
    pub fn seen(&self) -> impl Iterator<Item = &S> {
        self.observations.iter().map(|one| &one.seen)
    }

    /// How many observations are of that kind.
    #[must_use]
    pub fn having(&self, is_so: impl Fn(&S) -> bool) -> u64 {
        self.seen().filter(|seen| is_so(seen)).count() as u64
    }

    /// Count, extremes and median of what is known of the observations.
    #[must_use]
    pub fn spread(&self, value: impl Fn(&S) -> Option<f64>) -> Option<Spread> {
        spread(&mut self.seen().filter_map(value).collect::<Vec<_>>())
    }
}

/// What a rule says about a group.
#[derive(Clone, PartialEq, Debug)]
pub struct Narrative {
    /// One line, without final full stop.
    pub title: String,
    /// Two to four sentences with this capture's numbers.
    pub summary: String,
    /// Harm.
    pub severity: Severity,
    /// How sure, 0–1.
    pub confidence: f64,
    /// Why the confidence is what it is, one sentence.
    pub confidence_reason: String,
    /// Facts, strongest first.
    pub why: Vec<String>,
    /// What it is not, and why.
    pub look_alikes: Vec<LookAlike>,
    /// What to change.
    pub remedy: Vec<Remedy>,
    /// How to verify.
    pub host_commands: Vec<HostCommand>,
    /// Display filter; the engine makes one from the examples when `None`.
    pub filter: Option<String>,
    /// How long each side waited before it closed, where timeouts are the matter.
    pub timeouts: Vec<Waits>,
    /// How one measure goes with another, where that is the matter.
    pub relation: Option<Relation>,
}

impl Narrative {
    /// Adds a fact.
    #[must_use]
    pub fn because(mut self, fact: impl Into<String>) -> Self {
        self.why.push(sentence(fact));
        self
    }

    /// Adds a fact when it holds.
    #[must_use]
    pub fn because_if(self, holds: bool, fact: impl FnOnce() -> String) -> Self {
        if holds { self.because(fact()) } else { self }
    }

    /// Adds a confusable and what speaks against it.
    #[must_use]
    pub fn not(mut self, name: impl Into<String>, why_not: impl Into<String>) -> Self {
        self.look_alikes.push(LookAlike {
            name: name.into(),
            why_not: sentence(why_not),
        });
        self
    }

    /// Adds advice without a setting.
    #[must_use]
    pub fn advise(mut self, product: &str, text: impl Into<String>) -> Self {
        let (product, text) = (product.to_owned(), sentence(text));
        self.remedy.push(Remedy {
            product,
            text,
            setting: None,
        });
        self
    }

    /// Adds advice with the setting to write.
    #[must_use]
    pub fn set(
        mut self,
        product: &str,
        text: impl Into<String>,
        setting: impl Into<String>,
    ) -> Self {
        let (product, text) = (product.to_owned(), sentence(text));
        self.remedy.push(Remedy {
            product,
            text,
            setting: Some(setting.into()),
        });
        self
    }

    /// Adds a command that confirms.
    #[must_use]
    pub fn verify(
        mut self,
        host: &str,
        command: impl Into<String>,
        tells: impl Into<String>,
    ) -> Self {
        self.host_commands.push(HostCommand {
            host: host.to_owned(),
            command: command.into(),
            tells: sentence(tells),
        });
        self
    }

    /// Adds the waits of one kind, from which timers are inferred.
    #[must_use]
    pub fn waits(mut self, wait: Wait, values_ms: Vec<f64>) -> Self {
        self.timeouts.extend(Waits::new(wait, values_ms));
        self
    }

    /// How one measure goes with another.
    #[must_use]
    pub fn relation(mut self, relation: &Relation) -> Self {
        self.relation = Some(relation.clone());
        self
    }

    /// The one line.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// What happened here.
    #[must_use]
    pub fn summary(mut self, summary: impl Into<String>) -> Self {
        self.summary = summary.into();
        self
    }

    /// Sets the harm by what it did, where that is not the sum over the observations (waits that
    /// overlap, say); never above what the rule declares.
    #[must_use]
    pub fn impact(mut self, meta: &RuleMeta, impact: Impact) -> Self {
        self.severity = impact.severity().min(meta.severity);
        self
    }

    /// Sets how sure, and why.
    #[must_use]
    pub fn confidence(mut self, confidence: f64, reason: impl Into<String>) -> Self {
        self.confidence = confidence.clamp(0.0, 0.99);
        self.confidence_reason = reason.into();
        self
    }
}

/// A capital letter at its beginning and a full stop at its end; names of settings stay as they are.
fn sentence(text: impl Into<String>) -> String {
    let mut text = text.into();
    let first = text.split(' ').next().unwrap_or_default();
    let is_name = first.contains(|character: char| !character.is_alphabetic() && character != ',')
        && !first.contains('-')
        || first.chars().skip(1).any(char::is_uppercase);
    if !is_name && let Some(letter) = text.chars().next() {
        text.replace_range(..letter.len_utf8(), &letter.to_uppercase().to_string());
    }
    if !text.is_empty() && !text.ends_with(['.', '!', '?', ':', '"', ';']) {
        text.push('.');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::sentence;

    #[test]
    fn sentences_begin_and_end_as_such() {
        assert_eq!(sentence("raise it (60 s)"), "Raise it (60 s).");
        assert_eq!(sentence("request-wise retry"), "Request-wise retry.");
        assert_eq!(sentence("tcp_fin_timeout is 60"), "tcp_fin_timeout is 60.");
        assert_eq!(sentence("nginx.conf has it."), "nginx.conf has it.");
        assert_eq!(sentence("pH of"), "pH of.");
        assert_eq!(sentence(""), "");
    }
}
