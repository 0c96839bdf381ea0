//! `pcapdoc compare`: the contract, on captures of both ends of one path.

mod common;

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

fn kernel(case: &str, side: &str) -> String {
    format!("testdata/captures/kernel/{case}/{side}.pcap.gz")
}

fn run(arguments: &[&str]) -> Output {
    common::pcapdoc(arguments)
        .current_dir(common::root())
        .output()
        .expect("the program starts")
}

fn compared(captures: &[&str]) -> Value {
    let mut arguments = vec!["compare"];
    arguments.extend(captures);
    arguments.extend(["--format", "json", "--output", "-"]);
    let output = run(&arguments);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

/// Writes another capture next to nothing: the frames of a classic pcap file, changed.
fn changed(
    case: &str,
    side: &str,
    to: &Path,
    change: impl Fn(u64, &mut i64, &mut Vec<u8>) -> bool,
) {
    let file = common::root().join(kernel(case, side));
    let mut data = Vec::new();
    let mut packed = flate2::read::MultiGzDecoder::new(std::fs::File::open(file).unwrap());
    std::io::Read::read_to_end(&mut packed, &mut data).unwrap();
    let nano = data[..4] == 0xa1b2_3c4d_u32.to_le_bytes();
    let word = |at: usize| u32::from_le_bytes(data[at..at + 4].try_into().unwrap());
    let mut out = 0xa1b2_3c4d_u32.to_le_bytes().to_vec();
    out.extend(&data[4..24]);
    let (mut at, mut number) = (24, 0);
    while at + 16 <= data.len() {
        let fraction = i64::from(word(at + 4)) * if nano { 1 } else { 1000 };
        let mut time = i64::from(word(at)) * 1_000_000_000 + fraction;
        let len = word(at + 8) as usize;
        let mut bytes = data[at + 16..at + 16 + len].to_vec();
        number += 1;
        if change(number, &mut time, &mut bytes) {
            let (seconds, nanos) = (
                time.div_euclid(1_000_000_000),
                time.rem_euclid(1_000_000_000),
            );
            for value in [
                seconds as u32,
                nanos as u32,
                bytes.len() as u32,
                word(at + 12),
            ] {
                out.extend(value.to_le_bytes());
            }
            out.extend(&bytes);
        }
        at += 16 + len;
    }
    std::fs::write(to, out).unwrap();
}

fn path(folder: &tempfile::TempDir, name: &str) -> (PathBuf, String) {
    let path = folder.path().join(name);
    let text = path.display().to_string();
    (path, text)
}

/// Sums over connections and both directions of the first hop.
fn sum(document: &Value, name: &str) -> u64 {
    let connections = document["connections"].as_array().unwrap().iter();
    connections
        .flat_map(|one| ["client_to_server", "server_to_client"].map(|way| &one["hops"][0][way]))
        .map(|way| way[name].as_u64().unwrap())
        .sum()
}

#[test]
fn the_document_keeps_the_contract() {
    let (client, server) = (kernel("loss-1", "client"), kernel("loss-1", "server"));
    let document = compared(&[&format!("near={client}"), &format!("far={server}")]);
    assert_eq!(document["schema_version"], 1);
    assert_eq!(document["kind"], "comparison");
    let names: Vec<&str> = document["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|point| point["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["near", "far"]);
    for point in document["points"].as_array().unwrap() {
        assert!(point["files"].is_array() && point["quality"].is_array());
        assert!(point["packets"].as_u64().unwrap() > 0);
    }
    let clock = &document["clocks"][0];
    assert_eq!(
        (&clock["from"], &clock["to"]),
        (&"near".into(), &"far".into())
    );
    for name in ["offset_ms", "skew_ppm", "error_ms"] {
        assert!(clock[name].is_number(), "{name}: {clock}");
    }
    assert!(clock["steps"].is_array() && clock["at"].is_string() && clock["basis"].is_string());
    let connection = &document["connections"][0];
    assert_eq!(connection["transport"], "tcp");
    assert_eq!(connection["paired_by"], "sequence-numbers");
    assert_eq!(connection["translated"], false);
    assert_eq!(connection["sequence_rewritten"], false);
    assert!(
        connection["at"]["near"]["client"].is_string()
            && connection["at"]["far"]["server"].is_string()
    );
    let hop = &connection["hops"][0];
    for way in ["client_to_server", "server_to_client"] {
        let way = &hop[way];
        let count = |name: &str| {
            way[name]
                .as_u64()
                .unwrap_or_else(|| panic!("{name}: {way}"))
        };
        for name in ["reordered", "duplicated", "made", "missed_at_from"] {
            count(name);
        }
        assert_eq!(
            count("segments"),
            count("delivered") + count("lost") + count("missed_at_to")
        );
        assert!(way["changed"]["mss"].is_u64() && way["changed"]["sequence_numbers"].is_u64());
        for name in ["min", "median", "p99", "max"] {
            assert!(way["delay_ms"][name].is_number(), "{name}: {way}");
        }
    }
    assert!(document["unpaired"]["near"].is_u64() && document["unpaired"]["far"].is_u64());
    assert!(
        document["verdict"]["sentence"]
            .as_str()
            .unwrap()
            .contains("lost between `near` and `far`")
    );
    let findings = document["findings"].as_array().unwrap();
    let loss = findings
        .iter()
        .find(|one| one["rule"] == "loss-between")
        .expect("loss is found");
    assert_eq!(loss["between"], serde_json::json!(["near", "far"]));
    assert_eq!(loss["evidence"][0]["point"], "near");
}

#[test]
fn points_are_put_in_path_order_whatever_order_they_are_given_in() {
    let (client, server) = (kernel("loss-1", "client"), kernel("loss-1", "server"));
    let document = compared(&[&server, &client]);
    assert_eq!(document["points"][0]["name"], "client");
    assert_eq!(document["clocks"][0]["from"], "client");
}

#[test]
fn the_same_for_any_number_of_threads() {
    let (client, server) = (kernel("loss-8", "client"), kernel("loss-8", "server"));
    let outputs: Vec<Vec<u8>> = ["1", "2", "7"]
        .iter()
        .map(|threads| {
            let arguments = [
                "compare",
                &client,
                &server,
                "--format",
                "md",
                "--output",
                "-",
                "--threads",
                threads,
            ];
            run(&arguments).stdout
        })
        .collect();
    assert!(!outputs[0].is_empty());
    assert_eq!(outputs[0], outputs[1]);
    assert_eq!(outputs[0], outputs[2]);
}

#[test]
fn a_clock_that_is_ahead_gains_and_steps_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (file, other) = path(&folder, "far.pcap");
    let mut first = None;
    changed("paced-writer", "server", &file, |_, _, _| true);
    let plain = compared(&[&kernel("paced-writer", "client"), &other]);
    let known = plain["clocks"][0]["offset_ms"].as_f64().unwrap();
    let first = std::cell::Cell::new(first.take());
    changed("paced-writer", "server", &file, |_, time, _| {
        let start = first.get().unwrap_or(*time);
        first.set(Some(start));
        *time += 3_600_000_000_000 + 7_000_000;
        true
    });
    let moved = compared(&[&kernel("paced-writer", "client"), &other]);
    let offset = moved["clocks"][0]["offset_ms"].as_f64().unwrap();
    assert!(
        (offset - known - 3_600_007.0).abs() < 0.01,
        "{offset} after {known}"
    );
    for name in [
        "segments",
        "delivered",
        "lost",
        "made",
        "reordered",
        "duplicated",
    ] {
        assert_eq!(sum(&moved, name), sum(&plain, name), "{name}");
    }
}

