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

mod advice;
mod alive;
pub mod between;
mod catalog;
pub mod engine;
pub mod explain;
pub mod figure;
pub mod finding;
mod fold;
mod goodbye;
mod handshake;
mod held;
mod idle_close;
mod in_vain;
mod kept;
mod link;
pub mod narrative;
pub mod needs;
pub mod observation;
mod restart;
pub mod rule;
pub mod settings;
#[cfg(test)]
mod testkit;
pub mod text;
pub mod timeouts;
pub mod waits;

pub use engine::{Engine, RuleSink};
pub use finding::{Assessment, Finding, Severity};
pub use settings::{RuleSettings, SettingsError};
