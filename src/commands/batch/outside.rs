//! Results that lie in an object store: written here first, then there, and the journal last.
//!
//! An object is there whole or not at all, and nothing is known of one before the journal names it. So
//! whatever ends the program, the store holds what an earlier journal says, and the next run does again
//! what that does not name. Two runs at one time are not kept apart.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::entry::Entry;
use super::manifest::{self, JOURNAL, Manifest};
use super::rollup::RUNS;
use crate::failure::Failure;
use crate::store::Store;

/// How often the journal is written to the store, which takes it whole.
const JOURNAL_EVERY: Duration = Duration::from_secs(60);

/// The results of a batch in an object store.
pub struct Outside {
    store: Store,
    folder: TempDir,
    /// Results that are in the store.
    there: BTreeSet<PathBuf>,
    journal_written: Instant,
}

impl Outside {
    /// Fetches what earlier runs left.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn begin(address: &str) -> Result<Self, Failure> {
        let store = Store::open(address)?;
        let temporary = std::env::temp_dir();
        let folder = tempfile::tempdir().map_err(|error| Failure::output(&temporary, error))?;
        store.fetch(JOURNAL, &folder.path().join(JOURNAL))?;
        if let Some(last) = store.names(RUNS)?.last() {
            store.fetch(last, &folder.path().join(last))?;
        }
        let known = manifest::read(folder.path())?;
        let there = known.values().flat_map(Entry::outputs).cloned().collect();
        Ok(Self {
            store,
            folder,
            there,
            journal_written: Instant::now(),
        })
    }

    /// Where results are written before they are in the store.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Fetches results that are about to be replaced: some of their rows stay.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn fetch_replaced(&self, manifest: &Manifest, by: &[Entry]) -> Result<(), Failure> {
        let former = by.iter().filter_map(|entry| manifest.get(&entry.identity));
        for output in former.flat_map(Entry::outputs) {
            let here = self.folder.path().join(output);
            if self.there.contains(output) && !here.exists() {
                self.store.fetch(&name_of(output), &here)?;
            }
        }
        Ok(())
    }

    /// Sets were finished, and the journal here names their results.
    ///
    /// # Errors
    /// When the store does not take them.
    pub fn committed(&mut self, manifest: &Manifest) -> Result<(), Failure> {
        for output in manifest.entries().flat_map(Entry::outputs) {
            if self.there.contains(output) {
                continue;
            }
            let here = self.folder.path().join(output);
            self.store.upload(&here, &name_of(output))?;
            self.there.insert(output.clone());
            // What is needed of it again is fetched.
            let _ = fs::remove_file(&here);
        }
        if self.journal_written.elapsed() >= JOURNAL_EVERY {
            self.write_journal(manifest)?;
        }
        Ok(())
    }

    /// The run is over: writes its roll-up and the journal, and removes what that names no more.
    ///
    /// # Errors
    /// When the store does not take them.
    pub fn finish(&mut self, manifest: &Manifest) -> Result<(), Failure> {
        self.committed(manifest)?;
        for folder in ["", RUNS] {
            let here = self.folder.path().join(folder);
            let failed = |error| Failure::output(&here, error);
            for file in fs::read_dir(&here).map_err(failed)? {
                let path = file.map_err(failed)?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                if path.is_file() && name != JOURNAL && !name.starts_with('.') {
                    self.store.upload(&path, &format!("{folder}/{name}"))?;
                }
            }
        }
        self.write_journal(manifest)
    }

    fn write_journal(&mut self, manifest: &Manifest) -> Result<(), Failure> {
        self.store
            .upload(&self.folder.path().join(JOURNAL), JOURNAL)?;
        self.journal_written = Instant::now();
        let named: BTreeSet<&PathBuf> = manifest.entries().flat_map(Entry::outputs).collect();
        let unnamed = self.there.iter().filter(|output| !named.contains(output));
        for output in unnamed.cloned().collect::<Vec<_>>() {
            self.store.remove(&name_of(&output))?;
            self.there.remove(&output);
        }
        Ok(())
    }
}

fn name_of(output: &Path) -> String {
    output.to_string_lossy().into_owned()
}
