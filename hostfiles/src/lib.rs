//! What was collected on hosts beside a capture, read line by line.
//!
//! A file is recognised by its content ([`formats`]); each format has a reader of its own that
//! turns lines into [`Facts`]. Nothing here judges, and nothing knows a connection of a capture.
//! Files are streamed: what is kept of them is bounded ([`limits`]), and a quoted line is read
//! again from its place ([`HostFiles::quote`]) instead of being kept.
#![forbid(unsafe_code)]

mod formats;
pub mod limits;
mod model;
mod out;
mod read;
mod text;

pub use model::{
    CallShare, Clock, Counter, Facts, HostFile, KernelWord, Kind, LineRef, Linger, LogLine, Net,
    Opening, PacketRule, Place, Read, SocketRow, SystemEvent, Target, TcpCounters, TracedSocket,
    Translation, User,
};
pub use out::Wanted;
pub use read::{HostFiles, Source};
pub use text::read_time;
