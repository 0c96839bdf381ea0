//! How a table declares its columns: the one place where one has its name, type and meaning.

use std::borrow::Cow;
use std::time::Duration;

use analyzer::{Direction, Endpoint, Timestamp};

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
}

/// One value of a record; what is unknown is [`Value::Missing`].
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// Text.
    Text(Cow<'static, str>),
    /// An integer.
    Integer(i64),
    /// A number.
    Number(f64),
    /// A truth value.
    Boolean(bool),
    /// Microseconds since 1970.
    Time(i64),
    /// Not known, or there is none.
    Missing,
}

/// Kind of record a table is made of; the records may borrow from the analysis.
pub trait Record: 'static {
    /// The records.
    type Of<'a>;
}

/// A column of a table whose records are `R`.
pub struct Column<R: Record> {
    /// Its name; the ending is its unit.
    pub name: &'static str,
    /// How it is stored.
    pub kind: ColumnType,
    /// What it means.
    pub about: &'static str,
    /// Its value in a record.
    pub value: for<'a> fn(&R::Of<'a>) -> Value,
}

/// Declares a column on one line.
#[must_use]
pub const fn column<R: Record>(
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
pub struct Table<R: Record> {
    /// Its name in SQL and its folder in the dataset.
    pub name: &'static str,
    /// What one row is.
    pub about: &'static str,
    /// Its columns, in order.
    pub columns: &'static [Column<R>],
}

/// The first column of every table: joins them.
pub const CAPTURE_SET: &str = "capture_set";

/// Columns that stand in the folder names of a dataset, as Hive, Spark and DuckDB expect.
pub const PARTITIONS: [(&str, &str); 2] = [
    (
        "date",
        "day (UTC) on which the capture set begins; from the folder name",
    ),
    (
        "capture_group",
        "folder of the capture set below the archive; from the folder name",
    ),
];

/// Text that may be missing.
#[must_use]
pub fn text(text: Option<impl Into<Cow<'static, str>>>) -> Value {
    text.map_or(Value::Missing, |text| Value::Text(text.into()))
}

/// A count; beyond 2^63 it is missing.
#[must_use]
pub fn count(count: u64) -> Value {
    i64::try_from(count).map_or(Value::Missing, Value::Integer)
}

/// A number that may be missing.
#[must_use]
pub fn number(number: Option<f64>) -> Value {
    number.map_or(Value::Missing, Value::Number)
}

/// A duration that may be missing, in milliseconds.
pub(super) fn ms(duration: Option<Duration>) -> Value {
    number(duration.map(millis))
}

/// A time that may be missing.
#[must_use]
pub fn time(time: Option<Timestamp>) -> Value {
    time.map_or(Value::Missing, |time| {
        Value::Time(time.as_nanos().div_euclid(1000))
    })
}

/// The hour (UTC) a time falls into.
#[must_use]
pub fn hour(time: Option<Timestamp>) -> Value {
    const HOUR_NANOS: i64 = 3_600_000_000_000;
    let start = |time: Timestamp| time.as_nanos().div_euclid(HOUR_NANOS) * (HOUR_NANOS / 1000);
    time.map_or(Value::Missing, |time| Value::Time(start(time)))
}

pub(super) fn ip(endpoint: Endpoint) -> Value {
    text(Some(endpoint.ip.to_string()))
}

pub(super) fn port(endpoint: Endpoint) -> Value {
    Value::Integer(endpoint.port.into())
}

/// The contract's name of a direction.
#[must_use]
pub const fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::ClientToServer => "client_to_server",
        Direction::ServerToClient => "server_to_client",
    }
}

/// Rounds to three decimals: microseconds of a millisecond figure. Keeps documents small and
/// exactly readable again.
#[must_use]
pub fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// Milliseconds of a duration, to the microsecond.
#[must_use]
pub fn millis(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64() * 1e3)
}
