//! The files of a set in the order in which they are read, as far as they are known.

use std::collections::BTreeMap;

use analyzer::Timestamp;

use crate::failure::Failure;
use crate::parts::{Head, must_agree, reading_options};
use crate::settings::Settings;

/// Where files stand in their set.
#[derive(Default)]
pub struct Files {
    places: BTreeMap<i32, Place>,
    frames: u64,
    /// Shards that their packets are spread over.
    shards: Option<u32>,
    /// Time of the first frame of all, as soon as it is known.
    pub start: Option<Timestamp>,
    /// Time of the latest frame.
    pub end: Option<Timestamp>,
}

/// Where one file stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// Files before it.
    pub number: usize,
    /// Frames in those.
    pub frames_before: u64,
}

impl Files {
    /// All files of a set.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn of(settings: &Settings, heads: &[Head]) -> Result<Self, Failure> {
        let mut files = Self::default();
        let keys: Vec<_> = heads
            .iter()
            .map(|head| (head.is_there, head.first))
            .collect();
        for at in analyzer::capture::reading_order(&keys) {
            files.add(settings, &heads[at])?;
        }
        Ok(files)
    }

    /// Adds the file that is read next.
    ///
    /// # Errors
    /// When it was read with other options than these or than another.
    pub fn add(&mut self, settings: &Settings, head: &Head) -> Result<(), Failure> {
        must_agree(reading_options(settings), head.options, "a file was read")?;
        let shards = *self.shards.get_or_insert(head.shards);
        if shards != head.shards {
            return Err(Failure::Usage(format!(
                "files were spread over {shards} and over {} shards: give segment the same --shards",
                head.shards
            )));
        }
        let place = self.next();
        self.places.insert(head.source, place);
        self.frames += head.frames;
        self.start = self.start.or(head.start);
        self.end = self.end.max(head.end);
        Ok(())
    }

    /// Where a file stands; `None` when it is not known.
    pub fn place(&self, source: i32) -> Option<Place> {
        self.places.get(&source).copied()
    }

    /// Where the file stands that is added next.
    pub fn next(&self) -> Place {
        Place {
            number: self.places.len(),
            frames_before: self.frames,
        }
    }
}
