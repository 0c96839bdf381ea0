//! Findings that explain each other, on real captures: which one each symptom is put down to.

use crate::common;
use serde_json::Value;

/// `(rule, rules of the findings that explain it)`, in the order of the report.
fn findings(capture: &str) -> Vec<(String, Vec<String>)> {
    let capture = common::root().join("testdata/captures").join(capture);
    let capture = capture.to_str().expect("UTF-8");
    let output = common::run(&["analyze", capture, "--format", "json", "-o", "-"]);
    assert!(output.status.success(), "{capture}");
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let findings = document["findings"].as_array().expect("findings");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let rule_of = |id: &Value| {
        let cause = findings.iter().find(|finding| finding["id"] == *id);
        text(&cause.expect("a finding")["rule"])
    };
    let causes = |finding: &Value| -> Vec<String> {
        let causes = finding["explained_by"].as_array().expect("causes");
        causes.iter().map(rule_of).collect()
    };
    findings
        .iter()
        .map(|finding| (text(&finding["rule"]), causes(finding)))
        .collect()
}

#[test]
fn symptoms_follow_their_causes() {
    for (capture, symptom, cause) in [
        // nginx listens on loopback and calls the application from another address.
        (
            "keepalive-race/nginx-proxy-502.pcap",
            "http-error",
            "keepalive-race",
        ),
        (
            "http-error/bad-gateway-any.pcap.gz",
            "http-error",
            "connection-refused",
        ),
        (
            "listen-overflow/callers-give-up.pcap",
            "client-timeout-close",
            "listen-overflow",
        ),
        (
            "listen-overflow/burst-at-client.pcap",
            "slow-response",
            "listen-overflow",
        ),
        (
            "retransmit-hol/some-of-many.pcap.gz",
            "retransmit-hol",
            "packet-loss",
        ),
    ] {
        let mut found = findings(capture);
        // What the same drop looks like to others stands beside, without a link of its own.
        found.retain(|(rule, _)| *rule == cause || *rule == symptom);
        let expected = vec![
            (cause.to_owned(), Vec::new()),
            (symptom.to_owned(), vec![cause.to_owned()]),
        ];
        assert_eq!(found, expected, "{capture}");
    }
}
