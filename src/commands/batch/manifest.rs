//! What earlier runs did: a journal with one line for the sets that were finished together.
//!
//! A line is written and synced after everything it speaks of is in its place, so whatever
//! kills the program loses at most the sets in flight. A line that was cut is not read. The last
//! line that names a set holds. A lock keeps a second run out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::carry::carry_over;
use super::entry::Entry;
use crate::failure::Failure;

/// The name of the journal.
pub const JOURNAL: &str = "manifest.jsonl";

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

    /// Adds sets that were finished together, and removes the files of their earlier results.
    ///
    /// # Errors
    /// When the journal or a file cannot be written.
    pub fn commit(&mut self, mut entries: Vec<Entry>) -> Result<(), Failure> {
        let failed = |folder: &Path, error| Failure::output(&folder.join(JOURNAL), error);
        let replaced: Vec<Entry> = entries
            .iter()
            .filter_map(|entry| self.entries.get(&entry.identity).cloned())
            .collect();
        entries.extend(carry_over(&self.folder, &self.entries, &replaced)?);
        let line = line(&entries).map_err(|error| failed(&self.folder, error))?;
        self.journal
            .write_all(&line)
            .and_then(|()| self.journal.sync_data())
            .map_err(|error| failed(&self.folder, error))?;
        for entry in entries {
            self.entries.insert(entry.identity.clone(), entry);
        }
        let former: BTreeSet<&PathBuf> = replaced.iter().flat_map(Entry::outputs).collect();
        if !former.is_empty() {
            let current: BTreeSet<&PathBuf> =
                self.entries.values().flat_map(Entry::outputs).collect();
            for output in former.difference(&current) {
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
    let entries = lines.filter_map(|line| serde_json::from_slice::<Vec<Entry>>(line).ok());
    Ok(entries
        .flatten()
        .map(|entry| (entry.identity.clone(), entry))
        .collect())
}

fn line(entries: &[Entry]) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(entries)?;
    line.push(b'\n');
    Ok(line)
}

fn compact(path: &Path, entries: &BTreeMap<String, Entry>) -> io::Result<()> {
    let partial = path.with_extension("part");
    let mut text = Vec::new();
    for entry in entries.values() {
        text.extend(line(std::slice::from_ref(entry))?);
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
            "another run is using {}: wait for it, or pass another --out",
            folder.display().to_string().escape_debug()
        ))),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}
