//! From events to findings. One rule is one file in `catalog/`.
//!
//! The program makes an [`Engine`] from [`RuleSettings`], gives [`Engine::sink`] to every shard
//! of the analyzer's pipeline, and calls [`Engine::finish`] with the sinks and the finished
//! [`analyzer::Analysis`]; the [`finding::Assessment`] goes to the reports.
//!
//! A rule looks at one connection as it ends, at the whole capture at its end, or both
//! ([`rule::Rule`]). What it sees are [`observation::Observation`]s; those of one cause become
//! one [`finding::Finding`]. To add a rule: write `catalog/<id>.rs`, add it to
//! `catalog/mod.rs`, run the tests with `PCAPDOC_BLESS=1`.
#![forbid(unsafe_code)]

// Packet scripts are shared with the analyzer's own tests, which know it by the package's name.
#[cfg(test)]
extern crate analyzer as pcapdoc_analyzer;

pub mod between;
mod catalog;
pub mod engine;
pub mod host;
mod model;
pub mod own;
pub mod rows;
mod signs;
#[cfg(test)]
mod testkit;

pub use engine::settings::{self, RuleSettings, SettingsError};
pub use engine::{Engine, RuleSink};
pub use model::finding::{Assessment, Finding, Severity};
pub use model::{
    ask, context, explain, figure, finding, meta, narrative, needs, observation, rule, text,
    timeouts, waits,
};
