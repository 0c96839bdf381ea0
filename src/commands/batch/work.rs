//! One capture set: analysed, written beside what is there, and put in place.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use analyzer::capture::Input;
use analyzer::pipeline::Progress;
use reports::dataset::{Spill, Tables};
use reports::rollup::SetSummary;
use reports::{Document, Severity};
use sha2::{Digest, Sha256};

use super::find::{hex, reason};
use super::manifest::{Entry, Outcome};
use super::sets::CaptureSet;
use crate::analysis::{Wanted, analyse_quietly};
use crate::commands::query::DATASET;
use crate::failure::Failure;
use crate::output::write_file;
use crate::settings::Settings;

/// Folder for what is not finished; whatever is left in it is of no use.
pub const WORK: &str = ".work";

/// Folder of the sets' reports.
const REPORTS: &str = "reports";

/// How sets are done, the same for all.
pub struct Workshop<'a> {
    /// How captures are analysed; inputs are each set's own.
    pub settings: &'a Settings,
    /// Hash of them.
    pub settings_hash: String,
    /// Output folder.
    pub out: &'a Path,
    /// Sets with a finding at least this severe get a report.
    pub report_from: Severity,
}

impl Workshop<'_> {
    /// Does a set: afterwards its files are in place, and only the manifest has to be told.
    ///
    /// # Errors
    /// When an output cannot be written. An input that cannot be read is an outcome.
    pub fn work(&self, set: &CaptureSet, progress: impl FnMut(Progress)) -> Result<Entry, Failure> {
        let scratch = self.out.join(WORK).join(self.fingerprint(set));
        fs::create_dir_all(&scratch).map_err(|error| Failure::output(&scratch, error))?;
        let attempt = catch_unwind(AssertUnwindSafe(|| self.done(set, &scratch, progress)));
        let outcome = match attempt {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(Failure::Input(error))) => Outcome::Failed {
                reason: reason(&error),
            },
            Ok(Err(failure)) => return Err(failure),
            Err(_) => Outcome::Failed {
                reason: "pcapdoc failed on it: this is a defect of pcapdoc".to_owned(),
            },
        };
        // What stays is removed by the next run.
        let _ = fs::remove_dir_all(&scratch);
        Ok(Entry {
            identity: set.identity.clone(),
            name: set.name.clone(),
            files: set.files.clone(),
            settings: self.settings_hash.clone(),
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            outcome,
        })
    }

    fn done(
        &self,
        set: &CaptureSet,
        scratch: &Path,
        progress: impl FnMut(Progress),
    ) -> Result<Outcome, Failure> {
        let mut settings = self.settings.clone();
        settings.inputs = set
            .files
            .iter()
            .map(|file| Input::Path(file.path.clone()))
            .collect();
        let wanted = Wanted {
            connections: Some(reports::DEFAULT_CONNECTIONS),
            redactor: None,
            rows: Some((set.name.clone(), Arc::new(Spill::new(scratch.to_owned())))),
        };
        let (document, tables) = analyse_quietly(&settings, &wanted, progress)?;
        let mut outputs = Vec::new();
        if let Some(tables) = tables {
            outputs.extend(self.rows(set, tables, scratch)?);
        }
        let report = if document.has_finding_at(self.report_from) {
            let files = self.report(set, &document)?;
            let page = files[0].to_string_lossy().into_owned();
            outputs.extend(files);
            Some(page)
        } else {
            None
        };
        let summary = SetSummary::new(&document, &set.name, &set.group, &set.date, report);
        Ok(Outcome::Done {
            outputs,
            summary: Box::new(summary),
        })
    }

    /// Writes the set's rows: each table to the scratch folder, then all of them to the dataset.
    fn rows(
        &self,
        set: &CaptureSet,
        tables: Tables,
        scratch: &Path,
    ) -> Result<Vec<PathBuf>, Failure> {
        let mut written = Vec::new();
        let failed = |error| match error {
            reports::Error::Write(error) => Failure::output(scratch, error),
            other => Failure::Internal(other.to_string()),
        };
        tables
            .write(&mut |table| {
                let partial = scratch.join(format!("{table}.parquet"));
                written.push((table, partial.clone()));
                File::create(partial)
            })
            .map_err(failed)?;
        let name = format!("{}-{}.parquet", slug(&set.name), self.fingerprint(set));
        let partition = format!(
            "date={}/capture_group={}",
            set.date,
            percent_encoded(&set.group)
        );
        let mut outputs = Vec::new();
        for (table, partial) in written {
            let folder = Path::new(DATASET).join(table).join(&partition);
            let output = folder.join(&name);
            self.place(&partial, &output)
                .map_err(|error| Failure::output(&self.out.join(&output), error))?;
            outputs.push(output);
        }
        Ok(outputs)
    }

    fn place(&self, partial: &Path, output: &Path) -> io::Result<()> {
        let target = self.out.join(output);
        let folder = target.parent().unwrap_or(self.out);
        fs::create_dir_all(folder)?;
        fs::rename(partial, &target)?;
        File::open(folder)?.sync_all()
    }

    /// Writes the set's report; the page comes first.
    fn report(&self, set: &CaptureSet, document: &Document) -> Result<Vec<PathBuf>, Failure> {
        let internal = |error: reports::Error| Failure::Internal(error.to_string());
        let html = reports::html::render(document).map_err(internal)?;
        let markdown = reports::markdown::render(document);
        let mut outputs = Vec::new();
        for (ending, text) in [("html", html), ("md", markdown)] {
            let output = Path::new(REPORTS).join(format!("{}.report.{ending}", set.name));
            let target = self.out.join(&output);
            let folder = target.parent().unwrap_or(self.out);
            fs::create_dir_all(folder).map_err(|error| Failure::output(folder, error))?;
            write_file(&target, |out| out.write_all(text.as_bytes()))?;
            outputs.push(output);
        }
        Ok(outputs)
    }

    /// Short name for exactly this set, these contents and these settings.
    fn fingerprint(&self, set: &CaptureSet) -> String {
        let mut hash = Sha256::new();
        hash.update(&set.identity);
        hash.update(&self.settings_hash);
        for file in &set.files {
            hash.update(&file.content);
        }
        hex(&hash.finalize()[..8])
    }
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

/// A folder's value as Hive writes it.
fn percent_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
