//! Expressions of minijinja over the columns of a table: compiled once, checked before the capture
//! is read, evaluated row by row.
//!
//! A value that is missing compares with nothing. minijinja orders `none` before numbers, so an
//! expression over missing values is evaluated twice, with them below and above all others: it
//! holds where it holds both times.

use std::sync::Arc;

use analyzer::Timestamp;
use minijinja::value::Object;
use minijinja::{Expression, Value};

use super::check;
use super::environment::{ABOVE_ALL_TEXT, ENVIRONMENT, Fault, fault_of};
use super::tables::{ColumnInfo, find};
use crate::rows::{self, ColumnType};

/// A checked expression with the columns it names.
pub(super) struct Formula {
    expression: Expression<'static, 'static>,
    /// Places of the columns in their table.
    columns: Vec<usize>,
    kinds: Vec<ColumnType>,
    names: Arc<[&'static str]>,
}

/// The values of one row, by name.
#[derive(Debug)]
struct Row {
    names: Arc<[&'static str]>,
    values: Vec<Value>,
}

impl Object for Row {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let at = self.names.iter().position(|name| *name == key)?;
        self.values.get(at).cloned()
    }
}

/// What stands for missing values.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Below,
    Above,
}

impl Formula {
    /// Compiles and checks `source` against the columns of its table.
    pub(super) fn new(source: &str, columns: &[ColumnInfo]) -> Result<Self, Fault> {
        let source = without_dots(source, columns);
        let names = check::names(&source, columns)?;
        let expression = ENVIRONMENT
            .compile_expression_owned(source)
            .map_err(|error| fault_of(&error))?;
        let places = names.iter().filter_map(|name| find(columns, name).ok());
        let places: Vec<usize> = places.collect();
        let formula = Self {
            expression,
            kinds: places.iter().map(|&at| columns[at].kind).collect(),
            columns: places,
            names: names.into(),
        };
        let sample = formula.kinds.iter().map(|&kind| sample(kind));
        let tried = formula.evaluate(sample.collect());
        tried.map_err(|error| fault_of(&error)).map(|_| formula)
    }

    /// Places of the columns whose values it takes, in the order in which it takes them.
    pub(super) fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// Names of the columns whose values it takes.
    pub(super) fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// Whether it holds for a row.
    ///
    /// # Errors
    /// The reason in words, when the values do not allow what it does with them.
    pub(super) fn holds(&self, row: &[rows::Value]) -> Result<bool, String> {
        let below = self.evaluate(self.values(row, Missing::Below));
        if !row.contains(&rows::Value::Missing) {
            let value = below.map_err(|error| fault_of(&error).reason)?;
            return Ok(value.is_true());
        }
        // What cannot be done with `none` may be done with what stands above all.
        if below.is_ok_and(|value| !value.is_true()) {
            return Ok(false);
        }
        let above = self.evaluate(self.values(row, Missing::Above));
        let above = above.map_err(|error| fault_of(&error).reason)?;
        Ok(above.is_true())
    }

    /// Its value as a number; nothing where it is not one.
    pub(super) fn number(&self, row: &[rows::Value]) -> Option<f64> {
        let value = self.evaluate(self.values(row, Missing::Below)).ok()?;
        f64::try_from(value)
            .ok()
            .filter(|number| number.is_finite())
    }

    fn values(&self, row: &[rows::Value], missing: Missing) -> Vec<Value> {
        let kinds = row.iter().zip(&self.kinds);
        kinds
            .map(|(value, &kind)| jinja(value, kind, missing))
            .collect()
    }

    fn evaluate(&self, values: Vec<Value>) -> Result<Value, minijinja::Error> {
        let names = Arc::clone(&self.names);
        self.expression
            .eval(Value::from_object(Row { names, values }))
    }
}

fn jinja(value: &rows::Value, kind: ColumnType, missing: Missing) -> Value {
    match value {
        rows::Value::Text(text) => Value::from(&**text),
        rows::Value::Integer(number) => Value::from(*number),
        rows::Value::Number(number) => Value::from(*number),
        rows::Value::Boolean(truth) => Value::from(*truth),
        rows::Value::Time(micros) => Value::from(time_text(*micros)),
        rows::Value::Missing if missing == Missing::Below => Value::from(()),
        rows::Value::Missing => match kind {
            ColumnType::Text | ColumnType::Time => Value::from(ABOVE_ALL_TEXT),
            _ => Value::from(f64::INFINITY),
        },
    }
}

/// A time as expressions and titles show it: RFC 3339, so that text compares as time does.
pub(super) fn time_text(micros: i64) -> String {
    Timestamp::from_nanos(micros.saturating_mul(1000)).rfc3339()
}

/// A value to try an expression with.
fn sample(kind: ColumnType) -> Value {
    match kind {
        ColumnType::Text => Value::from("text"),
        ColumnType::Integer => Value::from(1),
        ColumnType::Number => Value::from(1.5),
        ColumnType::Boolean => Value::from(true),
        ColumnType::Time => Value::from(time_text(0)),
    }
}

/// Writes `server.port` as the column it means, `server_port`: the dots of names become
/// underscores where that makes a column; quoted text stays as it is.
fn without_dots(source: &str, columns: &[ColumnInfo]) -> String {
    let mut text = source.as_bytes().to_vec();
    let (mut at, mut quote) = (0, None);
    while at < text.len() {
        let octet = text[at];
        match quote {
            Some(_) if octet == b'\\' => at += 1,
            Some(open) if octet == open => quote = None,
            Some(_) => {}
            None if octet == b'"' || octet == b'\'' => quote = Some(octet),
            None if octet.is_ascii_alphabetic() || octet == b'_' => {
                let name = |octet: &u8| octet.is_ascii_alphanumeric() || b"_.".contains(octet);
                let len = text[at..].iter().take_while(|octet| name(octet)).count();
                let word = String::from_utf8_lossy(&text[at..at + len]).replace('.', "_");
                if columns.iter().any(|column| column.name == word) {
                    text[at..at + len].copy_from_slice(word.as_bytes());
                }
                at += len - 1;
            }
            None => {}
        }
        at += 1;
    }
    String::from_utf8_lossy(&text).into_owned()
}
