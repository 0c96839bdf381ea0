//! What really happened: findings with their severity, confidence, figures and connections.
//! `testdata/lab/README.md` says what a truth file may state.

use serde_json::Value;

use crate::{Lab, json, list, text};

const SEVERITIES: [&str; 5] = ["info", "low", "medium", "high", "critical"];

fn rank(severity: &Value) -> usize {
    let name = severity.as_str().expect("a severity");
    let rank = SEVERITIES.iter().position(|known| *known == name);
    rank.unwrap_or_else(|| panic!("{name} is no severity"))
}

pub fn complaints(lab: &Lab) -> Vec<String> {
    let document = json(&lab.analysed());
    let mut complaints = Vec::new();
    let findings = list(&document["findings"]);
    let expected = &lab.truth["expect"];
    for wanted in list(&expected["findings"]) {
        let rule = text(wanted, "rule");
        // Of several findings of a rule, one must be the wanted one.
        let same = findings.iter().filter(|one| text(one, "rule") == rule);
        let best = same.map(|one| wrong_with(one, wanted)).min_by_key(Vec::len);
        let missing = || vec!["not found".to_owned()];
        let wrong = best.unwrap_or_else(missing).into_iter();
        complaints.extend(wrong.map(|wrong| format!("{rule}: {wrong}")));
    }
    let wanted = list(&expected["findings"]).iter().map(|one| &one["rule"]);
    let allowed: Vec<&Value> = wanted.chain(list(&expected["may"])).collect();
    let limit = rank(&expected["none_at_or_above"]);
    for finding in findings {
        if !allowed.contains(&&finding["rule"]) && rank(&finding["severity"]) >= limit {
            let (rule, summary) = (text(finding, "rule"), text(finding, "summary"));
            complaints.push(format!("{rule} cries wolf: {summary}"));
        }
        complaints.extend(wrong_evidence(finding, &document));
    }
    if let Some(connections) = lab.truth["tcp_connections"].as_u64() {
        let listed = list(&document["connections"]).iter();
        let tcp = listed.filter(|row| text(row, "transport") == "tcp").count();
        if tcp as u64 != connections {
            complaints.push(format!("{tcp} TCP connections, not {connections}"));
        }
    }
    complaints
}

/// In what a finding is not the one that the truth file describes.
fn wrong_with(finding: &Value, wanted: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    if !wanted["occurrences"].is_null() && finding["occurrences"] != wanted["occurrences"] {
        let (found, wanted) = (&finding["occurrences"], &wanted["occurrences"]);
        wrong.push(format!("{found} occurrences, not {wanted}"));
    }
    let severity = &finding["severity"];
    if rank(severity) < rank(&wanted["severity_at_least"]) {
        let least = &wanted["severity_at_least"];
        wrong.push(format!("severity is {severity}, at least {least} was due"));
    }
    let most = &wanted["severity_at_most"];
    if !most.is_null() && rank(severity) > rank(most) {
        wrong.push(format!("severity is {severity}, at most {most} was due"));
    }
    let confidence = finding["confidence"].as_f64().expect("a confidence");
    let bound = |name: &str| wanted[name].as_f64();
    if let Some(least) = bound("confidence_at_least").filter(|least| confidence < *least) {
        wrong.push(format!("confidence is {confidence}, not {least} or more"));
    }
    if let Some(most) = bound("confidence_at_most").filter(|most| confidence > *most) {
        wrong.push(format!("confidence is {confidence}, not {most} or less"));
    }
    wrong.extend(wrong_figures(finding, wanted));
    let clients = |one: &Value| {
        let rows = list(&one["connections"]).iter();
        let mut clients: Vec<String> = rows.map(|row| text(row, "client").to_owned()).collect();
        clients.sort();
        clients
    };
    let (found, due) = (clients(finding), clients(wanted));
    if !wanted["connections"].is_null() && found != due {
        wrong.push(format!("connections of {found:?}, not {due:?}"));
    }
    wrong
}

fn wrong_figures(finding: &Value, wanted: &Value) -> Vec<String> {
    let figures = wanted["figures"].as_object().into_iter().flatten();
    let wrong = figures.filter_map(|(name, due)| {
        let (found, value) = (&finding["figures"][name], &due["value"]);
        let agrees = match value.as_f64() {
            Some(value) => found.as_f64().is_some_and(|found| {
                let tolerance = due["tolerance"].as_f64().expect("a tolerance");
                (found - value).abs() <= tolerance
            }),
            None => found == value,
        };
        let tolerance = &due["tolerance"];
        (!agrees).then(|| format!("{name} is {found}, not {value} ± {tolerance}"))
    });
    wrong.collect()
}

/// Every finding cites frames, and those are frames of the capture.
fn wrong_evidence(finding: &Value, document: &Value) -> Vec<String> {
    let rule = text(finding, "rule");
    let packets = document["capture"]["packets"].as_u64().expect("packets");
    let evidence = list(&finding["evidence"]);
    if evidence.is_empty() {
        return vec![format!("{rule}: no evidence")];
    }
    let frames = evidence.iter().map(|item| &item["frame"]);
    let wrong = frames.filter(|frame| {
        let frame = frame.as_u64();
        !frame.is_some_and(|frame| (1..=packets).contains(&frame))
    });
    wrong
        .map(|frame| format!("{rule}: frame {frame} of {packets}"))
        .collect()
}
