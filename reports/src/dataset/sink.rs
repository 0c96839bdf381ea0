//! From finished connections to Parquet files, in bounded memory.
//!
//! Every shard has a [`RowSink`]. When a table of a shard reaches [`ROWS_KEPT`] rows they go to a
//! file of that shard and table; the end reads them back piece by piece. Which rows go when
//! depends on the shard's own sequence alone, so the dataset does not depend on the thread count.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use analyzer::pipeline::ConnectionSink;
use analyzer::{Analysis, Connection};
use polars::prelude::DataFrame;
use rules::finding::Assessment;
use rules::rows::{
    CONNECTIONS, Connections, DNS, DnsQuestions, DnsRecord, FINDINGS, Findings, REQUESTS, Record,
    RequestRecord, Requests, Table,
};

use super::actions::{ACTIONS, UserActions};
use super::findings::{
    CAPTURES, CaptureRecord, Captures, EVIDENCE, EvidenceRecord, Frames, INTERVALS, IntervalRecord,
    Slices,
};
use super::row_buffer::Rows;
use crate::error::Error;
use crate::gather::Draft;

/// Rows of a table that a shard keeps in memory: about 1 MB of connections.
const ROWS_KEPT: usize = 1024;

/// Rows that are passed on at once, and enough for a row group of a file; what the shards of a
/// capture keep in memory is less.
pub(super) const ROW_GROUP: usize = 32_768;

/// Where rows go that do not fit into memory.
#[derive(Debug)]
pub struct Spill {
    folder: PathBuf,
    next: AtomicU32,
}

impl Spill {
    /// Uses an existing folder, which the caller removes.
    #[must_use]
    pub const fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            next: AtomicU32::new(0),
        }
    }

    fn create(&self) -> io::Result<(PathBuf, File)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("rows-{number}"));
        Ok((path.clone(), File::create(path)?))
    }
}

/// Takes the rows of one shard's connections.
pub struct RowSink {
    connections: Buffer<Connections>,
    requests: Buffer<Requests>,
    dns: Buffer<DnsQuestions>,
}

impl RowSink {
    /// A sink that puts what does not fit into memory into `spill`.
    #[must_use]
    pub fn new(spill: &Arc<Spill>) -> Self {
        Self {
            connections: Buffer::new(&CONNECTIONS, spill),
            requests: Buffer::new(&REQUESTS, spill),
            dns: Buffer::new(&DNS, spill),
        }
    }
}

impl ConnectionSink for RowSink {
    fn connection(&mut self, connection: &Connection) {
        self.connections.push(connection);
        for request in RequestRecord::of(connection) {
            self.requests.push(&request);
        }
        for exchange in &connection.app.dns {
            self.dns.push(&DnsRecord {
                connection,
                exchange,
            });
        }
    }
}

/// Rows of one shard and table: the newest in memory, earlier ones in a file.
struct Buffer<R: Record> {
    rows: Rows<R>,
    spill: Arc<Spill>,
    spilled: Option<Spilled>,
    /// The first error; returned at the end.
    error: Option<Error>,
}

struct Spilled {
    path: PathBuf,
    out: BufWriter<File>,
    /// How often [`ROWS_KEPT`] rows were written.
    times: usize,
}

impl<R: Record> Buffer<R> {
    fn new(table: &'static Table<R>, spill: &Arc<Spill>) -> Self {
        Self {
            rows: Rows::new(table),
            spill: Arc::clone(spill),
            spilled: None,
            error: None,
        }
    }

    fn push(&mut self, record: &R::Of<'_>) {
        self.rows.push(record);
        if self.rows.len() >= ROWS_KEPT
            && let Err(error) = self.write_out()
        {
            self.error.get_or_insert(error);
        }
    }

    fn write_out(&mut self) -> Result<(), Error> {
        let spilled = match &mut self.spilled {
            Some(spilled) => spilled,
            none => {
                let (path, file) = self.spill.create()?;
                let out = BufWriter::new(file);
                none.insert(Spilled {
                    path,
                    out,
                    times: 0,
                })
            }
        };
        spilled.times += 1;
        Ok(self.rows.write(&mut spilled.out)?)
    }

    /// Appends all rows in the order they came to `piece`; whenever that is a piece of its own it
    /// is passed on.
    fn drain(
        self,
        piece: &mut Rows<R>,
        take: &mut dyn FnMut(Rows<R>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if let Some(mut spilled) = self.spilled {
            spilled.out.flush()?;
            let mut input = BufReader::new(File::open(&spilled.path)?);
            for _ in 0..spilled.times {
                piece.read(ROWS_KEPT, &mut input)?;
                hand_over(piece, take)?;
            }
            std::fs::remove_file(&spilled.path)?;
        }
        piece.append(self.rows);
        hand_over(piece, take)
    }
}

fn hand_over<R: Record>(
    piece: &mut Rows<R>,
    take: &mut dyn FnMut(Rows<R>) -> Result<(), Error>,
) -> Result<(), Error> {
    if piece.len() < ROW_GROUP {
        return Ok(());
    }
    let next = Rows::new(piece.table());
    take(std::mem::replace(piece, next))
}

/// All rows of one capture.
pub struct Tables {
    capture_set: String,
    connections: Vec<Buffer<Connections>>,
    requests: Vec<Buffer<Requests>>,
    dns: Vec<Buffer<DnsQuestions>>,
    actions: Rows<UserActions>,
    findings: Rows<Findings>,
    evidence: Rows<Frames>,
    intervals: Rows<Slices>,
    captures: Rows<Captures>,
}

impl Tables {
    /// What shards collected, in shard order, without what the capture as a whole gives.
    #[must_use]
    pub fn of_rows(capture_set: &str, sinks: Vec<RowSink>) -> Self {
        let mut tables = Self {
            capture_set: capture_set.to_owned(),
            connections: Vec::new(),
            requests: Vec::new(),
            dns: Vec::new(),
            actions: Rows::new(&ACTIONS),
            findings: Rows::new(&FINDINGS),
            evidence: Rows::new(&EVIDENCE),
            intervals: Rows::new(&INTERVALS),
            captures: Rows::new(&CAPTURES),
        };
        for sink in sinks {
            tables.connections.push(sink.connections);
            tables.requests.push(sink.requests);
            tables.dns.push(sink.dns);
        }
        tables
    }

