//! Replays what the fuzzers start from and what they found. What odd captures give is rendered in
//! `tests/captures`.

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
