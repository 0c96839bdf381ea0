//! What a report tells of its own making: hashes of its inputs, settings, and what a pipe costs.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::common;
use serde_json::Value;
use sha2::{Digest, Sha256};

fn capture() -> PathBuf {
    common::root().join("testdata/captures/keepalive-race/late-write.pcap")
}

fn rendered(format: &str, more: &[&str]) -> String {
    let capture = capture();
    let capture = capture.to_str().expect("UTF-8");
    let arguments = ["analyze", capture, "--format", format, "-o", "-"];
    let output = common::run(&[&arguments, more].concat());
    assert!(output.status.success(), "{:?}", output.stderr);
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn from_pipe(format: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_pcapdoc"))
        .args(["analyze", "-", "--format", format, "-o", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let bytes = std::fs::read(capture()).expect("the capture");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(&bytes).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn the_hash_is_that_of_the_file() {
    let bytes = std::fs::read(capture()).expect("the capture");
    let digest = Sha256::digest(&bytes);
    let expected: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
    let document: Value = serde_json::from_str(&rendered("json", &[])).expect("JSON");
    assert_eq!(
        document["capture"]["files"][0]["hash"]["sha256"],
        expected.as_str()
    );
    for format in ["html", "md"] {
        assert!(rendered(format, &[]).contains(&expected), "{format}");
        assert!(
            !rendered(format, &["--redact"]).contains(&expected),
            "{format}: a hash lets anybody try out what was hidden"
        );
    }
}

#[test]
fn a_pipe_has_no_graph_and_the_report_says_why() {
    for format in ["html", "md"] {
        let piped = from_pipe(format);
        assert!(piped.contains("No time-sequence graph"), "{format}");
        assert!(piped.contains("came through a pipe"), "{format}");
        assert!(
            !rendered(format, &[]).contains("No time-sequence graph"),
            "{format}"
        );
    }
    let document: Value = serde_json::from_str(&from_pipe("json")).expect("JSON");
    assert!(
        document["untraced"]
            .as_str()
            .is_some_and(|why| why.contains("pipe"))
    );
    assert_eq!(document["traces"], serde_json::json!([]));
    assert!(document["capture"]["files"][0].get("hash").is_none());
}

#[test]
fn settings_of_the_configuration_file_are_told() {
    let file = std::env::temp_dir().join(format!("pcapdoc-made-{}.toml", std::process::id()));
    std::fs::write(&file, "[udp.recv_buffer]\n5353 = 1024\n").expect("a file");
    let config = file.to_str().expect("UTF-8");
    let document: Value =
        serde_json::from_str(&rendered("json", &["--config", config])).expect("JSON");
    std::fs::remove_file(&file).expect("it can go");
    let setting = &document["tool"]["configuration"][0];
    assert_eq!(setting["name"], "udp.recv_buffer.5353");
    assert_eq!(setting["value"], "1024");
}
