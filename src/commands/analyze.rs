//! `pcapdoc analyze`: captures → analysis → findings → document → outputs.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use analyzer::pipeline::Buffers;
use reports::dataset::Spill;
use reports::document::Trace;
use reports::{Afterwards, Document, Draft, Redactor};
use serde_json::{Value, json};

use crate::analysis::{Wanted, analyse, analyse_quietly, analyse_shown, pool, redactor};
use crate::cli::AnalyzeArguments;
use crate::commands::evidence;
use crate::failure::Failure;
use crate::hashes;
use crate::interrupt;
use crate::log;
use crate::outputs::{Plan, shown, stem_of, write_tables};
use crate::settings::Settings;

/// Runs the subcommand.
pub fn run(arguments: &AnalyzeArguments) -> Result<ExitCode, Failure> {
    let threads = arguments.analysis.threads.map_or(0, usize::from);
    pool(threads)?.install(|| run_in_pool(arguments))
}

/// The result alone: neither masked nor written, and without a meter.
pub fn document(arguments: &AnalyzeArguments) -> Result<Document, Failure> {
    let threads = arguments.analysis.threads.map_or(0, usize::from);
    pool(threads)?.install(|| {
        let mut settings = Settings::resolve(&arguments.captures, &arguments.analysis)?;
        settings.hosts = arguments.hosts.clone();
        let wanted = Wanted {
            connections: arguments.reporting.connections.most(),
            redactor: None,
            rows: None,
        };
        let (draft, _) = analyse_quietly(&settings, &Buffers::default(), &wanted, |_| {})?;
        let afterwards = read_again(&draft, arguments, &settings, true);
        let mut document = draft.finish(afterwards);
        lay_against(&mut document, good_day(arguments)?.as_ref());
        Ok(document)
    })
}

/// What the files must be read again for: traces of cited connections, and the files' hashes when
/// they are wanted.
fn read_again(
    draft: &Draft,
    arguments: &AnalyzeArguments,
    settings: &Settings,
    hashed: bool,
) -> Afterwards {
    let is_pipe = evidence::must_be_readable_twice(&arguments.captures).is_err();
    let interrupted = settings.analysis.read.stop.is_set();
    let (traces, hashes) = rayon::join(
        || traces(draft, settings, is_pipe, interrupted),
        || hashed.then(|| hashes::of_files(draft.document())),
    );
    Afterwards {
        untraced: traces.as_ref().err().cloned(),
        traces: traces.unwrap_or_default(),
        hashes: hashes.unwrap_or_default(),
        evidence_files: BTreeMap::new(),
    }
}

fn run_in_pool(arguments: &AnalyzeArguments) -> Result<ExitCode, Failure> {
    let reporting = Reporting::new(arguments)?;
    let mut settings = Settings::resolve(&arguments.captures, &arguments.analysis)?;
    settings.hosts = arguments.hosts.clone();
    let stop = interrupt::stop_first();
    log::tell("start", json!({"inputs": settings.inputs.len()}));
    settings.analysis.read.stop = stop;
    let wanted = reporting.wanted();
    let draft = match reporting.plan.tables() {
        Some(_) if reporting.redactor.is_some() => {
            return Err(Failure::Usage(
                "--format parquet is not redacted: leave out one of the two".to_owned(),
            ));
        }
        Some(folder) => with_tables(&settings, wanted.connections, &reporting.stem, folder)?,
        None => analyse(&settings, wanted.connections, wanted.redactor)?,
    };
    reporting.report(draft, &settings)
}

/// What becomes of a draft, as the arguments say; checked before the work, so that what is wrong costs
/// no analysis.
pub struct Reporting<'a> {
    arguments: &'a AnalyzeArguments,
    redactor: Option<Redactor>,
    plan: Plan,
    /// What files are named after.
    stem: String,
    /// The report of a good day.
    good: Option<Document>,
}

impl<'a> Reporting<'a> {
    /// What the arguments ask for.
    ///
    /// # Errors
    /// When it cannot be done.
    pub fn new(arguments: &'a AnalyzeArguments) -> Result<Self, Failure> {
        let redactor = redactor(&arguments.redaction)?;
        let stem = stem_of(&arguments.captures, redactor.as_ref());
        let plan = Plan::of(&stem, &arguments.reporting.outputs)?;
        if let Some(folder) = &arguments.evidence {
            evidence::must_be_readable_twice(&arguments.captures)?;
            std::fs::create_dir_all(folder).map_err(|error| Failure::output(folder, error))?;
        }
        if arguments.hosts.is_asked() {
            evidence::must_be_readable_twice(&arguments.captures)?;
        }
        let good = good_day(arguments)?;
        if good.is_some() && redactor.is_some() {
            return Err(Failure::Usage(
                "--against names what --redact hides: leave out one of the two".to_owned(),
            ));
        }
        Ok(Self {
            arguments,
            redactor,
            plan,
            stem,
            good,
        })
    }

