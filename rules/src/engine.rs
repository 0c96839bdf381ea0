//! Runs the catalogue: hands connections to rules, counts what could not be judged, folds
//! observations into findings.
//!
//! Each shard owns a [`RuleSink`]; nothing is shared while connections end. Everything that
//! depends on order happens once, in [`Engine::finish`], on data ordered by frame numbers, so
//! the result is the same for any number of shards. A rule that panics loses that one call and
//! is reported; the others go on.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use analyzer::flow::Histogram;
use analyzer::pipeline::ConnectionSink;
use analyzer::{Analysis, Connection, Endpoint, QualityKind};
use rayon::prelude::*;

use crate::between;
use crate::catalog;
use crate::finding::{Assessment, Finding, RuleOutcome};
use crate::fold::{default_narrative, finding, worst_first};
use crate::kept::{Kept, Place};
use crate::link::{Draft, rank};
use crate::narrative::Group;
use crate::needs::{Fitness, Offer};
use crate::observation::{
    Collected, HISTOGRAMS_PER_RULE, NOTES_PER_RULE, Note, OBSERVATIONS_PER_RULE, Observation,
    Observations,
};
use crate::rule::{Context, Rule, RuleMeta};
use crate::settings::RuleSettings;

/// Findings per rule, at about 10 kB each in a report: a scan of a network has a cause per address.
const FINDINGS_PER_RULE: usize = 1_000;

/// The selected rules and their settings.
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    rules: Vec<&'static dyn Rule>,
    settings: RuleSettings,
    /// One a rule: what all sinks share.
    slots: Vec<Slot>,
}

impl Inner {
    fn context(&self, rule: &dyn Rule) -> Context<'_> {
        Context {
            meta: rule.meta(),
            settings: &self.settings,
        }
    }
}

impl Engine {
    /// An engine that runs the rules `settings` enable.
    #[must_use]
    pub fn new(settings: RuleSettings) -> Self {
        let enabled = |rule: &&'static dyn Rule| settings.is_enabled(rule.meta().id);
        let rules: Vec<_> = catalog::ALL.iter().copied().filter(enabled).collect();
        let slots = rules.iter().map(|_| Slot::new()).collect();
        Self {
            inner: Arc::new(Inner {
                rules,
                settings,
                slots,
            }),
        }
    }

    /// All rules there are for single captures, by id.
    #[must_use]
    pub fn catalogue() -> Vec<&'static RuleMeta> {
        catalog::ALL.iter().map(|rule| rule.meta()).collect()
    }

    /// All rules there are, those of comparisons included, by id.
    #[must_use]
    pub fn full_catalogue() -> Vec<&'static RuleMeta> {
        let mut all = Self::catalogue();
        all.extend(between::ALL);
        all.sort_by_key(|meta| meta.id);
        all
    }

    /// A sink for one shard.
    #[must_use]
    pub fn sink(&self) -> RuleSink {
        let slots = self.inner.slots.iter().map(Slot::share).collect();
        RuleSink {
            inner: Arc::clone(&self.inner),
            slots,
        }
    }

    /// Judges the capture as a whole from what the sinks saw, in whatever order they come; the
    /// rules side by side on the current rayon pool.
    #[must_use]
    pub fn finish(self, sinks: Vec<RuleSink>, analysis: &Analysis) -> Assessment {
        let mut slots: Vec<Slot> = self.inner.slots.iter().map(Slot::share).collect();
        for sink in sinks {
            slots
                .iter_mut()
                .zip(sink.slots)
                .for_each(|(slot, other)| slot.merge(other));
        }
        let runs = self.inner.rules.par_iter().zip(slots).map(|(rule, slot)| {
            let run = RuleRun {
                rule: *rule,
                ctx: self.inner.context(*rule),
                analysis,
            };
            run.finish(slot)
        });
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
        apply_ignores(
            &self.inner.settings,
            &today,
            &mut drafts,
            &mut assessment.notices,
        );
        for outcome in &mut assessment.outcomes {
            outcome.findings = drafts
                .iter()
                .filter(|draft| draft.finding.rule == outcome.rule)
                .count() as u64;
        }
        assessment.findings = rank(drafts);
        assessment
    }
}

/// What one shard's connections showed; see [`Engine::sink`].
pub struct RuleSink {
    inner: Arc<Inner>,
    slots: Vec<Slot>,
}

impl ConnectionSink for RuleSink {
    fn connection(&mut self, connection: &Connection) {
        let offer = Offer::of(connection);
        for (rule, slot) in self.inner.rules.iter().zip(&mut self.slots) {
            match offer.fitness(rule.meta().needs) {
                Fitness::NotApplicable => {}
                Fitness::NotAssessed(reason) => *slot.not_assessed.entry(reason).or_default() += 1,
                Fitness::Fit => slot.judge(*rule, self.inner.context(*rule), connection),
            }
        }
    }
}

/// One rule's share of a sink.
struct Slot {
    observations: Kept<Observation>,
    notes: Kept<Note>,
    durations: BTreeMap<Endpoint, Histogram>,
    assessed: u64,
    not_assessed: BTreeMap<&'static str, u64>,
    /// First connection on which the rule panicked, and what it said.
    failure: Option<(u64, String)>,
}

