//! Replays what the fuzzers start from and what they found, and renders what odd captures give.

mod common;
#[path = "../fuzz/src/report.rs"]
mod report;
#[path = "../fuzz/src/targets.rs"]
mod targets;

use std::path::{Path, PathBuf};

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
}

#[test]
fn no_target_fails_on_its_corpus() {
    let report = ("report", report::report as targets::Target);
    for (name, target) in targets::TARGETS.iter().chain([&report]) {
        let corpus = common::root().join("fuzz/corpus").join(name);
        let found = files(&corpus);
        assert!(!found.is_empty(), "{name} has no corpus");
        for file in found {
            println!("{}", file.display());
            target(&std::fs::read(&file).expect("a readable file"));
        }
    }
}

#[test]
fn captures_of_every_format_go_through_all_stages_and_renderings() {
    let mut inputs = files(&common::root().join("testdata/formats"));
    inputs.extend(files(&common::root().join("fuzz/corpus/capture")));
    for file in inputs {
        let output = common::run(&[
            "analyze",
            file.to_str().expect("UTF-8"),
            "--format",
            "html",
            "--output",
            "-",
        ]);
        let lines = String::from_utf8_lossy(&output.stderr).lines().count();
        match output.status.code() {
            Some(0) => assert!(output.stdout.starts_with(b"<!"), "{}", file.display()),
            Some(3) => {
                assert!(output.stdout.is_empty(), "{}", file.display());
                assert_eq!(lines, 1, "{}: {output:?}", file.display());
            }
            status => panic!("{}: {status:?} {output:?}", file.display()),
        }
    }
}
