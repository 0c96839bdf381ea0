//! One input while it is read, and how far it is.

use std::io;
use std::sync::atomic::Ordering;

use super::records::{Records, open_records};
use super::session::{LargeBlock, Session, WalkEnd};
use super::source::Bytes;
use super::summary::FileSummary;
use super::{Frame, HEAD_BYTES, Input, Mark, Slab};
use crate::error::Error;
use crate::quality::QualityKind;
use crate::time::Timestamp;

/// Most places remembered in a file; beyond them every second one is forgotten.
const MARKS: usize = 4096;

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
        slab.remarks.clear();
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
        slab.remarks.append(&mut session.remarks);
        slab.before = session.frames.saturating_sub(self.frames);
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
            "{}: at byte {}: a block of type {kind:#x} has {length} bytes, more than the limit: it was skipped",
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
            "{}: at byte {}: {what}; the {} frames before it are analyzed, the rest is not",
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
