//! What of a file no other file of the set has a part in, judged where the file is read.
//!
//! For that the files are read twice: once for what connections each has packets of, and once more,
//! when that is known of all, for the packets.

use std::collections::BTreeMap;
use std::path::PathBuf;

use analyzer::pipeline::{Border, FileKeys, Segmented, Settling};
use reports::ConnectionCollector;
use rules::engine::Engine;

use crate::failure::Failure;
use crate::parts::dataset::Dataset;
use crate::parts::files::Files;
use crate::parts::rows::{self, Kind};
use crate::parts::state::{Origin, State, StateSink, Together};
use crate::parts::{Head, format, judging_options};
use crate::settings::Settings;

/// What is known of all files after the first reading.
pub struct FirstReading {
    heads: BTreeMap<i32, Head>,
    files: Files,
    /// Of the files that are read now.
    borders: BTreeMap<i32, Border>,
}

impl FirstReading {
    /// From what this process read itself.
    ///
    /// # Errors
    /// When the files do not belong together.
    pub fn of(settings: &Settings, read: Vec<(Head, FileKeys)>) -> Result<Self, Failure> {
        let mut borders = BTreeMap::new();
        for (head, keys) in &read {
            borders.insert(head.source, Border::of(keys.clone()));
        }
        for (head, keys) in &read {
            beside(&mut borders, head.source, keys);
        }
        let heads = read.into_iter().map(|(head, _)| (head.source, head));
        Self::with(settings, heads.collect(), borders)
    }

    /// From the rows of `segment --heads`, for the files of these numbers. They are read twice, so that
    /// the keys of all need not be held at once.
    ///
    /// # Errors
    /// When the rows cannot be read, or the files do not belong together.
    pub fn read(
        settings: &Settings,
        paths: &[PathBuf],
        wanted: std::ops::Range<i32>,
    ) -> Result<Self, Failure> {
        let (mut heads, mut borders) = (BTreeMap::new(), BTreeMap::new());
        each(paths, |kind, source, bytes| {
            match kind {
                Kind::Head => {
                    let head: Head = format::read(bytes, "a file's head")?;
                    heads.insert(head.source, head);
                }
                Kind::Keys if wanted.contains(&source) => {
                    let keys: FileKeys = format::read(bytes, "a file's keys")?;
                    borders.insert(source, Border::of(keys));
                }
                _ => {}
            }
            Ok(())
        })?;
        each(paths, |kind, source, bytes| {
            if kind == Kind::Keys {
                let keys = format::read(bytes, "a file's keys")?;
                beside(&mut borders, source, &keys);
            }
            Ok(())
        })?;
        Self::with(settings, heads, borders)
    }

    fn with(
        settings: &Settings,
        heads: BTreeMap<i32, Head>,
        borders: BTreeMap<i32, Border>,
    ) -> Result<Self, Failure> {
        let in_order: Vec<Head> = heads.values().cloned().collect();
        Ok(Self {
            files: Files::of(settings, &in_order)?,
            heads,
            borders,
        })
    }

    /// The file of this number is read next; `limit` of its connections may be listed.
    ///
    /// # Errors
    /// When it is not known.
    pub fn settle(
        &mut self,
        settings: &Settings,
        source: i32,
        limit: Option<usize>,
        dataset: Option<&Dataset>,
    ) -> Result<Settler, Failure> {
        let border = self.borders.remove(&source);
        let (Some(border), Some(place)) = (border, self.files.place(source)) else {
            return Err(Failure::Usage(format!(
                "file {source} is not among those of --files: give the rows of segment --heads of all \
                 files"
            )));
        };
        let engine = Engine::new(settings.rules.clone());
        let collector = ConnectionCollector::new(limit);
        let rows = dataset.map(Dataset::sink);
        let sink = Together::new(StateSink::new(&engine, &collector, rows));
        let start = self.files.start.unwrap_or_default();
        let shards = Settling::new(
            || sink.clone(),
            &settings.analysis,
            border.finish(),
            (start, place.frames_before),
        );
        Ok(Settler {
            origin: Origin::File(source),
            collector,
            sink,
            shards,
        })
    }

    /// Says whether a file was the same when it was read again.
    ///
    /// # Errors
    /// When it was not.
    pub fn must_be_same(&self, head: &Head, name: &str) -> Result<(), Failure> {
        if self.heads.get(&head.source) == Some(head) {
            return Ok(());
        }
        let message = "changed between its two readings: copy it while nothing writes to it";
        Err(Failure::Input(analyzer::Error::new(name, message)))
    }
}

/// Tells all borders but its own of the keys of a file.
fn beside(borders: &mut BTreeMap<i32, Border>, source: i32, keys: &FileKeys) {
    for (_, border) in borders.iter_mut().filter(|(of, _)| **of != source) {
        border.beside(keys);
    }
}

/// Hands over all rows of files.
fn each(
    paths: &[PathBuf],
    mut take: impl FnMut(Kind, i32, &[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for path in paths {
        let rows = rows::open(path)?;
        rows::read(rows, path, |row| take(row.kind, row.source, row.bytes))?;
    }
    Ok(())
}

/// Judges what of a file is its own.
pub struct Settler {
    origin: Origin,
    collector: ConnectionCollector,
    sink: Together,
    shards: Settling<Together>,
}

impl Settler {
    /// Takes a packet; false when it has to travel.
    pub fn take(&mut self, segmented: &Segmented<'_>) -> bool {
        self.shards.take(segmented)
    }

    /// The file is over.
    ///
    /// # Errors
    /// When the rows of its connections cannot be written.
    pub fn finish(
        self,
        settings: &Settings,
        reading: &FirstReading,
        dataset: Option<&Dataset>,
    ) -> Result<State, Failure> {
        let (sinks, part) = self.shards.finish(reading.files.end.unwrap_or_default());
        drop(sinks);
        let sink = self.sink.into_sink();
        let sink = sink.ok_or_else(|| Failure::Internal("a shard is left over".to_owned()))?;
        let (mut state, rows) = sink.into_state(self.origin, judging_options(settings), part);
        if let (Some(dataset), Origin::File(source)) = (dataset, self.origin) {
            let rows = rows.into_iter().collect();
            dataset.write_rows(rows, reading.files.start, &format!("file-{source:06}"))?;
        }
        state.top = self.collector.take_top_rows();
        Ok(state)
    }
}
