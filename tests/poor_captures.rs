//! A capture that was taken badly accuses nobody of what only the capture did.
//!
//! Every lab capture is spoilt in ways that real ones are: frames missing, cut, in the wrong order, there
//! twice, or of one direction only. None of that may bring a finding that the whole capture has not.

mod common;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

/// Frames at the head that stay where frames are taken out, so that some handshakes are whole.
const HEAD: usize = 20;

/// One frame of a classic capture.
#[derive(Clone)]
struct Frame {
    /// Microseconds, or nanoseconds where the capture counts them.
    time: u64,
    length: u32,
    octets: Vec<u8>,
}

/// A classic little-endian capture of Ethernet frames.
#[derive(Clone)]
struct Frames {
    header: Vec<u8>,
    per_second: u64,
    frames: Vec<Frame>,
}

impl Frames {
    /// `None` for other formats and links.
    fn read(capture: &Path) -> Option<Self> {
        let bytes = plain(capture);
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 octets"));
        let per_second = match word(0) {
            0xa1b2_c3d4 => 1_000_000,
            0xa1b2_3c4d => 1_000_000_000,
            _ => return None,
        };
        if word(20) != 1 {
            return None;
        }
        let (mut frames, mut at) = (Vec::new(), 24);
        while at < bytes.len() {
            let end = at + 16 + word(at + 8) as usize;
            frames.push(Frame {
                time: u64::from(word(at)) * per_second + u64::from(word(at + 4)),
                length: word(at + 12),
                octets: bytes[at + 16..end].to_vec(),
            });
            at = end;
        }
        Some(Self {
            header: bytes[..24].to_vec(),
            per_second,
            frames,
        })
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header.clone();
        let word = |value: u64| u32::try_from(value).expect("32 bits").to_le_bytes();
        for frame in &self.frames {
            bytes.extend(word(frame.time / self.per_second));
            bytes.extend(word(frame.time % self.per_second));
            bytes.extend(word(frame.octets.len() as u64));
            bytes.extend(frame.length.to_le_bytes());
            bytes.extend(&frame.octets);
        }
        bytes
    }

    fn microseconds(&self, count: u64) -> u64 {
        count * self.per_second / 1_000_000
    }
}

fn plain(capture: &Path) -> Vec<u8> {
    let bytes = std::fs::read(capture).expect("a readable capture");
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return bytes;
    }
    let mut plain = Vec::new();
    let mut reader = flate2::read::GzDecoder::new(&bytes[..]);
    reader.read_to_end(&mut plain).expect("whole gzip");
    plain
}

