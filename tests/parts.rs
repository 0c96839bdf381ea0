//! `segment`, `judge` and `conclude` give the report of `analyze`, octet for octet.

mod common;
mod packets;
mod rotated;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rotated::{must_be_equal, report};

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

/// The report of one process.
fn whole(captures: &[PathBuf]) -> String {
    let mut arguments = vec!["analyze", "-f", "json", "-o", "-"];
    arguments.extend(captures.iter().map(|path| text(path)));
    let output = common::run(&arguments);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    report(&output.stdout)
}

fn output_of(mut command: Command) -> Vec<u8> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
    output.stdout
}

/// The report of three processes, one after the other.
fn in_parts(captures: &[PathBuf], folder: &Path) -> String {
    let (rows, states) = (folder.join("rows.arrow"), folder.join("states.arrow"));
    let mut arguments = vec!["segment"];
    arguments.extend(captures.iter().map(|path| text(path)));
    fs::write(&rows, output_of(common::pcapdoc(&arguments))).expect("a writable folder");
    fs::write(&states, output_of(common::pcapdoc(&["judge", text(&rows)])))
        .expect("a writable folder");
    let conclude = ["conclude", text(&states), "-f", "json", "-o", "-"];
    report(&output_of(common::pcapdoc(&conclude)))
}

#[test]
fn single_files_come_out_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    for (capture, _) in common::captures_with_truth() {
        let captures = [capture];
        must_be_equal(
            &whole(&captures),
            &in_parts(&captures, folder.path()),
            text(&captures[0]),
        );
    }
}

#[test]
fn a_ring_comes_out_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let captures = rotated::ring(folder.path(), 60);
    must_be_equal(
        &whole(&captures),
        &in_parts(&captures, folder.path()),
        "the ring",
    );
}
