//! Snoop, the format of Solaris (RFC 1761).

use super::link_type::MAX_CAPTURED;
use super::session::{InterfaceDescription, Session, WalkEnd, Walked};
use super::{Frame, LinkType};
use crate::cursor::Cursor;
use crate::time::Timestamp;

/// The first eight bytes of a snoop file.
pub(super) const MAGIC: &[u8; 8] = b"snoop\0\0\0";
/// Length of a record header.
const RECORD_HEADER: usize = 24;
/// Wireshark's limit, as for pcap.
const MAX_RECORD: u32 = MAX_CAPTURED + 4096;

/// Reading state of a snoop file.
#[derive(Debug)]
pub(super) struct Snoop {
    interface: u32,
    header_left: usize,
}

impl Snoop {
    /// Reads the file header.
    ///
    /// # Errors
    /// What is wrong with the header, for a message.
    pub fn open(head: &[u8], lane: u32, session: &mut Session) -> Result<Self, String> {
        let mut cursor = Cursor::new(head);
        let header = cursor
            .take(MAGIC.len())
            .and_then(|_| Some((cursor.u32()?, cursor.u32()?)));
        let Some((version, data_link)) = header else {
            return Err(format!(
                "the snoop file header is cut: expected 16 bytes, found {}",
                head.len()
            ));
        };
        if version != 2 {
            return Err(format!(
                "snoop version {version} is not supported: expected version 2"
            ));
        }
        // RFC 1761 numbers; those from 8 on are Sun's or others' additions.
        let link_type = match data_link {
            0 | 4 => LinkType::ETHERNET,
            2 => LinkType::TOKEN_RING,
            8 => LinkType::FDDI,
            18 => LinkType::SUNATM,
            26 => LinkType::IP_OVER_INFINIBAND,
            17 | 25 => LinkType::IPNET,
            other => {
                return Err(format!(
                    "snoop data link type {other} is not supported: convert the file with `editcap -F pcapng IN OUT.pcapng`"
                ));
            }
        };
        let interface = session.interface(&InterfaceDescription {
            lane,
            index_in_section: 0,
            link_type,
            fcs_len: 0,
            snaplen: 0,
            name: None,
        });
        Ok(Self {
            interface,
            header_left: 16,
        })
    }

    /// Cuts as many whole records out of `bytes` as there are.
    pub fn walk(&mut self, bytes: &[u8], session: &mut Session, out: &mut Vec<Frame>) -> Walked {
        let before = out.len();
        let mut at = std::mem::take(&mut self.header_left);
        let end = loop {
            let mut cursor = Cursor::new(bytes.get(at..).unwrap_or(&[]));
            if cursor.len() < RECORD_HEADER {
                break WalkEnd::Needs(RECORD_HEADER);
            }
            let mut word = || cursor.u32().unwrap_or(0);
            let [original, captured, record, _drops, seconds, micros] =
                std::array::from_fn(|_| word());
            let whole = captured.saturating_add(RECORD_HEADER as u32) <= record;
            if record > MAX_RECORD || !whole {
                break WalkEnd::Damaged(format!(
                    "expected a record of {RECORD_HEADER} to {MAX_RECORD} bytes that holds its packet, found a packet of {captured} bytes in a record of {record}"
                ));
            }
            if bytes.len() - at < record as usize {
                break WalkEnd::Needs(record as usize);
            }
            session.frames += 1;
            let nanos = i64::from(seconds) * 1_000_000_000 + i64::from(micros) * 1000;
            out.push(Frame {
                number: session.frames,
                time: Timestamp::from_nanos(nanos),
                start: u32::try_from(at + RECORD_HEADER).unwrap_or(u32::MAX),
                captured_len: captured,
                original_len: original.max(captured),
                interface: self.interface,
            });
            at += record as usize;
        };
        session.count_frames(self.interface, (out.len() - before) as u64);
        Walked { consumed: at, end }
    }
}
