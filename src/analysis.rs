//! From captures to the document: the analysis, whatever becomes of its result.

use std::hash::{BuildHasher, RandomState};

use analyzer::Connection;
use analyzer::pipeline::{self, ConnectionSink};
use reports::{ConnectionCollector, Document, Redactor, RunInfo};
use rules::engine::{Engine, RuleSink};

use crate::cli::RedactionArguments;
use crate::failure::Failure;
use crate::progress::Meter;
use crate::settings::Settings;

/// Both consumers of finished connections.
struct Sink<'a> {
    rules: RuleSink,
    collector: ConnectionCollector,
    redactor: Option<&'a Redactor>,
}

impl ConnectionSink for Sink<'_> {
    fn connection(&mut self, connection: &Connection) {
        match self.redactor {
            Some(redactor) => self.take(&redactor.connection(connection)),
            None => self.take(connection),
        }
    }
}

impl Sink<'_> {
    fn take(&mut self, connection: &Connection) {
        self.rules.connection(connection);
        self.collector.connection(connection);
    }
}

/// Analyses the captures of `settings` and lists at most `connections` of them.
///
/// With a redactor, names are masked; addresses are not yet (see [`Redactor::document`]): the
/// frames of the findings could not be found again.
pub fn analyse(
    settings: &Settings,
    connections: Option<usize>,
    redactor: Option<&Redactor>,
) -> Result<Document, Failure> {
    let run = RunInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        arguments: std::env::args_os()
            .skip(1)
            .map(|argument| argument.to_string_lossy().into_owned())
            .collect(),
        configuration: Vec::new(),
        configuration_file: settings
            .configuration_file
            .as_ref()
            .map(|file| file.display().to_string()),
    };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(settings.threads)
        .build()
        .map_err(|error| Failure::Internal(error.to_string()))?;
    let engine = Engine::new(settings.rules.clone());
    let make_sink = || Sink {
        rules: engine.sink(),
        collector: ConnectionCollector::new(connections),
        redactor,
    };
    let meter = Meter::new();
    let (analysis, sinks) = pool
        .install(|| {
            pipeline::run(
                &settings.inputs,
                &settings.analysis,
                make_sink,
                |progress| {
                    meter.show(progress);
                },
            )
        })
        .map_err(Failure::Input)?;
    meter.finish();
    let (rule_sinks, collectors): (Vec<_>, Vec<_>) = sinks
        .into_iter()
        .map(|sink| (sink.rules, sink.collector))
        .unzip();
    let analysis = match redactor {
        Some(redactor) => redactor.analysis(analysis),
        None => analysis,
    };
    let assessment = engine.finish(rule_sinks, &analysis);
    let collector = ConnectionCollector::merged(collectors);
    Document::build(&analysis, &assessment, collector, &run)
        .map_err(|error| Failure::Internal(error.to_string()))
}

/// The redactor that the arguments ask for, if any.
pub fn redactor(arguments: &RedactionArguments) -> Result<Option<Redactor>, Failure> {
    let key = match &arguments.redact_key {
        Some(file) => std::fs::read(file).map_err(|error| {
            Failure::Usage(format!(
                "could not read the key file {}: {error}",
                file.display()
            ))
        })?,
        None if arguments.redact => fresh_key(),
        None => return Ok(None),
    };
    if key.len() < 16 {
        return Err(Failure::Usage(
            "the key for redaction has fewer than 16 bytes: anybody could try all of them"
                .to_owned(),
        ));
    }
    Ok(Some(Redactor::new(&key)))
}

/// A key that nobody else has: std seeds its hashers with 128 bits from the operating system.
fn fresh_key() -> Vec<u8> {
    let secret = RandomState::new();
    (0..4_u8)
        .flat_map(|part| secret.hash_one(part).to_be_bytes())
        .collect()
}
