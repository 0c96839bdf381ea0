//! Frames made of what is in them, written as a capture.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// The protocol number of TCP.
pub const TCP: u8 = 6;

/// Length of a pcap file header and of a record header.
pub const FILE_HEADER: usize = 24;
pub const RECORD_HEADER: usize = 16;

/// First second of generated captures.
const START: u64 = 1_700_000_000;

/// One packet.
pub struct Packet<'a> {
    pub protocol: u8,
    pub from: ([u8; 4], u16),
    pub to: ([u8; 4], u16),
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub options: &'a [u8],
    pub id: u16,
    pub payload: &'a [u8],
    pub len: usize,
}

/// A capture that is being written.
pub struct Capture {
    /// Where it goes.
    pub out: BufWriter<Box<dyn Write>>,
    /// Octets of a frame that are kept.
    pub snaplen: usize,
    record: Vec<u8>,
}

impl Capture {
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::new(Box::new(File::create(path)?), 262_144)
    }

    pub fn new(out: Box<dyn Write>, snaplen: usize) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(1 << 20, out);
        for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1] {
            out.write_all(&word.to_le_bytes())?;
        }
        Ok(Self {
            out,
            snaplen,
            record: Vec::new(),
        })
    }

    /// One frame at `time` microseconds after the start.
    pub fn packet(&mut self, time: u64, packet: &Packet<'_>) -> io::Result<()> {
        let record = &mut self.record;
        record.clear();
        record.extend([0; RECORD_HEADER]);
        record.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
        let transport = if packet.protocol == TCP {
            20 + packet.options.len()
        } else {
            8
        };
        let total = (20 + transport + packet.len) as u16;
        record.extend([0x45, 0]);
        record.extend(total.to_be_bytes());
        record.extend(packet.id.to_be_bytes());
        record.extend([0x40, 0, 64, packet.protocol, 0, 0]);
        record.extend(packet.from.0);
        record.extend(packet.to.0);
        record.extend(packet.from.1.to_be_bytes());
        record.extend(packet.to.1.to_be_bytes());
        if packet.protocol == TCP {
            record.extend(packet.seq.to_be_bytes());
            record.extend(packet.ack.to_be_bytes());
            record.extend([
                (transport as u8 / 4) << 4,
                packet.flags,
                0xfa,
                0xf0,
                0,
                0,
                0,
                0,
            ]);
            record.extend(packet.options);
        } else {
            record.extend((8 + packet.len as u16).to_be_bytes());
            record.extend([0, 0]);
        }
        record.extend(packet.payload);
        let original = record.len() - RECORD_HEADER;
        record.truncate(RECORD_HEADER + original.min(self.snaplen));
        let captured = record.len() - RECORD_HEADER;
        let words = [
            START + time / 1_000_000,
            time % 1_000_000,
            captured as u64,
            original as u64,
        ];
        for (at, word) in words.iter().enumerate() {
            record[at * 4..at * 4 + 4].copy_from_slice(&(*word as u32).to_le_bytes());
        }
        self.out.write_all(record)
    }
}
