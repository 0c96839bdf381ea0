//! Conditions over rows: what is missing, what is refused, how many rows a second.

use super::expression::Formula;
use super::tables::Source;
use super::*;
use crate::rows::Value;

fn formula(source: &str) -> Formula {
    let columns = Source::Requests.columns();
    Formula::new(source, &columns).unwrap_or_else(|fault| panic!("{source}: {}", fault.reason))
}

fn fault(source: &str) -> String {
    let columns = Source::Requests.columns();
    Formula::new(source, &columns).err().unwrap().reason
}

fn holds(source: &str, row: &[Value]) -> bool {
    formula(source).holds(row).unwrap()
}

#[test]
fn a_missing_value_compares_with_nothing() {
    let (missing, known) = (&[Value::Missing], &[Value::Number(900.0)]);
    for source in ["response_ms > 800", "response_ms >= 0"] {
        assert!(holds(source, known) && !holds(source, missing), "{source}");
    }
    for source in [
        "response_ms < 800",
        "not response_ms > 800",
        "response_ms <= 1",
    ] {
        assert!(!holds(source, missing), "{source}");
    }
    assert!(holds("response_ms is none", missing) && !holds("response_ms is none", known));
    assert!(!holds("response_ms is not none", missing));
    assert!(holds("response_ms|default(0) < 5", missing));
    assert!(holds("status != 200", missing));
    let row = &[Value::Missing, Value::Integer(503)];
    assert!(holds("response_ms < 5 or status >= 500", row));
}

#[test]
fn missing_text_has_no_beginning() {
    let row = &[Value::Missing, Value::Integer(500)];
    assert!(!holds("target is startingwith '/a' and status == 500", row));
    assert!(holds("target is startingwith '/a' or status == 500", row));
    assert!(!holds("'x' in target and status == 500", row));
    assert!(!holds("target < 'b' and status == 500", row));
}

#[test]
fn dots_stand_for_underscores_outside_quotes() {
    let row = &[Value::Integer(8443)];
    assert!(holds("server.port == 8443", row));
    assert!(holds("server.port * 0.5 == 4221.5", row));
    let target = &[Value::Text("server.port".into())];
    assert!(holds("target == 'server.port'", target));
}

#[test]
fn what_cannot_be_is_refused() {
    assert!(fault("wait_mss > 1").contains("did you mean `wait_ms`?"));
    assert!(fault("server.prot == 1").contains("did you mean `server_port`?"));
    assert!(fault("false and target is startswith 'a'").contains("no test `startswith`"));
    assert!(fault("target|lowr == 'a'").contains("no filter `lowr`"));
    assert!(fault("range(3)|length > 1").contains("functions cannot be called"));
    assert!(fault("status in ['500']").contains("compared with the text"));
    assert!(fault("status ==").contains("unexpected"));
    assert!(fault("capture_set == 'a'").contains("the same for all rows"));
}

#[test]
fn columns_without_end_make_no_groups() {
    let all =
        ["connections", "requests", "dns", "findings"].map(|name| Source::named(name).unwrap());
    for source in all {
        for column in source.columns() {
            let measured = column.name.ends_with("_ms")
                || column.name.ends_with("_frame")
                || column.name.ends_with("_bytes")
                || column.name.ends_with("_time");
            assert!(!measured || column.endless().is_some(), "{}", column.name);
        }
    }
    let ends = Source::Requests.columns();
    let ends = ends.iter().filter(|column| column.endless().is_none());
    let names: Vec<&str> = ends.map(|column| column.name).collect();
    for needed in ["client", "server", "target", "status", "hour", "answered"] {
        assert!(names.contains(&needed), "{needed}");
    }
}

#[test]
fn definitions_tell_rules_apart() {
    let read = |text: &str| {
        let mut reader = Reader::new(vec!["packet-loss"]);
        reader.read(text, "a.toml").map(|()| reader.rules)
    };
    let text = "[[rule]]\nid = \"a\"\ntitle = \"A {server}\"\non = \"dns\"\nwhen = \"answered\"\n";
    let (one, other) = (read(text).unwrap(), read(text).unwrap());
    assert_eq!(one, other);
    let changed = read(&text.replace("answered", "not answered")).unwrap();
    assert_ne!(one, changed);
    assert_eq!(one[0].place, "a.toml:1");
    assert!(read(&text.replace("\"a\"", "\"packet-loss\"")).is_err());
    assert!(read("rule = 1\n").is_err() && read("[[rule]]\n").is_err());
}
