//! Findings on public captures against an expert's judgement of each, packet by packet.
//!
//! The captures are not part of the project. They are looked for in `../shared/captures/wild` beside
//! the repository, or where `PCAPDOC_WILD_CAPTURES` says; without them the test says that it was
//! skipped. The folder holds `files/` and two tables, separated by tabs:
//!
//! - `JUDGED.tsv`, a row for each finding of an earlier build. What was `right` must still be
//!   reported, medium or above; where only the severity was too much (`right-but-severity`), low, info
//!   or nothing is due; of anything else no finding of medium or above may be left.
//! - `MISSED.tsv`, what must be found and was not: any of its rules will do.
//!
//! A finding of medium or above that no row covers is unjudged: it counts in nothing, and is listed.
//! `cargo test --release --test program -- wild` prints what is still wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::common;
use rayon::prelude::*;
use reports::Document;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Least share of right ones among the judged findings of medium or above.
const PRECISION: f64 = 0.955;

/// Least share of the right findings that is still reported.
const KEPT: f64 = 1.0;

/// A row of a table, by column.
type Row = BTreeMap<String, String>;

fn folder() -> PathBuf {
    std::env::var_os("PCAPDOC_WILD_CAPTURES").map_or_else(
        || common::root().join("../shared/captures/wild"),
        PathBuf::from,
    )
}

fn table(file: &Path) -> Vec<Row> {
    let text =
        std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut lines = text.lines().map(|line| line.split('\t').map(str::to_owned));
    let columns: Vec<String> = lines.next().expect("a header").collect();
    let rows = lines.map(|fields| columns.iter().cloned().zip(fields).collect());
    rows.collect()
}

/// The capture, where it is there and the one that was judged.
fn capture(folder: &Path, row: &Row) -> Option<PathBuf> {
    let path = folder.join("files").join(&row["file"]);
    let digest = Sha256::digest(std::fs::read(&path).ok()?);
    let found: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
    (found == row["sha256"]).then_some(path)
}

/// What became of the rows of one capture or of all: counts by outcome, and what is to be told.
#[derive(Default)]
struct Score {
    counts: BTreeMap<&'static str, usize>,
    notes: Vec<String>,
}

impl Score {
    fn add(&mut self, outcome: &'static str, note: Option<String>) {
        *self.counts.entry(outcome).or_default() += 1;
        self.notes
            .extend(note.map(|note| format!("{outcome:12} {note}")));
    }

    fn merged(mut self, other: Self) -> Self {
        for (outcome, count) in other.counts {
            *self.counts.entry(outcome).or_default() += count;
        }
        self.notes.extend(other.notes);
        self
    }

    fn count(&self, outcome: &str) -> usize {
        self.counts.get(outcome).copied().unwrap_or_default()
    }

    /// The share of an outcome among itself and others; all of nothing.
    fn share(&self, outcome: &str, others: &[&str]) -> f64 {
        let count = |outcome: &str| self.count(outcome) as f64;
        let all = count(outcome) + others.iter().map(|other| count(other)).sum::<f64>();
        if all > 0.0 { count(outcome) / all } else { 1.0 }
    }
}

/// A severity's rank, by its name in the tables and the JSON contract.
fn rank(name: &str) -> usize {
    let names = ["info", "low", "medium", "high", "critical"];
    let rank = names.iter().position(|known| *known == name);
    rank.unwrap_or_else(|| panic!("{name} is no severity"))
}

const MEDIUM: usize = 2;

/// A finding as far as it is compared.
struct Found {
    rule: String,
    severity: usize,
    title: String,
    ends: BTreeSet<String>,
}

fn found(document: &Document) -> Vec<Found> {
    let document = serde_json::to_value(document).expect("a document is JSON");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let findings = document["findings"].as_array().expect("findings").iter();
    let found = findings.map(|finding| Found {
        rule: text(&finding["rule"]),
        severity: rank(&text(&finding["severity"])),
        title: text(&finding["title"]),
        ends: finding["connections"]
            .as_array()
            .expect("connections")
            .iter()
            .flat_map(|connection| [text(&connection["client"]), text(&connection["server"])])
            .collect(),
    });
    found.collect()
}

