//! What must hold for every capture of the repository: a test case for each capture and property,
//! in this process, and all that is wrong with a capture at once.
//!
//! `cargo test --release --test captures -- truth` runs one property, `-- late-write` one capture.

#[path = "../common/mod.rs"]
mod common;
mod enough;
mod evidence;
mod formats;
#[path = "../frames/mod.rs"]
mod frames;
mod outputs;
mod schema;
mod threads;
mod truth;
mod views;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use reports::Document;
use serde_json::Value;

/// A capture of the lab with what is known of it.
pub struct Lab {
    pub path: PathBuf,
    pub truth: Value,
}

impl Lab {
    /// Its document, analysed as its truth file says.
    pub fn analysed(&self) -> Document {
        self.analysed_from(&self.path, &[])
    }

    /// The document of a part of it in another file, with further arguments.
    pub fn analysed_from(&self, file: &Path, more: &[&str]) -> Document {
        let file = file.to_str().expect("UTF-8");
        let listed = self.truth["arguments"].as_array().into_iter().flatten();
        let told = listed.filter_map(Value::as_str);
        let arguments: Vec<&str> = [file, "--connections", "all"]
            .into_iter()
            .chain(told)
            .chain(more.iter().copied())
            .collect();
        pcapdoc::analyze(&arguments).unwrap_or_else(|failure| panic!("{file}: {failure}"))
    }
}

/// A document as its readers see it.
pub fn json(document: &Document) -> Value {
    serde_json::to_value(document).expect("a document is JSON")
}

/// A field's text; empty where there is none.
pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The elements of a list in a document or truth file.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// What is wrong with a capture, in one respect; nothing, when all is well.
type Property = fn(&Lab) -> Vec<String>;

/// A test case that fails with all complaints.
pub fn case(
    property: &str,
    path: &Path,
    complaints: impl FnOnce() -> Vec<String> + Send + 'static,
) -> Trial {
    let folder = path.parent().and_then(Path::file_name);
    let names = folder.into_iter().chain(path.file_name());
    let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
    Trial::test(
        format!("{property}::{}", names.join("/")),
        move || match complaints() {
            none if none.is_empty() => Ok(()),
            some => Err(Failed::from(some.join("\n"))),
        },
    )
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut cases = formats::cases();
    cases.push(schema::sees_faults());
    cases.push(enough::case());
    let properties: [(&str, Property); 6] = [
        ("truth", truth::complaints),
        ("evidence", evidence::complaints),
        ("views", views::complaints),
        ("threads", threads::complaints),
        ("schema", schema::complaints),
        ("outputs", outputs::complaints),
    ];
    for (path, truth) in common::captures_with_truth() {
        let lab = Arc::new(Lab { path, truth });
        for (property, complaints) in properties {
            let (path, lab) = (lab.path.clone(), Arc::clone(&lab));
            cases.push(case(property, &path, move || complaints(&lab)));
        }
    }
    libtest_mimic::run(&arguments, cases).exit_code()
}
