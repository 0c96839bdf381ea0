//! What a pcapng section says of itself: its interfaces and what they dropped.

use pcap_parser::{Block, parse_block_be, parse_block_le};

use super::LinkType;
use super::link_type::max_captured;
use super::pcapng_option::{self as option, TimeUnits};
use super::session::{InterfaceDescription, Session};

/// Interface descriptions of one section that are kept.
const MAX_SECTION_INTERFACES: usize = 65_536;

/// A damaged block: what was expected and found.
pub(super) struct Damage(pub(super) String);

/// An interface as its section describes it.
#[derive(Clone, Debug)]
pub(super) struct SectionInterface {
    /// Index in the session.
    pub index: u32,
    pub units: TimeUnits,
    pub offset_nanos: i64,
    pub snaplen: u32,
    pub max_captured: u32,
    /// Frames not yet counted in the session.
    pub frames: u64,
    /// Sum of the packets' own drop counts; the statistics block tells better.
    pub packet_drops: u64,
    pub statistics_drops: Option<u64>,
}

/// The interfaces of the section that is read.
#[derive(Debug)]
pub(super) struct Section {
    lane: u32,
    pub interfaces: Vec<SectionInterface>,
}

impl Section {
    /// A section without interfaces, of one of the files that are read side by side.
    pub const fn new(lane: u32) -> Self {
        Self {
            lane,
            interfaces: Vec::new(),
        }
    }

    /// Section headers, interface descriptions and statistics, as pcap-parser reads them.
    pub fn described_block(
        &mut self,
        block: &[u8],
        big_endian: bool,
        session: &mut Session,
    ) -> Result<(), Damage> {
        let parsed = if big_endian {
            parse_block_be(block)
        } else {
            parse_block_le(block)
        };
        match parsed {
            Ok((_, Block::SectionHeader(section))) => {
                // Version 1.2 was written by mistake and is 1.0 (draft-ietf-opsawg-pcapng §4.1).
                if section.major_version != 1 || !matches!(section.minor_version, 0 | 2) {
                    return Err(Damage(format!(
                        "expected pcapng version 1.0, found version {}.{}",
                        section.major_version, section.minor_version
                    )));
                }
                self.settle(session);
                self.interfaces.clear();
                let options = block.get(24..block.len() - 4).unwrap_or(&[]);
                options_are(option::for_each(options, big_endian, |found| {
                    if found.code.0 == option::COMMENT {
                        session.comment(None, option::value(found));
                    }
                }))
            }
            Ok((_, Block::InterfaceDescription(described))) => {
                let options = &block[16..block.len() - 4];
                let link_type = LinkType((described.linktype.0 & 0xffff) as u16);
                self.interface(link_type, described.snaplen, options, big_endian, session)
            }
            Ok((_, Block::InterfaceStatistics(statistics))) => {
                let drops = statistics
                    .options
                    .iter()
                    .filter(|o| matches!(o.code.0, option::ISB_IFDROP | option::ISB_OSDROP))
                    .filter_map(|o| option::integer(o, big_endian))
                    .fold(None, |sum: Option<u64>, drops| {
                        Some(sum.unwrap_or(0).saturating_add(drops))
                    });
                let interface = self.interfaces.get_mut(statistics.if_id as usize);
                if let (Some(interface), Some(drops)) = (interface, drops) {
                    // The counters run from the start of the capture: the last block has all.
                    let known = interface.statistics_drops.unwrap_or(0);
                    interface.statistics_drops = Some(known.max(drops));
                }
                Ok(())
            }
            _ => Err(Damage(format!(
                "expected a block of type {:#x}, found one that contradicts itself",
                word(block, 0, big_endian)
            ))),
        }
    }

    fn interface(
        &mut self,
        link_type: LinkType,
        snaplen: u32,
        options: &[u8],
        big_endian: bool,
        session: &mut Session,
    ) -> Result<(), Damage> {
        if self.interfaces.len() >= MAX_SECTION_INTERFACES {
            return Ok(());
        }
        let (mut name, mut units) = (None, TimeUnits::from_tsresol(6));
        let (mut fcs_len, mut offset_seconds) = (0, 0);
        let whole = option::for_each(options, big_endian, |found| {
            let value = option::value(found);
            match found.code.0 {
                option::COMMENT => session.comment(None, value),
                option::IF_NAME => name = Some(value.to_vec()),
                option::IF_TSRESOL => {
                    if let [tsresol] = value {
                        units = TimeUnits::from_tsresol(*tsresol);
                    }
                }
                option::IF_FCSLEN => {
                    if let [len] = value {
                        fcs_len = *len;
                    }
                }
                option::IF_TSOFFSET if value.len() == 8 => {
                    offset_seconds = option::integer(found, big_endian)
                        .unwrap_or(0)
                        .cast_signed();
                }
                _ => {}
            }
        });
        options_are(whole)?;
        let index = session.interface(&InterfaceDescription {
            lane: self.lane,
            index_in_section: u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX),
            link_type,
            fcs_len,
            snaplen,
            name: name.as_deref(),
        });
        self.interfaces.push(SectionInterface {
            index,
            units,
            offset_nanos: offset_seconds.saturating_mul(1_000_000_000),
            snaplen,
            max_captured: max_captured(link_type),
            frames: 0,
            packet_drops: 0,
            statistics_drops: None,
        });
        Ok(())
    }

    /// Moves counts that were kept per section into the session.
    pub fn settle(&mut self, session: &mut Session) {
        for interface in &mut self.interfaces {
            session.count_frames(interface.index, std::mem::take(&mut interface.frames));
            let Some(total) = session.interfaces.get_mut(interface.index as usize) else {
                continue;
            };
            let stated = match interface.statistics_drops {
                Some(drops) => Some(drops.max(interface.packet_drops)),
                None if interface.packet_drops > 0 => Some(interface.packet_drops),
                None => None,
            };
            if let Some(drops) = stated {
                total.drops = Some(total.drops.unwrap_or(0).max(drops));
            }
        }
    }
}

/// Whether a block's options are whole.
pub(super) fn options_are(whole: bool) -> Result<(), Damage> {
    if whole {
        return Ok(());
    }
    Err(Damage(
        "expected the options of a block to end within it, found one that claims more".to_owned(),
    ))
}

/// The 32-bit field of a block that begins at an octet, zero where the block is shorter.
pub(super) fn word(bytes: &[u8], at: usize, big_endian: bool) -> u32 {
    let word = bytes
        .get(at..)
        .and_then(<[u8]>::first_chunk::<4>)
        .copied()
        .unwrap_or_default();
    if big_endian {
        u32::from_be_bytes(word)
    } else {
        u32::from_le_bytes(word)
    }
}
