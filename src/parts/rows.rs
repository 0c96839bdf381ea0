//! The rows that parts of an analysis hand to each other: an Arrow IPC stream.
//!
//! One form for all of them, of types that every engine has: signed integers and octets.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use polars_arrow::array::{Array, BinaryArray, PrimitiveArray};
use polars_arrow::datatypes::{ArrowDataType, ArrowSchema, Field, Metadata};
use polars_arrow::io::ipc::read::{StreamReader, StreamState, read_stream_metadata};
use polars_arrow::io::ipc::write::{StreamWriter, WriteOptions};
use polars_arrow::offset::Offsets;
use polars_arrow::record_batch::RecordBatchT;

use crate::failure::Failure;
use crate::parts::format::FORMAT;

/// Octets of a batch that are gathered before it is written.
const BATCH_BYTES: usize = 4 << 20;
/// Rows of a batch, at most.
const BATCH_ROWS: usize = 16_384;

/// What a row is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A packet, or what is left of one, on its way to its shard.
    Packet = 0,
    /// What judges must know of a file ([`super::Head`]).
    Head = 1,
    /// What a file tells beside its packets.
    Facts = 2,
    /// What a shard came to, or what could be settled of a file.
    State = 3,
    /// Which connections a file has packets of.
    Keys = 4,
}

impl Kind {
    fn of(number: i32) -> Option<Self> {
        let all = [
            Self::Packet,
            Self::Head,
            Self::Facts,
            Self::State,
            Self::Keys,
        ];
        all.into_iter().find(|kind| *kind as i32 == number)
    }
}

/// A row.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// What it is.
    pub kind: Kind,
    /// Which shard takes the packet or came to the state; -1 for rows of files.
    pub shard: i32,
    /// Time of the file's first frame, in nanoseconds since 1970: files are read in this order.
    pub start_ns: i64,
    /// Number of the file in the set, as given; -1 for the state of a shard.
    pub source: i32,
    /// Number of the row in the file.
    pub ordinal: i64,
    /// Number of the frame in the file.
    pub frame: i64,
    /// Its time, in nanoseconds since 1970.
    pub time_ns: i64,
    /// Its length on the wire.
    pub wire_len: i32,
    /// The packet with its payload, or the value.
    pub bytes: &'a [u8],
}

impl Row<'_> {
    /// A row of a whole file or shard, with its value.
    pub const fn of_value(kind: Kind, (shard, source): (i32, i32), bytes: &[u8]) -> Row<'_> {
        Row {
            kind,
            shard,
            start_ns: 0,
            source,
            ordinal: i64::MAX,
            frame: 0,
            time_ns: 0,
            wire_len: 0,
            bytes,
        }
    }
}

const INT32: [&str; 4] = ["kind", "shard", "source", "wire_len"];
const INT64: [&str; 4] = ["start_ns", "ordinal", "frame", "time_ns"];

impl Row<'_> {
    const fn int32(&self) -> [i32; 4] {
        [self.kind as i32, self.shard, self.source, self.wire_len]
    }

    const fn int64(&self) -> [i64; 4] {
        [self.start_ns, self.ordinal, self.frame, self.time_ns]
    }
}

/// The columns: those of 32 bits, those of 64, the octets.
fn schema() -> ArrowSchema {
    let field = |name: &str, of: ArrowDataType| Field::new(name.into(), of, false);
    let int32 = INT32.iter().map(|name| field(name, ArrowDataType::Int32));
    let int64 = INT64.iter().map(|name| field(name, ArrowDataType::Int64));
    let bytes = std::iter::once(field("bytes", ArrowDataType::Binary));
    int32.chain(int64).chain(bytes).collect()
}

/// Standard output as a file: what the standard library makes of it looks for ends of lines.
///
/// # Errors
/// When it cannot be had.
pub fn stdout() -> Result<File, Failure> {
    let stdout = io::stdout().as_fd().try_clone_to_owned();
    let stdout = stdout.map_err(|error| Failure::output(Path::new("-"), error))?;
    Ok(File::from(stdout))
}

/// A stream of rows; `-` is standard input.
///
/// # Errors
/// When it cannot be read.
pub fn open(path: &Path) -> Result<Box<dyn Read>, Failure> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    let refused = |error| analyzer::Error::new(path, "cannot be read").because(error);
    let file = File::open(path).map_err(|error| Failure::Input(refused(error)))?;
    Ok(Box::new(file))
}

/// Writes rows.
pub struct RowWriter<W: Write> {
    writer: StreamWriter<W>,
    schema: Arc<ArrowSchema>,
    int32: [Vec<i32>; 4],
    int64: [Vec<i64>; 4],
    offsets: Vec<i32>,
    bytes: Vec<u8>,
}

