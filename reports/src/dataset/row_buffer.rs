//! Rows of one table: in memory, in a file of our own while memory is short, and as a frame.

use std::io::{self, Read, Write};

use polars::prelude::{
    BooleanChunked, Column as PolarsColumn, DataFrame, DataType, Float64Chunked, Int64Chunked,
    PlSmallStr, PolarsResult, Scalar, Series, StringChunked, TimeUnit,
};
use polars::prelude::{IntoSeries as _, NewChunkedArray as _};

use rules::rows::{CAPTURE_SET, ColumnType, Record, Table, Value};

/// Rows of a table whose records are `R`, one after the other.
pub(super) struct Rows<R: Record> {
    table: &'static Table<R>,
    /// As many a row as there are columns.
    values: Vec<Value>,
}

impl<R: Record> Rows<R> {
    pub const fn new(table: &'static Table<R>) -> Self {
        Self {
            table,
            values: Vec::new(),
        }
    }

    pub const fn table(&self) -> &'static Table<R> {
        self.table
    }

    pub const fn len(&self) -> usize {
        self.values.len() / self.table.columns.len()
    }

    pub fn push(&mut self, record: &R::Of<'_>) {
        let columns = self.table.columns.iter();
        self.values
            .extend(columns.map(|column| (column.value)(record)));
    }

    /// Appends rows of the same table.
    pub fn append(&mut self, other: Self) {
        self.values.extend(other.values);
    }

    /// Writes the rows for [`Self::read`], and forgets them.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn write(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.values
            .drain(..)
            .try_for_each(|value| write(&value, out))
    }

    /// Appends `len` rows that were written.
    ///
    /// # Errors
    /// When `input` fails or ends.
    pub fn read(&mut self, len: usize, input: &mut impl Read) -> io::Result<()> {
        for _ in 0..len * self.table.columns.len() {
            self.values.push(read(input)?);
        }
        Ok(())
    }

    /// The rows as a frame, with the set they belong to in front, ordered by the integers of the
    /// columns named; rows alike in them keep their order.
    pub fn frame(&self, capture_set: &str, order_by: &[&str]) -> PolarsResult<DataFrame> {
        let order = self.order(order_by);
        let mut columns = vec![constant(CAPTURE_SET, capture_set, self.len())];
        for at in 0..self.table.columns.len() {
            columns.push(self.series(at, &order)?.into());
        }
        DataFrame::new(self.len(), columns)
    }

    fn order(&self, order_by: &[&str]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.len()).collect();
        // The least significant column first: sorting by the next one keeps its order.
        for name in order_by.iter().rev() {
            let columns = &self.table.columns;
            if let Some(at) = columns.iter().position(|column| column.name == *name) {
                order.sort_by_key(|&row| integer(self.value(row, at)));
            }
        }
        order
    }

    fn value(&self, row: usize, column: usize) -> &Value {
        &self.values[row * self.table.columns.len() + column]
    }

    /// A column in the order given; a value of another type than the column's is missing.
    fn series(&self, at: usize, order: &[usize]) -> PolarsResult<Series> {
        let column = &self.table.columns[at];
        let name = PlSmallStr::from(column.name);
        let values = order.iter().map(|&row| self.value(row, at));
        Ok(match column.kind {
            ColumnType::Text => {
                StringChunked::from_iter_options(name, values.map(text)).into_series()
            }
            ColumnType::Integer => {
                Int64Chunked::from_iter_options(name, values.map(integer)).into_series()
            }
            ColumnType::Time => Int64Chunked::from_iter_options(name, values.map(integer))
                .into_series()
                .cast(&data_type(ColumnType::Time))?,
            ColumnType::Number => {
                Float64Chunked::from_iter_options(name, values.map(number)).into_series()
            }
            ColumnType::Boolean => {
                BooleanChunked::from_iter_options(name, values.map(boolean)).into_series()
            }
        })
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

const fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(number) | Value::Time(number) => Some(*number),
        _ => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number).filter(|number| number.is_finite()),
        _ => None,
    }
}

const fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Boolean(truth) => Some(*truth),
        _ => None,
    }
}

/// Writes a tag, and the value.
fn write(value: &Value, out: &mut impl Write) -> io::Result<()> {
    match value {
        Value::Missing => out.write_all(&[0]),
        Value::Text(text) => {
            out.write_all(&[1])?;
            out.write_all(&(text.len() as u64).to_le_bytes())?;
            out.write_all(text.as_bytes())
        }
        Value::Integer(number) => tagged(out, 2, number.to_le_bytes()),
        Value::Time(number) => tagged(out, 3, number.to_le_bytes()),
        Value::Number(number) => tagged(out, 4, number.to_le_bytes()),
        Value::Boolean(truth) => out.write_all(&[5 + u8::from(*truth)]),
    }
}

fn read(input: &mut impl Read) -> io::Result<Value> {
    let [tag] = bytes(input)?;
    Ok(match tag {
        0 => Value::Missing,
        1 => {
            let len = u64::from_le_bytes(bytes(input)?);
            let mut text = String::new();
            input.take(len).read_to_string(&mut text)?;
            Value::Text(text.into())
        }
        2 => Value::Integer(i64::from_le_bytes(bytes(input)?)),
        3 => Value::Time(i64::from_le_bytes(bytes(input)?)),
        4 => Value::Number(f64::from_le_bytes(bytes(input)?)),
        tag => Value::Boolean(tag == 6),
    })
}

fn tagged(out: &mut impl Write, tag: u8, value: [u8; 8]) -> io::Result<()> {
    out.write_all(&[tag])?;
    out.write_all(&value)
}

fn bytes<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A column that holds the same text everywhere.
pub(super) fn constant(name: &str, text: &str, len: usize) -> PolarsColumn {
    let scalar = Scalar::from(PlSmallStr::from(text));
    PolarsColumn::new_scalar(name.into(), scalar, len)
}

/// How a column is stored in a frame.
pub(super) const fn data_type(kind: ColumnType) -> DataType {
    match kind {
        ColumnType::Text => DataType::String,
        ColumnType::Integer => DataType::Int64,
        ColumnType::Number => DataType::Float64,
        ColumnType::Boolean => DataType::Boolean,
        ColumnType::Time => DataType::Datetime(TimeUnit::Microseconds, None),
    }
}
