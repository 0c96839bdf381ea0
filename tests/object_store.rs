//! Captures, datasets and results in an object store, with a real S3 server on this machine.
//!
//! Needs the feature `object-store` and a Python with moto's server (`PCAPDOC_MOTO_PYTHON`, which `.ci/run`
//! provides); without them the test says that it did nothing.

mod common;

#[cfg(not(feature = "object-store"))]
#[test]
fn a_build_without_the_feature_says_so_in_one_line() {
    eprintln!("NOTICE: built without the feature object-store: object stores are not tested");
    for arguments in [
        &["analyze", "s3://bucket/ring/"][..],
        &["segment", "gs://bucket/a.pcap"],
        &["batch", "az://bucket/a", "--out", "/nowhere"],
        &["batch", "/nowhere", "--out", "s3://bucket/out"],
        &["query", "https://store.example/a.pcap", "SELECT 1"],
    ] {
        let output = common::run(arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        assert_eq!(told.trim_end().lines().count(), 1, "{told}");
        assert!(told.contains("--features object-store"), "{told}");
    }
}

#[cfg(feature = "object-store")]
mod packets;
#[cfg(feature = "object-store")]
mod rotated;

#[cfg(feature = "object-store")]
mod with_a_server {
    use std::fs;
    use std::net::{TcpListener, TcpStream};
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, Output, Stdio};
    use std::time::Duration;

    use serde_json::Value;

    use super::{common, rotated};

    /// Puts the files of a folder into a new bucket, and before them more objects than a page lists.
    const PUT: &str = r#"
import os, sys, boto3
s3 = boto3.client("s3", endpoint_url=sys.argv[1])
s3.create_bucket(Bucket="archive")
for number in range(1100):
    s3.put_object(Bucket="archive", Key=f"ring/note_{number:04}.txt", Body=b"no capture")
for name in os.listdir(sys.argv[2]):
    s3.upload_file(os.path.join(sys.argv[2], name), "archive", f"ring/{name}")
"#;

    /// Prints the keys of a bucket below a prefix.
    const KEYS: &str = r#"
import sys, boto3
s3 = boto3.client("s3", endpoint_url=sys.argv[1])
for page in s3.get_paginator("list_objects_v2").paginate(Bucket="archive", Prefix=sys.argv[2]):
    for found in page.get("Contents", []):
        print(found["Key"])
"#;

    struct Server {
        process: Child,
        python: PathBuf,
        endpoint: String,
    }

    impl Server {
        fn start() -> Option<Self> {
            let Some(python) = std::env::var_os("PCAPDOC_MOTO_PYTHON").map(PathBuf::from) else {
                assert_ne!(std::env::var("PCAPDOC_TOOLS").as_deref(), Ok("required"));
                eprintln!("NOTICE: no PCAPDOC_MOTO_PYTHON: object stores are not tested");
                return None;
            };
            let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let port = free.local_addr().expect("it is bound").port();
            drop(free);
            let process = Command::new(&python)
                .args([
                    "-m",
                    "moto.server",
                    "-H",
                    "127.0.0.1",
                    "-p",
                    &port.to_string(),
                ])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("the server starts");
            let server = Self {
                process,
                python,
                endpoint: format!("http://127.0.0.1:{port}"),
            };
            for _ in 0..600 {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Some(server);
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            panic!("the server does not answer");
        }

        fn environment(&self, command: &mut Command) {
            command
                .env("AWS_ACCESS_KEY_ID", "testing")
                .env("AWS_SECRET_ACCESS_KEY", "testing")
                .env("AWS_REGION", "us-east-1")
                .env("AWS_DEFAULT_REGION", "us-east-1")
                .env("AWS_ENDPOINT_URL", &self.endpoint)
                .env("AWS_ALLOW_HTTP", "true");
        }

        fn python(&self, script: &str, argument: &str) -> String {
            let mut command = Command::new(&self.python);
            self.environment(&mut command);
            let output = command
                .args(["-c", script, &self.endpoint, argument])
                .output();
            let output = output.expect("Python starts");
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{told}");
            String::from_utf8(output.stdout).expect("UTF-8")
        }

        fn run(&self, arguments: &[&str]) -> Output {
            let mut command = common::pcapdoc(arguments);
            self.environment(&mut command);
            command
                .stdin(Stdio::null())
                .output()
                .expect("the program starts")
        }

        fn output_of(&self, arguments: &[&str]) -> Vec<u8> {
            let output = self.run(arguments);
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{arguments:?}: {told}");
            output.stdout
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }

    fn findings(report: &[u8]) -> Value {
        let mut report: Value = serde_json::from_slice(report).expect("JSON");
        report["findings"].take()
    }

    fn text(path: &Path) -> &str {
        path.to_str().expect("UTF-8")
    }

    #[test]
    fn captures_datasets_and_results_in_a_store() {
        let Some(server) = Server::start() else {
            return;
        };
        let folder = tempfile::tempdir().expect("a folder");
        let captures = folder.path().join("captures");
        fs::create_dir(&captures).expect("a writable folder");
        rotated::ring(&captures, 8);
        server.python(PUT, text(&captures));
        let json = ["-f", "json", "-o", "-"];
        let analyze = |what: &str| server.output_of(&[&["analyze", what], &json[..]].concat());

        let here = analyze(text(&captures));
        let there = analyze("s3://archive/ring/");
        assert_eq!(findings(&here), findings(&there));
        assert!(!findings(&there).as_array().expect("a list").is_empty());
        let one = captures.join("ring_00003.pcap");
        assert_eq!(
            findings(&analyze(text(&one))),
            findings(&analyze("s3://archive/ring/ring_00003.pcap"))
        );

        in_parts(&server, folder.path(), &there);
        batch(&server, folder.path(), &captures);

        for (address, says) in [
            ("s3://archive/nothing/", "there is no such object"),
            ("s3://archive/ring/note_0001.txt", "not a capture"),
            ("s3://no-such-bucket/a.pcap", "no-such-bucket"),
        ] {
            let output = server.run(&["analyze", address]);
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(3), "{told}");
            assert_eq!(told.trim_end().lines().count(), 1, "{told}");
            assert!(told.contains(says), "{told}");
        }
    }

    fn in_parts(server: &Server, folder: &Path, whole: &[u8]) {
        let file = |name: &str, content: Vec<u8>| {
            let path = folder.join(name);
            fs::write(&path, content).expect("a writable folder");
            path
        };
        let rows = server.output_of(&["segment", "--settle", "s3://archive/ring/"]);
        let rows = file("rows.arrow", rows);
        let states = file("states.arrow", server.output_of(&["judge", text(&rows)]));
        let report = server.output_of(&["conclude", "-f", "json", "-o", "-", text(&states)]);
        let (whole, report) = (rotated::report(whole), rotated::report(&report));
        rotated::must_be_equal(&whole, &report, "in parts");
    }

    fn batch(server: &Server, folder: &Path, captures: &Path) {
        const COUNT: &str = "SELECT count(*) AS n FROM connections";
        let out = folder.join("out");
        server.output_of(&["batch", text(captures), "--out", text(&out)]);
        let to = ["batch", "s3://archive/ring/", "--out", "s3://archive/out"];
        server.output_of(&to);
        let keys = server.python(KEYS, "out/");
        for wanted in [
            "out/manifest.jsonl",
            "out/dataset/connections/",
            "out/runs/000001.json",
        ] {
            assert!(
                keys.lines().any(|key| key.starts_with(wanted)),
                "{wanted}: {keys}"
            );
        }
        let count = |place: &str| server.output_of(&["query", "-f", "csv", place, COUNT]);
        assert_eq!(count(text(&out)), count("s3://archive/out"));
        let one = captures.join("ring_00003.pcap");
        assert_eq!(
            count(text(&one)),
            count("s3://archive/ring/ring_00003.pcap")
        );
        // Again: what is done stays done, and nothing is lost.
        let again = server.run(&to);
        let told = String::from_utf8_lossy(&again.stderr);
        assert!(
            again.status.success() && told.contains("0 to analyze, 1 done before"),
            "{told}"
        );
        assert_eq!(count(text(&out)), count("s3://archive/out"));
        // Grown: the rows of before are replaced.
        let grown = [
            "batch",
            "--refresh",
            "--retry",
            "s3://archive/ring/ring_00000.pcap",
        ];
        server.output_of(&[&grown[..], &["--out", "s3://archive/out"]].concat());
        let keys = server.python(KEYS, "out/runs/");
        assert_eq!(keys.lines().count(), 3, "{keys}");
    }
}