impl Slot {
    fn new() -> Self {
        Self {
            observations: Kept::new(OBSERVATIONS_PER_RULE),
            notes: Kept::new(NOTES_PER_RULE),
            durations: BTreeMap::new(),
            assessed: 0,
            not_assessed: BTreeMap::new(),
            failure: None,
        }
    }

    /// Counts for another shard; what is kept is shared.
    fn share(&self) -> Self {
        Self {
            observations: self.observations.share(),
            notes: self.notes.share(),
            durations: BTreeMap::new(),
            assessed: 0,
            not_assessed: BTreeMap::new(),
            failure: None,
        }
    }

    fn judge(&mut self, rule: &dyn Rule, ctx: Context<'_>, conn: &Connection) {
        // Into a fresh place first: what a panicking call left behind is dropped with it.
        let place = Place::of(conn);
        let mut out = Observations {
            counts_notes: self.notes.is_beyond(place),
            ..Observations::default()
        };
        let called = catch_unwind(AssertUnwindSafe(|| {
            rule.on_connection(conn, &ctx, &mut out)
        }));
        if let Err(panic) = called {
            self.failed(conn.first_frame, panic_text(panic.as_ref()));
            return;
        }
        match out.not_assessed {
            Some(reason) => *self.not_assessed.entry(reason).or_default() += 1,
            None => self.assessed += 1,
        }
        self.notes.seen += out.notes_counted;
        if out.is_empty() {
            return;
        }
        for (ordinal, observation) in out.observations.into_iter().enumerate() {
            self.observations.offer(place.nth(ordinal), observation);
        }
        for (ordinal, note) in out.notes.into_iter().enumerate() {
            self.notes.offer(place.nth(ordinal), note);
        }
        for (endpoint, histogram) in out.histograms {
            self.add_durations(endpoint, &histogram);
        }
    }

    /// Keeps the smallest endpoints: one that is dropped can never come back, so each that is
    /// kept is complete.
    fn add_durations(&mut self, endpoint: Endpoint, histogram: &Histogram) {
        self.durations.entry(endpoint).or_default().merge(histogram);
        if self.durations.len() > HISTOGRAMS_PER_RULE {
            self.durations.pop_last();
        }
    }

    fn failed(&mut self, frame: u64, message: String) {
        if self
            .failure
            .as_ref()
            .is_none_or(|(known, _)| frame < *known)
        {
            self.failure = Some((frame, message));
        }
    }

    fn merge(&mut self, other: Self) {
        self.observations.merge(&other.observations);
        self.notes.merge(&other.notes);
        for (endpoint, histogram) in &other.durations {
            self.add_durations(*endpoint, histogram);
        }
        self.assessed += other.assessed;
        for (reason, count) in other.not_assessed {
            *self.not_assessed.entry(reason).or_default() += count;
        }
        if let Some((frame, message)) = other.failure {
            self.failed(frame, message);
        }
    }
}

/// One rule at the end of the capture.
struct RuleRun<'a> {
    rule: &'static dyn Rule,
    ctx: Context<'a>,
    analysis: &'a Analysis,
}

/// What one rule says of the capture.
struct Finished {
    drafts: Vec<Draft>,
    notices: Vec<String>,
    outcome: RuleOutcome,
}

