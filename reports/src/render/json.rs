//! Writing the document, and reading it back.

use std::io::{self, BufWriter, Read, Write};

use crate::document::{Document, SCHEMA_VERSION};
use crate::error::Error;

/// The JSON Schema of the document.
pub const SCHEMA: &str = include_str!("../../schema/pcapdoc-1.schema.json");

/// Writes the document with indentation, a connection to a line, and a final line end.
///
/// # Errors
/// Fails only if `out` cannot be written.
pub fn write(document: &Document, out: impl Write) -> io::Result<()> {
    // A document is written in millions of small pieces.
    let mut out = BufWriter::with_capacity(64 << 10, out);
    serde_json::to_writer_pretty(&mut out, document)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Reads what [`write()`] wrote.
///
/// # Errors
/// Fails if the text is not such a document, or one of another schema version.
pub fn read(input: impl Read) -> Result<Document, Error> {
    let value: serde_json::Value = serde_json::from_reader(input)
        .map_err(|error| Error::Read(format!("not a JSON document: {error}")))?;
    let version = value
        .get("schema_version")
        .and_then(serde_json::Value::as_u64);
    match version {
        Some(version) if version == u64::from(SCHEMA_VERSION) => {}
        Some(version) => {
            return Err(Error::Read(format!(
                "schema version {version} found, {SCHEMA_VERSION} expected: use the pcapdoc that \
                 wrote this file, or analyse the capture again"
            )));
        }
        None => {
            return Err(Error::Read(
                "not a pcapdoc result: it has no schema_version; give a file made by \
                 `pcapdoc analyze --format json`"
                    .to_owned(),
            ));
        }
    }
    serde_json::from_value(value)
        .map_err(|error| Error::Read(format!("not a pcapdoc result: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file in the repository says what the types say. To write it again:
    /// `PCAPDOC_BLESS=1 cargo test -p pcapdoc-reports`.
    #[test]
    fn the_schema_is_that_of_the_types() {
        let mut schema = schemars::schema_for!(Document);
        schema.insert(
            "title".to_owned(),
            format!("pcapdoc result, schema version {SCHEMA_VERSION}").into(),
        );
        let written = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var_os("PCAPDOC_BLESS").is_some() {
            let file = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/pcapdoc-1.schema.json");
            std::fs::write(file, &written).unwrap();
        } else {
            assert_eq!(
                written, SCHEMA,
                "run with PCAPDOC_BLESS=1 and look at the change"
            );
        }
    }
}
