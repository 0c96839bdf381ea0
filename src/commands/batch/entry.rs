//! What is remembered of a set that was analysed.

use std::path::PathBuf;

use reports::render::rollup::SetSummary;
use serde::{Deserialize, Serialize};

use super::find::Stamp;

/// What became of a set.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The set: [`super::sets::CaptureSet::identity`], or a broken file's path.
    pub identity: String,
    /// Name for people.
    pub name: String,
    /// Its files as they were before they were read.
    pub files: Vec<Stamp>,
    /// Time of its last frame, nanoseconds since 1970.
    pub end_ns: Option<i64>,
    /// Hash of the settings it was judged by.
    pub settings: String,
    /// Version of the program.
    pub tool: String,
    /// What came out.
    pub outcome: Outcome,
}

/// Result of a set.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Analysed.
    Done {
        /// Files written, relative to the output folder.
        outputs: Vec<PathBuf>,
        /// What the roll-up needs.
        summary: Box<SetSummary>,
    },
    /// Could not be read.
    Failed {
        /// Why.
        reason: String,
    },
}

impl Entry {
    /// Files written for it.
    pub fn outputs(&self) -> &[PathBuf] {
        match &self.outcome {
            Outcome::Done { outputs, .. } => outputs,
            Outcome::Failed { .. } => &[],
        }
    }

    /// Whether the files found now are those that were analysed, or what is left of them.
    pub fn covers(&self, files: &[Stamp]) -> bool {
        files.iter().all(|file| self.files.contains(file))
    }

    /// Whether analysing the files found now would lose some of what was analysed: files that
    /// were deleted or, in a ring, written anew. Files that have grown or were compressed are
    /// still there.
    pub fn knows_more_than(&self, files: &[Stamp]) -> bool {
        let is_there = |known: &Stamp| files.iter().any(|file| file.first_ns == known.first_ns);
        matches!(self.outcome, Outcome::Done { .. }) && !self.files.iter().all(is_there)
    }
}
