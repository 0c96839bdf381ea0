//! The tables as their readers see them.

use std::fmt::Write as _;

use rules::rows::{self, CAPTURE_SET, ColumnType, PARTITIONS, Record, Table};

use super::{actions, findings};
use crate::words::format;

/// A table as its readers see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableSchema {
    /// Its name in SQL and its folder in the dataset.
    pub name: &'static str,
    /// What one row is.
    pub about: &'static str,
    /// Name, type and meaning of every column, in order.
    pub columns: Vec<(&'static str, ColumnType, &'static str)>,
}

impl TableSchema {
    fn of<R: Record>(table: &Table<R>) -> Self {
        let set = (
            CAPTURE_SET,
            ColumnType::Text,
            "the capture, or set of rotated files, the row comes from",
        );
        let own = table.columns.iter().map(|c| (c.name, c.kind, c.about));
        Self {
            name: table.name,
            about: table.about,
            columns: std::iter::once(set).chain(own).collect(),
        }
    }
}

/// All tables of the dataset.
#[must_use]
pub fn tables() -> Vec<TableSchema> {
    vec![
        TableSchema::of(&rows::CONNECTIONS),
        TableSchema::of(&rows::FINDINGS),
        TableSchema::of(&findings::EVIDENCE),
        TableSchema::of(&rows::REQUESTS),
        TableSchema::of(&actions::ACTIONS),
        TableSchema::of(&rows::DNS),
        TableSchema::of(&findings::INTERVALS),
        TableSchema::of(&findings::CAPTURES),
    ]
}

/// The tables as text for a terminal.
#[must_use]
pub fn describe() -> String {
    let mut text = String::new();
    for table in tables() {
        let _ = writeln!(text, "{}: {}", table.name, table.about);
        for (name, kind, about) in &table.columns {
            let _ = writeln!(text, "  {name:<31} {:<10} {about}", kind.as_str());
        }
        text.push('\n');
    }
    text.push_str("In a dataset every table has two more columns:\n");
    for (name, about) in PARTITIONS {
        let _ = writeln!(text, "  {name:<31} {:<10} {about}", "text");
    }
    text
}

/// The tables as Markdown for the documentation.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::new();
    for table in tables() {
        let _ = writeln!(
            text,
            "### `{}`\n\n{}\n",
            table.name,
            format::sentence(table.about)
        );
        text.push_str("| column | type | meaning |\n|---|---|---|\n");
        for (name, kind, about) in &table.columns {
            let _ = writeln!(text, "| `{name}` | {} | {about} |", kind.as_str());
        }
        text.push('\n');
    }
    text
}
