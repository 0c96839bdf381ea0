//! placeholder
use crate::{Document, escape};
/// Renders.
pub fn render(document: &Document) -> String {
    format!("# {}\n", escape::markdown(&document.verdict.sentence))
}
/// Renders.
pub fn summary(document: &Document) -> String {
    render(document)
}
