//! Text from packets and file names in every output: shown, and harmless.

use crate::common;
use crate::packets;
use crate::packets::ATTACKS;

/// Every output of the hostile capture, in a file whose name attacks as well.
fn outputs() -> Vec<(String, String)> {
    let folder = std::env::temp_dir().join(format!("pcapdoc-hostile-text-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let input = folder.join("<img src=x onerror=alert(1)>|[a](javascript:b)\u{1b}[31m`.pcap");
    std::fs::write(&input, packets::hostile()).expect("a file");
    let out = folder.join("out");
    std::fs::create_dir_all(&out).expect("a folder");
    let (input, out_text) = (input.to_str().expect("UTF-8"), out.to_str().expect("UTF-8"));
    let mut all = Vec::new();
    for format in ["html", "md", "json", "terminal", "summary"] {
        let output = common::run(&["analyze", input, "--format", format, "--output", "-"]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        all.push((
            format.to_owned(),
            String::from_utf8(output.stdout).expect("UTF-8"),
        ));
    }
    let frame = ["explain-frame", input, "3"];
    let sql = "SELECT * FROM dns";
    for arguments in [&["inspect", input][..], &frame, &["query", input, sql]] {
        let output = common::run(arguments);
        let shown = [output.stdout, output.stderr].concat();
        all.push((
            arguments[0].to_owned(),
            String::from_utf8(shown).expect("UTF-8"),
        ));
    }
    let output = common::run(&["analyze", input, "--output", out_text]);
    all.push((
        "standard error".to_owned(),
        String::from_utf8(output.stderr).expect("UTF-8"),
    ));
    for entry in walk(&out) {
        let text = std::fs::read_to_string(&entry).expect("text");
        all.push((
            entry
                .extension()
                .expect("an ending")
                .to_string_lossy()
                .into_owned(),
            text,
        ));
    }
    std::fs::remove_dir_all(&folder).expect("the folder can go");
    all
}

fn of_kind<'a>(outputs: &'a [(String, String)], kind: &str) -> Vec<&'a String> {
    let found = outputs.iter().filter(|(name, _)| name == kind);
    found.map(|(_, text)| text).collect()
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder").flatten();
    entries
        .flat_map(|entry| {
            let path = entry.path();
            if path.is_dir() {
                walk(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[test]
fn attacks_are_shown_and_do_nothing() {
    let outputs = outputs();
    let of = |kind: &str| of_kind(&outputs, kind).into_iter();
    let findings: serde_json::Value =
        serde_json::from_str(of("json").next().expect("JSON")).expect("JSON");
    assert!(
        findings["findings"]
            .as_array()
            .is_some_and(|found| found.len() > 1)
    );
    assert!(
        of("json")
            .next()
            .is_some_and(|json| json.contains("alert(1)")),
        "the attacks are in the result"
    );
    for (name, text) in &outputs {
        assert!(!text.contains('\u{1b}'), "{name} holds a terminal escape");
        assert!(!text.contains('\u{7}'), "{name} rings");
        if name != "json" {
            assert!(!text.contains('\u{202e}'), "{name} turns text around");
        }
    }
    for page in of("html").chain(of("svg")) {
        // What the page itself holds comes from templates: no attribute with a handler, one script.
        assert!(page.matches("<script").count() <= 1);
        for forbidden in ["<img", " onerror=", " onclick=", "href=\"javascript", "49$"] {
            let escaped_away = page.replace("&lt;img", "").replace("&gt;", "");
            assert!(
                !escaped_away.contains(forbidden)
                    || forbidden == " onerror=" && !has_tag_with(page, forbidden),
                "{forbidden} in a page"
            );
        }
    }
    for text in of("md").chain(of("summary")) {
        let mut columns = None;
        for line in outside_code(text) {
            assert!(
                !line.contains("<script") && !line.contains("<img"),
                "{line}"
            );
            let links = line.replace("\\]", "");
            assert!(!links.contains("](javascript"), "{line}");
            if line.starts_with('|') {
                // Packets can neither add a cell to a row nor leave the table.
                let bars = line.replace("\\|", "").matches('|').count();
                assert_eq!(*columns.get_or_insert(bars), bars, "{line}");
            } else {
                columns = None;
            }
        }
    }
    for text in of("md") {
        for diagram in text.split("```mermaid\n").skip(1) {
            let diagram = diagram.split("```").next().unwrap_or_default();
            assert!(diagram.starts_with("sequenceDiagram"));
            assert!(
                !diagram.contains("%%") && !diagram.contains('<') && !diagram.contains("; "),
                "{diagram}"
            );
        }
    }
    assert!(ATTACKS.len() > 5);
}

/// Whether an attribute stands inside a tag.
fn has_tag_with(page: &str, attribute: &str) -> bool {
    page.split('<').skip(1).any(|tag| {
        tag.split('>')
            .next()
            .is_some_and(|tag| tag.contains(attribute))
    })
}

/// Lines that are no code block, without their inline code.
fn outside_code(text: &str) -> Vec<String> {
    let mut fence: Option<String> = None;
    let mut lines = Vec::new();
    for line in text.lines() {
        let ticks: String = line
            .chars()
            .take_while(|character| *character == '`')
            .collect();
        match &fence {
            Some(open) if line.trim_end() == open => fence = None,
            Some(_) => {}
            None if ticks.len() >= 3 => fence = Some(ticks),
            None => lines.push(without_inline_code(line)),
        }
    }
    lines
}

/// Removes code spans (CommonMark §6.1): a run of backticks up to the next run of that length.
fn without_inline_code(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(start) = rest.find('`') {
        let escaped = rest[..start].ends_with('\\');
        let run = rest[start..]
            .chars()
            .take_while(|character| *character == '`')
            .count();
        out.push_str(&rest[..start]);
        let body = &rest[start + run..];
        let closing = "`".repeat(run);
        let end = if escaped {
            None
        } else {
            find_run(body, &closing)
        };
        match end {
            Some(end) => rest = &body[end + run..],
            None => {
                out.push_str(&closing);
                rest = body;
            }
        }
    }
    out + rest
}

fn find_run(text: &str, run: &str) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = text[at..].find('`') {
        let start = at + found;
        let len = text[start..]
            .chars()
            .take_while(|character| *character == '`')
            .count();
        if len == run.len() {
            return Some(start);
        }
        at = start + len;
    }
    None
}
