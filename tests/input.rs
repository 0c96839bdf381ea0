//! What people give the program: folders, patterns, damaged files, pipes, interrupts, devices.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common;
use serde_json::Value;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("pcapdoc-input-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    folder
}

fn race() -> PathBuf {
    common::root().join("testdata/captures/keepalive-race/late-write.pcap")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn is_one_line_and_status(output: &Output, status: i32) -> String {
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let message = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

/// The capture in two files that follow each other, the second one first by name.
fn split(folder: &Path) {
    let bytes = std::fs::read(race()).expect("the capture");
    let record = |at: usize| {
        let length = bytes[at + 8..at + 12].try_into().expect("four bytes");
        16 + u32::from_le_bytes(length) as usize
    };
    let mut at = 24;
    for _ in 0..5 {
        at += record(at);
    }
    let header = &bytes[..24];
    std::fs::write(folder.join("b.pcap"), &bytes[..at]).expect("a file");
    let rest = [header, &bytes[at..]].concat();
    std::fs::write(folder.join("a.pcap"), rest).expect("a file");
    std::fs::write(folder.join("notes.txt"), "not a capture").expect("a file");
}

#[test]
fn folders_and_patterns_are_sets() {
    let folder = folder("set");
    split(&folder);
    let whole = common::json(&race());
    for argument in [
        folder.clone(),
        folder.join("*.pcap"),
        folder.join("[ab].p*"),
    ] {
        let document = common::json(&argument);
        assert_eq!(document["capture"]["packets"], whole["capture"]["packets"]);
        assert_eq!(document["connections"], whole["connections"]);
        assert_eq!(
            document["capture"]["files"].as_array().map(Vec::len),
            Some(2)
        );
    }
    let nothing = common::run(&["analyze", text(&folder.join("*.cap"))]);
    assert!(is_one_line_and_status(&nothing, 3).contains("no file matches"));
    std::fs::remove_dir_all(&folder).expect("the folder can go");
}

/// Two interfaces recorded side by side: every second frame in the other file.
#[test]
fn files_that_overlap_are_merged_by_time() {
    let folder = folder("merge");
    let bytes = std::fs::read(race()).expect("the capture");
    let header = bytes[..24].to_vec();
    let (mut even, mut odd) = (header.clone(), header);
    let (mut at, mut count) = (24, 0);
    while at < bytes.len() {
        let length = bytes[at + 8..at + 12].try_into().expect("four bytes");
        let end = at + 16 + u32::from_le_bytes(length) as usize;
        let file = if count % 2 == 0 { &mut even } else { &mut odd };
        file.extend_from_slice(&bytes[at..end]);
        (at, count) = (end, count + 1);
    }
    std::fs::write(folder.join("odd.pcap"), odd).expect("a file");
    std::fs::write(folder.join("even.pcap"), even).expect("a file");
    let (whole, merged) = (common::json(&race()), common::json(&folder));
    assert_eq!(merged["capture"]["packets"], whole["capture"]["packets"]);
    assert_eq!(merged["connections"], whole["connections"]);
    let frames = |document: &Value| document["findings"][0]["evidence"].to_string();
    assert_eq!(frames(&merged), frames(&whole));
    let notes = merged["capture"]["quality"].to_string();
    assert!(!notes.contains("clock-step"), "{notes}");
    std::fs::remove_dir_all(&folder).expect("the folder can go");
}

#[test]
fn a_folder_without_captures_is_unreadable() {
    let folder = folder("empty");
    std::fs::write(folder.join("notes.txt"), "not a capture").expect("a file");
    let output = common::run(&["analyze", text(&folder)]);
    assert!(is_one_line_and_status(&output, 3).contains("no capture"));
    std::fs::remove_dir_all(&folder).expect("the folder can go");
}

#[test]
fn an_unreadable_file_of_a_set_is_named_and_the_rest_analysed() {
    let folder = folder("rest");
    let broken = folder.join("broken.pcap");
    std::fs::write(&broken, "not a capture").expect("a file");
    let missing = folder.join("missing.pcap");
    let more = [text(&broken), text(&missing)];
    let document: Value =
        serde_json::from_slice(&common::json_bytes(&race(), &more)).expect("valid JSON");
    let notes = document["capture"]["quality"].to_string();
    assert!(notes.contains("broken.pcap"), "{notes}");
    assert!(notes.contains("missing.pcap"), "{notes}");
    assert_eq!(document["findings"][0]["rule"], "keepalive-race");
    std::fs::remove_dir_all(&folder).expect("the folder can go");
}

#[test]
fn strict_refuses_what_is_not_whole() {
    let folder = folder("strict");
    let bytes = std::fs::read(race()).expect("the capture");
    let cut = folder.join("cut.pcap");
    std::fs::write(&cut, &bytes[..bytes.len() - 10]).expect("a file");
    let arguments = ["--format", "json", "--output", "-", "--strict"];
    let run = |file: &Path| common::run(&[&["analyze", text(file)], &arguments[..]].concat());
    let message = is_one_line_and_status(&run(&cut), 3);
    assert!(message.contains("cut.pcap: at byte"), "{message}");
    assert!(run(&race()).status.success());
    let inspected = common::run(&["inspect", text(&cut), "--strict"]);
    is_one_line_and_status(&inspected, 3);
    std::fs::remove_dir_all(&folder).expect("the folder can go");
}

#[test]
fn a_full_disk_is_told_and_devices_stay_devices() {
    if !Path::new("/dev/full").exists() {
        common::notice("this system has no /dev/full: a full disk is not tried");
        return;
    }
    let race = race();
    let arguments = [
        "analyze",
        text(&race),
        "--format",
        "json",
        "-o",
        "/dev/full",
    ];
    let output = common::run(&arguments);
    let message = is_one_line_and_status(&output, 4);
    assert!(message.contains("/dev/full"), "{message}");
    let kind = Path::new("/dev/full").metadata().expect("still there");
    assert!(!kind.is_file());
}

#[test]
fn inspect_says_what_is_in_a_capture() {
    let output = common::run(&["inspect", text(&race())]);
    assert!(output.status.success());
    let shown = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        shown.contains("ETHERNET") || shown.contains("RAW"),
        "{shown}"
    );
    let output = common::run(&["inspect", text(&race()), "--format", "json"]);
    let inspection: Value = serde_json::from_slice(&output.stdout).expect("valid JSON");
    let analysed = common::json(&race());
    assert_eq!(inspection["packets"], analysed["capture"]["packets"]);
    assert_eq!(inspection["bytes"], analysed["capture"]["bytes"]);
    assert_eq!(inspection["files"].as_array().map(Vec::len), Some(1));
}

/// Starts the program with a pipe to read, and waits until it listens to signals: it says that it
/// starts.
fn spawn_reading_pipe(arguments: &[&str]) -> (Child, BufReader<ChildStderr>) {
    let mut child = common::pcapdoc(arguments)
        .args(["--log", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut told = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    told.read_line(&mut line).expect("it says something");
    assert!(line.contains("\"start\""), "{line}");
    (child, told)
}

fn signal(child: &Child, name: &str) {
    let killed = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status();
    assert!(killed.expect("kill runs").success());
}

fn ends_soon(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "still running");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Frames of an hour later, more than a pipe holds: when they are written, what came before has been
/// read.
fn fill(pipe: &mut impl Write, capture: &[u8]) {
    const LENGTH: u32 = 60_000;
    let first = u32::from_le_bytes(capture[24..28].try_into().expect("four bytes"));
    let record = [first + 3_600, 0, LENGTH, LENGTH].map(u32::to_le_bytes);
    let frame = [record.concat(), vec![0; LENGTH as usize]].concat();
    pipe.write_all(&frame.repeat(8)).expect("the pipe takes it");
}

#[test]
fn an_interrupt_reports_what_was_read_though_the_pipe_stays_open() {
    let (mut child, _told) =
        spawn_reading_pipe(&["analyze", "-", "--format", "json", "--output", "-"]);
    let mut pipe = child.stdin.take().expect("piped");
    let bytes = std::fs::read(race()).expect("the capture");
    pipe.write_all(&bytes).expect("the pipe takes it");
    fill(&mut pipe, &bytes);
    signal(&child, "-INT");
    let mut output = child.stdout.take().expect("piped");
    let document = std::thread::spawn(move || serde_json::from_reader(&mut output));
    let status = ends_soon(&mut child);
    drop(pipe);
    assert_eq!(status.code(), Some(130));
    let document: Value = document.join().expect("it was read").expect("valid JSON");
    assert!(
        document["capture"]["quality"]
            .to_string()
            .contains("interrupted")
    );
    assert_eq!(document["findings"][0]["rule"], "keepalive-race");
}

#[test]
fn a_termination_ends_at_once_and_leaves_nothing() {
    let folder = folder("term");
    let (mut child, _told) = spawn_reading_pipe(&["analyze", "-", "-o", text(&folder)]);
    signal(&child, "-TERM");
    ends_soon(&mut child);
    let left = std::fs::read_dir(&folder).map_or(0, Iterator::count);
    assert_eq!(left, 0);
    std::fs::remove_dir_all(&folder).expect("the folder can go");
}