#[test]
fn what_a_capture_missed_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (file, other) = path(&folder, "far.pcap");
    changed("clean", "server", &file, |number, _, _| number % 10 != 7);
    let document = compared(&[&kernel("clean", "client"), &other]);
    assert_eq!(sum(&document, "lost"), 0, "{}", document["verdict"]);
    assert!(sum(&document, "missed_at_to") > 10);
    let findings = document["findings"].as_array().unwrap();
    let missed = findings
        .iter()
        .find(|one| one["rule"] == "capture-missed")
        .expect("it is found");
    assert_eq!(missed["at"], "far");
    let graver = findings
        .iter()
        .filter(|one| ["medium", "high", "critical"].contains(&one["severity"].as_str().unwrap()));
    assert_eq!(graver.count(), 0, "{findings:#?}");
}

#[test]
fn the_same_file_twice_is_one_path_without_delay() {
    let client = kernel("loss-1", "client");
    let document = compared(&[&format!("a={client}"), &format!("b={client}")]);
    assert_eq!(
        sum(&document, "lost") + sum(&document, "made") + sum(&document, "duplicated"),
        0
    );
    assert_eq!(document["clocks"][0]["offset_ms"], 0.0);
    assert_eq!(document["unpaired"]["a"], 0);
}

#[test]
fn unrelated_captures_are_said_to_be_so() {
    let document = compared(&[&kernel("loss-1", "client"), &kernel("loss-8", "server")]);
    assert_eq!(document["connections"], serde_json::json!([]));
    assert!(
        document["verdict"]["sentence"]
            .as_str()
            .unwrap()
            .contains("no traffic in common")
    );
    assert!(document["unpaired"]["client"].as_u64().unwrap() > 0);
}

