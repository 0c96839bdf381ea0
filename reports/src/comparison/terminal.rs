//! The summary for a terminal.

use super::ComparisonDocument;
use crate::terminal::Style;

/// Renders the summary.
#[must_use]
pub fn render(document: &ComparisonDocument, style: Style) -> String {
    let _ = style;
    document.verdict.sentence.clone()
}
