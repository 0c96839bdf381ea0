//! The result of a query: a table for people, CSV, JSON or Parquet for programs.

use std::io::Write;

use analyzer::Timestamp;
use polars::prelude::{AnyValue, DataFrame, TimeUnit};
use polars_io::parquet::write::{ParquetCompression, ParquetWriter};
use serde_json::{Map, Number, Value};

use crate::error::Error;
use crate::words::{escape, format};

/// How a result is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rendering {
    /// Aligned columns.
    Table,
    /// RFC 4180, with a header.
    Csv,
    /// An array of objects, one a line.
    Json,
    /// One Parquet file.
    Parquet,
}

/// Rows of a table for people.
const ROWS_SHOWN: usize = 1000;

/// Characters of a cell for people.
const CELL_WIDTH: usize = 60;

/// Writes a result.
///
/// # Errors
/// When `out` cannot be written to.
pub fn render(
    result: &mut DataFrame,
    rendering: Rendering,
    out: &mut dyn Write,
) -> Result<(), Error> {
    match rendering {
        Rendering::Table => table(result, out),
        Rendering::Csv => csv(result, out),
        Rendering::Json => json(result, out),
        Rendering::Parquet => {
            let writer = ParquetWriter::new(out);
            writer
                .with_compression(ParquetCompression::Zstd(None))
                .finish(result)?;
            Ok(())
        }
    }
}

/// One value as JSON.
fn value(value: &AnyValue<'_>) -> Value {
    match value {
        AnyValue::Null => Value::Null,
        AnyValue::Boolean(truth) => Value::Bool(*truth),
        AnyValue::String(text) => Value::String((*text).to_owned()),
        AnyValue::StringOwned(text) => Value::String(text.to_string()),
        AnyValue::Datetime(at, unit, _) => Value::String(instant(*at, *unit)),
        AnyValue::Float64(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
        AnyValue::Float32(number) => {
            Number::from_f64((*number).into()).map_or(Value::Null, Value::Number)
        }
        other => match (other.extract::<i64>(), other.is_integer()) {
            (Some(number), true) => Value::Number(number.into()),
            _ => Value::String(other.to_string()),
        },
    }
}

/// RFC 3339, with microseconds unless the second is full.
fn instant(at: i64, unit: TimeUnit) -> String {
    let nanos = match unit {
        TimeUnit::Nanoseconds => at,
        TimeUnit::Microseconds => at.saturating_mul(1000),
        TimeUnit::Milliseconds => at.saturating_mul(1_000_000),
    };
    let mut text = Timestamp::from_nanos(nanos).rfc3339();
    // The dataset keeps microseconds, and hours are full.
    for nought in [".000000000Z", "000Z"] {
        if text.ends_with(nought) {
            text.truncate(text.len() - nought.len());
            text.push('Z');
            break;
        }
    }
    text
}

/// One value as text; nothing when it is missing.
fn cell(any: &AnyValue<'_>) -> String {
    match value(any) {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn rows(frame: &DataFrame, limit: usize) -> impl Iterator<Item = Vec<AnyValue<'_>>> {
    (0..frame.height().min(limit)).map(|row| {
        let columns = frame.columns().iter();
        columns
            .map(|column| column.get(row).unwrap_or(AnyValue::Null))
            .collect()
    })
}

fn json(frame: &DataFrame, out: &mut dyn Write) -> Result<(), Error> {
    let names = frame.get_column_names();
    out.write_all(b"[")?;
    for (index, row) in rows(frame, usize::MAX).enumerate() {
        out.write_all(if index == 0 { b"\n" } else { b",\n" })?;
        let object: Map<String, Value> = names
            .iter()
            .zip(&row)
            .map(|(name, any)| (name.to_string(), value(any)))
            .collect();
        serde_json::to_writer(&mut *out, &object).map_err(std::io::Error::from)?;
    }
    out.write_all(b"\n]\n")?;
    Ok(())
}

fn csv(frame: &DataFrame, out: &mut dyn Write) -> Result<(), Error> {
    let names = frame.get_column_names().into_iter();
    let header: Vec<String> = names.map(ToString::to_string).collect();
    csv_line(&header, out)?;
    for row in rows(frame, usize::MAX) {
        let cells: Vec<String> = row.iter().map(cell).collect();
        csv_line(&cells, out)?;
    }
    Ok(())
}

fn csv_line(cells: &[String], out: &mut dyn Write) -> Result<(), Error> {
    for (index, text) in cells.iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        let text = escape::visible(text);
        if text.contains([',', '"', '\n', '\r']) {
            write!(out, "\"{}\"", text.replace('"', "\"\""))?;
        } else {
            out.write_all(text.as_bytes())?;
        }
    }
    out.write_all(b"\n")?;
    Ok(())
}

fn table(frame: &DataFrame, out: &mut dyn Write) -> Result<(), Error> {
    let names: Vec<String> = frame
        .get_column_names()
        .into_iter()
        .map(|name| escape::terminal(name).into_owned())
        .collect();
    let shown = |any: &AnyValue<'_>| {
        let text = match any {
            AnyValue::Float64(number) => format::rounded(*number),
            other => cell(other),
        };
        let line = escape::terminal(&text).replace('\n', " ");
        format::shortened(&line, CELL_WIDTH)
    };
    let cells: Vec<Vec<String>> = rows(frame, ROWS_SHOWN)
        .map(|row| row.iter().map(shown).collect())
        .collect();
    let width = |column: usize| {
        let cells = cells.iter().map(|row| row[column].chars().count());
        cells
            .chain([names[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    let right: Vec<bool> = frame
        .columns()
        .iter()
        .map(|column| column.dtype().is_primitive_numeric())
        .collect();
    line(&names, &widths, &right, out)?;
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    line(&rule, &widths, &right, out)?;
    for row in &cells {
        line(row, &widths, &right, out)?;
    }
    if frame.height() > ROWS_SHOWN {
        let more = format::count((frame.height() - ROWS_SHOWN) as u64);
        writeln!(out, "and {more} more rows: --format csv or json gives all")?;
    }
    Ok(())
}

fn line(
    cells: &[String],
    widths: &[usize],
    right: &[bool],
    out: &mut dyn Write,
) -> Result<(), Error> {
    let mut text = String::new();
    for (index, cell) in cells.iter().enumerate() {
        let width = widths[index];
        if index > 0 {
            text.push_str("  ");
        }
        if right[index] {
            text.push_str(&format!("{cell:>width$}"));
        } else {
            text.push_str(&format!("{cell:<width$}"));
        }
    }
    writeln!(out, "{}", text.trim_end())?;
    Ok(())
}
