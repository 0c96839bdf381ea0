//! How much is kept of host files. Whoever reaches a bound says so in the file's note.

/// Files read of one invocation.
pub const FILES: usize = 4_096;
/// Octets of a line that are looked at; the rest is skipped.
pub const LINE_BYTES: usize = 64 * 1024;
/// Octets of a line that are quoted.
pub const QUOTED_BYTES: usize = 1_000;
/// Facts of one kind kept over all files, at 100 to 400 bytes each.
pub const FACTS: usize = 200_000;
/// Sockets of traced programs kept over all files, at about 500 bytes each.
pub const TRACED: usize = 100_000;
/// Sizes of single reads kept per traced socket.
pub const READS: usize = 64;
/// Addresses kept of one file.
pub const ADDRESSES: usize = 1_024;
