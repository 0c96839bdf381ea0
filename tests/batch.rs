//! Archives end to end: what is found, what is done again, what survives a kill, what is told.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use crate::common;
use crate::common::first_captures as captures;
use serde_json::Value;
use tempfile::TempDir;

/// An archive of two hosts, with a broken file and one that is no capture.
fn archive() -> TempDir {
    archive_of(&captures())
}

fn archive_of(captures: &[PathBuf]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (index, capture) in captures.iter().enumerate() {
        let host = folder.path().join(format!("host{}", index % 2));
        fs::create_dir_all(&host).expect("a folder");
        let ending = capture.extension().expect("an ending").to_string_lossy();
        let copy = host.join(format!("net{index}x.{ending}"));
        fs::copy(capture, copy).expect("a copy");
    }
    fs::write(folder.path().join("host0/broken.pcap"), [7; 3000]).expect("a broken file");
    fs::write(folder.path().join("host0/notes.txt"), "nothing").expect("a text");
    folder
}

fn batch(archive: &Path, out: &Path, more: &[&str]) -> Output {
    let paths = [archive, out].map(|path| path.to_str().expect("UTF-8"));
    let mut arguments = vec!["batch", paths[0], "--out", paths[1]];
    arguments.extend(more);
    common::run(&arguments)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn query(path: &Path, sql: &str) -> Vec<Value> {
    let path = path.to_str().expect("UTF-8");
    let output = common::run(&["query", path, sql, "--format", "json"]);
    assert!(output.status.success(), "{sql}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn summary(out: &Path) -> Value {
    let text = fs::read(out.join("summary.json")).expect("a summary");
    serde_json::from_slice(&text).expect("JSON")
}

/// Every file of the dataset with its bytes.
fn dataset(out: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![out.join("dataset")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(out).expect("below").to_owned();
                files.insert(name, fs::read(&path).expect("a file"));
            }
        }
    }
    files
}

#[test]
fn an_archive_gives_reports_dataset_and_roll_up_once() {
    let (archive, out) = (archive(), tempfile::tempdir().expect("a folder"));
    let sets = captures().len();
    let first = batch(archive.path(), out.path(), &[]);
    assert!(first.status.success(), "{}", text(&first.stderr));
    let told = text(&first.stderr);
    assert!(told.contains("broken.pcap: left out"), "{told}");
    let result = summary(out.path());
    assert_eq!(result["run"]["analysed"], sets);
    assert_eq!(result["broken"].as_array().expect("a list").len(), 1);
    let rows = query(out.path(), "SELECT count(*) AS n FROM captures");
    assert_eq!(rows[0]["n"], sets);
    let page = fs::read_to_string(out.path().join("rollup.html")).expect("the page");
    let rule = result["heat"]["rows"][0]["rule"].as_str().expect("a rule");
    assert!(page.contains(rule) && page.contains("broken.pcap"));
    let report = result["worst"][0]["report"].as_str().expect("a report");
    assert!(out.path().join(report).is_file(), "{report}");

    let before = dataset(out.path());
    let second = batch(archive.path(), out.path(), &[]);
    assert!(second.status.success());
    let result = summary(out.path());
    assert_eq!(result["run"]["analysed"], 0);
    assert_eq!(result["run"]["unchanged"], sets);
    assert_eq!(result["new"].as_array().expect("a list").len(), 0);
    assert_eq!(before, dataset(out.path()));
}

#[test]
fn a_capture_that_grows_is_read_again_and_counted_once() {
    let (archive, out) = (archive(), tempfile::tempdir().expect("a folder"));
    let capture = archive.path().join("host1/growing.pcap");
    let whole = fs::read(common::root().join("testdata/captures/keepalive-race/late-write.pcap"))
        .expect("a capture");
    fs::write(&capture, &whole[..whole.len() / 2]).expect("half of it");
    batch(archive.path(), out.path(), &[]);
    let sql = "SELECT count(*) AS n FROM connections WHERE capture_set LIKE '%growing%'";
    let half = query(out.path(), sql)[0]["n"].as_u64().expect("a number");
    let sql_others = "SELECT capture_set, COUNT(*) AS n, SUM(packets) AS packets FROM connections \
                      WHERE capture_set NOT LIKE '%growing%' GROUP BY capture_set ORDER BY capture_set";
    let others = query(out.path(), sql_others);
    fs::write(&capture, &whole).expect("all of it");
    batch(archive.path(), out.path(), &[]);
    assert_eq!(summary(out.path())["run"]["analysed"], 1);
    let all = query(out.path(), sql)[0]["n"].as_u64().expect("a number");
    assert!(all >= half && all > 0, "{half} {all}");
    let captures = "SELECT count(*) AS n FROM captures WHERE capture_set LIKE '%growing%'";
    assert_eq!(query(out.path(), captures)[0]["n"], 1);
    assert_eq!(query(out.path(), sql_others), others, "other sets stay");
    let stray = out.path().join("reports/stray.report.html");
    fs::write(&stray, "of a run that was killed").expect("written");
    batch(archive.path(), out.path(), &[]);
    assert_eq!(query(out.path(), sql_others), others, "nothing was swept");
    assert!(!stray.exists());
}

