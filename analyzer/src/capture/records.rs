//! The records of a file, whatever its format.

use super::Frame;
use super::format::{self, Format};
use super::pcap::Pcap;
use super::pcapng::Pcapng;
use super::session::{Session, Walked};
use super::snoop::Snoop;

/// Reading state of a format.
#[derive(Debug)]
pub(super) enum Records {
    Pcap(Pcap),
    Pcapng(Pcapng),
    Snoop(Snoop),
}

impl Records {
    pub fn walk(&mut self, bytes: &[u8], session: &mut Session, out: &mut Vec<Frame>) -> Walked {
        match self {
            Self::Pcap(pcap) => pcap.walk(bytes, session, out),
            Self::Pcapng(pcapng) => pcapng.walk(bytes, session, out),
            Self::Snoop(snoop) => snoop.walk(bytes, session, out),
        }
    }

    pub const fn header_left(&self) -> u64 {
        match self {
            Self::Pcap(pcap) => pcap.header_left(),
            Self::Pcapng(_) | Self::Snoop(_) => 0,
        }
    }

    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pcap(pcap) => pcap.name(),
            Self::Pcapng(_) => "pcapng",
            Self::Snoop(_) => "snoop",
        }
    }
}

/// Opens the format that `head` is the beginning of.
///
/// # Errors
/// What is wrong with the header, or what the file is instead, for a message.
pub(super) fn open_records(
    head: &[u8],
    lane: u32,
    session: &mut Session,
) -> Result<Records, String> {
    match format::recognise(head) {
        Some(Format::Pcap) => Pcap::open(head, lane, session).map(Records::Pcap),
        Some(Format::Pcapng) => Pcapng::open(head, lane).map(Records::Pcapng),
        Some(Format::Snoop) => Snoop::open(head, lane, session).map(Records::Snoop),
        None => Err(format::describe_unknown(head)),
    }
}
