//! Shards at work on rows: which row belongs to which shard, in which order, under which frame number.

use std::collections::{BTreeMap, BTreeSet};

use analyzer::Timestamp;
use analyzer::pipeline::{Arrival, ShardRun};
use reports::ConnectionCollector;
use reports::dataset::RowSink;
use rules::engine::Engine;

use crate::failure::Failure;
use crate::parts::dataset::Dataset;
use crate::parts::files::Files;
use crate::parts::rows::Row;
use crate::parts::state::{Origin, State, StateSink};
use crate::parts::{Head, judging_options};
use crate::settings::Settings;

/// Judges the packets of shards.
pub struct Judging<'a> {
    settings: &'a Settings,
    engine: Engine,
    collector: ConnectionCollector,
    files: Files,
    /// Rows come shard by shard: one is open at a time.
    is_sorted: bool,
    open: BTreeMap<u32, OpenShard>,
    closed: BTreeSet<u32>,
    dataset: Option<&'a Dataset>,
    /// Rows of shards that are over.
    rows: Vec<RowSink>,
}

struct OpenShard {
    run: ShardRun<StateSink>,
    /// Place of the file that the latest row was from, and the row's number in it.
    latest: (usize, i64),
}

impl<'a> Judging<'a> {
    /// Shards of a set of which all files are known: rows are then sorted by shard.
    ///
    /// # Errors
    /// When the files were read with other options.
    pub fn of_known(
        settings: &'a Settings,
        heads: &[Head],
        limit: Option<usize>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            files: Files::of(settings, heads)?,
            is_sorted: true,
            ..Self::of_stream(settings, limit)
        })
    }

    /// Shards of a set whose files come one after the other, each followed by its head.
    pub fn of_stream(settings: &'a Settings, limit: Option<usize>) -> Self {
        Self {
            settings,
            engine: Engine::new(settings.rules.clone()),
            collector: ConnectionCollector::new(limit),
            files: Files::default(),
            is_sorted: false,
            open: BTreeMap::new(),
            closed: BTreeSet::new(),
            dataset: None,
            rows: Vec::new(),
        }
    }

    /// Has rows of the connections gathered for a dataset.
    pub fn with_rows(mut self, dataset: Option<&'a Dataset>) -> Self {
        self.dataset = dataset;
        self
    }

    /// A file has been read to its end, and what follows is of the next one; or all files are made
    /// known at the beginning.
    ///
    /// # Errors
    /// When it was read with other options.
    pub fn file(&mut self, head: &Head) -> Result<(), Failure> {
        self.files.add(self.settings, head)
    }

    /// Takes the packet of a row; gives the state of the shard that it shows to be over.
    ///
    /// # Errors
    /// When it is not the shard's turn, or the row cannot be read.
    pub fn packet(&mut self, row: &Row<'_>) -> Result<Option<State>, Failure> {
        let refused = |what: String| Failure::Input(analyzer::Error::new("rows", what));
        let shard = u32::try_from(row.shard);
        let shard = shard.map_err(|_| refused(format!("there is no shard {}", row.shard)))?;
        let place = match self.files.place(row.source) {
            Some(place) => place,
            None if self.is_sorted => {
                let source = row.source;
                return Err(refused(format!(
                    "file {source} is not among those of --files"
                )));
            }
            None => self.files.next(),
        };
        let (mut arrival, payload) = Arrival::read(row.bytes)
            .ok_or_else(|| refused("a packet cannot be read".to_owned()))?;
        restore(&mut arrival, row, place.frames_before, payload.len());
        let over = self.turn_to(shard)?;
        let start = self
            .files
            .start
            .unwrap_or_else(|| Timestamp::from_nanos(row.start_ns));
        let open = self.open.entry(shard).or_insert_with(|| {
            let rows = self.dataset.map(Dataset::sink);
            let sink = StateSink::new(&self.engine, &self.collector, rows);
            OpenShard {
                run: ShardRun::new(sink, &self.settings.analysis, start),
                latest: (0, -1),
            }
        });
        let order = (place.number, row.ordinal);
        if order <= open.latest {
            return Err(refused(format!(
                "rows of shard {shard} are not sorted by start_ns, source and ordinal"
            )));
        }
        open.latest = order;
        open.run.take(&arrival, payload);
        Ok(over)
    }

    /// With sorted rows, the shards before are over.
    fn turn_to(&mut self, shard: u32) -> Result<Option<State>, Failure> {
        if !self.is_sorted || self.open.contains_key(&shard) {
            return Ok(None);
        }
        if self.closed.contains(&shard) {
            let error = analyzer::Error::new("rows", "are not sorted by shard");
            return Err(Failure::Input(error));
        }
        Ok(self.close_one())
    }

    /// The end of the rows: call until it gives nothing. The last state bears what all together keep.
    pub fn finish_one(&mut self) -> Option<State> {
        let mut state = self.close_one()?;
        if self.open.is_empty() {
            state.top = self.collector.take_top_rows();
        }
        Some(state)
    }

    fn close_one(&mut self) -> Option<State> {
        let (shard, open) = self.open.pop_first()?;
        self.closed.insert(shard);
        let end = self.files.end.unwrap_or_default();
        let (sink, part) = open.run.finish(end);
        let options = judging_options(self.settings);
        let (state, rows) = sink.into_state(Origin::Shard(shard), options, part);
        self.rows.extend(rows);
        Some(state)
    }

    /// All shards are over: writes the rows of their connections, when a dataset is wanted.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write_rows(self) -> Result<(), Failure> {
        let (Some(dataset), Some(first)) = (self.dataset, self.closed.first()) else {
            return Ok(());
        };
        let part = format!("shard-{first:05}");
        dataset.write_rows(self.rows, self.files.start, &part)
    }
}

/// Gives a packet what columns of its row bear.
fn restore(arrival: &mut Arrival, row: &Row<'_>, frames_before: u64, payload: usize) {
    let packet = arrival.packet_mut();
    packet.frame = frames_before + row.frame.unsigned_abs();
    packet.time = Timestamp::from_nanos(row.time_ns);
    packet.wire_len = row.wire_len.unsigned_abs();
    packet.payload_captured = u32::try_from(payload).unwrap_or(u32::MAX);
}