#[test]
fn rows_of_captures_that_share_a_file_outlive_the_one_that_changes() {
    let (archive, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let capture = common::root().join("testdata/captures/keepalive-race/late-write.pcap");
    let whole = fs::read(&capture).expect("a capture");
    for name in ["ax.pcap", "bx.pcap", "cx.pcap"] {
        fs::write(archive.path().join(name), &whole).expect("a copy");
    }
    fs::write(archive.path().join("cx.pcap"), &whole[..whole.len() / 2]).expect("half of it");
    batch(archive.path(), out.path(), &[]);
    let files = |out: &Path| {
        let files = dataset(out).into_keys();
        files
            .filter(|file| file.starts_with("dataset/connections"))
            .count()
    };
    assert_eq!(files(out.path()), 1, "three small captures, one file");
    fs::write(archive.path().join("cx.pcap"), &whole).expect("all of it");
    batch(archive.path(), out.path(), &[]);
    assert_eq!(summary(out.path())["run"]["analysed"], 1);
    assert_eq!(files(out.path()), 2);
    let sql = "SELECT client, server, packets, first_frame FROM connections \
               WHERE capture_set LIKE '%NAME' ORDER BY first_frame";
    let [a, b, c] =
        ["ax.pcap", "bx.pcap", "cx.pcap"].map(|name| query(out.path(), &sql.replace("NAME", name)));
    assert!(!a.is_empty() && a == b && a == c, "{a:?} {b:?} {c:?}");
    let before = dataset(out.path());
    batch(archive.path(), out.path(), &[]);
    assert!(
        before == dataset(out.path()),
        "nothing is swept that is known"
    );
}

/// Where the records of a little-endian pcap file begin, and its end.
fn records(pcap: &[u8]) -> Vec<usize> {
    let mut starts = vec![24];
    while let Some(header) = pcap
        .get(starts[starts.len() - 1]..)
        .filter(|rest| rest.len() > 16)
    {
        let length = u32::from_le_bytes(header[8..12].try_into().expect("four bytes"));
        starts.push(starts[starts.len() - 1] + 16 + length as usize);
    }
    starts
}

#[test]
fn a_ring_that_comes_round_loses_nothing_and_counts_nothing_twice() {
    let (archive, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let whole = fs::read(common::root().join("testdata/captures/keepalive-race/late-write.pcap"))
        .expect("a capture");
    let at = records(&whole);
    let frames = at.len() - 1;
    let write = |name: &str, from: usize, to: usize| {
        let part = [&whole[..24], &whole[at[from]..at[to]]].concat();
        fs::write(archive.path().join(name), part).expect("a part");
    };
    let sum = |sql: &str| query(out.path(), sql)[0]["n"].as_u64().expect("a number");
    let packets = "SELECT SUM(packets) AS n FROM connections";
    let third = frames / 3;
    write("ring.pcap00", 0, third);
    write("ring.pcap01", third, third + 9);
    batch(archive.path(), out.path(), &[]);
    // The first file is written anew, and the second was not complete.
    write("ring.pcap01", third, 2 * third);
    write("ring.pcap00", 2 * third, frames - 5);
    batch(archive.path(), out.path(), &[]);
    assert_eq!(summary(out.path())["run"]["analysed"], 1);
    assert_eq!(sum(packets), frames as u64 - 5);
    assert_eq!(sum("SELECT COUNT(*) AS n FROM captures"), 2);
    // What grows now belongs to the second part.
    write("ring.pcap00", 2 * third, frames);
    batch(archive.path(), out.path(), &["--refresh", "--retry"]);
    assert_eq!(summary(out.path())["run"]["analysed"], 1);
    assert_eq!(sum(packets), frames as u64);
    batch(archive.path(), out.path(), &["--refresh"]);
    assert_eq!(summary(out.path())["run"]["analysed"], 0);
}

#[test]
fn parts_of_a_rotation_are_one_capture() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = fs::read(common::root().join("testdata/captures/keepalive-race/late-write.pcap"))
        .expect("a capture");
    // Cut between two records, as tcpdump -C does: each part has the file header.
    let starts = records(&whole);
    let at = starts[starts.len() / 2];
    let parts = [whole[..at].to_vec(), [&whole[..24], &whole[at..]].concat()];
    for (part, name) in parts.iter().zip(["web.pcap", "web.pcap1"]) {
        fs::write(folder.path().join(name), part).expect("a part");
    }
    let single = tempfile::tempdir().expect("a folder");
    fs::write(single.path().join("web.pcap"), &whole).expect("the whole");
    let rows = |archive: &Path| {
        let out = tempfile::tempdir().expect("a folder");
        let output = batch(archive, out.path(), &[]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let sql = "SELECT client, server, packets, first_frame, close FROM connections ORDER BY first_frame";
        (
            query(out.path(), sql),
            query(out.path(), "SELECT files FROM captures"),
        )
    };
    let (split, files) = rows(folder.path());
    assert_eq!(files.len(), 1);
    assert_eq!(files[0]["files"], 2);
    assert_eq!(split, rows(single.path()).0);
}

#[test]
fn kill_at_any_moment_then_resume_gives_the_same_dataset() {
    // Few captures, so that the moments lie close together.
    let captures: Vec<PathBuf> = captures().into_iter().step_by(4).collect();
    let archive = archive_of(&captures);
    let reference = tempfile::tempdir().expect("a folder");
    let started = Instant::now();
    batch(archive.path(), reference.path(), &[]);
    let whole = started.elapsed();
    let expected = dataset(reference.path());
    assert!(!expected.is_empty());
    for moment in 0..20_u32 {
        let out = tempfile::tempdir().expect("a folder");
        let paths = [archive.path(), out.path()].map(|path| path.to_str().expect("UTF-8"));
        let mut child = common::pcapdoc(&["batch", paths[0], "--out", paths[1]])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        std::thread::sleep(whole * moment / 20 + Duration::from_micros(137 * u64::from(moment)));
        // On Unix this is SIGKILL.
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
        let resumed = batch(archive.path(), out.path(), &[]);
        assert!(resumed.status.success(), "{}", text(&resumed.stderr));
        assert!(
            expected == dataset(out.path()),
            "another dataset after moment {moment}"
        );
        assert!(
            !out.path().join(".work").exists()
                || fs::read_dir(out.path().join(".work"))
                    .expect("a folder")
                    .count()
                    == 0
        );
    }
}

#[test]
fn a_second_run_on_the_same_folder_is_refused() {
    let (archive, out) = (archive(), tempfile::tempdir().expect("a folder"));
    let lock = File::create(out.path().join(".lock")).expect("the lock");
    lock.lock().expect("locked");
    let output = batch(archive.path(), out.path(), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("another run is using"));
}

#[test]
fn statuses_retry_and_logs() {
    let (archive, out) = (archive(), tempfile::tempdir().expect("a folder"));
    let failing = batch(
        archive.path(),
        out.path(),
        &["--fail-on", "medium", "--log", "json"],
    );
    assert_eq!(failing.status.code(), Some(1));
    for line in text(&failing.stderr).lines() {
        let event: Value = serde_json::from_str(line).expect("one JSON object a line");
        assert!(event["event"].is_string(), "{line}");
    }
    let again = batch(archive.path(), out.path(), &["--fail-on", "medium"]);
    assert_eq!(
        again.status.code(),
        Some(1),
        "what was found before still counts"
    );
    // The broken file is mended: a change is noticed without --retry.
    let good = &captures()[0];
    fs::copy(good, archive.path().join("host0/broken.pcap")).expect("a copy");
    batch(archive.path(), out.path(), &[]);
    let result = summary(out.path());
    assert_eq!(result["run"]["analysed"], 1);
    assert_eq!(result["broken"].as_array().expect("a list").len(), 0);
    let only_broken = tempfile::tempdir().expect("a folder");
    let mut file = File::create(only_broken.path().join("a.pcap")).expect("a file");
    file.write_all(&[9; 100]).expect("written");
    let output = tempfile::tempdir().expect("a folder");
    assert_eq!(
        batch(only_broken.path(), output.path(), &[]).status.code(),
        Some(3)
    );
}

#[test]
fn an_analysis_tells_programs_what_it_does() {
    let (archive, out) = (archive(), tempfile::tempdir().expect("a folder"));
    let capture = common::root().join("testdata/captures/keepalive-race/late-write.pcap");
    let missing = archive.path().join("missing.pcap");
    let to = out.path().to_str().expect("UTF-8");
    let events = |capture: &Path, more: &[&str]| {
        let capture = capture.to_str().expect("UTF-8");
        let arguments = [&["analyze", capture, "-o", to, "--log", "json"], more].concat();
        let told = text(&common::run(&arguments).stderr);
        let lines = told
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        lines.collect::<Vec<Value>>()
    };
    let told = events(&capture, &["--evidence", to]);
    let names: Vec<&str> = told
        .iter()
        .filter_map(|event| event["event"].as_str())
        .collect();
    assert_eq!(names.first(), Some(&"start"));
    assert_eq!(names.last(), Some(&"end"));
    assert!(names.contains(&"wrote"), "{names:?}");
    assert!(
        told.last()
            .is_some_and(|end| end["findings"].as_u64() > Some(0))
    );
    let failed = events(&missing, &[]);
    let message = failed.last().and_then(|last| last["message"].as_str());
    assert!(message.is_some_and(|message| message.contains("missing.pcap")));
}

#[test]
fn an_accepted_finding_counts_again_when_it_expires() {
    let archive = archive();
    let config = archive.path().join("pcapdoc.toml");
    let status = |expires: &str| {
        let entry =
            format!("[[ignore]]\nrule = \"*\"\nreason = \"known\"\nexpires = \"{expires}\"\n");
        fs::write(&config, entry).expect("written");
        let out = tempfile::tempdir().expect("a folder");
        let config = config.to_str().expect("UTF-8");
        let more = ["--config", config, "--fail-on", "medium"];
        batch(archive.path(), out.path(), &more).status.code()
    };
    assert_eq!(status("2099-12-31"), Some(0));
    assert_eq!(status("1999-12-31"), Some(1));
}

#[test]
fn selected_rules_alone_are_judged() {
    let (archive, out) = (archive(), tempfile::tempdir().expect("a folder"));
    batch(archive.path(), out.path(), &[]);
    let sql = "SELECT DISTINCT rule FROM findings ORDER BY rule";
    let all = query(out.path(), sql);
    let one = all[all.len() / 2]["rule"].as_str().expect("a rule");
    batch(archive.path(), out.path(), &["--select", one, "--refresh"]);
    let rules = query(out.path(), sql);
    assert_eq!(rules.len(), 1, "{rules:?}");
    assert_eq!(rules[0]["rule"], one);
}

#[test]
fn dry_run_writes_nothing() {
    let (archive, out) = (archive(), tempfile::tempdir().expect("a folder"));
    let target = out.path().join("new");
    let output = batch(archive.path(), &target, &["--dry-run"]);
    assert!(output.status.success());
    let told = text(&output.stdout);
    assert_eq!(
        told.lines().filter(|line| line.starts_with("new ")).count(),
        captures().len()
    );
    assert!(!target.exists());
}

#[test]
fn an_ignore_entry_hides_what_it_names_and_one_that_matches_nothing_is_told() {
    let (archive, out) = (archive(), tempfile::tempdir().expect("a folder"));
    let config = archive.path().join("pcapdoc.toml");
    let entries = "[[ignore]]\nrule = \"*\"\nreason = \"all known\"\n\
                   [[ignore]]\nrule = \"keepalive-race\"\nserver = \"192.0.2.1\"\nreason = \"no such server\"\n";
    fs::write(&config, entries).expect("written");
    let config = config.to_str().expect("UTF-8");
    let output = batch(
        archive.path(),
        out.path(),
        &["--config", config, "--fail-on", "info"],
    );
    assert!(output.status.success(), "nothing is left to fail on");
    let result = summary(out.path());
    assert_eq!(result["severity"], Value::Null);
    let notices = result["notices"].to_string();
    assert!(
        notices.contains("192.0.2.1 matched no finding"),
        "{notices}"
    );
    assert!(
        !notices.contains("entry for * matched no finding"),
        "{notices}"
    );
    // Other settings: what is done stays, until it is asked for.
    batch(archive.path(), out.path(), &[]);
    assert_eq!(summary(out.path())["run"]["analysed"], 0);
    assert_eq!(
        summary(out.path())["run"]["other_settings"],
        captures().len()
    );
    batch(archive.path(), out.path(), &["--refresh"]);
    let result = summary(out.path());
    assert_eq!(result["run"]["analysed"], captures().len());
    assert!(!result["new"].as_array().expect("a list").is_empty());
}

#[test]
fn a_baseline_tells_what_is_new() {
    let (archive, before) = (archive(), tempfile::tempdir().expect("a folder"));
    let now = tempfile::tempdir().expect("a folder");
    batch(archive.path(), before.path(), &[]);
    let capture = common::root().join("testdata/captures/keepalive-race/late-write.pcap");
    fs::copy(capture, archive.path().join("host1/worse.pcap")).expect("a copy");
    let baseline = before.path().to_str().expect("UTF-8");
    batch(archive.path(), now.path(), &["--baseline", baseline]);
    let result = summary(now.path());
    let new = result["new"].as_array().expect("a list");
    assert!(
        new.iter()
            .all(|finding| finding["set"].as_str().expect("text").contains("worse"))
    );
    assert!(!new.is_empty());
    assert!(result["gone"].as_array().expect("a list").is_empty());
}