impl RuleRun<'_> {
    fn finish(&self, slot: Slot) -> Finished {
        let meta = self.rule.meta();
        let mut notices = Vec::new();
        let mut failure = slot.failure.map(|(frame, message)| {
            format!("failed on the connection that begins at frame {frame}: {message}")
        });
        if slot.observations.seen > OBSERVATIONS_PER_RULE as u64 {
            notices.push(format!(
                "{}: {} occurrences were seen; findings rest on the first {OBSERVATIONS_PER_RULE}",
                meta.id, slot.observations.seen
            ));
        }
        if slot.notes.seen > NOTES_PER_RULE as u64 {
            notices.push(format!(
                "{}: {} connections were compared with each other out of {}",
                meta.id, NOTES_PER_RULE, slot.notes.seen
            ));
        }
        let mut collected = Collected {
            observations: slot.observations.into_items(),
            notes: slot.notes.into_items(),
            durations: slot.durations,
        };
        let drafts = catch_unwind(AssertUnwindSafe(|| {
            self.rule
                .on_capture(self.analysis, &self.ctx, &mut collected);
            let (groups, causes) = groups(collected.observations);
            let drafts: Vec<Draft> = groups
                .into_iter()
                .map(|group| self.draft(group, &collected.notes))
                .collect();
            (drafts, causes)
        }));
        let (drafts, causes) = drafts.unwrap_or_else(|panic| {
            failure = Some(format!(
                "failed at the end of the capture: {}",
                panic_text(panic.as_ref())
            ));
            (Vec::new(), 0)
        });
        if causes > FINDINGS_PER_RULE {
            notices.push(format!(
                "{}: {causes} causes were found; the {FINDINGS_PER_RULE} gravest and most frequent are findings",
                meta.id
            ));
        }
        if let Some(failure) = &failure {
            notices.push(format!("rule {}: {failure}", meta.id));
        }
        let outcome = RuleOutcome {
            rule: meta.id,
            title: meta.title,
            assessed: slot.assessed,
            not_assessed: slot
                .not_assessed
                .into_iter()
                .map(|(reason, count)| (reason.to_owned(), count))
                .collect(),
            findings: 0,
            failure,
        };
        Finished {
            drafts,
            notices,
            outcome,
        }
    }

    fn draft(&self, mut observations: Vec<Observation>, notes: &[Note]) -> Draft {
        observations.sort_by(|a, b| {
            let strength = |one: &Observation| (one.confidence * 20.0).round();
            strength(b)
                .total_cmp(&strength(a))
                .then(b.weight.total_cmp(&a.weight))
                .then(a.connection.first_frame.cmp(&b.connection.first_frame))
        });
        for observation in &mut observations {
            observation
                .evidence
                .sort_by_key(|evidence| evidence.segment.frame);
        }
        let meta = self.rule.meta();
        let group = Group {
            meta,
            observations: &observations,
            notes,
            analysis: self.analysis,
            ctx: self.ctx,
        };
        let narrative = self.rule.describe(&group, default_narrative(&group));
        let connections = worst_first(&observations);
        let mut finding = finding(&group, narrative, &connections);
        self.add_caveats(&observations, &mut finding);
        let mut times: Vec<_> = observations.iter().map(|one| one.at).collect();
        times.sort_unstable();
        Draft {
            connections: connections.iter().map(|one| one.first_frame).collect(),
            servers: group.servers(),
            client_ips: group.client_ips(),
            times,
            finding,
        }
    }

    /// Notes of the capture that cloud this rule, and what they cost in confidence.
    fn add_caveats(&self, observations: &[Observation], finding: &mut Finding) {
        let touched = |limit: QualityKind| {
            let touched = observations
                .iter()
                .filter(|one| one.limits.contains(&limit));
            touched.count()
        };
        let dropped = touched(QualityKind::CaptureDrops);
        let interfaces = &self.analysis.summary.interfaces;
        let host_dropped = interfaces.iter().any(|one| one.drops.unwrap_or(0) > 0);
        for note in &self.analysis.quality {
            let touches = match note.kind {
                // A host that dropped frames may have dropped those that are not there to be missed.
                QualityKind::CaptureDrops => dropped > 0 || host_dropped,
                QualityKind::ClockStep | QualityKind::CutShort | QualityKind::Summed => true,
                kind => touched(kind) > 0,
            };
            if touches && self.rule.meta().clouded_by.contains(&note.kind) {
                finding.caveats.push((note.kind, note.note.clone()));
            }
        }
        if dropped * 2 > observations.len()
            && self
                .rule
                .meta()
                .clouded_by
                .contains(&QualityKind::CaptureDrops)
        {
            // What rests on frames that may be missing is worth about a fifth less.
            finding.confidence *= 0.8;
            finding.confidence_reason.push_str(
                " It is lowered because most of these connections have octets missing from the capture.",
            );
        }
    }
}

/// The occurrences of each cause, and how many causes there were: of more than
/// [`FINDINGS_PER_RULE`] the gravest stay, then those that occurred most often, then the earliest.
fn groups(observations: Vec<Observation>) -> (Vec<Vec<Observation>>, usize) {
    let mut groups = BTreeMap::<String, Vec<Observation>>::new();
    for observation in observations {
        groups
            .entry(observation.cause.clone())
            .or_default()
            .push(observation);
    }
    let mut groups: Vec<Vec<Observation>> = groups.into_values().collect();
    let causes = groups.len();
    if causes > FINDINGS_PER_RULE {
        groups.sort_by_cached_key(|group| {
            let gravest = group.iter().map(|one| one.severity).max();
            let earliest = group.iter().map(|one| one.connection.first_frame).min();
            (Reverse(gravest), Reverse(group.len()), earliest)
        });
        groups.truncate(FINDINGS_PER_RULE);
    }
    (groups, causes)
}

/// Drops accepted findings and says so; says also which entries did nothing.
fn apply_ignores(
    settings: &RuleSettings,
    today: &str,
    drafts: &mut Vec<Draft>,
    notices: &mut Vec<String>,
) {
    for entry in &settings.ignores {
        let whom = entry
            .server
            .as_ref()
            .map(|server| format!(" at {server}"))
            .unwrap_or_default();
        if entry.is_expired(today) {
            let day = entry.expires.as_deref().unwrap_or_default();
            notices.push(format!(
                "ignore entry for {}{whom} ended on {day} and is not applied",
                entry.rule
            ));
            continue;
        }
        let before = drafts.len();
        drafts.retain(|draft| !entry.matches(draft.finding.rule, &draft.servers));
        notices.push(match before - drafts.len() {
            0 => format!("ignore entry for {}{whom} matched no finding", entry.rule),
            hidden => format!(
                "{hidden} {} of {}{whom} not shown: {}",
                if hidden == 1 { "finding" } else { "findings" },
                entry.rule,
                entry.reason
            ),
        });
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