#[test]
fn a_healthy_pair_has_no_finding_to_argue_about() {
    let document = compared(&[&kernel("clean", "client"), &kernel("clean", "server")]);
    for finding in document["findings"].as_array().unwrap() {
        assert!(
            ["info", "low"].contains(&finding["severity"].as_str().unwrap()),
            "{finding}"
        );
    }
    assert_eq!(sum(&document, "lost"), 0);
}

#[test]
fn pages_say_it_first_and_load_nothing() {
    let (client, server) = (kernel("loss-1", "client"), kernel("loss-1", "server"));
    let output = run(&[
        "compare", &client, &server, "--format", "html", "--output", "-",
    ]);
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(
        page.contains("lost between `client` and `server`") && page.contains("<svg class=\"path\"")
    );
    for outside in ["http://", "https://", "<script", "src="] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn redacted_reports_name_nobody() {
    let (client, server) = (kernel("loss-1", "client"), kernel("loss-1", "server"));
    let acme = format!("acme={client}");
    let output = run(&[
        "compare", &acme, &server, "--redact", "--format", "json", "--output", "-",
    ]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        !text.contains("acme") && !text.contains("10.9.0.") && !text.contains(".pcap"),
        "{text}"
    );
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["points"][0]["name"], "point-1");
}

#[test]
fn evidence_has_an_interface_for_each_point() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().display().to_string();
    let (client, server) = (kernel("loss-1", "client"), kernel("loss-1", "server"));
    let output = run(&[
        "compare",
        &client,
        &server,
        "--evidence",
        &to,
        "--format",
        "json",
        "--output",
        "-",
    ]);
    assert!(output.status.success());
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = document["findings"].as_array().unwrap();
    let loss = findings
        .iter()
        .find(|one| one["rule"] == "loss-between")
        .unwrap();
    let file = folder.path().join(loss["evidence_file"].as_str().unwrap());
    let inspected = run(&["inspect", &file.display().to_string(), "--format", "json"]);
    let text = String::from_utf8(inspected.stdout).unwrap();
    assert!(
        text.contains("\"client\"") && text.contains("\"server\""),
        "{text}"
    );
}

#[test]
fn both_ends_in_one_set_are_a_caveat() {
    let (client, server) = (kernel("loss-1", "client"), kernel("loss-1", "server"));
    let output = run(&[
        "analyze", &client, &server, "--format", "json", "--output", "-",
    ]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let notes = document["capture"]["quality"].as_array().unwrap();
    let note = notes.iter().find(|note| note["kind"] == "two-points");
    let note = note.expect("it is said");
    assert!(note["note"].as_str().unwrap().contains("pcapdoc compare"));
}

#[test]
fn wrong_use_is_said_in_a_line() {
    let output = run(&["compare", &kernel("loss-1", "client")]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);
    let output = run(&["compare", &kernel("loss-1", "client"), "nothing.pcap"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout.is_empty());
}

#[test]
fn frames_cut_before_their_ports_are_named() {
    // 54 octets hold Ethernet and IPv6, and nothing behind.
    let folder = tempfile::tempdir().expect("a folder");
    let points = ["client", "server"].map(|side| {
        let file = common::root().join(kernel("loss-2-v6", side));
        let mut data = Vec::new();
        let mut packed = flate2::read::MultiGzDecoder::new(std::fs::File::open(file).unwrap());
        std::io::Read::read_to_end(&mut packed, &mut data).unwrap();
        let mut cut = data[..24].to_vec();
        let mut at = 24;
        while at + 16 <= data.len() {
            let len = u32::from_le_bytes(data[at + 8..at + 12].try_into().unwrap()) as usize;
            let kept = len.min(54);
            cut.extend(&data[at..at + 8]);
            cut.extend(u32::try_from(kept).unwrap().to_le_bytes());
            cut.extend(&data[at + 12..at + 16 + kept]);
            at += 16 + len;
        }
        let to = folder.path().join(format!("{side}.pcap"));
        std::fs::write(&to, cut).expect("a writable folder");
        format!("{side}={}", to.display())
    });
    let document = compared(&[&points[0], &points[1]]);
    assert_eq!(document["connection_total"], 0);
    let notices = document["notices"].as_array().expect("notices");
    assert_eq!(notices.len(), 2, "{notices:?}");
    for (notice, point) in notices.iter().zip(["client", "server"]) {
        let notice = notice.as_str().expect("text");
        assert!(notice.contains(&format!(
            "at {point} were cut before the end of their TCP headers"
        )));
    }
    let sentence = document["verdict"]["sentence"].as_str().expect("text");
    assert!(
        sentence.starts_with("Nothing can be compared"),
        "{sentence}"
    );
}
