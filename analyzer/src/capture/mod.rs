//! From files to frames.
//!
//! A [`CaptureReader`] opens a set of inputs that are one capture, recognises each by content
//! (compression first, then format) and hands out [`Slab`]s: large blocks of bytes as they were
//! read, with a [`Frame`] for every whole record in them. Bytes are read straight into the slab
//! and never copied again; what follows the last whole record is carried to the next slab.
//!
//! Invariants: nothing is allocated by a length that a file states; every record that is whole
//! is a frame, also one that nobody can decode, so frame numbers are Wireshark's; damage ends
//! the file it is in, is told in a note, and takes nothing away from what came before.

mod compression;
mod foreign;
mod gzip;
mod lane;
mod link_type;
mod merge;
mod open_file;
mod part;
mod pcap;
mod pcapng;
mod pcapng_option;
mod pcapng_process;
mod pcapng_section;
mod pipe;
mod reader;
mod records;
mod remark;
mod session;
mod snoop;
mod source;
mod summary;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

pub use link_type::LinkType;
pub use part::{FilePart, SetOfParts, reading_order};
pub use reader::{CaptureReader, peek, peek_input};
pub use remark::{OtherSide, Owner, OwnerEnd, Remark, Said, ToldBy, name as name_of};
pub use summary::{FileSummary, InterfaceSummary};

/// Bytes looked at to recognise a file; also what the variants of pcap are told by.
const HEAD_BYTES: usize = 4096;

/// One record of a capture, pointing into its [`Slab`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Wireshark's `frame.number`: 1-based over the set of files in the order analysed.
    pub number: u64,
    /// Capture time.
    pub time: Timestamp,
    /// Offset of the first captured byte in the slab.
    pub start: u32,
    /// Bytes present; never more than `original_len`.
    pub captured_len: u32,
    /// Bytes on the wire.
    pub original_len: u32,
    /// Index into the capture's interfaces (over all files and sections).
    pub interface: u32,
}

/// A batch of whole records: the unit of parallel work.
///
/// `bytes` is a buffer that is used again and again: what lies outside the frames is record
/// headers or left from earlier use.
#[derive(Clone, Debug, Default)]
pub struct Slab {
    /// Captured bytes; frames point into it.
    pub bytes: Vec<u8>,
    /// Frames in file order.
    pub frames: Vec<Frame>,
    /// What the file says of some of them, in their order.
    pub remarks: Vec<Remark>,
    /// Frames of the set before the file that these are from; 0 where several files were merged. What
    /// is sampled by a frame's place in its file is then the same whatever files come before.
    pub before: u64,
}

impl Slab {
    /// The captured bytes of a frame; empty when the frame is not of this slab.
    #[must_use]
    pub fn data(&self, frame: &Frame) -> &[u8] {
        let start = frame.start as usize;
        self.bytes
            .get(start..start + frame.captured_len as usize)
            .unwrap_or(&[])
    }
}

/// A place in a capture at which reading can begin again: between two records of a file, or at the
/// beginning of one of several files.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mark {
    /// Which of the files, in the order in which they are read.
    pub file: usize,
    /// Stored bytes before it: of the file, or of all files before this one.
    pub offset: u64,
    /// Number of the frame that follows.
    pub frame: u64,
    /// Its time.
    pub time: Timestamp,
}

/// One input of a capture.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// A file, also a named pipe.
    Path(PathBuf),
    /// Standard input; at most once in a set.
    Stdin,
    /// What is kept elsewhere.
    Stored(Stored),
}

impl Input {
    /// The name in messages; `-` is standard input.
    #[must_use]
    pub fn name(&self) -> PathBuf {
        match self {
            Self::Path(path) => path.clone(),
            Self::Stdin => PathBuf::from("-"),
            Self::Stored(stored) => stored.name.clone(),
        }
    }
}

/// A capture that is no file of this machine; whoever names it knows how to read it.
#[derive(Clone)]
pub struct Stored {
    name: PathBuf,
    object: Arc<dyn StoredObject>,
}

/// Where the octets of a [`Stored`] capture are from.
pub trait StoredObject: Send + Sync {
    /// Octets stored.
    fn octets(&self) -> u64;

    /// Begins to read at the first octet.
    ///
    /// # Errors
    /// When that cannot be done.
    fn open(&self) -> std::io::Result<Box<dyn std::io::Read + Send>>;
}

impl Stored {
    /// A capture of this name.
    #[must_use]
    pub fn new(name: PathBuf, object: Arc<dyn StoredObject>) -> Self {
        Self { name, object }
    }
}

impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Stored {}

impl std::fmt::Debug for Stored {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.name.fmt(to)
    }
}

/// Asks a reader to stop, from another thread.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// What is being read ends after the records read so far.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl PartialEq for StopFlag {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for StopFlag {}

/// How to read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadOptions {
    /// Bytes read at a time. The default of 256 KiB stays in the second-level cache until the
    /// frames are decoded; a slab grows beyond it only for a record that does not fit.
    pub slab_bytes: usize,
    /// Inflated bytes per stored byte beyond which a compressed file is taken for a bomb, once
    /// it has given [`ReadOptions::inflated_free_bytes`]. Headers differ from packet to packet, so
    /// that even full packets of zeros stay below a hundred.
    pub max_inflated_ratio: u64,
    /// Inflated bytes that are never judged by their ratio.
    pub inflated_free_bytes: u64,
    /// Ends reading early, with a note.
    pub stop: StopFlag,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            slab_bytes: 256 << 10,
            max_inflated_ratio: 250,
            inflated_free_bytes: 1 << 30,
            stop: StopFlag::default(),
        }
    }
}

/// An interface of the capture, as its file describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Tells its packets from those of others: a number that depends on its description alone, not on
    /// which interfaces other files have.
    pub point: u32,
    /// What the frames begin with.
    pub link_type: LinkType,
    /// Bytes of frame check sequence at the end of every frame.
    pub fcs_len: u8,
    /// Snap length; 0 means no limit.
    pub snaplen: u32,
    /// Name from the file, when it has one.
    pub name: Option<Arc<str>>,
    /// Frames recorded on it so far.
    pub frames: u64,
    /// Frames the capturing host says it dropped; `None` when the file does not tell.
    pub drops: Option<u64>,
}

/// A comment that somebody wrote into the capture.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Comment {
    /// The frame it belongs to; `None` for a comment on a file, a section or an interface.
    pub frame: Option<u64>,
    /// The text, cut to 4,096 bytes.
    pub text: String,
}
