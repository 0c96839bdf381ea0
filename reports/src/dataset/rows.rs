//! Rows of one table, kept column by column.

use analyzer::Timestamp;
use polars::prelude::{
    Column as PolarsColumn, DataFrame, NamedFrom, PlSmallStr, PolarsResult, Scalar, Series,
    StringChunked,
};
use polars::prelude::{IntoSeries as _, NewChunkedArray as _};

use super::schema::{CAPTURE_SET, ColumnType, Record, Table, Value};

/// Values of one column.
enum Values {
    Text(Vec<Option<PlSmallStr>>),
    Integer(Vec<Option<i64>>),
    Number(Vec<Option<f64>>),
    Boolean(Vec<Option<bool>>),
    Time(Vec<Option<i64>>),
}

impl Values {
    const fn new(kind: ColumnType) -> Self {
        match kind {
            ColumnType::Text => Self::Text(Vec::new()),
            ColumnType::Integer => Self::Integer(Vec::new()),
            ColumnType::Number => Self::Number(Vec::new()),
            ColumnType::Boolean => Self::Boolean(Vec::new()),
            ColumnType::Time => Self::Time(Vec::new()),
        }
    }

    /// Appends a value; one of another type than the column's is missing.
    fn push(&mut self, value: Value) {
        match (self, value) {
            (Self::Text(all), Value::Text(text)) => all.push(Some(text.into())),
            (Self::Integer(all), Value::Integer(number)) => all.push(Some(number)),
            (Self::Number(all), Value::Number(number)) if number.is_finite() => {
                all.push(Some(number));
            }
            (Self::Boolean(all), Value::Boolean(truth)) => all.push(Some(truth)),
            (Self::Time(all), Value::Time(micros)) => all.push(Some(micros)),
            (Self::Text(all), _) => all.push(None),
            (Self::Integer(all) | Self::Time(all), _) => all.push(None),
            (Self::Number(all), _) => all.push(None),
            (Self::Boolean(all), _) => all.push(None),
        }
    }

    /// Appends the values of another part of the same column.
    fn append(&mut self, other: Self) {
        match (self, other) {
            (Self::Text(all), Self::Text(more)) => all.extend(more),
            (Self::Integer(all), Self::Integer(more)) | (Self::Time(all), Self::Time(more)) => {
                all.extend(more);
            }
            (Self::Number(all), Self::Number(more)) => all.extend(more),
            (Self::Boolean(all), Self::Boolean(more)) => all.extend(more),
            _ => unreachable!("a column has one type"),
        }
    }

    fn series(&self, name: PlSmallStr) -> PolarsResult<Series> {
        match self {
            Self::Text(all) => {
                let texts = all.iter().map(Option::as_deref);
                Ok(StringChunked::from_iter_options(name, texts).into_series())
            }
            Self::Integer(all) => Ok(Series::new(name, all)),
            Self::Number(all) => Ok(Series::new(name, all)),
            Self::Boolean(all) => Ok(Series::new(name, all)),
            Self::Time(all) => Series::new(name, all).cast(&ColumnType::Time.data_type()),
        }
    }
}

/// Rows of a table whose records are `R`.
pub(super) struct Rows<R: Record> {
    table: &'static Table<R>,
    columns: Vec<Values>,
    len: usize,
}

impl<R: Record> Rows<R> {
    pub fn new(table: &'static Table<R>) -> Self {
        let columns = table.columns.iter().map(|c| Values::new(c.kind)).collect();
        Self {
            table,
            columns,
            len: 0,
        }
    }

    pub const fn table(&self) -> &'static Table<R> {
        self.table
    }

    pub const fn len(&self) -> usize {
        self.len
    }

    pub fn push(&mut self, record: &R::Of<'_>) {
        for (column, values) in self.table.columns.iter().zip(&mut self.columns) {
            values.push((column.value)(record));
        }
        self.len += 1;
    }

    /// Appends rows of the same table.
    pub fn append(&mut self, other: Self) {
        for (values, more) in self.columns.iter_mut().zip(other.columns) {
            values.append(more);
        }
        self.len += other.len;
    }

    /// The rows as a frame, with the set they belong to in front.
    pub fn frame(&self, capture_set: &str) -> PolarsResult<DataFrame> {
        let mut columns = vec![constant(CAPTURE_SET, capture_set, self.len)];
        for (column, values) in self.table.columns.iter().zip(&self.columns) {
            columns.push(values.series(column.name.into())?.into());
        }
        DataFrame::new(self.len, columns)
    }
}

/// A column that holds the same text everywhere.
pub(super) fn constant(name: &str, text: &str, len: usize) -> PolarsColumn {
    let scalar = Scalar::from(PlSmallStr::from(text));
    PolarsColumn::new_scalar(name.into(), scalar, len)
}

/// Text that may be missing.
pub(super) fn text(text: Option<impl Into<String>>) -> Value {
    text.map_or(Value::Missing, |text| Value::Text(text.into()))
}

/// A count; beyond 2^63 it is missing.
pub(super) fn count(count: u64) -> Value {
    i64::try_from(count).map_or(Value::Missing, Value::Integer)
}

/// A number that may be missing.
pub(super) fn number(number: Option<f64>) -> Value {
    number.map_or(Value::Missing, Value::Number)
}

/// A time that may be missing.
pub(super) fn time(time: Option<Timestamp>) -> Value {
    time.map_or(Value::Missing, |time| {
        Value::Time(time.as_nanos().div_euclid(1000))
    })
}

/// The hour (UTC) a time falls into.
pub(super) fn hour(time: Option<Timestamp>) -> Value {
    const HOUR_NANOS: i64 = 3_600_000_000_000;
    let start = |time: Timestamp| time.as_nanos().div_euclid(HOUR_NANOS) * (HOUR_NANOS / 1000);
    time.map_or(Value::Missing, |time| Value::Time(start(time)))
}
