//! placeholder
use crate::{Document, Error, escape};
/// Renders.
pub fn render(document: &Document) -> Result<String, Error> {
    Ok(format!(
        "<!doctype html><title>pcapdoc</title><h1>{}</h1>",
        escape::html(&document.verdict.sentence)
    ))
}
