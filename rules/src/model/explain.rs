//! The catalogue and the explanation of single rules, written from their declarations.

use crate::model::impact::POLICY;
use crate::model::meta::{RuleMeta, grouped};
use crate::model::traits::Trait;

/// The documentation of a rule as Markdown: what `pcapdoc explain RULE` prints.
#[must_use]
pub fn explain(meta: &RuleMeta) -> String {
    use std::fmt::Write as _;

    let mut page = format!("# {}\n\n", meta.id);
    let _ = writeln!(page, "{}.\n", meta.title);
    let _ = writeln!(page, "{}\n", meta.docs());
    let _ = writeln!(page, "## Figures");
    for figure in meta.figures {
        let (unit, fold) = (figure.unit.describe(), figure.fold.describe());
        let _ = writeln!(page, "- `{}`: {unit}, {fold} over occurrences", figure.name);
    }
    let _ = writeln!(page, "\n## Settings\n");
    if meta.thresholds.is_empty() {
        let _ = writeln!(page, "None but `enabled = false`.");
    } else {
        let _ = writeln!(page, "In `pcapdoc.toml` under `[rules.{}]`:\n", meta.id);
    }
    for threshold in meta.thresholds {
        let _ = writeln!(
            page,
            "- `{} = {}`: {}",
            threshold.name, threshold.default, threshold.doc
        );
    }
    if !meta.host_evidence.is_empty() {
        let _ = writeln!(page, "\n## What to collect on the hosts\n");
        for ask in meta.host_evidence {
            let _ = writeln!(page, "- {}.", ask.describe());
        }
    }
    let needs: Vec<&str> = meta.needs.iter().map(|need| need.describe()).collect();
    let _ = writeln!(
        page,
        "\nSeverity: up to {}. Needs: {}.",
        meta.severity.as_str(),
        needs.join(", ")
    );
    let traits: Vec<&str> = meta.traits.iter().map(Trait::describe).collect();
    if !traits.is_empty() {
        let _ = writeln!(page, "Looks at connections with {}.", traits.join(" or "));
    }
    page
}

/// One line per rule, group by group: what `pcapdoc rules` prints.
#[must_use]
pub fn listing(metas: &[&RuleMeta]) -> String {
    let width = metas.iter().map(|meta| meta.id.len()).max().unwrap_or(0);
    let line = |meta: &RuleMeta| {
        let severity = meta.severity.as_str();
        format!("  {:width$}  {severity:8}  {}\n", meta.id, meta.title)
    };
    let groups = grouped(metas).into_iter().map(|(group, metas)| {
        let lines: String = metas.into_iter().map(line).collect();
        format!("{}\n{lines}", group.heading())
    });
    groups.collect::<Vec<_>>().join("\n")
}

/// The generated page `rules/CATALOG.md`.
#[must_use]
pub fn catalog_page(metas: &[&RuleMeta]) -> String {
    use std::fmt::Write as _;

    let mut page = String::from(
        "# Rules\n\nGenerated from the declarations in `rules/src/catalog/`; \
         `PCAPDOC_BLESS=1 cargo test -p pcapdoc-rules` writes it again.\n",
    );
    let groups = grouped(metas);
    for (group, metas) in &groups {
        let _ = writeln!(page, "\n**{}**\n", group.heading());
        page.push_str(
            "| rule | severity up to | what it finds | figures |\n| --- | --- | --- | --- |\n",
        );
        metas
            .iter()
            .for_each(|meta| page.push_str(&catalog_row(meta)));
    }
    page.push_str(
        "\n## Severity\n\nOne policy decides for all rules, from what was measured. \
         The first line that holds counts; no rule exceeds its limit in the tables above, and a \
         finding that no frame proves is info.\n\n| severity | when |\n| --- | --- |\n",
    );
    for row in &POLICY {
        let _ = writeln!(page, "| {} | {} |", row.severity.as_str(), row.when);
    }
    for (group, metas) in &groups {
        let _ = writeln!(page, "\n## {}", group.heading());
        for meta in metas {
            // Two levels deeper than on its own: below its group.
            let text = explain(meta).replace("\n## ", "\n#### ");
            let _ = write!(page, "\n##{text}");
        }
    }
    page
}

fn catalog_row(meta: &RuleMeta) -> String {
    let figures = meta
        .figures
        .iter()
        .map(|figure| format!("`{}`", figure.name));
    let figures: Vec<String> = figures.collect();
    format!(
        "| [{id}](#{id}) | {} | {} | {} |\n",
        meta.severity.as_str(),
        meta.title,
        figures.join(", "),
        id = meta.id,
    )
}
