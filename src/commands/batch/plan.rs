//! What a run does: which sets are new or changed, which stay as they are.

use indicatif::HumanBytes;

use super::find::Broken;
use super::manifest::{Entry, Outcome};
use super::sets::CaptureSet;
use crate::cli::BatchArguments;

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
    /// Sets to analyse, the largest first: the last ones are small, and all threads end together.
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
        for set in sets {
            let entry = known(&set.identity);
            let same_settings = entry.is_none_or(|entry| entry.settings == settings);
            match reason(&set, entry, same_settings, arguments) {
                Some(reason) => plan.todo.push((set, reason)),
                None => {
                    plan.other_settings += u64::from(!same_settings);
                    plan.kept.push(set);
                }
            }
        }
        plan.todo
            .sort_by(|(a, _), (b, _)| b.bytes().cmp(&a.bytes()).then_with(|| a.name.cmp(&b.name)));
        plan
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
        let escaped = lines.iter().map(|line| reports::escape::terminal(line));
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
        Outcome::Failed { .. } if arguments.retry => Some(Reason::Retry),
        Outcome::Done { .. } if arguments.refresh && !same_settings => Some(Reason::Refresh),
        _ => None,
    }
}
