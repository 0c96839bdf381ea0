//! The language of every text that users read: reports of all captures, `--help` and the
//! documentation use neither banned words nor wrong plurals, ordinals, zero durations or dates.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::common;
use serde_json::Value;

/// Words that the texts do not use: the field has better ones (detect, show, state; byte; again).
const BANNED: [&str; 10] = [
    "tell",
    "tells",
    "told",
    "telling",
    "octet",
    "octets",
    "anew",
    "hands",
    "acknowledgement",
    "acknowledgements",
];

/// Nouns that are counted, in the plural.
const PLURALS: [&str; 30] = [
    "addresses",
    "attempts",
    "bytes",
    "clients",
    "closes",
    "connections",
    "copies",
    "datagrams",
    "errors",
    "failures",
    "findings",
    "frames",
    "handshakes",
    "lookups",
    "messages",
    "occurrences",
    "packets",
    "probes",
    "queries",
    "requests",
    "resets",
    "responses",
    "retransmissions",
    "segments",
    "servers",
    "sockets",
    "streams",
    "SYN-ACKs",
    "SYNs",
    "times",
];

/// Verbs that one thing takes, and those that several take.
const SINGULAR: [&str; 4] = ["was", "is", "has", "does"];
const PLURAL: [&str; 4] = ["were", "are", "have", "do"];

/// Fields of a document that quote packets, files of hosts, settings or commands.
const QUOTING: [&str; 9] = [
    "cells",
    "command",
    "comments",
    "files",
    "host",
    "interfaces",
    "lines",
    "setting",
    "target",
];

/// Longest title of a finding.
const TITLE: usize = 80;

/// Earlier dates come from times that nobody recorded.
const FIRST_YEAR: u32 = 1990;

/// A text without what it quotes: between double quotes or backticks.
fn own_words(text: &str) -> String {
    let parts = text.split(['"', '`']);
    let own = parts.enumerate().filter(|(index, _)| index % 2 == 0);
    own.map(|(_, part)| part).collect::<Vec<_>>().join("…")
}

/// What is wrong with a sentence.
fn complaint(sentence: &str) -> Option<String> {
    let words: Vec<&str> = sentence
        .split_whitespace()
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()))
        .collect();
    for (index, word) in words.iter().enumerate() {
        if BANNED.contains(&word.to_lowercase().as_str()) {
            return Some(format!("the word \"{word}\""));
        }
        if *word == "0.00" {
            return Some("a value of 0.00".to_owned());
        }
        let next = words.get(index + 1).copied().unwrap_or_default();
        if *word == "1" && PLURALS.contains(&next) {
            return Some(format!("\"1 {next}\""));
        }
        if index == 0 && *word == "1" && next != "of" && !next.ends_with('s') {
            // The first verb is the subject's: "1 segment from the server were lost".
            let verb = words
                .iter()
                .find(|word| SINGULAR.contains(word) || PLURAL.contains(word));
            if let Some(verb) = verb.filter(|verb| PLURAL.contains(verb)) {
                return Some(format!("\"1 {next} … {verb}\""));
            }
        }
        if is_wrong_ordinal(word) {
            return Some(format!("the ordinal {word}"));
        }
        if is_early_date(word) {
            return Some(format!("the date {word}"));
        }
    }
    None
}

/// `2th`, `11st`: a number with an ending of another one.
fn is_wrong_ordinal(word: &str) -> bool {
    let digits = word.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let ending = &word[digits.len()..];
    let Ok(number) = digits.parse::<u64>() else {
        return false;
    };
    let right = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    ["st", "nd", "rd", "th"].contains(&ending) && ending != right
}

/// `1970-01-01…`: a date before anybody captured packets.
fn is_early_date(word: &str) -> bool {
    let mut parts = word.split('-');
    let (Some(year), Some(month), Some(_)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    year.len() == 4
        && month.len() == 2
        && month.parse::<u8>().is_ok()
        && year.parse::<u32>().is_ok_and(|year| year < FIRST_YEAR)
}

/// The sentences of a text with something wrong, each with what it is.
fn complaints(place: &str, text: &str) -> Vec<String> {
    let text = own_words(text);
    let sentences = text.split(". ").flat_map(|part| part.split('\n'));
    let wrong = sentences.filter_map(|sentence| {
        let complaint = complaint(sentence)?;
        Some(format!("{place}: {complaint}: {}", sentence.trim()))
    });
    wrong.collect()
}

/// The texts of a document that pcapdoc wrote.
fn texts<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) if text.contains(' ') => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(fields) => {
            let own = fields
                .iter()
                .filter(|(key, _)| !QUOTING.contains(&key.as_str()));
            own.for_each(|(_, value)| texts(value, found));
        }
        _ => {}
    }
}

