//! What can end the program early, in one line, and the exit status it gives.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Why the program stopped.
#[derive(Debug)]
pub enum Failure {
    /// An argument or the configuration makes no sense.
    Usage(String),
    /// The input could not be read at all.
    Input(analyzer::Error),
    /// The input could not be read to its end, which `--strict` asks for.
    Incomplete(String),
    /// An output could not be written.
    Output(PathBuf, io::Error),
    /// A defect of ours.
    Internal(String),
}

impl Failure {
    /// An output failure.
    pub fn output(path: &Path, error: io::Error) -> Self {
        Self::Output(path.to_owned(), error)
    }

    /// Whether the reader of standard output went away.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(_, error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// 2 for wrong use, 3 for input that cannot be read, 4 for everything else.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Input(_) | Self::Incomplete(_) => ExitCode::from(3),
            Self::Output(..) | Self::Internal(_) => ExitCode::from(4),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) => f.write_str(message),
            Self::Input(error) => write!(f, "{error}"),
            Self::Incomplete(note) => write!(
                f,
                "{}; without --strict the rest is used",
                note.escape_debug()
            ),
            Self::Output(path, error) => {
                let path = path.display().to_string();
                write!(f, "could not write {}: {error}", path.escape_debug())
            }
            Self::Internal(message) => write!(f, "this is a defect of pcapdoc: {message}"),
        }
    }
}

/// Rows could not be written below `folder`.
pub fn table_failure(folder: &Path, error: reports::Error) -> Failure {
    match error {
        reports::Error::Write(error) => Failure::output(folder, error),
        other => Failure::Internal(other.to_string()),
    }
}
