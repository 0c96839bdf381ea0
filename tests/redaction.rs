//! What `--redact` promises: nothing that names a host or was said survives in any output file.

use std::path::{Path, PathBuf};

use crate::common;
use crate::packets::{Capture, MACS};

const CLIENT: &str = "10.23.45.67";
const SERVER: &str = "203.0.113.77";
const RESOLVER: &str = "10.23.45.1";
const CLIENT_6: &str = "2001:db8:77::c1";
const SERVER_6: &str = "2001:db8:99::51";

/// Words that stand in names, paths, headers and bodies of the capture, and in its file name.
const WORDS: [&str; 8] = [
    "acme-shop",
    "private-path",
    "tok3n",
    "ann-agent",
    "acme-build",
    "zeus",
    "olymp",
    "customer-x",
];

fn capture() -> Vec<u8> {
    let mut capture = Capture::new();
    let request = b"GET /private-path?tok3n=1 HTTP/1.1\r\nHost: acme-shop.example\r\nUser-Agent: ann-agent\r\n\r\n";
    capture.keepalive_race(CLIENT, (SERVER, 8080), request, 4);
    capture.keepalive_race(CLIENT_6, (SERVER_6, 8081), request, 4);
    capture.unknown_names(CLIENT, RESOLVER, &[b"zeus", b"olymp"], 40);
    capture.bytes
}

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("pcapdoc-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    folder
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// All outputs of a run, by file name; standard output and error as well.
fn outputs(folder: &Path, more: &[&str]) -> Vec<(String, Vec<u8>)> {
    let input = folder.join("customer-x.pcap");
    std::fs::write(&input, capture()).expect("a file");
    let out = folder.join("out");
    let _ = std::fs::remove_dir_all(&out);
    std::fs::create_dir_all(&out).expect("a folder");
    let formats = "html,md,json,terminal";
    let mut arguments = vec![
        "analyze",
        text(&input),
        "--format",
        formats,
        "-o",
        text(&out),
    ];
    arguments.extend(["--evidence", text(&out)]);
    arguments.extend(more);
    let output = common::run(&arguments);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut all = vec![("standard output".to_owned(), output.stdout)];
    let mut folders = vec![out];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            all.push((name, std::fs::read(&path).expect("a file")));
        }
    }
    all.sort();
    all
}

