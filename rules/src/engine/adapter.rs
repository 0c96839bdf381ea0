//! Runs one rule: keeps what it collects and turns that into drafts of findings.
//!
//! The one place where a rule's own types end: to the engine all rules are [`Running`].

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use analyzer::connection::Histogram;
use analyzer::static_name::{self, StaticName};
use analyzer::{Analysis, Connection, Endpoint, QualityKind};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use crate::engine::fold::{default_narrative, finding};
use crate::engine::kept::{Kept, Place};
use crate::engine::link::Draft;
use crate::model::context::Context;
use crate::model::finding::{Finding, Origin, RuleOutcome};
use crate::model::meta::RuleMeta;
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{
    Collected, HISTOGRAMS_PER_RULE, NOTES_PER_RULE, Note, OBSERVATIONS_PER_RULE, Observation,
    Observations,
};
use crate::model::occurrence::{Occurrence, Occurrences};
use crate::model::rule::Rule;
use crate::model::settings::RuleSettings;

/// Findings per rule, at about 10 kB each in a report: a scan of a network has a cause per address.
const FINDINGS_PER_RULE: usize = 1_000;

/// A selected rule, with what all sinks together keep for it.
pub(super) trait Running: Send + Sync {
    /// The declaration.
    fn meta(&self) -> &'static RuleMeta;

    /// Has the rule judge one connection; what it records is kept here and counted in `slot`. Gives
    /// in which of its stores something is kept of it.
    fn judge(&self, settings: &RuleSettings, conn: &Connection, slot: &mut Slot) -> InStores;

    /// Whether the rule would keep nothing of one connection.
    fn is_silent(&self, settings: &RuleSettings, conn: &Connection) -> bool;

    /// In which of its stores something of the connection that begins with this frame may be kept.
    fn may_keep(&self, first_frame: u64) -> InStores;

    /// Lets go of what is beyond the limits of its stores.
    fn trim(&self);

    /// Has the rule conclude from all that was kept.
    fn finish(&self, settings: &RuleSettings, analysis: &Analysis, slot: Slot) -> Finished;
}

/// The two stores of a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct InStores {
    pub(super) observations: bool,
    pub(super) notes: bool,
}

/// A rule and what is kept for it, in its own types.
pub(super) struct Adapter<R: Rule> {
    rule: &'static R,
    observations: Kept<Observation<R::Seen>>,
    notes: Kept<Note<R::Fact>>,
}

impl<R: Rule> Adapter<R> {
    pub(super) fn new(rule: &'static R) -> Self {
        Self {
            rule,
            observations: Kept::new(OBSERVATIONS_PER_RULE),
            notes: Kept::new(NOTES_PER_RULE),
        }
    }

    fn context<'a>(&self, settings: &'a RuleSettings) -> Context<'a> {
        Context {
            meta: self.rule.meta(),
            settings,
        }
    }
}

impl<R: Rule> Running for Adapter<R> {
    fn meta(&self) -> &'static RuleMeta {
        self.rule.meta()
    }

    fn judge(&self, settings: &RuleSettings, conn: &Connection, slot: &mut Slot) -> InStores {
        // Into a fresh place first: what a panicking call left behind is dropped with it.
        let place = Place::of(conn);
        let ctx = self.context(settings);
        let mut out = Observations::new(self.notes.is_beyond(place));
        let called = catch_unwind(AssertUnwindSafe(|| {
            self.rule.on_connection(conn, &ctx, &mut out);
        }));
        if let Err(panic) = called {
            slot.failed(conn.first_frame, panic_text(panic.as_ref()));
            return InStores::default();
        }
        match out.not_assessed {
            Some(reason) => *slot.not_assessed.entry(reason).or_default() += 1,
            None => slot.assessed += 1,
        }
        slot.notes += out.notes_counted;
        let mut kept = InStores::default();
        if out.is_empty() {
            return kept;
        }
        slot.observations += out.observations.len() as u64;
        for (ordinal, mut observation) in out.observations.into_iter().enumerate() {
            observation.quote_resets(&conn.resets);
            kept.observations |= self.observations.offer(place.nth(ordinal), observation);
        }
        slot.notes += out.notes.len() as u64;
        for (ordinal, note) in out.notes.into_iter().enumerate() {
            kept.notes |= self.notes.offer(place.nth(ordinal), note);
        }
        for (endpoint, histogram) in out.histograms {
            slot.add_durations(endpoint, &histogram);
        }
        kept
    }

    fn is_silent(&self, settings: &RuleSettings, conn: &Connection) -> bool {
        let mut out = Observations::new(false);
        self.rule
            .on_connection(conn, &self.context(settings), &mut out);
        out.is_empty() && out.not_assessed.is_none()
    }

    fn may_keep(&self, first_frame: u64) -> InStores {
        InStores {
            observations: self.observations.may_keep(first_frame),
            notes: self.notes.may_keep(first_frame),
        }
    }

    fn trim(&self) {
        self.observations.trim();
        self.notes.trim();
    }

    fn finish(&self, settings: &RuleSettings, analysis: &Analysis, mut slot: Slot) -> Finished {
        let mut collected = Collected {
            observations: self.observations.take(),
            notes: self.notes.take(),
            durations: std::mem::take(&mut slot.durations),
        };
        let observations = &mut collected.observations;
        observations.retain(|one| one.is_timed(analysis));
        let ctx = self.context(settings);
        let end = End {
            meta: ctx.meta,
            analysis,
        };
        let drafts = catch_unwind(AssertUnwindSafe(|| {
            self.rule.on_capture(analysis, &ctx, &mut collected);
            let (groups, causes) = groups(collected.observations);
            let notes = &collected.notes;
            let drafts = groups
                .into_iter()
                .map(|group| self.draft(&end, ctx, &group, notes));
            (drafts.collect(), causes)
        }));
        end.finished(slot, drafts.map_err(|panic| panic_text(panic.as_ref())))
    }
}

