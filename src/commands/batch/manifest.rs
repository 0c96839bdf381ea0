//! What earlier runs did: a journal with one line for every finished set.
//!
//! A line is written and synced after everything it speaks of is in its place, so whatever
//! kills the program loses at most the sets in flight. A line that was cut is not read. The last
//! line of a set holds. A lock keeps a second run out.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use reports::rollup::SetSummary;
use serde::{Deserialize, Serialize};

use super::find::Stamp;
use crate::failure::Failure;

const JOURNAL: &str = "manifest.jsonl";

/// What became of a set.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The set: [`super::sets::CaptureSet::identity`], or a broken file's path.
    pub identity: String,
    /// Name for people.
    pub name: String,
    /// Its files as they were before they were read.
    pub files: Vec<Stamp>,
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
}

/// The journal of an output folder, locked for this run.
pub struct Manifest {
    folder: PathBuf,
    journal: File,
    entries: BTreeMap<String, Entry>,
    /// Held until the run ends.
    _lock: File,
}

impl Manifest {
    /// Opens or begins the journal of an output folder.
    ///
    /// # Errors
    /// When another run is at work there, or the folder cannot be written to.
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(folder).map_err(|error| Failure::output(folder, error))?;
        let lock = lock(folder)?;
        let path = folder.join(JOURNAL);
        let entries = read(folder)?;
        // Written anew: one line a set, without the line that a kill may have cut.
        compact(&path, &entries).map_err(|error| Failure::output(&path, error))?;
        let journal = OpenOptions::new()
            .append(true)
            .open(&path)
            .map_err(|error| Failure::output(&path, error))?;
        Ok(Self {
            folder: folder.to_owned(),
            journal,
            entries,
            _lock: lock,
        })
    }

    /// What is known of a set.
    pub fn get(&self, identity: &str) -> Option<&Entry> {
        self.entries.get(identity)
    }

    /// Everything that is known, by identity.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Adds a finished set, and removes the files of its earlier result that it does not have.
    pub fn commit(&mut self, entry: Entry) -> Result<(), Failure> {
        let path = self.folder.join(JOURNAL);
        let failed = |error| Failure::output(&path, error);
        let line = line(&entry).map_err(failed)?;
        self.journal.write_all(&line).map_err(failed)?;
        self.journal.sync_data().map_err(failed)?;
        let before = self.entries.insert(entry.identity.clone(), entry.clone());
        for output in before.iter().flat_map(Entry::outputs) {
            if !entry.outputs().contains(output) {
                // Gone already is as good.
                let _ = fs::remove_file(self.folder.join(output));
            }
        }
        Ok(())
    }
}

/// What the journal of a folder says; nothing when there is none.
pub fn read(folder: &Path) -> Result<BTreeMap<String, Entry>, Failure> {
    let path = folder.join(JOURNAL);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(Failure::output(&path, error)),
    };
    let lines = text.split(|byte| *byte == b'\n');
    let entries = lines.filter_map(|line| serde_json::from_slice::<Entry>(line).ok());
    Ok(entries
        .map(|entry| (entry.identity.clone(), entry))
        .collect())
}

fn line(entry: &Entry) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    Ok(line)
}

fn compact(path: &Path, entries: &BTreeMap<String, Entry>) -> io::Result<()> {
    let partial = path.with_extension("part");
    let mut text = Vec::new();
    for entry in entries.values() {
        text.extend(line(entry)?);
    }
    let mut file = File::create(&partial)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&partial, path)
}

fn lock(folder: &Path) -> Result<File, Failure> {
    let path = folder.join(".lock");
    let failed = |error| Failure::output(&path, error);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::Usage(format!(
            "another run is at work in {}: wait for it, or give another --out",
            folder.display().to_string().escape_debug()
        ))),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}
