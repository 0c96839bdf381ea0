//! Rules on less than the whole capture: one direction, frames cut to 128 octets, begun or ended in
//! mid-stream. Each may be judged right or not be assessed, but never wrong.

mod common;
mod frames;

use std::path::Path;

use frames::Frames;
use serde_json::Value;

/// Findings of medium or above that the truth neither expects nor allows.
fn wrong(capture: &Path, truth: &Value) -> Vec<String> {
    let arguments = truth["arguments"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let arguments: Vec<&str> = arguments.iter().filter_map(Value::as_str).collect();
    let document = common::json_with(capture, &arguments);
    let expected = truth["expect"]["findings"]
        .as_array()
        .expect("expectations")
        .iter();
    let may = truth["expect"]["may"].as_array().expect("rules").iter();
    let allowed: Vec<&Value> = expected.map(|wanted| &wanted["rule"]).chain(may).collect();
    let findings = document["findings"].as_array().expect("findings").iter();
    findings
        .filter(|finding| {
            finding["severity"] != "info"
                && finding["severity"] != "low"
                && !allowed.contains(&&finding["rule"])
        })
        .map(|finding| format!("{} ({})", finding["rule"], finding["title"]))
        .collect()
}

#[test]
fn partial_captures_are_never_judged_wrong() {
    let mut failures = Vec::new();
    for (capture, truth) in common::captures_with_truth() {
        let whole = Frames::read(&capture);
        let count = whole.frames.len();
        let views = [
            ("cut to 128 octets", whole.write(128, |_, _| true)),
            (
                "begun in mid-stream",
                whole.write(usize::MAX, |number, _| number >= count * 3 / 10),
            ),
            (
                "ended early",
                whole.write(usize::MAX, |number, _| number < count * 7 / 10),
            ),
            (
                "client only",
                whole.write(usize::MAX, |_, octets| whole.is_from_client(octets)),
            ),
            (
                "server only",
                whole.write(usize::MAX, |_, octets| !whole.is_from_client(octets)),
            ),
        ];
        for (view, file) in views {
            for finding in wrong(file.path(), &truth) {
                failures.push(format!("{}, {view}: {finding}", capture.display()));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
