//! Which renderings of a document go where, and writing them.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use reports::comparison::{self, ComparisonDocument};
use reports::dataset::{TableFiles, Tables};
use reports::{Document, Redactor};
use serde_json::json;

use crate::capture_names::is_capture_ending;
use crate::cli::{Format, OutputArguments};
use crate::failure::{Failure, table_failure};
use crate::log;
use crate::output::{write_file, write_stdout};

/// Which renderings go where.
pub struct Plan {
    outputs: Vec<(Format, Target)>,
}

/// A path as a terminal may show it.
pub fn shown(path: &Path) -> String {
    reports::words::escape::terminal(&path.display().to_string()).into_owned()
}

/// Where a rendering goes.
enum Target {
    Stdout,
    File(PathBuf),
    /// A folder of tables, which the analysis itself fills.
    Tables(PathBuf),
}

impl Plan {
    /// What the arguments ask for, as [`Self::new`].
    pub fn of(stem: &str, arguments: &OutputArguments) -> Result<Self, Failure> {
        let asked = if arguments.summary {
            &[Format::Summary]
        } else {
            arguments.format.as_slice()
        };
        Self::new(stem, asked, arguments.output.as_deref())
    }

    /// Decides before the work, so that a wrong `--output` costs no analysis. Files are named
    /// after `stem`.
    pub fn new(stem: &str, asked: &[Format], output: Option<&Path>) -> Result<Self, Failure> {
        let defaults = [Format::Html, Format::Md, Format::Terminal];
        let formats = if asked.is_empty() {
            &defaults[..]
        } else {
            asked
        };
        if output == Some(Path::new("-")) && asked.len() > 1 {
            return Err(Failure::Usage(
                "--output - takes one --format; give a folder for several".to_owned(),
            ));
        }
        let mut outputs = Vec::new();
        for &format in formats {
            outputs.push((format, target(format, formats, output, stem)?));
        }
        if output == Some(Path::new("-")) && asked.is_empty() {
            outputs.retain(|(format, _)| *format == Format::Terminal);
        }
        Ok(Self { outputs })
    }

    /// Writes everything, side by side on the current rayon pool; gives the HTML file, when there is
    /// one.
    pub fn write(&self, document: &Document) -> Result<Option<PathBuf>, Failure> {
        let outputs = self.outputs.par_iter();
        let written: Vec<Result<(), Failure>> = outputs
            .map(|(format, target)| write_output(*format, target, document))
            .collect();
        written.into_iter().collect::<Result<(), Failure>>()?;
        self.say_where();
        Ok(self.html())
    }

    /// The same for a comparison.
    pub fn write_comparison(
        &self,
        document: &ComparisonDocument,
    ) -> Result<Option<PathBuf>, Failure> {
        for (format, target) in &self.outputs {
            let style = style(target);
            let rendering = comparison_rendering(*format, document, style)?;
            match target {
                Target::Tables(_) => {}
                Target::Stdout => write_stdout(rendering)?,
                Target::File(path) => write_file(path, rendering)?,
            }
        }
        self.say_where();
        Ok(self.html())
    }

    fn html(&self) -> Option<PathBuf> {
        self.outputs.iter().find_map(|output| match output {
            (Format::Html, Target::File(path)) => Some(path.clone()),
            _ => None,
        })
    }

    /// The folder for the tables, when they are asked for.
    pub fn tables(&self) -> Option<&Path> {
        self.outputs.iter().find_map(|(_, target)| match target {
            Target::Tables(folder) => Some(folder.as_path()),
            Target::Stdout | Target::File(_) => None,
        })
    }

    fn say_where(&self) {
        let files: Vec<String> = self
            .outputs
            .iter()
            .filter_map(|(_, target)| match target {
                Target::File(path) | Target::Tables(path) => Some(shown(path)),
                Target::Stdout => None,
            })
            .collect();
        if !files.is_empty() {
            let text = format!("wrote {}", files.join(", "));
            log::say("wrote", &text, json!({"files": files}));
        }
    }
}

fn style(target: &Target) -> reports::render::terminal::Style {
    reports::render::terminal::Style {
        width: 80,
        colour: matches!(target, Target::Stdout) && wants_colour(),
    }
}

fn write_output(format: Format, target: &Target, document: &Document) -> Result<(), Failure> {
    let style = style(target);
    match target {
        Target::Tables(_) => Ok(()),
        Target::Stdout => write_stdout(rendering(format, document, style)?),
        Target::File(path) if format == Format::Md => write_markdown(path, document),
        Target::File(path) => write_file(path, rendering(format, document, style)?),
    }
}

fn target(
    format: Format,
    formats: &[Format],
    output: Option<&Path>,
    stem: &str,
) -> Result<Target, Failure> {
    if format == Format::Parquet {
        return tables_target(output, stem);
    }
    let extension = match format {
        Format::Html => "html",
        Format::Md => "md",
        Format::Json => "json",
        Format::Terminal | Format::Summary => "txt",
        Format::Parquet => "parquet",
    };
    let name = format!("{stem}.report.{extension}");
    let is_for_the_screen = matches!(format, Format::Terminal | Format::Summary);
    match output {
        Some(path) if path == Path::new("-") => Ok(Target::Stdout),
        _ if is_for_the_screen && formats.len() != 1 => Ok(Target::Stdout),
        None if is_for_the_screen => Ok(Target::Stdout),
        None => Ok(Target::File(PathBuf::from(name))),
        Some(path) if path.is_dir() => Ok(Target::File(path.join(name))),
        // A folder was told apart above: what else is there is a file or a device.
        Some(path) if formats.len() == 1 && (path.extension().is_some() || path.exists()) => {
            Ok(Target::File(path.to_owned()))
        }
        Some(path) => {
            std::fs::create_dir_all(path).map_err(|error| Failure::output(path, error))?;
            Ok(Target::File(path.join(name)))
        }
    }
}

