//! Which files a capture argument stands for: a file, a folder of captures, a pattern, a pipe.

use std::path::{Path, PathBuf};

use analyzer::capture::{self, Input};

use crate::capture_names::is_capture_name;
use crate::failure::Failure;
use crate::store::{self, Store};

/// The inputs that the arguments stand for, in the order given, those of folders and patterns by
/// name.
///
/// # Errors
/// When a folder or a pattern has no capture.
pub fn inputs(captures: &[PathBuf]) -> Result<Vec<Input>, Failure> {
    let mut inputs = Vec::with_capacity(captures.len());
    for path in captures {
        if path.as_os_str() == "-" {
            inputs.push(Input::Stdin);
        } else if let Some(address) = store::address(path) {
            inputs.extend(in_store(address)?);
        } else if path.is_dir() {
            inputs.extend(in_folder(path)?);
        } else if let Some(pattern) = pattern(path) {
            inputs.extend(
                matching(path, pattern, |path| !path.is_dir())?
                    .into_iter()
                    .map(Input::Path),
            );
        } else {
            inputs.push(Input::Path(path.clone()));
        }
    }
    Ok(inputs)
}

/// A file, or the object of an address.
///
/// # Errors
/// When there is no such object.
pub fn input(path: &Path) -> Result<Input, Failure> {
    let Some(address) = store::address(path) else {
        return Ok(Input::Path(path.to_owned()));
    };
    let place = Store::open(address)?;
    let found = place.list()?;
    let object = found.iter().find(|object| object.address == address);
    let gone = || Failure::Input(analyzer::Error::new(path, "is not there any more"));
    place.input(object.ok_or_else(gone)?)
}

/// The object of an address, or the captures below it.
fn in_store(address: &str) -> Result<Vec<Input>, Failure> {
    let place = Store::open(address)?;
    let objects = place.list()?;
    let is_one = objects.len() == 1;
    let captures = objects.iter();
    let captures = captures.filter(|object| is_one || is_capture_name(Path::new(&object.address)));
    let inputs: Vec<Input> = captures
        .map(|object| place.input(object))
        .collect::<Result<_, _>>()?;
    if inputs.is_empty() {
        let message = "nothing below it is named like a capture";
        return Err(Failure::Input(analyzer::Error::new(address, message)));
    }
    Ok(inputs)
}

/// A name with wildcards that is no file's own name: shells hand on patterns that they cannot
/// match, and those in quotes.
pub fn pattern(path: &Path) -> Option<&str> {
    let text = path.to_str()?;
    (text.contains(['*', '?', '[']) && !path.exists()).then_some(text)
}

/// What a pattern stands for and is wanted, by name.
///
/// # Errors
/// When there is nothing.
pub fn matching(
    path: &Path,
    pattern: &str,
    is_wanted: fn(&Path) -> bool,
) -> Result<Vec<PathBuf>, Failure> {
    let refuse = |what: String| Failure::Input(analyzer::Error::new(path, what));
    let found = glob::glob(pattern)
        .map_err(|error| refuse(format!("this pattern cannot be read: {error}")))?;
    // What cannot be looked at is met again, and named, when the files are opened.
    let files: Vec<PathBuf> = found
        .filter_map(Result::ok)
        .filter(|path| is_wanted(path))
        .collect();
    if files.is_empty() {
        return Err(refuse("no file matches this pattern".to_owned()));
    }
    Ok(files)
}

/// The captures of a folder, told by content; also damaged ones that are named like captures, so
/// that they are told of.
fn in_folder(folder: &Path) -> Result<Vec<Input>, Failure> {
    let refuse = |what: &str| analyzer::Error::new(folder, what);
    let entries = std::fs::read_dir(folder)
        .map_err(|error| Failure::Input(refuse("the folder cannot be read").because(error)))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .filter(|path| is_capture_name(path) || capture::peek(path).is_ok())
        .collect();
    if files.is_empty() {
        return Err(Failure::Input(refuse("no capture is in this folder")));
    }
    files.sort();
    Ok(files.into_iter().map(Input::Path).collect())
}
