//! Markdown for the incident.

use super::ComparisonDocument;

/// Renders the report.
#[must_use]
pub fn render(document: &ComparisonDocument) -> String {
    document.verdict.sentence.clone()
}

/// At most 15 lines for a chat.
#[must_use]
pub fn summary(document: &ComparisonDocument) -> String {
    document.verdict.sentence.clone()
}
