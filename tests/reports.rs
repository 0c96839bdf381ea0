//! What the reports promise: the JSON contract, and pages that text from packets cannot touch.

mod common;

use std::path::PathBuf;

use serde_json::Value;

fn capture(name: &str) -> PathBuf {
    common::root().join("testdata/captures").join(name)
}

/// What one format prints for a capture.
fn printed(capture: &str, format: &str) -> String {
    let output = common::run(&["analyze", capture, "--format", format, "--output", "-"]);
    assert!(output.status.success(), "{capture} as {format}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn every_result_keeps_the_json_schema() {
    let text = std::fs::read_to_string(common::root().join("reports/schema/pcapdoc-1.schema.json"))
        .expect("the schema");
    let schema: Value = serde_json::from_str(&text).expect("JSON");
    let mut results = 0;
    for (capture, _) in common::captures_with_truth() {
        let faults = faults(&common::json(&capture), &schema, &schema, "");
        assert!(faults.is_empty(), "{}: {faults:#?}", capture.display());
        results += 1;
    }
    assert!(results > 0);
    let wrong = serde_json::json!({"schema_version": -1, "findings": [{"severity": "awful"}]});
    let faults = faults(&wrong, &schema, &schema, "").join("\n");
    for fault in [
        "/schema_version: below",
        "/findings/0/severity: ",
        ": no capture",
    ] {
        assert!(faults.contains(fault), "{fault} was not seen:\n{faults}");
    }
}

/// What in `value` breaks `schema`: the part of JSON Schema that our types give, and a panic at
/// any other keyword. (Validating libraries turn on features of crates that they share with
/// polars, and the program would have to be built twice.)
fn faults(value: &Value, schema: &Value, root: &Value, at: &str) -> Vec<String> {
    let Some(keywords) = schema.as_object() else {
        assert_eq!(schema, &Value::Bool(true), "a schema at {at}");
        return Vec::new();
    };
    let mut found = Vec::new();
    let number = |limit: &Value| limit.as_f64().expect("a number");
    for (keyword, wanted) in keywords {
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "format" => {}
            "$ref" => {
                let name = wanted.as_str().and_then(|name| name.strip_prefix('#'));
                let target = root.pointer(name.expect("a local reference"));
                found.extend(faults(value, target.expect("a definition"), root, at));
            }
            "anyOf" | "oneOf" => {
                let mut choices = wanted.as_array().expect("schemas").iter();
                if !choices.any(|choice| faults(value, choice, root, at).is_empty()) {
                    found.push(format!("{at}: none of the choices"));
                }
            }
            "type" => {
                let kind = match value {
                    Value::Null => "null",
                    Value::Bool(_) => "boolean",
                    Value::Number(number) if number.is_f64() => "number",
                    Value::Number(_) => "integer",
                    Value::String(_) => "string",
                    Value::Array(_) => "array",
                    Value::Object(_) => "object",
                };
                let fits = |name: &Value| name == kind || (name == "number" && kind == "integer");
                if !wanted
                    .as_array()
                    .map_or_else(|| fits(wanted), |all| all.iter().any(fits))
                {
                    found.push(format!("{at}: {kind}, not {wanted}"));
                }
            }
            "const" if value != wanted => found.push(format!("{at}: not {wanted}")),
            "enum" if !wanted.as_array().expect("values").contains(value) => {
                found.push(format!("{at}: not one of {wanted}"));
            }
            "const" | "enum" => {}
            "minimum" if value.as_f64().is_some_and(|value| value < number(wanted)) => {
                found.push(format!("{at}: below {wanted}"));
            }
            "maximum" if value.as_f64().is_some_and(|value| value > number(wanted)) => {
                found.push(format!("{at}: above {wanted}"));
            }
            "minimum" | "maximum" => {}
            "required" => {
                let names = wanted.as_array().expect("names").iter().map(Value::as_str);
                let missing = names.flatten().filter(|name| value.get(name).is_none());
                found.extend(missing.map(|name| format!("{at}: no {name}")));
            }
            "properties" => {
                for (name, schema) in wanted.as_object().expect("schemas") {
                    if let Some(inner) = value.get(name) {
                        found.extend(faults(inner, schema, root, &format!("{at}/{name}")));
                    }
                }
            }
            "items" => {
                for (index, inner) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(faults(inner, wanted, root, &format!("{at}/{index}")));
                }
            }
            "prefixItems" => {
                let wanted = wanted.as_array().expect("schemas").iter().enumerate();
                for (index, schema) in wanted {
                    if let Some(inner) = value.get(index) {
                        found.extend(faults(inner, schema, root, &format!("{at}/{index}")));
                    }
                }
            }
            "minItems" | "maxItems" => {
                let count = value.as_array().map_or(0, Vec::len) as f64;
                let limit = number(wanted);
                let fits = if keyword == "minItems" {
                    count >= limit
                } else {
                    count <= limit
                };
                if value.is_array() && !fits {
                    found.push(format!("{at}: {count} items, {keyword} {limit}"));
                }
            }
            "default" => {}
            "additionalProperties" => assert_eq!(wanted, &Value::Bool(true), "{at}"),
            unknown => panic!("{unknown} at {at} is not checked yet"),
        }
    }
    found
}