/// Writes every table that has rows as a file in `folder`, and leaves none of an earlier run.
pub fn write_tables(folder: &Path, tables: Tables) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).map_err(|error| Failure::output(folder, error))?;
    let partial = |table: &str| folder.join(format!("{table}.parquet.{}.part", std::process::id()));
    let mut files = TableFiles::new(|table| File::create(partial(table)));
    let written = files.add(tables).and_then(|()| files.finish());
    let written = written.map_err(|error| table_failure(folder, error))?;
    for table in reports::dataset::tables() {
        let file = folder.join(format!("{}.parquet", table.name));
        let new = written.iter().find(|(name, _)| *name == table.name);
        let placed = if let Some((_, new)) = new {
            new.sync_all()
                .and_then(|()| std::fs::rename(partial(table.name), &file))
        } else if file.exists() {
            std::fs::remove_file(&file)
        } else {
            Ok(())
        };
        placed.map_err(|error| Failure::output(&file, error))?;
    }
    Ok(())
}

/// The folder of the tables is named after the capture and stands where reports do.
fn tables_target(output: Option<&Path>, stem: &str) -> Result<Target, Failure> {
    let folder = match output {
        Some(path) if path == Path::new("-") => {
            return Err(Failure::Usage(
                "--format parquet writes a folder of tables: --output cannot be -".to_owned(),
            ));
        }
        Some(path) => path.to_owned(),
        None => PathBuf::new(),
    };
    Ok(Target::Tables(folder.join(format!("{stem}.tables"))))
}

/// What output files are named after: the first capture, or a stand-in for its name, which may
/// tell whose it is.
pub fn stem_of(captures: &[PathBuf], redactor: Option<&Redactor>) -> String {
    let stem = stem(captures);
    match redactor {
        Some(redactor) => redactor.name(&stem).replace("name-", "redacted-"),
        None => stem,
    }
}

/// The first capture's name without its endings; `stdin` for a pipe.
fn stem(captures: &[PathBuf]) -> String {
    let Some(first) = captures.first().filter(|path| path.as_os_str() != "-") else {
        return "stdin".to_owned();
    };
    let mut stem = PathBuf::from(first.file_name().unwrap_or(first.as_os_str()));
    while stem.extension().is_some_and(is_capture_ending) {
        stem.set_extension("");
    }
    stem.display().to_string()
}

/// Markdown with its pictures in a folder beside it, which has its name without the ending.
fn write_markdown(path: &Path, document: &Document) -> Result<(), Failure> {
    let folder = path.with_extension("");
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let (text, pictures) = reports::render::markdown::render_with_pictures(document, &name)
        .map_err(|error| Failure::Internal(error.to_string()))?;
    if !pictures.is_empty() {
        std::fs::create_dir_all(&folder).map_err(|error| Failure::output(&folder, error))?;
    }
    let files: Vec<PathBuf> = pictures.iter().map(|one| folder.join(&one.name)).collect();
    let written = files
        .iter()
        .zip(&pictures)
        .try_for_each(|(file, picture)| {
            write_file(file, |out| out.write_all(picture.svg.as_bytes()))
        })
        .and_then(|()| write_file(path, |out| out.write_all(text.as_bytes())));
    if written.is_err() {
        // Pictures without their text are half a report. What is not there need not go.
        for file in &files {
            let _ = std::fs::remove_file(file);
        }
        let _ = std::fs::remove_dir(&folder);
    }
    written
}

/// What writes a rendering; whatever else can fail has been done when it is there.
type Rendering<'a> = Box<dyn FnOnce(&mut dyn io::Write) -> io::Result<()> + 'a>;

fn rendering(
    format: Format,
    document: &Document,
    style: reports::render::terminal::Style,
) -> Result<Rendering<'_>, Failure> {
    let text = match format {
        Format::Json => return Ok(Box::new(|out| reports::render::json::write(document, out))),
        Format::Html => reports::render::html::render(document)
            .map_err(|error| Failure::Internal(error.to_string()))?,
        Format::Md => reports::render::markdown::render(document),
        Format::Terminal => reports::render::terminal::render(document, style),
        Format::Summary => reports::render::summary::render(document),
        // Tables are no rendering of the document: see `write_tables`.
        Format::Parquet => String::new(),
    };
    Ok(Box::new(move |out| out.write_all(text.as_bytes())))
}

fn comparison_rendering(
    format: Format,
    document: &ComparisonDocument,
    style: reports::render::terminal::Style,
) -> Result<Rendering<'_>, Failure> {
    let text = match format {
        Format::Json => return Ok(Box::new(|out| comparison::write_json(document, out))),
        Format::Html => comparison::html::render(document)
            .map_err(|error| Failure::Internal(error.to_string()))?,
        Format::Md => comparison::markdown::render(document),
        Format::Terminal => comparison::terminal::render(document, style),
        Format::Summary => comparison::markdown::summary(document),
        // A comparison has no tables: refused before.
        Format::Parquet => String::new(),
    };
    Ok(Box::new(move |out| out.write_all(text.as_bytes())))
}

/// Colour only for a person at a terminal who did not decline it (no-color.org, CLICOLOR).
fn wants_colour() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if set("NO_COLOR") {
        return false;
    }
    let forced = std::env::var_os("CLICOLOR_FORCE").is_some_and(|value| value != "0");
    let declined = std::env::var_os("CLICOLOR").is_some_and(|value| value == "0");
    forced || (io::stdout().is_terminal() && !declined)
}
