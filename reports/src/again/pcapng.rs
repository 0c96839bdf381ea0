//! Writing pcapng: one section, its interfaces, packets with comments
//! (draft-ietf-opsawg-pcapng §4.1–4.3).

use std::io::{self, Write};

/// Interface as it is described in the section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct InterfaceBlock {
    pub link_type: u16,
    /// 0 means no limit.
    pub snaplen: u32,
    pub name: Option<String>,
    /// What a reader should know of its times.
    pub description: Option<String>,
    pub fcs_len: u8,
    /// Seconds added to all times of this interface.
    pub offset_s: i64,
}

/// Packet as it is written.
pub(crate) struct PacketBlock<'a> {
    /// Index of its interface in the order written.
    pub interface: u32,
    /// Since the epoch, less the interface's offset.
    pub nanos: u64,
    pub bytes: &'a [u8],
    pub original_len: u32,
    pub comments: &'a [String],
}

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;

const OPT_COMMENT: u16 = 1;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_TSRESOL: u16 = 9;
const IF_FCSLEN: u16 = 13;
const IF_TSOFFSET: u16 = 14;

/// Longest text that an option takes here, in bytes.
const MAX_TEXT: usize = 4096;

/// The section header, which begins a file.
pub(crate) fn section(out: &mut impl Write, comment: &str) -> io::Result<()> {
    let mut body = Vec::new();
    body.extend(0x1a2b_3c4d_u32.to_le_bytes());
    body.extend([1, 0, 0, 0]);
    body.extend((-1_i64).to_le_bytes());
    text_option(&mut body, OPT_COMMENT, comment);
    text_option(&mut body, SHB_USERAPPL, "pcapdoc");
    end_of_options(&mut body);
    block(out, SECTION_HEADER, &body)
}

/// An interface with nanosecond times.
pub(crate) fn interface(out: &mut impl Write, interface: &InterfaceBlock) -> io::Result<()> {
    let mut body = Vec::new();
    body.extend(interface.link_type.to_le_bytes());
    body.extend([0, 0]);
    body.extend(interface.snaplen.to_le_bytes());
    if let Some(name) = &interface.name {
        text_option(&mut body, IF_NAME, name);
    }
    if let Some(description) = &interface.description {
        text_option(&mut body, IF_DESCRIPTION, description);
    }
    option(&mut body, IF_TSRESOL, &[9]);
    if interface.fcs_len > 0 {
        option(&mut body, IF_FCSLEN, &[interface.fcs_len]);
    }
    if interface.offset_s != 0 {
        option(&mut body, IF_TSOFFSET, &interface.offset_s.to_le_bytes());
    }
    end_of_options(&mut body);
    block(out, INTERFACE_DESCRIPTION, &body)
}

/// A packet.
pub(crate) fn packet(out: &mut impl Write, packet: &PacketBlock<'_>) -> io::Result<()> {
    let mut body = Vec::with_capacity(packet.bytes.len() + 64);
    let length = |length: usize| u32::try_from(length).map_err(io::Error::other);
    body.extend(packet.interface.to_le_bytes());
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of 64 bits")]
    let (high, low) = ((packet.nanos >> 32) as u32, packet.nanos as u32);
    body.extend(high.to_le_bytes());
    body.extend(low.to_le_bytes());
    body.extend(length(packet.bytes.len())?.to_le_bytes());
    body.extend(packet.original_len.to_le_bytes());
    body.extend(packet.bytes);
    pad(&mut body);
    for comment in packet.comments {
        text_option(&mut body, OPT_COMMENT, comment);
    }
    if !packet.comments.is_empty() {
        end_of_options(&mut body);
    }
    block(out, ENHANCED_PACKET, &body)
}

fn block(out: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    let total = u32::try_from(body.len() + 12).map_err(io::Error::other)?;
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&total.to_le_bytes())?;
    out.write_all(body)?;
    out.write_all(&total.to_le_bytes())
}

/// UTF-8 text, cut at a character.
fn text_option(body: &mut Vec<u8>, code: u16, text: &str) {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    option(body, code, &text.as_bytes()[..end]);
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend(code.to_le_bytes());
    body.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
    body.extend(value);
    pad(body);
}

fn end_of_options(body: &mut Vec<u8>) {
    body.extend([0; 4]);
}

/// To a multiple of 32 bits.
fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}
