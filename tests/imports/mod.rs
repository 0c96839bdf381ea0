//! Which file of a crate imports which, read from the sources.
//!
//! Tests are left out. A name that a module only gives on (`pub use`) counts for the file that
//! defines it, and to give on what lies below is no import.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A module or an item by its names from the crate's root.
type Name = Vec<String>;

/// A file and one that it imports, as paths below the crate's folder of sources.
pub type Arrow = (String, String);

/// The files of a crate.
pub struct Crate {
    files: BTreeMap<Name, File>,
}

/// What matters of a file.
struct File {
    path: String,
    /// Words and punctuation, without comments, strings and tests.
    tokens: Vec<String>,
    /// What it defines at its top level.
    defined: BTreeSet<String>,
    /// `use` trees, whether they are public, each name for itself.
    uses: Vec<(bool, Name)>,
}

impl Crate {
    /// Reads all sources below `folder`.
    pub fn read(folder: &Path) -> Self {
        let mut files = BTreeMap::new();
        collect(folder, folder, &mut files);
        let tests: Vec<Name> = files
            .iter()
            .flat_map(|(module, text)| {
                let names = test_modules(&text.1).into_iter();
                names.map(|name| [module.clone(), vec![name]].concat())
            })
            .collect();
        files.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
        let parse = |(module, (path, tokens))| (module, File::parse(path, tokens));
        Self {
            files: files.into_iter().map(parse).collect(),
        }
    }

    /// The files, as paths below the folder.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.values().map(|file| file.path.as_str())
    }

    /// Which file imports which, each once.
    pub fn arrows(&self) -> BTreeSet<Arrow> {
        let mut arrows = BTreeSet::new();
        for (module, file) in &self.files {
            let uses = file.uses.iter().filter_map(|(is_public, name)| {
                let full = self.absolute(module, name)?;
                let gives_on = *is_public && full.starts_with(module);
                (!gives_on).then_some(full)
            });
            let qualified = file.qualified_names();
            let qualified = qualified
                .iter()
                .filter_map(|name| self.absolute(module, name));
            for name in uses.chain(qualified) {
                let home = &self.files[&self.home_of(&name, 0)].path;
                if *home != file.path {
                    arrows.insert((file.path.clone(), home.clone()));
                }
            }
        }
        arrows
    }

    /// A name as written in `module`, from the crate's root; `None` for what is of another crate.
    fn absolute(&self, module: &Name, name: &Name) -> Option<Name> {
        let first = name.first()?;
        let above = name.iter().take_while(|part| *part == "super").count();
        let base = match first.as_str() {
            "crate" => return Some(name[1..].to_vec()),
            "self" => return Some([module.clone(), name[1..].to_vec()].concat()),
            "super" => module[..module.len().checked_sub(above)?].to_vec(),
            _ => module.clone(),
        };
        let full = [base, name[above..].to_vec()].concat();
        let is_child = || self.files.contains_key(&full[..module.len() + 1]);
        (above > 0 || is_child()).then_some(full)
    }

    /// The file that defines what a name means.
    fn home_of(&self, name: &Name, given_on: usize) -> Name {
        /// A name is given on by a few modules at most.
        const MOST: usize = 8;
        let prefixes = (0..=name.len()).rev().map(|len| name[..len].to_vec());
        let module = prefixes
            .into_iter()
            .find(|part| self.files.contains_key(part));
        let module = module.unwrap_or_default();
        let file = &self.files[&module];
        let Some(item) = name.get(module.len()) else {
            return module;
        };
        if file.defined.contains(item) || given_on == MOST {
            return module;
        }
        let meant = file.uses.iter().find(|(_, used)| used.last() == Some(item));
        let meant = meant.and_then(|(_, used)| self.absolute(&module, used));
        meant.map_or(module, |meant| self.home_of(&meant, given_on + 1))
    }
}

