//! One self-contained page.

use super::ComparisonDocument;
use crate::Error;

/// Renders the page.
///
/// # Errors
/// When the template does not fit, which is a defect of ours.
pub fn render(document: &ComparisonDocument) -> Result<String, Error> {
    let _ = document;
    Ok(String::new())
}
