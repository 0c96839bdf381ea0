//! How long lists are written.

use rayon::prelude::*;
use serde::ser::{Error as _, SerializeSeq as _};
use serde::{Serialize, Serializer};

/// Writes each row on a line of its own: there may be ten thousand of them, and what comes after an
/// analysis nobody can do beside it.
pub(crate) fn a_line_each<S: Serializer>(
    rows: &[impl Serialize + Sync],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    /// Rows that are turned into text side by side.
    const ROWS: usize = 1024;
    let mut list = serializer.serialize_seq(Some(rows.len()))?;
    for rows in rows.chunks(ROWS) {
        let texts = rows.par_iter().map(serde_json::value::to_raw_value);
        for text in texts.collect::<Vec<_>>() {
            list.serialize_element(&text.map_err(S::Error::custom)?)?;
        }
    }
    list.end()
}
