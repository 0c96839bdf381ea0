//! From captures to the draft of a document: the analysis, whatever becomes of its result.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use analyzer::capture::Input;
use analyzer::pipeline::{self, Buffers, ConnectionSink, Progress};
use analyzer::{Analysis, Connection, PacketFilter, QualityKind, QualityNote};
use hostfiles::HostFiles;
use rayon::{ThreadPool, ThreadPoolBuilder};
use reports::dataset::{RowSink, Spill, Tables};
use reports::{ConnectionCollector, Draft, Redactor, RunInfo};
use rules::engine::{Engine, RuleSink};
use rules::host::{Acquaintance, Witness};

use crate::cli::RedactionArguments;
use crate::failure::Failure;
use crate::progress::Meter;
use crate::settings::Settings;

/// What an analysis gives beside the findings.
pub struct Wanted<'a> {
    /// Connections listed in the document; `None` lists all.
    pub connections: Option<usize>,
    /// What masks names; addresses are not yet masked (see [`Redactor::document`]): the frames of
    /// the findings could not be found again.
    pub redactor: Option<&'a Redactor>,
    /// The dataset's rows, under this name and with this place for what does not fit into memory.
    pub rows: Option<(String, Arc<Spill>)>,
}

/// All consumers of finished connections.
struct Sink<'a> {
    witness: Option<&'a Witness>,
    rules: RuleSink,
    collector: ConnectionCollector,
    rows: Option<RowSink>,
    redactor: Option<&'a Redactor>,
}

impl ConnectionSink for Sink<'_> {
    fn connection(&mut self, connection: &Connection) {
        let settled = self.witness.and_then(|witness| witness.settle(connection));
        let connection = settled.as_ref().unwrap_or(connection);
        match self.redactor {
            Some(redactor) => self.take(connection, &redactor.connection(connection)),
            None => self.take(connection, connection),
        }
    }
}

impl Sink<'_> {
    /// Takes a connection as it is, and as it is shown.
    fn take(&mut self, truly: &Connection, connection: &Connection) {
        self.rules.masked(truly, connection);
        self.collector.connection(connection);
        if let Some(rows) = &mut self.rows {
            rows.connection(connection);
        }
    }
}

/// The threads of a command; 0 for as many as there are cores.
pub fn pool(threads: usize) -> Result<ThreadPool, Failure> {
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| Failure::Internal(error.to_string()))
}

/// Analyses the captures of `settings` and lists at most `connections` of them, with a meter and
/// on the current rayon pool; names are masked as [`Wanted::redactor`] says.
pub fn analyse(
    settings: &Settings,
    connections: Option<usize>,
    redactor: Option<&Redactor>,
) -> Result<Draft, Failure> {
    let wanted = Wanted {
        connections,
        redactor,
        rows: None,
    };
    analyse_shown(settings, &wanted).map(|(draft, _)| draft)
}

/// As [`analyse`], with everything that may be wanted.
pub fn analyse_shown(
    settings: &Settings,
    wanted: &Wanted<'_>,
) -> Result<(Draft, Option<Tables>), Failure> {
    let meter = Meter::new();
    let show = |progress: Progress| meter.show(progress);
    let result = analyse_quietly(settings, &Buffers::default(), wanted, show)?;
    meter.finish();
    Ok(result)
}

/// The analysis itself, on the current rayon pool, with the memory that earlier ones left.
///
/// # Errors
/// When no input can be read at all.
pub fn analyse_quietly(
    settings: &Settings,
    buffers: &Buffers,
    wanted: &Wanted<'_>,
    progress: impl FnMut(Progress),
) -> Result<(Draft, Option<Tables>), Failure> {
    let witness = witness(settings, buffers)?;
    let mut rules = settings.rules.clone();
    if let Some(witness) = &witness {
        witness.advise(&mut rules);
    }
    let engine = Engine::new(rules);
    let collector = ConnectionCollector::new(wanted.connections);
    let make_sink = || Sink {
        witness: witness.as_ref(),
        rules: engine.sink(),
        collector: collector.share(),
        rows: wanted.rows.as_ref().map(|(_, spill)| RowSink::new(spill)),
        redactor: wanted.redactor,
    };
    let (inputs, analysis) = (&settings.inputs, &settings.analysis);
    let (analysis, sinks) = pipeline::run_with(buffers, inputs, analysis, make_sink, progress)
        .map_err(Failure::Input)?;
    let mut rule_sinks = Vec::with_capacity(sinks.len());
    let mut collectors = Vec::with_capacity(sinks.len());
    let mut row_sinks = Vec::with_capacity(sinks.len());
    for sink in sinks {
        rule_sinks.push(sink.rules);
        collectors.push(sink.collector);
        row_sinks.extend(sink.rows);
    }
    let judged = Judged {
        witness,
        engine,
        analysis,
        rules: rule_sinks,
        collectors,
        rows: row_sinks,
    };
    Ok(drafted(settings, judged, wanted))
}

