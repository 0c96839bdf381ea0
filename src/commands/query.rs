//! `pcapdoc query`: SQL over a dataset, Parquet files or a capture.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use reports::dataset::{self, Rendering, Source, Spill};
use tempfile::TempDir;

use crate::analysis::{Wanted, analyse_shown, pool};
use crate::cli::{QueryArguments, QueryFormat};
use crate::failure::Failure;
use crate::output::{write_file, write_stdout};
use crate::settings::Settings;
use crate::store::{self, Store};

/// Folder of the dataset in the folder of a batch.
pub const DATASET: &str = "dataset";

/// Runs the subcommand.
pub fn run(arguments: &QueryArguments) -> Result<ExitCode, Failure> {
    if arguments.schema {
        write_stdout(|out| out.write_all(dataset::describe().as_bytes()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some((sql, paths)) = arguments.paths_and_sql.split_last() else {
        return Err(Failure::Usage("give a path and a query".to_owned()));
    };
    let to_stdout = arguments
        .output
        .as_deref()
        .is_none_or(|path| path == Path::new("-"));
    if arguments.format == QueryFormat::Parquet && to_stdout {
        let message = "--format parquet needs a file: --output FILE";
        return Err(Failure::Usage(message.to_owned()));
    }
    let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
    // The rows of a capture that do not fit into memory live there until the query is done.
    let scratch =
        tempfile::tempdir().map_err(|error| Failure::output(&std::env::temp_dir(), error))?;
    let paths = fetched(paths, &scratch)?;
    let source = source(&paths, arguments, &scratch)?;
    let mut result = guarded(|| dataset::run(source, sql))?
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let rendering = match arguments.format {
        QueryFormat::Table => Rendering::Table,
        QueryFormat::Csv => Rendering::Csv,
        QueryFormat::Json => Rendering::Json,
        QueryFormat::Parquet => Rendering::Parquet,
    };
    let mut write = |out: &mut dyn Write| {
        dataset::render(&mut result, rendering, out).map_err(|error| match error {
            reports::Error::Write(error) => error,
            other => io::Error::other(other),
        })
    };
    match &arguments.output {
        Some(path) if !to_stdout => write_file(path, |out| write(out))?,
        _ => write_stdout(|out| write(out))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The tables that lie in object stores, as files here; all else as it is named.
fn fetched(paths: Vec<PathBuf>, scratch: &TempDir) -> Result<Vec<PathBuf>, Failure> {
    let is_table = |name: &str| {
        Path::new(name)
            .extension()
            .is_some_and(|end| end == "parquet")
    };
    let here = |(number, path): (usize, PathBuf)| {
        let Some(address) = store::address(&path) else {
            return Ok(path);
        };
        let place = Store::open(address)?;
        if is_table(address) {
            let name = path.file_name().unwrap_or_default();
            let file = scratch.path().join(number.to_string()).join(name);
            place.fetch("", &file)?;
            return Ok(file);
        }
        let mut names = place.names(DATASET)?;
        if names.is_empty() {
            names = place.names("")?;
        }
        names.retain(|name| is_table(name));
        if names.is_empty() {
            return Ok(path);
        }
        let folder = scratch.path().join(number.to_string());
        for name in names {
            place.fetch(&name, &folder.join(&name))?;
        }
        Ok(folder)
    };
    paths.into_iter().enumerate().map(here).collect()
}

/// The SQL engine panics on a few queries that it does not expect; that is an error like others.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Failure> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    panic::set_hook(hook);
    outcome.map_err(|_| {
        Failure::Usage(
            "the SQL engine cannot run this query; try to write it another way".to_owned(),
        )
    })
}

fn source(
    paths: &[PathBuf],
    arguments: &QueryArguments,
    scratch: &TempDir,
) -> Result<Source, Failure> {
    let is_parquet =
        |path: &PathBuf| path.is_dir() || path.extension().is_some_and(|end| end == "parquet");
    if !paths.iter().any(is_parquet) {
        return capture(paths, arguments, scratch);
    }
    if let Some(other) = paths.iter().find(|path| !is_parquet(path)) {
        return Err(Failure::Usage(format!(
            "{}: captures and datasets cannot be queried together",
            other.display().to_string().escape_debug()
        )));
    }
    let mut files = BTreeMap::<String, Vec<PathBuf>>::new();
    for path in paths {
        if path.is_dir() {
            for file in dataset_files(path)? {
                files.entry(table_of(&file)).or_default().push(file);
            }
        } else {
            files.entry(table_of(path)).or_default().push(path.clone());
        }
    }
    if files.is_empty() {
        let name = paths[0].display().to_string();
        return Err(Failure::Usage(format!(
            "{}: there is no dataset here: give the --out folder of `pcapdoc batch`, or Parquet files",
            name.escape_debug()
        )));
    }
    Ok(Source::Files(files))
}

fn capture(
    captures: &[PathBuf],
    arguments: &QueryArguments,
    scratch: &TempDir,
) -> Result<Source, Failure> {
    let settings = Settings::resolve(captures, &arguments.analysis)?;
    let name = captures[0].file_name().unwrap_or_default();
    let spill = Arc::new(Spill::new(scratch.path().to_owned()));
    let wanted = Wanted {
        connections: Some(0),
        redactor: None,
        rows: Some((name.to_string_lossy().into_owned(), spill)),
    };
    let (_, tables) = pool(settings.threads)?.install(|| analyse_shown(&settings, &wanted))?;
    let tables = tables.ok_or_else(|| Failure::Internal("no rows were kept".to_owned()))?;
    Ok(Source::Capture(Box::new(tables)))
}

/// The Parquet files of a dataset, in a fixed order.
pub fn dataset_files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let inner = folder.join(DATASET);
    let root = if inner.is_dir() { &inner } else { folder };
    let mut files = Vec::new();
    walk(root, &mut files)
        .map_err(|error| Failure::Usage(format!("could not read {}: {error}", root.display())))?;
    files.sort();
    Ok(files)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(&path, files)?;
        } else if path.extension().is_some_and(|end| end == "parquet") {
            files.push(path);
        }
    }
    Ok(())
}

/// The table a file belongs to: the folder above its partitions, or the file's own name.
fn table_of(file: &Path) -> String {
    let text = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
    let folders: Vec<String> = file
        .parent()
        .into_iter()
        .flat_map(Path::components)
        .map(|folder| text(folder.as_os_str()))
        .collect();
    let known = dataset::tables();
    let above = folders.iter().rev().find(|folder| !folder.contains('='));
    match above {
        Some(folder) if known.iter().any(|table| table.name == folder.as_str()) => folder.clone(),
        _ => text(file.file_stem().unwrap_or_default()),
    }
}
