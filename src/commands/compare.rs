//! `pcapdoc compare`: captures of several points → comparison → document → outputs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use analyzer::capture::Input;
use analyzer::pipeline::{Buffers, Progress};
use analyzer::{Analysis, Connection};
use compare::{Mask, PointInput};
use reports::Redactor;
use reports::comparison::evidence::PathEvidence;
use reports::comparison::{self, ComparisonDocument};
use rules::host::Witness;
use serde_json::json;

use crate::analysis::{pool, redactor, run_info, witness};
use crate::cli::{CompareArguments, PointHostArguments};
use crate::failure::Failure;
use crate::inputs::inputs;
use crate::interrupt;
use crate::log;
use crate::output::write_file;
use crate::outputs::{Plan, shown, stem_of};
use crate::progress::Meter;
use crate::settings::Settings;

/// Runs the subcommand.
pub fn run(arguments: &CompareArguments) -> Result<ExitCode, Failure> {
    let threads = arguments.analysis.threads.map_or(0, usize::from);
    pool(threads)?.install(|| run_in_pool(arguments))
}

fn run_in_pool(arguments: &CompareArguments) -> Result<ExitCode, Failure> {
    let redactor = redactor(&arguments.redaction)?;
    let points = points(&arguments.captures)?;
    let paths: Vec<PathBuf> = points.iter().map(|point| point.path.clone()).collect();
    let stem = format!("{}.compare", stem_of(&paths, redactor.as_ref()));
    let plan = Plan::of(&stem, &arguments.outputs)?;
    if plan.tables().is_some() {
        return Err(Failure::Usage(
            "a comparison has no tables: pcapdoc analyze CAPTURE --format parquet writes them"
                .to_owned(),
        ));
    }
    let mut settings = Settings::resolve(&paths, &arguments.analysis)?;
    let stop = interrupt::stop_first();
    settings.analysis.read.stop = stop.clone();
    let inputs: Vec<PointInput> = points.into_iter().map(|point| point.input).collect();
    log::tell("start", json!({"points": inputs.len()}));
    let witnesses = witnesses(&arguments.hosts, &inputs, &settings)?;
    let comparison = compared(&inputs, &settings, witnesses, redactor.as_ref())?;
    let limit = arguments.connections.most();
    let points: BTreeMap<String, Vec<Input>> = inputs
        .iter()
        .map(|point| (point.name.clone(), point.inputs.clone()))
        .collect();
    let mut document = ComparisonDocument::build(&comparison, limit, &run_info(&settings));
    if let Some(folder) = &arguments.evidence
        && !stop.is_set()
    {
        let read = &settings.analysis.read;
        let files =
            comparison::evidence::collect(&document, &points, read).map_err(Failure::Input)?;
        write_evidence(&mut document, &files, redactor.as_ref(), (folder, &stem))?;
    }
    if let Some(redactor) = &redactor {
        document = redactor
            .comparison(document)
            .map_err(|error| Failure::Internal(error.to_string()))?;
    }
    plan.write_comparison(&document)?;
    log::tell(
        "end",
        json!({
            "connections": document.connection_total,
            "findings": document.findings.len(),
            "severity": document.verdict.severity,
            "verdict": document.verdict.sentence,
            "interrupted": stop.is_set(),
        }),
    );
    let failed = arguments
        .fail_on
        .is_some_and(|limit| document.has_finding_at(limit));
    Ok(if stop.is_set() {
        interrupt::exit_code()
    } else if failed {
        ExitCode::from(1)
    } else {
        ExitCode::SUCCESS
    })
}

/// Writes one capture per finding and notes their names in the document.
fn write_evidence(
    document: &mut ComparisonDocument,
    files: &[PathEvidence],
    redactor: Option<&Redactor>,
    (folder, stem): (&Path, &str),
) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).map_err(|error| Failure::output(folder, error))?;
    for file in files {
        let name = format!("{stem}.{}", file.name());
        let path = folder.join(&name);
        write_file(&path, |out| file.write(out, redactor))?;
        let fields =
            json!({"files": [shown(&path)], "finding": file.finding, "frames": file.frames()});
        let text = format!("wrote {} ({} frames)", shown(&path), file.frames());
        log::say("wrote", &text, fields);
        let mut findings = document.findings.iter_mut();
        if let Some(placed) = findings.find(|one| one.finding.id == file.finding) {
            placed.finding.evidence_file = Some(name);
        }
    }
    Ok(())
}

