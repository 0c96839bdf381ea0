//! pcapng: sections, interfaces, packet blocks.
//!
//! Enhanced packets, nearly all of a file, are cut by a loop of our own; every other block goes
//! through pcap-parser (`pcapng_section`). Interfaces belong to their section; the [`Session`] makes them
//! capture-wide. Whatever block states an impossible length ends the file there: what follows
//! cannot be found again.

use super::Frame;
use super::pcapng_option as option;
use super::pcapng_process::{Marks, Processes};
use super::pcapng_section::{Damage, Section, options_are, word};
use super::remark::{Remark, Said};
use super::session::{LargeBlock, Session, WalkEnd, Walked};
use crate::time::Timestamp;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
/// Custom blocks, to be copied or not.
const CUSTOM: [u32; 2] = [0xbad, 0x4000_0bad];
/// Apple's description of a process.
const DARWIN_PROCESS: u32 = 0x8000_0001;
/// Journal entries, custom blocks and system calls, with their smallest lengths: Wireshark
/// numbers them as frames, though no packet is in them.
const FRAMES_WITHOUT_PACKET: [(u32, usize); 6] = [
    (9, 35),
    (0xbad, 16),
    (0x4000_0bad, 16),
    (0x204, 12),
    (0x216, 12),
    (0x221, 12),
];

/// Largest block that is kept: Wireshark's limit (`MAX_BLOCK_SIZE`), where it gives up.
const MAX_BLOCK: u32 = 16 << 20;
/// Type and twice the length.
const MIN_BLOCK: u32 = 12;

/// Whether a file that begins so is a pcapng file.
pub(super) fn is_pcapng(head: &[u8]) -> bool {
    head.starts_with(&SECTION_HEADER.to_be_bytes())
}

/// Reading state of a pcapng file.
#[derive(Debug)]
pub(super) struct Pcapng {
    big_endian: bool,
    section_seen: bool,
    section: Section,
    processes: Processes,
    last_nanos: i64,
}

impl Pcapng {
    /// Looks at the section header, if `head` has all of it; reads nothing yet.
    ///
    /// # Errors
    /// What is wrong with the section header, for a message.
    pub fn open(head: &[u8], lane: u32) -> Result<Self, String> {
        let fresh = || Self {
            big_endian: false,
            section_seen: false,
            section: Section::new(lane),
            processes: Processes::default(),
            last_nanos: 0,
        };
        let (mut session, mut frames) = (Session::default(), Vec::new());
        let walked = fresh().walk(head, &mut session, &mut frames);
        match walked.end {
            WalkEnd::Damaged(what) if walked.consumed == 0 => Err(what),
            _ => Ok(fresh()),
        }
    }

    /// Cuts as many whole blocks out of `bytes` as there are.
    pub fn walk(&mut self, bytes: &[u8], session: &mut Session, out: &mut Vec<Frame>) -> Walked {
        let mut at = 0;
        let end = loop {
            let rest = bytes.get(at..).unwrap_or(&[]);
            match self.block_length(rest) {
                Ok(Some(len)) if len > MAX_BLOCK as usize => match self.large_block(rest) {
                    Ok(block) => break WalkEnd::TooLarge(block),
                    Err(Damage(what)) => break WalkEnd::Damaged(what),
                },
                Ok(Some(len)) if len <= rest.len() => {
                    let block = &rest[..len];
                    if let Err(Damage(what)) = self.block(block, at, session, out) {
                        break WalkEnd::Damaged(what);
                    }
                    at += len;
                }
                Ok(Some(len)) => break WalkEnd::Needs(len),
                Ok(None) => break WalkEnd::Needs(MIN_BLOCK as usize),
                Err(Damage(what)) => break WalkEnd::Damaged(what),
            }
        };
        self.section.settle(session);
        Walked { consumed: at, end }
    }

    /// The end of the file: counts that were kept per section go into the session.
    pub fn finish(&mut self, session: &mut Session) {
        self.section.settle(session);
    }

    fn word(&self, bytes: &[u8], at: usize) -> u32 {
        word(bytes, at, self.big_endian)
    }

    fn half_word(&self, bytes: &[u8], at: usize) -> u16 {
        let half = bytes
            .get(at..)
            .and_then(<[u8]>::first_chunk::<2>)
            .copied()
            .unwrap_or_default();
        if self.big_endian {
            u16::from_be_bytes(half)
        } else {
            u16::from_le_bytes(half)
        }
    }

