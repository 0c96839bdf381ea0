//! SQL over the tables: which columns a query needs, where they are, and errors that help.
//!
//! Only the local files given are read: the SQL engine is built without any table function
//! that opens a file or an address.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use polars::prelude::{DataFrame, IntoLazy as _, PolarsError, PolarsResult, Schema};
use polars::sql::{SQLContext, extract_table_identifiers};
use polars_io::SerReader as _;
use polars_io::parquet::read::ParquetReader;

use super::describe::tables;
use super::row_buffer::{constant, data_type};
use super::sink::Tables;
use crate::error::Error;
use crate::words::format;
use rules::rows::PARTITIONS;

/// Why a query gave no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The query itself is wrong; the text says what was probably meant.
    #[error("{0}")]
    Sql(String),
    /// A file of the dataset cannot be read.
    #[error("{}: {error}", file.display().to_string().escape_debug())]
    File {
        /// Which one.
        file: PathBuf,
        /// Why.
        error: PolarsError,
    },
    /// The rows of a capture could not be kept.
    #[error("{0}")]
    Rows(#[from] Error),
}

/// What a query runs over.
pub enum Source {
    /// Parquet files by table.
    Files(BTreeMap<String, Vec<PathBuf>>),
    /// One capture that was just analysed.
    Capture(Box<Tables>),
}

/// Runs a query.
///
/// # Errors
/// When the query is wrong or a file cannot be read.
pub fn run(source: Source, sql: &str) -> Result<DataFrame, QueryError> {
    let used = extract_table_identifiers(sql, false, true).map_err(|error| syntax(&error))?;
    let wanted = Wanted::of(sql);
    let mut loaded = BTreeMap::new();
    match source {
        Source::Files(files) => {
            for (table, files) in &files {
                if used.iter().any(|name| name.eq_ignore_ascii_case(table)) {
                    loaded.insert(table.clone(), load(files, &wanted)?);
                }
            }
            // A table without a row has no file; it is there all the same.
            for name in known(&used).filter(|name| !files.contains_key(*name)) {
                loaded.insert(name.to_owned(), empty(name));
            }
        }
        Source::Capture(rows) => {
            for name in known(&used) {
                loaded.insert(name.to_owned(), empty(name));
            }
            rows.for_each(&mut |name, frame| {
                if let Some(all) = loaded.get_mut(name) {
                    append(all, frame)?;
                }
                Ok(())
            })?;
        }
    }
    let columns = loaded
        .iter()
        .map(|(name, frame)| (name.clone(), column_names(name, frame)))
        .collect();
    let mut context = SQLContext::new();
    for (name, frame) in loaded {
        context.register(&name, frame.lazy());
    }
    let result = context.execute(sql).and_then(|lazy| lazy.collect());
    result.map_err(|error| explain(&error, &columns))
}

/// Tables of the dataset that a query names.
fn known(used: &[String]) -> impl Iterator<Item = &'static str> {
    let all = tables().into_iter().map(|table| table.name);
    all.filter(|name| used.iter().any(|one| one.eq_ignore_ascii_case(name)))
}

/// Columns that the text of a query can possibly mean.
struct Wanted {
    all: bool,
    words: BTreeSet<String>,
}

impl Wanted {
    /// Reads too much rather than too little: every word counts, and so does a star.
    fn of(sql: &str) -> Self {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let words: BTreeSet<String> = sql
            .split(|c| !is_word(c))
            .map(str::to_ascii_lowercase)
            .collect();
        let star = sql.match_indices('*').any(|(at, _)| {
            // COUNT(*) needs no column; anything else may stand for all of them.
            !sql[..at].trim_end().ends_with('(')
        });
        let wide = ["columns", "natural", "unnest"];
        Self {
            all: star || wide.iter().any(|word| words.contains(*word)),
            words,
        }
    }

    fn has(&self, column: &str) -> bool {
        self.all || self.words.contains(&column.to_ascii_lowercase())
    }
}

/// The wanted columns of all files, one below the other.
fn load(files: &[PathBuf], wanted: &Wanted) -> Result<DataFrame, QueryError> {
    let mut all = DataFrame::empty();
    for file in files {
        let frame = read(file, wanted).and_then(|frame| append(&mut all, frame));
        frame.map_err(|error| QueryError::File {
            file: file.clone(),
            error,
        })?;
    }
    Ok(all)
}