/// What an analysis came to before the rules conclude.
pub struct Judged {
    pub witness: Option<Witness>,
    pub engine: Engine,
    pub analysis: Analysis,
    /// Of the shards, by number.
    pub rules: Vec<RuleSink>,
    pub collectors: Vec<ConnectionCollector>,
    /// Those of the dataset, when it is wanted.
    pub rows: Vec<RowSink>,
}

/// Has the rules conclude, and makes a draft of what they found.
pub fn drafted(
    settings: &Settings,
    judged: Judged,
    wanted: &Wanted<'_>,
) -> (Draft, Option<Tables>) {
    let Judged {
        witness,
        engine,
        mut analysis,
        rules: rule_sinks,
        collectors,
        rows: row_sinks,
    } = judged;
    analysis.quality.extend(two_points(settings, &analysis));
    let analysis = match wanted.redactor {
        Some(redactor) => redactor.analysis(analysis),
        None => analysis,
    };
    let (mut assessment, collector) = rayon::join(
        || engine.finish(rule_sinks, &analysis),
        || ConnectionCollector::merged(collectors),
    );
    let host_files = witness.map(|witness| {
        let files = witness.testify(&mut assessment, &settings.rules);
        (files, witness.snapshots())
    });
    let filter = &settings.analysis.filter;
    if !filter.is_open() {
        assessment
            .notices
            .insert(0, partial(filter, wanted.redactor.is_some()));
    }
    let mut draft = Draft::new(&analysis, &assessment, collector, &run_info(settings));
    if let Some((files, snapshots)) = host_files {
        draft = draft.with_host_files(files, snapshots);
    }
    let tables = wanted.rows.as_ref().map(|(capture_set, _)| {
        Tables::new(capture_set, row_sinks, &analysis, &assessment, &draft)
    });
    (draft, tables)
}

/// Host files laid beside the capture, which is read once for that; `None` without any.
///
/// # Errors
/// When no input can be read at all.
pub fn witness(settings: &Settings, buffers: &Buffers) -> Result<Option<Witness>, Failure> {
    let hosts = &settings.hosts;
    if !hosts.is_asked() {
        return Ok(None);
    }
    let (inputs, analysis) = (&settings.inputs, &settings.analysis);
    let known = pipeline::run_with(buffers, inputs, analysis, Acquaintance::default, |_| {});
    let (_, known) = known.map_err(Failure::Input)?;
    let known = Acquaintance::merged(known);
    let taken = hosts.host_evidence_time.iter().cloned().collect();
    let ends = known.ends();
    let wanted = |local, peer| ends.interest(local, peer);
    let files = HostFiles::read(&hosts.host_evidence, &taken, &wanted);
    Ok(Some(Witness::new(files, known)))
}

/// Says that files of one set, which overlap in time, hold both ends of one path: their packets
/// are then copies of each other, and belong into a comparison.
fn two_points(settings: &Settings, analysis: &Analysis) -> Option<QualityNote> {
    let files = &analysis.summary.files;
    let overlap = files.iter().enumerate().any(|(at, one)| {
        files[at + 1..]
            .iter()
            .any(|other| one.first <= other.last && other.first <= one.last)
    });
    if settings.inputs.len() < 2 || !overlap {
        return None;
    }
    // The analysis has read them: that one cannot be read again takes nothing away from it.
    // A pipe gives its bytes once.
    let is_file = |input: &Input| matches!(input, Input::Path(path) if path.is_file());
    if !settings.inputs.iter().all(is_file) {
        return None;
    }
    let found = compare::both_ends(&settings.inputs, &settings.analysis.read).ok()??;
    let [one, other] = &found.files;
    Some(QualityNote {
        kind: QualityKind::TwoPoints,
        count: found.connections,
        note: format!(
            "{one} and {other} hold the same {} connections at different times: they were \
            captured at two points of one path; analyse each by itself, and both with `pcapdoc \
            compare {one} {other}`",
            found.connections
        ),
    })
}

/// Says that not all packets were analyzed.
fn partial(filter: &PacketFilter, redacted: bool) -> String {
    if redacted {
        return "only a part of the packets was analyzed, by time, host or port".to_owned();
    }
    format!("only a part of the packets was analyzed: {filter}")
}

/// How the program was called, for the report's last section.
pub fn run_info(settings: &Settings) -> RunInfo {
    RunInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        arguments: std::env::args_os()
            .skip(1)
            .map(|argument| argument.to_string_lossy().into_owned())
            .collect(),
        configuration: settings.configuration.clone(),
        configuration_file: settings
            .configuration_file
            .as_ref()
            .map(|file| file.display().to_string()),
    }
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
            "the redaction key has fewer than 16 bytes: it could be found by trying all of them"
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
