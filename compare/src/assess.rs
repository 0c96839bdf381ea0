//! The ordinary analysis of one point.

use analyzer::pipeline::ConnectionSink;
use analyzer::pipeline::{self, Progress};
use analyzer::{Analysis, Connection, Error};
use rules::host::{HostFileUse, Witness};
use rules::{Assessment, Engine, RuleSink};

use crate::input::{Mask, PointInput, Settings};

/// What the rules say of one point alone.
pub(crate) struct Assessed {
    pub analysis: Analysis,
    pub assessment: Assessment,
    /// What became of the hosts' files; `None` without any.
    pub host_files: Option<Vec<HostFileUse>>,
}

/// Hands connections to the rules, without the names in them where that is asked for.
struct Sink<'a> {
    rules: RuleSink,
    mask: Option<&'a dyn Mask>,
    witness: Option<&'a Witness>,
}

impl ConnectionSink for Sink<'_> {
    fn connection(&mut self, connection: &Connection) {
        let settled = self.witness.and_then(|witness| witness.settle(connection));
        let connection = settled.as_ref().unwrap_or(connection);
        match self.mask {
            Some(mask) => self.rules.connection(&mask.connection(connection)),
            None => self.rules.connection(connection),
        }
    }
}

/// Analyses a point and runs the rules.
pub(crate) fn assess(
    point: &PointInput,
    settings: &Settings,
    (mask, witness): (Option<&dyn Mask>, Option<&Witness>),
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Assessed, Error> {
    let mut rules = settings.rules.clone();
    if let Some(witness) = witness {
        witness.advise(&mut rules);
    }
    let engine = Engine::new(rules);
    let mut done = 0;
    let shown = |state: Progress| {
        progress(state.bytes_read.saturating_sub(done));
        done = state.bytes_read;
    };
    let make_sink = || Sink {
        rules: engine.sink(),
        mask,
        witness,
    };
    let (analysis, sinks) = pipeline::run(&point.inputs, &settings.analysis, make_sink, shown)?;
    let analysis = match mask {
        Some(mask) => mask.analysis(analysis),
        None => analysis,
    };
    let sinks = sinks.into_iter().map(|sink| sink.rules).collect();
    let mut assessment = engine.finish(sinks, &analysis);
    let host_files = witness.map(|witness| witness.testify(&mut assessment, &settings.rules));
    Ok(Assessed {
        analysis,
        assessment,
        host_files,
    })
}
