//! The filters and tests that expressions may use, and what is wrong with one.

use std::sync::LazyLock;

use minijinja::{Environment, UndefinedBehavior, Value};

/// Stands above all text, for text that is missing.
pub(super) const ABOVE_ALL_TEXT: &str = "\u{10FFFF}";

/// What all expressions are compiled in.
pub(super) static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.add_test("none", |value: &Value| is_missing(value));
    for name in ["default", "d"] {
        environment.add_filter(
            name,
            |value: Value, other: Value| {
                if is_missing(&value) { other } else { value }
            },
        );
    }
    environment
});

fn is_missing(value: &Value) -> bool {
    value.is_none()
        || value.as_str() == Some(ABOVE_ALL_TEXT)
        || f64::try_from(value.clone()).is_ok_and(f64::is_infinite)
}

/// Whether the environment knows a filter or a test of this name.
pub(super) fn knows(kind: &str, name: &str) -> bool {
    let question = ENVIRONMENT.compile_expression(if kind == "filter" {
        "name is filter"
    } else {
        "name is test"
    });
    question
        .and_then(|question| question.eval(minijinja::context!(name)))
        .is_ok_and(|answer| answer.is_true())
}

/// What is wrong with an expression, and in which of its lines (from 1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) reason: String,
}

/// What minijinja says, without where it stands in a template.
pub(super) fn fault_of(error: &minijinja::Error) -> Fault {
    Fault {
        line: error.line().unwrap_or(1),
        reason: error
            .detail()
            .map_or_else(|| error.kind().to_string(), str::to_owned),
    }
}
