//! Rules of the user's own: the examples of docs/own-rules.md find what they say, and what is wrong
//! is refused before a capture is read.

use std::fs;
use std::path::PathBuf;

use crate::common;
use serde_json::Value;
use tempfile::TempDir;

/// A capture below testdata/captures.
fn capture(name: &str) -> PathBuf {
    common::root().join("testdata/captures").join(name)
}

/// The examples: the capture on which each finds something, and its text.
fn examples() -> Vec<(String, String)> {
    let file = common::root().join("docs/own-rules.md");
    let text = fs::read_to_string(file).expect("docs/own-rules.md");
    let parts = text.split("<!-- finds: ").skip(1);
    parts
        .map(|part| {
            let (name, rest) = part.split_once(" -->").expect("a capture");
            let (_, rest) = rest.split_once("```toml\n").expect("a rule");
            let (rule, _) = rest.split_once("```").expect("its end");
            (name.to_owned(), rule.to_owned())
        })
        .collect()
}

fn rule_file(text: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rules.toml");
    fs::write(&file, text).expect("a file");
    let name = file.to_str().expect("UTF-8").to_owned();
    (folder, name)
}

fn of_user(document: &Value) -> Vec<&Value> {
    let findings = document["findings"].as_array().expect("findings");
    let mut own: Vec<&Value> = findings.iter().collect();
    own.retain(|finding| finding["origin"] == "user");
    own
}

/// What is said when the rule is refused: one line, and exit status 2.
fn refusal(text: &str) -> String {
    let (_folder, file) = rule_file(text);
    // There is no such capture: the rule is refused before anybody looks.
    let output = common::run(&["analyze", "/nowhere.pcap", "--rules", &file]);
    assert_eq!(output.status.code(), Some(2), "{text}");
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(told.lines().count(), 1, "{told}");
    told.replace(&file, "rules.toml")
}

const BASE: &str = "[[rule]]\nid = \"house-a\"\ntitle = \"A\"\non = \"requests\"\n";

#[test]
fn the_twelve_examples_find_what_they_say() {
    let examples = examples();
    assert_eq!(examples.len(), 12);
    for (name, text) in examples {
        let (_folder, file) = rule_file(&text);
        let document = common::json_with(&capture(&name), &["--rules", &file]);
        let own = of_user(&document);
        assert!(!own.is_empty(), "{name}: {text}");
        for finding in own {
            let evidence = finding["evidence"].as_array().expect("evidence");
            assert!(!evidence.is_empty(), "{name}: {text}");
            let title = finding["title"].as_str().expect("a title");
            assert!(!title.contains(['{', '}']), "{title}");
        }
    }
}

#[test]
fn what_is_wrong_is_refused_with_its_line_and_the_nearest_name() {
    let told = refusal(&format!("{BASE}when = \"wait_mss > 800\"\n"));
    assert!(
        told.contains("rules.toml:5: rule `house-a`: `when`"),
        "{told}"
    );
    assert!(
        told.contains("unknown column `wait_mss`; did you mean `wait_ms`?"),
        "{told}"
    );
    let told = refusal(&format!(
        "{BASE}when = '''\nwait_ms > 800\nand status == == 5\n'''\n"
    ));
    assert!(told.contains("rules.toml:7"), "{told}");
    let told = refusal(&format!("{BASE}when = \"server_port == '80'\"\n"));
    assert!(told.contains("`server_port` is a number"), "{told}");
    let told = refusal(&format!("{BASE}when = \"target is startswith '/a'\"\n"));
    assert!(told.contains("no test `startswith`"), "{told}");
    let told = refusal(&format!("{BASE}when = \"status == none\"\n"));
    assert!(told.contains("`status is none`"), "{told}");
    let told = refusal(&format!(
        "{BASE}when = \"answered\"\ngroup_by = [\"request_time\"]\n"
    ));
    assert!(told.contains("no end of groups"), "{told}");
    let told = refusal(&format!(
        "{BASE}when = \"answered\"\ngroup_by = [\"clint\"]\n"
    ));
    assert!(told.contains("did you mean `client`?"), "{told}");
    let told = refusal(&format!("{BASE}when = \"answered\"\nseverty = \"low\"\n"));
    assert!(
        told.contains("rules.toml:6") && told.contains("`severity`"),
        "{told}"
    );
    let twice = format!("{BASE}when = \"answered\"\n");
    let told = refusal(&format!("{twice}{twice}"));
    assert!(told.contains("already in rules.toml:1"), "{told}");
    let told = refusal(&twice.replace("house-a", "keepalive-race"));
    assert!(told.contains("is a rule of pcapdoc"), "{told}");
    let told = refusal(&twice.replace("\"A\"", "\"{clent}\""));
    assert!(told.contains("did you mean `client`?"), "{told}");
}

