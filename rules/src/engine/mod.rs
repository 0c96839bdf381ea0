//! Runs the catalogue: passes connections to rules, counts what could not be judged, folds
//! observations into findings.
//!
//! Each shard owns a [`RuleSink`]; nothing is shared while connections end. Everything that
//! depends on order happens once, in [`Engine::finish`], on data ordered by frame numbers, so
//! the result is the same for any number of shards. A rule that panics loses that one call and
//! is reported; the others go on.

mod adapter;
mod fold;
mod kept;
mod link;
mod owners;
pub mod settings;

use std::sync::Arc;

use analyzer::pipeline::ConnectionSink;
use analyzer::{Analysis, Connection};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::between;
use crate::catalog;
use crate::engine::adapter::{Adapter, InStores, Running, Slot};
use crate::engine::link::{Draft, rank, without_weaker};
use crate::host;
use crate::model::finding::Assessment;
use crate::model::meta::RuleMeta;
use crate::model::needs::{Fitness, NeedSet, Offer};
use crate::model::rule::{Rule, RuleVisitor};
use crate::model::settings::{IgnoreEntry, RuleSettings};
use crate::model::traits::Traits;
use crate::own;

/// The selected rules and their settings.
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    rules: Vec<Box<dyn Running>>,
    /// Of each rule, in the same order.
    gates: Vec<Gate>,
    /// Rules of the user's own.
    own: Vec<own::Running>,
    settings: RuleSettings,
}

/// What decides whether a rule is asked about a connection, without a call of the rule.
struct Gate {
    needs: NeedSet,
    traits: Traits,
}

impl Gate {
    fn of(meta: &RuleMeta) -> Self {
        Self {
            needs: NeedSet::of(meta.needs),
            traits: meta.traits,
        }
    }
}

/// Starts the rules that the settings enable.
struct Starter<'a> {
    settings: &'a RuleSettings,
    rules: Vec<Box<dyn Running>>,
}

impl RuleVisitor for Starter<'_> {
    fn visit<R: Rule>(&mut self, rule: &'static R) {
        if self.settings.is_enabled(rule.meta().id) {
            self.rules.push(Box::new(Adapter::new(rule)));
        }
    }
}

impl Engine {
    /// An engine that runs the rules `settings` enable.
    #[must_use]
    pub fn new(settings: RuleSettings) -> Self {
        let mut starter = Starter {
            settings: &settings,
            rules: Vec::new(),
        };
        catalog::visit(&mut starter);
        let rules = starter.rules;
        let gates = rules.iter().map(|rule| Gate::of(rule.meta())).collect();
        let own = settings
            .own
            .iter()
            .filter(|rule| settings.is_enabled(rule.id));
        let own = own
            .map(|rule| own::Running::new(Arc::clone(rule)))
            .collect();
        Self {
            inner: Arc::new(Inner {
                rules,
                gates,
                own,
                settings,
            }),
        }
    }

    /// The same engine once more: what both keep is kept together.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }

