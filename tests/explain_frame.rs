//! `pcapdoc explain-frame`: what it says of single frames, as JSON and as text.

use crate::common;
use crate::frames::Frames;
use serde_json::{Value, json};

fn explain(capture: &str, frame: usize, more: &[&str]) -> String {
    let capture = common::root().join("testdata/captures").join(capture);
    let (capture, frame) = (capture.to_str().expect("UTF-8"), frame.to_string());
    let output = common::run(&[&["explain-frame", capture, &frame], more].concat());
    assert!(output.status.success(), "{capture}: {frame}");
    assert!(output.stderr.is_empty());
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn document(capture: &str, frame: usize) -> Value {
    let text = explain(capture, frame, &["--format", "json"]);
    serde_json::from_str(&text).expect("valid JSON")
}

/// Frames of the client, counted from 1, that repeat octets: found without the program.
fn repeats(capture: &str) -> Vec<usize> {
    let frames = Frames::read(&common::root().join("testdata/captures").join(capture));
    let mut seen = std::collections::BTreeSet::new();
    let numbers = 1..=frames.frames.len();
    numbers
        .filter(|number| {
            let segment = frames.segment(*number as u64);
            segment.is_some_and(|one| one.payload_len > 1 && !seen.insert((one.ports, one.seq)))
        })
        .collect()
}

/// At the sender every repeat is one, with reasons, the reading that lost and Wireshark's names.
#[test]
fn repeats_are_explained() {
    const CAPTURE: &str = "kernel/loss-1/client.pcap.gz";
    let repeats = repeats(CAPTURE);
    assert!(repeats.len() > 10);
    for frame in repeats.into_iter().take(5) {
        let found = document(CAPTURE, frame);
        assert_eq!(found["schema_version"], 1);
        assert_eq!(found["frame"], frame);
        assert_eq!(found["verdict"], "retransmission", "frame {frame}");
        assert!(
            ["fast", "timeout", "tail-loss-probe"]
                .contains(&found["kind"].as_str().expect("a kind"))
        );
        assert_eq!(found["sender"], "client");
        assert_eq!(found["connection"]["server"], "10.9.0.2:5001");
        assert!(!found["because"].as_array().expect("reasons").is_empty());
        assert!(found["instead_of"]["because"].is_string());
        let names = found["wireshark"].as_array().expect("names").iter();
        assert!(names.clone().any(|name| {
            name["field"]
                .as_str()
                .is_some_and(|field| field.starts_with("tcp.analysis."))
        }));
        assert!(found["segment"]["payload_bytes"].as_u64() > Some(1));
        assert!(
            found["capture_point"]["place"]
                .as_str()
                .expect("a place")
                .contains("client")
        );
    }
}

#[test]
fn every_field_is_there_for_the_plainest_segment() {
    let found = document("kernel/clean/client.pcap.gz", 1);
    let object = found.as_object().expect("an object");
    let keys: Vec<&str> = object.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "schema_version",
            "frame",
            "time",
            "connection",
            "sender",
            "segment",
            "verdict",
            "kind",
            "spurious",
            "because",
            "instead_of",
            "wireshark",
            "capture_point"
        ]
    );
    assert_eq!(found["verdict"], "new");
    assert_eq!(found["kind"], Value::Null);
    assert_eq!(found["spurious"], false);
    assert_eq!(found["segment"]["flags"], "S");
    assert_eq!(found["wireshark"], json!([]));
}

#[test]
fn the_text_says_the_same() {
    const CAPTURE: &str = "kernel/loss-1/client.pcap.gz";
    let frame = repeats(CAPTURE)[0];
    let (text, found) = (explain(CAPTURE, frame, &[]), document(CAPTURE, frame));
    assert!(text.starts_with(&format!("Frame {frame}: retransmission")));
    for reason in found["because"].as_array().expect("reasons") {
        assert!(text.contains(reason.as_str().expect("text")));
    }
}

#[test]
fn a_frame_that_is_not_there_is_wrong_use() {
    let capture = common::root().join("testdata/captures/kernel/clean/client.pcap.gz");
    let output = common::run(&[
        "explain-frame",
        capture.to_str().expect("UTF-8"),
        "99999999",
    ]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);
}

/// A frame whose checksum shows that it was damaged is not judged as if it had arrived.
#[test]
fn damaged_frames_are_said_to_be() {
    const CAPTURE: &str = "capture-quality/damaged-questions.pcap";
    let found = document(CAPTURE, 13);
    assert_eq!(found["verdict"], "damaged");
    assert_eq!(found["frame"], 13);
    assert!(explain(CAPTURE, 13, &[]).starts_with("Frame 13: damaged\n"));
}
