//! What a run does: which sets are new or changed, which stay as they are.

use std::cmp::Reverse;

use indicatif::HumanBytes;

use super::entry::{Entry, Outcome};
use super::find::Broken;
use super::sets::CaptureSet;
use crate::cli::BatchArguments;

/// Stored bytes and sets that fill a chunk. What is killed in flight has to be done again, so a
/// chunk is a matter of a second at most, unless it is a single set.
const CHUNK_BYTES: u64 = 32 << 20;
const CHUNK_SETS: usize = 64;

/// Why a set is analysed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// It was never analysed.
    New,
    /// Files were added or have grown.
    Changed,
    /// It could not be read before, and `--retry` was given.
    Retry,
    /// It was judged by other settings or another version, and `--refresh` was given.
    Refresh,
}

/// What a run does.
pub struct Plan {
    /// Sets to analyse, by date, group and name.
    pub todo: Vec<(CaptureSet, Reason)>,
    /// Sets that stay as they are.
    pub kept: Vec<CaptureSet>,
    other_settings: u64,
}

impl Plan {
    /// Compares what is there with what is known.
    pub fn new<'a>(
        sets: Vec<CaptureSet>,
        known: impl Fn(&str) -> Option<&'a Entry>,
        settings: &str,
        arguments: &BatchArguments,
    ) -> Self {
        let mut plan = Self {
            todo: Vec::new(),
            kept: Vec::new(),
            other_settings: 0,
        };
        for mut set in sets {
            let mut part = 1;
            let mut entry = known(&set.identity);
            // Results whose files are gone stay; what is new is another part of the set.
            while let Some(earlier) = entry.filter(|entry| entry.knows_more_than(&set.files)) {
                if earlier.covers(&set.files) {
                    break;
                }
                part += 1;
                let next = set.after(earlier, part);
                plan.other_settings += u64::from(earlier.settings != settings);
                plan.kept.push(set);
                set = next;
                entry = known(&set.identity);
            }
            let same_settings = entry.is_none_or(|entry| entry.settings == settings);
            match reason(&set, entry, same_settings, arguments) {
                Some(reason) => plan.todo.push((set, reason)),
                None => {
                    plan.other_settings += u64::from(!same_settings);
                    plan.kept.push(set);
                }
            }
        }
        let key = |set: &CaptureSet| (set.date.clone(), set.group.clone(), set.name.clone());
        plan.todo.sort_by_cached_key(|(set, _)| key(set));
        plan
    }

    /// Positions of the sets that are worked on, and committed, together; the largest chunk first:
    /// the last ones are small, and all threads end together.
    ///
    /// The sets of a chunk have one date and one group. A chunk ends as soon as it is full, so
    /// what is left after some chunks were done falls into the same chunks again.
    pub fn chunks(&self) -> Vec<Vec<usize>> {
        let mut chunks: Vec<Vec<usize>> = Vec::new();
        // The chunk that is being filled, and the bytes in it.
        let mut open: Option<(Vec<usize>, u64)> = None;
        for (at, (set, _)) in self.todo.iter().enumerate() {
            if set.bytes() >= CHUNK_BYTES {
                chunks.push(vec![at]);
                continue;
            }
            let belongs =
                |first: &CaptureSet| (&first.date, &first.group) == (&set.date, &set.group);
            let (mut sets, bytes) = match open.take() {
                Some((sets, bytes)) if belongs(&self.todo[sets[0]].0) => (sets, bytes),
                other => {
                    chunks.extend(other.map(|(sets, _)| sets));
                    (Vec::new(), 0)
                }
            };
            sets.push(at);
            let bytes = bytes + set.bytes();
            if bytes >= CHUNK_BYTES || sets.len() >= CHUNK_SETS {
                chunks.push(sets);
            } else {
                open = Some((sets, bytes));
            }
        }
        chunks.extend(open.map(|(sets, _)| sets));
        let bytes = |chunk: &[usize]| chunk.iter().map(|&at| self.todo[at].0.bytes()).sum::<u64>();
        chunks.sort_by_cached_key(|chunk| (Reverse(bytes(chunk)), chunk[0]));
        chunks
    }

    /// Size of what is to be read, as stored.
    pub fn todo_bytes(&self) -> u64 {
        self.todo.iter().map(|(set, _)| set.bytes()).sum()
    }

    /// Kept sets that were judged by other settings or another version.
    pub const fn other_settings(&self) -> u64 {
        self.other_settings
    }

    /// The plan as text, one line a set or file.
    pub fn describe(&self, broken: &[Broken], twice: &[Broken]) -> String {
        let mut lines = Vec::new();
        for (set, reason) in &self.todo {
            let (files, bytes) = (set.files.len(), HumanBytes(set.bytes()));
            let files = if files == 1 {
                String::new()
            } else {
                format!(", {files} files")
            };
            lines.push(format!(
                "{:<9} {} ({bytes}{files})",
                reason.as_str(),
                set.name
            ));
        }
        for set in &self.kept {
            lines.push(format!("{:<9} {}", "unchanged", set.name));
        }
        for (word, files) in [("broken", broken), ("twice", twice)] {
            for file in files {
                let path = file.stamp.path.display();
                lines.push(format!("{word:<9} {path}: {}", file.reason));
            }
        }
        // Names of files come from other people.
        let escaped = lines
            .iter()
            .map(|line| reports::words::escape::terminal(line));
        escaped.fold(String::new(), |text, line| text + &line + "\n")
    }
}

fn reason(
    set: &CaptureSet,
    entry: Option<&Entry>,
    same_settings: bool,
    arguments: &BatchArguments,
) -> Option<Reason> {
    let Some(entry) = entry else {
        return Some(Reason::New);
    };
    if !entry.covers(&set.files) {
        return Some(Reason::Changed);
    }
    match entry.outcome {
        // Some of its files are gone: again, it would be less.
        Outcome::Done { .. } if entry.knows_more_than(&set.files) => None,
        Outcome::Failed { .. } if arguments.retry => Some(Reason::Retry),
        Outcome::Done { .. } if arguments.refresh && !same_settings => Some(Reason::Refresh),
        _ => None,
    }
}