impl<R: Rule> Adapter<R> {
    /// The finding of the observations of one cause.
    fn draft(
        &self,
        end: &End<'_>,
        ctx: Context<'_>,
        observations: &[Observation<R::Seen>],
        notes: &[Note<R::Fact>],
    ) -> Draft {
        let common = Occurrences(observations.iter().map(|one| &one.occurrence).collect());
        let group = Group {
            meta: end.meta,
            observations,
            common: &common,
            notes,
            analysis: end.analysis,
            ctx,
        };
        let narrative = default_narrative(end.meta, &common);
        let narrative = self.rule.describe(&group, narrative);
        end.draft(&common, narrative)
    }
}

/// One rule's share of a sink: what is counted, while what is kept is shared.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Slot {
    /// Occurrences that were offered.
    observations: u64,
    /// Facts that were offered.
    notes: u64,
    durations: BTreeMap<Endpoint, Histogram>,
    pub(super) assessed: u64,
    #[serde(deserialize_with = "reasons")]
    pub(super) not_assessed: BTreeMap<StaticName, u64>,
    /// First connection on which the rule panicked, and what it said.
    failure: Option<(u64, String)>,
}

impl Slot {
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

    /// Adds what another sink counted.
    pub(super) fn merge(&mut self, other: Self) {
        self.observations += other.observations;
        self.notes += other.notes;
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

/// Reads how often connections were not assessed, by the reasons that rules give.
fn reasons<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<StaticName, u64>, D::Error> {
    let counts = BTreeMap::<String, u64>::deserialize(from)?;
    let known = counts.into_iter().map(|(reason, count)| {
        let reason = static_name::known(&reason);
        let reason = reason.ok_or_else(|| D::Error::custom("no reason of a rule"))?;
        Ok((reason, count))
    });
    known.collect()
}

/// What one rule says of the capture.
pub(super) struct Finished {
    pub(super) drafts: Vec<Draft>,
    pub(super) notices: Vec<String>,
    pub(super) outcome: RuleOutcome,
}

/// One rule at the end of the capture, without its own types: this is compiled once for all rules.
struct End<'a> {
    meta: &'static RuleMeta,
    analysis: &'a Analysis,
}

impl End<'_> {
    /// What the rule says: its findings and how many causes there were, or why it panicked.
    fn finished(&self, slot: Slot, drafts: Result<(Vec<Draft>, usize), String>) -> Finished {
        let meta = self.meta;
        let mut notices = Vec::new();
        let mut failure = slot.failure.map(|(frame, message)| {
            format!("failed on the connection that begins at frame {frame}: {message}")
        });
        if slot.observations > OBSERVATIONS_PER_RULE as u64 {
            notices.push(format!(
                "{}: {} occurrences; findings use the first {OBSERVATIONS_PER_RULE}",
                meta.id, slot.observations
            ));
        }
        if slot.notes > NOTES_PER_RULE as u64 {
            notices.push(format!(
                "{}: {} connections were compared with each other out of {}",
                meta.id, NOTES_PER_RULE, slot.notes
            ));
        }
        let (drafts, causes) = drafts.unwrap_or_else(|message| {
            failure = Some(format!("failed at the end of the capture: {message}"));
            (Vec::new(), 0)
        });
        if causes > FINDINGS_PER_RULE {
            notices.push(format!(
                "{}: {causes} causes; the {FINDINGS_PER_RULE} most severe and most frequent are findings",
                meta.id
            ));
        }
        if let Some(failure) = &failure {
            notices.push(format!("rule {}: {failure}", meta.id));
        }
        let not_assessed = slot.not_assessed.into_iter();
        let outcome = RuleOutcome {
            rule: meta.id,
            title: meta.title,
            origin: Origin::BuiltIn,
            assessed: slot.assessed,
            not_assessed: not_assessed
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

    /// The finding of one cause in the rule's words.
    fn draft(&self, occurrences: &Occurrences<'_>, narrative: Narrative) -> Draft {
        let connections = occurrences.worst_first();
        let mut finding = finding(
            self.meta,
            self.analysis,
            occurrences,
            narrative,
            &connections,
        );
        self.add_caveats(&occurrences.0, &mut finding);
        let mut times: Vec<_> = occurrences.0.iter().map(|one| one.at).collect();
        times.sort_unstable();
        Draft {
            connections: connections.iter().map(|one| one.first_frame).collect(),
            servers: occurrences.servers(),
            client_ips: occurrences.client_ips(),
            ended: occurrences.ended(),
            times,
            finding,
        }
    }

    /// Notes of the capture that cloud this rule, and what they cost in confidence.
    fn add_caveats(&self, occurrences: &[&Occurrence], finding: &mut Finding) {
        let touched = |limit: QualityKind| {
            let touched = occurrences.iter().filter(|one| one.limits.contains(&limit));
            touched.count()
        };
        let dropped = touched(QualityKind::CaptureDrops);
        let interfaces = &self.analysis.summary.interfaces;
        let host_dropped = interfaces.iter().any(|one| one.drops.unwrap_or(0) > 0);
        for note in &self.analysis.quality {
            let touches = match note.kind {
                // A host that dropped frames may have dropped those that are not there to be missed.
                QualityKind::CaptureDrops => dropped > 0 || host_dropped,
                QualityKind::ClockStep
                | QualityKind::CutShort
                | QualityKind::BadChecksum
                | QualityKind::Summed => true,
                kind => touched(kind) > 0,
            };
            if touches && self.meta.clouded_by.contains(&note.kind) {
                finding.caveats.push((note.kind, note.note.clone()));
            }
        }
        let is_clouded = self.meta.clouded_by.contains(&QualityKind::CaptureDrops);
        if dropped * 2 > occurrences.len() && is_clouded {
            // What rests on frames that may be missing is worth about a fifth less.
            finding.confidence *= 0.8;
            finding.confidence_reason.push_str(
                " It is lowered because the capture missed bytes of most of these connections.",
            );
        }
    }
}

/// The observations of each cause, the best example first, and how many causes there were.
fn groups<S>(observations: Vec<Observation<S>>) -> (Vec<Vec<Observation<S>>>, usize) {
    let common: Vec<_> = observations.iter().map(|one| &one.occurrence).collect();
    let (places, causes) = parted(&common);
    let mut observations: Vec<_> = observations.into_iter().map(Some).collect();
    let mut take = |at: usize| {
        let mut one = observations[at].take()?;
        one.sort_evidence();
        Some(one)
    };
    let groups = places.into_iter();
    let groups = groups.map(|places| places.into_iter().filter_map(&mut take).collect());
    (groups.collect(), causes)
}

/// The places of the occurrences of each cause, the best example first, and how many causes there
/// were: of more than [`FINDINGS_PER_RULE`] the gravest stay, then those that occurred most often, then
/// the earliest.
fn parted(occurrences: &[&Occurrence]) -> (Vec<Vec<usize>>, usize) {
    let mut groups = BTreeMap::<&str, Vec<usize>>::new();
    for (at, one) in occurrences.iter().enumerate() {
        groups.entry(&one.cause).or_default().push(at);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    let causes = groups.len();
    if causes > FINDINGS_PER_RULE {
        groups.sort_by_cached_key(|group| {
            let all = || group.iter().map(|at| occurrences[*at]);
            let gravest = all().map(|one| one.impact.severity()).max();
            let earliest = all().map(|one| one.connection.first_frame).min();
            (Reverse(gravest), Reverse(group.len()), earliest)
        });
        groups.truncate(FINDINGS_PER_RULE);
    }
    for group in &mut groups {
        group.sort_by(|a, b| {
            let (a, b) = (occurrences[*a], occurrences[*b]);
            let strength = |one: &Occurrence| (one.confidence * 20.0).round();
            strength(b)
                .total_cmp(&strength(a))
                .then(b.weight.total_cmp(&a.weight))
                .then(a.connection.first_frame.cmp(&b.connection.first_frame))
        });
    }
    (groups, causes)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
