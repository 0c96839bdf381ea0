//! `analyze --against`: what is new, worse, gone or better than on a good day.

use crate::common;
use serde_json::Value;

fn capture(name: &str) -> String {
    let path = common::root().join("testdata/captures").join(name);
    path.to_str().expect("UTF-8").to_owned()
}

/// The document of one capture laid against the report of another.
fn against(now: &str, good: &str) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("good.report.json");
    std::fs::write(&report, common::json_bytes(good.as_ref(), &[])).expect("a report");
    common::json_with(
        now.as_ref(),
        &["--against", report.to_str().expect("UTF-8")],
    )
}

fn changes(document: &Value) -> Vec<(&str, &str)> {
    let changes = document["against"]["findings"].as_array().expect("changes");
    let texts = changes.iter().map(|one| (&one["change"], &one["rule"]));
    texts
        .map(|(change, rule)| (change.as_str().unwrap(), rule.as_str().unwrap()))
        .collect()
}

#[test]
fn a_day_is_like_itself() {
    let race = capture("keepalive-race/late-write.pcap");
    let document = against(&race, &race);
    assert!(changes(&document).is_empty(), "{}", document["against"]);
    let figures = document["against"]["figures"].as_array().expect("figures");
    assert!(!figures.is_empty());
    assert!(figures.iter().all(|figure| figure["good"] == figure["now"]));
}

#[test]
fn what_only_one_day_has_is_new_or_gone() {
    let race = capture("keepalive-race/late-write.pcap");
    let healthy = capture("healthy/clean-close.pcap");
    let document = against(&race, &healthy);
    assert!(changes(&document).contains(&("new", "keepalive-race")));
    let document = against(&healthy, &race);
    assert!(changes(&document).contains(&("gone", "keepalive-race")));
}

#[test]
fn what_is_no_report_is_refused_before_the_work() {
    let race = capture("keepalive-race/late-write.pcap");
    let output = common::run(&["analyze", &race, "--against", &race]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("is no report that analyze --format json wrote"),
        "{said}"
    );
}
