//! Chunks of capture sets: analysed, written beside what is there, and put in place.
//!
//! The sets of a chunk share one file of each table: a small capture costs no files of its own.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use analyzer::Timestamp;
use analyzer::pipeline::{Buffers, Progress};
use reports::dataset::{Spill, TableFiles, Tables};
use reports::render::rollup::SetSummary;
use reports::{Afterwards, Document, Severity};
use sha2::{Digest, Sha256};

use super::entry::{Entry, Outcome};
use super::find::{hex, reason};
use super::sets::CaptureSet;
use crate::analysis::{Wanted, analyse_quietly};
use crate::capture_names::is_capture_name;
use crate::commands::query::DATASET;
use crate::failure::{Failure, table_failure};
use crate::inputs::input;
use crate::layout::partition;
use crate::settings::Settings;

/// Folder for what is not finished; whatever is left in it is of no use.
pub const WORK: &str = ".work";

/// Folder of the sets' reports.
pub const REPORTS: &str = "reports";

/// Why an archive's reports have no time-sequence data.
const UNTRACED: &str = "an archive is read once; `pcapdoc analyze` of these files draws them";

/// How sets are done, the same for all.
pub struct Workshop<'a> {
    /// How captures are analysed; inputs are each set's own.
    pub settings: &'a Settings,
    /// Hash of them.
    pub settings_hash: String,
    /// Memory that the analysis of one set leaves to the next.
    pub buffers: Buffers,
    /// Output folder.
    pub out: &'a Path,
    /// Sets with a finding at least this severe get a report.
    pub report_from: Severity,
}

/// What came out of a chunk, written but not yet in its place.
pub struct Finished {
    scratch: PathBuf,
    files: Vec<Output>,
    /// One for each set.
    entries: Vec<Entry>,
}

struct Output {
    file: File,
    /// Where it is now.
    partial: PathBuf,
    /// Where it belongs, relative to the output folder.
    place: PathBuf,
}

/// What came out of one set, beside its rows.
struct Analysed {
    summary: SetSummary,
    tables: Tables,
    /// Its report; the page comes first.
    report: Vec<Output>,
    /// Time of the last frame.
    end: Option<Timestamp>,
}

impl Workshop<'_> {
    /// Analyses the sets of a chunk, all of which have the same date and group. `progress` is
    /// told how far the set of that position is.
    ///
    /// # Errors
    /// When an output cannot be written. An input that cannot be read is an outcome.
    pub fn work(
        &self,
        chunk: &[&CaptureSet],
        mut progress: impl FnMut(usize, Progress),
    ) -> Result<Finished, Failure> {
        let fingerprint = self.fingerprint(chunk);
        let scratch = self.out.join(WORK).join(&fingerprint);
        let failed = |error| Failure::output(&scratch, error);
        fs::create_dir_all(&scratch).map_err(failed)?;
        let partial = |table: &str| scratch.join(format!("{table}.parquet"));
        let mut rows = TableFiles::new(|table| File::create(partial(table)));
        let mut files = Vec::new();
        let mut entries = Vec::with_capacity(chunk.len());
        for (at, set) in chunk.iter().enumerate() {
            let (end, outcome) = match self.attempt(set, &scratch, |now| progress(at, now))? {
                Ok(analysed) => {
                    rows.add(analysed.tables)
                        .map_err(|error| table_failure(&scratch, error))?;
                    let outputs = analysed.report.iter().map(|file| file.place.clone());
                    let outputs = outputs.collect();
                    files.extend(analysed.report);
                    let summary = Box::new(analysed.summary);
                    (analysed.end, Outcome::Done { outputs, summary })
                }
                Err(reason) => (None, Outcome::Failed { reason }),
            };
            entries.push(self.entry(set, end, outcome));
        }
        let tables = rows.finish();
        for (table, file) in tables.map_err(|error| table_failure(&scratch, error))? {
            let place = place_of(table, chunk[0], &fingerprint);
            for entry in &mut entries {
                if let Outcome::Done { outputs, .. } = &mut entry.outcome {
                    outputs.push(place.clone());
                }
            }
            let partial = partial(table);
            files.push(Output {
                file,
                partial,
                place,
            });
        }
        Ok(Finished {
            scratch,
            files,
            entries,
        })
    }

    /// Analyses a set; an input that cannot be read, and a defect of ours, are a reason.
    fn attempt(
        &self,
        set: &CaptureSet,
        scratch: &Path,
        progress: impl FnMut(Progress),
    ) -> Result<Result<Analysed, String>, Failure> {
        match catch_unwind(AssertUnwindSafe(|| self.analyse(set, scratch, progress))) {
            Ok(Ok(analysed)) => Ok(Ok(analysed)),
            Ok(Err(Failure::Input(error))) => Ok(Err(reason(&error))),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Ok(Err(
                "pcapdoc failed on it: this is a defect of pcapdoc".to_owned()
            )),
        }
    }

    fn entry(&self, set: &CaptureSet, end: Option<Timestamp>, outcome: Outcome) -> Entry {
        Entry {
            identity: set.identity.clone(),
            name: set.name.clone(),
            files: set.files.clone(),
            end_ns: end.map(Timestamp::as_nanos),
            settings: self.settings_hash.clone(),
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            outcome,
        }
    }

    fn analyse(
        &self,
        set: &CaptureSet,
        scratch: &Path,
        progress: impl FnMut(Progress),
    ) -> Result<Analysed, Failure> {
        let mut settings = self.settings.clone();
        let paths = set.files.iter().map(|file| &file.path);
        settings.inputs = paths.map(|path| input(path)).collect::<Result<_, _>>()?;
        if settings.hosts.beside {
            settings.hosts.host_evidence.extend(beside(set));
        }
        let filter = &mut settings.analysis.filter;
        filter.from = filter.from.max(set.from);
        let wanted = Wanted {
            connections: Some(reports::DEFAULT_CONNECTIONS),
            redactor: None,
            rows: Some((set.name.clone(), Arc::new(Spill::new(scratch.to_owned())))),
        };
        let (draft, tables) = analyse_quietly(&settings, &self.buffers, &wanted, progress)?;
        let mut findings = draft.document().findings.iter();
        let cites_tcp = findings.any(|finding| finding.cites_tcp());
        let document = draft.finish(Afterwards {
            untraced: cites_tcp.then(|| UNTRACED.to_owned()),
            ..Afterwards::default()
        });
        let report = if document.has_finding_at(self.report_from) {
            self.report(set, &document, scratch)?
        } else {
            Vec::new()
        };
        let page = report.first();
        let page = page.map(|page| page.place.to_string_lossy().into_owned());
        let tables = tables.ok_or_else(|| Failure::Internal("no rows were kept".to_owned()))?;
        let end = document.capture.end.as_deref();
        Ok(Analysed {
            end: end.and_then(|end| end.parse().ok()),
            summary: SetSummary::new(&document, &set.name, &set.group, &set.date, page),
            tables,
            report,
        })
    }

    /// Writes the set's report; the page comes first.
    fn report(
        &self,
        set: &CaptureSet,
        document: &Document,
        scratch: &Path,
    ) -> Result<Vec<Output>, Failure> {
        let internal = |error: reports::Error| Failure::Internal(error.to_string());
        let html = reports::render::html::render(document).map_err(internal)?;
        let markdown = reports::render::markdown::render(document);
        let write = |(ending, text): (&str, String)| {
            let partial = scratch.join(format!("{}.{ending}", self.fingerprint(&[set])));
            let written = File::create(&partial)
                .and_then(|mut file| file.write_all(text.as_bytes()).map(|()| file));
            Ok(Output {
                file: written.map_err(|error| Failure::output(&partial, error))?,
                partial,
                place: Path::new(REPORTS).join(format!("{}.report.{ending}", set.name)),
            })
        };
        [("html", html), ("md", markdown)]
            .into_iter()
            .map(write)
            .collect()
    }

    /// Short name for exactly these sets, these contents and these settings.
    fn fingerprint(&self, sets: &[&CaptureSet]) -> String {
        let mut hash = Sha256::new();
        hash.update(&self.settings_hash);
        for set in sets {
            hash.update(&set.identity);
            let from = set.from.map(Timestamp::as_nanos);
            hash.update(from.unwrap_or(i64::MIN).to_le_bytes());
            for file in &set.files {
                hash.update(&file.content);
            }
        }
        hex(&hash.finalize()[..8])
    }
}