impl File {
    fn parse(path: String, tokens: Vec<String>) -> Self {
        const ITEMS: [&str; 8] = [
            "struct", "enum", "fn", "trait", "type", "const", "static", "mod",
        ];
        let (mut defined, mut uses) = (BTreeSet::new(), Vec::new());
        let mut depth = 0_usize;
        for (at, token) in tokens.iter().enumerate() {
            match token.as_str() {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth = depth.saturating_sub(1),
                "use" => {
                    let end = tokens[at..].iter().position(|token| token == ";");
                    let tree = &tokens[at + 1..at + end.unwrap_or(1)];
                    let is_public = is_public(&tokens[..at]);
                    uses.extend(leaves(tree).into_iter().map(|name| (is_public, name)));
                }
                item if depth == 0 && ITEMS.contains(&item) => {
                    defined.extend(tokens.get(at + 1).cloned());
                }
                "macro_rules" => defined.extend(tokens.get(at + 2).cloned()),
                _ => {}
            }
        }
        // `mod name;` only says that there is a file.
        for (at, token) in tokens.iter().enumerate() {
            if token == "mod" && tokens.get(at + 2).is_some_and(|next| next == ";") {
                defined.remove(&tokens[at + 1]);
            }
        }
        Self {
            path,
            tokens,
            defined,
            uses,
        }
    }

    /// Names with `::` in them outside of `use`.
    fn qualified_names(&self) -> Vec<Name> {
        let mut names = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            if self.tokens[at] == "use" {
                while self.tokens.get(at).is_some_and(|token| token != ";") {
                    at += 1;
                }
            }
            let visibility = at > 0 && self.tokens[at - 1] == "in";
            let mut name = Name::new();
            while let Some(word) = self.tokens.get(at).filter(|token| is_word(token)) {
                name.push(word.clone());
                if self.tokens.get(at + 1).is_none_or(|token| token != "::") {
                    break;
                }
                at += 2;
            }
            if name.len() > 1 && !visibility {
                names.push(name);
            }
            at += 1;
        }
        names
    }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Whether what follows these tokens is public to more than its own module.
fn is_public(before: &[String]) -> bool {
    match before.last().map(String::as_str) {
        Some("pub") => true,
        Some(")") => {
            let open = before.iter().rposition(|token| token == "(");
            open.is_some_and(|open| open > 0 && before[open - 1] == "pub")
        }
        _ => false,
    }
}

/// The names of a `use` tree, such as `a::{b, c::d}`, each for itself.
fn leaves(tree: &[String]) -> Vec<Name> {
    let group = tree.iter().position(|token| token == "{");
    let words = |tokens: &[String]| -> Name {
        let alias = tokens.iter().position(|token| token == "as");
        let tokens = &tokens[..alias.unwrap_or(tokens.len())];
        let words = tokens
            .iter()
            .filter(|token| is_word(token) || *token == "*");
        words.cloned().collect()
    };
    let Some(open) = group else {
        return vec![words(tree)];
    };
    let head = words(&tree[..open]);
    let mut parts: Vec<Vec<String>> = vec![Vec::new()];
    let mut depth = 0_usize;
    for token in &tree[open + 1..tree.len() - 1] {
        match token.as_str() {
            "," if depth == 0 => {
                parts.push(Vec::new());
                continue;
            }
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        parts.last_mut().expect("one part").push(token.clone());
    }
    let inner = parts
        .iter()
        .filter(|part| !part.is_empty())
        .flat_map(|part| leaves(part));
    let inner = inner.map(|name| if name == ["self"] { Name::new() } else { name });
    inner.map(|name| [head.clone(), name].concat()).collect()
}

/// Reads the sources below `folder` with their paths below `root`.
fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<Name, (String, Vec<String>)>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(root, &path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let below = path.strip_prefix(root).expect("below the root");
            let text = fs::read_to_string(&path).expect("a source");
            let below = below.to_str().expect("UTF-8").to_owned();
            let mut module: Name = below
                .trim_end_matches(".rs")
                .split('/')
                .map(str::to_owned)
                .collect();
            if matches!(
                module.last().map(String::as_str),
                Some("mod" | "lib" | "main")
            ) {
                module.pop();
            }
            files.insert(module, (below, tokens_of(&text)));
        }
    }
}

