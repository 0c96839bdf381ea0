//! What the end-to-end tests share: running the program and finding the captures.

#![allow(
    dead_code,
    reason = "every test file compiles its own copy and uses a part"
)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The program with arguments, ready to run in an empty folder's stead: nothing is written
/// unless asked for.
pub fn pcapdoc(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pcapdoc"));
    command.args(arguments).current_dir(std::env::temp_dir());
    command
}

/// Runs it to the end.
pub fn run(arguments: &[&str]) -> Output {
    pcapdoc(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

/// The JSON document of a capture, as raw bytes.
pub fn json_bytes(capture: &Path, more: &[&str]) -> Vec<u8> {
    let capture = capture.to_str().expect("the path is UTF-8");
    let mut arguments = vec!["analyze", capture, "--format", "json", "--output", "-"];
    arguments.extend(more);
    let output = run(&arguments);
    assert!(
        output.status.success(),
        "{capture}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// The JSON document of a capture.
pub fn json(capture: &Path) -> Value {
    json_with(capture, &[])
}

/// The JSON document of a capture, analysed with further arguments.
pub fn json_with(capture: &Path, more: &[&str]) -> Value {
    let arguments = [&["--connections", "all"], more].concat();
    serde_json::from_slice(&json_bytes(capture, &arguments)).expect("valid JSON")
}

/// Every capture that has a truth file beside it.
pub fn captures_with_truth() -> Vec<(PathBuf, Value)> {
    let mut found = Vec::new();
    let groups = root().join("testdata/captures");
    for group in std::fs::read_dir(groups).expect("testdata/captures is there") {
        for file in std::fs::read_dir(group.expect("a folder").path()).expect("a folder") {
            let truth = file.expect("a file").path();
            if truth
                .extension()
                .is_none_or(|extension| extension != "json")
            {
                continue;
            }
            let text = std::fs::read_to_string(&truth).expect("a readable truth file");
            let capture = ["pcap", "pcapng", "pcap.gz"]
                .map(|extension| truth.with_extension(extension))
                .into_iter()
                .find(|capture| capture.is_file())
                .unwrap_or_else(|| panic!("{} has no capture", truth.display()));
            found.push((capture, serde_json::from_str(&text).expect("valid truth")));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(!found.is_empty(), "no capture was found");
    found
}

/// The first capture of each rule: enough where a process is started for each.
pub fn first_captures() -> Vec<PathBuf> {
    let with_truth = captures_with_truth().into_iter();
    let mut captures: Vec<PathBuf> = with_truth.map(|(capture, _)| capture).collect();
    captures.dedup_by_key(|capture| capture.parent().map(Path::to_owned));
    captures
}

/// Says something that is seen although the test passes: the harness keeps back what macros print.
pub fn notice(text: &str) {
    writeln!(std::io::stderr(), "NOTICE: {text}").expect("standard error is open");
}

/// Says that a check is skipped for want of a tool. `.ci/run` promises some tools where it sets
/// `PCAPDOC_TOOLS=required`: there it is a failure.
pub fn skipped(text: &str) {
    let required = std::env::var_os("PCAPDOC_TOOLS").is_some_and(|value| value == "required");
    assert!(!required, "{text}");
    notice(&format!("{text}: this check is skipped"));
}

/// A Python that has these modules: the one that `PCAPDOC_PYTHON` names, or the system's. Without
/// one, says so.
pub fn python(modules: &str) -> Option<PathBuf> {
    let named = std::env::var_os("PCAPDOC_PYTHON").map(PathBuf::from);
    let python = named.unwrap_or_else(|| PathBuf::from("python3"));
    let has_them = Command::new(&python)
        .args(["-c", &format!("import {modules}")])
        .output()
        .is_ok_and(|output| output.status.success());
    if !has_them {
        skipped(&format!("no Python with {modules}"));
    }
    has_them.then_some(python)
}