    /// All rules there are for single captures, by id.
    #[must_use]
    pub fn catalogue() -> Vec<&'static RuleMeta> {
        catalog::metas()
    }

    /// All rules there are, those of comparisons included, by id.
    #[must_use]
    pub fn full_catalogue() -> Vec<&'static RuleMeta> {
        let mut all = Self::catalogue();
        all.extend(between::ALL);
        all.extend(host::ALL);
        all.sort_by_key(|meta| meta.id);
        all
    }

    /// A sink for one shard.
    #[must_use]
    pub fn sink(&self) -> RuleSink {
        let slots = self.inner.rules.iter().map(|_| Slot::default()).collect();
        RuleSink {
            inner: Arc::clone(&self.inner),
            slots,
        }
    }

    /// Which of the stores that kept something of the connection that begins with this frame may still
    /// keep it.
    #[must_use]
    pub fn still_kept(&self, first_frame: u64, stores: &Stores) -> Stores {
        let stores = stores.0.iter().copied();
        let kept = stores.filter(|store| {
            let rule = self.inner.rules.get(usize::from(store / 2));
            let may_keep = rule
                .map(|rule| rule.may_keep(first_frame))
                .unwrap_or_default();
            if store % 2 == 0 {
                may_keep.observations
            } else {
                may_keep.notes
            }
        });
        Stores(kept.collect())
    }

    /// Lets go of what is beyond what rules keep.
    pub fn trim(&self) {
        for rule in &self.inner.rules {
            rule.trim();
        }
    }

    /// A sink that has counted what another engine's has; `None` when that ran other rules.
    #[must_use]
    pub fn sink_of(&self, RuleCounts(counts): RuleCounts) -> Option<RuleSink> {
        let ids = self.inner.rules.iter().map(|rule| rule.meta().id);
        if !ids.eq(counts.iter().map(|(id, _)| id.as_str())) {
            return None;
        }
        Some(RuleSink {
            inner: Arc::clone(&self.inner),
            slots: counts.into_iter().map(|(_, slot)| slot).collect(),
        })
    }

    /// Whether rules of the user's own look at connections. What they keep cannot be passed on.
    #[must_use]
    pub fn has_own_of_connections(&self) -> bool {
        let (of_rows, _) = self.own();
        !of_rows.is_empty()
    }

    /// Rules that are not asked about a connection because of its traits, and would have something to
    /// say: none, unless a rule declares too few.
    #[must_use]
    pub fn wrongly_skipped(&self, connection: &Connection) -> Vec<&'static str> {
        let (offer, traits) = (Offer::of(connection), Traits::of(connection));
        let rules = self.inner.rules.iter().filter(|rule| {
            let meta = rule.meta();
            offer.fitness(meta.needs) == Fitness::Fit
                && !meta.traits.meet(traits)
                && !rule.is_silent(&self.inner.settings, connection)
        });
        rules.map(|rule| rule.meta().id).collect()
    }

    /// Judges the capture as a whole from what the sinks saw, in whatever order they come; the
    /// rules side by side on the current rayon pool.
    #[must_use]
    pub fn finish(self, sinks: Vec<RuleSink>, analysis: &Analysis) -> Assessment {
        let slots = self.inner.rules.iter().map(|_| Slot::default());
        let mut slots: Vec<Slot> = slots.collect();
        for sink in sinks {
            slots
                .iter_mut()
                .zip(sink.slots)
                .for_each(|(slot, other)| slot.merge(other));
        }
        let settings = &self.inner.settings;
        let rules = self.inner.rules.par_iter().zip(slots);
        let runs = rules.map(|(rule, slot)| rule.finish(settings, analysis, slot));
        let mut assessment = Assessment::default();
        let mut drafts = Vec::new();
        for finished in runs.collect::<Vec<_>>() {
            drafts.extend(finished.drafts);
            assessment.notices.extend(finished.notices);
            assessment.outcomes.push(finished.outcome);
        }
        let today = analysis
            .summary
            .last
            .map(|last| last.rfc3339())
            .unwrap_or_default();
        let mut accepted = Accepted::new(settings, &today);
        let (of_rows, of_findings) = self.own();
        for own in of_rows {
            drafts.extend(conclude(own, &mut assessment));
        }
        accepted.hide(&mut drafts);
        let covered = without_weaker(&mut drafts);
        drafts = rank(drafts);
        let mut later = Vec::new();
        for own in of_findings {
            drafts.iter().for_each(|draft| own.finding(&draft.finding));
            later.extend(conclude(own, &mut assessment));
        }
        accepted.hide(&mut later);
        if !later.is_empty() {
            drafts.append(&mut later);
            drafts = rank(drafts);
        }
        assessment.notices.extend(accepted.notices());
        assessment.outcomes.sort_by_key(|outcome| outcome.rule);
        for outcome in &mut assessment.outcomes {
            // What another finding says better was found all the same.
            let found = drafts.iter().map(|draft| draft.finding.rule);
            let found = found.chain(covered.iter().copied());
            outcome.findings = found.filter(|rule| *rule == outcome.rule).count() as u64;
        }
        let findings = drafts.into_iter();
        let summary = &analysis.summary;
        assessment.findings = findings.map(|draft| draft.dated(summary)).collect();
        assessment
    }

    /// The user's own rules about rows, and those about findings, which come after all others.
    fn own(&self) -> (Vec<&own::Running>, Vec<&own::Running>) {
        let is_of_findings = |own: &&own::Running| own.rule.on == own::Source::Findings;
        let (of_findings, of_rows) = self.inner.own.iter().partition(is_of_findings);
        (of_rows, of_findings)
    }
}

/// The findings of a rule of the user's own; what it did is added to `assessment`.
fn conclude(own: &own::Running, assessment: &mut Assessment) -> Vec<Draft> {
    let (concluded, notices, outcome) = own.conclude();
    assessment.notices.extend(notices);
    assessment.outcomes.push(outcome);
    concluded.into_iter().map(Draft::from).collect()
}

/// What one shard's connections showed; see [`Engine::sink`].
pub struct RuleSink {
    inner: Arc<Inner>,
    slots: Vec<Slot>,
}

impl ConnectionSink for RuleSink {
    fn connection(&mut self, connection: &Connection) {
        self.masked(connection, connection);
    }
}

