//! `pcapdoc conclude`: what the files and the shards of a set came to → the reports.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use analyzer::capture::{Input, reading_order};
use analyzer::pipeline::{self, FileFacts, ShardPart};
use reports::ConnectionCollector;
use rules::engine::{Engine, RuleSink};

use crate::analysis::{Judged, Wanted, drafted, pool};
use crate::cli::{
    AnalyzeArguments, ConcludeArguments, HostArguments, LogFormat, RedactionArguments,
};
use crate::commands::analyze;
use crate::commands::judge::must_be_able_to;
use crate::failure::Failure;
use crate::inputs::input;
use crate::parts::dataset::Dataset;
use crate::parts::rows::{self, Kind};
use crate::parts::state::{Origin, State, replay};
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
    let dataset = Dataset::of(&arguments.rows)?;
    let connections = arguments.reporting.connections.most();
    let parts = Parts::read(&settings, &arguments.states, connections)?;
    let names = parts.files.values();
    let names: Vec<PathBuf> = names.map(|facts| PathBuf::from(&facts.part.name)).collect();
    // What cannot be read here leaves reports without what takes a second reading.
    let readable = |path: &PathBuf| input(path).unwrap_or_else(|_| Input::Path(path.clone()));
    settings.inputs = names.iter().map(readable).collect();
    let arguments = as_of_analyze(arguments, names);
    let reporting = analyze::Reporting::new(&arguments)?;
    if reporting.wants_tables() {
        return Err(Failure::Usage(
            "conclude has no rows for --format parquet, for connections were judged elsewhere: give \
             judge and conclude the same --rows DIR"
                .to_owned(),
        ));
    }
    let judged = judged(parts, &settings)?;
    let start = judged.analysis.summary.first;
    let wanted = Wanted {
        rows: dataset.as_ref().map(Dataset::set),
        ..reporting.wanted()
    };
    let (draft, tables) = drafted(&settings, judged, &wanted);
    if let (Some(dataset), Some(tables)) = (&dataset, tables) {
        dataset.write(tables, start, "set")?;
    }
    reporting.report(draft, &settings)
}

/// The arguments with which `analyze` would do the same from these captures.
fn as_of_analyze(arguments: ConcludeArguments, captures: Vec<PathBuf>) -> AnalyzeArguments {
    AnalyzeArguments {
        captures,
        reporting: arguments.reporting,
        evidence: arguments.evidence,
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

/// All that was handed on.
struct Parts {
    /// What states must have been judged with.
    options: u64,
    files: BTreeMap<i32, FileFacts>,
    engine: Engine,
    collector: ConnectionCollector,
    /// Whose state is there, with what shards counted, by their numbers behind what files settled.
    states: BTreeMap<Origin, Counted>,
}

/// What is left of a state once its connections were handed to the rules.
struct Counted {
    part: ShardPart,
    rules: RuleSink,
    collector: ConnectionCollector,
}

impl Parts {
    fn read(
        settings: &Settings,
        paths: &[PathBuf],
        connections: Option<usize>,
    ) -> Result<Self, Failure> {
        let mut parts = Self {
            options: judging_options(settings),
            files: BTreeMap::new(),
            engine: Engine::new(settings.rules.clone()),
            collector: ConnectionCollector::new(connections),
            states: BTreeMap::new(),
        };
        for path in paths {
            rows::read(rows::open(path)?, path, |row| match row.kind {
                Kind::Facts => {
                    let name = format!("file {}", row.source);
                    let facts = format::read(row.bytes, &name)?;
                    let twice = parts.files.insert(row.source, facts).is_some();
                    once(twice, &name, path)
                }
                Kind::State => {
                    let state: State = format::read(row.bytes, "a state")?;
                    let origin = state.origin;
                    let twice = parts.states.contains_key(&origin);
                    once(twice, &origin.to_string(), path)?;
                    parts.take(state)
                }
                // Packets, heads and keys are for judges.
                Kind::Packet | Kind::Head | Kind::Keys => Ok(()),
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

    /// Takes a state; its connections are not held.
    fn take(&mut self, state: State) -> Result<(), Failure> {
        let origin = state.origin;
        must_agree(self.options, state.options, &format!("{origin} was judged"))?;
        replay(state.connections, &self.engine, &self.collector)?;
        self.collector.add_top_rows(state.top);
        let rules = self
            .engine
            .sink_of(state.rules)
            .ok_or_else(|| Failure::Internal(format!("{origin} was judged by other rules")))?;
        let counted = Counted {
            part: state.part,
            rules,
            collector: self.collector.share_of(state.collector),
        };
        self.states.insert(origin, counted);
        Ok(())
    }
}

/// Refuses what is there twice.
fn once(twice: bool, what: &str, path: &Path) -> Result<(), Failure> {
    if !twice {
        return Ok(());
    }
    let message = format!("{what} was handed on before: give each stream once");
    Err(Failure::Input(analyzer::Error::new(path, message)))
}

/// What an analysis on one machine would have come to before the rules conclude.
fn judged(parts: Parts, settings: &Settings) -> Result<Judged, Failure> {
    let (mut shards, mut rule_sinks, mut collectors) = (Vec::new(), Vec::new(), Vec::new());
    for counted in parts.states.into_values() {
        shards.push(counted.part);
        rule_sinks.push(counted.rules);
        collectors.push(counted.collector);
    }
    if collectors.is_empty() {
        collectors.push(parts.collector);
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
        engine: parts.engine,
        analysis,
        rules: rule_sinks,
        collectors,
        rows: Vec::new(),
    })
}
