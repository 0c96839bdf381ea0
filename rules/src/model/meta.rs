//! What is declared about a rule.
//!
//! The declaration is the only source: the catalogue page, `pcapdoc rules`, `pcapdoc explain`,
//! the names of figures and the configurable thresholds are all read from [`RuleMeta`].

use std::collections::BTreeMap;

use analyzer::QualityKind;

use crate::model::ask::Ask;
use crate::model::figure::FigureSpec;
use crate::model::needs::Need;
use crate::model::severity::Severity;
use crate::model::traits::Traits;

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

/// Where in the life of a connection, or of a service, a rule's state belongs: the catalogue's
/// order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RuleGroup {
    /// Opening a connection.
    ConnectionPhase,
    /// What the path does to packets, and what that costs.
    LossAndPath,
    /// How and when connections end.
    Closing,
    /// How programs use their connections.
    Application,
    /// What servers and their protocols say.
    Services,
    /// Datagrams, and IP below them.
    UdpAndIp,
    /// What only captures of several points show.
    Comparison,
}

impl RuleGroup {
    /// The heading in catalogues.
    #[must_use]
    pub const fn heading(self) -> &'static str {
        match self {
            Self::ConnectionPhase => "Connection phase",
            Self::LossAndPath => "Loss and path",
            Self::Closing => "Closing",
            Self::Application => "Application",
            Self::Services => "Services",
            Self::UdpAndIp => "UDP and IP",
            Self::Comparison => "Several capture points",
        }
    }
}

/// The declarations by group, in the groups' order; those of a group keep theirs.
#[must_use]
pub fn grouped<'a>(metas: &[&'a RuleMeta]) -> Vec<(RuleGroup, Vec<&'a RuleMeta>)> {
    let mut groups = BTreeMap::<RuleGroup, Vec<&RuleMeta>>::new();
    for &meta in metas {
        groups.entry(meta.group).or_default().push(meta);
    }
    groups.into_iter().collect()
}

/// Everything that is declared about a rule.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RuleMeta {
    /// Kebab-case name of the failing state.
    pub id: &'static str,
    /// Where it belongs in the catalogue.
    pub group: RuleGroup,
    /// One line, without final full stop.
    pub title: &'static str,
    /// The highest severity the rule gives.
    pub severity: Severity,
    /// What a connection must offer to be judged.
    pub needs: &'static [Need],
    /// What a connection must show for the rule to have anything to say: one of these at least.
    pub traits: Traits,
    /// Limits of a capture that cloud this rule's judgement.
    pub clouded_by: &'static [QualityKind],
    /// Figures every finding of the rule may bear.
    pub figures: &'static [FigureSpec],
    /// Configurable limits.
    pub thresholds: &'static [ThresholdSpec],
    /// What host evidence can show about its findings.
    pub host_evidence: &'static [Ask],
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

/// Declares a rule: a unit struct with its [`RuleMeta`], read from a doc comment and a few lines.
macro_rules! declare_rule {
    (
        $(#[doc = $doc:expr])+
        pub(crate) struct $name:ident {
            id: $id:literal,
            group: $group:ident,
            title: $title:literal,
            severity: $severity:ident,
            needs: [$($need:ident),* $(,)?],
            $(traits: [$($trait:ident),* $(,)?],)?
            clouded_by: [$($quality:ident),* $(,)?],
            figures: [$($figure:ident: $unit:ident / $fold:ident),* $(,)?],
            thresholds: [$($threshold:ident = $default:literal: $about:literal),* $(,)?]
            $(, host_evidence: [$($ask:ident),* $(,)?])? $(,)?
        }
    ) => {
        $(#[doc = $doc])+
        pub(crate) struct $name;

        impl $name {
            /// The declaration.
            pub(crate) const META: $crate::model::meta::RuleMeta = $crate::model::meta::RuleMeta {
                id: $id,
                group: $crate::model::meta::RuleGroup::$group,
                title: $title,
                severity: $crate::model::severity::Severity::$severity,
                needs: &[$($crate::model::needs::Need::$need),*],
                traits: $crate::model::traits::Traits::ANY$(.narrowed(&[
                    $($crate::model::traits::Trait::$trait),*
                ]))?,
                clouded_by: &[$(::analyzer::QualityKind::$quality),*],
                figures: &[$($crate::model::figure::FigureSpec {
                    name: stringify!($figure),
                    unit: $crate::model::figure::Unit::$unit,
                    fold: $crate::model::figure::Fold::$fold,
                }),*],
                thresholds: &[$($crate::model::meta::ThresholdSpec {
                    name: stringify!($threshold),
                    default: $default,
                    doc: $about,
                }),*],
                host_evidence: &[$($($crate::model::ask::Ask::$ask),*)?],
                doc_lines: &[$($doc),+],
            };
        }
    };
}
pub(crate) use declare_rule;
