//! Finds captures below folders, by content.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use analyzer::Timestamp;
use analyzer::capture;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::capture_names::is_capture_name;
use crate::failure::Failure;
use crate::inputs::{matching, pattern};
use crate::store::{self, Object, Store};

/// Bytes at both ends of a file that stand for its content.
const SAMPLED_BYTES: u64 = 64 << 10;

/// What tells whether a file is still the one that was analysed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stamp {
    /// Absolute path.
    pub path: PathBuf,
    /// Size as stored.
    pub bytes: u64,
    /// Time of its last change, nanoseconds since 1970.
    pub modified_ns: u64,
    /// SHA-256 of the size and the first and last 64 KiB, in hexadecimal.
    pub content: String,
    /// Time of its first frame, nanoseconds since 1970: stays when the file grows or is
    /// compressed, and changes when a ring comes round and the file is written anew.
    pub first_ns: Option<i64>,
}

impl Stamp {
    /// Time of its first frame; `None` without frames.
    pub fn first(&self) -> Option<Timestamp> {
        self.first_ns.map(Timestamp::from_nanos)
    }
}

/// A capture file that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it is.
    pub stamp: Stamp,
    /// The folder it is in, relative to the path that was given, which is named first.
    pub group: String,
}

/// A file that bears a capture's name and is none.
#[derive(Clone, Debug)]
pub struct Broken {
    /// What it is.
    pub stamp: Stamp,
    /// Why it cannot be read.
    pub reason: String,
}

/// Everything below the given paths.
#[derive(Debug, Default)]
pub struct Archive {
    /// Captures by path.
    pub captures: Vec<Found>,
    /// Files that should be captures.
    pub broken: Vec<Broken>,
    /// Files that are something else.
    pub others: u64,
}

/// Looks at every regular file below `paths`; the folder `except` is left out.
pub fn find(paths: &[PathBuf], except: &Path) -> Result<Archive, Failure> {
    let mut expanded = Vec::with_capacity(paths.len());
    let mut objects = Vec::new();
    for path in paths {
        if let Some(address) = store::address(path) {
            let place = Store::open(address)?;
            let found = place.list()?;
            objects.extend(std::iter::repeat(place).zip(found));
            continue;
        }
        match pattern(path) {
            Some(pattern) => expanded.extend(matching(path, pattern, |_| true)?),
            None => expanded.push(path.clone()),
        }
    }
    let mut files = BTreeMap::new();
    for path in &expanded {
        let failed = |error| {
            let name = path.display().to_string();
            Failure::Usage(format!("could not read {}: {error}", name.escape_debug()))
        };
        let root = fs::canonicalize(path).map_err(failed)?;
        if root.is_dir() {
            let name = root.file_name().unwrap_or_default().to_string_lossy();
            walk(&root, &name, except, &mut files).map_err(failed)?;
        } else {
            let folder = root.parent().and_then(Path::file_name).unwrap_or_default();
            let group = folder.to_string_lossy().into_owned();
            files.entry(root).or_insert(group);
        }
    }
    let looked = files.into_par_iter().map(|(path, group)| look(path, group));
    let mut looked: Vec<Look> = looked.collect();
    let stored = objects.par_iter();
    looked.extend(
        stored
            .map(|(place, object)| look_at_object(place, object))
            .collect::<Vec<_>>(),
    );
    let mut archive = Archive::default();
    for look in looked {
        match look {
            Look::Capture(found) => archive.captures.push(found),
            Look::Broken(broken) => archive.broken.push(broken),
            Look::Other => archive.others += 1,
        }
    }
    Ok(archive)
}

/// Collects regular files; symbolic links to folders are not followed, so there are no circles.
fn walk(
    folder: &Path,
    group: &str,
    except: &Path,
    files: &mut BTreeMap<PathBuf, String>,
) -> io::Result<()> {
    if folder == except {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let group = format!("{group}/{}", entry.file_name().to_string_lossy());
            walk(&path, &group, except, files)?;
        } else if kind.is_file() || kind.is_symlink() && path.is_file() {
            files.entry(path).or_insert_with(|| group.to_owned());
        }
    }
    Ok(())
}

enum Look {
    Capture(Found),
    Broken(Broken),
    Other,
}

fn look(path: PathBuf, group: String) -> Look {
    let peeked = capture::peek(&path);
    let is_named = is_capture_name(&path);
    let first_ns = peeked.as_ref().ok().copied().flatten();
    let first_ns = first_ns.map(Timestamp::as_nanos);
    match (peeked, stamp(&path, first_ns)) {
        (Ok(_), Ok(stamp)) => Look::Capture(Found { stamp, group }),
        (Err(error), stamp) if is_named => Look::Broken(Broken {
            stamp: stamp.unwrap_or_else(|_| unknown(path)),
            reason: reason(&error),
        }),
        (Ok(_), Err(error)) => Look::Broken(Broken {
            stamp: unknown(path),
            reason: error.to_string(),
        }),
        (Err(_), _) => Look::Other,
    }
}

/// As [`look`]. What tells whether an object is still the same is what the store says of it: reading
/// both ends of each would take as long as reading small ones.
fn look_at_object(place: &Store, object: &Object) -> Look {
    let path = PathBuf::from(&object.address);
    let mut hash = Sha256::new();
    hash.update(object.octets.to_le_bytes());
    hash.update(&object.tag);
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    let group = folder.to_string_lossy().into_owned();
    let is_named = is_capture_name(&path);
    let mut stamp = Stamp {
        path,
        bytes: object.octets,
        modified_ns: object.modified_ns,
        content: hex(&hash.finalize()),
        first_ns: None,
    };
    let peeked = place.input(object).map(|input| capture::peek_input(&input));
    match peeked {
        Ok(Ok(first)) => {
            stamp.first_ns = first.map(Timestamp::as_nanos);
            Look::Capture(Found { stamp, group })
        }
        Ok(Err(error)) if is_named => Look::Broken(Broken {
            stamp,
            reason: reason(&error),
        }),
        Ok(Err(_)) => Look::Other,
        Err(failure) => Look::Broken(Broken {
            stamp,
            reason: failure.to_string(),
        }),
    }
}

/// An input error without the file's name, which stands beside it.
pub fn reason(error: &analyzer::Error) -> String {
    let text = error.to_string();
    let name = error.file.display().to_string().escape_debug().to_string();
    match text.strip_prefix(&format!("{name}: ")) {
        Some(rest) => rest.to_owned(),
        None => text,
    }
}

fn unknown(path: PathBuf) -> Stamp {
    Stamp {
        path,
        bytes: 0,
        modified_ns: 0,
        content: String::new(),
        first_ns: None,
    }
}

fn stamp(path: &Path, first_ns: Option<i64>) -> io::Result<Stamp> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    let bytes = metadata.len();
    let since = metadata.modified()?.duration_since(UNIX_EPOCH);
    let modified_ns = since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(0));
    let mut hash = Sha256::new();
    hash.update(bytes.to_le_bytes());
    let mut sample = Vec::new();
    file.by_ref().take(SAMPLED_BYTES).read_to_end(&mut sample)?;
    if bytes > SAMPLED_BYTES {
        file.seek(SeekFrom::Start(bytes.saturating_sub(SAMPLED_BYTES)))?;
        file.take(SAMPLED_BYTES).read_to_end(&mut sample)?;
    }
    hash.update(&sample);
    Ok(Stamp {
        path: path.to_owned(),
        bytes,
        modified_ns,
        content: hex(&hash.finalize()),
        first_ns,
    })
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