impl<W: Write> RowWriter<W> {
    /// Begins a stream.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub fn new(to: W) -> Result<Self, Failure> {
        let schema = Arc::new(schema());
        let mut writer = StreamWriter::new(to, WriteOptions { compression: None });
        let metadata: Metadata = [("pcapdoc.rows".into(), FORMAT.to_string().into())]
            .into_iter()
            .collect();
        writer.set_custom_schema_metadata(Arc::new(metadata));
        writer
            .start(&schema, None)
            .map_err(|error| written(&error))?;
        Ok(Self {
            writer,
            schema,
            int32: Default::default(),
            int64: Default::default(),
            offsets: vec![0],
            bytes: Vec::new(),
        })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn push(&mut self, row: &Row<'_>) -> Result<(), Failure> {
        for (column, value) in self.int32.iter_mut().zip(row.int32()) {
            column.push(value);
        }
        for (column, value) in self.int64.iter_mut().zip(row.int64()) {
            column.push(value);
        }
        self.bytes.extend_from_slice(row.bytes);
        let end = i32::try_from(self.bytes.len());
        let end = end.map_err(|_| Failure::Internal("a row of more than 2 GB".to_owned()))?;
        self.offsets.push(end);
        if self.bytes.len() >= BATCH_BYTES || self.offsets.len() > BATCH_ROWS {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let height = self.offsets.len() - 1;
        if height == 0 {
            return Ok(());
        }
        let mut arrays: Vec<Box<dyn Array>> = Vec::with_capacity(9);
        for column in &mut self.int32 {
            arrays.push(Box::new(PrimitiveArray::from_vec(std::mem::take(column))));
        }
        for column in &mut self.int64 {
            arrays.push(Box::new(PrimitiveArray::from_vec(std::mem::take(column))));
        }
        let offsets = Offsets::try_from(std::mem::replace(&mut self.offsets, vec![0]));
        let bytes = BinaryArray::<i32>::try_new(
            ArrowDataType::Binary,
            offsets.map_err(|error| written(&error))?.into(),
            std::mem::take(&mut self.bytes).into(),
            None,
        );
        arrays.push(Box::new(bytes.map_err(|error| written(&error))?));
        let batch = RecordBatchT::try_new(height, Arc::clone(&self.schema), arrays);
        let batch = batch.map_err(|error| written(&error))?;
        self.writer
            .write(&batch, None)
            .map_err(|error| written(&error))
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// When the rest cannot be written.
    pub fn finish(mut self) -> Result<(), Failure> {
        self.flush()?;
        self.writer.finish().map_err(|error| written(&error))?;
        let mut to = self.writer.into_inner();
        to.flush()
            .map_err(|error| Failure::output(Path::new("-"), error))
    }
}

/// An error of the Arrow library, which hides the operating system's.
fn written(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::output(Path::new("-"), as_io_error(error))
}

fn as_io_error(error: &(dyn std::error::Error + 'static)) -> io::Error {
    let source = error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>());
    let kind = source.map_or(io::ErrorKind::Other, io::Error::kind);
    io::Error::new(kind, error.to_string())
}

/// Hands the rows of a stream, or of several one after the other, to `take`; `name` is the stream's in
/// messages.
///
/// # Errors
/// When it is no stream of rows, ends before its end, or `take` refuses a row.
pub fn read(
    from: impl Read,
    name: &Path,
    mut take: impl FnMut(&Row<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let refused = |message: &str| Failure::Input(analyzer::Error::new(name, message));
    let failed = |error: &(dyn std::error::Error + 'static)| {
        let error = as_io_error(error);
        Failure::Input(analyzer::Error::new(name, "is no stream of rows").because(error))
    };
    let mut from = Forward {
        source: BufReader::with_capacity(1 << 20, from),
        at: 0,
    };
    let mut any = false;
    while !any || !from.is_over().map_err(|error| failed(&error))? {
        any = true;
        let metadata = read_stream_metadata(&mut from).map_err(|error| failed(&error))?;
        let place = |name: &str| metadata.schema.index_of(name);
        let places: Option<Vec<usize>> = INT32
            .iter()
            .chain(&INT64)
            .chain(&["bytes"])
            .map(|name| place(name))
            .collect();
        let Some(places) = places else {
            return Err(refused(
                "has other columns than rows of segment, judge or conclude",
            ));
        };
        let mut reader = StreamReader::new(&mut from, metadata, None);
        for state in &mut reader {
            match state.map_err(|error| failed(&error))? {
                StreamState::Some(batch) => {
                    let columns = Columns::of(batch.arrays(), &places);
                    let columns =
                        columns.ok_or_else(|| refused("has columns of other types than rows"))?;
                    for at in 0..batch.len() {
                        let row = columns
                            .row(at)
                            .ok_or_else(|| refused("has a row of no known kind"))?;
                        take(&row)?;
                    }
                }
                StreamState::Waiting => {
                    return Err(refused("ends before its end: what wrote it was stopped"));
                }
            }
        }
    }
    Ok(())
}

/// The columns of a batch.
struct Columns<'a> {
    int32: Vec<&'a PrimitiveArray<i32>>,
    int64: Vec<&'a PrimitiveArray<i64>>,
    bytes: &'a BinaryArray<i32>,
}

impl<'a> Columns<'a> {
    fn of(arrays: &'a [Box<dyn Array>], places: &[usize]) -> Option<Self> {
        let array = |at: &usize| Some(arrays.get(*at)?.as_any());
        let (int32, rest) = places.split_at_checked(INT32.len())?;
        let (int64, bytes) = rest.split_at_checked(INT64.len())?;
        Some(Self {
            int32: int32
                .iter()
                .map(|at| array(at)?.downcast_ref())
                .collect::<Option<_>>()?,
            int64: int64
                .iter()
                .map(|at| array(at)?.downcast_ref())
                .collect::<Option<_>>()?,
            bytes: array(bytes.first()?)?.downcast_ref()?,
        })
    }

    fn row(&self, at: usize) -> Option<Row<'a>> {
        let int32 = |column: usize| self.int32[column].value(at);
        let int64 = |column: usize| self.int64[column].value(at);
        Some(Row {
            kind: Kind::of(int32(0))?,
            shard: int32(1),
            source: int32(2),
            wire_len: int32(3),
            start_ns: int64(0),
            ordinal: int64(1),
            frame: int64(2),
            time_ns: int64(3),
            bytes: self.bytes.value(at),
        })
    }
}

/// A source that can be moved in forwards only, as the reader of batches does.
struct Forward<R> {
    source: BufReader<R>,
    at: u64,
}

impl<R: Read> Forward<R> {
    fn is_over(&mut self) -> io::Result<bool> {
        Ok(self.source.fill_buf()?.is_empty())
    }
}

impl<R: Read> Read for Forward<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl<R: Read> Seek for Forward<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(_) => None,
        };
        let ahead = target.and_then(|target| target.checked_sub(self.at));
        let Some(ahead) = ahead else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        io::copy(&mut self.by_ref().take(ahead), &mut io::sink())?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ordinal: i64, bytes: &[u8]) -> Row<'_> {
        Row {
            kind: Kind::Packet,
            shard: 3,
            start_ns: -5,
            source: 7,
            ordinal,
            frame: 9,
            time_ns: i64::MAX,
            wire_len: 60,
            bytes,
        }
    }

    fn stream(rows: i64) -> Vec<u8> {
        let mut stream = Vec::new();
        let mut writer = RowWriter::new(&mut stream).unwrap();
        for ordinal in 0..rows {
            writer.push(&row(ordinal, &ordinal.to_le_bytes())).unwrap();
        }
        writer.finish().unwrap();
        stream
    }

    #[test]
    fn rows_come_back_from_one_stream_and_from_several() {
        let mut bytes = stream(40_000);
        bytes.extend(stream(0));
        bytes.extend(stream(2));
        let mut seen = Vec::new();
        read(&bytes[..], Path::new("x"), |row| {
            assert_eq!(row.bytes, row.ordinal.to_le_bytes());
            assert_eq!((row.kind, row.shard, row.source), (Kind::Packet, 3, 7));
            assert_eq!((row.start_ns, row.time_ns), (-5, i64::MAX));
            seen.push(row.ordinal);
            Ok(())
        })
        .unwrap();
        assert_eq!(seen.len(), 40_002);
        assert_eq!(seen[40_001], 1);
    }

    #[test]
    fn what_ends_early_or_is_no_stream_is_refused() {
        let whole = stream(20_000);
        for len in [0, 1, 100, whole.len() / 2, whole.len() - 8] {
            let read = read(&whole[..len], Path::new("x"), |_| Ok(()));
            assert!(read.is_err(), "{len}");
        }
        assert!(
            read(
                &b"\xd4\xc3\xb2\xa1 a capture is none"[..],
                Path::new("x"),
                |_| Ok(())
            )
            .is_err()
        );
    }
}
