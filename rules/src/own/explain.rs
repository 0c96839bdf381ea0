//! What `pcapdoc rules` and `pcapdoc explain` say of the user's own rules.

use std::fmt::Write as _;
use std::sync::Arc;

use super::rule::OwnRule;

/// One line per rule below a heading; empty when there is none.
#[must_use]
pub fn listing(rules: &[Arc<OwnRule>]) -> String {
    let width = rules.iter().map(|rule| rule.id.len()).max().unwrap_or(0);
    let line = |rule: &Arc<OwnRule>| {
        let (severity, title) = (rule.severity.as_str(), rule.title);
        format!("  {:width$}  {severity:8}  {title}\n", rule.id)
    };
    let lines: String = rules.iter().map(line).collect();
    if lines.is_empty() {
        return lines;
    }
    format!("\nYour own\n{lines}")
}

/// The documentation of a rule, as far as its file describes it.
#[must_use]
pub fn explain(rule: &OwnRule) -> String {
    let mut page = format!("# {}\n\n{}.\n\n", rule.id, rule.title);
    let _ = writeln!(page, "A rule of your own ({}).\n", rule.place);
    let _ = writeln!(page, "## How it is detected\n");
    let groups = match rule.group_by.as_slice() {
        [] => "All rows that meet the condition are one finding".to_owned(),
        columns => format!("Rows with equal {} are one finding", columns.join(", ")),
    };
    let _ = writeln!(
        page,
        "It checks every row of `{}`:\n\n    {}\n\n{groups}, when there are at least {}.\n",
        rule.on.as_str(),
        rule.when.replace('\n', "\n    "),
        rule.at_least
    );
    if !rule.cost.is_empty() {
        let _ = writeln!(page, "## Cost\n\nSummed over the rows:\n");
        for (name, value) in &rule.cost {
            let _ = writeln!(page, "- `{name}`: `{value}`");
        }
        page.push('\n');
    }
    if let Some(remedy) = &rule.remedy {
        let _ = writeln!(page, "## What to do\n\n{remedy}\n");
    }
    let _ = writeln!(page, "## Figures\n\n- `rows`: rows of the group\n");
    let _ = writeln!(page, "Severity: {}.", rule.severity.as_str());
    page
}
