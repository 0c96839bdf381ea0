//! Captures with what the hosts' tools said beside them (`testdata/lab/host_evidence.py`).

use std::path::{Path, PathBuf};

use crate::common;
use serde_json::Value;

fn cases() -> Vec<PathBuf> {
    let folder = common::root().join("testdata/host-evidence");
    let entries = std::fs::read_dir(folder).expect("the folder of cases");
    let mut cases: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    cases.sort();
    cases
}

fn capture(case: &Path) -> PathBuf {
    let plain = case.join("capture.pcap");
    if plain.is_file() {
        plain
    } else {
        case.join("capture.pcap.gz")
    }
}

/// The folders of hosts, as arguments.
fn hosts(case: &Path) -> Vec<String> {
    let sides = ["client", "server"].map(|side| case.join(side));
    let there = sides.iter().filter(|side| side.is_dir());
    there.map(|side| side.display().to_string()).collect()
}

fn analysed(case: &Path, more: &[&str]) -> Value {
    let hosts = hosts(case);
    let mut arguments = vec!["--host-evidence"];
    arguments.extend(hosts.iter().map(String::as_str));
    arguments.extend(more);
    common::json_with(&capture(case), &arguments)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn expected(case: &Path) -> Value {
    let text = std::fs::read_to_string(case.join("expect.json")).expect("what is expected");
    serde_json::from_str(&text).expect("valid JSON")
}

#[test]
fn each_case_names_its_rule_and_cites_its_line() {
    for case in cases() {
        let name = case.display();
        let (expect, document) = (expected(&case), analysed(&case, &[]));
        let findings = list(&document, "findings");
        let Some(rule) = expect["rule"].as_str() else {
            let absent = text(&expect, "absent");
            assert!(
                findings.iter().all(|one| text(one, "rule") != absent),
                "{name}"
            );
            if absent.is_empty() {
                let is_harmless = |one: &Value| matches!(text(one, "severity"), "info" | "low");
                assert!(findings.iter().all(is_harmless), "{name}");
            }
            continue;
        };
        let finding = findings.iter().find(|one| text(one, "rule") == rule);
        let finding = finding.unwrap_or_else(|| panic!("{name}: no {rule}"));
        let lines = list(finding, "host_evidence");
        for wanted in list(&expect, "lines") {
            let fits = |line: &&Value| {
                text(line, "file").ends_with(text(wanted, "file"))
                    && text(line, "says") == text(wanted, "says")
                    && text(line, "text").contains(text(wanted, "text"))
            };
            let line = lines.iter().find(fits);
            let line = line.unwrap_or_else(|| panic!("{name}: {wanted} not in {lines:#?}"));
            let file = std::fs::read_to_string(text(line, "file")).expect("the cited file");
            let number = line["line"].as_u64().expect("a line") as usize;
            let there = file.lines().nth(number - 1).unwrap_or_default();
            assert!(
                there.starts_with(text(line, "text").trim_end_matches('…')),
                "{name}"
            );
        }
        if let Some(process) = expect["process"].as_str() {
            let known = list(&document, "connections").iter();
            let mut named = known.map(|one| text(&one["process"], "name"));
            assert!(
                named.any(|one| one == process),
                "{name}: no process {process}"
            );
        }
    }
}

#[test]
fn support_raises_the_confidence_and_the_turned_finding_says_so() {
    let folder = common::root().join("testdata/host-evidence");
    let confidence = |document: &Value, rule: &str| {
        let findings = list(document, "findings").iter();
        let mut of_rule = findings.filter(|one| text(one, "rule") == rule);
        of_rule.find_map(|one| one["confidence"].as_f64())
    };
    for (case, rule) in [
        ("fin-wait-2", "client-timeout-close"),
        ("linger-zero", "linger-zero-reset"),
    ] {
        let case = folder.join(case);
        let with = confidence(&analysed(&case, &[]), rule);
        let without = confidence(&common::json(&capture(&case)), rule);
        assert!(
            with >= without && with.is_some(),
            "{rule}: {with:?} after {without:?}"
        );
    }
    let case = folder.join("contradiction");
    let alone = common::json(&capture(&case));
    assert!(confidence(&alone, "linger-zero-reset").is_some());
    let turned = analysed(&case, &[]);
    assert!(confidence(&turned, "linger-zero-reset").is_none());
    let notes = list(&turned, "findings")
        .iter()
        .flat_map(|one| list(one, "host_evidence"));
    let mut notes = notes.map(|line| text(line, "note"));
    assert!(notes.any(|note| note.contains("the packets alone read as linger-zero")));
}

#[test]
fn another_hosts_files_are_not_used() {
    let folder = common::root().join("testdata/host-evidence");
    let other = std::env::temp_dir().join(format!("pcapdoc-other-{}", std::process::id()));
    std::fs::create_dir_all(&other).expect("a folder");
    let lines = "State Recv-Q Send-Q Local Address:Port Peer Address:Port Process\n\
                 FIN-WAIT-2 0 0 192.0.2.7:40000 192.0.2.9:80 users:((\"other\",pid=1,fd=3))\n";
    std::fs::write(other.join("ss.txt"), lines).expect("written");
    std::fs::write(other.join("picture.png"), b"\x89PNG\0\0\x01").expect("written");
    let path = other.display().to_string();
    let capture = capture(&folder.join("fin-wait-2"));
    let document = common::json_with(&capture, &["--host-evidence", &path]);
    let files = list(&document, "host_evidence");
    let of_kind = |kind: &str| files.iter().find(|file| text(file, "kind") == kind);
    let ss = of_kind("ss").expect("the snapshot");
    assert_eq!(ss["used"], 0);
    assert_eq!(ss["host"], "192.0.2.7");
    assert!(text(ss, "note").contains("another host"));
    assert!(of_kind("unknown").is_some());
    let _ = std::fs::remove_dir_all(other);
}

/// A case with one file in another form, as a document.
fn with_file(case: &str, name: &str, text: &str, more: &[&str]) -> Value {
    let folder = std::env::temp_dir().join(format!("pcapdoc-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join(name), text).expect("written");
    let path = folder.display().to_string();
    let case = common::root().join("testdata/host-evidence").join(case);
    let arguments = [&["--host-evidence", &path], more].concat();
    let document = common::json_with(&capture(&case), &arguments);
    let _ = std::fs::remove_dir_all(folder);
    document
}

/// What a case's file says.
fn said(file: &str) -> String {
    let folder = common::root().join("testdata/host-evidence");
    std::fs::read_to_string(folder.join(file)).expect("a file of the case")
}

/// A trace without what `-yy` adds.
fn plain(trace: &str) -> String {
    let mut text = String::new();
    let mut rest = trace;
    while let Some(open) = rest.find("<TCP").or_else(|| rest.find("<UDP")) {
        text.push_str(&rest[..open]);
        let close = rest[open..]
            .find("]>")
            .map_or(rest.len(), |close| open + close + 2);
        rest = &rest[close..];
    }
    text + rest
}

#[test]
fn a_plain_trace_from_later_on_proves_the_same() {
    let trace = plain(&said("udp-truncation/server/strace.txt"));
    let document = with_file("udp-truncation", "plain-udp", &trace, &[]);
    let findings = list(&document, "findings");
    assert!(
        findings
            .iter()
            .any(|one| text(one, "rule") == "udp-truncation")
    );
    let trace = plain(&said("fin-wait-2/client/strace.txt"));
    let document = with_file("fin-wait-2", "plain-tcp", &trace, &[]);
    assert!(list(&document, "host_evidence")[0]["used"].as_u64() > Some(10));
}

#[test]
fn a_snapshot_of_another_day_is_not_used() {
    let snapshot = said("fin-wait-2/client/ss.txt");
    for (time, is_used) in [
        ("2026-11-30T15:57:09Z", true),
        ("2026-11-24T10:00:00Z", false),
    ] {
        let within = format!("{time}\n{snapshot}");
        let document = with_file("fin-wait-2", "dated", &within, &[]);
        let file = &list(&document, "host_evidence")[0];
        assert_eq!(file["used"].as_u64() > Some(0), is_used, "{file}");
        let told = format!("told={time}");
        let arguments = ["--host-evidence-time", &told];
        let document = with_file("fin-wait-2", "told", &snapshot, &arguments);
        let file = &list(&document, "host_evidence")[0];
        assert_eq!(file["used"].as_u64() > Some(0), is_used, "{file}");
        assert!(is_used || text(file, "note").contains("another time"));
    }
}

#[test]
fn nothing_is_in_the_document_without_host_files() {
    let folder = common::root().join("testdata/host-evidence");
    let bytes = common::json_bytes(&capture(&folder.join("fin-wait-2")), &[]);
    let text = String::from_utf8(bytes).expect("UTF-8");
    assert!(!text.contains("host_evidence") && !text.contains("\"process\""));
}

#[test]
fn redaction_hides_what_lines_name() {
    let folder = common::root().join("testdata/host-evidence");
    let document = analysed(&folder.join("fin-wait-2"), &["--redact"]).to_string();
    for secret in [
        "10.9.0.1",
        "10.9.0.2",
        "python3",
        "ss.txt",
        "fin-wait-2/client",
    ] {
        assert!(!document.contains(secret), "{secret}");
    }
    assert!(document.contains("FIN-WAIT-2"));
}

#[test]
fn a_script_is_printed_and_names_what_a_rule_asks_for() {
    let output = common::run(&["collect", "--rule", "linger-zero-reset", "--pid", "77"]);
    let script = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success());
    for part in [
        "#!/bin/sh",
        "strace -f -ttt -yy",
        "pid=77",
        "nstat -asz",
        "tcpdump",
    ] {
        assert!(script.contains(part), "{part}");
    }
    assert!(!script.contains("conntrack"));
}

fn marked(name: &str) -> PathBuf {
    common::root().join("testdata/marked").join(name)
}

#[test]
fn captures_name_the_processes_of_their_connections() {
    for (name, process, pid, host, pod) in [
        ("darwin-blocks.pcapng", "curl", 501, "10.9.0.1", None),
        ("process-option.pcapng", "java", 4212, "10.9.0.2", None),
        ("process-option-be.pcapng", "java", 4212, "10.9.0.2", None),
        (
            "ptcpdump.pcapng",
            "java",
            4212,
            "10.9.0.2",
            Some("shop/web-0"),
        ),
        (
            "rustnet.pcapng",
            "curl",
            501,
            "10.9.0.1",
            Some("batch/job-1"),
        ),
        ("pktap.pcap", "curl", 501, "10.9.0.1", None),
    ] {
        let document = common::json(&marked(name));
        let connections = list(&document, "connections");
        assert_eq!(connections.len(), 3, "{name}");
        for connection in connections {
            let known = &connection["process"];
            assert_eq!(known["name"], process, "{name}");
            assert_eq!(known["pid"], pid, "{name}");
            assert_eq!(known["host"], host, "{name}");
            assert_eq!(known["pod"].as_str(), pod, "{name}");
            assert!(text(known, "source").starts_with("the capture ("), "{name}");
            let container = (name == "ptcpdump.pcapng").then_some("web");
            assert_eq!(known["container"].as_str(), container, "{name}");
        }
        let tables = list(&document, "tables").iter();
        let ids: Vec<&str> = tables.map(|table| text(table, "id")).collect();
        assert!(ids.contains(&"top-processes"), "{name}: {ids:?}");
        let named = &list(&list(&document, "findings")[0], "host_evidence")[0];
        assert_eq!(named["says"], "names", "{name}");
        let note = text(named, "note");
        assert!(
            note.contains(&format!("{process}[{pid}]")),
            "{name}: {note}"
        );
        assert!(
            note.ends_with(" has 3 of these connections"),
            "{name}: {note}"
        );
    }
}

#[test]
fn captures_state_why_connections_are_reset_and_where_they_go_on() {
    for (name, cause) in [
        (
            "f5-magic.pcap",
            "its F5 trailer states \"Flow expired (sweeper) (idle timeout)\"",
        ),
        (
            "f5-old.pcap",
            "its F5 trailer states \"Flow expired (sweeper) (idle timeout)\"",
        ),
        (
            "multipath-reset.pcap",
            "its MP_TCPRST option states reason 3, administratively prohibited, transient",
        ),
    ] {
        let document = common::json(&marked(name));
        for connection in list(&document, "connections") {
            assert_eq!(connection["resets"][0]["stated"], cause, "{name}");
            if name.starts_with("f5") {
                let side = &connection["proxied_to"];
                assert_eq!(side["remote"], "10.20.0.8:8080", "{name}");
                assert_eq!(side["local"], "10.20.0.1:51000", "{name}");
                assert_eq!(side["service"], "/Common/vip", "{name}");
            }
        }
        let findings = list(&document, "findings").iter();
        let mut notes = findings.flat_map(|one| list(one, "evidence"));
        assert!(notes.any(|one| text(one, "note").contains(cause)), "{name}");
    }
}

#[test]
fn what_captures_name_stays_text_and_is_masked() {
    let path = marked("hostile.pcapng");
    let document = common::json(&path);
    let known = &list(&document, "connections")[0]["process"];
    assert!(text(known, "pod").contains("<img src=x>"), "{known}");
    for format in ["html", "md", "terminal"] {
        let output = common::run(&[
            "analyze",
            &path.display().to_string(),
            "-f",
            format,
            "-o",
            "-",
        ]);
        let shown = String::from_utf8(output.stdout).expect("UTF-8");
        // On a terminal these are letters like others.
        let is_markup = format != "terminal";
        assert!(
            !is_markup || !shown.contains("<img src") && !shown.contains("<script>q"),
            "{format}"
        );
        assert!(!shown.contains(['\x1b', '\x07']), "{format}");
    }
    for name in ["ptcpdump.pcapng", "f5-magic.pcap"] {
        let masked = common::json_with(&marked(name), &["--redact"]).to_string();
        for secret in [
            "web-0",
            "shop/",
            "container web",
            "java",
            "10.20.0.8",
            "/Common/vip",
            "sweeper",
        ] {
            assert!(!masked.contains(secret), "{name}: {secret}");
        }
    }
}

#[test]
fn listings_are_laid_beside_what_the_packets_say() {
    let snapshot = said("fin-wait-2/client/ss.txt");
    let dated = format!("2026-11-30T15:57:09Z\n{snapshot}");
    let document = with_file("fin-wait-2", "listed", &dated, &[]);
    let [listing] = list(&document, "host_snapshots") else {
        panic!("{}", document["host_snapshots"]);
    };
    assert_eq!(text(listing, "end"), "client");
    let states = list(listing, "states").iter();
    let mut waiting = states.filter(|one| text(one, "state") == "FIN-WAIT-2");
    let waiting = waiting.next().expect("sockets in FIN-WAIT-2");
    assert_eq!(waiting["host"], waiting["capture"], "{listing}");
    // A socket of which no packet was captured is told as such.
    let more = format!("{dated}ESTAB 0 0 10.9.0.1:50999 10.9.0.9:443\n");
    let document = with_file("fin-wait-2", "listed-more", &more, &[]);
    let listing = &list(&document, "host_snapshots")[0];
    assert_eq!(listing["unseen"], 1);
    assert!(
        listing["differences"][0]
            .as_str()
            .expect("a sentence")
            .contains("no packet of them")
    );
}

/// A capture as a point one router further on has it: a hop less, and 3 ms later on its clock.
fn second_point(capture: &Path, to: &Path) {
    let mut bytes = std::fs::read(capture).expect("a classic capture");
    let word = |bytes: &[u8], at: usize| {
        u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four octets"))
    };
    let per_second = if word(&bytes, 0) == 0xa1b2_3c4d {
        1_000_000_000
    } else {
        1_000_000
    };
    let mut at = 24;
    while at + 16 < bytes.len() {
        let (seconds, fraction) = (word(&bytes, at), word(&bytes, at + 4));
        let later = fraction + per_second / 1_000 * 3;
        let (seconds, fraction) = (seconds + later / per_second, later % per_second);
        bytes[at..at + 4].copy_from_slice(&seconds.to_le_bytes());
        bytes[at + 4..at + 8].copy_from_slice(&fraction.to_le_bytes());
        let frame = at + 16;
        at = frame + word(&bytes, at + 8) as usize;
        if bytes[frame + 12..frame + 14] == [8, 0] {
            bytes[frame + 22] -= 1;
            let sum = u16::from_be_bytes([bytes[frame + 24], bytes[frame + 25]]);
            let (sum, carry) = sum.overflowing_add(0x0100);
            let sum = (sum + u16::from(carry)).to_be_bytes();
            bytes[frame + 24..frame + 26].copy_from_slice(&sum);
        }
    }
    std::fs::write(to, bytes).expect("a writable folder");
}

/// Two points of a case, compared with these arguments beside; what was written.
fn compared(case: &str, more: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let near = capture(&common::root().join("testdata/host-evidence").join(case));
    let far = folder.path().join("far.pcap");
    second_point(&near, &far);
    let near = format!("near={}", near.display());
    let far = format!("far={}", far.display());
    let output = common::run(&[&["compare", &near, &far, "-o", "-"], more].concat());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("one document")
}

#[test]
fn a_comparison_quotes_the_hosts_files_of_its_points() {
    let rules = |document: &Value| -> Vec<String> {
        let findings = list(document, "findings").iter();
        findings.map(|one| text(one, "rule").to_owned()).collect()
    };
    let alone = json(&compared("contradiction", &["-f", "json"]));
    assert!(
        rules(&alone).contains(&"linger-zero-reset".to_owned()),
        "{:?}",
        rules(&alone)
    );
    assert!(!alone.to_string().contains("host_evidence"));
    let server = common::root().join("testdata/host-evidence/contradiction/server");
    for path in [
        format!("near={}", server.display()),
        format!("far={}", server.display()),
        server.display().to_string(),
    ] {
        let document = json(&compared(
            "contradiction",
            &["-f", "json", "--host-evidence", &path],
        ));
        let findings = list(&document, "findings");
        assert!(
            !rules(&document).contains(&"linger-zero-reset".to_owned()),
            "{path}"
        );
        let turned = findings
            .iter()
            .find(|one| text(one, "rule") == "unread-data-reset");
        let turned = turned.unwrap_or_else(|| panic!("{path}: {:?}", rules(&document)));
        let lines = list(turned, "host_evidence");
        assert!(
            lines
                .iter()
                .any(|line| text(line, "text").contains("close(")),
            "{lines:#?}"
        );
        let whose: Vec<(String, bool)> = list(&document, "points")
            .iter()
            .map(|point| {
                (
                    text(point, "name").to_owned(),
                    !list(point, "host_evidence").is_empty(),
                )
            })
            .collect();
        for (name, has_files) in whose {
            let is_named = path.contains('=');
            assert_eq!(
                has_files,
                !is_named || path.starts_with(&format!("{name}=")),
                "{path}"
            );
        }
        if path.contains('=') {
            let why = list(turned, "why").iter().filter_map(Value::as_str);
            let mut why =
                why.filter(|why| why.contains("the packets alone read as linger-zero-reset"));
            assert!(why.next().is_some(), "{path}");
        }
    }
}

#[test]
fn every_form_of_a_comparison_shows_the_lines_and_redaction_masks_them() {
    let server = common::root().join("testdata/host-evidence/contradiction/server");
    let path = format!("far={}", server.display());
    for format in ["html", "md", "terminal"] {
        let shown = compared("contradiction", &["-f", format, "--host-evidence", &path]);
        assert!(
            shown.contains("strace.txt") && shown.contains("close("),
            "{format}: {shown}"
        );
    }
    let masked = compared(
        "contradiction",
        &["-f", "json", "--redact", "--host-evidence", &path],
    );
    for secret in ["10.9.0.2", "strace.txt", "contradiction/server"] {
        assert!(!masked.contains(secret), "{secret}");
    }
}
