//! What the capture misses is not lost: taking frames out of a capture adds no retransmission.

use std::path::{Path, PathBuf};

use pcapdoc_analyzer::Connection;
use pcapdoc_analyzer::capture::{CaptureReader, Input, ReadOptions, Slab};
use pcapdoc_analyzer::pipeline::{self, ConnectionSink, Settings};

#[derive(Default)]
struct Retransmitted(u64);

impl ConnectionSink for Retransmitted {
    fn connection(&mut self, connection: &Connection) {
        let halves = connection.halves.iter();
        self.0 += halves.map(|half| half.retransmitted_segments).sum::<u64>();
    }
}

fn retransmitted(capture: &Path) -> u64 {
    let inputs = [Input::Path(capture.to_owned())];
    let (_, sinks) = pipeline::run(
        &inputs,
        &Settings::default(),
        Retransmitted::default,
        |_| {},
    )
    .unwrap_or_else(|error| panic!("{}: {error}", capture.display()));
    sinks.iter().map(|sink| sink.0).sum()
}

/// Writes the frames of `capture` of which `misses` is not true, by number.
fn without(capture: &Path, misses: impl Fn(u64) -> bool, to: &Path) {
    let inputs = [Input::Path(capture.to_owned())];
    let mut reader = CaptureReader::open(&inputs, ReadOptions::default()).unwrap();
    let mut slab = Slab::default();
    let mut bytes = Vec::new();
    while reader.read_slab(&mut slab).unwrap() {
        if bytes.is_empty() {
            let link = u32::from(reader.interfaces()[0].link_type.0);
            // Nanoseconds, version 2.4.
            for word in [0xa1b2_3c4d, 0x0004_0002_u32, 0, 0, 262_144, link] {
                bytes.extend(word.to_le_bytes());
            }
        }
        for frame in slab.frames.iter().filter(|frame| !misses(frame.number)) {
            let nanos = frame.time.as_nanos();
            for word in [
                u32::try_from(nanos / 1_000_000_000).unwrap(),
                u32::try_from(nanos % 1_000_000_000).unwrap(),
                frame.captured_len,
                frame.original_len,
            ] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.extend(slab.data(frame));
        }
    }
    std::fs::write(to, bytes).unwrap();
}

fn kernel_captures() -> Vec<PathBuf> {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/captures/kernel");
    let mut all: Vec<PathBuf> = std::fs::read_dir(suite)
        .unwrap()
        .flat_map(|scenario| std::fs::read_dir(scenario.unwrap().path()).unwrap())
        .map(|file| file.unwrap().path())
        .filter(|path| path.to_string_lossy().contains(".pcap"))
        .collect();
    all.sort();
    all
}

#[test]
fn frames_that_the_capture_missed_are_no_retransmissions() {
    let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("capture-drops.pcap");
    let mut told = 0;
    for capture in kernel_captures() {
        let whole = retransmitted(&capture);
        // Bursts of a buffer that is full, longer and shorter.
        for (every, burst) in [(700, 300), (97, 20), (40, 3)] {
            without(&capture, |frame| frame > 20 && frame % every < burst, &to);
            let found = retransmitted(&to);
            if found > whole {
                told += 1;
                println!("{} {every}/{burst}: {whole} -> {found}", capture.display());
            }
        }
    }
    assert_eq!(told, 0);
}
