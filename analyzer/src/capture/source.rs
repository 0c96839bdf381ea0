//! Where the bytes of an input come from: a file or a pipe, inflated.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::compression::{self, Bound, Compression, Counted};
use super::pipe::PipeReader;
use super::records::open_records;
use super::session::{Session, WalkEnd};
use super::{HEAD_BYTES, Input, ReadOptions};
use crate::error::Error;
use crate::time::Timestamp;

/// Bytes of an input, inflated, with what recognition has already read put back in front.
pub(super) struct Bytes {
    pub head: Vec<u8>,
    head_at: usize,
    source: Box<dyn Read + Send>,
    /// Stored bytes read so far.
    pub stored: Arc<AtomicU64>,
    /// Stored bytes in all; `None` for a pipe.
    pub stored_total: Option<u64>,
    pub compression: Option<Compression>,
    /// A second handle on a regular file that is not compressed, to move in it.
    pub seekable: Option<File>,
}

impl Bytes {
    /// Opens an input and undoes its compression, on a thread of its own if `ahead` is set.
    ///
    /// # Errors
    /// When the input cannot be opened or read, or its decoder cannot be set up.
    pub fn open(input: &Input, options: &ReadOptions, ahead: bool) -> Result<Self, Error> {
        let failed = |error| Error::new(input.name(), "cannot be read").because(error);
        let stored = Arc::new(AtomicU64::new(0));
        let piped = |source: Box<dyn Read + Send>| -> io::Result<Box<dyn Read + Send>> {
            Ok(Box::new(PipeReader::new(source, options.stop.clone())?))
        };
        let mut seekable = None;
        let (mut source, stored_total): (Box<dyn Read + Send>, _) = match input {
            Input::Stdin => (piped(Box::new(io::stdin())).map_err(failed)?, None),
            Input::Stored(stored) => {
                let source = stored.object.open().map_err(failed)?;
                (source, Some(stored.object.octets()))
            }
            Input::Path(path) => {
                let file = File::open(path).map_err(failed)?;
                let metadata = file.metadata().map_err(failed)?;
                if metadata.is_dir() {
                    let message = "this is a directory: give the capture files in it";
                    return Err(Error::new(input.name(), message));
                }
                if metadata.is_file() {
                    seekable = file.try_clone().ok();
                    (Box::new(file), Some(metadata.len()))
                } else {
                    (piped(Box::new(file)).map_err(failed)?, None)
                }
            }
        };
        let mut head = Vec::new();
        match read_head(&mut source, &mut head, HEAD_BYTES) {
            Err(error) if head.is_empty() => return Err(failed(error)),
            // What came before the failure is kept; the next read meets it again or the end.
            _ => {}
        }
        let Some(compression) = Compression::of(&head) else {
            let source = Box::new(Counted::new(source, Arc::clone(&stored)));
            stored.store(head.len() as u64, Ordering::Relaxed);
            let compression = None;
            return Ok(Self {
                head,
                head_at: 0,
                source,
                stored,
                stored_total,
                compression,
                seekable,
            });
        };
        let compressed = io::Cursor::new(std::mem::take(&mut head)).chain(source);
        let inflated: io::Result<Box<dyn Read + Send>> = if ahead {
            let bound = Bound {
                ratio: options.max_inflated_ratio,
                free_bytes: options.inflated_free_bytes,
            };
            compression::inflate_ahead(compression, compressed, Arc::clone(&stored), bound)
                .map(|inflated| Box::new(inflated) as _)
        } else {
            compression::inflate(compression, Counted::new(compressed, Arc::clone(&stored)))
        };
        let unpacked = |error| {
            let what = format!("the {} stream cannot be unpacked", compression.name());
            Error::new(input.name(), what).because(error)
        };
        let mut source = inflated.map_err(unpacked)?;
        match read_head(&mut source, &mut head, HEAD_BYTES) {
            // What came before the damage is kept; the next read meets it again or the end.
            Err(error) if head.is_empty() => return Err(unpacked(error)),
            _ => {}
        }
        let compression = Some(compression);
        Ok(Self {
            head,
            head_at: 0,
            source,
            stored,
            stored_total,
            compression,
            seekable: None,
        })
    }

    /// Goes on reading at `offset`.
    ///
    /// # Errors
    /// When the file cannot be moved in.
    pub fn seek(&mut self, offset: u64) -> io::Result<()> {
        let file = self.seekable.as_mut();
        file.ok_or(io::ErrorKind::NotSeekable)?
            .seek(SeekFrom::Start(offset))?;
        self.head_at = self.head.len();
        Ok(())
    }

    /// The next bytes.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let head = &self.head[self.head_at..];
        if head.is_empty() {
            loop {
                match self.source.read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    outcome => return outcome,
                }
            }
        }
        let count = head.len().min(buffer.len());
        buffer[..count].copy_from_slice(&head[..count]);
        self.head_at += count;
        Ok(count)
    }

    /// Whether the input can be opened again from its start.
    pub const fn can_reopen(&self) -> bool {
        self.stored_total.is_some()
    }

    /// Reads on until the time of the first frame is known, within bounds.
    ///
    /// Nothing is lost by it: what is read is put back.
    pub fn first_time(&mut self) -> Option<Timestamp> {
        /// A first packet farther in than this does not order its file.
        const MAX_PEEK: usize = 1 << 20;
        loop {
            let mut session = Session::default();
            let mut frames = Vec::new();
            let mut records = open_records(&self.head, 0, &mut session).ok()?;
            let walked = records.walk(&self.head, &mut session, &mut frames);
            if let Some(frame) = frames.first() {
                return Some(frame.time);
            }
            if matches!(walked.end, WalkEnd::Damaged(_)) || self.head.len() >= MAX_PEEK {
                return None;
            }
            let wanted = self.head.len() * 2;
            let before = self.head.len();
            let outcome = read_head(&mut self.source, &mut self.head, wanted);
            if outcome.is_err() || self.head.len() == before {
                return None;
            }
        }
    }
}

/// Reads until `head` has `wanted` bytes or the source ends.
fn read_head(source: &mut impl Read, head: &mut Vec<u8>, wanted: usize) -> io::Result<()> {
    let mut filled = head.len();
    head.resize(wanted, 0);
    let outcome = loop {
        if filled == wanted {
            break Ok(());
        }
        match source.read(&mut head[filled..]) {
            Ok(0) => break Ok(()),
            Ok(got) => filled += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    head.truncate(filled);
    outcome
}