    /// Joins what the shards collected, in shard order, with what the capture as a whole gave.
    #[must_use]
    pub fn new(
        capture_set: &str,
        sinks: Vec<RowSink>,
        analysis: &Analysis,
        assessment: &Assessment,
        draft: &Draft,
    ) -> Self {
        let mut tables = Self::of_rows(capture_set, sinks);
        for action in draft.actions() {
            tables.actions.push(action);
        }
        for finding in &assessment.findings {
            tables.findings.push(finding);
            for evidence in &finding.evidence {
                tables.evidence.push(&EvidenceRecord { finding, evidence });
            }
        }
        for slice in IntervalRecord::of(&analysis.intervals) {
            tables.intervals.push(&slice);
        }
        let document = draft.document();
        tables.captures.push(&CaptureRecord { analysis, document });
        tables
    }

    /// Hands over every table that has rows, by name, in pieces of bounded size.
    ///
    /// # Errors
    /// When rows could not be kept on disk or `take` fails.
    pub(super) fn for_each(
        self,
        take: &mut dyn FnMut(&'static str, DataFrame) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let set = self.capture_set;
        drain(self.connections, &set, &["first_frame"], take)?;
        drain(self.requests, &set, &["first_frame", "request_frame"], take)?;
        drain(self.dns, &set, &["first_frame", "asked_frame"], take)?;
        whole(&self.actions, &set, &[], take)?;
        whole(&self.findings, &set, &[], take)?;
        whole(&self.evidence, &set, &[], take)?;
        whole(&self.intervals, &set, &[], take)?;
        whole(&self.captures, &set, &[], take)
    }
}

/// Hands over the rows of all shards, ordered by `order_by` within each piece. What no shard put
/// on disk is one piece.
fn drain<R: Record>(
    shards: Vec<Buffer<R>>,
    capture_set: &str,
    order_by: &[&str],
    take: &mut dyn FnMut(&'static str, DataFrame) -> Result<(), Error>,
) -> Result<(), Error> {
    let Some(table) = shards.first().map(|shard| shard.rows.table()) else {
        return Ok(());
    };
    let mut piece = Rows::new(table);
    for shard in shards {
        shard.drain(&mut piece, &mut |rows| {
            whole(&rows, capture_set, order_by, take)
        })?;
    }
    whole(&piece, capture_set, order_by, take)
}

fn whole<R: Record>(
    rows: &Rows<R>,
    capture_set: &str,
    order_by: &[&str],
    take: &mut dyn FnMut(&'static str, DataFrame) -> Result<(), Error>,
) -> Result<(), Error> {
    if rows.len() == 0 {
        return Ok(());
    }
    let name = rows.table().name;
    take(name, rows.frame(capture_set, order_by)?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use analyzer::Timestamp;
    use analyzer::analysis::{Interval, Intervals};

    use super::*;

    /// Rows that differ in their resets.
    fn intervals(len: u64) -> Intervals {
        let slice = |resets| Interval {
            resets,
            ..Interval::default()
        };
        Intervals {
            start: Some(Timestamp::from_nanos(1_795_515_300_000_000_000)),
            width: Duration::from_secs(1),
            slices: (0..len).map(slice).collect(),
            states: Vec::new(),
        }
    }

    #[test]
    fn rows_that_went_to_disk_come_back_in_order_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let spill = Arc::new(Spill::new(folder.path().to_owned()));
        for len in [0, 1, ROWS_KEPT as u64, 3 * ROWS_KEPT as u64 + 7] {
            let mut buffer = Buffer::<Slices>::new(&INTERVALS, &spill);
            for slice in IntervalRecord::of(&intervals(len)) {
                buffer.push(&slice);
                assert!(buffer.rows.len() < ROWS_KEPT, "memory is bounded");
            }
            let mut seen = Vec::new();
            let mut see = |_, frame: DataFrame| {
                let resets = frame.column("resets")?.i64()?.to_vec();
                seen.extend(resets.into_iter().flatten());
                Ok(())
            };
            drain(vec![buffer], "", &[], &mut see).unwrap();
            let expected: Vec<i64> = (0..i64::try_from(len).unwrap()).collect();
            assert_eq!(seen, expected);
        }
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 0, "nothing stays behind");
    }
}
