//! Parquet files: the tables of several captures in one file each, and taking a capture out again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

use polars::prelude::{BooleanChunked, DataFrame, NewChunkedArray as _, PlSmallStr};
use polars_io::SerReader as _;
use polars_io::parquet::read::ParquetReader;
use polars_io::parquet::write::{
    BatchedWriter, ParquetCompression, ParquetWriter, StatisticsOptions,
};

use super::sink::{ROW_GROUP, Tables};
use crate::error::Error;
use rules::rows::CAPTURE_SET;

/// Bytes that are written to the operating system at once: a Parquet file consists of many small
/// pieces.
const BUFFER: usize = 256 << 10;

/// Writes the tables of one or more captures, one file for each table that has rows.
///
/// Captures stand in a file in the order in which they were added. What is not yet written is at
/// most a row group of each table.
pub struct TableFiles<C> {
    create: C,
    files: BTreeMap<&'static str, TableFile>,
}

/// A file with the rows that do not fill a row group yet.
#[derive(Default)]
struct TableFile {
    rows: DataFrame,
    out: Option<Out>,
}

struct Out {
    writer: BatchedWriter<BufWriter<File>>,
    /// The same file, to flush it at the end.
    file: File,
}

impl<C: FnMut(&'static str) -> io::Result<File>> TableFiles<C> {
    /// Files come from `create`, which is called with the name of each table that has rows.
    #[must_use]
    pub const fn new(create: C) -> Self {
        Self {
            create,
            files: BTreeMap::new(),
        }
    }

    /// Adds the rows of one capture.
    ///
    /// # Errors
    /// When a file cannot be created or written, or rows that were kept on disk not read.
    pub fn add(&mut self, tables: Tables) -> Result<(), Error> {
        tables.for_each(&mut |name, frame| {
            let file = self.files.entry(name).or_default();
            file.rows.vstack_mut_owned(frame)?;
            if file.rows.height() >= ROW_GROUP {
                file.write_rows(|| (self.create)(name))?;
            }
            Ok(())
        })
    }

    /// Writes what is left; gives the files, which are complete but perhaps not yet on disk, by
    /// table.
    ///
    /// # Errors
    /// When a file cannot be created or written.
    pub fn finish(mut self) -> Result<Vec<(&'static str, File)>, Error> {
        let mut finished = Vec::new();
        for (name, mut file) in self.files {
            file.write_rows(|| (self.create)(name))?;
            if let Some(out) = file.out {
                finished.push((name, out.finish()?));
            }
        }
        Ok(finished)
    }
}

impl TableFile {
    fn write_rows(&mut self, create: impl FnOnce() -> io::Result<File>) -> Result<(), Error> {
        let mut rows = std::mem::take(&mut self.rows);
        if rows.height() == 0 {
            return Ok(());
        }
        rows.rechunk_mut();
        let out = match &mut self.out {
            Some(out) => out,
            none => none.insert(Out::new(create()?, &rows)?),
        };
        Ok(out.writer.write_batch(&rows)?)
    }
}

impl Out {
    fn new(file: File, rows: &DataFrame) -> Result<Self, Error> {
        let same = file.try_clone()?;
        let out = BufWriter::with_capacity(BUFFER, file);
        Ok(Self {
            writer: writer(out).batched(rows.schema())?,
            file: same,
        })
    }

    fn finish(self) -> Result<File, Error> {
        // This flushes the buffer, too.
        self.writer.finish()?;
        Ok(self.file)
    }
}

/// Zstandard, smallest and largest values for skipping, and one thread: many captures are written
/// side by side.
fn writer<W: io::Write>(out: W) -> ParquetWriter<W> {
    ParquetWriter::new(out)
        .with_compression(ParquetCompression::Zstd(None))
        .with_statistics(StatisticsOptions::default())
        .set_parallel(false)
}

/// Copies a file of a dataset without the rows of the captures named; `None` when none are left.
///
/// # Errors
/// When `from` is no file of a dataset, or the copy cannot be written.
pub fn copy_without(
    from: &Path,
    captures: &[&str],
    create: impl FnOnce() -> io::Result<File>,
) -> Result<Option<File>, Error> {
    let mut create = Some(create);
    let mut out: Option<Out> = None;
    for start in (0..).step_by(ROW_GROUP) {
        let piece = ParquetReader::new(File::open(from)?)
            .with_slice(Some((start, ROW_GROUP)))
            .finish()?;
        if piece.height() == 0 {
            break;
        }
        let sets = piece.column(CAPTURE_SET)?.str()?;
        let stays = sets
            .iter()
            .map(|set| !set.is_some_and(|set| captures.contains(&set)));
        let stays = BooleanChunked::from_iter_values(PlSmallStr::EMPTY, stays);
        let mut rows = piece.filter(&stays)?;
        rows.rechunk_mut();
        if rows.height() == 0 {
            continue;
        }
        if out.is_none()
            && let Some(create) = create.take()
        {
            out = Some(Out::new(create()?, &rows)?);
        }
        if let Some(out) = &mut out {
            out.writer.write_batch(&rows)?;
        }
    }
    out.map(Out::finish).transpose()
}
