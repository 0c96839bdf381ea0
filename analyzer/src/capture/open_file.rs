//! One input while it is read: where its bytes come from, what format they have, how far it is.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::compression::{self, Bound, Counted};
use super::format::{self, Compression, Format};
use super::pcap::Pcap;
use super::pcapng::Pcapng;
use super::pipe::PipeReader;
use super::session::{LargeBlock, Session, WalkEnd, Walked};
use super::snoop::Snoop;
use super::{Frame, Input, Mark, ReadOptions, Slab};
use crate::analysis::FileSummary;
use crate::error::Error;
use crate::quality::QualityKind;
use crate::time::Timestamp;

/// Bytes looked at to recognise a file; also what the variants of pcap are told by.
pub(super) const HEAD_BYTES: usize = 4096;

/// Most places remembered in a file; beyond them every second one is forgotten.
const MARKS: usize = 4096;

/// Reading state of a format.
#[derive(Debug)]
enum Records {
    Pcap(Pcap),
    Pcapng(Pcapng),
    Snoop(Snoop),
}

impl Records {
    fn walk(&mut self, bytes: &[u8], session: &mut Session, out: &mut Vec<Frame>) -> Walked {
        match self {
            Self::Pcap(pcap) => pcap.walk(bytes, session, out),
            Self::Pcapng(pcapng) => pcapng.walk(bytes, session, out),
            Self::Snoop(snoop) => snoop.walk(bytes, session, out),
        }
    }

    const fn header_left(&self) -> u64 {
        match self {
            Self::Pcap(pcap) => pcap.header_left(),
            Self::Pcapng(_) | Self::Snoop(_) => 0,
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Pcap(pcap) => pcap.name(),
            Self::Pcapng(_) => "pcapng",
            Self::Snoop(_) => "snoop",
        }
    }
}

