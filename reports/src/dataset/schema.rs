//! What the tables hold: the one place where a column has its name, type and meaning.

use std::fmt::Write as _;

use polars::prelude::{DataType, PlSmallStr, TimeUnit};

use super::{connections, exchanges, findings};

/// How a column is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ColumnType {
    /// UTF-8 text.
    Text,
    /// Signed 64-bit integer.
    Integer,
    /// 64-bit floating point.
    Number,
    /// Truth value.
    Boolean,
    /// Microseconds since 1970 in UTC, without zone.
    Time,
}

impl ColumnType {
    /// The type in the documentation and in `--schema`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Time => "timestamp",
        }
    }

    pub(super) const fn data_type(self) -> DataType {
        match self {
            Self::Text => DataType::String,
            Self::Integer => DataType::Int64,
            Self::Number => DataType::Float64,
            Self::Boolean => DataType::Boolean,
            Self::Time => DataType::Datetime(TimeUnit::Microseconds, None),
        }
    }
}

/// One value of a record; what is unknown is [`Value::Missing`].
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Value {
    Text(PlSmallStr),
    Integer(i64),
    Number(f64),
    Boolean(bool),
    /// Microseconds since 1970.
    Time(i64),
    Missing,
}

/// Kind of record a table is made of; the records may borrow from the analysis.
pub(super) trait Record: 'static {
    type Of<'a>;
}

/// A column of a table whose records are `R`.
pub(super) struct Column<R: Record> {
    pub name: &'static str,
    pub kind: ColumnType,
    pub about: &'static str,
    pub value: for<'a> fn(&R::Of<'a>) -> Value,
}

/// Declares a column on one line.
pub(super) const fn column<R: Record>(
    name: &'static str,
    kind: ColumnType,
    about: &'static str,
    value: for<'a> fn(&R::Of<'a>) -> Value,
) -> Column<R> {
    Column {
        name,
        kind,
        about,
        value,
    }
}

/// A table whose records are `R`.
pub(super) struct Table<R: Record> {
    pub name: &'static str,
    pub about: &'static str,
    pub columns: &'static [Column<R>],
}

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

/// The first column of every table: joins them.
pub(super) const CAPTURE_SET: &str = "capture_set";

/// Columns that stand in the folder names of a dataset, as Hive, Spark and DuckDB expect.
pub(super) const PARTITIONS: [(&str, &str); 2] = [
    (
        "date",
        "day (UTC) on which the capture set begins; from the folder name",
    ),
    (
        "capture_group",
        "folder of the capture set below the archive; from the folder name",
    ),
];

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
        TableSchema::of(&connections::CONNECTIONS),
        TableSchema::of(&findings::FINDINGS),
        TableSchema::of(&findings::EVIDENCE),
        TableSchema::of(&exchanges::REQUESTS),
        TableSchema::of(&exchanges::DNS),
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
        let _ = writeln!(text, "### `{}`\n\n{}\n", table.name, sentence(table.about));
        text.push_str("| column | type | meaning |\n|---|---|---|\n");
        for (name, kind, about) in &table.columns {
            let _ = writeln!(text, "| `{name}` | {} | {about} |", kind.as_str());
        }
        text.push('\n');
    }
    text
}

fn sentence(about: &str) -> String {
    let mut letters = about.chars();
    letters.next().map_or_else(String::new, |first| {
        format!("{}{}.", first.to_uppercase(), letters.as_str())
    })
}
