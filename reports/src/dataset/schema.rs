//! How a table declares its columns: the one place where one has its name, type and meaning.

use polars::prelude::{DataType, PlSmallStr, TimeUnit};

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