/// Bytes of an input, inflated, with what recognition has already read put back in front.
pub(super) struct Bytes {
    head: Vec<u8>,
    head_at: usize,
    source: Box<dyn Read + Send>,
    /// Stored bytes read so far.
    stored: Arc<AtomicU64>,
    /// Stored bytes in all; `None` for a pipe.
    stored_total: Option<u64>,
    compression: Option<Compression>,
    /// A second handle on a regular file that is not compressed, to move in it.
    seekable: Option<File>,
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
    fn seek(&mut self, offset: u64) -> io::Result<()> {
        let file = self.seekable.as_mut();
        file.ok_or(io::ErrorKind::NotSeekable)?
            .seek(SeekFrom::Start(offset))?;
        self.head_at = self.head.len();
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
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

fn open_records(head: &[u8], lane: u32, session: &mut Session) -> Result<Records, String> {
    match format::recognise(head) {
        Some(Format::Pcap) => Pcap::open(head, lane, session).map(Records::Pcap),
        Some(Format::Pcapng) => Pcapng::open(head, lane).map(Records::Pcapng),
        Some(Format::Snoop) => Snoop::open(head, lane, session).map(Records::Snoop),
        None => Err(format::describe_unknown(head)),
    }
}

/// An input that was recognised and is being read.
pub(super) struct OpenFile {
    name: String,
    bytes: Bytes,
    records: Records,
    /// What follows the last whole record.
    carry: Vec<u8>,
    /// Offset of `carry` in the (inflated) input.
    offset: u64,
    source_ended: bool,
    /// Why the source ended, unless by its end.
    source_error: Option<io::Error>,
    /// Nothing more will come.
    pub done: bool,
    frames: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    /// Places at which reading can begin again; none where the format or the source forbids it.
    marks: Vec<Mark>,
    /// Every so many slabs one is remembered.
    mark_every: u64,
    slabs: u64,
}

impl OpenFile {
    /// Recognises what `bytes` are.
    ///
    /// # Errors
    /// When they are no capture that can be read; the message says what they are.
    pub fn new(
        input: &Input,
        bytes: Bytes,
        lane: u32,
        session: &mut Session,
    ) -> Result<Self, Error> {
        let records = open_records(&bytes.head, lane, session).map_err(|message| {
            let inside = bytes.compression.filter(|_| !bytes.head.is_empty());
            let prefix = inside.map_or_else(String::new, |c| format!("inside {}: ", c.name()));
            Error::new(input.name(), prefix + &message)
        })?;
        Ok(Self {
            name: input.name().display().to_string(),
            bytes,
            records,
            carry: Vec::new(),
            offset: 0,
            source_ended: false,
            source_error: None,
            done: false,
            frames: 0,
            first: None,
            last: None,
            marks: Vec::new(),
            mark_every: 1,
            slabs: 0,
        })
    }

    /// Fills `slab` with the next whole records; none when the file is done.
    pub fn fill(&mut self, slab: &mut Slab, slab_bytes: usize, session: &mut Session) {
        slab.frames.clear();
        // The buffer may be longer, for a record that was huge or a slab that was longer: no more is
        // read for that.
        let mut room = slab_bytes.max(self.carry.len() + HEAD_BYTES);
        if slab.bytes.len() < room {
            // New, not longer: fresh memory is zero already.
            slab.bytes = vec![0; room];
        }
        let mut filled = self.carry.len();
        slab.bytes[..filled].copy_from_slice(&self.carry);
        self.carry.clear();
        let records_at = self.offset + self.records.header_left();
        while !self.done {
            filled = self.read_into(&mut slab.bytes[..room], filled);
            let bytes = &slab.bytes[..filled];
            let before = slab.frames.len();
            let walked = self.records.walk(bytes, session, &mut slab.frames);
            self.offset += walked.consumed as u64;
            self.count(&slab.frames[before..]);
            match walked.end {
                WalkEnd::Damaged(what) => {
                    self.done = true;
                    self.note_cut(&what, session);
                }
                // What was cut before it must not be overwritten: it is met again.
                WalkEnd::TooLarge(_) if !slab.frames.is_empty() => {
                    self.carry
                        .extend_from_slice(&slab.bytes[walked.consumed..filled]);
                    break;
                }
                WalkEnd::TooLarge(block) => {
                    slab.bytes.copy_within(walked.consumed..filled, 0);
                    filled -= walked.consumed;
                    filled = self.pass_over(block, slab, filled, session);
                }
                WalkEnd::Needs(_) if self.source_ended => {
                    self.done = true;
                    self.note_end(filled - walked.consumed, &walked.end, session);
                }
                WalkEnd::Needs(_) if !slab.frames.is_empty() => {
                    self.carry
                        .extend_from_slice(&slab.bytes[walked.consumed..filled]);
                    break;
                }
                WalkEnd::Needs(needed) => {
                    slab.bytes.copy_within(walked.consumed..filled, 0);
                    filled -= walked.consumed;
                    if needed > room {
                        // The length is the file's word: grow with what really comes.
                        room = (room * 2).min(needed.next_multiple_of(4096));
                        if slab.bytes.len() < room {
                            slab.bytes.resize(room, 0);
                        }
                    }
                }
            }
        }
        if self.done
            && let Records::Pcapng(pcapng) = &mut self.records
        {
            pcapng.finish(session);
        }
        self.mark(records_at, slab.frames.first());
    }

    /// Remembers the place where a slab began.
    fn mark(&mut self, offset: u64, first: Option<&Frame>) {
        let (Records::Pcap(_), true, Some(first)) =
            (&self.records, self.bytes.seekable.is_some(), first)
        else {
            return;
        };
        if self.slabs.is_multiple_of(self.mark_every) {
            self.marks.push(Mark {
                file: 0,
                offset,
                frame: first.number,
                time: first.time,
            });
        }
        self.slabs += 1;
        if self.marks.len() > MARKS {
            let mut at = 0;
            self.marks.retain(|_| {
                at += 1;
                at % 2 == 1
            });
            self.mark_every *= 2;
        }
    }

    /// Places at which reading can begin again, in order.
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// Goes on at a place that an earlier reading of the same file marked.
    ///
    /// # Errors
    /// When the file cannot be moved in.
    pub fn go_to(&mut self, mark: &Mark, session: &mut Session) -> io::Result<()> {
        self.bytes.seek(mark.offset)?;
        if let Records::Pcap(pcap) = &mut self.records {
            pcap.skip_header();
        }
        self.carry.clear();
        self.offset = mark.offset;
        self.source_ended = false;
        self.done = false;
        session.frames = mark.frame - 1;
        Ok(())
    }

    /// Reads on to the end of a block, of which the first `filled` bytes of the slab are the
    /// beginning; returns how many bytes behind it stand there then.
    fn pass_over(
        &mut self,
        block: LargeBlock,
        slab: &mut Slab,
        mut filled: usize,
        session: &mut Session,
    ) -> usize {
        const TRAILER: usize = 4;
        let (kind, length) = (block.kind, block.length);
        let mut left = length as usize;
        loop {
            let passed = filled.min(left - TRAILER);
            slab.bytes.copy_within(passed..filled, 0);
            (filled, left) = (filled - passed, left - passed);
            if left == TRAILER && filled >= TRAILER {
                break;
            }
            filled = self.read_into(&mut slab.bytes, filled);
            if self.source_ended && filled < left {
                let found = length as usize - left + filled;
                let what =
                    format!("expected a block of {length} bytes, found the end after {found}");
                self.done = true;
                self.note_cut(&what, session);
                return 0;
            }
        }
        if slab.bytes[..TRAILER] != block.repeated {
            let what = format!(
                "expected the length of a block of type {kind:#x}, {length}, to be repeated at its end, found other bytes"
            );
            self.done = true;
            self.note_cut(&what, session);
            return 0;
        }
        let note = format!(
            "{}: at byte {}: a block of type {kind:#x} has {length} bytes, more than any that is read: it was passed over",
            self.name, self.offset
        );
        session.note(QualityKind::CutShort, 1, note);
        self.offset += u64::from(length);
        let before = slab.frames.len();
        if let Records::Pcapng(pcapng) = &self.records {
            pcapng.passed_over(kind, session, &mut slab.frames);
        }
        self.count(&slab.frames[before..]);
        slab.bytes.copy_within(TRAILER..filled, 0);
        filled - TRAILER
    }

    /// Reads until `buffer` is full or the source ends; returns how far it is filled.
    fn read_into(&mut self, buffer: &mut [u8], mut filled: usize) -> usize {
        while filled < buffer.len() && !self.source_ended {
            match self.bytes.read(&mut buffer[filled..]) {
                Ok(0) => self.source_ended = true,
                Ok(got) => filled += got,
                Err(error) => {
                    self.source_ended = true;
                    self.source_error = Some(error);
                }
            }
        }
        filled
    }

    fn count(&mut self, frames: &[Frame]) {
        self.frames += frames.len() as u64;
        if let (Some(first), Some(last)) = (frames.first(), frames.last()) {
            self.first.get_or_insert(first.time);
            self.last = Some(last.time);
        }
    }

    fn note_cut(&self, what: &str, session: &mut Session) {
        let note = format!(
            "{}: at byte {}: {what}; the {} frames before it are analysed, what follows is not",
            self.name, self.offset, self.frames
        );
        session.note(QualityKind::CutShort, 1, note);
    }

    /// Notes a source that failed, or ended within a record.
    fn note_end(&mut self, rest: usize, end: &WalkEnd, session: &mut Session) {
        if let Some(error) = self.source_error.take() {
            let what = match self.bytes.compression {
                Some(c) => format!("the {} stream is damaged or cut: {error}", c.name()),
                None => format!("reading failed: {error}"),
            };
            self.note_cut(&what, session);
        } else if rest > 0 {
            let WalkEnd::Needs(needed) = end else { return };
            let what =
                format!("expected a record of at least {needed} bytes, found the end after {rest}");
            self.note_cut(&what, session);
        }
    }

    /// Stored bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes.stored.load(Ordering::Relaxed)
    }

    /// What is known of the file.
    pub fn summary(&self) -> FileSummary {
        let format = match self.bytes.compression {
            Some(compression) => format!("{} ({})", self.records.name(), compression.name()),
            None => self.records.name().to_owned(),
        };
        FileSummary {
            name: self.name.clone(),
            format,
            stored_bytes: self.bytes.stored_total.unwrap_or(0),
            frames: self.frames,
            first: self.first,
            last: self.last,
        }
    }
}