/// Markdown without its blocks of code.
fn prose(markdown: &str) -> String {
    let parts = markdown.split("```");
    let prose = parts.enumerate().filter(|(index, _)| index % 2 == 0);
    prose.map(|(_, part)| part).collect()
}

fn expect_none(wrong: &[String]) {
    assert!(
        wrong.is_empty(),
        "{} hits:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn reports_of_all_captures() {
    let captures = common::captures_with_truth();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut wrong = Vec::new();
        while let Some((path, truth)) = captures.get(next.fetch_add(1, Ordering::Relaxed)) {
            let path = path.to_str().expect("UTF-8");
            let more = truth["arguments"].as_array().into_iter().flatten();
            let arguments: Vec<&str> = std::iter::once(path)
                .chain(more.filter_map(Value::as_str))
                .collect();
            let document = pcapdoc::analyze(&arguments).unwrap_or_else(|e| panic!("{path}: {e}"));
            let document = serde_json::to_value(&document).expect("a document is JSON");
            let mut found = Vec::new();
            for part in [
                "verdict", "capture", "findings", "notices", "checks", "episodes",
            ] {
                texts(&document[part], &mut found);
            }
            wrong.extend(found.into_iter().flat_map(|text| complaints(path, text)));
            let findings = document["findings"].as_array().into_iter().flatten();
            let titles = findings.filter_map(|finding| finding["title"].as_str());
            let long = titles.filter(|title| title.chars().count() > TITLE);
            wrong.extend(long.map(|title| format!("{path}: longer than {TITLE}: {title}")));
        }
        wrong
    };
    let mut wrong: Vec<String> = thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(2, Into::into);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let done = workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("no panic"));
        done.collect()
    });
    wrong.sort_unstable();
    wrong.dedup();
    expect_none(&wrong);
}

#[test]
fn help_of_all_commands() {
    let help = |arguments: &[&str]| {
        let output = common::run(arguments);
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let general = help(&["--help"]);
    let (_, commands) = general
        .split_once("Commands:\n")
        .expect("a list of commands");
    let (commands, _) = commands.split_once("\n\n").expect("the end of the list");
    let mut wrong = complaints("pcapdoc --help", &general);
    for line in commands.lines() {
        // Further lines of a description are indented deeper.
        let Some(command) = line
            .strip_prefix("  ")
            .filter(|rest| !rest.starts_with(' '))
        else {
            continue;
        };
        let command = command.split_whitespace().next().expect("a name");
        wrong.extend(complaints(
            &format!("pcapdoc help {command}"),
            &help(&["help", command]),
        ));
    }
    expect_none(&wrong);
}

#[test]
fn documentation() {
    let docs = std::fs::read_dir(common::root().join("docs")).expect("docs");
    let pages = docs.map(|entry| entry.expect("a file").path());
    let pages = pages.filter(|page| page.extension().is_some_and(|extension| extension == "md"));
    let named = ["README.md", "CONTRIBUTING.md", "rules/CATALOG.md"];
    let named = named.map(|name| common::root().join(name));
    let schemas = std::fs::read_dir(common::root().join("reports/schema")).expect("schemas");
    let schemas = schemas.map(|entry| entry.expect("a file").path());
    let mut wrong = Vec::new();
    for page in pages.chain(named) {
        let text = std::fs::read_to_string(&page).expect("a readable page");
        wrong.extend(complaints(&page.display().to_string(), &prose(&text)));
    }
    for schema in schemas.filter(|file| file.extension().is_some_and(|e| e == "json")) {
        let text = std::fs::read_to_string(&schema).expect("a readable schema");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        let mut found = Vec::new();
        texts(&value, &mut found);
        let place = schema.display().to_string();
        wrong.extend(found.into_iter().flat_map(|text| complaints(&place, text)));
    }
    expect_none(&wrong);
}

#[test]
fn the_checks_find_what_they_look_for() {
    for wrong in [
        "the packets do not tell",
        "20 Octets are missing",
        "it took 0.00 ms",
        "1 connections were reset",
        "1 segment from the server were lost",
        "the 2th and 3rd",
        "the 11st",
        "at 1970-01-01T00:00:00Z",
    ] {
        assert_eq!(complaints("here", wrong).len(), 1, "{wrong}");
    }
    for right in [
        "11 connections were reset",
        "1 segment was lost while others were not",
        "1 connection was reset, the 2nd of 21",
        "GET \"/tell/1 connections\" and `octets`",
        "at 2026-11-24T10:15:00Z in 10.00 ms",
        "the 99th percentile",
    ] {
        assert_eq!(complaints("here", right), [""; 0], "{right}");
    }
}
