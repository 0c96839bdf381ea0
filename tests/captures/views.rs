//! Rules on less than the whole capture, or on one that was taken badly: one direction, frames cut,
//! begun or ended in mid-stream, frames missing, in the wrong order or there twice. Each may be
//! judged right or not be assessed, but never wrong.

use std::path::Path;

use serde_json::Value;
use tempfile::NamedTempFile;

use crate::frames::Frames;
use crate::{Lab, json, list};

/// Figures that measure one occurrence, so that fewer occurrences do not change them.
const OF_ONE_OCCURRENCE: [&str; 6] = [
    "idle_timeout_ms",
    "timeout_ms",
    "receive_buffer_bytes",
    "framing",
    "intended",
    "actual",
];

/// Frames at the head that stay where bursts are missing, so that some handshakes are whole.
const HEAD: usize = 20;

/// What missing bursts hide for good, by capture and rule: of datagrams nobody says what arrived, and
/// of a restart's six closes three are among the missing.
const HIDDEN_BY_BURSTS: [(&str, &str); 2] = [
    ("", "\"ip-fragment-loss\""),
    ("keepalive-race/restart.pcap", "\"keepalive-race\""),
];

/// Findings of medium or above that the truth neither expects nor allows, and figures of expected
/// ones that are not the truth's.
fn wrong(lab: &Lab, file: &Path) -> Vec<String> {
    let document = json(&lab.analysed_from(file, &[]));
    let expected = list(&lab.truth["expect"]["findings"]);
    let wanted = expected.iter().map(|wanted| &wanted["rule"]);
    let allowed: Vec<&Value> = wanted.chain(list(&lab.truth["expect"]["may"])).collect();
    let findings = list(&document["findings"]).iter();
    let harmful = findings.filter(|one| one["severity"] != "info" && one["severity"] != "low");
    let mut complaints = Vec::new();
    for finding in harmful {
        if !allowed.contains(&&finding["rule"]) {
            complaints.push(format!("{} ({})", finding["rule"], finding["title"]));
        }
        // Where several are expected, one of them must agree.
        let same = expected.iter().filter(|one| one["rule"] == finding["rule"]);
        let least = same
            .map(|one| wrong_figures(one, finding))
            .min_by_key(Vec::len);
        complaints.extend(least.into_iter().flatten());
    }
    complaints
}

/// What is measured otherwise than in truth, by more than the tolerance, 5 % and 2 ms.
fn wrong_figures(expected: &Value, finding: &Value) -> Vec<String> {
    let differs = |name: &&str| {
        let (truth, found) = (&expected["figures"][*name], &finding["figures"][*name]);
        if truth.is_null() || found.is_null() {
            return false;
        }
        match (truth["value"].as_f64(), found.as_f64()) {
            (Some(value), Some(found)) => {
                let tolerance = truth["tolerance"].as_f64().unwrap_or_default();
                (value - found).abs() > tolerance.max(value.abs() * 0.05).max(2.0)
            }
            // A view may hide the name or the address that belongs to it.
            _ => {
                let (truth, found) = (truth["value"].as_str(), found.as_str());
                !truth.unwrap_or_default().contains(found.unwrap_or("?"))
            }
        }
    };
    let names = OF_ONE_OCCURRENCE.iter().filter(|name| differs(name));
    names
        .map(|name| {
            format!(
                "{} {name} = {}, not {}",
                finding["rule"], finding["figures"][name], expected["figures"][name]["value"]
            )
        })
        .collect()
}

/// The parts and the spoilt copies of a capture, each with its name.
fn views(whole: &Frames) -> [(&'static str, NamedTempFile); 13] {
    let count = whole.frames.len();
    [
        ("cut to 128 octets", whole.write(128, |_, _| true)),
        ("cut to 96 octets", whole.write(96, |_, _| true)),
        (
            "cut to 68 octets, which cuts options and windows",
            whole.write(68, |_, _| true),
        ),
        (
            "in the wrong order",
            whole.swapped().write(usize::MAX, |_, _| true),
        ),
        (
            "everything twice",
            whole.doubled().write(usize::MAX, |_, _| true),
        ),
        (
            "long bursts missing",
            whole.write(usize::MAX, |number, _| number < HEAD || number % 97 >= 20),
        ),
        (
            "short bursts missing",
            whole.write(usize::MAX, |number, _| number < HEAD || number % 31 >= 3),
        ),
        (
            "begun in mid-stream",
            whole.write(usize::MAX, |number, _| number >= count * 3 / 10),
        ),
        (
            "the last quarter",
            whole.write(usize::MAX, |number, _| number >= count * 3 / 4),
        ),
        (
            "the first half",
            whole.write(usize::MAX, |number, _| number < count / 2),
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
    ]
}

pub fn complaints(lab: &Lab) -> Vec<String> {
    let whole = Frames::read(&lab.path);
    let name = lab.path.to_string_lossy();
    let mut complaints = Vec::new();
    for (view, file) in views(&whole) {
        let is_hidden = |finding: &str| {
            let mut hidden = HIDDEN_BY_BURSTS.iter();
            view.ends_with("bursts missing")
                && hidden.any(|(capture, rule)| name.contains(capture) && finding.starts_with(rule))
        };
        let found = wrong(lab, file.path()).into_iter();
        let found = found.filter(|finding| !is_hidden(finding));
        complaints.extend(found.map(|finding| format!("{view}: {finding}")));
    }
    complaints
}
