//! `pcapdoc segment`: files → their packets, each with the shard that takes it, as rows.

use std::io;
use std::process::ExitCode;

use analyzer::capture::{FilePart, Input, reading_order};
use analyzer::pipeline::{self, Arrival, FileFacts, SHARDS_OF_ONE, Segmented};

use crate::cli::SegmentArguments;
use crate::failure::Failure;
use crate::parts::rows::{self, Kind, Row, RowWriter};
use crate::parts::{Head, format, reading_options};
use crate::settings::Settings;

/// Runs the subcommand.
pub fn run(arguments: &SegmentArguments) -> Result<ExitCode, Failure> {
    let settings = Settings::resolve(&arguments.captures, &arguments.analysis)?;
    if !arguments.shards.is_multiple_of(SHARDS_OF_ONE) {
        return Err(Failure::Usage(format!(
            "--shards {} is no multiple of {SHARDS_OF_ONE}, the shards of one machine",
            arguments.shards
        )));
    }
    let mut rows = RowWriter::new(rows::stdout()?)?;
    for (source, input) in in_order(&settings) {
        let source = source + arguments.source;
        let mut facts = packets((input, source), arguments, &settings, &mut rows)?;
        if let (Input::Stdin, Some(name)) = (input, &arguments.name) {
            facts.part.rename(name);
        }
        let head = head(&facts, source, arguments.shards, reading_options(&settings));
        for (kind, bytes) in [
            (Kind::Head, format::write(&head)?),
            (Kind::Facts, format::write(&facts)?),
        ] {
            rows.push(&Row {
                kind,
                shard: -1,
                start_ns: facts.part.first.unwrap_or_default().as_nanos(),
                source,
                ordinal: i64::MAX,
                frame: 0,
                time_ns: 0,
                wire_len: 0,
                bytes: &bytes,
            })?;
        }
    }
    rows.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// The inputs with their numbers, in the order in which they are read.
fn in_order(settings: &Settings) -> Vec<(i32, &Input)> {
    let inputs = &settings.inputs;
    let looked_at = |input| {
        let part = FilePart::unread(input, &settings.analysis.read);
        (part.is_there, part.first)
    };
    let order = match inputs.as_slice() {
        [_] => vec![0],
        several => reading_order(&several.iter().map(looked_at).collect::<Vec<_>>()),
    };
    let numbered = order
        .into_iter()
        .map(|at| (i32::try_from(at).unwrap_or(i32::MAX), &inputs[at]));
    numbered.collect()
}

/// Writes the packets of a file.
fn packets<W: io::Write>(
    (input, source): (&Input, i32),
    arguments: &SegmentArguments,
    settings: &Settings,
    rows: &mut RowWriter<W>,
) -> Result<FileFacts, Failure> {
    let snap = arguments.snap.unwrap_or(usize::MAX);
    let mut ordinal = 0;
    let mut bytes = Vec::new();
    pipeline::segment(
        input,
        &settings.analysis,
        arguments.shards,
        |segmented: Segmented<'_>| {
            let packet = segmented.arrival.packet();
            bytes.clear();
            segmented.arrival.write(&mut bytes);
            let payload = segmented.payload;
            // What the capture says of a packet is no payload.
            let kept = match segmented.arrival {
                Arrival::Remark { .. } => payload,
                _ => payload.get(..snap).unwrap_or(payload),
            };
            bytes.extend_from_slice(kept);
            ordinal += 1;
            rows.push(&Row {
                kind: Kind::Packet,
                shard: i32::try_from(segmented.shard).unwrap_or(i32::MAX),
                start_ns: segmented.start.as_nanos(),
                source,
                ordinal,
                frame: i64::try_from(packet.frame).unwrap_or(i64::MAX),
                time_ns: packet.time.as_nanos(),
                wire_len: i32::try_from(packet.wire_len).unwrap_or(i32::MAX),
                bytes: &bytes,
            })
        },
    )
}

fn head(facts: &FileFacts, source: i32, shards: u32, options: u64) -> Head {
    let summary = facts.part.summary.as_ref();
    Head {
        source,
        is_there: facts.part.is_there,
        first: facts.part.first,
        frames: facts.part.frames(),
        start: summary.and_then(|summary| summary.first),
        end: facts.span().map(|(_, last)| last),
        shards,
        options,
    }
}
