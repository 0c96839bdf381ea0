//! Every lab capture against what really happened: findings, connections, figures.

mod common;

use serde_json::Value;

const SEVERITIES: [&str; 5] = ["info", "low", "medium", "high", "critical"];

fn rank(severity: &Value) -> usize {
    let name = severity.as_str().expect("a severity");
    SEVERITIES
        .iter()
        .position(|known| *known == name)
        .expect("a known severity")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// What the truth file says the user tells the program.
fn arguments(truth: &Value) -> Vec<&str> {
    let listed = truth["arguments"].as_array();
    let listed = listed.map(Vec::as_slice).unwrap_or_default();
    listed.iter().filter_map(Value::as_str).collect()
}

#[test]
fn findings_agree_with_the_truth_files() {
    for (capture, truth) in common::captures_with_truth() {
        let document = common::json_with(&capture, &arguments(&truth));
        let name = capture.display();
        let findings = document["findings"].as_array().expect("findings");
        let expected = truth["expect"]["findings"]
            .as_array()
            .expect("expectations");
        for wanted in expected {
            let rule = text(wanted, "rule");
            let finding = findings
                .iter()
                .find(|finding| text(finding, "rule") == rule)
                .unwrap_or_else(|| panic!("{name}: no {rule}"));
            assert!(
                wanted["occurrences"].is_null() || finding["occurrences"] == wanted["occurrences"],
                "{name}: occurrences of {rule}"
            );
            check_figures(&name.to_string(), finding, wanted);
            check_connections(&name.to_string(), finding, wanted);
            assert!(
                rank(&finding["severity"]) >= rank(&wanted["severity_at_least"]),
                "{name}: severity of {rule}"
            );
        }
        let allowed = |rule: &str| {
            expected.iter().any(|wanted| text(wanted, "rule") == rule)
                || truth["expect"]["may"]
                    .as_array()
                    .is_some_and(|may| may.iter().any(|other| other == rule))
        };
        let limit = rank(&truth["expect"]["none_at_or_above"]);
        for finding in findings {
            let rule = text(finding, "rule");
            assert!(
                allowed(rule) || rank(&finding["severity"]) < limit,
                "{name}: {rule} cries wolf: {}",
                text(finding, "summary")
            );
        }
        if let Some(connections) = truth["tcp_connections"].as_u64() {
            let listed = document["connections"].as_array().expect("connections");
            let tcp = listed.iter().filter(|row| text(row, "transport") == "tcp");
            assert_eq!(tcp.count() as u64, connections, "{name}: connections");
        }
    }
}

fn check_figures(name: &str, finding: &Value, wanted: &Value) {
    let Some(figures) = wanted["figures"].as_object() else {
        return;
    };
    for (figure, expectation) in figures {
        if expectation["value"].is_string() {
            let measured = &finding["figures"][figure];
            assert_eq!(*measured, expectation["value"], "{name}: {figure}");
            continue;
        }
        let measured = finding["figures"][figure].as_f64().expect("a number");
        let value = expectation["value"].as_f64().expect("a number");
        let tolerance = expectation["tolerance"].as_f64().expect("a number");
        assert!(
            (measured - value).abs() <= tolerance,
            "{name}: {figure} is {measured}, not {value} ± {tolerance}"
        );
    }
}

fn check_connections(name: &str, finding: &Value, wanted: &Value) {
    let listed = finding["connections"].as_array().expect("connections");
    let clients = |rows: &[Value]| {
        let mut clients: Vec<String> = rows
            .iter()
            .map(|row| text(row, "client").to_owned())
            .collect();
        clients.sort();
        clients
    };
    let expected = wanted["connections"].as_array().expect("connections");
    assert_eq!(clients(listed), clients(expected), "{name}: connections");
}

#[test]
fn evidence_names_frames_of_the_capture() {
    for (capture, truth) in common::captures_with_truth() {
        let document = common::json_with(&capture, &arguments(&truth));
        let packets = document["capture"]["packets"].as_u64().expect("packets");
        for finding in document["findings"].as_array().expect("findings") {
            let evidence = finding["evidence"].as_array().expect("evidence");
            assert!(!evidence.is_empty(), "{}: no evidence", capture.display());
            for item in evidence {
                let frame = item["frame"].as_u64().expect("a frame");
                assert!((1..=packets).contains(&frame), "frame {frame} of {packets}");
            }
        }
    }
}