    /// What the draft must hold.
    pub fn wanted(&self) -> Wanted<'_> {
        Wanted {
            connections: self.arguments.reporting.connections.most(),
            redactor: self.redactor.as_ref(),
            rows: None,
        }
    }

    /// Whether tables are to be written.
    pub fn wants_tables(&self) -> bool {
        self.plan.tables().is_some()
    }

    /// Writes what is asked for.
    ///
    /// # Errors
    /// When it cannot be written, or the capture was not read to its end and had to be.
    pub fn report(self, draft: Draft, settings: &Settings) -> Result<ExitCode, Failure> {
        let (arguments, stop) = (self.arguments, &settings.analysis.read.stop);
        let redactor = self.redactor.as_ref();
        let mut afterwards = read_again(&draft, arguments, settings, redactor.is_none());
        if arguments.reporting.strict {
            must_be_complete(draft.document())?;
        }
        if let Some(folder) = &arguments.evidence
            && !stop.is_set()
        {
            let document = draft.document();
            afterwards.evidence_files =
                evidence::write_all(document, settings, redactor, folder, &self.stem)?;
        }
        let mut document = draft.finish(afterwards);
        lay_against(&mut document, self.good.as_ref());
        if let Some(redactor) = redactor {
            document = redactor
                .document(document)
                .map_err(|error| Failure::Internal(error.to_string()))?;
        }
        let html = self.plan.write(&document)?;
        log::tell("end", told(&document, stop.is_set()));
        if arguments.open
            && let Some(html) = html
        {
            open_in_browser(&html);
        }
        let failed = arguments
            .reporting
            .fail_on
            .is_some_and(|limit| document.has_finding_at(limit));
        // The program ends: to free a hundred thousand strings first takes time.
        std::mem::forget(document);
        Ok(if stop.is_set() {
            interrupt::exit_code()
        } else if failed {
            ExitCode::from(1)
        } else {
            ExitCode::SUCCESS
        })
    }
}

/// The report of a good day, when there is one; read before the work, so that a wrong file costs no
/// analysis.
fn good_day(arguments: &AnalyzeArguments) -> Result<Option<Document>, Failure> {
    let Some(path) = &arguments.reporting.against else {
        return Ok(None);
    };
    let failed = |error: &dyn Display| {
        Failure::Usage(format!(
            "{} is no report that analyze --format json wrote: {error}",
            shown(path)
        ))
    };
    let file = File::open(path).map_err(|error| failed(&error))?;
    let read = reports::render::json::read(BufReader::new(file));
    read.map(Some).map_err(|error| failed(&error))
}

fn lay_against(document: &mut Document, good: Option<&Document>) {
    document.against = good.map(|good| reports::against::compare(good, document));
}

/// What a program is told of the result, at the end.
fn told(document: &Document, interrupted: bool) -> Value {
    json!({
        "packets": document.capture.packets,
        "bytes": document.capture.bytes,
        "connections": document.connection_total,
        "findings": document.findings.len(),
        "severity": document.verdict.severity,
        "verdict": document.verdict.sentence,
        "interrupted": interrupted,
    })
}

/// The traces of cited connections, or why there are none. A capture that cannot be read again,
/// because it was moved meanwhile, costs the graphs and nothing else.
fn traces(
    draft: &Draft,
    settings: &Settings,
    is_pipe: bool,
    interrupted: bool,
) -> Result<Vec<Trace>, String> {
    let mut findings = draft.document().findings.iter();
    if !findings.any(|finding| finding.cites_tcp()) {
        return Ok(Vec::new());
    }
    if is_pipe {
        return Err(
            "the capture came through a pipe and cannot be read a second time; \
             write it to a file and analyse that"
                .to_owned(),
        );
    }
    if interrupted {
        return Err("the analysis was interrupted".to_owned());
    }
    let read = &settings.analysis.read;
    reports::again::trace::collect(draft, &settings.inputs, read)
        .map_err(|error| format!("the capture could not be read again: {error}"))
}

/// Analyses and writes the tables.
fn with_tables(
    settings: &Settings,
    connections: Option<usize>,
    stem: &str,
    folder: &Path,
) -> Result<Draft, Failure> {
    let scratch =
        tempfile::tempdir().map_err(|error| Failure::output(&std::env::temp_dir(), error))?;
    let wanted = Wanted {
        connections,
        redactor: None,
        rows: Some((
            stem.to_owned(),
            Arc::new(Spill::new(scratch.path().to_owned())),
        )),
    };
    let (draft, tables) = analyse_shown(settings, &wanted)?;
    if let Some(tables) = tables {
        write_tables(folder, tables)?;
    }
    Ok(draft)
}

/// What `--strict` asks for: no file was damaged, cut, unreadable or left before its end.
fn must_be_complete(document: &Document) -> Result<(), Failure> {
    let notes = &document.capture.quality;
    match notes
        .iter()
        .find(|note| note.kind == analyzer::QualityKind::CutShort.as_str())
    {
        Some(note) => Err(Failure::Incomplete(note.note.clone())),
        None => Ok(()),
    }
}

/// Best effort: the report is written whether or not a browser is there.
fn open_in_browser(path: &Path) {
    let opener = if cfg!(target_os = "macos") {
        "open"
    } else {
        "xdg-open"
    };
    let started = Command::new(opener)
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if started.is_err() {
        let text = format!("no {opener} to open {} with", shown(path));
        log::say("not_opened", &text, json!({"opener": opener}));
    }
}