impl RuleSink {
    /// Takes a connection whose names are masked in what is shown of it. The conditions of the
    /// user's own rules speak of the true names.
    pub fn masked(&mut self, truly: &Connection, connection: &Connection) {
        self.judge(connection, |_, _| {});
        for own in &self.inner.own {
            own.connection(truly, connection);
        }
    }

    /// Takes a connection, and gives the stores in which something of it is kept. Another engine keeps
    /// the same when it is handed the connection [`again`](Self::again).
    pub fn noting(&mut self, connection: &Connection) -> Stores {
        let mut stores = Vec::new();
        self.judge(connection, |rule, kept| {
            let first = u16::try_from(rule * 2).unwrap_or(u16::MAX - 1);
            stores.extend(kept.observations.then_some(first));
            stores.extend(kept.notes.then_some(first + 1));
        });
        Stores(stores)
    }

    /// Has the rules of these stores take a connection that another engine's took. What this sink counts
    /// is then counted twice: drop it.
    pub fn again(&mut self, connection: &Connection, stores: &Stores) {
        let mut before = None;
        for rule in stores.0.iter().map(|store| usize::from(store / 2)) {
            if before.replace(rule) == Some(rule) {
                continue;
            }
            if let (Some(rule), Some(slot)) = (self.inner.rules.get(rule), self.slots.get_mut(rule))
            {
                rule.judge(&self.inner.settings, connection, slot);
            }
        }
    }

    fn judge(&mut self, connection: &Connection, mut keeps: impl FnMut(usize, InStores)) {
        let (offer, traits) = (Offer::of(connection), Traits::of(connection));
        let inner = &*self.inner;
        let gated = inner.rules.iter().zip(&inner.gates).enumerate();
        for ((at, (rule, gate)), slot) in gated.zip(&mut self.slots) {
            if !offer.meets(gate.needs) {
                if let Fitness::NotAssessed(reason) = offer.fitness(rule.meta().needs) {
                    *slot.not_assessed.entry(reason).or_default() += 1;
                }
            } else if gate.traits.meet(traits) {
                keeps(at, rule.judge(&inner.settings, connection, slot));
            } else {
                slot.assessed += 1;
            }
        }
    }
}

/// Places in which rules keep something of a connection, ascending: two for each rule.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Stores(Vec<u16>);

impl Stores {
    /// Nothing is kept.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What one sink counted. What is kept of single connections is not in it: another engine keeps the
/// same when it is given these connections again ([`RuleSink::again`]).
#[derive(Debug, Serialize, Deserialize)]
pub struct RuleCounts(Vec<(String, Slot)>);

impl RuleSink {
    /// What it counted, by rule.
    #[must_use]
    pub fn into_counts(self) -> RuleCounts {
        let ids = self
            .inner
            .rules
            .iter()
            .map(|rule| rule.meta().id.to_owned());
        RuleCounts(ids.zip(self.slots).collect())
    }
}

/// The entries of findings that are accepted, and how many findings each has hidden.
struct Accepted<'a> {
    entries: Vec<(&'a IgnoreEntry, usize)>,
    today: &'a str,
}

impl<'a> Accepted<'a> {
    fn new(settings: &'a RuleSettings, today: &'a str) -> Self {
        let entries = settings.ignores.iter().map(|entry| (entry, 0));
        Self {
            entries: entries.collect(),
            today,
        }
    }

    /// Drops accepted findings.
    fn hide(&mut self, drafts: &mut Vec<Draft>) {
        for (entry, hidden) in &mut self.entries {
            if entry.is_expired(self.today) {
                continue;
            }
            let before = drafts.len();
            drafts.retain(|draft| !entry.matches(draft.finding.rule, &draft.servers));
            *hidden += before - drafts.len();
        }
    }

    /// Says what was hidden, and which entries did nothing.
    fn notices(&self) -> impl Iterator<Item = String> {
        self.entries.iter().map(|(entry, hidden)| {
            let server = entry.server.as_ref();
            let whom = server.map(|server| format!(" at {server}"));
            let whom = whom.unwrap_or_default();
            let rule = &entry.rule;
            if entry.is_expired(self.today) {
                let day = entry.expires.as_deref().unwrap_or_default();
                return format!("ignore entry for {rule}{whom} ended on {day} and is not applied");
            }
            match hidden {
                0 => format!("ignore entry for {rule}{whom} matched no finding"),
                hidden => format!(
                    "{hidden} {} of {rule}{whom} not shown: {}",
                    if *hidden == 1 { "finding" } else { "findings" },
                    entry.reason
                ),
            }
        })
    }
}

#[cfg(test)]
mod tests;
