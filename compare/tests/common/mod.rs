//! Captures of the lab, changed as devices and clocks change them.

#![allow(
    dead_code,
    reason = "every test file compiles its own copy and uses a part"
)]

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use analyzer::capture::{CaptureReader, Input, ReadOptions, Slab};
use compare::{Comparison, PointInput, Settings};

/// The lab's captures at both sides of bad wires.
pub fn lab() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/captures/kernel")
}

/// One of them.
pub fn kernel(case: &str, side: &str) -> PathBuf {
    lab().join(case).join(format!("{side}.pcap.gz"))
}

pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Compares captures by name.
pub fn compared(points: &[(&str, PathBuf)]) -> Comparison {
    let points: Vec<PointInput> = points
        .iter()
        .map(|(name, file)| PointInput {
            name: (*name).to_owned(),
            inputs: vec![Input::Path(file.clone())],
        })
        .collect();
    let settings = Settings {
        analysis: analyzer::pipeline::Settings::default(),
        rules: rules::RuleSettings::default(),
        witnesses: Vec::new(),
    };
    compare::compare(&points, &settings, None, &|_| {}).unwrap()
}

/// One frame: Ethernet, IPv4 without options, TCP.
#[derive(Clone)]
pub struct Frame {
    pub time: i64,
    pub original_len: u32,
    pub bytes: Vec<u8>,
}

/// The server's port in these captures.
const PORT: u16 = 5001;

impl Frame {
    fn u16(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.bytes[at..at + 4].try_into().unwrap())
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        self.bytes[at..at + value.len()].copy_from_slice(value);
    }

    fn is_tcp(&self) -> bool {
        self.bytes.len() >= 54 && self.bytes[12..14] == [8, 0] && self.bytes[23] == 6
    }

    pub fn is_from_server(&self) -> bool {
        self.is_tcp() && self.u16(34) == PORT
    }

    fn payload_len(&self) -> u32 {
        u32::from(self.u16(16)) - 20 - u32::from(self.bytes[46] >> 4) * 4
    }

    /// An established segment without SYN, FIN and RST.
    pub fn has_payload_or_ack(&self) -> bool {
        self.is_tcp() && self.bytes[47] & 7 == 0
    }

    /// Translates the client's address and adds to its port.
    pub fn set_client(&mut self, address: [u8; 4], add: u16) {
        if self.is_tcp() {
            let (ip, port) = if self.is_from_server() {
                (30, 36)
            } else {
                (26, 34)
            };
            let changed = self.u16(port).wrapping_add(add);
            self.put(ip, &address);
            self.put(port, &changed.to_be_bytes());
        }
    }

    /// Rewrites sequence numbers, acknowledgments and SACK blocks.
    pub fn add_to_numbers(&mut self, client: u32, server: u32) {
        if !self.is_tcp() {
            return;
        }
        let (own, other) = if self.is_from_server() {
            (server, client)
        } else {
            (client, server)
        };
        let seq = self.u32(38).wrapping_add(own);
        self.put(38, &seq.to_be_bytes());
        if self.bytes[47] & 0x10 != 0 {
            let ack = self.u32(42).wrapping_add(other);
            self.put(42, &ack.to_be_bytes());
        }
        let end = (34 + usize::from(self.bytes[46] >> 4) * 4).min(self.bytes.len());
        let mut at = 54;
        while at + 1 < end && self.bytes[at] != 0 {
            if self.bytes[at] == 1 {
                at += 1;
                continue;
            }
            let len = usize::from(self.bytes[at + 1]).max(2);
            if self.bytes[at] == 5 {
                for edge in (at + 2..(at + len).min(end) - 3).step_by(4) {
                    let number = self.u32(edge).wrapping_add(other);
                    self.put(edge, &number.to_be_bytes());
                }
            }
            at += len;
        }
    }

    /// Makes it a bare reset with a hop limit.
    pub fn make_reset(&mut self, hop_limit: u8) {
        self.bytes.truncate(54);
        self.original_len = 54;
        self.put(16, &40_u16.to_be_bytes());
        self.put(18, &[0, 0]);
        self.bytes[22] = hop_limit;
        self.bytes[46] = 0x50;
        self.bytes[47] = 0x04;
    }
}

