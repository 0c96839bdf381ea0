//! What a rule is: its declaration, and the three places where the engine calls it.
//!
//! The declaration is the only source: the catalogue page, `pcapdoc rules`, `pcapdoc explain`,
//! the names of figures and the configurable thresholds are all read from [`RuleMeta`]. A rule
//! holds no state, so one value serves every thread; what it saw goes into
//! [`Observations`], what it concludes into a [`Narrative`].

use analyzer::{Analysis, Connection, QualityKind};

use crate::figure::FigureSpec;
use crate::finding::Severity;
use crate::narrative::{Group, Narrative};
use crate::needs::Need;
use crate::observation::{Collected, Observations};
use crate::settings::RuleSettings;

/// A configurable limit of a rule. Its unit is the ending of its name.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ThresholdSpec {
    /// Name in `[rules.<id>]` of `pcapdoc.toml`.
    pub name: &'static str,
    /// Value unless configured.
    pub default: f64,
    /// What it limits and why the default is what it is.
    pub doc: &'static str,
}

/// Everything that is declared about a rule.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RuleMeta {
    /// Kebab-case name of the failing state.
    pub id: &'static str,
    /// One line, without final full stop.
    pub title: &'static str,
    /// The highest severity the rule gives.
    pub severity: Severity,
    /// What a connection must offer to be judged.
    pub needs: &'static [Need],
    /// Limits of a capture that cloud this rule's judgement.
    pub clouded_by: &'static [QualityKind],
    /// Figures every finding of the rule may bear.
    pub figures: &'static [FigureSpec],
    /// Configurable limits.
    pub thresholds: &'static [ThresholdSpec],
    /// The doc comment of the declaration, line by line, in Markdown.
    pub doc_lines: &'static [&'static str],
}

impl RuleMeta {
    /// The doc comment as one Markdown text.
    #[must_use]
    pub fn docs(&self) -> String {
        let lines: Vec<&str> = self
            .doc_lines
            .iter()
            .map(|line| line.strip_prefix(' ').unwrap_or(line))
            .collect();
        lines.join("\n").trim().to_owned()
    }

    /// The first line of the doc comment: what the rule finds, in a sentence.
    #[must_use]
    pub fn summary(&self) -> String {
        self.docs().lines().next().unwrap_or_default().to_owned()
    }

    /// The text under `## heading`, or nothing when there is no such section.
    #[must_use]
    pub fn section(&self, heading: &str) -> String {
        let docs = self.docs();
        let mut inside = false;
        let mut text = Vec::new();
        for line in docs.lines() {
            if let Some(title) = line.strip_prefix("## ") {
                inside = title.trim() == heading;
            } else if inside {
                text.push(line);
            }
        }
        text.join("\n").trim().to_owned()
    }
}

/// The sections every rule's documentation has, in order.
pub const DOC_SECTIONS: [&str; 6] = [
    "What it means",
    "Why it matters",
    "How it is detected",
    "What to do",
    "Known limits",
    "References",
];

/// What a rule may ask about the configuration while it judges.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub(crate) meta: &'static RuleMeta,
    pub(crate) settings: &'a RuleSettings,
}

impl<'a> Context<'a> {
    /// The value in force of one of the rule's declared thresholds.
    ///
    /// # Panics
    /// When the rule did not declare it, which the habits test rules out.
    #[must_use]
    pub fn threshold(&self, name: &str) -> f64 {
        let spec = self.meta.thresholds.iter().find(|spec| spec.name == name);
        let spec = spec.expect("a rule reads only thresholds it declares");
        self.settings
            .threshold(self.meta.id, name)
            .unwrap_or(spec.default)
    }

    /// All settings.
    #[must_use]
    pub fn settings(&self) -> &'a RuleSettings {
        self.settings
    }
}

/// One failing state and how it is recognised.
pub trait Rule: Sync {
    /// The declaration.
    fn meta(&self) -> &'static RuleMeta;

    /// Called once per finished connection that satisfies the rule's needs, on any thread and in
    /// any order; nothing may be concluded here from other connections.
    fn on_connection(&self, _conn: &Connection, _ctx: &Context<'_>, _out: &mut Observations) {}

    /// Called once at the end with everything the rule collected, ordered by first frame. May
    /// drop, add, adjust or regroup (by [`crate::observation::Observation::cause`]) observations.
    fn on_capture(&self, _analysis: &Analysis, _ctx: &Context<'_>, _collected: &mut Collected) {}

    /// Words and judgement for one group of observations that share a cause. `draft` holds the
    /// engine's defaults: the declared title, the highest severity and the typical confidence
    /// of the observations.
    fn describe(&self, group: &Group<'_>, draft: Narrative) -> Narrative;
}

/// Declares a rule: a unit struct with its [`RuleMeta`], read from a doc comment and a few lines.
macro_rules! declare_rule {
    (
        $(#[doc = $doc:expr])+
        pub(crate) struct $name:ident {
            id: $id:literal,
            title: $title:literal,
            severity: $severity:ident,
            needs: [$($need:ident),* $(,)?],
            clouded_by: [$($quality:ident),* $(,)?],
            figures: [$($figure:ident: $unit:ident / $fold:ident),* $(,)?],
            thresholds: [$($threshold:ident = $default:literal: $about:literal),* $(,)?] $(,)?
        }
    ) => {
        $(#[doc = $doc])+
        pub(crate) struct $name;

        impl $name {
            /// The declaration.
            pub(crate) const META: $crate::rule::RuleMeta = $crate::rule::RuleMeta {
                id: $id,
                title: $title,
                severity: $crate::finding::Severity::$severity,
                needs: &[$($crate::needs::Need::$need),*],
                clouded_by: &[$(::analyzer::QualityKind::$quality),*],
                figures: &[$($crate::figure::FigureSpec {
                    name: stringify!($figure),
                    unit: $crate::figure::Unit::$unit,
                    fold: $crate::figure::Fold::$fold,
                }),*],
                thresholds: &[$($crate::rule::ThresholdSpec {
                    name: stringify!($threshold),
                    default: $default,
                    doc: $about,
                }),*],
                doc_lines: &[$($doc),+],
            };
        }
    };
}
pub(crate) use declare_rule;