/// Analyses a capture from standard input.
fn analyse(capture: &[u8], more: &[&str]) -> Value {
    let asked = ["analyze", "-", "--format", "json", "--output", "-"];
    let mut child = common::pcapdoc(&[&asked[..], more].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let mut input = child.stdin.take().expect("a pipe");
    let document = std::thread::scope(|threads| {
        threads.spawn(move || input.write_all(capture));
        child.wait_with_output().expect("it ends").stdout
    });
    serde_json::from_slice(&document).expect("valid JSON")
}

fn rules(document: &Value, severities: &[&str]) -> BTreeSet<String> {
    let findings = document["findings"].as_array().expect("findings").iter();
    findings
        .filter(|finding| severities.contains(&finding["severity"].as_str().expect("a severity")))
        .map(|finding| finding["rule"].as_str().expect("a rule").to_owned())
        .collect()
}

/// Spoils every lab capture with `spoil` and asserts that no finding of medium severity or above
/// is new. `undecidable`: rules that the capture alone cannot keep from speaking.
fn accuses_nobody(undecidable: &[&str], spoil: impl Fn(&mut Frames)) {
    let (mut wrong, mut looked_at) = (Vec::new(), 0);
    for (capture, truth) in common::captures_with_truth() {
        let Some(mut frames) = Frames::read(&capture) else {
            continue;
        };
        let texts = |value: &Value| -> Vec<String> {
            let listed = value.as_array().into_iter().flatten();
            listed
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        };
        let arguments = texts(&truth["arguments"]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let whole = common::json_with(&capture, &arguments);
        let mut known = rules(&whole, &["info", "low", "medium", "high", "critical"]);
        known.extend(texts(&truth["expect"]["may"]));
        known.extend(undecidable.iter().map(|rule| (*rule).to_owned()));
        spoil(&mut frames);
        looked_at += 1;
        let told = analyse(&frames.bytes(), &arguments);
        let told = rules(&told, &["medium", "high", "critical"]);
        let new: Vec<_> = told.difference(&known).collect();
        if !new.is_empty() {
            wrong.push(format!("{}: {new:?}", capture.display()));
        }
    }
    assert!(looked_at > 50, "{looked_at} captures");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Frames are missing in bursts, as where a buffer was full.
#[test]
fn bursts_missing() {
    for (every, burst) in [(97, 20), (31, 3)] {
        // Of datagrams nobody says what arrived.
        accuses_nobody(&["ip-fragment-loss", "udp-truncation"], |capture| {
            let mut number = 0;
            capture.frames.retain(|_| {
                number += 1;
                number <= HEAD || number % every >= burst
            });
        });
    }
}

/// A snap length that cuts options (IPv4) and windows (IPv6).
#[test]
fn cut_at_68() {
    accuses_nobody(&[], |capture| {
        for frame in &mut capture.frames {
            frame.octets.truncate(68);
        }
    });
}

/// A snap length that cuts payload.
#[test]
fn cut_at_96() {
    accuses_nobody(&[], |capture| {
        for frame in &mut capture.frames {
            frame.octets.truncate(96);
        }
    });
}

/// Queues of an interface are written one after the other: neighbours change places.
#[test]
fn neighbours_swapped() {
    accuses_nobody(&[], |capture| {
        let near = capture.microseconds(50);
        for pair in capture.frames.chunks_exact_mut(7) {
            if pair[1].time.saturating_sub(pair[0].time) < near {
                pair.swap(0, 1);
            }
        }
    });
}

/// A mirror port that copies frames as they enter and as they leave.
#[test]
fn everything_twice() {
    accuses_nobody(&[], |capture| {
        let later = capture.microseconds(20);
        let copies = capture.frames.clone().into_iter().map(|mut frame| {
            frame.time += later;
            frame
        });
        capture.frames.extend(copies);
        capture.frames.sort_by_key(|frame| frame.time);
    });
}

/// The capture begins in the middle of what happened.
#[test]
fn begins_late() {
    for percent in [30, 60] {
        accuses_nobody(&[], |capture| {
            let skipped = capture.frames.len() * percent / 100;
            capture.frames.drain(..skipped);
        });
    }
}

/// The capture ends in the middle of what happened.
#[test]
fn ends_early() {
    for percent in [40, 70] {
        accuses_nobody(&[], |capture| {
            let kept = capture.frames.len() * percent / 100;
            capture.frames.truncate(kept);
        });
    }
}

/// A path that forks: one direction passes elsewhere.
#[test]
fn one_direction_only() {
    for up in [true, false] {
        accuses_nobody(&[], |capture| {
            capture.frames.retain(|frame| goes_up(&frame.octets) == up);
        });
    }
}

/// Whether a frame goes from the smaller address (or port) to the larger one.
fn goes_up(frame: &[u8]) -> bool {
    let (addresses, length) = if frame.get(12..14) == Some(&[0x86, 0xdd]) {
        (22, 16)
    } else {
        (26, 4)
    };
    let field = |at: usize, length: usize| frame.get(at..at + length);
    let ends = [addresses, addresses + length].map(|at| field(at, length));
    let ports = [0, 2].map(|at| field(addresses + 2 * length + at, 2));
    (ends[0], ports[0]) < (ends[1], ports[1])
}