fn read(file: &Path, wanted: &Wanted) -> PolarsResult<DataFrame> {
    let mut reader = ParquetReader::new(File::open(file)?);
    let schema = reader.schema()?;
    let names = schema.iter_names().map(ToString::to_string);
    let mut columns: Vec<String> = names.filter(|name| wanted.has(name)).collect();
    if columns.is_empty() {
        // Something must say how many rows there are.
        columns.extend(schema.iter_names().next().map(ToString::to_string));
    }
    let mut frame = reader.with_columns(Some(columns)).finish()?;
    for (key, value) in partitions(file) {
        if wanted.has(&key) && frame.column(&key).is_err() {
            let column = constant(&key, &value, frame.height());
            frame.with_column(column)?;
        }
    }
    Ok(frame)
}

/// Appends rows; a column that one side lacks is empty there (datasets of other versions).
fn append(all: &mut DataFrame, mut more: DataFrame) -> PolarsResult<()> {
    if all.width() == 0 {
        *all = more;
        return Ok(());
    }
    fill(all, &more.schema().clone())?;
    fill(&mut more, &all.schema().clone())?;
    let order = all.get_column_names_owned();
    all.vstack_mut(&more.select(order)?)?;
    Ok(())
}

fn fill(frame: &mut DataFrame, schema: &Schema) -> PolarsResult<()> {
    for (name, data_type) in schema.iter() {
        if frame.column(name).is_err() {
            let column =
                polars::prelude::Column::full_null(name.clone(), frame.height(), data_type);
            frame.with_column(column)?;
        }
    }
    Ok(())
}

/// `key=value` folders on the way to a file, as Hive writes them.
fn partitions(file: &Path) -> Vec<(String, String)> {
    let folders = file.parent().into_iter().flat_map(Path::components);
    folders
        .filter_map(|folder| folder.as_os_str().to_str()?.split_once('='))
        .map(|(key, value)| (key.to_owned(), percent_decoded(value)))
        .collect()
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let code = code.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (first, code) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A table of the dataset without rows.
fn empty(name: &str) -> DataFrame {
    let mut schema = Schema::default();
    for table in tables().iter().filter(|table| table.name == name) {
        for (column, kind, _) in &table.columns {
            schema.with_column((*column).into(), data_type(*kind));
        }
    }
    for (key, _) in PARTITIONS {
        schema.with_column(key.into(), polars::prelude::DataType::String);
    }
    DataFrame::empty_with_schema(&schema)
}

/// All columns a table has, whether or not they were read.
fn column_names(table: &str, frame: &DataFrame) -> Vec<String> {
    let declared = tables().into_iter().find(|one| one.name == table);
    let declared = declared.into_iter().flat_map(|table| table.columns);
    let mut names: Vec<String> = declared.map(|(name, ..)| name.to_owned()).collect();
    let read = frame.get_column_names_owned();
    for name in read.iter().map(ToString::to_string) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn syntax(error: &PolarsError) -> QueryError {
    QueryError::Sql(format!("the query is not valid SQL: {}", plain(error)))
}

/// The engine's words on one line, without its own prefix.
fn plain(error: &PolarsError) -> String {
    let text = match error {
        PolarsError::Context { error, .. } => return plain(error),
        PolarsError::ColumnNotFound(text)
        | PolarsError::SQLInterface(text)
        | PolarsError::SQLSyntax(text)
        | PolarsError::InvalidOperation(text)
        | PolarsError::ComputeError(text)
        | PolarsError::SchemaMismatch(text) => text.to_string(),
        other => other.to_string(),
    };
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    format::shortened(&line, 300)
}

/// Names what was probably meant when a column or table is unknown.
fn explain(error: &PolarsError, columns: &BTreeMap<String, Vec<String>>) -> QueryError {
    let text = plain(error);
    let lower = text.to_ascii_lowercase();
    let quoted = text.split(['"', '\'', '`']).nth(1).unwrap_or_default();
    if lower.contains("relation") && !quoted.is_empty() && !columns.contains_key(quoted) {
        let known: Vec<&str> = tables().iter().map(|table| table.name).collect();
        let hint = rules::settings::suggestion(quoted, known.iter().copied());
        return QueryError::Sql(format!("there is no table {quoted:?}{hint}"));
    }
    let is_column = matches!(error, PolarsError::ColumnNotFound(_)) || lower.contains("column");
    if is_column && !quoted.is_empty() {
        let known: BTreeSet<&str> = columns.values().flatten().map(String::as_str).collect();
        if !known.contains(quoted) {
            let name = quoted.rsplit('.').next().unwrap_or(quoted);
            let hint = rules::settings::suggestion(name, known.into_iter());
            let of: Vec<&str> = columns.keys().map(String::as_str).collect();
            let of = of.join(", ");
            return QueryError::Sql(format!(
                "there is no column {name:?} in {of}{hint} (`pcapdoc query --schema` lists all)"
            ));
        }
    }
    QueryError::Sql(text)
}