    /// Length of the block that begins here, `None` when too little is there to tell.
    fn block_length(&mut self, rest: &[u8]) -> Result<Option<usize>, Damage> {
        if rest.len() < MIN_BLOCK as usize {
            return Ok(None);
        }
        // The magic of a section header reads the same in both byte orders.
        if self.word(rest, 0) == SECTION_HEADER {
            self.big_endian = match rest.get(8..12) {
                Some([0x1a, 0x2b, 0x3c, 0x4d]) => true,
                Some([0x4d, 0x3c, 0x2b, 0x1a]) => false,
                found => {
                    return Err(Damage(format!(
                        "expected the byte-order magic of a section header, found {found:02x?}"
                    )));
                }
            };
        } else if !self.section_seen {
            return Err(Damage("expected a section header block first".to_owned()));
        }
        let len = self.word(rest, 4);
        if len < MIN_BLOCK {
            return Err(self.impossible(rest));
        }
        // Some writers state a length without its padding to four bytes.
        Ok(Some((len as usize).next_multiple_of(4)))
    }

    fn impossible(&self, rest: &[u8]) -> Damage {
        Damage(format!(
            "expected a block of {MIN_BLOCK} to {MAX_BLOCK} bytes, found one of type {:#x} that claims {}",
            self.word(rest, 0),
            self.word(rest, 4)
        ))
    }

    /// A block that is longer than any that is kept. Without its section, its interface or a
    /// packet, what follows would be read wrongly; all others can be done without.
    fn large_block(&self, rest: &[u8]) -> Result<LargeBlock, Damage> {
        let (kind, length) = (self.word(rest, 0), self.word(rest, 4));
        let needed = matches!(
            kind,
            SECTION_HEADER
                | INTERFACE_DESCRIPTION
                | OBSOLETE_PACKET
                | SIMPLE_PACKET
                | ENHANCED_PACKET
        );
        if needed || !length.is_multiple_of(4) {
            return Err(self.impossible(rest));
        }
        let repeated = if self.big_endian {
            length.to_be_bytes()
        } else {
            length.to_le_bytes()
        };
        Ok(LargeBlock {
            kind,
            length,
            repeated,
        })
    }

    /// A block that [`Pcapng::walk`] found too large has been passed over.
    pub fn passed_over(&self, kind: u32, session: &mut Session, out: &mut Vec<Frame>) {
        if FRAMES_WITHOUT_PACKET.iter().any(|known| known.0 == kind) {
            self.frame_without_packet(session, out);
        }
    }

    /// What Wireshark numbers as a frame though no packet is in it.
    fn frame_without_packet(&self, session: &mut Session, out: &mut Vec<Frame>) {
        session.frames += 1;
        out.push(Frame {
            number: session.frames,
            time: Timestamp::from_nanos(self.last_nanos),
            start: 0,
            captured_len: 0,
            original_len: 0,
            interface: u32::MAX,
        });
    }

    fn block(
        &mut self,
        block: &[u8],
        at: usize,
        session: &mut Session,
        out: &mut Vec<Frame>,
    ) -> Result<(), Damage> {
        let kind = self.word(block, 0);
        let (first, last) = (self.word(block, 4), self.word(block, block.len() - 4));
        // The unpadded length of such writers stands right after the unpadded body.
        if first != last && self.word(block, (first as usize).saturating_sub(4)) != first {
            return Err(Damage(format!(
                "expected the length of a block of type {kind:#x} to be repeated at its end, found {first} and {last}"
            )));
        }
        match kind {
            ENHANCED_PACKET => self.enhanced_packet(block, at, session, out),
            SIMPLE_PACKET => self.simple_packet(block, at, session, out),
            OBSOLETE_PACKET => self.obsolete_packet(block, at, session, out),
            SECTION_HEADER => {
                self.section
                    .described_block(block, self.big_endian, session)?;
                self.processes.clear();
                self.section_seen = true;
                Ok(())
            }
            INTERFACE_DESCRIPTION | INTERFACE_STATISTICS => {
                self.section
                    .described_block(block, self.big_endian, session)
            }
            kind if let Some((_, least)) = FRAMES_WITHOUT_PACKET.iter().find(|f| f.0 == kind) => {
                if block.len() < *least {
                    return Err(Damage(format!(
                        "expected a block of type {kind:#x} of at least {least} bytes, found {}",
                        block.len()
                    )));
                }
                // What describes a process is no frame to the Wireshark that writes it.
                let body = &block[8..block.len() - 4];
                let is_process =
                    CUSTOM.contains(&kind) && self.processes.custom_block(body, self.big_endian);
                if !is_process {
                    self.frame_without_packet(session, out);
                }
                Ok(())
            }
            DARWIN_PROCESS => {
                let body = &block[8..block.len() - 4];
                self.processes.darwin_block(body, self.big_endian);
                Ok(())
            }
            // Names, secrets and unknown blocks hold nothing that analysis uses.
            _ => Ok(()),
        }
    }

    fn enhanced_packet(
        &mut self,
        block: &[u8],
        at: usize,
        session: &mut Session,
        out: &mut Vec<Frame>,
    ) -> Result<(), Damage> {
        if block.len() < 32 {
            return Err(Damage(format!(
                "expected an enhanced packet block of at least 32 bytes, found {}",
                block.len()
            )));
        }
        let packet = PacketHeader {
            interface: self.word(block, 8),
            units: Some((u64::from(self.word(block, 12)) << 32) | u64::from(self.word(block, 16))),
            captured: self.word(block, 20),
            original: self.word(block, 24),
            start: 28,
        };
        self.packet(&packet, block, at, session, out)
    }