/// Files that are modules of tests: `#[cfg(test)] mod name;`.
fn test_modules(tokens: &[String]) -> Vec<String> {
    let marks = tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| *token == TEST_MODULE);
    marks
        .filter_map(|(at, _)| tokens.get(at + 1).cloned())
        .collect()
}

/// Stands for `#[cfg(test)] mod`, before the name of a module in a file of its own.
const TEST_MODULE: &str = "#test";

/// Words and punctuation; what is only compiled for tests is left out.
fn tokens_of(text: &str) -> Vec<String> {
    let all = words_and_punctuation(text);
    let mut kept = Vec::new();
    let mut at = 0;
    while at < all.len() {
        let is_test = ["#", "[", "cfg", "(", "test", ")", "]"];
        if !all[at..].iter().take(is_test.len()).eq(is_test.iter()) {
            kept.push(all[at].clone());
            at += 1;
            continue;
        }
        at += is_test.len();
        // To the end of the item: `;`, or the brace that closes it.
        let mut depth = 0_usize;
        let start = at;
        while at < all.len() {
            match all[at].as_str() {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                _ => {}
            }
            at += 1;
            if depth == 0 && matches!(all[at - 1].as_str(), ";" | "}") {
                break;
            }
        }
        let item = &all[start..at];
        if let Some(place) = item.iter().position(|token| token == "mod")
            && item.last().is_some_and(|last| last == ";")
        {
            kept.push(TEST_MODULE.to_owned());
            kept.push(item[place + 1].clone());
        }
    }
    kept
}

/// Words, `::` and single characters of a source; comments and literals are left out.
fn words_and_punctuation(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    let line_end = |from: usize| {
        let rest = chars[from..].iter();
        from + rest.take_while(|c| **c != '\n').count()
    };
    while at < chars.len() {
        let (c, next) = (chars[at], chars.get(at + 1).copied());
        match c {
            '/' if next == Some('/') => at = line_end(at),
            '"' => at = string_end(&chars, at, 0),
            'r' if matches!(next, Some('"' | '#')) && raw_string(&chars, at).is_some() => {
                let hashes = raw_string(&chars, at).unwrap_or_default();
                at = string_end(&chars, at + 1 + hashes, hashes + 1);
            }
            '\'' => {
                // A character literal; else a lifetime, whose name is no path.
                let is_literal = next == Some('\\') || chars.get(at + 2) == Some(&'\'');
                at += if next == Some('\\') {
                    let rest = chars[at + 3..].iter();
                    rest.take_while(|c| **c != '\'').count() + 4
                } else if is_literal {
                    3
                } else {
                    1
                };
            }
            _ if c.is_alphanumeric() || c == '_' => {
                let rest = chars[at..].iter();
                let len = rest
                    .take_while(|c| c.is_alphanumeric() || **c == '_')
                    .count();
                tokens.push(chars[at..at + len].iter().collect());
                at += len;
            }
            ':' if next == Some(':') => {
                tokens.push("::".to_owned());
                at += 2;
            }
            _ => {
                if !c.is_whitespace() {
                    tokens.push(c.to_string());
                }
                at += 1;
            }
        }
    }
    tokens
}

/// How many `#` a raw string at `at` has, when there is one.
fn raw_string(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    (chars.get(at + 1 + hashes) == Some(&'"')).then_some(hashes)
}

/// The place behind a string that opens at `at`. `raw`: 0, or one more than its `#`.
fn string_end(chars: &[char], at: usize, raw: usize) -> usize {
    let mut place = at + 1;
    while place < chars.len() {
        match chars[place] {
            '\\' if raw == 0 => place += 1,
            '"' => {
                let hashes = chars[place + 1..].iter().take_while(|c| **c == '#').count();
                if raw == 0 || hashes + 1 >= raw {
                    return place + 1 + raw.saturating_sub(1);
                }
            }
            _ => {}
        }
        place += 1;
    }
    place
}
