//! What was collected on hosts beside a capture, read line by line.
//!
//! A file is recognised by its content (`formats`); each format has a reader of its own that
//! turns lines into [`Facts`]. Nothing here judges, and nothing knows a connection of a capture.
//! Files are streamed: what is kept of them is bounded ([`limits`]), and a quoted line is read
//! again from its place ([`HostFiles::quote`]) instead of being kept.
#![forbid(unsafe_code)]

mod formats;
pub mod limits;
mod model;
mod out;
mod packet_rule;
mod place;
mod read;
mod text;

pub use model::{
    CallShare, Clock, Counter, Facts, HostFile, KernelWord, Kind, Linger, LogLine, Opening, Read,
    SocketRow, SystemEvent, TcpCounters, TracedSocket, Translation, User,
};
pub use out::{Interest, Wanted};
pub use packet_rule::{Net, PacketRule, Target};
pub use place::{LineRef, Place};
pub use read::{HostFiles, Source};
pub use text::read_time;
