//! `pcapdoc segment`: files → their packets, each with the shard that takes it, as rows.

use std::fs::File;
use std::process::ExitCode;

use analyzer::capture::{FilePart, Input, reading_order};
use analyzer::pipeline::{
    self, Arrival, FileFacts, FileKeys, KeyGatherer, SHARDS_OF_ONE, Segmented,
};

use crate::cli::SegmentArguments;
use crate::commands::judge::{must_be_able_to, write};
use crate::failure::Failure;
use crate::parts::dataset::Dataset;
use crate::parts::rows::{self, Kind, Row, RowWriter};
use crate::parts::settling::{FirstReading, Settler};
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
    let dataset = Dataset::of(&arguments.rows)?;
    let mut segmenting = Segmenting {
        arguments,
        dataset: dataset.as_ref(),
        settings: &settings,
        rows: RowWriter::new(rows::stdout()?)?,
    };
    let inputs = segmenting.in_order();
    if arguments.heads {
        for (source, input) in inputs {
            let (head, keys) = segmenting.look(input, source)?;
            segmenting.value(Kind::Head, source, &format::write(&head)?)?;
            segmenting.value(Kind::Keys, source, &format::write(&keys)?)?;
        }
    } else {
        let mut reading = segmenting.first_reading(&inputs)?;
        for (source, input) in inputs {
            segmenting.file(input, source, reading.as_mut())?;
        }
    }
    segmenting.rows.finish()?;
    Ok(ExitCode::SUCCESS)
}

struct Segmenting<'a> {
    arguments: &'a SegmentArguments,
    dataset: Option<&'a Dataset>,
    settings: &'a Settings,
    rows: RowWriter<File>,
}

impl<'a> Segmenting<'a> {
    /// The inputs with their numbers, in the order in which they are read.
    fn in_order(&self) -> Vec<(i32, &'a Input)> {
        let inputs = &self.settings.inputs;
        let looked_at = |input| {
            let part = FilePart::unread(input, &self.settings.analysis.read);
            (part.is_there, part.first)
        };
        let order = match inputs.as_slice() {
            [_] => vec![0],
            several => reading_order(&several.iter().map(looked_at).collect::<Vec<_>>()),
        };
        let numbered = order.into_iter().map(|at| {
            let number = i32::try_from(at).unwrap_or(i32::MAX);
            (number + self.arguments.source, &inputs[at])
        });
        numbered.collect()
    }

    /// What is known of all files of the set before packets are handed on, when connections are to be
    /// settled.
    fn first_reading(&self, inputs: &[(i32, &Input)]) -> Result<Option<FirstReading>, Failure> {
        let (arguments, settings) = (self.arguments, self.settings);
        if !arguments.settle {
            return Ok(None);
        }
        must_be_able_to(settings)?;
        if !arguments.files.is_empty() {
            let first = arguments.source;
            let count = i32::try_from(inputs.len()).unwrap_or(i32::MAX);
            let wanted = first..first.saturating_add(count);
            return FirstReading::read(settings, &arguments.files, wanted).map(Some);
        }
        if inputs
            .iter()
            .any(|(_, input)| matches!(input, Input::Stdin))
        {
            return Err(Failure::Usage(
                "--settle reads captures twice, which standard input cannot be: give the rows of \
                 segment --heads with --files"
                    .to_owned(),
            ));
        }
        let read = inputs
            .iter()
            .map(|(source, input)| self.look(input, *source));
        FirstReading::of(settings, read.collect::<Result<_, _>>()?).map(Some)
    }

    /// Reads a file for what others must know of it.
    fn look(&self, input: &Input, source: i32) -> Result<(Head, FileKeys), Failure> {
        let mut keys = KeyGatherer::default();
        let analysis = &self.settings.analysis;
        let facts = pipeline::segment(input, analysis, self.arguments.shards, |segmented| {
            keys.take(&segmented);
            Ok::<(), Failure>(())
        })?;
        Ok((self.head(&facts, source), keys.finish()))
    }

    /// Hands on a file: its packets, but those that can be settled, and what it tells besides.
    fn file(
        &mut self,
        input: &Input,
        source: i32,
        mut reading: Option<&mut FirstReading>,
    ) -> Result<(), Failure> {
        let mut settler = match &mut reading {
            Some(reading) => {
                let limit = self.arguments.connections.most();
                Some(reading.settle(self.settings, source, limit, self.dataset)?)
            }
            None => None,
        };
        let mut facts = self.packets((input, source), settler.as_mut())?;
        let head = self.head(&facts, source);
        if let (Some(reading), Some(settler)) = (reading, settler) {
            reading.must_be_same(&head, &facts.part.name)?;
            let state = settler.finish(self.settings, reading, self.dataset)?;
            write(&state, &mut self.rows)?;
        }
        if let (Input::Stdin, Some(name)) = (input, &self.arguments.name) {
            facts.part.rename(name);
        }
        self.value(Kind::Head, source, &format::write(&head)?)?;
        self.value(Kind::Facts, source, &format::write(&facts)?)
    }

    fn value(&mut self, kind: Kind, source: i32, bytes: &[u8]) -> Result<(), Failure> {
        self.rows.push(&Row::of_value(kind, (-1, source), bytes))
    }

    /// Writes the packets of a file, but those that are settled.
    fn packets(
        &mut self,
        (input, source): (&Input, i32),
        mut settler: Option<&mut Settler>,
    ) -> Result<FileFacts, Failure> {
        let snap = self.arguments.snap.unwrap_or(usize::MAX);
        let mut ordinal = 0;
        let mut bytes = Vec::new();
        let rows = &mut self.rows;
        let hand_on = |segmented: Segmented<'_>| {
            ordinal += 1;
            if let Some(settler) = &mut settler
                && settler.take(&segmented)
            {
                return Ok(());
            }
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
        };
        pipeline::segment(
            input,
            &self.settings.analysis,
            self.arguments.shards,
            hand_on,
        )
    }

    fn head(&self, facts: &FileFacts, source: i32) -> Head {
        let summary = facts.part.summary.as_ref();
        Head {
            source,
            is_there: facts.part.is_there,
            first: facts.part.first,
            frames: facts.part.frames(),
            start: summary.and_then(|summary| summary.first),
            end: facts.span().map(|(_, last)| last),
            shards: self.arguments.shards,
            options: reading_options(self.settings),
        }
    }
}
