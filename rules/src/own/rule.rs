//! What a rule of the user's own is, as it was written and as it was compiled.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{LazyLock, Mutex, PoisonError};

use super::expression::Formula;
use super::tables::Source;
use super::title::Title;
use crate::model::severity::Severity;

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
    /// Columns by which rows that meet the condition are grouped.
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
    pub(super) compiled: Compiled,
}

/// What is compiled once.
pub(super) struct Compiled {
    pub(super) when: Formula,
    /// Places of the columns of `group_by`.
    pub(super) group: Vec<usize>,
    pub(super) cost: Vec<Cost>,
    pub(super) title: Title,
}

/// What one row adds to a cost.
pub(super) enum Cost {
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
pub(super) fn interned(text: &str) -> &'static str {
    static KNOWN: LazyLock<Mutex<BTreeSet<&'static str>>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(text) = known.get(text) {
        return text;
    }
    let kept: &'static str = Box::leak(text.to_owned().into_boxed_str());
    known.insert(kept);
    kept
}
