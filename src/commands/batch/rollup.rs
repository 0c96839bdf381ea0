//! Writes the roll-up and the run's summary from the manifest.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use reports::render::rollup::{self, FindingKey, Input, Rollup, RunCounts, SetSummary, Trouble};
use serde::{Deserialize, Serialize};

use super::entry::{Entry, Outcome};
use super::find::Broken;
use super::manifest::{self, Manifest};
use super::plan::Plan;
use crate::cli::BatchArguments;
use crate::failure::Failure;
use crate::output::write_file;

/// The roll-up's page.
pub const PAGE: &str = "rollup.html";
const MARKDOWN: &str = "rollup.md";
const SUMMARY: &str = "summary.json";
/// The folder of what each run found.
pub const RUNS: &str = "runs";

/// What a run leaves for the next one.
#[derive(Serialize, Deserialize)]
struct RunRecord {
    run: RunCounts,
    verdict: String,
    findings: BTreeSet<FindingKey>,
}

/// Writes roll-up and summary.
pub fn write(
    out: &Path,
    manifest: &Manifest,
    plan: &Plan,
    broken: &[Broken],
    twice: &[Broken],
    arguments: &BatchArguments,
) -> Result<Rollup, Failure> {
    let mut sets: Vec<&SetSummary> = manifest.entries().filter_map(summary).collect();
    sets.sort_by(|a, b| (&a.date, &a.name).cmp(&(&b.date, &b.name)));
    let last = last_run(out)?;
    let number = last.as_ref().map_or(1, |last| last.run.run + 1);
    let before = match &arguments.baseline {
        Some(folder) => Some((
            format!("the baseline {}", folder.display()),
            baseline(folder)?,
        )),
        None => last.map(|last| (format!("run {}", last.run.run), last.findings)),
    };
    let findings: BTreeSet<FindingKey> = keys(sets.iter().copied());
    let failed = failures(manifest, broken);
    let input = Input {
        run: RunCounts {
            run: number,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            analysed: plan.todo.len() as u64,
            unchanged: plan.kept.len() as u64,
            failed: failed.len() as u64,
            left_out: twice.len() as u64,
            other_settings: plan.other_settings(),
        },
        sets,
        broken: failed,
        before,
    };
    let rollup = rollup::build(input);
    let internal = |error: reports::Error| Failure::Internal(error.to_string());
    let html = rollup::html(&rollup).map_err(internal)?;
    let json = serde_json::to_vec_pretty(&rollup);
    let json = json.map_err(|error| Failure::Internal(error.to_string()))?;
    write_file(&out.join(PAGE), |file| file.write_all(html.as_bytes()))?;
    let markdown = rollup::markdown(&rollup);
    write_file(&out.join(MARKDOWN), |file| {
        file.write_all(markdown.as_bytes())
    })?;
    write_file(&out.join(SUMMARY), |file| file.write_all(&json))?;
    let record = RunRecord {
        run: rollup.run.clone(),
        verdict: rollup.verdict.clone(),
        findings,
    };
    record_run(out, number, &record)?;
    Ok(rollup)
}

fn summary(entry: &Entry) -> Option<&SetSummary> {
    match &entry.outcome {
        Outcome::Done { summary, .. } => Some(summary),
        Outcome::Failed { .. } => None,
    }
}

fn keys<'a>(sets: impl Iterator<Item = &'a SetSummary>) -> BTreeSet<FindingKey> {
    sets.flat_map(|set| {
        set.findings
            .iter()
            .map(reports::render::rollup::FindingSummary::key)
    })
    .collect()
}

/// Everything that could not be read: known from before and still there, or found now.
fn failures(manifest: &Manifest, broken: &[Broken]) -> Vec<Trouble> {
    let now: BTreeSet<String> = broken
        .iter()
        .map(|file| file.stamp.path.display().to_string())
        .collect();
    manifest
        .entries()
        .filter_map(|entry| match &entry.outcome {
            Outcome::Failed { reason } => Some((entry, reason)),
            Outcome::Done { .. } => None,
        })
        .filter(|(entry, _)| {
            let is_file = entry
                .files
                .iter()
                .any(|file| file.path.display().to_string() == entry.identity);
            !is_file || now.contains(&entry.identity)
        })
        .map(|(entry, reason)| Trouble {
            name: entry.name.clone(),
            reason: reason.clone(),
        })
        .collect()
}

fn run_file(out: &Path, number: u64) -> PathBuf {
    out.join(RUNS).join(format!("{number:06}.json"))
}

/// The last run that came to its end.
fn last_run(out: &Path) -> Result<Option<RunRecord>, Failure> {
    let folder = out.join(RUNS);
    let Ok(listing) = fs::read_dir(&folder) else {
        return Ok(None);
    };
    let numbers = listing.flatten().filter_map(|file| {
        let path = file.path();
        path.file_stem()?.to_str()?.parse::<u64>().ok()
    });
    let Some(number) = numbers.max() else {
        return Ok(None);
    };
    let path = run_file(out, number);
    let text = fs::read(&path).map_err(|error| Failure::output(&path, error))?;
    Ok(serde_json::from_slice(&text).ok())
}

fn record_run(out: &Path, number: u64, record: &RunRecord) -> Result<(), Failure> {
    let path = run_file(out, number);
    let folder = out.join(RUNS);
    fs::create_dir_all(&folder).map_err(|error| Failure::output(&folder, error))?;
    let text = serde_json::to_vec(record).map_err(|error| Failure::Internal(error.to_string()))?;
    write_file(&path, |file| file.write_all(&text))
}

/// Findings of another batch's output folder.
fn baseline(folder: &Path) -> Result<BTreeSet<FindingKey>, Failure> {
    let entries = manifest::read(folder)?;
    if entries.is_empty() {
        return Err(Failure::Usage(format!(
            "{}: no batch was run there: give the --out folder of one",
            folder.display().to_string().escape_debug()
        )));
    }
    Ok(keys(entries.values().filter_map(summary)))
}
