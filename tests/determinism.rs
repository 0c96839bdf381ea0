//! The same input gives the same bytes, whatever the thread count and the way it comes in.

mod common;

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

/// The arguments stand in the document; they are the one thing that may differ.
fn without_arguments(bytes: &[u8]) -> Value {
    let mut document: Value = serde_json::from_slice(bytes).expect("valid JSON");
    document["tool"]["arguments"] = Value::Null;
    document
}

#[test]
fn one_two_and_more_threads_give_the_same_document() {
    for (capture, _) in common::captures_with_truth() {
        let one = without_arguments(&common::json_bytes(&capture, &["--threads", "1"]));
        for threads in ["2", "4", "7"] {
            let more = without_arguments(&common::json_bytes(&capture, &["--threads", threads]));
            assert_eq!(one, more, "{} on {threads} threads", capture.display());
        }
    }
}

#[test]
fn a_run_repeated_gives_the_same_bytes() {
    for (capture, _) in common::captures_with_truth() {
        assert_eq!(
            common::json_bytes(&capture, &[]),
            common::json_bytes(&capture, &[]),
            "{}",
            capture.display()
        );
    }
}

#[test]
fn a_pipe_gives_the_same_findings_as_the_file() {
    for (capture, _) in common::captures_with_truth() {
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
        let piped = without_arguments(&output.stdout);
        let file = without_arguments(&common::json_bytes(&capture, &[]));
        assert_eq!(piped["findings"], file["findings"], "{}", capture.display());
        assert_eq!(piped["connections"], file["connections"]);
    }
}
