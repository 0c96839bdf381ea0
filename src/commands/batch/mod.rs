//! `pcapdoc batch`: an archive of captures → a report for each set that deserves one, one
//! dataset, one roll-up; what is done stays done.

mod carry;
mod entry;
mod find;
mod fingerprint;
mod log;
mod manifest;
mod outside;
mod plan;
mod rollup;
mod sets;
mod work;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread::ScopedJoinHandle;
use std::{fs, io};

use analyzer::pipeline::{Buffers, Progress};
use rayon::ThreadPool;
use serde_json::json;

use self::entry::{Entry, Outcome};
use self::find::Broken;
use self::log::Log;
use self::manifest::Manifest;
use self::outside::Outside;
use self::plan::{Plan, Reason};
use self::sets::CaptureSet;
use self::work::{REPORTS, WORK, Workshop};
use crate::analysis::pool;
use crate::cli::{BatchArguments, HostArguments};
use crate::commands::query::DATASET;
use crate::failure::Failure;
use crate::output::write_stdout;
use crate::settings::Settings;
use crate::store;

/// Stored bytes from which on a capture is worth all threads.
const LARGE_BYTES: u64 = 64 << 20;

/// Runs the subcommand.
pub fn run(arguments: &BatchArguments) -> Result<ExitCode, Failure> {
    let mut settings = Settings::resolve(&[], &arguments.analysis)?;
    settings.hosts = HostArguments {
        host_evidence: arguments.host_evidence.clone().unwrap_or_default(),
        host_evidence_time: arguments.host_evidence_time.clone(),
        beside: arguments.host_evidence.is_some(),
    };
    let threads = pool(settings.threads)?;
    let mut outside = store::address(&arguments.out)
        .map(Outside::begin)
        .transpose()?;
    let out = match &outside {
        Some(outside) => outside.folder(),
        None => absolute(&arguments.out)?,
    };
    let mut archive = threads.install(|| find::find(&arguments.paths, &out))?;
    let others = archive.others;
    let broken = std::mem::take(&mut archive.broken);
    let (mut sets, twice) = sets::group(archive, arguments.group_by);
    if let Some(since) = arguments.since {
        sets.retain(|set| set.files.iter().any(|file| file.modified_ns >= since.0));
    }
    let settings_hash = fingerprint::fingerprint(&settings);
    if arguments.dry_run {
        let known = manifest::read(&out)?;
        let plan = Plan::new(
            sets,
            |identity| known.get(identity),
            &settings_hash,
            arguments,
        );
        write_stdout(|writer| writer.write_all(plan.describe(&broken, &twice).as_bytes()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut manifest = Manifest::open(&out)?;
    sweep(&out, &manifest)?;
    let plan = Plan::new(
        sets,
        |identity| manifest.get(identity),
        &settings_hash,
        arguments,
    );
    let mut log = Log::new(plan.todo.len(), plan.todo_bytes());
    announce(&log, &plan, &broken, &twice, others);
    hint_at_clusters(&log, plan.todo_bytes(), threads.current_num_threads());
    let jobs = arguments
        .jobs
        .map_or_else(|| threads.current_num_threads(), usize::from);
    let mut settings = settings;
    settings.analysis.memory.0 /= jobs.max(1) as u64;
    let workshop = Workshop {
        settings: &settings,
        settings_hash,
        buffers: Buffers::default(),
        out: &out,
        report_from: arguments.report_from,
    };
    note_broken(&broken, &workshop, &mut manifest)?;
    let mut results = Results {
        manifest: &mut manifest,
        outside: outside.as_mut(),
    };
    work_all(&plan, &workshop, &mut results, &mut log, (jobs, &threads))?;
    let summary = rollup::write(&out, &manifest, &plan, &broken, &twice, arguments)?;
    if let Some(outside) = &mut outside {
        outside.finish(&manifest)?;
    }
    let text = format!(
        "{} Roll-up: {}",
        summary.verdict,
        arguments.out.join(rollup::PAGE).display()
    );
    log.finish(
        &text,
        json!({"verdict": summary.verdict, "run": summary.run}),
    );
    exit_status(&plan, &manifest, arguments, broken.len())
}

/// The output folder, there or not.
fn absolute(out: &Path) -> Result<PathBuf, Failure> {
    let canonical = fs::canonicalize(out).or_else(|_| std::path::absolute(out));
    canonical.map_err(|error| Failure::output(out, error))
}

fn announce(log: &Log, plan: &Plan, broken: &[Broken], twice: &[Broken], others: u64) {
    let text = format!(
        "{} to analyze, {} done before, {} broken, {others} other files",
        plan.todo.len(),
        plan.kept.len(),
        broken.len()
    );
    let fields = json!({"todo": plan.todo.len(), "done_before": plan.kept.len(),
        "broken": broken.len(), "other_files": others});
    log.say("start", &text, fields);
    for file in broken.iter().chain(twice) {
        let name = file.stamp.path.display().to_string();
        let text = format!("{name}: left out: {}", file.reason);
        log.say(
            "left_out",
            &text,
            json!({"file": name, "reason": file.reason}),
        );
    }
    let stale = plan.other_settings();
    if stale > 0 {
        let text = format!(
            "{stale} sets were analyzed with other settings or another version: --refresh analyzes them again"
        );
        log.say("other_settings", &text, json!({"sets": stale}));
    }
}

/// Says how an archive that takes this machine longer than an hour is spread over several.
fn hint_at_clusters(log: &Log, bytes: u64, threads: usize) {
    /// What a core reads in an hour of small packets, which take longest: some 30 MB a second.
    const BYTES_PER_HOUR: u64 = 100 << 30;
    let hours = bytes / (BYTES_PER_HOUR * threads.max(1) as u64);
    if hours == 0 {
        return;
    }
    let text = format!(
        "this may take {hours} hours or more here; a set too large for one machine runs on Apache Spark: \
         spark-submit --files pcapdoc spark/pcapdoc_spark.py -o REPORTS 'CAPTURES' (docs/distributed.md)"
    );
    log.say("hint", &text, json!({"bytes": bytes, "hours": hours}));
}

/// Remembers files that are no captures, so that their reasons stay known.
fn note_broken(
    broken: &[Broken],
    workshop: &Workshop<'_>,
    manifest: &mut Manifest,
) -> Result<(), Failure> {
    let mut new = Vec::new();
    for file in broken {
        let identity = file.stamp.path.display().to_string();
        let entry = Entry {
            name: identity.clone(),
            identity,
            files: vec![file.stamp.clone()],
            end_ns: None,
            settings: workshop.settings_hash.clone(),
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            outcome: Outcome::Failed {
                reason: file.reason.clone(),
            },
        };
        if manifest.get(&entry.identity) != Some(&entry) {
            new.push(entry);
        }
    }
    if new.is_empty() {
        return Ok(());
    }
    manifest.commit(new)
}

/// Removes what a killed run left: unfinished work, and rows and reports that the manifest does
/// not know.
fn sweep(out: &Path, manifest: &Manifest) -> Result<(), Failure> {
    let work = out.join(WORK);
    if work.exists() {
        fs::remove_dir_all(&work).map_err(|error| Failure::output(&work, error))?;
    }
    let known: BTreeSet<PathBuf> = manifest
        .entries()
        .flat_map(Entry::outputs)
        .map(|output| out.join(output))
        .collect();
    let endings = [".parquet", ".parquet.part", ".report.html", ".report.md"];
    for folder in [DATASET, REPORTS].map(|folder| out.join(folder)) {
        remove_unknown(&folder, &known, &endings)
            .map_err(|error| Failure::output(&folder, error))?;
    }
    Ok(())
}

/// Removes files below `folder` that have one of our endings and are not known.
fn remove_unknown(folder: &Path, known: &BTreeSet<PathBuf>, endings: &[&str]) -> io::Result<()> {
    let listing = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        listing => listing?,
    };
    for entry in listing {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            remove_unknown(&path, known, endings)?;
        } else if !known.contains(&path)
            && endings
                .iter()
                .any(|end| path.to_string_lossy().ends_with(end))
        {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// What a worker has to say.
enum Report {
    /// How far the set of that index is.
    Progress(usize, Progress),
    /// The sets of a chunk are in place.
    Done(Vec<usize>, Result<Vec<Entry>, Failure>),
}

/// Where results are made known.
struct Results<'a> {
    manifest: &'a mut Manifest,
    outside: Option<&'a mut Outside>,
}

impl Results<'_> {
    /// The results of these sets are in their places.
    fn commit(&mut self, entries: Vec<Entry>) -> Result<(), Failure> {
        let Some(outside) = &mut self.outside else {
            return self.manifest.commit(entries);
        };
        outside.fetch_replaced(self.manifest, &entries)?;
        self.manifest.commit(entries)?;
        outside.committed(self.manifest)
    }
}

/// Analyses chunks of sets side by side, each on one thread, except for large captures, which
/// have all `threads`.
fn work_all(
    plan: &Plan,
    workshop: &Workshop<'_>,
    results: &mut Results<'_>,
    log: &mut Log,
    (jobs, threads): (usize, &ThreadPool),
) -> Result<(), Failure> {
    let chunks = plan.chunks();
    let jobs = jobs.min(chunks.len());
    let queue = Mutex::new(chunks.into_iter());
    let stop = AtomicBool::new(false);
    let next = || {
        let mut queue = queue
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        queue.next().filter(|_| !stop.load(Ordering::Relaxed))
    };
    std::thread::scope(|scope| {
        let (reports, inbox) = mpsc::channel();
        for _ in 0..jobs {
            let (reports, next) = (reports.clone(), &next);
            scope.spawn(move || work_on(plan, workshop, threads, next, &reports));
        }
        drop(reports);
        let mut outcome = Ok(());
        for report in inbox {
            match report {
                Report::Progress(index, progress) => {
                    log.progress(index, &plan.todo[index].0, progress);
                }
                Report::Done(chunk, entries) => {
                    let committed = entries.and_then(|entries| {
                        results.commit(entries.clone())?;
                        for (index, entry) in chunk.into_iter().zip(&entries) {
                            log.done(index, &plan.todo[index].0, entry);
                        }
                        Ok(())
                    });
                    if let Err(failure) = committed {
                        stop.store(true, Ordering::Relaxed);
                        outcome = Err(failure);
                    }
                }
            }
        }
        outcome
    })
}

/// Works on chunks until there are no more. While one is analysed, the one before it is put on
/// disk.
fn work_on(
    plan: &Plan,
    workshop: &Workshop<'_>,
    threads: &ThreadPool,
    next: &(dyn Fn() -> Option<Vec<usize>> + Sync),
    reports: &mpsc::Sender<Report>,
) {
    let tell = |report| {
        // Nobody listens any more after a failure; the queue is closed then.
        let _ = reports.send(report);
    };
    let alone = pool(1);
    std::thread::scope(|scope| {
        let mut settling: Option<ScopedJoinHandle<'_, ()>> = None;
        while let Some(chunk) = next() {
            let sets: Vec<&CaptureSet> = chunk.iter().map(|&at| &plan.todo[at].0).collect();
            let is_large = sets.iter().any(|set| set.bytes() >= LARGE_BYTES);
            let on = match &alone {
                Ok(alone) if !is_large => alone,
                _ => threads,
            };
            let reports = reports.clone();
            let progress = |at: usize, now| {
                let _ = reports.send(Report::Progress(chunk[at], now));
            };
            let finished = on.install(|| workshop.work(&sets, progress));
            if let Some(settling) = settling.take() {
                // It reports by itself.
                let _ = settling.join();
            }
            settling = Some(scope.spawn(move || {
                let entries = finished.and_then(|finished| finished.settle(workshop.out));
                tell(Report::Done(chunk, entries));
            }));
        }
    });
}

/// 1 for a finding at or above `--fail-on` in any set below the given paths, analysed now or
/// before; 3 when nothing at all could be read.
fn exit_status(
    plan: &Plan,
    manifest: &Manifest,
    arguments: &BatchArguments,
    broken: usize,
) -> Result<ExitCode, Failure> {
    let all = || plan.todo.iter().map(|(set, _)| set).chain(&plan.kept);
    let outcomes: Vec<&Outcome> = all()
        .filter_map(|set: &CaptureSet| manifest.get(&set.identity))
        .map(|entry| &entry.outcome)
        .collect();
    let severity = |outcome: &&Outcome| match outcome {
        Outcome::Done { summary, .. } => summary.severity,
        Outcome::Failed { .. } => None,
    };
    let is_read = |outcome: &&Outcome| matches!(outcome, Outcome::Done { .. });
    let worst = outcomes.iter().filter_map(severity).max();
    if let (Some(limit), Some(worst)) = (arguments.fail_on, worst)
        && worst >= limit
    {
        return Ok(ExitCode::from(1));
    }
    let nothing_read = !outcomes.iter().any(is_read) && (!outcomes.is_empty() || broken > 0);
    Ok(if nothing_read {
        ExitCode::from(3)
    } else {
        ExitCode::SUCCESS
    })
}

impl Reason {
    /// The word in `--dry-run`.
    const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Retry => "again",
            Self::Refresh => "refresh",
        }
    }
}
