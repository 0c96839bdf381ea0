//! What a file of a set tells beside its frames, where its files are read by different processes, and
//! how that is put together to what [`CaptureReader`] tells of a set.
//!
//! Files follow each other here in the order of their first frames; they are never merged.

use serde::{Deserialize, Serialize};

use super::lane::RING_OVERLAP;
use super::reader::CaptureReader;
use super::session::{InterfacePart, Session};
use super::source::Bytes;
use super::{FileSummary, Input, InterfaceSummary, Mark, ReadOptions};
use crate::error::Error;
use crate::quality::{QualityKind, QualityNote};
use crate::time::Timestamp;

/// One file of a set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FilePart {
    /// Its name, as given.
    pub name: String,
    /// What it holds; `None` when it could not be read at all.
    pub summary: Option<FileSummary>,
    /// Time of its first frame, as far as a look at its beginning tells.
    pub first: Option<Timestamp>,
    /// Its bytes could be opened, whatever they are.
    pub is_there: bool,
    notes: Vec<QualityNote>,
    interfaces: Vec<InterfacePart>,
    marks: Vec<Mark>,
    bytes_read: u64,
}

impl FilePart {
    /// A file before it is read.
    #[must_use]
    pub fn unread(input: &Input, options: &ReadOptions) -> Self {
        // A pipe gives its bytes once.
        let is_pipe = match input {
            Input::Stdin => true,
            Input::Stored(_) => false,
            Input::Path(path) => std::fs::metadata(path).is_ok_and(|found| !found.is_file()),
        };
        let mut opened = (!is_pipe).then(|| Bytes::open(input, options, false));
        let first = opened.as_mut().and_then(|opened| opened.as_mut().ok());
        Self {
            name: input.name().display().to_string(),
            summary: None,
            first: first.and_then(Bytes::first_time),
            is_there: opened.is_none_or(|opened| opened.is_ok()),
            notes: Vec::new(),
            interfaces: Vec::new(),
            marks: Vec::new(),
            bytes_read: 0,
        }
    }

    /// The file was read to its end, or as far as it goes.
    pub fn read_by(&mut self, reader: &CaptureReader) {
        self.summary = reader.files().pop();
        self.notes = reader.session.notes.clone();
        self.interfaces = reader.session.interface_parts();
        self.marks = reader.marks().to_vec();
        self.bytes_read = reader.bytes_read();
    }

    /// The file could not be read at all.
    pub fn unreadable(&mut self, error: &Error) {
        self.notes = vec![QualityNote {
            kind: QualityKind::CutShort,
            count: 1,
            note: format!("not read: {error}"),
        }];
    }

    /// Gives standard input the name of where its bytes are from.
    pub fn rename(&mut self, name: &str) {
        for note in &mut self.notes {
            note.note = note.note.replacen("-: ", &format!("{name}: "), 1);
        }
        if let Some(summary) = &mut self.summary {
            name.clone_into(&mut summary.name);
        }
        name.clone_into(&mut self.name);
    }

    /// Frames read from it.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.summary.as_ref().map_or(0, |summary| summary.frames)
    }
}

/// The places of the files in the order in which they are read: by their first frames. Ties, and files
/// without a frame, keep the order in which they are given.
///
/// Of each file: whether its bytes could be opened, and the time of its first frame.
#[must_use]
pub fn reading_order(files: &[(bool, Option<Timestamp>)]) -> Vec<usize> {
    let mut previous = None;
    let mut order: Vec<(Option<Timestamp>, usize)> = Vec::with_capacity(files.len());
    for (at, (is_there, first)) in files.iter().enumerate() {
        if *is_there {
            previous = first.or(previous);
        }
        order.push((previous, at));
    }
    order.sort_by_key(|(first, _)| *first);
    order.into_iter().map(|(_, at)| at).collect()
}

/// A set, as its files tell in the order in which they are read.
#[derive(Clone, Debug, Default)]
pub struct SetOfParts {
    /// The files that could be read.
    pub files: Vec<FileSummary>,
    /// The interfaces of all files.
    pub interfaces: Vec<InterfaceSummary>,
    /// What limits the capture as far as its files tell.
    pub notes: Vec<QualityNote>,
    /// Places at which reading may begin again.
    pub marks: Vec<Mark>,
}

impl SetOfParts {
    /// Puts the files of a set together.
    ///
    /// # Errors
    /// When no file could be read.
    pub fn of<'a>(parts: impl ExactSizeIterator<Item = &'a FilePart>) -> Result<Self, Error> {
        let is_alone = parts.len() == 1;
        let mut set = Self::default();
        let mut session = Session::default();
        let (mut frames, mut bytes, mut number) = (0, 0, 0);
        let mut last: Option<Timestamp> = None;
        for part in parts {
            session.notes.extend(part.notes.iter().cloned());
            session.join(&part.interfaces);
            if let (Some(last), Some(first)) = (last, part.first)
                && last.since(first) >= RING_OVERLAP
            {
                session.note_overlap(&part.name, last.since(first));
            }
            if let Some(summary) = &part.summary {
                set.files.push(summary.clone());
                if is_alone {
                    set.marks.clone_from(&part.marks);
                } else if let Some(time) = summary.first {
                    set.marks.push(Mark {
                        file: number,
                        offset: bytes,
                        frame: frames + 1,
                        time,
                    });
                }
                frames += summary.frames;
                last = summary.last.or(last);
            }
            bytes += part.bytes_read;
            number += usize::from(part.is_there);
        }
        if set.files.is_empty() {
            return Err(none_readable(session.notes));
        }
        set.interfaces = session.summaries();
        set.notes = session.all_notes();
        Ok(set)
    }
}

/// Why nothing of a set can be analysed: what was said of its first file.
fn none_readable(notes: Vec<QualityNote>) -> Error {
    let mut notes = notes.into_iter().map(|one| one.note);
    let first = notes
        .next()
        .unwrap_or_else(|| "no file was given".to_owned());
    Error::new(
        "the set",
        format!("no file of it could be read; the first: {first}"),
    )
}