/// Everything that must not be found, with a name for messages.
fn secrets() -> Vec<(String, Vec<u8>)> {
    let mut secrets: Vec<_> = WORDS
        .map(|word| (word.to_owned(), word.as_bytes().to_vec()))
        .into();
    for address in [CLIENT, SERVER, RESOLVER, CLIENT_6, SERVER_6] {
        secrets.push((address.to_owned(), address.as_bytes().to_vec()));
        let octets = match address.parse().expect("an address") {
            std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
            std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        secrets.push((format!("the octets of {address}"), octets));
    }
    for mac in MACS {
        secrets.push((format!("the MAC {mac:02x?}"), mac.to_vec()));
        let text = mac.map(|octet| format!("{octet:02x}")).join(":");
        secrets.push((text.clone(), text.into_bytes()));
    }
    secrets
}

fn holds(bytes: &[u8], secret: &[u8]) -> bool {
    let lower = |octet: &u8| octet.to_ascii_lowercase();
    bytes
        .windows(secret.len())
        .any(|window| window.iter().map(lower).eq(secret.iter().map(lower)))
}

#[test]
fn nothing_that_names_or_was_said_survives() {
    let folder = scratch("redaction");
    let plain = outputs(&folder, &[]);
    let known = secrets();
    let everything: Vec<u8> = plain.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    for (name, secret) in &known {
        let in_text_only = name.contains(':') && name.len() == 17;
        assert!(
            in_text_only || holds(&everything, secret),
            "{name} is not even in the plain outputs: the test tests nothing"
        );
    }
    let redacted = outputs(&folder, &["--redact"]);
    assert_eq!(plain.len(), redacted.len());
    assert!(
        redacted.len() >= 6,
        "reports and evidence: {}",
        redacted.len()
    );
    for (file, bytes) in &redacted {
        for (name, secret) in &known {
            assert!(!holds(bytes, secret), "{name} survives in {file}");
        }
        assert!(!holds(bytes, b"HTTP/1.1 200"), "payload survives in {file}");
    }
    std::fs::remove_dir_all(&folder).expect("the folder can go");
}

/// What `pcapdoc evidence` writes, its name, and the summary for a chat.
#[test]
fn nothing_survives_in_evidence_and_summary() {
    let folder = scratch("redaction-evidence");
    let input = folder.join("customer-x.pcap");
    std::fs::write(&input, capture()).expect("a file");
    let out = folder.join("out");
    std::fs::create_dir_all(&out).expect("a folder");
    let evidence = ["evidence", text(&input), "F1", "--redact", "-o", text(&out)];
    let summary = ["analyze", text(&input), "--summary", "--redact", "-o", "-"];
    let mut written = Vec::new();
    for arguments in [&evidence[..], &summary[..]] {
        let output = common::run(arguments);
        let error = String::from_utf8_lossy(&output.stderr).replace(text(&folder), "");
        assert!(output.status.success(), "{error}");
        written.extend([output.stdout, error.into_bytes()]);
    }
    let files: Vec<_> = std::fs::read_dir(&out)
        .expect("the folder")
        .flatten()
        .collect();
    assert_eq!(files.len(), 1);
    for file in files {
        written.push(file.file_name().to_string_lossy().into_owned().into_bytes());
        written.push(std::fs::read(file.path()).expect("a file"));
    }
    for (name, secret) in secrets() {
        assert!(
            !written.iter().any(|bytes| holds(bytes, &secret)),
            "{name} survives"
        );
    }
    std::fs::remove_dir_all(&folder).expect("the folder can go");
}

/// A command that cannot hide says so, and writes nothing.
#[test]
fn what_cannot_be_redacted_is_refused() {
    let folder = scratch("redaction-refused");
    let input = folder.join("customer-x.pcap");
    std::fs::write(&input, capture()).expect("a file");
    let out = folder.join("out");
    let commands: [&[&str]; 6] = [
        &["inspect", text(&input)],
        &["explain-frame", text(&input), "4"],
        &["query", text(&input), "SELECT * FROM connections"],
        &["report", text(&input), "-o", text(&out)],
        &["batch", text(&folder), "--out", text(&out)],
        &[
            "analyze",
            text(&input),
            "--format",
            "parquet",
            "-o",
            text(&out),
        ],
    ];
    for command in commands {
        let output = common::run(&[command, &["--redact"]].concat());
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        assert!(output.stdout.is_empty(), "{command:?}");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            error.lines().count() == 1 && error.contains("redact"),
            "{error}"
        );
        assert!(!out.exists(), "{command:?} wrote something");
    }
    std::fs::remove_dir_all(&folder).expect("the folder can go");
}

#[test]
fn redaction_changes_no_conclusion() {
    let folder = scratch("redaction-same");
    let read = |more: &[&str]| -> serde_json::Value {
        let files = outputs(&folder, more);
        let (_, json) = files
            .iter()
            .find(|(name, _)| name.ends_with(".json"))
            .expect("JSON");
        serde_json::from_slice(json).expect("JSON")
    };
    let (plain, redacted) = (read(&[]), read(&["--redact"]));
    let told = |document: &serde_json::Value| -> Vec<String> {
        let findings = document["findings"].as_array().expect("findings").iter();
        let mut told: Vec<_> = findings
            .map(|finding| {
                let frames = finding["evidence"].as_array().expect("evidence").iter();
                let frames: Vec<_> = frames.map(|step| step["frame"].to_string()).collect();
                let facts = ["rule", "severity", "confidence", "occurrences", "cost"]
                    .map(|name| finding[name].to_string());
                format!("{facts:?} {frames:?}")
            })
            .collect();
        told.sort();
        told
    };
    assert!(told(&plain).len() >= 2);
    assert_eq!(told(&plain), told(&redacted));
    std::fs::remove_dir_all(&folder).expect("the folder can go");
}

#[test]
fn one_key_gives_one_mapping_and_no_key_another_each_time() {
    let folder = scratch("redaction-key");
    let key = folder.join("key");
    std::fs::write(&key, "sixteen bytes at least").expect("a file");
    let keyed = ["--redact-key", text(&key)];
    let once = outputs(&folder, &keyed);
    assert!(
        once == outputs(&folder, &keyed),
        "the same key, the same outputs"
    );
    assert!(once != outputs(&folder, &["--redact"]));
    let short = folder.join("short");
    std::fs::write(&short, "1234").expect("a file");
    let input = folder.join("customer-x.pcap");
    let output = common::run(&["analyze", text(&input), "--redact-key", text(&short)]);
    assert_eq!(output.status.code(), Some(2));
    std::fs::remove_dir_all(&folder).expect("the folder can go");
}
