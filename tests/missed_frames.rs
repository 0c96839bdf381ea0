//! A capture that missed frames accuses nobody of what only the capture did.

mod common;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

/// Frames at the head that stay, so that some handshakes are whole.
const HEAD: usize = 20;

/// What cannot be told: of datagrams nobody says what arrived.
const UNDECIDABLE: [&str; 1] = ["ip-fragment-loss"];

/// A classic little-endian capture without `burst` of every so many frames, as where a buffer was
/// full; `None` for other formats.
fn without_bursts(capture: &Path, (every, burst): (usize, usize)) -> Option<Vec<u8>> {
    let bytes = plain(capture);
    if !matches!(
        bytes[..4],
        [0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1]
    ) {
        return None;
    }
    let mut thinned = bytes[..24].to_vec();
    let (mut at, mut number) = (24, 0);
    while let Some(length) = bytes.get(at + 8..at + 12) {
        let length = u32::from_le_bytes(length.try_into().expect("4 octets")) as usize;
        let end = (at + 16 + length).min(bytes.len());
        if number < HEAD || number % every >= burst {
            thinned.extend(&bytes[at..end]);
        }
        (at, number) = (end, number + 1);
    }
    Some(thinned)
}

fn plain(capture: &Path) -> Vec<u8> {
    let bytes = std::fs::read(capture).expect("a readable capture");
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return bytes;
    }
    let mut plain = Vec::new();
    let mut reader = flate2::read::GzDecoder::new(&bytes[..]);
    reader.read_to_end(&mut plain).expect("whole gzip");
    plain
}

/// Analyses a capture from standard input.
fn analyse(capture: &[u8], more: &[&str]) -> Value {
    let arguments = [
        &["analyze", "-", "--format", "json", "--output", "-"][..],
        more,
    ]
    .concat();
    let mut child = common::pcapdoc(&arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let mut input = child.stdin.take().expect("a pipe");
    let document = std::thread::scope(|threads| {
        threads.spawn(move || input.write_all(capture));
        child.wait_with_output().expect("it ends").stdout
    });
    serde_json::from_slice(&document).expect("valid JSON")
}

fn rules(document: &Value, at_least_medium: bool) -> BTreeSet<String> {
    let findings = document["findings"].as_array().expect("findings").iter();
    findings
        .filter(|finding| {
            let severity = finding["severity"].as_str().expect("a severity");
            !at_least_medium || matches!(severity, "medium" | "high" | "critical")
        })
        .map(|finding| finding["rule"].as_str().expect("a rule").to_owned())
        .collect()
}

#[test]
fn missing_frames_accuse_nobody() {
    let mut wrong = Vec::new();
    let mut looked_at = 0;
    for (capture, truth) in common::captures_with_truth() {
        let listed = truth["arguments"].as_array();
        let arguments: Vec<&str> = listed
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let mut known = rules(&common::json_with(&capture, &arguments), false);
        let may = truth["expect"]["may"].as_array();
        known.extend(
            may.into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned),
        );
        known.extend(UNDECIDABLE.map(str::to_owned));
        for bursts in [(97, 20), (31, 3)] {
            let Some(thinned) = without_bursts(&capture, bursts) else {
                continue;
            };
            looked_at += 1;
            let told = rules(&analyse(&thinned, &arguments), true);
            let new: Vec<_> = told.difference(&known).collect();
            if !new.is_empty() {
                wrong.push(format!("{} {bursts:?}: {new:?}", capture.display()));
            }
        }
    }
    assert!(looked_at > 100, "{looked_at} captures");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