/// The hosts' files of each point, laid beside its capture; none without any.
///
/// # Errors
/// When a point cannot be read at all.
fn witnesses(
    hosts: &PointHostArguments,
    points: &[PointInput],
    settings: &Settings,
) -> Result<Vec<Option<Arc<Witness>>>, Failure> {
    if hosts.host_evidence.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = points.iter().map(|point| point.name.as_str()).collect();
    let buffers = Buffers::default();
    let of_points = points.iter().map(|point| {
        let mut settings = settings.clone();
        settings.inputs.clone_from(&point.inputs);
        settings.hosts = hosts.of_point(&point.name, &names);
        Ok(witness(&settings, &buffers)?.map(Arc::new))
    });
    of_points.collect()
}

/// Compares with a meter.
fn compared(
    inputs: &[PointInput],
    settings: &Settings,
    witnesses: Vec<Option<Arc<Witness>>>,
    redactor: Option<&Redactor>,
) -> Result<compare::Comparison, Failure> {
    let meter = Meter::new();
    let total: Option<u64> = stored_bytes(inputs).map(|bytes| 2 * bytes);
    let read = AtomicU64::new(0);
    let show = |bytes: u64| {
        let bytes_read = read.fetch_add(bytes, Ordering::Relaxed) + bytes;
        meter.show(Progress {
            bytes_read,
            total_bytes: total,
            frames: 0,
        });
    };
    let settings = compare::Settings {
        analysis: settings.analysis.clone(),
        rules: settings.rules.clone(),
        witnesses,
    };
    let masked = redactor.map(Masked);
    let mask = masked.as_ref().map(|mask| mask as &dyn Mask);
    let comparison = compare::compare(inputs, &settings, mask, &show).map_err(Failure::Input)?;
    meter.finish();
    Ok(comparison)
}

/// What a redactor does to what the rules see.
struct Masked<'a>(&'a Redactor);

impl Mask for Masked<'_> {
    fn connection(&self, connection: &Connection) -> Connection {
        self.0.connection(connection)
    }

    fn analysis(&self, analysis: Analysis) -> Analysis {
        self.0.analysis(analysis)
    }
}

fn stored_bytes(points: &[PointInput]) -> Option<u64> {
    let inputs = points.iter().flat_map(|point| &point.inputs);
    inputs
        .map(|input| match input {
            Input::Path(path) => path.metadata().ok().map(|metadata| metadata.len()),
            Input::Stdin | Input::Stored(_) => None,
        })
        .sum()
}

/// One argument.
struct Named {
    path: PathBuf,
    input: PointInput,
}

/// The points that the arguments name.
fn points(arguments: &[String]) -> Result<Vec<Named>, Failure> {
    if arguments.len() < 2 {
        return Err(Failure::Usage(
            "compare needs the captures of at least two points; pcapdoc analyze judges one"
                .to_owned(),
        ));
    }
    let mut taken = BTreeSet::new();
    arguments
        .iter()
        .map(|argument| {
            let (name, path) = named(argument);
            if path == Path::new("-") {
                return Err(Failure::Usage(
                    "compare reads every capture twice, and standard input can be read only once: \
                     save it to a file and give that"
                        .to_owned(),
                ));
            }
            let name = name.unwrap_or_else(|| stem_of(std::slice::from_ref(&path), None));
            let unique = (1..)
                .map(|number| match number {
                    1 => name.clone(),
                    _ => format!("{name}-{number}"),
                })
                .find(|name| taken.insert(name.clone()))
                .unwrap_or_default();
            Ok(Named {
                input: PointInput {
                    name: unique,
                    inputs: inputs(std::slice::from_ref(&path))?,
                },
                path,
            })
        })
        .collect()
}

/// `NAME=CAPTURE`, unless a file of that whole name is there.
fn named(argument: &str) -> (Option<String>, PathBuf) {
    match argument.split_once('=') {
        Some((name, path))
            if !name.is_empty()
                && !name.contains(['/', '\\'])
                && !path.is_empty()
                && !Path::new(argument).exists() =>
        {
            (Some(name.to_owned()), PathBuf::from(path))
        }
        _ => (None, PathBuf::from(argument)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_has_the_name_before_the_sign() {
        assert_eq!(
            named("fw=a.pcap"),
            (Some("fw".to_owned()), PathBuf::from("a.pcap"))
        );
        assert_eq!(named("a.pcap"), (None, PathBuf::from("a.pcap")));
        assert_eq!(named("x/a=b.pcap"), (None, PathBuf::from("x/a=b.pcap")));
        assert_eq!(named("=b.pcap"), (None, PathBuf::from("=b.pcap")));
    }

    #[test]
    fn points_have_names_of_their_own() {
        let arguments = ["Cargo.toml".to_owned(), "Cargo.toml".to_owned()];
        let names: Vec<String> = points(&arguments)
            .unwrap()
            .into_iter()
            .map(|point| point.input.name)
            .collect();
        assert_eq!(names, ["Cargo.toml", "Cargo.toml-2"]);
        assert!(points(&arguments[..1]).is_err());
    }
}
