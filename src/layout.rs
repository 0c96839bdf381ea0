//! Where the rows of a dataset lie: the folders of its partitions.

use std::path::{Path, PathBuf};

use analyzer::Timestamp;

/// The day of what has no frame.
const UNDATED: &str = "undated";

/// The folder of a table's rows of one day and group, relative to the dataset's.
pub fn partition(table: &str, day: &str, group: &str) -> PathBuf {
    Path::new(table).join(format!(
        "date={day}/capture_group={}",
        percent_encoded(group)
    ))
}

/// The day of a time, such as `2026-11-24`.
pub fn day(time: Option<Timestamp>) -> String {
    time.map_or_else(
        || UNDATED.to_owned(),
        |time| time.rfc3339().chars().take(10).collect(),
    )
}

/// A folder's value as Hive writes it.
fn percent_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
