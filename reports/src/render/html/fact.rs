//! A value with its name, as pages list them.

use serde::Serialize;

/// A named value.
#[derive(Serialize)]
pub(super) struct Fact {
    pub label: String,
    pub value: String,
}

impl Fact {
    pub(super) fn new(label: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            value: value.into(),
        }
    }
}
