//! Where in a file something stands.

/// A line of a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LineRef {
    /// Index into [`crate::HostFiles::files`].
    pub file: usize,
    /// Number of the line, from 1.
    pub line: u64,
    /// Octets before it.
    pub offset: u64,
}

/// A line and the time that it bears, by its file's `Clock`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Place {
    /// Where.
    pub at: LineRef,
    /// When.
    pub time: Option<i64>,
}
