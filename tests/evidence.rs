//! Evidence captures: what they hold, and that others can read them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common;
use serde_json::Value;

fn race() -> PathBuf {
    common::root().join("testdata/captures/keepalive-race/late-write.pcap")
}

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("pcapdoc-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    folder
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The evidence of F1 as our own reader sees it again, and the original document.
fn evidence_of(captures: &[&Path], folder: &Path) -> (PathBuf, Value) {
    let mut arguments = vec!["analyze"];
    arguments.extend(captures.iter().map(|capture| text(capture)));
    arguments.extend([
        "--format",
        "json",
        "-o",
        text(folder),
        "--evidence",
        text(folder),
    ]);
    let output = common::run(&arguments);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let find = |ending: &str| {
        let mut entries = std::fs::read_dir(folder).expect("the folder").flatten();
        let found = entries.find(|entry| entry.file_name().to_string_lossy().ends_with(ending));
        found.unwrap_or_else(|| panic!("no {ending}")).path()
    };
    let document = std::fs::read(find(".json")).expect("the result");
    (
        find("F1-keepalive-race.pcapng"),
        serde_json::from_slice(&document).expect("JSON"),
    )
}

#[test]
fn the_frames_of_a_finding_prove_it_again() {
    let folder = scratch("evidence");
    let (file, document) = evidence_of(&[&race()], &folder);
    let again = common::json(&file);
    let (before, after) = (&document["findings"][0], &again["findings"][0]);
    assert_eq!(after["rule"], "keepalive-race");
    for same in ["occurrences", "figures", "severity"] {
        assert_eq!(before[same], after[same], "{same}");
    }
    assert_eq!(
        before["evidence"][0]["time"], after["evidence"][0]["time"],
        "nanoseconds survive"
    );
    assert_eq!(again["capture"]["interfaces"][0]["link_type"], "ETHERNET");
    assert!(
        before["evidence_file"]
            .as_str()
            .expect("a name")
            .ends_with("F1-keepalive-race.pcapng")
    );
    std::fs::remove_dir_all(&folder).expect("the folder can go");
}

#[test]
fn one_finding_can_be_asked_for_by_id_or_rule() {
    let folder = scratch("evidence-one");
    let race = race();
    let [by_id, by_rule] = ["F1", "keepalive-race"].map(|finding| {
        let file = folder.join(format!("{finding}.pcapng"));
        let output = common::run(&["evidence", text(&race), finding, "-o", text(&file)]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.stdout.is_empty());
        std::fs::read(file).expect("the evidence")
    });
    assert_eq!(by_id, by_rule);
    let unknown = common::run(&["evidence", text(&race), "F77"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("F1 (keepalive-race)"));
    std::fs::remove_dir_all(&folder).expect("the folder can go");
}

#[test]
fn a_pipe_is_refused_before_the_work() {
    for arguments in [
        vec!["analyze", "-", "--evidence", "x"],
        vec!["evidence", "-", "F1"],
    ] {
        let output = common::run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("read only once"));
    }
}

/// Splits a classic capture at a frame.
fn split(capture: &[u8], frames: usize) -> [Vec<u8>; 2] {
    let mut at = 24;
    for _ in 0..frames {
        let len: [u8; 4] = capture[at + 8..at + 12].try_into().expect("a length");
        at += 16 + u32::from_le_bytes(len) as usize;
    }
    let head = &capture[..24];
    [capture[..at].to_vec(), [head, &capture[at..]].concat()]
}

#[test]
fn a_set_of_files_gives_the_same_frames_as_one() {
    let folder = scratch("evidence-set");
    let whole = folder.join("whole");
    std::fs::create_dir_all(&whole).expect("a folder");
    let (one, _) = evidence_of(&[&race()], &whole);
    let parts = split(&std::fs::read(race()).expect("the capture"), 30);
    let [first, second] = ["a.pcap", "b.pcap"].map(|name| folder.join(name));
    std::fs::write(&first, &parts[0]).expect("a file");
    std::fs::write(&second, &parts[1]).expect("a file");
    let set = folder.join("set");
    std::fs::create_dir_all(&set).expect("a folder");
    // Given in the wrong order on purpose.
    let (other, document) = evidence_of(&[&second, &first], &set);
    let (one, other) = (common::json(&one), common::json(&other));
    assert_eq!(
        document["capture"]["files"].as_array().map(Vec::len),
        Some(2)
    );
    assert_eq!(one["capture"]["packets"], other["capture"]["packets"]);
    assert_eq!(
        one["findings"][0]["evidence"],
        other["findings"][0]["evidence"]
    );
    std::fs::remove_dir_all(&folder).expect("the folder can go");
}

#[test]
fn wireshark_shows_the_comments_on_the_proving_frames() {
    if Command::new("tshark").arg("--version").output().is_err() {
        common::notice("no tshark: this check is skipped");
        return;
    }
    let folder = scratch("evidence-tshark");
    let (file, document) = evidence_of(&[&race()], &folder);
    let output = Command::new("tshark")
        .args(["-r", text(&file), "-Y", "frame.comment", "-T", "fields"])
        .args(["-e", "frame.time_epoch", "-e", "frame.comment"])
        .output()
        .expect("tshark runs");
    let shown = String::from_utf8(output.stdout).expect("UTF-8");
    let frames: std::collections::BTreeSet<_> = document["findings"][0]["evidence"]
        .as_array()
        .expect("evidence")
        .iter()
        .map(|step| step["frame"].as_u64())
        .collect();
    assert_eq!(shown.lines().count(), frames.len());
    assert!(shown.lines().all(|line| line.contains("F1: ")), "{shown}");
    assert!(shown.contains("its ACK number covers the FIN"), "{shown}");
    std::fs::remove_dir_all(&folder).expect("the folder can go");
}
