//! What the reports promise: pages that text from packets cannot touch, and results that render again.
//! What holds for every capture (the JSON contract, short outputs) is tested in `tests/captures`.

use crate::common;
use std::path::PathBuf;

fn capture(name: &str) -> PathBuf {
    common::root().join("testdata/captures").join(name)
}

/// What one format prints for a capture.
fn printed(capture: &str, format: &str) -> String {
    let output = common::run(&["analyze", capture, "--format", format, "--output", "-"]);
    assert!(output.status.success(), "{capture} as {format}");
    String::from_utf8(output.stdout).expect("UTF-8")
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
        "### Evidence",
        "```mermaid\nsequenceDiagram",
        "### Why we conclude this",
        "### What it is not",
        "### How to fix it",
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
