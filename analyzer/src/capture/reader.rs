//! Several inputs as one capture.

use std::collections::VecDeque;
use std::path::Path;

use super::lane::{Lane, RING_OVERLAP};
use super::open_file::OpenFile;
use super::session::Session;
use super::source::Bytes;
use super::summary::{FileSummary, InterfaceSummary};
use super::{Comment, Input, Interface, Mark, ReadOptions, Slab};
use crate::error::Error;
use crate::quality::{QualityKind, QualityNote};
use crate::time::Timestamp;

/// Compressed files whose inflating threads run ahead of the file being read.
const READ_AHEAD: usize = 3;

/// An input that waits for its turn.
pub(super) struct Waiting {
    input: Input,
    /// Still open: an input that cannot be opened again, or one that is read ahead.
    bytes: Option<Bytes>,
    pub first: Option<Timestamp>,
}

/// Reads a set of inputs that are one capture, in the order of their first frames; files that
/// overlap in time are merged.
///
/// Frame numbers are 1-based over the set. Damage ends the file it is in and is told by
/// [`CaptureReader::notes`]; the other files are read all the same.
pub struct CaptureReader {
    pub(super) options: ReadOptions,
    pub(super) waiting: VecDeque<Waiting>,
    /// The files being read: one, unless several overlap.
    pub(super) lanes: Vec<Lane>,
    pub(super) session: Session,
    /// Frames handed out.
    pub(super) handed_out: u64,
    finished: Vec<FileSummary>,
    /// Time of the last frame handed out.
    last: Option<Timestamp>,
    total_bytes: Option<u64>,
    bytes_done: u64,
    /// The first error of an input; what is returned when no input could be read.
    unreadable: Option<Error>,
    /// Whether any input was recognised.
    any_opened: bool,
    marks: Vec<Mark>,
    /// The inputs in the order in which they are read, with the times of their first frames.
    ordered: Vec<(Input, Option<Timestamp>)>,
    /// Which of them was opened last.
    current: usize,
    /// Frames of several files were sorted by time, or files cannot be opened again: no file is a run
    /// of frames that could be read again by itself.
    pub(super) mixed: bool,
    /// Whether files that come next are opened ahead.
    reads_ahead: bool,
}

impl CaptureReader {
    /// Opens a set of inputs that are one capture and orders them by their first frames.
    ///
    /// Ties, and files without a frame, keep the given order. An input that cannot be read is
    /// named in a note as long as another one can.
    ///
    /// # Errors
    /// When no input can be read: the first one's reason. It is the user's file or argument.
    pub fn open(inputs: &[Input], options: ReadOptions) -> Result<Self, Error> {
        let mut reader = Self {
            options,
            waiting: VecDeque::new(),
            lanes: Vec::new(),
            session: Session::default(),
            handed_out: 0,
            finished: Vec::new(),
            last: None,
            total_bytes: total_bytes(inputs),
            bytes_done: 0,
            unreadable: None,
            any_opened: false,
            marks: Vec::new(),
            ordered: Vec::new(),
            current: 0,
            mixed: false,
            reads_ahead: true,
        };
        if let [input] = inputs {
            let input = input.clone();
            reader.waiting.push_back(Waiting {
                input,
                bytes: None,
                first: None,
            });
        } else {
            reader.order(inputs);
            reader.mixed = reader.waiting.iter().any(|waiting| waiting.bytes.is_some());
        }
        let waiting = reader.waiting.iter();
        reader.ordered = waiting
            .map(|waiting| (waiting.input.clone(), waiting.first))
            .collect();
        reader.open_next();
        match reader.unreadable.take() {
            Some(error) if !reader.any_opened => Err(error),
            None if !reader.any_opened => Err(Error::new("", "no capture was given")),
            _ => Ok(reader),
        }
    }

