//! Rows that stay when others of their file are replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use reports::dataset::copy_without;
use sha2::{Digest, Sha256};

use super::entry::{Entry, Outcome};
use super::find::hex;
use crate::commands::query::DATASET;
use crate::failure::{Failure, table_failure};

/// Writes the files that hold rows of `replaced` sets and of others again, without the former;
/// gives the entries of the others as they are then.
///
/// # Errors
/// When a file cannot be read or its copy not be written.
pub fn carry_over(
    out: &Path,
    known: &BTreeMap<String, Entry>,
    replaced: &[Entry],
) -> Result<Vec<Entry>, Failure> {
    let gone: BTreeSet<&str> = replaced.iter().map(|e| e.identity.as_str()).collect();
    let former: BTreeSet<&PathBuf> = replaced.iter().flat_map(Entry::outputs).collect();
    let is_shared = |output: &PathBuf| output.starts_with(DATASET) && former.contains(output);
    let mut copies = BTreeMap::<PathBuf, Option<PathBuf>>::new();
    let mut changed = Vec::new();
    if former.is_empty() {
        return Ok(changed);
    }
    for entry in known.values() {
        if gone.contains(entry.identity.as_str()) || !entry.outputs().iter().any(is_shared) {
            continue;
        }
        let mut entry = entry.clone();
        if let Outcome::Done { outputs, .. } = &mut entry.outcome {
            let mut kept = Vec::with_capacity(outputs.len());
            for output in std::mem::take(outputs) {
                if !is_shared(&output) {
                    kept.push(output);
                    continue;
                }
                let copy = match copies.get(&output) {
                    Some(copy) => copy.clone(),
                    None => {
                        let copy = without(out, &output, replaced)?;
                        copies.insert(output, copy.clone());
                        copy
                    }
                };
                kept.extend(copy);
            }
            *outputs = kept;
        }
        changed.push(entry);
    }
    Ok(changed)
}

/// Copies a file without the rows of the sets given; `None` when no rows are left.
fn without(out: &Path, output: &Path, replaced: &[Entry]) -> Result<Option<PathBuf>, Failure> {
    let mut names: Vec<&str> = replaced
        .iter()
        .filter(|entry| entry.outputs().iter().any(|known| known == output))
        .map(|entry| entry.name.as_str())
        .collect();
    names.sort_unstable();
    let digest = Sha256::digest(format!("{}{names:?}", output.display()));
    let copy = output.with_file_name(format!("kept-{}.parquet", hex(&digest[..8])));
    let (from, to) = (out.join(output), out.join(&copy));
    let partial = to.with_extension("part");
    let copied = copy_without(&from, &names, || File::create(&partial));
    let Some(file) = copied.map_err(|error| table_failure(&from, error))? else {
        return Ok(None);
    };
    let folder = to.parent().unwrap_or(out);
    file.sync_all()
        .and_then(|()| std::fs::rename(&partial, &to))
        .and_then(|()| File::open(folder)?.sync_all())
        .map_err(|error| Failure::output(&to, error))?;
    Ok(Some(copy))
}
