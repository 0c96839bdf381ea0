//! The dataset as other programs read it: DuckDB and pyarrow. Where they are not installed the
//! test says so and is skipped (`.ci/run` installs them).

use std::path::Path;
use std::process::Command;

use crate::common;
use serde_json::Value;

#[test]
fn duckdb_and_pyarrow_read_what_was_written() {
    let Some(python) = common::python("duckdb, pyarrow") else {
        return;
    };
    let out = tempfile::tempdir().expect("a folder");
    let captures = common::root().join("testdata/captures");
    let paths = [&captures, out.path()].map(|path: &Path| path.to_str().expect("UTF-8").to_owned());
    let output = common::run(&["batch", &paths[0], "--out", &paths[1]]);
    assert!(output.status.success());
    let output = Command::new(python)
        .arg(common::root().join("tests/readers.py"))
        .arg(out.path().join("dataset"))
        .output()
        .expect("python starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let read: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for table in reports::dataset::tables() {
        let theirs = &read["tables"][table.name];
        let sql = format!(
            "SELECT COUNT(*) AS n, COUNT(DISTINCT capture_set) AS sets, \
             COUNT(DISTINCT capture_group) AS groups FROM {}",
            table.name
        );
        let ours = &query(out.path(), &sql)[0];
        assert_eq!(theirs["duckdb"], ours["n"], "{}", table.name);
        assert_eq!(theirs["pyarrow"], ours["n"], "{}", table.name);
        assert_eq!(theirs["sets"], ours["sets"], "{}", table.name);
        assert_eq!(theirs["groups"], ours["groups"], "{}", table.name);
        let columns = theirs["columns"].as_array().expect("a list");
        let has = |name: &str| columns.iter().any(|column| column == name);
        assert!(
            table.columns.iter().all(|(name, ..)| has(name)),
            "{}",
            table.name
        );
        assert!(has("date") && has("capture_group"), "{}", table.name);
    }
    let sql = "SELECT capture_group, hour, COUNT(*) AS n, MAX(response_max_ms) AS slowest \
               FROM connections GROUP BY capture_group, hour ORDER BY capture_group, hour";
    let ours = query(out.path(), sql);
    let theirs = read["hours"].as_array().expect("a list");
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!(ours["capture_group"], theirs[0]);
        assert_eq!(ours["n"], theirs[2]);
        assert_eq!(ours["slowest"].as_f64(), theirs[3].as_f64());
    }
}

fn query(path: &Path, sql: &str) -> Vec<Value> {
    let path = path.to_str().expect("UTF-8");
    let output = common::run(&["query", path, sql, "--format", "json"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{sql}: {error}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}
