//! Rows of a dataset from parts of an analysis: each process writes files of its own.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;

use analyzer::Timestamp;
use reports::dataset::{RowSink, Spill, TableFiles, Tables};
use tempfile::TempDir;

use crate::cli::RowsArguments;
use crate::failure::{Failure, table_failure};
use crate::layout::{day, partition};

/// A dataset of which a process writes some files.
pub struct Dataset {
    folder: PathBuf,
    set: String,
    spill: Arc<Spill>,
    /// Removed at the end.
    _scratch: TempDir,
}

impl Dataset {
    /// The dataset that is asked for.
    ///
    /// # Errors
    /// When there is no place for what does not fit into memory.
    pub fn of(arguments: &RowsArguments) -> Result<Option<Self>, Failure> {
        let Some(folder) = &arguments.rows else {
            return Ok(None);
        };
        let temporary = std::env::temp_dir();
        let scratch = tempfile::tempdir().map_err(|error| Failure::output(&temporary, error))?;
        Ok(Some(Self {
            folder: folder.clone(),
            set: arguments.set.clone(),
            spill: Arc::new(Spill::new(scratch.path().to_owned())),
            _scratch: scratch,
        }))
    }

    /// The name of the set, and the place for what does not fit into memory.
    pub fn set(&self) -> (String, Arc<Spill>) {
        (self.set.clone(), Arc::clone(&self.spill))
    }

    /// What takes the rows of a shard.
    pub fn sink(&self) -> RowSink {
        RowSink::new(&self.spill)
    }

    /// Writes what shards collected, as the part of this name; `start` is the time of the set's first
    /// frame. What was written before under that name is replaced.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_rows(
        &self,
        sinks: Vec<RowSink>,
        start: Option<Timestamp>,
        part: &str,
    ) -> Result<(), Failure> {
        self.write(Tables::of_rows(&self.set, sinks), start, part)
    }

    /// As [`Self::write_rows`], of any tables.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(
        &self,
        tables: Tables,
        start: Option<Timestamp>,
        part: &str,
    ) -> Result<(), Failure> {
        let day = day(start);
        let place = |table: &str| {
            let folder = self.folder.join(partition(table, &day, &self.set));
            folder.join(format!("{part}.parquet"))
        };
        let unfinished = |table: &str| {
            place(table).with_extension(format!("parquet.{}.part", std::process::id()))
        };
        let mut files = TableFiles::new(|table| {
            let path = unfinished(table);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            File::create(path)
        });
        let written = files.add(tables).and_then(|()| files.finish());
        for (table, file) in written.map_err(|error| table_failure(&self.folder, error))? {
            let place = place(table);
            file.sync_all()
                .and_then(|()| fs::rename(unfinished(table), &place))
                .map_err(|error| Failure::output(&place, error))?;
        }
        Ok(())
    }
}
