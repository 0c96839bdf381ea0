//! `pcapdoc judge`: the packets of shards → what became of their connections, as rows.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use rules::engine::Engine;

use crate::cli::JudgeArguments;
use crate::failure::Failure;
use crate::parts::dataset::Dataset;
use crate::parts::judging::Judging;
use crate::parts::rows::{self, Kind, Row, RowWriter};
use crate::parts::state::{Origin, State};
use crate::parts::{Head, format};
use crate::settings::Settings;

/// Runs the subcommand.
pub fn run(arguments: &JudgeArguments) -> Result<ExitCode, Failure> {
    let settings = Settings::resolve(&[], &arguments.analysis)?;
    must_be_able_to(&settings)?;
    let limit = arguments.connections.most();
    let is_sorted = !arguments.files.is_empty();
    let judging = if is_sorted {
        Judging::of_known(&settings, &heads(&arguments.files)?, limit)?
    } else {
        Judging::of_stream(&settings, limit)
    };
    let dataset = Dataset::of(&arguments.dataset)?;
    let mut judging = judging.with_rows(dataset.as_ref());
    let mut out = RowWriter::new(rows::stdout()?)?;
    for path in &arguments.rows {
        rows::read(rows::open(path)?, path, |row| {
            match row.kind {
                Kind::Packet => {
                    if let Some(state) = judging.packet(row)? {
                        write(&state, &mut out)?;
                    }
                }
                Kind::Head if !is_sorted => {
                    judging.file(&format::read(row.bytes, "a file's head")?)?
                }
                // What is not for judges passes through.
                Kind::Facts if !is_sorted => out.push(row)?,
                Kind::Head | Kind::Facts | Kind::Keys => {}
                Kind::State => out.push(row)?,
            }
            Ok(())
        })?;
    }
    while let Some(state) = judging.finish_one() {
        write(&state, &mut out)?;
    }
    // Who sees the end of the states finds the rows in their places.
    judging.write_rows()?;
    out.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// Rules about connections that users wrote themselves keep what no other process can take over.
pub fn must_be_able_to(settings: &Settings) -> Result<(), Failure> {
    if Engine::new(settings.rules.clone()).has_own_of_connections() {
        return Err(Failure::Usage(
            "rules of one's own about connections, requests or dns are not judged in parts: leave \
             them out, or ask them of the dataset with `pcapdoc query`"
                .to_owned(),
        ));
    }
    Ok(())
}

/// The heads of all files.
fn heads(paths: &[PathBuf]) -> Result<Vec<Head>, Failure> {
    let mut heads: Vec<Head> = Vec::new();
    for path in paths {
        rows::read(rows::open(path)?, path, |row| {
            if row.kind == Kind::Head {
                heads.push(format::read(row.bytes, "a file's head")?);
            }
            Ok(())
        })?;
    }
    heads.sort_by_key(|head| head.source);
    Ok(heads)
}

/// Writes the row of a state.
///
/// # Errors
/// When it cannot be written.
pub fn write<W: io::Write>(state: &State, out: &mut RowWriter<W>) -> Result<(), Failure> {
    let (shard, source) = match state.origin {
        Origin::Shard(shard) => (i32::try_from(shard).unwrap_or(i32::MAX), -1),
        Origin::File(source) => (-1, source),
    };
    let bytes = format::write(state)?;
    out.push(&Row::of_value(Kind::State, (shard, source), &bytes))
}
