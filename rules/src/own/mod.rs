//! Rules of the user's own: a table, a condition over its columns, and what to say where it holds.
//!
//! They are read from `[[rule]]` in `pcapdoc.toml` and from `--rules FILE`, checked and compiled
//! before a capture is opened (`read`), asked row by row as connections end (`tally`), and become
//! findings like those of our rules (`conclude`). docs/own-rules.md is for those who write them.

mod check;
mod conclude;
mod environment;
mod explain;
mod expression;
mod read;
mod rule;
mod tables;
mod tally;
#[cfg(test)]
mod tests;
mod title;

pub(crate) use conclude::Concluded;
pub use explain::{explain, listing};
pub use read::OwnRuleError;
pub(crate) use read::{Reader, only_rules};
pub use rule::OwnRule;
pub use tables::Source;
pub(crate) use tally::Running;
