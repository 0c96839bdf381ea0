//! What is common to all files of one capture while they are read: interfaces, frame numbers,
//! comments and notes.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use super::{Comment, Interface, InterfaceSummary, LinkType, Remark};
use crate::quality::{QualityKind, QualityNote};

/// More interfaces than any capture of people has; frames on later ones are counted, undecoded.
const MAX_INTERFACES: usize = 65_536;
/// Enough to read; a file may carry one comment per packet.
const MAX_COMMENTS: usize = 1000;
/// Longest comment that is kept, in bytes.
const MAX_COMMENT_BYTES: usize = 4096;
/// Longest interface name that is kept, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// What makes two interface descriptions in different files (or sections) the same interface.
///
/// Files of a ring describe the same interface again in every file: a connection that spans two
/// files must not change its observation point. Files that overlap in time are other hosts'
/// or other interfaces' files: the lane keeps them apart.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct InterfaceKey {
    lane: u32,
    index_in_section: u32,
    link_type: LinkType,
    fcs_len: u8,
    name: Option<Arc<str>>,
}

impl InterfaceKey {
    /// A number of its own.
    fn point(&self) -> u32 {
        let hash = FixedState::with_seed(0x696e_7465).hash_one(self);
        (hash >> 32) as u32
    }
}

/// The description of an interface in a file.
#[derive(Debug)]
pub(super) struct InterfaceDescription<'a> {
    pub lane: u32,
    pub index_in_section: u32,
    pub link_type: LinkType,
    pub fcs_len: u8,
    pub snaplen: u32,
    pub name: Option<&'a [u8]>,
}

/// An interface of a file, with what makes it the same as one of another file, and its counts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct InterfacePart {
    index_in_section: u32,
    link_type: LinkType,
    fcs_len: u8,
    snaplen: u32,
    name: Option<String>,
    frames: u64,
    drops: Option<u64>,
}

/// State over all files of the capture.
#[derive(Debug, Default)]
pub(super) struct Session {
    pub interfaces: Vec<Interface>,
    keys: BTreeMap<InterfaceKey, u32>,
    /// Frames handed out so far; the next frame is one more.
    pub frames: u64,
    /// With the numbers that their frames had when they were read.
    comments: Vec<Comment>,
    /// What became of those numbers where files were merged.
    renumbered: BTreeMap<u64, u64>,
    /// Comments beyond [`MAX_COMMENTS`].
    pub comments_left_out: u64,
    /// What is said of the frames cut since they were last taken.
    pub remarks: Vec<Remark>,
    pub notes: Vec<QualityNote>,
}

impl Session {
    /// The capture-wide index of an interface; `u32::MAX` when there are too many.
    pub fn interface(&mut self, description: &InterfaceDescription<'_>) -> u32 {
        let name = description
            .name
            .filter(|name| !name.is_empty())
            .map(|name| {
                let text = String::from_utf8_lossy(cut(name, MAX_NAME_BYTES)).into_owned();
                Arc::<str>::from(text)
            });
        let key = InterfaceKey {
            lane: description.lane,
            index_in_section: description.index_in_section,
            link_type: description.link_type,
            fcs_len: description.fcs_len,
            name: name.clone(),
        };
        if let Some(&index) = self.keys.get(&key) {
            return index;
        }
        if self.interfaces.len() >= MAX_INTERFACES {
            return u32::MAX;
        }
        let index = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        self.interfaces.push(Interface {
            point: key.point(),
            link_type: description.link_type,
            fcs_len: description.fcs_len,
            snaplen: description.snaplen,
            name,
            frames: 0,
            drops: None,
        });
        self.keys.insert(key, index);
        index
    }

    /// Counts frames of an interface.
    pub fn count_frames(&mut self, interface: u32, frames: u64) {
        if let Some(interface) = self.interfaces.get_mut(interface as usize) {
            interface.frames += frames;
        }
    }

    /// Keeps a comment, within bounds.
    pub fn comment(&mut self, frame: Option<u64>, text: &[u8]) {
        if self.comments.len() >= MAX_COMMENTS {
            self.comments_left_out += 1;
            return;
        }
        let text = String::from_utf8_lossy(cut(text, MAX_COMMENT_BYTES)).into_owned();
        self.comments.push(Comment { frame, text });
    }

    /// A frame that was read under one number is handed out under another.
    pub fn renumber(&mut self, read: u64, handed_out: u64) {
        if read == handed_out || self.comments.is_empty() {
            return;
        }
        if self
            .comments
            .iter()
            .any(|comment| comment.frame == Some(read))
        {
            self.renumbered.insert(read, handed_out);
        }
    }

