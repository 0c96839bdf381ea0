//! What the capture misses is not lost: taking frames out of a capture adds no retransmission and
//! no answer of an older connection.

use std::path::{Path, PathBuf};

use pcapdoc_analyzer::Connection;
use pcapdoc_analyzer::capture::{CaptureReader, Input, ReadOptions, Slab};
use pcapdoc_analyzer::event::EventKind;
use pcapdoc_analyzer::pipeline::{self, ConnectionSink, Settings};

/// Retransmitted segments, and answers of older connections.
#[derive(Clone, Copy, Default)]
struct Told(u64, usize);

impl ConnectionSink for Told {
    fn connection(&mut self, connection: &Connection) {
        let halves = connection.halves.iter();
        self.0 += halves.map(|half| half.retransmitted_segments).sum::<u64>();
        let events = connection.events.iter();
        let challenges = events.filter(|event| matches!(event.kind, EventKind::ChallengeAck));
        self.1 += challenges.count();
    }
}

fn told(capture: &Path) -> Told {
    let inputs = [Input::Path(capture.to_owned())];
    let (_, sinks) = pipeline::run(&inputs, &Settings::default(), Told::default, |_| {})
        .unwrap_or_else(|error| panic!("{}: {error}", capture.display()));
    let sum = |sum: Told, sink: &Told| Told(sum.0 + sink.0, sum.1 + sink.1);
    sinks.iter().fold(Told::default(), sum)
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

/// Every so many frames of `capture` a burst is missing, as where a buffer is full; the handshakes of
/// the first connections are there.
fn with_bursts(capture: &Path, (every, burst): (u64, u64), name: &str) -> Told {
    let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    without(capture, |frame| frame > 20 && frame % every < burst, &to);
    told(&to)
}

#[test]
fn frames_that_the_capture_missed_are_not_lost() {
    let mut wrong = 0;
    for capture in kernel_captures() {
        let Told(whole, _) = told(&capture);
        for bursts in [(700, 300), (97, 20), (40, 3)] {
            let Told(found, _) = with_bursts(&capture, bursts, "lost.pcap");
            if found > whole {
                wrong += 1;
                println!("{} {bursts:?}: {whole} -> {found}", capture.display());
            }
        }
    }
    assert_eq!(wrong, 0);
}

#[test]
fn what_echoes_the_syn_is_of_its_connection_though_the_handshake_was_missed() {
    let opens_often = |path: &&PathBuf| {
        ["short-loss-v6", "paused-turns"]
            .iter()
            .any(|name| path.to_string_lossy().contains(name))
    };
    for capture in kernel_captures().iter().filter(opens_often) {
        for bursts in [(700, 300), (97, 20)] {
            let Told(_, challenges) = with_bursts(capture, bursts, "handshakes.pcap");
            assert_eq!(challenges, 0, "{} {bursts:?}", capture.display());
        }
    }
}
