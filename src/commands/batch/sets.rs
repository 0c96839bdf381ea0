//! Capture sets: the files that are analysed as one capture.
//!
//! Parts of a rotated capture are one set per day (UTC, by the first frame of a file): an archive
//! that grows every day is not read again from its beginning. A connection that lives through
//! midnight is seen by both days.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use analyzer::Timestamp;

use super::entry::Entry;
use super::find::{Archive, Broken, Found, Stamp};
use crate::capture_names::{self, Name};
use crate::cli::GroupBy;
use crate::layout::day;

/// Files that are one capture.
#[derive(Clone, Debug)]
pub struct CaptureSet {
    /// What tells it from all other sets: stays the same when files are added or compressed.
    pub identity: String,
    /// Name for people and in the dataset.
    pub name: String,
    /// Its folder, relative to the path given.
    pub group: String,
    /// Day (UTC) of its first frame, or `undated`.
    pub date: String,
    /// Its files, by first frame.
    pub files: Vec<Stamp>,
    /// Only frames from here on: what came before is in a result that stays.
    pub from: Option<Timestamp>,
}

impl CaptureSet {
    /// What is to be analysed when the files of an earlier result are gone, and that result
    /// stays: the files that it does not know, from the end of its last frame on.
    pub fn after(&self, earlier: &Entry, part: u32) -> Self {
        let files = self
            .files
            .iter()
            .filter(|file| !earlier.files.contains(file));
        let suffix = |text: &str| match text.strip_suffix(&format!(".part{}", part - 1)) {
            Some(text) => format!("{text}.part{part}"),
            None => format!("{text}.part{part}"),
        };
        Self {
            identity: suffix(&self.identity),
            name: suffix(&self.name),
            files: files.cloned().collect(),
            from: earlier
                .end_ns
                .map(|end| Timestamp::from_nanos(end.saturating_add(1))),
            ..self.clone()
        }
    }

    /// Size of its files as stored.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// Sets of an archive, and files that are left out because they are there twice.
pub fn group(archive: Archive, by: GroupBy) -> (Vec<CaptureSet>, Vec<Broken>) {
    let (files, twice) = without_copies(archive.captures);
    let bases: BTreeSet<PathBuf> = files
        .iter()
        .map(|(file, _)| file.stamp.path.clone())
        .collect();
    let mut groups = BTreeMap::<(PathBuf, String, Option<String>), Vec<(Found, Name)>>::new();
    for (file, name) in files {
        let folder = file.stamp.path.parent().unwrap_or(Path::new("")).to_owned();
        let (key, day) = match by {
            GroupBy::Dir => ("*".to_owned(), None),
            GroupBy::None => (name.content.clone(), Some(day(file.stamp.first()))),
            GroupBy::Prefix => (
                series(&folder, &name, &bases),
                Some(day(file.stamp.first())),
            ),
        };
        groups
            .entry((folder, key, day))
            .or_default()
            .push((file, name));
    }
    let mut sets: Vec<CaptureSet> = groups
        .into_iter()
        .map(|((folder, key, day), files)| set(&folder, &key, day, files))
        .collect();
    tell_apart(&mut sets);
    (sets, twice)
}

/// The key of a file's series: without ending, tcpdump -C puts numbers behind a bare name.
fn series(folder: &Path, name: &Name, bases: &BTreeSet<PathBuf>) -> String {
    let base = name.key.trim_end_matches(|c: char| c.is_ascii_digit());
    if !name.key.contains('.') && !base.is_empty() && bases.contains(&folder.join(base)) {
        return base.to_owned();
    }
    name.key.clone()
}

fn set(
    folder: &Path,
    key: &str,
    day_of_key: Option<String>,
    mut files: Vec<(Found, Name)>,
) -> CaptureSet {
    files.sort_by(|(a, _), (b, _)| {
        let key = |file: &'_ Found| (file.stamp.first(), file.stamp.path.clone());
        key(a).cmp(&key(b))
    });
    let first = files
        .iter()
        .filter_map(|(file, _)| file.stamp.first())
        .min();
    let group = files[0].0.group.clone();
    let is_series = files.len() > 1 || files[0].1.is_part() && key != files[0].1.content;
    let date = day(first);
    let title = match &day_of_key {
        None => "all".to_owned(),
        Some(day) if is_series => format!("{}@{day}", files[0].1.title()),
        Some(_) => files[0].1.content.clone(),
    };
    CaptureSet {
        identity: format!(
            "{}/{key}@{}",
            folder.display(),
            day_of_key.unwrap_or_default()
        ),
        name: format!("{group}/{title}"),
        group,
        date,
        files: files.into_iter().map(|(file, _)| file.stamp).collect(),
        from: None,
    }
}

/// Leaves out the compressed one of two files that hold the same packets (`gzip` at work).
fn without_copies(captures: Vec<Found>) -> (Vec<(Found, Name)>, Vec<Broken>) {
    let mut kept = BTreeMap::<PathBuf, (Found, Name)>::new();
    let mut twice = Vec::new();
    for file in captures {
        let name = capture_names::parse(&file.stamp.path);
        let content = file.stamp.path.with_file_name(&name.content);
        // Paths come in order, so the plain one comes before `….gz`.
        if let Some((other, _)) = kept.get(&content) {
            let reason = format!("the same capture as {}", other.stamp.path.display());
            twice.push(Broken {
                stamp: file.stamp,
                reason,
            });
        } else {
            kept.insert(content, (file, name));
        }
    }
    (kept.into_values().collect(), twice)
}

/// Folders of the same name below different paths would give sets of the same name.
fn tell_apart(sets: &mut [CaptureSet]) {
    let mut seen = BTreeMap::<String, u32>::new();
    for set in sets {
        let times = seen.entry(set.name.clone()).or_default();
        *times += 1;
        if *times > 1 {
            set.name = format!("{}~{times}", set.name);
        }
    }
}
