//! `pcapdoc conclude`: what the files and the shards of a set came to → the reports.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use analyzer::capture::{Input, reading_order};
use analyzer::pipeline::{self, FileFacts};
use reports::ConnectionCollector;
use rules::engine::Engine;

use crate::analysis::{Judged, drafted, pool};
use crate::cli::{
    AnalyzeArguments, ConcludeArguments, HostArguments, LogFormat, RedactionArguments,
};
use crate::commands::analyze;
use crate::commands::judge::{must_be_able_to, open};
use crate::failure::Failure;
use crate::parts::rows::{self, Kind};
use crate::parts::state::{State, replay};
use crate::parts::{format, judging_options, must_agree};
use crate::settings::Settings;

/// Runs the subcommand.
pub fn run(arguments: ConcludeArguments) -> Result<ExitCode, Failure> {
    let threads = arguments.analysis.threads.map_or(0, usize::from);
    pool(threads)?.install(|| run_in_pool(arguments))
}

fn run_in_pool(arguments: ConcludeArguments) -> Result<ExitCode, Failure> {
    let mut settings = Settings::resolve(&[], &arguments.analysis)?;
    must_be_able_to(&settings)?;
    let parts = Parts::read(&arguments.states)?;
    let names = parts.files.values();
    let names: Vec<PathBuf> = names.map(|facts| PathBuf::from(&facts.part.name)).collect();
    settings.inputs = names.iter().cloned().map(Input::Path).collect();
    let arguments = as_of_analyze(arguments, names);
    let reporting = analyze::Reporting::new(&arguments)?;
    if reporting.wants_tables() {
        return Err(Failure::Usage(
            "conclude has no rows for --format parquet: connections were judged elsewhere"
                .to_owned(),
        ));
    }
    let wanted = reporting.wanted();
    let judged = judged(parts, &settings, wanted.connections)?;
    let (draft, _) = drafted(&settings, judged, &wanted);
    reporting.report(draft, &settings)
}

/// The arguments with which `analyze` would do the same from these captures.
fn as_of_analyze(arguments: ConcludeArguments, captures: Vec<PathBuf>) -> AnalyzeArguments {
    AnalyzeArguments {
        captures,
        reporting: arguments.reporting,
        evidence: None,
        open: false,
        log: LogFormat::Text,
        hosts: HostArguments::default(),
        analysis: arguments.analysis,
        redaction: RedactionArguments {
            redact: false,
            redact_key: None,
        },
    }
}

/// All that was handed on, by number.
#[derive(Default)]
struct Parts {
    files: BTreeMap<i32, FileFacts>,
    states: BTreeMap<u32, State>,
}

impl Parts {
    fn read(paths: &[PathBuf]) -> Result<Self, Failure> {
        let mut parts = Self::default();
        for path in paths {
            rows::read(open(path)?, path, |row| {
                let twice = |what: String| {
                    let message = format!("{what} was handed on before: give each stream once");
                    Failure::Input(analyzer::Error::new(path.as_path(), message))
                };
                match row.kind {
                    Kind::Facts => {
                        let name = format!("file {}", row.source);
                        let facts = format::read(row.bytes, &name)?;
                        if parts.files.insert(row.source, facts).is_some() {
                            return Err(twice(name));
                        }
                    }
                    Kind::State => {
                        let name = format!("shard {}", row.shard);
                        let state: State = format::read(row.bytes, &name)?;
                        if parts.states.insert(state.shard, state).is_some() {
                            return Err(twice(name));
                        }
                    }
                    // Packets and heads are for judges.
                    Kind::Packet | Kind::Head => {}
                }
                Ok(())
            })?;
        }
        if parts.files.is_empty() {
            return Err(Failure::Usage(
                "there are no rows of files: give the rows of segment as well, or judge them from one \
                 stream"
                    .to_owned(),
            ));
        }
        Ok(parts)
    }
}

/// What an analysis on one machine would have come to before the rules conclude.
fn judged(
    parts: Parts,
    settings: &Settings,
    connections: Option<usize>,
) -> Result<Judged, Failure> {
    let engine = Engine::new(settings.rules.clone());
    let collector = ConnectionCollector::new(connections);
    let options = judging_options(settings);
    let (mut shards, mut rule_sinks, mut collectors) = (Vec::new(), Vec::new(), Vec::new());
    for (number, state) in parts.states {
        must_agree(
            options,
            state.options,
            &format!("shard {number} was judged"),
        )?;
        replay(&state.connections, &engine, &collector)?;
        let rules = engine.sink_of(state.rules).ok_or_else(|| {
            Failure::Internal(format!("shard {number} was judged by other rules"))
        })?;
        rule_sinks.push(rules);
        collectors.push(collector.share_of(state.collector));
        shards.push(state.part);
    }
    if collectors.is_empty() {
        collectors.push(collector);
    }
    let keys: Vec<_> = parts
        .files
        .values()
        .map(|facts| (facts.part.is_there, facts.part.first))
        .collect();
    let mut files: Vec<Option<FileFacts>> = parts.files.into_values().map(Some).collect();
    let order = reading_order(&keys).into_iter();
    let files: Vec<FileFacts> = order.filter_map(|at| files[at].take()).collect();
    let analysis = pipeline::conclude(files, &settings.analysis, shards).map_err(Failure::Input)?;
    Ok(Judged {
        witness: None,
        engine,
        analysis,
        rules: rule_sinks,
        collectors,
        rows: Vec::new(),
    })
}