#[test]
fn they_can_be_selected_left_out_accepted_and_explained() {
    let (name, text) = examples().remove(4);
    let (folder, file) = rule_file(&text);
    let capture = capture(&name);
    let with = |more: &[&str]| {
        let arguments = [&["--rules", &file], more].concat();
        common::json_with(&capture, &arguments)
    };
    let only = with(&["--select", "house-*"]);
    let findings = only["findings"].as_array().expect("findings");
    assert_eq!((findings.len(), of_user(&only).len()), (1, 1));
    assert!(of_user(&with(&["--ignore", "house-clear-text"])).is_empty());
    let accepting = folder.path().join("pcapdoc.toml");
    let entry = "[[ignore]]\nrule = \"house-clear-text\"\nreason = \"known\"\n";
    fs::write(&accepting, entry).expect("a file");
    let accepted = with(&["--config", accepting.to_str().expect("UTF-8")]);
    assert!(of_user(&accepted).is_empty());
    let path = capture.to_str().expect("UTF-8");
    let failing = [
        "analyze",
        path,
        "--rules",
        &file,
        "--select",
        "house-*",
        "--summary",
    ];
    let failing = [&failing[..], &["--fail-on", "low"]].concat();
    assert_eq!(common::run(&failing).status.code(), Some(1));
    let explained = common::run(&["explain", "house-clear-text", "--rules", &file]);
    let explained = String::from_utf8(explained.stdout).expect("UTF-8");
    assert!(explained.contains("protocol == 'http1'"), "{explained}");
    let listed = common::run(&["rules", "--rules", &file]);
    let listed = String::from_utf8(listed.stdout).expect("UTF-8");
    assert!(listed.contains("Your own\n  house-clear-text"), "{listed}");
}

#[test]
fn every_report_and_the_dataset_show_them() {
    let (name, text) = examples().remove(4);
    let (folder, file) = rule_file(&text);
    let capture = capture(&name);
    let path = capture.to_str().expect("UTF-8");
    let out = folder.path().to_str().expect("UTF-8");
    for format in ["html", "md", "terminal", "summary"] {
        let arguments = ["analyze", path, "--rules", &file, "--select", "house-*"];
        let output = common::run(&[&arguments[..], &["--format", format, "-o", "-"]].concat());
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(text.contains("HTTP without TLS"), "{format}: {text}");
    }
    let sql = "SELECT rule, origin FROM findings WHERE origin = 'user'";
    let query = ["query", path, sql, "--rules", &file, "--format", "json"];
    let rows: Value = serde_json::from_slice(&common::run(&query).stdout).expect("JSON");
    assert_eq!(rows[0]["rule"], "house-clear-text");
    let archive = format!("{out}/archive");
    let batch = ["batch", path, "--out", &archive, "--rules", &file];
    assert!(common::run(&batch).status.success());
    let rows = common::run(&["query", &archive, sql, "--format", "json"]);
    let rows: Value = serde_json::from_slice(&rows.stdout).expect("JSON");
    assert_eq!(rows[0]["rule"], "house-clear-text");
}

#[test]
fn threads_change_nothing() {
    let rules: String = examples()
        .into_iter()
        .map(|(_, rule)| rule + "\n")
        .collect();
    let (_folder, file) = rule_file(&rules);
    let capture = capture("healthy/web-load.pcap.gz");
    let with = |threads| common::json_with(&capture, &["--rules", &file, "--threads", threads]);
    let one = with("1");
    assert_eq!(one["findings"], with("7")["findings"]);
    assert_eq!(one["checks"], with("2")["checks"]);
}

#[test]
fn conditions_speak_of_true_names_and_reports_of_masked_ones() {
    let text = "[[rule]]\nid = \"house-shop\"\ntitle = \"{host} fails\"\non = \"requests\"\n\
                when = \"host == 'shop.example' and status >= 500\"\ngroup_by = [\"host\"]\n";
    let (_folder, file) = rule_file(text);
    let capture = capture("http-error/backend-fails.pcap.gz");
    let document = common::json_with(&capture, &["--rules", &file, "--redact"]);
    assert_eq!(of_user(&document).len(), 1);
    assert!(!document.to_string().contains("shop.example"));
}
