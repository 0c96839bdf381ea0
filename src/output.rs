//! Files that appear whole or not at all, and standard output.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::failure::Failure;

/// Temporary files that are being written.
static PARTIAL: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Removes what is half-written: the program ends now.
pub fn remove_partial() {
    let partial = PARTIAL.lock().unwrap_or_else(PoisonError::into_inner);
    for path in &*partial {
        // It may have been finished this moment.
        let _ = fs::remove_file(path);
    }
}

/// Writes `path` by way of a temporary file beside it. Devices and pipes are written to directly.
///
/// It is not waited until the disk has it: a report can be made again.
pub fn write_file(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Failure> {
    if path.metadata().is_ok_and(|known| !known.is_file()) {
        let outcome = (|| {
            let mut out = BufWriter::new(File::options().write(true).open(path)?);
            write(&mut out)?;
            out.flush()
        })();
        return outcome.map_err(|error| Failure::output(path, error));
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let partial = path.with_file_name(name);
    let known = |change: fn(&mut BTreeSet<PathBuf>, &Path)| {
        let mut files = PARTIAL.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut files, &partial);
    };
    known(|files, partial| {
        files.insert(partial.to_owned());
    });
    let outcome = (|| {
        let mut file = BufWriter::new(File::create(&partial)?);
        write(&mut file)?;
        file.into_inner()?;
        fs::rename(&partial, path)
    })();
    known(|files, partial| {
        files.remove(partial);
    });
    outcome.map_err(|error| {
        // Nothing half-written stays behind; that it may not exist is no news.
        let _ = fs::remove_file(&partial);
        Failure::output(path, error)
    })
}

/// Writes to standard output.
pub fn write_stdout(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    write(&mut out)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::output(Path::new("standard output"), error))
}