/// Joins consecutive segments of clients, as a capture before segmentation shows them.
pub fn merge_from_client(frames: &mut Vec<Frame>) {
    let mut merged: Vec<Frame> = Vec::new();
    // By client port: where its open segment is, and the number that follows it.
    let mut open: HashMap<u16, (usize, u32)> = HashMap::new();
    for frame in frames.drain(..) {
        let is_data =
            frame.has_payload_or_ack() && !frame.is_from_server() && frame.payload_len() > 0;
        if !frame.is_tcp() || frame.is_from_server() {
            merged.push(frame);
            continue;
        }
        let (port, seq) = (frame.u16(34), frame.u32(38));
        if !is_data {
            open.remove(&port);
            merged.push(frame);
            continue;
        }
        let len = frame.payload_len();
        if let Some((at, next)) = open.get(&port).copied()
            && next == seq
            && frame.time - merged[at].time < 200_000
            && merged[at].bytes[54..66] == frame.bytes[54..66]
            && merged[at].u32(42) == frame.u32(42)
            && u32::from(merged[at].u16(16)) + len < 60_000
        {
            let total = merged[at].u16(16) + u16::try_from(len).unwrap();
            merged[at].put(16, &total.to_be_bytes());
            merged[at].original_len += len;
            open.insert(port, (at, seq.wrapping_add(len)));
            continue;
        }
        open.insert(port, (merged.len(), seq.wrapping_add(len)));
        merged.push(frame);
    }
    *frames = merged;
}

/// All frames of a capture.
pub fn read(file: &Path) -> Vec<Frame> {
    let inputs = [Input::Path(file.to_owned())];
    let mut reader = CaptureReader::open(&inputs, ReadOptions::default()).unwrap();
    let (mut slab, mut frames) = (Slab::default(), Vec::new());
    while reader.read_slab(&mut slab).unwrap() {
        frames.extend(slab.frames.iter().map(|frame| Frame {
            time: frame.time.as_nanos(),
            original_len: frame.original_len,
            bytes: slab.data(frame).to_vec(),
        }));
    }
    frames
}

/// Writes a classic pcap file with nanoseconds.
pub fn write(file: &Path, frames: &[Frame]) {
    use std::io::Write as _;

    let mut out = Vec::new();
    for word in [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 262_144, 1] {
        out.extend(word.to_le_bytes());
    }
    for frame in frames {
        let seconds = u32::try_from(frame.time.div_euclid(1_000_000_000)).unwrap();
        let nanos = u32::try_from(frame.time.rem_euclid(1_000_000_000)).unwrap();
        let captured = u32::try_from(frame.bytes.len()).unwrap();
        for word in [seconds, nanos, captured, frame.original_len] {
            out.extend(word.to_le_bytes());
        }
        out.extend(&frame.bytes);
    }
    File::create(file).unwrap().write_all(&out).unwrap();
}

/// Compares both ends of a case, each as a change leaves it.
pub fn with_both(
    case: &str,
    client: impl Fn(&mut Vec<Frame>),
    server: impl Fn(&mut Vec<Frame>),
) -> Comparison {
    let folder = scratch();
    let changed = |side: &str, change: &dyn Fn(&mut Vec<Frame>)| {
        let file = folder.path().join(format!("{side}.pcap"));
        let mut frames = read(&kernel(case, side));
        change(&mut frames);
        write(&file, &frames);
        file
    };
    compared(&[
        ("client", changed("client", &client)),
        ("server", changed("server", &server)),
    ])
}

/// What happened to one direction of one connection.
pub type Counts = (String, [u64; 7]);

/// Per connection and direction: delivered, lost, missed at the first and the second point,
/// reordered, duplicated, made.
pub fn each_way(result: &Comparison) -> Vec<Counts> {
    let mut all = Vec::new();
    for one in &result.connections {
        let hop = &one.hops[0];
        for (way, tally) in [
            ("up", &hop.client_to_server),
            ("down", &hop.server_to_client),
        ] {
            let counts = [
                tally.delivered,
                tally.lost,
                tally.missed_at_from,
                tally.missed_at_to,
                tally.reordered,
                tally.duplicated,
                tally.made,
            ];
            all.push((format!("{} {way}", one.at[0].1), counts));
        }
    }
    all.sort();
    all
}

/// Sets a clock forward behind a share of the frames.
pub fn set_clock(frames: &mut [Frame], share: f64, size: i64) {
    let at = (frames.len() as f64 * share) as usize;
    for frame in &mut frames[at..] {
        frame.time += size;
    }
}
