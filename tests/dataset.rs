//! The documentation of the dataset is true: its queries run and its tables are the program's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::common;
use serde_json::Value;

fn documentation() -> String {
    fs::read_to_string(common::root().join("docs/dataset.md")).expect("docs/dataset.md")
}

/// The output folder of a batch over the repository's captures, made once for all tests.
fn batch() -> &'static Path {
    static OUT: LazyLock<PathBuf> = LazyLock::new(|| {
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dataset");
        let _ = fs::remove_dir_all(&out);
        let captures = common::root().join("testdata/captures");
        let paths = [&captures, &out].map(|path| path.to_str().expect("UTF-8"));
        let output = common::run(&["batch", paths[0], "--out", paths[1]]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        out
    });
    &OUT
}

fn query(path: &Path, sql: &str) -> Vec<Value> {
    let path = path.to_str().expect("UTF-8");
    let output = common::run(&["query", path, sql, "--format", "json"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{sql}: {error}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn the_twelve_questions_have_answers() {
    let out = batch();
    let text = documentation();
    let queries: Vec<&str> = text
        .split("```sql\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert_eq!(queries.len(), 12);
    let rows: Vec<Vec<Value>> = queries.iter().map(|sql| query(out, sql)).collect();
    // Real captures of these problems are among the test data.
    for (index, what) in [
        (0, "races"),
        (1, "unanswered"),
        (2, "sent again"),
        (3, "resets"),
        (4, "slow"),
        (7, "refused"),
        (8, "failed"),
        (10, "evidence"),
        (11, "days"),
    ] {
        assert!(!rows[index].is_empty(), "{what}: no row");
    }
    assert!(rows[0][0]["races"].as_u64() > Some(0), "{}", rows[0][0]);
    assert!(rows[7][0]["refused"].as_u64() > Some(0), "{}", rows[7][0]);
}

/// The name of a capture's set in that dataset.
fn set_of(capture: &Path) -> String {
    let below = capture.strip_prefix(common::root().join("testdata"));
    let name = below.expect("test data").to_str().expect("UTF-8");
    name.trim_end_matches(".gz").to_owned()
}

/// The rows of a query by the set they are of, without that column.
fn by_set(sql: &str) -> BTreeMap<String, Vec<Value>> {
    let mut sets = BTreeMap::<String, Vec<Value>>::new();
    for mut row in query(batch(), sql) {
        let set = row
            .as_object_mut()
            .and_then(|row| row.remove("capture_set"));
        let set = set.expect("the set").as_str().expect("text").to_owned();
        sets.entry(set).or_default().push(row);
    }
    sets
}

const FINDINGS: &str = "SELECT rule, occurrences FROM findings ORDER BY finding";

#[test]
fn rows_agree_with_the_report() {
    let connections = by_set(
        "SELECT capture_set, client, server, packets, client_retransmitted_segments, close, \
         first_frame FROM connections ORDER BY first_frame",
    );
    let findings = by_set(&FINDINGS.replace("rule,", "capture_set, rule,"));
    let none = Vec::new();
    for (capture, _) in common::captures_with_truth() {
        let set = set_of(&capture);
        let arguments = [capture.to_str().expect("UTF-8"), "--connections", "all"];
        let document = pcapdoc::analyze(&arguments).expect("a capture");
        let document = serde_json::to_value(&document).expect("JSON");
        let list = |name: &str| document[name].as_array().expect("a list").clone();
        let mut expected = list("connections");
        expected.sort_by_key(|connection| connection["first_frame"].as_u64());
        let rows = connections.get(&set).unwrap_or(&none);
        assert_eq!(rows.len(), expected.len(), "{set}");
        for (row, connection) in rows.iter().zip(&expected) {
            for column in ["client", "server", "packets", "close", "first_frame"] {
                assert_eq!(row[column], connection[column], "{set} {column}");
            }
            let sent_again = &connection["client_to_server"]["retransmitted_segments"];
            assert_eq!(&row["client_retransmitted_segments"], sent_again, "{set}");
        }
        let rows = findings.get(&set).unwrap_or(&none);
        assert_eq!(rows.len(), list("findings").len(), "{set}");
    }
}

#[test]
fn services_state_what_was_asked_and_how_it_was_answered() {
    let cases = [
        (
            "mariadb-lock-wait",
            "mysql",
            "update accounts set cents = ? where id = ?",
            "1205",
        ),
        ("not-postgresql", "postgresql", "select now()", "ok"),
        ("not-redis", "redis", "GET", "nil"),
        ("not-memcached", "memcached", "delete", "NOT_FOUND"),
        ("not-ldap", "ldap", "search", "ok"),
        ("not-postfix", "smtp", "message", "250"),
        ("not-vsftpd", "ftp", "RETR", "150"),
    ];
    for (capture, protocol, operation, result) in cases {
        let path = format!("testdata/captures/service-error/{capture}.pcap.gz");
        let rows = query(
            &common::root().join(path),
            "SELECT DISTINCT protocol, operation, result FROM requests",
        );
        let expected =
            serde_json::json!({"protocol": protocol, "operation": operation, "result": result});
        assert!(rows.contains(&expected), "{capture}: {rows:?}");
    }
}

#[test]
fn a_capture_answers_as_its_rows_in_the_dataset() {
    let findings = by_set(&FINDINGS.replace("rule,", "capture_set, rule,"));
    let none = Vec::new();
    for capture in common::first_captures().iter().step_by(4) {
        let set = set_of(capture);
        let rows = findings.get(&set).unwrap_or(&none);
        assert_eq!(rows, &query(capture, FINDINGS), "{set}");
    }
}

#[test]
fn the_documented_tables_are_those_of_the_program() {
    let (begin, end) = (
        "<!-- generated by tests/dataset.rs: tables -->\n",
        "<!-- end -->",
    );
    let text = documentation();
    let (head, rest) = text.split_once(begin).expect("the mark");
    let (_, tail) = rest.split_once(end).expect("the end mark");
    let generated = format!("{head}{begin}\n{}{end}{tail}", reports::dataset::markdown());
    if std::env::var_os("PCAPDOC_BLESS").is_some() {
        fs::write(common::root().join("docs/dataset.md"), &generated).expect("written");
    }
    assert!(
        documentation() == generated,
        "docs/dataset.md is not what the program has: run PCAPDOC_BLESS=1 cargo test --release --test program -- dataset"
    );
}

#[test]
fn errors_name_what_was_meant() {
    let capture = common::root().join("testdata/captures/keepalive-race/late-write.pcap");
    let capture = capture.to_str().expect("UTF-8");
    for (sql, expected) in [
        (
            "SELECT server_prt FROM connections",
            "did you mean `server_port`",
        ),
        (
            "SELECT c.clos FROM connections AS c",
            "did you mean `close`",
        ),
        ("SELECT 1 FROM conections", "did you mean `connections`"),
        ("SELECT * FROM read_parquet('/etc/passwd')", "read_parquet"),
        ("SELECT * FROM read_csv('http://127.0.0.1:9/x')", "read_csv"),
        ("SELEC 1", "not valid SQL"),
    ] {
        let output = common::run(&["query", capture, sql]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{sql}: {error}");
        assert!(error.contains(expected), "{sql}: {error}");
        assert_eq!(error.lines().count(), 1, "{sql}: {error}");
        assert!(output.stdout.is_empty(), "{sql}");
    }
}

#[test]
fn a_result_can_be_queried_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("close.parquet");
    let name = file.to_str().expect("UTF-8");
    let capture = common::root().join("testdata/captures/keepalive-race/late-write.pcap");
    let capture = capture.to_str().expect("UTF-8");
    let sql = "SELECT close, COUNT(*) AS n FROM connections GROUP BY close";
    let arguments = [
        "query", capture, sql, "--format", "parquet", "--output", name,
    ];
    assert!(common::run(&arguments).status.success());
    let rows = query(&file, "SELECT SUM(n) AS n FROM close");
    let all = query(Path::new(capture), "SELECT COUNT(*) AS n FROM connections");
    assert_eq!(rows, all);
}

#[test]
fn tables_of_one_capture_are_files_that_can_be_queried() {
    let folder = tempfile::tempdir().expect("a folder");
    let capture = common::root().join("testdata/captures/keepalive-race/late-write.pcap");
    let paths =
        [&capture, folder.path()].map(|path: &Path| path.to_str().expect("UTF-8").to_owned());
    let arguments = ["analyze", &paths[0], "--format", "parquet", "-o", &paths[1]];
    let output = common::run(&arguments);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tables = folder.path().join("late-write.tables");
    let sql = "SELECT COUNT(*) AS n FROM connections";
    assert_eq!(query(&tables, sql), query(&capture, sql));
    for refused in [&["-o", "-"][..], &["-o", &paths[1], "--redact"]] {
        let mut arguments = vec!["analyze", &paths[0], "--format", "parquet"];
        arguments.extend(refused);
        assert_eq!(
            common::run(&arguments).status.code(),
            Some(2),
            "{refused:?}"
        );
    }
}
