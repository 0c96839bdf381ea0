//! Rules of the user's own: a table, a condition over its columns, and what to say where it holds.
//!
//! They are read from `[[rule]]` in `pcapdoc.toml` and from `--rules FILE`, checked and compiled
//! before a capture is opened (`read`), asked row by row as connections end (`tally`), and become
//! findings like those of our rules (`conclude`). docs/own-rules.md is for those who write them.

mod check;
mod conclude;
mod explain;
mod expression;
mod read;
mod tables;
mod tally;
#[cfg(test)]
mod tests;
mod title;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::model::severity::Severity;
use expression::Formula;
use title::Title;

pub(crate) use conclude::Concluded;
pub use explain::{explain, listing};
pub use read::OwnRuleError;
pub(crate) use read::{Reader, only_rules};
pub use tables::Source;
pub(crate) use tally::Running;

/// A rule of the user's own, checked and compiled.
pub struct OwnRule {
    /// Its name, which no other rule bears.
    pub id: &'static str,
    /// One line; `{column}` stands for a value of the group, or of its first row.
    pub title: &'static str,
    /// What its rows are.
    pub on: Source,
    /// The condition, as written.
    pub when: String,
    /// Columns by which rows that meet the condition are told apart.
    pub group_by: Vec<&'static str>,
    /// Rows that a group needs to be a finding.
    pub at_least: u64,
    /// How grave a finding is.
    pub severity: Severity,
    /// What a finding costs: a name, and an expression that is summed over the rows.
    pub cost: Vec<(&'static str, String)>,
    /// What to do about it.
    pub remedy: Option<String>,
    /// Where it is written: file and line.
    pub place: String,
    compiled: Compiled,
}

/// What is compiled once.
struct Compiled {
    when: Formula,
    /// Places of the columns of `group_by`.
    group: Vec<usize>,
    cost: Vec<Cost>,
    title: Title,
}

/// What one row adds to a cost.
enum Cost {
    /// One.
    Count,
    /// The value of an expression.
    Of(Formula),
}

impl PartialEq for OwnRule {
    /// By what is written; where it is written does not matter.
    fn eq(&self, other: &Self) -> bool {
        self.definition() == other.definition()
    }
}

impl fmt::Debug for OwnRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.definition().join(" "))
    }
}

impl OwnRule {
    /// Everything that decides what it finds, one value after the other.
    #[must_use]
    pub fn definition(&self) -> Vec<String> {
        let costs = self.cost.iter();
        let mut all = vec![
            self.id.to_owned(),
            self.title.to_owned(),
            self.on.as_str().to_owned(),
            self.when.clone(),
            self.group_by.join(","),
            self.at_least.to_string(),
            self.severity.as_str().to_owned(),
            self.remedy.clone().unwrap_or_default(),
        ];
        all.extend(costs.map(|(name, value)| format!("{name} = {value}")));
        all
    }
}

/// Text that lives as long as the process, as ids of our rules do. A configuration holds a bounded
/// number of names, and the same text is kept once however often it is read.
fn interned(text: &str) -> &'static str {
    static KNOWN: LazyLock<Mutex<BTreeSet<&'static str>>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(text) = known.get(text) {
        return text;
    }
    let kept: &'static str = Box::leak(text.to_owned().into_boxed_str());
    known.insert(kept);
    kept
}
