//! `pcapdoc evidence` and `--evidence`: the frames of findings as captures of their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use reports::again::evidence::{self, EvidenceFile};
use reports::document::FindingView;
use reports::{Document, Redactor};

use serde_json::json;

use crate::analysis::{analyse, pool, redactor};
use crate::cli::EvidenceArguments;
use crate::failure::Failure;
use crate::log;
use crate::output::write_file;
use crate::outputs::{shown, stem_of};
use crate::settings::Settings;

/// Runs the subcommand.
pub fn run(arguments: &EvidenceArguments) -> Result<ExitCode, Failure> {
    must_be_readable_twice(&arguments.captures)?;
    let settings = Settings::resolve(&arguments.captures, &arguments.analysis)?;
    let redactor = redactor(&arguments.redaction)?;
    let draft = pool(settings.threads)?.install(|| {
        let connections = Some(reports::DEFAULT_CONNECTIONS);
        analyse(&settings, connections, redactor.as_ref())
    })?;
    let wanted = choose(draft.document(), &arguments.finding)?;
    let files = collect(draft.document(), &settings, |finding| finding.id == wanted)?;
    let Some(file) = files.first() else {
        return Err(Failure::Usage(format!(
            "{wanted} cites no frame of a connection"
        )));
    };
    let stem = stem_of(&arguments.captures, redactor.as_ref());
    let name = file_name(&stem, file);
    let path = match &arguments.output {
        None => PathBuf::from(name),
        Some(path) if path.is_dir() => path.join(name),
        Some(path) => path.clone(),
    };
    write_file(&path, |out| file.write(out, redactor.as_ref()))?;
    say_written(&path, file);
    Ok(ExitCode::SUCCESS)
}

/// A pipe cannot be read twice; says so before the analysis.
pub fn must_be_readable_twice(captures: &[PathBuf]) -> Result<(), Failure> {
    let pipe = captures.iter().find(|path| {
        let is_other = |path: &Path| {
            path.metadata()
                .is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
        };
        path.as_os_str() == "-" || is_other(path)
    });
    match pipe {
        Some(path) => Err(Failure::Usage(format!(
            "evidence needs a second reading, and {} can be read only once: save the capture to \
             a file and give that",
            if path.as_os_str() == "-" {
                "standard input".to_owned()
            } else {
                path.display().to_string()
            }
        ))),
        None => Ok(()),
    }
}

/// Writes one capture per finding into `folder`; gives their names by the finding's id.
pub fn write_all(
    document: &Document,
    settings: &Settings,
    redactor: Option<&Redactor>,
    folder: &Path,
    stem: &str,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut names = BTreeMap::new();
    for file in collect(document, settings, |_| true)? {
        let name = file_name(stem, &file);
        let path = folder.join(&name);
        write_file(&path, |out| file.write(out, redactor))?;
        say_written(&path, &file);
        names.insert(file.finding, name);
    }
    Ok(names)
}

fn collect(
    document: &Document,
    settings: &Settings,
    choose: impl Fn(&FindingView) -> bool,
) -> Result<Vec<EvidenceFile>, Failure> {
    evidence::collect(document, &settings.inputs, &settings.analysis.read, choose)
        .map_err(Failure::Input)
}

/// The id of the finding that `asked` names, by id or by rule.
fn choose(document: &Document, asked: &str) -> Result<String, Failure> {
    let findings = &document.findings;
    let found = findings
        .iter()
        .find(|finding| finding.id.eq_ignore_ascii_case(asked) || finding.rule == asked);
    match found {
        Some(finding) => Ok(finding.id.clone()),
        None if findings.is_empty() => Err(Failure::Usage(
            "nothing was found in this capture, so there is no evidence".to_owned(),
        )),
        None => {
            let known: Vec<_> = findings
                .iter()
                .map(|finding| format!("{} ({})", finding.id, finding.rule))
                .collect();
            Err(Failure::Usage(format!(
                "there is no finding {}; this capture has {}",
                asked.escape_debug(),
                known.join(", ")
            )))
        }
    }
}

fn file_name(stem: &str, file: &EvidenceFile) -> String {
    format!("{stem}.{}", file.name())
}

fn say_written(path: &Path, file: &EvidenceFile) {
    let fields = json!({"files": [shown(path)], "finding": file.finding, "frames": file.frames()});
    log::say("wrote", &format!("wrote {}", described(path, file)), fields);
}

fn described(path: &Path, file: &EvidenceFile) -> String {
    let path = shown(path);
    match file.frames_left_out {
        0 => format!("{path} ({} frames)", file.frames()),
        left_out => format!("{path} ({} frames, {left_out} left out)", file.frames()),
    }
}