    /// Fills `slab` with the next whole records; `false` at the end of the last input.
    ///
    /// # Errors
    /// Never so far: damage within an input ends that input with a note, as one that cannot be opened.
    pub fn read_slab(&mut self, slab: &mut Slab) -> Result<bool, Error> {
        slab.frames.clear();
        slab.remarks.clear();
        if self.options.stop.is_set() {
            self.stop();
        }
        while let Some(lane) = self.lanes.first() {
            if self.lanes.len() == 1 && lane.is_drained() {
                self.read_alone(slab);
            } else {
                self.merge_into(slab);
            }
            if self.lanes.is_empty() {
                self.open_next();
            }
            if let Some(last) = slab.frames.last() {
                self.last = Some(last.time);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Fills `slab` from the only open file, without copying.
    fn read_alone(&mut self, slab: &mut Slab) {
        let lane = &mut self.lanes[0];
        lane.file
            .fill(slab, self.options.slab_bytes, &mut self.session);
        let done = lane.file.done;
        let newest = slab.frames.last().map(|frame| frame.time);
        if newest.is_some_and(|newest| self.next_overlaps(newest, done)) {
            return self.lanes[0].hold(slab);
        }
        if self.ordered.len() > 1
            && let Some(first) = slab.frames.first()
            && self
                .marks
                .last()
                .is_none_or(|mark| mark.file != self.current)
        {
            self.marks.push(Mark {
                file: self.current,
                offset: self.bytes_done,
                frame: first.number,
                time: first.time,
            });
        }
        self.handed_out += slab.frames.len() as u64;
        if done {
            self.close_lane(0);
        }
    }

    /// A file has been read to its end.
    pub(super) fn close_lane(&mut self, at: usize) {
        let lane = self.lanes.remove(at);
        if self.ordered.len() == 1 {
            self.marks = lane.file.marks().to_vec();
        }
        self.bytes_done += lane.file.bytes_read();
        self.finished.push(lane.file.summary());
    }

    /// Places at which a later reading may begin ([`Self::go_to`]), in order; complete after the last
    /// slab. Of several inputs each beginning is one, unless they overlap. None for a pipe, a single
    /// compressed file, and a single file of a format of which a part cannot be read without what
    /// comes before.
    #[must_use]
    pub fn marks(&self) -> &[Mark] {
        if self.mixed { &[] } else { &self.marks }
    }

    /// Goes on at a place that an earlier reading of the same inputs marked; of a single input, to be
    /// called before it has been read to its end.
    ///
    /// # Errors
    /// When the input was read to its end or cannot be moved in.
    pub fn go_to(&mut self, mark: &Mark) -> Result<(), Error> {
        if self.ordered.len() > 1 {
            let rest = self.ordered.iter().skip(mark.file);
            self.waiting = rest
                .map(|(input, first)| Waiting {
                    input: input.clone(),
                    bytes: None,
                    first: *first,
                })
                .collect();
            self.lanes.clear();
            self.session.frames = mark.frame - 1;
            self.handed_out = mark.frame - 1;
            // Little is read from here: what comes next is opened when it is needed.
            self.reads_ahead = false;
            self.open_next();
            return if self.current == mark.file && !self.lanes.is_empty() {
                Ok(())
            } else {
                Err(Error::new("", "cannot be read again"))
            };
        }
        let moved = match self.lanes.first_mut() {
            Some(lane) => lane.file.go_to(mark, &mut self.session),
            None => Err(std::io::ErrorKind::UnexpectedEof.into()),
        };
        moved.map_err(|error| Error::new("", "cannot be read again").because(error))
    }

    /// Reads slabs of about this size from here on.
    pub fn read_in_slabs_of(&mut self, bytes: usize) {
        self.options.slab_bytes = bytes;
    }

    /// Interfaces known so far; the index is [`super::Frame::interface`].
    #[must_use]
    pub fn interfaces(&self) -> &[Interface] {
        &self.session.interfaces
    }

    /// The files read so far, in the order analysed.
    #[must_use]
    pub fn files(&self) -> Vec<FileSummary> {
        let active = self.lanes.iter().map(|lane| lane.file.summary());
        self.finished.iter().cloned().chain(active).collect()
    }

    /// Interfaces with their counts so far.
    #[must_use]
    pub fn interface_summaries(&self) -> Vec<InterfaceSummary> {
        self.session.summaries()
    }

    /// What limits the capture as far as its files tell; complete after the last slab.
    #[must_use]
    pub fn notes(&self) -> Vec<QualityNote> {
        self.session.all_notes()
    }

    /// Comments on files, sections, interfaces and packets; the first 1,000.
    #[must_use]
    pub fn comments(&self) -> Vec<Comment> {
        self.session.numbered_comments()
    }

    /// Stored bytes of all inputs; `None` when one of them is a pipe.
    #[must_use]
    pub const fn total_bytes(&self) -> Option<u64> {
        self.total_bytes
    }

    /// Stored bytes read so far.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        let lanes = self.lanes.iter();
        self.bytes_done + lanes.map(|lane| lane.file.bytes_read()).sum::<u64>()
    }

    /// Looks at the first frame of every input and queues them in that order.
    fn order(&mut self, inputs: &[Input]) {
        let mut previous = None;
        let mut places = Vec::with_capacity(inputs.len());
        for input in inputs {
            match Bytes::open(input, &self.options, false) {
                Ok(mut bytes) => {
                    let first = bytes.first_time();
                    previous = first.or(previous);
                    let bytes = (!bytes.can_reopen()).then_some(bytes);
                    let input = input.clone();
                    // What has no frame stays where it was given, and overlaps with nothing.
                    places.push((
                        previous,
                        Waiting {
                            input,
                            bytes,
                            first,
                        },
                    ));
                }
                Err(error) => self.cannot_read(error),
            }
        }
        places.sort_by_key(|(place, _)| *place);
        self.waiting = places.into_iter().map(|(_, waiting)| waiting).collect();
    }

    /// Time of the next frame of a file that waits.
    pub(super) fn next_first(&self) -> Option<Timestamp> {
        self.waiting.iter().find_map(|waiting| waiting.first)
    }

    /// Opens the next input that can be read, beside those that are.
    pub(super) fn open_next(&mut self) {
        let number = (0..)
            .find(|number| self.lanes.iter().all(|lane| lane.number != *number))
            .unwrap_or(0);
        while let Some(mut waiting) = self.waiting.pop_front() {
            self.current = self.ordered.len() - self.waiting.len() - 1;
            let bytes = match waiting.bytes.take() {
                Some(bytes) => Ok(bytes),
                None => Bytes::open(&waiting.input, &self.options, true),
            };
            let opened = bytes
                .and_then(|bytes| OpenFile::new(&waiting.input, bytes, number, &mut self.session));
            match opened {
                Ok(file) => {
                    self.note_overlap(&waiting);
                    self.lanes.push(Lane::new(file, number));
                    self.any_opened = true;
                    self.read_ahead();
                    return;
                }
                Err(error) => self.cannot_read(error),
            }
        }
    }

    /// Starts the inflating threads of the next files.
    fn read_ahead(&mut self) {
        if !self.reads_ahead {
            return;
        }
        for waiting in self.waiting.iter_mut().take(READ_AHEAD) {
            if waiting.bytes.is_none()
                && let Ok(bytes) = Bytes::open(&waiting.input, &self.options, true)
            {
                // A failure is met, and told, when its turn comes.
                waiting.bytes = Some(bytes);
            }
        }
    }

    /// Ends reading where it is.
    fn stop(&mut self) {
        if self.lanes.is_empty() {
            return;
        }
        while !self.lanes.is_empty() {
            self.close_lane(0);
        }
        let left = self.waiting.len();
        self.waiting.clear();
        let note = format!(
            "reading was interrupted after {} frames{}: the rest is not analyzed",
            self.handed_out,
            if left == 0 {
                String::new()
            } else {
                format!(", before {left} more files")
            }
        );
        self.session.note(QualityKind::CutShort, 1, note);
    }

    /// What is merged was opened in time; what comes late is told.
    fn note_overlap(&mut self, next: &Waiting) {
        if let (Some(last), Some(first)) = (self.last, next.first)
            && first < last
            && last.since(first) >= RING_OVERLAP
        {
            let name = next.input.name().display().to_string();
            self.session.note_overlap(&name, last.since(first));
        }
    }

    fn cannot_read(&mut self, error: Error) {
        self.session
            .note(QualityKind::CutShort, 1, format!("not read: {error}"));
        self.unreadable.get_or_insert(error);
    }
}

/// Looks at a file's beginning: `Ok` when it is a capture, with the time of its first frame.
///
/// # Errors
/// When it cannot be read or is no capture; the message says what it is.
pub fn peek(path: &Path) -> Result<Option<Timestamp>, Error> {
    peek_input(&Input::Path(path.to_owned()))
}

/// As [`peek`], of any input that can be opened again.
///
/// # Errors
/// As [`peek`].
pub fn peek_input(input: &Input) -> Result<Option<Timestamp>, Error> {
    let mut bytes = Bytes::open(input, &ReadOptions::default(), false)?;
    let first = bytes.first_time();
    OpenFile::new(input, bytes, 0, &mut Session::default())?;
    Ok(first)
}

/// Stored bytes of all inputs, when all of them are regular files.
fn total_bytes(inputs: &[Input]) -> Option<u64> {
    inputs
        .iter()
        .map(|input| match input {
            Input::Stdin => None,
            Input::Stored(stored) => Some(stored.object.octets()),
            Input::Path(path) => {
                let metadata = std::fs::metadata(path).ok()?;
                metadata.is_file().then_some(metadata.len())
            }
        })
        .sum()
}
