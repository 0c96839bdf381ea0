//! Habits that every rule keeps, and the generated catalogue page.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use pcapdoc_rules::Engine;
use pcapdoc_rules::explain::{catalog_page, explain, listing};
use pcapdoc_rules::meta::{DOC_SECTIONS, RuleMeta};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a rule: its file, or all files of its folder.
fn source(meta: &RuleMeta) -> String {
    let name = meta.id.replace('-', "_");
    let folder = root().join("src/catalog").join(&name);
    let files: Vec<PathBuf> = if folder.is_dir() {
        let entries = fs::read_dir(&folder).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    } else {
        vec![folder.with_extension("rs")]
    };
    let read = |file: &PathBuf| {
        fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    };
    files.iter().map(read).collect()
}

/// The first string argument of every call of `function` in a source text.
fn arguments(source: &str, function: &str) -> BTreeSet<String> {
    source
        .split(&format!("{function}("))
        .skip(1)
        .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_rule_is_a_file_or_a_folder_named_after_it() {
    let ids: Vec<&str> = Engine::catalogue().iter().map(|meta| meta.id).collect();
    assert!(ids.is_sorted(), "the registry is in order of ids");
    let files: BTreeSet<String> = fs::read_dir(root().join("src/catalog"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| name.trim_end_matches(".rs").replace('_', "-"))
        .filter(|name| name != "mod")
        .collect();
    assert_eq!(files, ids.iter().map(|id| (*id).to_owned()).collect());
}

#[test]
fn documentation_is_complete() {
    for meta in Engine::full_catalogue() {
        let first = meta.summary();
        assert!(
            first.ends_with('.') && first.len() <= 120,
            "{}: first line {first:?}",
            meta.id
        );
        assert!(
            !meta.title.ends_with('.'),
            "{}: title ends with a full stop",
            meta.id
        );
        let docs = meta.docs();
        let headings: Vec<&str> = docs
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .collect();
        assert_eq!(headings, DOC_SECTIONS, "{}: sections", meta.id);
        for section in DOC_SECTIONS {
            assert!(
                meta.section(section).len() > 20,
                "{}: section {section} is empty",
                meta.id
            );
        }
        for threshold in meta.thresholds {
            assert!(
                threshold.doc.ends_with('.'),
                "{}: {} has no reason",
                meta.id,
                threshold.name
            );
        }
    }
}

#[test]
fn figures_and_thresholds_are_declared_and_used() {
    for meta in Engine::catalogue() {
        let source = source(meta);
        let mut emitted = BTreeSet::new();
        for function in [".figure", ".figure_if", ".text", ".set_figure"] {
            emitted.extend(arguments(&source, function));
        }
        let declared: BTreeSet<String> = meta
            .figures
            .iter()
            .map(|figure| figure.name.to_owned())
            .collect();
        assert_eq!(
            emitted, declared,
            "{}: figures emitted and declared",
            meta.id
        );
        let declared: BTreeSet<String> = meta
            .thresholds
            .iter()
            .map(|threshold| threshold.name.to_owned())
            .collect();
        assert_eq!(
            arguments(&source, ".threshold"),
            declared,
            "{}: thresholds",
            meta.id
        );
    }
}

#[test]
fn every_rule_tests_firing_and_silence() {
    for meta in Engine::catalogue() {
        let tests = source(meta);
        assert!(
            tests.matches("#[test]").count() >= 2,
            "{}: too few tests",
            meta.id
        );
        assert!(
            tests.contains("is_empty()"),
            "{}: no near-miss is tested",
            meta.id
        );
    }
}

#[test]
fn files_stay_readable() {
    fn visit(folder: &Path, long: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, long);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let lines = fs::read_to_string(&path).unwrap().lines().count();
                if lines > 500 {
                    long.push(format!("{}: {lines} lines", path.display()));
                }
            }
        }
    }
    let mut long = Vec::new();
    visit(&root().join("src"), &mut long);
    assert!(long.is_empty(), "files above 500 lines: {long:?}");
}

#[test]
fn the_catalogue_page_is_current() {
    let page = catalog_page(&Engine::full_catalogue());
    let file = root().join("CATALOG.md");
    if std::env::var_os("PCAPDOC_BLESS").is_some() {
        fs::write(&file, &page).unwrap();
    }
    let known = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        known == page,
        "rules/CATALOG.md is out of date: run PCAPDOC_BLESS=1 cargo test -p pcapdoc-rules"
    );
}

#[test]
fn explanations_and_the_listing_name_every_rule() {
    let metas = Engine::full_catalogue();
    let list = listing(&metas);
    for meta in metas {
        assert!(list.contains(meta.id));
        let text = explain(meta);
        assert!(text.starts_with(&format!("# {}", meta.id)) && text.contains("## Figures"));
    }
}
