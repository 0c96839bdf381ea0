//! Any number of threads gives the same document.

use serde_json::Value;

use crate::{Lab, json};

/// The arguments stand in the document; they are the one thing that may differ.
fn on(threads: &str, lab: &Lab) -> String {
    let mut document = json(&lab.analysed_from(&lab.path, &["--threads", threads]));
    document["tool"]["arguments"] = Value::Null;
    document.to_string()
}

pub fn complaints(lab: &Lab) -> Vec<String> {
    let one = on("1", lab);
    // Seven twice: a run repeated gives the same as well.
    let others = ["2", "4", "7", "7"].into_iter();
    let differing = others.filter(|threads| on(threads, lab) != one);
    differing
        .map(|threads| format!("{threads} threads give another document than one"))
        .collect()
}
