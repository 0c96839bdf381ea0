//! What is in a capture, without judging it: read and decoded once, in one thread.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::capture::{CaptureReader, Input, ReadOptions, Slab};
use crate::decode::{DecodeStats, DecodedSlab, decode_slab};
use crate::error::Error;
use crate::in_order::damage::DamageFinder;
use crate::quality::QualityNote;
use crate::time::Timestamp;

/// Comments that are listed.
const COMMENTS: usize = 100;

/// What is in a capture.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Inspection {
    /// Files in the order read.
    pub files: Vec<File>,
    /// Interfaces of all files.
    pub interfaces: Vec<Interface>,
    /// Frames, also those without a packet.
    pub packets: u64,
    /// Their length on the wire.
    pub bytes: u64,
    /// Their length as captured.
    pub captured_bytes: u64,
    /// Frames of which the snap length cut something.
    pub cut_packets: u64,
    /// Shortest, mean and longest frame on the wire; absent without frames.
    pub packet_bytes: Option<Sizes>,
    /// Smallest and largest frame time (RFC 3339).
    pub first: Option<String>,
    /// Largest frame time.
    pub last: Option<String>,
    /// From the one to the other.
    pub duration_s: f64,
    /// Frames that are older than the frame before them.
    pub out_of_order_packets: u64,
    /// Frames by protocol; in a tunnel the outer and the inner protocol count.
    pub protocols: BTreeMap<&'static str, u64>,
    /// Frames by why they were not decoded to a transport.
    pub undecoded: BTreeMap<String, u64>,
    /// Encrypted traffic between two addresses.
    pub opaque: Vec<Opaque>,
    /// Comments on files, sections, interfaces and packets; the first 100.
    pub comments: Vec<Comment>,
    /// What limits the capture as far as its files and the checksums in them tell.
    pub quality: Vec<QualityNote>,
}

/// A file of the capture.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct File {
    /// As given; `-` is standard input.
    pub name: String,
    /// With its compression: `pcap (gzip)`.
    pub format: String,
    /// 0 for a pipe.
    pub stored_bytes: u64,
    /// Frames in it.
    pub packets: u64,
    /// Its first frame's time (RFC 3339).
    pub first: Option<String>,
    /// Its last frame's time.
    pub last: Option<String>,
}

/// An interface of the capture.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Interface {
    /// Name from the file, when it has one.
    pub name: Option<String>,
    /// LINKTYPE_ name.
    pub link_type: String,
    /// 0 means no limit.
    pub snaplen: u32,
    /// Frames recorded on it.
    pub packets: u64,
    /// Frames that the capturing host dropped, when the file tells.
    pub drops: Option<u64>,
}

/// Sizes of frames on the wire.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Sizes {
    /// Shortest.
    pub min: u32,
    /// Mean.
    pub mean: f64,
    /// Longest.
    pub max: u32,
}

/// Encrypted traffic.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Opaque {
    /// `esp` or `wg`.
    pub protocol: &'static str,
    /// Source address.
    pub from: String,
    /// Destination address.
    pub to: String,
    /// Frames.
    pub packets: u64,
    /// Their length on the wire.
    pub bytes: u64,
}

/// A comment in the capture.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Comment {
    /// Frame number; absent for a file, section or interface.
    pub frame: Option<u64>,
    /// The text.
    pub text: String,
}

/// Counts that no other stage keeps.
#[derive(Default)]
struct Tally {
    captured_bytes: u64,
    sizes: Option<(u32, u32)>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    before: Option<Timestamp>,
    out_of_order: u64,
}

impl Tally {
    fn take(&mut self, slab: &Slab) {
        for frame in &slab.frames {
            self.captured_bytes += u64::from(frame.captured_len);
            let len = frame.original_len;
            let (min, max) = self.sizes.unwrap_or((len, len));
            self.sizes = Some((min.min(len), max.max(len)));
            self.out_of_order += u64::from(self.before.is_some_and(|before| frame.time < before));
            self.before = Some(frame.time);
            self.first = Some(self.first.map_or(frame.time, |first| first.min(frame.time)));
            self.last = Some(self.last.map_or(frame.time, |last| last.max(frame.time)));
        }
    }
}

/// Reads the inputs as one capture and says what is in it.
///
/// # Errors
/// When no input could be read at all; damage is told in [`Inspection::quality`].
pub fn inspect(inputs: &[Input], options: ReadOptions) -> Result<Inspection, Error> {
    let mut reader = CaptureReader::open(inputs, options)?;
    let (mut slab, mut decoded) = (Slab::default(), DecodedSlab::default());
    let (mut stats, mut tally) = (DecodeStats::default(), Tally::default());
    let mut damage = DamageFinder::default();
    while reader.read_slab(&mut slab)? {
        decode_slab(&slab, reader.interfaces(), &mut decoded);
        stats.merge(&decoded.stats);
        damage.take(&decoded.sums);
        tally.take(&slab);
    }
    Ok(describe(&reader, &stats, &tally, &damage))
}

fn describe(
    reader: &CaptureReader,
    stats: &DecodeStats,
    tally: &Tally,
    damage: &DamageFinder,
) -> Inspection {
    let text = |time: Timestamp| time.to_string();
    let files = reader.files().into_iter().map(|file| File {
        name: file.name,
        format: file.format,
        stored_bytes: file.stored_bytes,
        packets: file.frames,
        first: file.first.map(text),
        last: file.last.map(text),
    });
    let interfaces = reader.interface_summaries().into_iter();
    let interfaces = interfaces.map(|interface| Interface {
        name: interface.name,
        link_type: interface.link_type,
        snaplen: interface.snaplen,
        packets: interface.frames,
        drops: interface.drops,
    });
    let opaque = stats.opaque.iter().map(|(flow, (packets, bytes))| Opaque {
        protocol: flow.kind.name(),
        from: flow.from.to_string(),
        to: flow.to.to_string(),
        packets: *packets,
        bytes: *bytes,
    });
    let comments = reader.comments().into_iter().take(COMMENTS);
    #[expect(clippy::cast_precision_loss, reason = "a mean for people")]
    let mean = stats.wire_bytes as f64 / stats.frames.max(1) as f64;
    let span = tally.first.zip(tally.last);
    let mut quality = reader.notes();
    quality.extend(damage.note());
    quality.sort();
    Inspection {
        files: files.collect(),
        interfaces: interfaces.collect(),
        packets: stats.frames,
        bytes: stats.wire_bytes,
        captured_bytes: tally.captured_bytes,
        cut_packets: stats.cut_frames,
        packet_bytes: tally.sizes.map(|(min, max)| Sizes { min, mean, max }),
        first: tally.first.map(text),
        last: tally.last.map(text),
        duration_s: span.map_or(0.0, |(first, last)| last.since(first).as_secs_f64()),
        out_of_order_packets: tally.out_of_order,
        protocols: stats.protocols(),
        undecoded: stats
            .stops
            .iter()
            .map(|(stop, count)| (stop.to_string(), *count))
            .collect(),
        opaque: opaque.collect(),
        comments: comments
            .map(|comment| Comment {
                frame: comment.frame,
                text: comment.text,
            })
            .collect(),
        quality,
    }
}