impl Finished {
    /// Puts all files on disk and in their places; then only the manifest has to be told.
    ///
    /// # Errors
    /// When that fails.
    pub fn settle(self, out: &Path) -> Result<Vec<Entry>, Failure> {
        let mut folders = BTreeSet::new();
        for Output {
            file,
            partial,
            place,
        } in self.files
        {
            let target = out.join(place);
            let folder = target.parent().unwrap_or(out);
            file.sync_all()
                .and_then(|()| fs::create_dir_all(folder))
                .and_then(|()| fs::rename(&partial, &target))
                .map_err(|error| Failure::output(&target, error))?;
            folders.insert(folder.to_owned());
        }
        for folder in folders {
            let synced = File::open(&folder).and_then(|folder| folder.sync_all());
            synced.map_err(|error| Failure::output(&folder, error))?;
        }
        // What stays is removed by the next run.
        let _ = fs::remove_dir_all(&self.scratch);
        Ok(self.entries)
    }
}

/// Where a chunk's rows of a table belong, relative to the output folder.
fn place_of(table: &str, first: &CaptureSet, fingerprint: &str) -> PathBuf {
    let name = format!("{}-{fingerprint}.parquet", slug(&first.name));
    let partition = partition(table, &first.date, &first.group);
    Path::new(DATASET).join(partition).join(name)
}

/// Letters, digits, dots, dashes and underscores of a name's last part.
fn slug(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    last.chars()
        .map(|c| if safe(c) { c } else { '_' })
        .take(80)
        .collect()
}

/// Files in the folders of a set's captures that are no captures: what was collected on the hosts
/// may be among them.
fn beside(set: &CaptureSet) -> Vec<PathBuf> {
    let folders: BTreeSet<&Path> = set
        .files
        .iter()
        .filter_map(|file| file.path.parent())
        .collect();
    let entries = folders
        .into_iter()
        .filter_map(|folder| fs::read_dir(folder).ok());
    let files = entries.flatten().flatten().map(|entry| entry.path());
    let is_other = |path: &PathBuf| {
        path.is_file() && !is_capture_name(path) && analyzer::capture::peek(path).is_err()
    };
    let mut files: Vec<PathBuf> = files.filter(is_other).collect();
    files.sort();
    files
}
