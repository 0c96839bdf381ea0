//! The driver on Apache Spark, with two worker processes on this machine, gives the report of
//! `analyze`, octet for octet; also with a file that is damaged, and when a judge is killed.
//!
//! Needs Java and a Python with pyspark (`PCAPDOC_SPARK_PYTHON`, which `.ci/run` provides); without
//! them the test says that it did nothing, and fails where they were promised.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common;
use crate::rotated;
use crate::rotated::{must_be_equal, report};

/// Two workers of one core and 1,024 MiB each, in processes of their own.
const CLUSTER: &str = "local-cluster[2,1,1024]";

/// Ends the first judge that is started, as if its machine had failed.
const KILLER: &str = r#"#!/bin/sh
if [ "$1" = judge ] && mkdir "$PCAPDOC_KILLED" 2>/dev/null; then kill -9 $$; fi
exec "$PCAPDOC_PROGRAM" "$@"
"#;

#[test]
fn a_ring_on_two_workers_comes_out_the_same() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let mut captures = rotated::ring(folder, 60);
    // A file that is no capture, and one that was cut.
    let bad = folder.join("ring_00031.pcap");
    fs::write(&bad, "no capture at all").expect("a writable folder");
    let cut = folder.join("ring_00040.pcap");
    let bytes = fs::read(&cut).expect("it was written");
    fs::write(&cut, &bytes[..bytes.len() / 2]).expect("a writable folder");
    captures.sort();
    let killer = folder.join("killer");
    fs::write(&killer, KILLER).expect("a writable folder");
    fs::set_permissions(&killer, fs::Permissions::from_mode(0o755)).expect("our own file");
    let one = whole(&captures);
    assert!(
        one.contains("ring_00031.pcap: "),
        "the report names the bad file"
    );
    for (options, what) in [
        (&[][..], "the ring"),
        (&["--settle"][..], "the ring, settled"),
    ] {
        let killed = folder.join(what);
        let several = on_spark(&python, folder, &killer, &killed, options);
        assert!(killed.is_dir(), "no judge was killed");
        must_be_equal(&one, &several, what);
    }
}

fn whole(captures: &[PathBuf]) -> String {
    let mut arguments = vec!["analyze", "-f", "json", "-o", "-"];
    arguments.extend(captures.iter().map(|path| path.to_str().expect("UTF-8")));
    let output = common::run(&arguments);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    report(&output.stdout)
}

fn on_spark(
    python: &Path,
    folder: &Path,
    program: &Path,
    killed: &Path,
    options: &[&str],
) -> String {
    let driver = common::root().join("spark/pcapdoc_spark.py");
    let out = folder.join("report.json");
    let output = Command::new(python.with_file_name("spark-submit"))
        .args(["--master", CLUSTER, "--conf", "spark.ui.enabled=false"])
        .args(["--conf", "spark.sql.shuffle.partitions=4"])
        .arg(driver)
        .args(options)
        .arg("--pcapdoc")
        .arg(program)
        .args(["--partitions", "4", "-f", "json", "-o"])
        .arg(&out)
        .arg(folder.join("ring_*.pcap"))
        .env("PYSPARK_PYTHON", python)
        .env("PYSPARK_DRIVER_PYTHON", python)
        .env("SPARK_LOCAL_IP", "127.0.0.1")
        .env("PCAPDOC_PROGRAM", env!("CARGO_BIN_EXE_pcapdoc"))
        .env("PCAPDOC_KILLED", killed)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("spark-submit starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    report(&fs::read(&out).expect("a report"))
}

/// A Python that has pyspark, on a machine that has Java.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("PCAPDOC_SPARK_PYTHON").map(PathBuf::from);
    let works = |mut command: Command| {
        let output = command.stdin(Stdio::null()).output();
        output.is_ok_and(|output| output.status.success())
    };
    let has_spark = python.as_ref().is_some_and(|python| {
        let mut command = Command::new(python);
        command.args(["-c", "import pyspark, pyarrow"]);
        works(command)
    });
    let mut java = Command::new("java");
    java.arg("-version");
    if has_spark && works(java) {
        return python;
    }
    let missing = "no Java, or no Python with pyspark in PCAPDOC_SPARK_PYTHON";
    assert!(
        std::env::var("PCAPDOC_TOOLS").as_deref() != Ok("required"),
        "{missing}"
    );
    eprintln!("NOTICE: {missing}: Apache Spark is not tested");
    None
}
