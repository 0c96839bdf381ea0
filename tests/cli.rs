//! Exit statuses, error lines and the purity of standard output.

use crate::common;
use std::path::{Path, PathBuf};

fn scratch(name: &str, bytes: &[u8]) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("pcapdoc-cli-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let file = folder.join(name);
    std::fs::write(&file, bytes).expect("a temporary file");
    file
}

fn race() -> PathBuf {
    common::root().join("testdata/captures/keepalive-race/late-write.pcap")
}

#[test]
fn unreadable_input_is_one_line_and_status_3() {
    let inputs = [
        scratch("empty.pcap", b""),
        scratch("notes.txt", b"this is not a capture at all\n"),
        PathBuf::from("no-such-file.pcap"),
    ];
    for input in inputs {
        let output = common::run(&["analyze", input.to_str().expect("UTF-8")]);
        assert_eq!(output.status.code(), Some(3), "{}", input.display());
        assert!(output.stdout.is_empty(), "{}", input.display());
        let message = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}

#[test]
fn a_cut_capture_is_analysed_with_a_caveat() {
    let bytes = std::fs::read(race()).expect("the capture");
    let cut = scratch("cut.pcap", &bytes[..bytes.len() - 10]);
    let document = common::json(&cut);
    let quality = document["capture"]["quality"].as_array().expect("quality");
    assert!(quality.iter().any(|note| note["kind"] == "cut-short"));
    assert_eq!(document["findings"][0]["rule"], "keepalive-race");
}

#[test]
fn a_record_of_4_gb_ends_reading_and_keeps_what_came_before() {
    let mut bytes = std::fs::read(race()).expect("the capture");
    bytes.extend([0_u8; 8]);
    bytes.extend([0xff_u8; 8]);
    bytes.extend([0_u8; 64]);
    let lying = scratch("lying.pcap", &bytes);
    let document = common::json(&lying);
    let quality = document["capture"]["quality"].as_array().expect("quality");
    assert!(quality.iter().any(|note| note["kind"] == "cut-short"));
}

#[test]
fn wrong_use_is_status_2() {
    let race = race();
    let race = race.to_str().expect("UTF-8");
    for arguments in [
        vec!["analyze"],
        vec!["analyze", race, "--select", "no-such-rule"],
        vec!["analyze", race, "--udp-recv-buffer", "seven"],
        vec!["explain", "no-such-rule"],
    ] {
        let output = common::run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn fail_on_decides_the_status() {
    let race = race();
    let race = race.to_str().expect("UTF-8");
    let format = ["--format", "terminal"];
    let status = |more: &[&str]| {
        let mut arguments = vec!["analyze", race];
        arguments.extend(format);
        arguments.extend(more);
        common::run(&arguments).status.code()
    };
    assert_eq!(status(&["--fail-on", "medium"]), Some(1));
    assert_eq!(status(&["--fail-on", "medium", "--ignore", "*"]), Some(0));
    assert_eq!(status(&[]), Some(0));
}

#[test]
fn reports_are_written_where_asked() {
    let folder = std::env::temp_dir().join(format!("pcapdoc-out-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let race = race();
    let arguments = [
        "analyze",
        race.to_str().expect("UTF-8"),
        "-o",
        folder.to_str().expect("UTF-8"),
    ];
    let output = common::run(&arguments);
    assert!(output.status.success());
    let html = std::fs::read_to_string(folder.join("late-write.report.html")).expect("the page");
    assert!(html.contains("Content-Security-Policy"));
    assert!(folder.join("late-write.report.md").is_file());
    std::fs::remove_dir_all(&folder).expect("the folder can go");
}

#[test]
fn every_rule_explains_itself() {
    let output = common::run(&["explain", "keepalive-race"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains("What to do"), "{text}");
}

#[test]
fn filters_analyse_the_part_that_was_asked_for() {
    let race = race();
    let race = race.to_str().expect("UTF-8");
    let connections = |more: &[&str]| -> Vec<serde_json::Value> {
        let document = common::json_bytes(Path::new(race), more);
        let document: serde_json::Value = serde_json::from_slice(&document).expect("JSON");
        document["connections"].as_array().expect("a list").clone()
    };
    let all = connections(&[]);
    let one = &all[0];
    let ends = format!(
        "{}-{}",
        one["server"].as_str().expect("text"),
        one["client"].as_str().expect("text")
    );
    let filtered = connections(&["--connection", &ends]);
    assert_eq!(
        filtered.iter().collect::<Vec<_>>(),
        [one],
        "frames keep their numbers"
    );
    assert_eq!(
        connections(&["--host", "10.9.0.0/16", "--port", "8080"]).len(),
        all.len()
    );
    assert!(connections(&["--host", "192.0.2.1"]).is_empty());
    assert!(connections(&["--port", "9"]).is_empty());
    let start = one["start"].as_str().expect("text");
    let before = connections(&["--to", start]).len();
    let after = connections(&["--from", start]).len();
    assert!(before >= 1 && after >= 1 && before + after >= all.len());
    assert!(connections(&["--from", "2100-01-01"]).is_empty());
    for wrong in [
        ["--from", "yesterday"],
        ["--host", "web"],
        ["--connection", "10.9.0.1"],
    ] {
        let output = common::run(&["analyze", race, wrong[0], wrong[1]]);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
}
