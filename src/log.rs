//! What the program says on standard error: lines for people, or one JSON object a line
//! (`--log json`).

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::cli::LogFormat;

static JSON: AtomicBool = AtomicBool::new(false);

/// Decides, once and before anything is said, how it is.
pub fn choose(format: LogFormat) {
    JSON.store(format == LogFormat::Json, Ordering::Relaxed);
}

/// Whether programs read along.
pub fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// Says something to whoever reads along. `fields` is an object.
pub fn say(event: &str, text: &str, fields: Value) {
    if is_json() {
        return tell(event, fields);
    }
    // Names of files come from other people: control characters are made visible. That standard
    // error may be closed does not make the results worse.
    let _ = writeln!(io::stderr(), "{}", reports::words::escape::terminal(text));
}

/// Says something to programs alone.
pub fn tell(event: &str, mut fields: Value) {
    if !is_json() {
        return;
    }
    if let Some(fields) = fields.as_object_mut() {
        fields.insert("event".to_owned(), event.into());
    }
    let _ = writeln!(io::stderr(), "{fields}");
}
