//! The records of a file, whatever its format.

use super::pcap::{self, Pcap};
use super::pcapng::{self, Pcapng};
use super::session::{Session, Walked};
use super::snoop::{self, Snoop};
use super::{Frame, foreign};

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
    if pcap::is_pcap(head) {
        Pcap::open(head, lane, session).map(Records::Pcap)
    } else if pcapng::is_pcapng(head) {
        Pcapng::open(head, lane).map(Records::Pcapng)
    } else if head.starts_with(snoop::MAGIC) {
        Snoop::open(head, lane, session).map(Records::Snoop)
    } else {
        Err(foreign::describe(head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magic_numbers() {
        assert!(pcap::is_pcap(&[0xd4, 0xc3, 0xb2, 0xa1]));
        assert!(pcap::is_pcap(&[0xa1, 0xb2, 0x3c, 0x4d]));
        assert!(pcap::is_pcap(&[0x34, 0xcd, 0xb2, 0xa1]));
        assert!(pcap::is_pcap(&[0xac, 0x01, 0x00, 0x1c]));
        assert!(pcapng::is_pcapng(&[0x0a, 0x0d, 0x0d, 0x0a]));
        assert!(!pcap::is_pcap(b"") && !pcapng::is_pcapng(b""));
    }
}