    /// The comments under the numbers of the frames handed out.
    pub fn numbered_comments(&self) -> Vec<Comment> {
        let numbered = |comment: &Comment| Comment {
            frame: comment
                .frame
                .map(|frame| self.renumbered.get(&frame).copied().unwrap_or(frame)),
            text: comment.text.clone(),
        };
        self.comments.iter().map(numbered).collect()
    }

    /// The interfaces with their counts, as reports show them.
    pub fn summaries(&self) -> Vec<InterfaceSummary> {
        let numbered = self.interfaces.iter().zip(0_u32..);
        let summary = |(interface, index): (&Interface, u32)| InterfaceSummary {
            index,
            name: interface.name.as_deref().map(str::to_owned),
            link_type: interface.link_type.to_string(),
            snaplen: interface.snaplen,
            frames: interface.frames,
            drops: interface.drops,
        };
        numbered.map(summary).collect()
    }

    /// The interfaces for another session to take ([`Self::join`]).
    pub fn interface_parts(&self) -> Vec<InterfacePart> {
        let mut parts: Vec<(u32, InterfacePart)> = Vec::with_capacity(self.keys.len());
        for (key, index) in &self.keys {
            let Some(interface) = self.interfaces.get(*index as usize) else {
                continue;
            };
            let part = InterfacePart {
                index_in_section: key.index_in_section,
                link_type: key.link_type,
                fcs_len: key.fcs_len,
                snaplen: interface.snaplen,
                name: key.name.as_deref().map(str::to_owned),
                frames: interface.frames,
                drops: interface.drops,
            };
            parts.push((*index, part));
        }
        parts.sort_by_key(|(index, _)| *index);
        parts.into_iter().map(|(_, part)| part).collect()
    }

    /// Takes the interfaces of a file that another session has read, after those of the files before it.
    pub fn join(&mut self, parts: &[InterfacePart]) {
        for part in parts {
            let index = self.interface(&InterfaceDescription {
                lane: 0,
                index_in_section: part.index_in_section,
                link_type: part.link_type,
                fcs_len: part.fcs_len,
                snaplen: part.snaplen,
                name: part.name.as_deref().map(str::as_bytes),
            });
            self.count_frames(index, part.frames);
            if let (Some(interface), Some(drops)) =
                (self.interfaces.get_mut(index as usize), part.drops)
            {
                // As pcapng files state them: sums since the capture began.
                interface.drops = Some(interface.drops.unwrap_or(0).max(drops));
            }
        }
    }

    /// What limits the capture as far as its files tell.
    pub fn all_notes(&self) -> Vec<QualityNote> {
        let mut notes = self.notes.clone();
        let drops: u64 = self.interfaces.iter().filter_map(|one| one.drops).sum();
        if drops > 0 {
            notes.push(QualityNote {
                kind: QualityKind::CaptureDrops,
                count: drops,
                note: format!(
                    "the capturing host reports {drops} dropped frames: bytes acknowledged but never captured were lost by the capture, not by the network"
                ),
            });
        }
        notes
    }

    /// Says that a file begins before the frames read before it end, and is not merged with them.
    pub fn note_overlap(&mut self, name: &str, by: Duration) {
        let note = format!(
            "{name} begins {:.6} s before the end of the frames already read: more files overlap than can be merged",
            by.as_secs_f64()
        );
        self.note(QualityKind::ClockStep, 1, note);
    }

    /// Keeps a note of a kind.
    pub fn note(&mut self, kind: QualityKind, count: u64, note: String) {
        self.notes.push(QualityNote { kind, count, note });
    }
}

/// The first `limit` bytes.
fn cut(bytes: &[u8], limit: usize) -> &[u8] {
    bytes.get(..limit).unwrap_or(bytes)
}

/// What a walk over buffered bytes came to.
#[derive(Debug)]
pub(super) struct Walked {
    /// Bytes that are done with.
    pub consumed: usize,
    /// Why it ended there.
    pub end: WalkEnd,
}

/// Why a walk ended.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum WalkEnd {
    /// The record at `consumed` needs this many bytes in all.
    Needs(usize),
    /// The record at `consumed` cannot be one: expected and found, for a note.
    Damaged(String),
    /// The block at `consumed` is too large to be kept, and holds nothing that analysis uses.
    TooLarge(LargeBlock),
}

/// A block that is passed over without being kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LargeBlock {
    /// Its type.
    pub kind: u32,
    /// Its length with both length fields, as stated.
    pub length: u32,
    /// How its last four bytes repeat the length.
    pub repeated: [u8; 4],
}