/// A capture in which a peer put markup and terminal escapes where names are expected, in a file
/// whose name does the same.
#[test]
fn hostile_strings_reach_no_report_unescaped() {
    const MARKUP: &str = "<img src=x>|";
    let mut bytes = std::fs::read(capture("keepalive-race/late-write.pcap")).expect("the capture");
    replace_all(&mut bytes, b"shop.example", MARKUP.as_bytes());
    replace_all(&mut bytes, b"/item", b"/\x1b[1m");
    let folder = std::env::temp_dir().join(format!("pcapdoc-hostile-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let file = folder.join("<img src=x>|\u{1b}[31m[a](javascript:b).pcap");
    std::fs::write(&file, bytes).expect("a temporary file");
    let path = file.to_str().expect("UTF-8");

    let html = printed(path, "html");
    assert!(
        html.contains("&lt;img src=x&gt;|"),
        "the host name is shown, escaped"
    );
    let markdown = printed(path, "md");
    let terminal = printed(path, "terminal");
    for (name, page) in [("html", &html), ("md", &markdown), ("terminal", &terminal)] {
        assert!(page.contains("src=x"), "{name} shows the file's name");
        assert!(!page.contains('\u{1b}'), "{name} holds a terminal escape");
        if name != "terminal" {
            let outside_code = page.replace("`<img src=x>", "").replace("/<img src=x>", "");
            let shown = if name == "md" { &outside_code } else { page };
            assert!(!shown.contains("<img"), "{name} holds markup from a packet");
        }
    }
    std::fs::remove_dir_all(&folder).expect("the folder can go");
}

fn replace_all(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len(), "lengths in headers must stay true");
    let mut found = 0;
    for at in 0..bytes.len().saturating_sub(from.len()) {
        if bytes[at..].starts_with(from) {
            bytes[at..at + from.len()].copy_from_slice(to);
            found += 1;
        }
    }
    assert!(found > 0, "nothing was replaced");
}

#[test]
fn the_page_asks_nothing_of_the_network() {
    let race = capture("keepalive-race/late-write.pcap");
    let html = printed(race.to_str().expect("UTF-8"), "html");
    assert!(html.contains("Content-Security-Policy"));
    assert!(html.contains("default-src 'none'"));
    for forbidden in [
        "src=\"http",
        "href=\"http",
        "@import",
        "url(",
        "<link rel=\"stylesheet",
        "<iframe",
    ] {
        assert!(!html.contains(forbidden), "{forbidden} in the page");
    }
}

#[test]
fn the_markdown_report_tells_the_whole_story() {
    let race = capture("keepalive-race/late-write.pcap");
    let markdown = printed(race.to_str().expect("UTF-8"), "md");
    for part in [
        "# ",
        "## F1: ",
        "### Proof",
        "```mermaid\nsequenceDiagram",
        "### Why we think so",
        "### What it is not",
        "### What to change",
        "### How to confirm on the hosts",
        "Wireshark display filter:",
        "## Checks",
        "## How this report was made",
    ] {
        assert!(markdown.contains(part), "no {part:?} in\n{markdown}");
    }
}

/// The JSON holds everything a reader of any format sees.
#[test]
fn a_result_renders_again_without_its_capture() {
    let folder = std::env::temp_dir().join(format!("pcapdoc-again-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let folder_text = folder.to_str().expect("UTF-8");
    let race = capture("keepalive-race/late-write.pcap");
    let formats = "html,md,json";
    let first = common::run(&[
        "analyze",
        race.to_str().expect("UTF-8"),
        "--format",
        formats,
        "-o",
        folder_text,
    ]);
    assert!(first.status.success());
    let result = folder.join("late-write.report.json");
    let again = folder.join("again");
    for (format, extension) in [("html", "html"), ("md", "md"), ("json", "json")] {
        let target = again.join(format!("late-write.report.{extension}"));
        let output = common::run(&[
            "report",
            result.to_str().expect("UTF-8"),
            "--format",
            format,
            "-o",
            again.to_str().expect("UTF-8"),
        ]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let original = folder.join(format!("late-write.report.{extension}"));
        assert!(
            std::fs::read(original).expect("a report") == std::fs::read(target).expect("a report"),
            "{format} differs"
        );
    }
    let wrong = common::run(&["report", race.to_str().expect("UTF-8")]);
    assert_eq!(wrong.status.code(), Some(3));
    assert_eq!(String::from_utf8_lossy(&wrong.stderr).lines().count(), 1);
    std::fs::remove_dir_all(&folder).expect("the folder can go");
}

/// Markdown's pictures are there, complete, and need nothing from elsewhere.
#[test]
fn every_picture_that_markdown_links_lies_beside_it() {
    let folder = std::env::temp_dir().join(format!("pcapdoc pictures-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let target = folder.join("a report.md");
    let race = capture("keepalive-race/late-write.pcap");
    let output = common::run(&[
        "analyze",
        race.to_str().expect("UTF-8"),
        "--format",
        "md",
        "-o",
        target.to_str().expect("UTF-8"),
    ]);
    assert!(output.status.success());
    let text = std::fs::read_to_string(&target).expect("the report");
    let links: Vec<_> = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| link.ends_with(".svg"))
        .collect();
    assert!(links.len() >= 2, "{links:?}");
    for link in links {
        let picture = folder.join(link.replace("%20", " "));
        let svg = std::fs::read_to_string(&picture).unwrap_or_else(|_| panic!("no {link}"));
        assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"));
        for forbidden in ["href", "url(", "<script", "@import"] {
            assert!(!svg.contains(forbidden), "{forbidden} in {link}");
        }
    }
    std::fs::remove_dir_all(&folder).expect("the folder can go");
}

/// A terminal has 80 columns, a chat takes 15 lines, whatever was captured.
#[test]
fn short_outputs_are_short_for_every_capture() {
    for (capture, _) in common::captures_with_truth() {
        let path = capture.to_str().expect("UTF-8");
        let terminal = printed(path, "terminal");
        for line in terminal.lines() {
            assert!(line.chars().count() <= 80, "{path}: {line}");
        }
        assert!(!terminal.contains('\u{1b}'), "colour in a pipe");
        let summary = printed(path, "summary");
        assert!(
            (1..=15).contains(&summary.lines().count()),
            "{path}: {summary}"
        );
    }
}