    fn obsolete_packet(
        &mut self,
        block: &[u8],
        at: usize,
        session: &mut Session,
        out: &mut Vec<Frame>,
    ) -> Result<(), Damage> {
        if block.len() < 32 {
            return Err(Damage(format!(
                "expected a packet block of at least 32 bytes, found {}",
                block.len()
            )));
        }
        let packet = PacketHeader {
            interface: u32::from(self.half_word(block, 8)),
            units: Some((u64::from(self.word(block, 12)) << 32) | u64::from(self.word(block, 16))),
            captured: self.word(block, 20),
            original: self.word(block, 24),
            start: 28,
        };
        let drops = self.half_word(block, 10);
        if let Some(interface) = self.section.interfaces.get_mut(packet.interface as usize)
            && drops != u16::MAX
        {
            interface.packet_drops += u64::from(drops);
        }
        self.packet(&packet, block, at, session, out)
    }

    fn simple_packet(
        &mut self,
        block: &[u8],
        at: usize,
        session: &mut Session,
        out: &mut Vec<Frame>,
    ) -> Result<(), Damage> {
        if block.len() < 16 {
            return Err(Damage(format!(
                "expected a simple packet block of at least 16 bytes, found {}",
                block.len()
            )));
        }
        let original = self.word(block, 8);
        let snaplen = self
            .section
            .interfaces
            .first()
            .map_or(0, |interface| interface.snaplen);
        let limit = if snaplen == 0 { u32::MAX } else { snaplen };
        let room = u32::try_from(block.len() - 16).unwrap_or(0);
        let packet = PacketHeader {
            interface: 0,
            units: None,
            captured: original.min(limit).min(room),
            original,
            start: 12,
        };
        self.packet(&packet, block, at, session, out)
    }

    /// Makes a frame of a packet block whose fields are read.
    fn packet(
        &mut self,
        packet: &PacketHeader,
        block: &[u8],
        at: usize,
        session: &mut Session,
        out: &mut Vec<Frame>,
    ) -> Result<(), Damage> {
        let room = block.len() - packet.start - 4;
        let captured = packet.captured as usize;
        let described = self.section.interfaces.len();
        let Some(interface) = self.section.interfaces.get_mut(packet.interface as usize) else {
            return Err(Damage(format!(
                "expected a packet of one of the {described} interfaces of its section, found one of interface {}",
                packet.interface
            )));
        };
        let limit = interface.max_captured;
        if captured > room || packet.captured > limit {
            return Err(Damage(format!(
                "expected a packet of at most {} bytes, found one that claims {captured}",
                room.min(limit as usize)
            )));
        }
        let number = session.frames + 1;
        if let Some(units) = packet.units {
            let nanos = interface.units.nanos(units);
            self.last_nanos = nanos.saturating_add(interface.offset_nanos);
        }
        let index = interface.index;
        let options = packet.start + captured.next_multiple_of(4);
        if packet.units.is_some() && options + 4 < block.len() {
            let options = &block[options..block.len() - 4];
            self.packet_options(options, number, packet.interface, session)?;
        }
        if let Some(interface) = self.section.interfaces.get_mut(packet.interface as usize) {
            interface.frames += 1;
        }
        session.frames = number;
        out.push(Frame {
            number,
            time: Timestamp::from_nanos(self.last_nanos),
            start: u32::try_from(at + packet.start).unwrap_or(u32::MAX),
            captured_len: packet.captured,
            original_len: packet.original.max(packet.captured),
            interface: index,
        });
        Ok(())
    }

    fn packet_options(
        &mut self,
        bytes: &[u8],
        number: u64,
        id: u32,
        session: &mut Session,
    ) -> Result<(), Damage> {
        let big_endian = self.big_endian;
        let (mut drops, mut marks) = (0, Marks::default());
        let whole = option::for_each(bytes, big_endian, |found| {
            marks.take(found, big_endian);
            match found.code.0 {
                option::COMMENT => session.comment(Some(number), option::value(found)),
                option::EPB_DROPCOUNT => drops = option::integer(found, big_endian).unwrap_or(0),
                _ => {}
            }
        });
        if let Some(owner) = self.processes.owner(marks, self.last_nanos) {
            session.remarks.push(Remark {
                frame: number,
                says: Said::Owner(owner),
            });
        }
        if let Some(interface) = self.section.interfaces.get_mut(id as usize) {
            interface.packet_drops = interface.packet_drops.saturating_add(drops);
        }
        options_are(whole)
    }
}

/// The fields that all packet blocks share.
struct PacketHeader {
    interface: u32,
    /// Stated time; simple packets have none.
    units: Option<u64>,
    captured: u32,
    original: u32,
    /// Where the packet begins in its block.
    start: usize,
}
