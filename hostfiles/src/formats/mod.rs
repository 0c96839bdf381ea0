//! The formats, each with a file of its own, and the order in which they are tried.

mod access_log;
mod conntrack;
mod error_log;
mod iptables;
mod iptables_list;
mod ipvs;
mod journal;
mod lsof;
mod netstat;
mod netstat_s;
mod nft;
mod nstat;
mod proc_net;
mod proxy_log;
mod ss;
mod states;
mod strace;
mod strace_summary;
mod tracepoint;

use crate::model::Kind;
use crate::out::Out;
use crate::place::LineRef;

/// Reads the lines of a file.
pub(crate) trait Format {
    /// Takes the next line; says whether it understood it.
    fn line(&mut self, line: &str, at: LineRef, out: &mut Out<'_>) -> bool;

    /// Whether lines that hold nothing but a time stand between its snapshots.
    fn has_snapshots(&self) -> bool {
        false
    }

    /// Such a line came.
    fn mark(&mut self, _out: &mut Out<'_>) {}

    /// The file is at its end.
    fn finish(&mut self, _out: &mut Out<'_>) {}
}

/// How a format is recognised.
pub(crate) struct Known {
    pub(crate) kind: Kind,
    /// Whether a file that begins with these lines (without the empty ones) is one of it.
    pub(crate) recognise: fn(&[&str]) -> bool,
    pub(crate) make: fn() -> Box<dyn Format>,
}

/// All formats; the first that recognises a file reads it.
pub(crate) const ALL: &[Known] = &[
    strace_summary::KNOWN,
    ss::KNOWN,
    netstat::KNOWN,
    proc_net::KNOWN,
    nstat::KNOWN,
    netstat_s::KNOWN,
    lsof::KNOWN,
    iptables::KNOWN,
    iptables_list::KNOWN,
    nft::KNOWN,
    ipvs::KNOWN,
    conntrack::KNOWN,
    error_log::KNOWN,
    access_log::KNOWN,
    proxy_log::KNOWN,
    tracepoint::KNOWN,
    strace::KNOWN,
    journal::KNOWN,
];