fn shortened(text: &str, length: usize) -> String {
    text.chars().take(length).collect()
}

fn score(name: &str, findings: &[Found], judged: &[&Row], missed: &[&Row]) -> Score {
    let mut score = Score::default();
    let mut covered = vec![false; findings.len()];
    for row in judged {
        let ends: BTreeSet<String> = row["ends"].split_whitespace().map(str::to_owned).collect();
        let is_hit = |one: &Found| {
            one.rule == row["rule"] && (ends.is_empty() || !ends.is_disjoint(&one.ends))
        };
        let mut top = None;
        for (covered, finding) in covered.iter_mut().zip(findings) {
            if is_hit(finding) {
                *covered = true;
                top = top.max(Some(finding.severity));
            }
        }
        if rank(&row["severity"]) < MEDIUM {
            continue;
        }
        let (title, truth) = (shortened(&row["title"], 70), shortened(&row["truth"], 160));
        let note = format!("{:24} {name}: {title} | {truth}", row["rule"]);
        match (row["judgement"].as_str(), top >= Some(MEDIUM)) {
            ("right", true) => score.add("right", None),
            ("right", false) => score.add("lost", Some(note)),
            ("right-but-severity", true) => score.add("too grave", Some(note)),
            (_, true) => score.add("false alarm", Some(note)),
            (_, false) => score.add("mended", None),
        }
    }
    for (finding, covered) in findings.iter().zip(covered) {
        if !covered && finding.severity >= MEDIUM {
            let title = shortened(&finding.title, 90);
            let note = format!("{:24} {name}: {title}", finding.rule);
            score.add("unjudged", Some(note));
        }
    }
    for row in missed {
        let is_it = |one: &Found| {
            let mut rules = row["rule"].split('|');
            rules.any(|rule| rule == one.rule) && one.severity >= rank(&row["least"])
        };
        if findings.iter().any(is_it) {
            score.add("miss mended", None);
        } else {
            let (rule, say) = (&row["rule"], shortened(&row["say"], 160));
            score.add("still missed", Some(format!("{rule:24} {name}: {say}")));
        }
    }
    score
}

fn score_file(folder: &Path, name: &str, judged: &[Row], missed: &[Row]) -> Score {
    let [judged, missed] = [judged, missed].map(|rows| {
        let own = rows.iter().filter(|row| row["file"] == name);
        own.collect::<Vec<_>>()
    });
    let mut score_of = Score::default();
    let row = judged.iter().chain(&missed).next().expect("a row");
    let Some(path) = capture(folder, row) else {
        score_of.add(
            "absent",
            Some(format!("{name}: not there, or another file")),
        );
        return score_of;
    };
    match pcapdoc::analyze(&[path.to_str().expect("UTF-8")]) {
        Ok(document) => score(name, &found(&document), &judged, &missed),
        Err(failure) => {
            score_of.add("no answer", Some(format!("{name}: {failure}")));
            score_of
        }
    }
}

#[test]
fn judged_findings_stay_right() {
    let folder = folder();
    if !folder.is_dir() {
        common::notice(&format!(
            "no captures in {}: the judged public captures are not looked at",
            folder.display()
        ));
        return;
    }
    let [judged, missed] = ["JUDGED.tsv", "MISSED.tsv"].map(|name| table(&folder.join(name)));
    let names: BTreeSet<&String> = judged
        .iter()
        .chain(&missed)
        .map(|row| &row["file"])
        .collect();
    let mut all = names
        .into_par_iter()
        .map(|name| score_file(&folder, name, &judged, &missed))
        .reduce(Score::default, Score::merged);
    all.notes.sort();
    let precision = all.share("right", &["false alarm", "too grave"]);
    let kept = all.share("right", &["lost"]);
    let missed = all.count("still missed");
    common::notice(&format!(
        "{}\njudged captures: {:?}; precision {precision:.3}, right ones kept {kept:.3}, still missed {missed}",
        all.notes.join("\n"),
        all.counts,
    ));
    assert_eq!(all.count("no answer"), 0, "captures that cannot be read");
    assert!(precision >= PRECISION, "precision {precision:.4}");
    assert!(kept >= KEPT, "right ones kept {kept:.4}");
    assert_eq!(missed, 0, "findings that are still missed");
}
