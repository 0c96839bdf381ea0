//! The same input gives the same bytes from every process, and whichever way it comes in. That the
//! number of threads changes nothing is tested in `tests/captures`.

use std::io::Write;
use std::process::Stdio;

use crate::common;
use serde_json::Value;

#[test]
fn a_run_repeated_gives_the_same_bytes() {
    for capture in common::first_captures() {
        assert!(
            common::json_bytes(&capture, &[]) == common::json_bytes(&capture, &[]),
            "{}",
            capture.display()
        );
    }
}

#[test]
fn a_pipe_gives_the_same_findings_as_the_file() {
    for capture in common::first_captures() {
        let bytes = std::fs::read(&capture).expect("a readable capture");
        let mut child = common::pcapdoc(&["analyze", "-", "--format", "json", "--output", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        child
            .stdin
            .take()
            .expect("a pipe")
            .write_all(&bytes)
            .expect("it reads all");
        let output = child.wait_with_output().expect("it ends");
        let piped: Value = serde_json::from_slice(&output.stdout).expect("valid JSON");
        let file: Value =
            serde_json::from_slice(&common::json_bytes(&capture, &[])).expect("valid JSON");
        assert_eq!(piped["findings"], file["findings"], "{}", capture.display());
        assert_eq!(piped["connections"], file["connections"]);
    }
}
