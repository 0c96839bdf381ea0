//! The ordinary analysis of one point.

use analyzer::pipeline::{self, Progress};
use analyzer::{Analysis, Error};
use rules::{Assessment, Engine};

use crate::{PointInput, Settings};

/// What the rules say of one point alone.
pub(crate) struct Assessed {
    pub analysis: Analysis,
    pub assessment: Assessment,
}

/// Analyses a point and runs the rules.
pub(crate) fn assess(
    point: &PointInput,
    settings: &Settings,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Assessed, Error> {
    let engine = Engine::new(settings.rules.clone());
    let mut done = 0;
    let shown = |state: Progress| {
        progress(state.bytes_read.saturating_sub(done));
        done = state.bytes_read;
    };
    let (analysis, sinks) =
        pipeline::run(&point.inputs, &settings.analysis, || engine.sink(), shown)?;
    let assessment = engine.finish(sinks, &analysis);
    Ok(Assessed {
        analysis,
        assessment,
    })
}
