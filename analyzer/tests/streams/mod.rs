//! What the comparisons with tshark share: a capture's conversations as plain counts.

use std::collections::BTreeMap;
use std::path::Path;

use pcapdoc_analyzer::capture::{CaptureReader, Input, ReadOptions, Slab};
use pcapdoc_analyzer::decode::{DecodeStats, DecodedSlab, Packet, PacketKind, decode_slab};
use pcapdoc_analyzer::in_order::fragments::Reassembler;
use pcapdoc_analyzer::{Endpoint, Error};

/// Frames and payload bytes from the smaller to the larger endpoint, and back.
pub type Counts = [(u64, u64); 2];
/// By transport and the two endpoints as text, smaller first.
pub type Streams = BTreeMap<(&'static str, String, String), Counts>;

/// What reading a capture gave.
pub struct Read {
    /// Frames.
    pub packets: u64,
    /// Conversations.
    pub streams: Streams,
    /// What was met.
    pub stats: DecodeStats,
}

/// Reads and decodes a capture.
pub fn read(path: &Path) -> Result<Read, Error> {
    let mut reader = CaptureReader::open(&[Input::Path(path.to_owned())], ReadOptions::default())?;
    let (mut slab, mut decoded) = (Slab::default(), DecodedSlab::default());
    let mut reassembler = Reassembler::new();
    let mut read = Read {
        packets: 0,
        streams: Streams::new(),
        stats: DecodeStats::default(),
    };
    while reader.read_slab(&mut slab)? {
        decode_slab(&slab, reader.interfaces(), &mut decoded);
        read.packets += slab.frames.len() as u64;
        for packet in &decoded.packets {
            add(&mut read.streams, packet);
        }
        for fragment in &decoded.fragments {
            if let Some(whole) = reassembler.push(fragment, &slab.bytes) {
                whole
                    .packets
                    .iter()
                    .for_each(|packet| add(&mut read.streams, packet));
            }
        }
        read.stats.merge(&decoded.stats);
    }
    Ok(read)
}

fn add(streams: &mut Streams, packet: &Packet) {
    let transport = match packet.kind {
        PacketKind::Tcp(_) => "tcp",
        PacketKind::Udp => "udp",
        PacketKind::IcmpError { .. } => return,
    };
    let (from, to) = (text(packet.source()), text(packet.destination()));
    count(
        streams,
        transport,
        from,
        to,
        1,
        u64::from(packet.payload_len),
    );
}

fn text(endpoint: Endpoint) -> String {
    endpoint.to_string()
}

/// Adds frames and bytes from one end to another.
pub fn count(
    streams: &mut Streams,
    transport: &'static str,
    from: String,
    to: String,
    frames: u64,
    bytes: u64,
) {
    let back = from > to;
    let key = if back {
        (transport, to, from)
    } else {
        (transport, from, to)
    };
    let direction = &mut streams.entry(key).or_default()[usize::from(back)];
    direction.0 += frames;
    direction.1 += bytes;
}

/// The truth's `address:port` in our form, with brackets around IPv6 addresses.
pub fn normal(endpoint: &str) -> String {
    let (address, port) = endpoint.rsplit_once(':').unwrap_or((endpoint, "0"));
    let address = address.trim_matches(['[', ']']);
    match (address.parse(), port.parse()) {
        (Ok(ip), Ok(port)) => Endpoint::new(ip, port).to_string(),
        _ => endpoint.to_owned(),
    }
}
