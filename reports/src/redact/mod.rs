//! Redaction: a report that can be shared without revealing who the hosts are and what they said.
//!
//! Everything derives from one key, so one host has one stand-in in all outputs of a run:
//!
//! | what | becomes |
//! | --- | --- |
//! | IPv4 and IPv6 addresses | other addresses; equal prefixes stay equal (`address`) |
//! | MAC addresses | other, locally administered ones |
//! | names, hosts, request targets | `name-1f3a…`; equal names stay equal (`names`) |
//! | payload in evidence | cut off; checksums are made right again (`frame`) |
//!
//! Ports, sizes, times, sequence numbers and TTLs stay: without them nothing could be checked.

mod address;
mod document;
mod frame;
mod host_lines;
mod names;
mod redactor;
mod text;

pub(crate) use document::options_only;
pub(crate) use host_lines::mask_lines;
pub use redactor::Redactor;
