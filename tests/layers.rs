//! The rooms of each crate and the one way in which they import each other.
//!
//! A file imports only from its own room and from those that stand before it in the picture, and no
//! file imports one that imports it, however many stand between. A file and the rooms it lies in are
//! one: a part may use what its whole declares.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Crates by folder, each with its rooms and files from the ground up.
const PICTURE: [(&str, &[&str]); 2] = [
    (
        "reports/src",
        &[
            "error", "words", "document", "gather", "redact", "again", "render", "dataset",
        ],
    ),
    (
        "src",
        &[
            "cli",
            "failure",
            "log",
            "capture_names",
            "output",
            "interrupt",
            "progress",
            "inputs",
            "settings",
            "hashes",
            "analysis",
            "outputs",
            "commands",
        ],
    ),
];

/// A module by its names from the crate's root.
type Module = Vec<String>;

/// The files of a crate.
struct Crate {
    /// Source of each module, without tests and comments.
    sources: BTreeMap<Module, String>,
    /// Where names really are that a module gives on.
    given_on: BTreeMap<Module, Vec<Module>>,
}

#[test]
fn rooms_import_from_those_before_them() {
    for (folder, rooms) in PICTURE {
        let files = Crate::read(folder);
        let place = |module: &Module| rooms.iter().position(|room| *room == module[0]);
        for (file, imported) in files.arrows() {
            let (from, to) = (place(&file), place(&imported));
            let (from, to) = (from.unwrap_or(rooms.len()), to.unwrap_or(rooms.len()));
            assert!(from < rooms.len(), "{folder}: {file:?} is in no room");
            assert!(to <= from, "{folder}: {file:?} imports from {imported:?}");
        }
    }
}

#[test]
fn no_file_imports_one_that_imports_it() {
    for (folder, _) in PICTURE {
        let mut arrows = Crate::read(folder).arrows();
        // What imports nothing that is left, or is imported by nothing, is in no circle.
        loop {
            let (importers, imported): (BTreeSet<Module>, BTreeSet<Module>) =
                arrows.iter().cloned().unzip();
            let before = arrows.len();
            arrows.retain(|(file, other)| importers.contains(other) && imported.contains(file));
            if arrows.len() == before {
                break;
            }
        }
        assert!(arrows.is_empty(), "{folder}: in a circle: {arrows:#?}");
    }
}

impl Crate {
    fn read(folder: &str) -> Self {
        let mut sources = BTreeMap::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        collect(&root, &Module::new(), &mut sources);
        let mut given_on = BTreeMap::<_, Vec<_>>::new();
        for (module, source) in &sources {
            for start in ["pub use ", "pub(crate) use "] {
                for (at, _) in source.match_indices(start) {
                    let names = tree(&source[at + start.len()..]);
                    let names = names
                        .into_iter()
                        .map(|name| [module.clone(), name].concat());
                    given_on.entry(module.clone()).or_default().extend(names);
                }
            }
        }
        Self { sources, given_on }
    }

    /// Which file imports which, each once.
    fn arrows(&self) -> BTreeSet<(Module, Module)> {
        let mut arrows = BTreeSet::new();
        for (module, source) in self.sources.iter().filter(|(module, _)| !module.is_empty()) {
            for path in paths(module, source) {
                let imported = self.home_of(&path);
                if !imported.starts_with(module) && !module.starts_with(&imported) {
                    arrows.insert((module.clone(), imported));
                }
            }
        }
        arrows
    }

    /// The file that declares what a path names.
    fn home_of(&self, path: &Module) -> Module {
        let known = (0..=path.len()).rev().map(|len| path[..len].to_vec());
        let home = known
            .into_iter()
            .find(|part| self.sources.contains_key(part));
        let home = home.unwrap_or_default();
        let Some(name) = path.get(home.len()) else {
            return home;
        };
        let given_on = self.given_on.get(&home).into_iter().flatten();
        let mut truly =
            given_on.filter(|given| given.last() == Some(name) && given[..] != path[..]);
        truly.next().map_or(home, |given| self.home_of(given))
    }
}

/// Reads the sources below `folder`, which is `module`.
fn collect(folder: &Path, module: &Module, sources: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let mut inner = module.clone();
        if !matches!(&*stem, "mod" | "lib" | "main") {
            inner.push(stem.into_owned());
        }
        if path.is_dir() {
            collect(&path, &inner, sources);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).expect("a source");
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            let code = code
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            sources.insert(inner, code.collect::<Vec<_>>().join("\n"));
        }
    }
}

/// Every path in a source that begins at the crate or above its module, from the crate's root.
fn paths(module: &Module, source: &str) -> Vec<Module> {
    let mut all = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in source.match_indices(start) {
            let before = source[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let mut rest = &source[at..];
            let mut base = module.clone();
            while let Some(above) = rest.strip_prefix("super::") {
                base.pop();
                rest = above;
            }
            if let Some(below) = rest.strip_prefix("crate::") {
                base.clear();
                rest = below;
            }
            let names = tree(rest).into_iter();
            all.extend(names.map(|name| [base.clone(), name].concat()));
        }
    }
    all
}

/// The paths of a `use` tree, such as `a::{b, c::d}`.
fn tree(text: &str) -> Vec<Module> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
    let (head, rest) = text.split_at(end.unwrap_or(text.len()));
    let head: Module = head
        .split("::")
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    let Some(group) = rest.strip_prefix('{') else {
        return vec![head];
    };
    let mut depth = 0_usize;
    let mut parts = vec![String::new()];
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => parts.push(String::new()),
            _ => {
                depth = match c {
                    '{' => depth + 1,
                    '}' => depth - 1,
                    _ => depth,
                };
                parts.last_mut().expect("one part").push(c);
            }
        }
    }
    let parts = parts
        .iter()
        .map(|part| part.trim())
        .filter(|part| !part.is_empty());
    let inner = parts.flat_map(|part| tree(part.strip_prefix("self").unwrap_or(part)));
    inner.map(|inner| [head.clone(), inner].concat()).collect()
}
