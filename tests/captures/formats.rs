//! Captures of every format and tunnel, and those that fuzzing began with, go through all stages and
//! the page, or are refused in one line.

use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use pcapdoc::Failure;

use crate::{case, common};

pub fn cases() -> Vec<Trial> {
    let folders = ["testdata/formats", "fuzz/corpus/capture"];
    let files = folders.into_iter().flat_map(|folder| {
        let folder = common::root().join(folder);
        let entries = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        entries.map(|entry| entry.expect("an entry").path())
    });
    let mut files: Vec<PathBuf> = files.collect();
    files.sort();
    let case = |file: PathBuf| case("formats", &file.clone(), move || complaints(&file));
    files.into_iter().map(case).collect()
}

fn complaints(file: &Path) -> Vec<String> {
    match pcapdoc::analyze(&[file.to_str().expect("UTF-8")]) {
        Ok(document) => match reports::render::html::render(&document) {
            Ok(page) if page.starts_with("<!") => Vec::new(),
            Ok(_) => vec!["this is no page".to_owned()],
            Err(error) => vec![format!("no page: {error}")],
        },
        Err(failure @ Failure::Input(_)) if failure.to_string().lines().count() == 1 => Vec::new(),
        Err(failure) => vec![format!("not refused in one line: {failure:?}")],
    }
}
