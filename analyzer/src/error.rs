//! Fatal errors: an input that cannot be read at all, said in one line.

use std::fmt;
use std::path::PathBuf;

/// Why a capture could not be read: file, place, what was wrong, what to do.
///
/// `Display` is exactly one line. A damaged but partly readable capture is not an error: what
/// was read before the damage is analysed and a [`crate::QualityNote`] tells the rest.
#[derive(Debug)]
pub struct Error {
    /// The input as the user named it; `-` is standard input.
    pub file: PathBuf,
    /// Byte offset in the (decompressed) input, when known.
    pub offset: Option<u64>,
    /// What was wrong and what to do, lower case, no full stop.
    pub message: String,
    /// The operating system's part of the story.
    pub source: Option<std::io::Error>,
}

impl Error {
    /// An error about `file` as a whole.
    pub fn new(file: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            offset: None,
            message: message.into(),
            source: None,
        }
    }

    /// Adds the byte offset where reading stopped.
    #[must_use]
    pub fn at(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// Adds the operating system's error.
    #[must_use]
    pub fn because(mut self, source: std::io::Error) -> Self {
        self.source = Some(source);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A file name may hold anything, also control characters and line breaks.
        write!(f, "{}: ", self.file.display().to_string().escape_debug())?;
        if let Some(offset) = self.offset {
            write!(f, "at byte {offset}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
