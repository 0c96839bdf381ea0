//! Each limit of a capture is told where it is, and nowhere else.
//!
//! `testdata/lab/capture_quality.py` captured healthy traffic badly; what no lab can make (a clock
//! that steps, frames that a capture lost, a mirror port) is made here out of healthy captures.
//! Nothing was lost, repeated or reordered in any of them, so no limit may be taken for that.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use pcapdoc_analyzer::capture::Input;
use pcapdoc_analyzer::connection::{Connection, Half};
use pcapdoc_analyzer::event::EventKind;
use pcapdoc_analyzer::pipeline::{self, ConnectionSink, Settings};
use pcapdoc_analyzer::{QualityKind, QualityNote};
use serde_json::Value;

#[derive(Default)]
struct Collect(Vec<Connection>);

impl ConnectionSink for Collect {
    fn connection(&mut self, connection: &Connection) {
        self.0.push(connection.clone());
    }
}

struct Analysed {
    notes: Vec<QualityNote>,
    connections: Vec<Connection>,
}

impl Analysed {
    fn kinds(&self) -> BTreeSet<&'static str> {
        self.notes.iter().map(|note| note.kind.as_str()).collect()
    }

    fn retransmitted(&self) -> u64 {
        let halves = self.connections.iter().flat_map(|one| &one.halves);
        halves.map(|half| half.retransmitted_segments).sum()
    }

    /// Repeats, late originals, losses and probes of any kind; not what a busy host repeated in
    /// haste, and its receiver told to be needless.
    fn disturbances(&self) -> u64 {
        let halves = self.connections.iter().flat_map(|one| &one.halves);
        let repeats = |half: &Half| half.retransmitted_segments - half.spurious_retransmissions;
        halves
            .map(|half| repeats(half) + half.out_of_order + half.keep_alives)
            .sum()
    }
}

fn analyse(capture: &Path) -> Analysed {
    let inputs = [Input::Path(capture.to_owned())];
    let (analysis, sinks) =
        pipeline::run(&inputs, &Settings::default(), Collect::default, |_| {}).expect("a capture");
    Analysed {
        notes: analysis.quality,
        connections: sinks.into_iter().flat_map(|sink| sink.0).collect(),
    }
}

fn captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/captures")
}

fn in_folder(name: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(captures().join(name)).expect("the folder");
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().contains(".pcap"))
        .collect();
    found.sort();
    found
}

fn truth(capture: &Path) -> Value {
    let name = capture.to_string_lossy();
    let stem = name.split(".pcap").next().expect("a stem");
    let text = std::fs::read_to_string(format!("{stem}.json")).expect("a truth file");
    serde_json::from_str(&text).expect("valid JSON")
}

#[test]
fn the_labs_limits_are_told_and_no_others() {
    let folder = in_folder("capture-quality");
    assert!(folder.len() >= 7);
    for capture in folder {
        let truth = truth(&capture);
        let listed = truth["quality"].as_array().expect("kinds").iter();
        let expected: BTreeSet<&str> = listed.map(|kind| kind.as_str().expect("text")).collect();
        let analysed = analyse(&capture);
        assert_eq!(analysed.kinds(), expected, "{}", capture.display());
        assert_eq!(analysed.disturbances(), 0, "{}", capture.display());
    }
}

#[test]
fn healthy_captures_have_no_limits_but_their_own() {
    for capture in in_folder("healthy") {
        let name = capture.file_name().expect("a name").to_string_lossy();
        let own: &[&str] = match &*name {
            "bulk-snaplen.pcap.gz" | "tls-and-http2.pcap.gz" | "udp-mix.pcap.gz" => &["snaplen"],
            _ => &[],
        };
        let expected: BTreeSet<&str> = own.iter().copied().collect();
        assert_eq!(analyse(&capture).kinds(), expected, "{name}");
    }
}

/// A classic capture, record by record.
#[derive(Clone)]
struct Records {
    header: Vec<u8>,
    /// Microseconds, true length, octets.
    records: Vec<(u64, u32, Vec<u8>)>,
}

impl Records {
    fn read(name: &str) -> Self {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(captures().join(name)).expect("the capture");
        let mut plain = flate2::read::GzDecoder::new(file);
        plain.read_to_end(&mut bytes).expect("a readable capture");
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 octets"));
        assert_eq!(word(0), 0xa1b2_c3d4, "microseconds, little-endian");
        let (mut records, mut at) = (Vec::new(), 24);
        while at < bytes.len() {
            let end = at + 16 + word(at + 8) as usize;
            let time = u64::from(word(at)) * 1_000_000 + u64::from(word(at + 4));
            records.push((time, word(at + 12), bytes[at + 16..end].to_vec()));
            at = end;
        }
        Self {
            header: bytes[..24].to_vec(),
            records,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header.clone();
        for (time, length, octets) in &self.records {
            let words = [time / 1_000_000, time % 1_000_000];
            for word in words.map(|word| u32::try_from(word).expect("32 bits")) {
                bytes.extend(word.to_le_bytes());
            }
            let captured = u32::try_from(octets.len()).expect("a frame");
            bytes.extend(captured.to_le_bytes());
            bytes.extend(length.to_le_bytes());
            bytes.extend(octets);
        }
        bytes
    }

    /// Without a burst of frames in every so many, as where a buffer is full; the handshakes of the first
    /// connections stay.
    fn without_bursts(&self, (every, burst): (usize, usize)) -> Self {
        let frames = self.records.iter().enumerate();
        let stay = frames.filter(|(at, _)| *at < 20 || at % every >= burst);
        Self {
            header: self.header.clone(),
            records: stay.map(|(_, record)| record.clone()).collect(),
        }
    }

    fn analyse(&self, case: &str) -> Analysed {
        analyse_bytes(&self.bytes(), case)
    }
}

fn analyse_bytes(bytes: &[u8], case: &str) -> Analysed {
    let name = format!("pcapdoc-quality-{case}-{}.pcap", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, bytes).expect("a temporary file");
    let analysed = analyse(&path);
    std::fs::remove_file(&path).expect("the file can go");
    analysed
}

const WEB: &str = "healthy/web-load.pcap.gz";

#[test]
fn a_clock_set_back() {
    let mut capture = Records::read(WEB);
    let middle = capture.records.len() / 2;
    for record in &mut capture.records[middle..] {
        record.0 -= 2_000_000;
    }
    let analysed = capture.analyse("back");
    assert_eq!(analysed.kinds(), BTreeSet::from(["clock-step"]));
    assert_eq!(analysed.disturbances(), 0);
    assert_eq!(analysed.notes[0].count, 1);
}

#[test]
fn a_clock_set_forward() {
    let mut capture = Records::read(WEB);
    let middle = capture.records.len() / 2;
    for record in &mut capture.records[middle..] {
        record.0 += 3_600_000_000;
    }
    let analysed = capture.analyse("forward");
    assert_eq!(analysed.kinds(), BTreeSet::from(["clock-step"]));
    assert_eq!(analysed.disturbances(), 0);
    let survived = analysed.connections.iter();
    let longest = survived.filter_map(|one| one.idle_gaps.longest_survived);
    assert_eq!(longest.count(), 0, "nobody was silent for an hour");
}

/// Fractions of a second in another unit than the header states, spread over several seconds from the
/// first records on.
#[test]
fn a_header_that_states_the_wrong_unit() {
    let mut capture = Records::read(WEB);
    for (number, record) in (0..).zip(&mut capture.records) {
        record.0 += number * 100_000;
    }
    let right = capture.analyse("right-unit");
    let lengths = |analysed: &Analysed| -> Vec<_> {
        let connections = analysed.connections.iter();
        connections.map(|one| one.end.since(one.start)).collect()
    };
    let mut nanoseconds = capture.bytes();
    let mut microseconds = capture.bytes();
    microseconds[..4].copy_from_slice(&0xa1b2_3c4d_u32.to_le_bytes());
    let mut at = 24;
    while at < nanoseconds.len() {
        let word = |at: usize| u32::from_le_bytes(nanoseconds[at..at + 4].try_into().expect("4"));
        let (fraction, end) = (word(at + 4) * 1000, at + 16 + word(at + 8) as usize);
        nanoseconds[at + 4..at + 8].copy_from_slice(&fraction.to_le_bytes());
        at = end;
    }
    for (bytes, case) in [(nanoseconds, "nanoseconds"), (microseconds, "microseconds")] {
        let analysed = analyse_bytes(&bytes, case);
        assert_eq!(lengths(&analysed), lengths(&right), "{case}");
        let noted = analysed.notes.iter().any(|note| {
            let end = format!("fractions of a second are {case}: read as those");
            note.kind == QualityKind::ClockStep && note.note.ends_with(&end)
        });
        assert!(noted, "{case}: {:?}", analysed.notes);
    }
}

/// Queues of an interface are merged a little out of order: that is no step of the clock.
#[test]
fn a_little_disorder_is_no_clock_step() {
    let mut capture = Records::read(WEB);
    for pair in capture.records.chunks_exact_mut(10) {
        pair[4].0 = pair[3].0.saturating_sub(50);
    }
    assert_eq!(capture.analyse("disorder").kinds(), BTreeSet::new());
}

#[test]
fn a_file_that_ends_inside_a_record() {
    let bytes = Records::read(WEB).bytes();
    let analysed = analyse_bytes(&bytes[..bytes.len() - 7], "short");
    assert_eq!(analysed.kinds(), BTreeSet::from(["cut-short"]));
}

/// Octets that are acknowledged but were never seen: lost by the capture, not by the network.
#[test]
fn frames_the_capture_lost() {
    let mut capture = Records::read("healthy/bulk-snaplen.pcap.gz");
    let mut number = 0;
    capture.records.retain(|(_, length, _)| {
        number += 1;
        *length < 1000 || number % 50 != 0
    });
    let analysed = capture.analyse("drops");
    assert_eq!(
        analysed.kinds(),
        BTreeSet::from(["capture-drops", "snaplen"])
    );
    assert_eq!(analysed.disturbances(), 0);
    let touched = analysed.connections.iter();
    assert!(touched.clone().count() > 0);
    assert!(
        touched
            .clone()
            .all(|one| one.is_touched_by(QualityKind::CaptureDrops))
    );
}

/// A mirror port that copies frames as they enter and as they leave.
#[test]
fn a_mirror_that_writes_everything_twice() {
    let mut capture = Records::read(WEB);
    let count = capture.records.len() as u64;
    let originals = std::mem::take(&mut capture.records);
    for record in originals {
        let copy = (record.0 + 20, record.1, record.2.clone());
        capture.records.extend([record, copy]);
    }
    let analysed = capture.analyse("mirror");
    assert_eq!(analysed.kinds(), BTreeSet::from(["duplicate-frames"]));
    assert_eq!(analysed.disturbances(), 0);
    assert!(
        analysed.notes[0].count * 10 >= count * 9,
        "nearly every copy"
    );
}

#[test]
fn frames_the_capture_lost_are_no_retransmissions() {
    let mut wrong = Vec::new();
    each_of_the_kernel(|name, path| {
        let capture = Records::read(name);
        let whole = analyse(path).retransmitted();
        for bursts in [(700, 300), (97, 20), (40, 3)] {
            let found = capture.without_bursts(bursts).analyse("bursts");
            let found = found.retransmitted();
            if found > whole {
                wrong.push(format!("{name} {bursts:?}: {whole} -> {found}"));
            }
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Calls `check` with every capture of `testdata/captures/kernel`.
fn each_of_the_kernel(mut check: impl FnMut(&str, &Path)) {
    for scenario in std::fs::read_dir(captures().join("kernel")).expect("the folder") {
        let scenario = scenario.expect("an entry").file_name();
        let folder = format!("kernel/{}", scenario.to_string_lossy());
        for path in in_folder(&folder) {
            let name = path.file_name().expect("a name").to_string_lossy();
            check(&format!("{folder}/{name}"), &path);
        }
    }
}

#[test]
fn no_connection_whose_handshake_was_missed_meets_an_older_one() {
    let mut wrong = Vec::new();
    each_of_the_kernel(|name, _| {
        for bursts in [(700, 300), (97, 20), (31, 3)] {
            let analysed = Records::read(name).without_bursts(bursts);
            let analysed = analysed.analyse("handshakes");
            let mut events = analysed.connections.iter().flat_map(|one| &one.events);
            let challenge = events.find(|event| matches!(event.kind, EventKind::ChallengeAck));
            wrong.extend(challenge.map(|event| format!("{name} {bursts:?}: {event:?}")));
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// An answer of which the capture missed the beginning has no response time.
#[test]
fn no_answer_comes_later_because_its_beginning_was_missed() {
    let slowest = |analysed: &Analysed| {
        let turns = analysed.connections.iter().map(|one| &one.turns);
        turns
            .filter_map(|turns| turns.response_times.quantile(1.0))
            .max()
    };
    let mut missed = 0;
    for name in ["healthy/long-poll.pcap.gz", "healthy/web-load.pcap.gz"] {
        let capture = Records::read(name);
        let whole = slowest(&analyse(&captures().join(name)));
        for bursts in [(97, 20), (31, 3), (11, 1)] {
            let thinned = capture.without_bursts(bursts).analyse("answers");
            assert!(slowest(&thinned) <= whole, "{name} {bursts:?}");
            let last = thinned.connections.iter().filter_map(|one| one.turns.last);
            missed += last.filter(|turn| turn.answer_missed).count();
        }
    }
    assert!(missed > 0, "some answers were missed");
}

/// Offloaded segments count as what the network saw: full-size ones and a rest each.
#[test]
fn offloaded_segments_are_counted_as_the_network_saw_them() {
    let analysed = analyse(&captures().join("capture-quality/offload.pcap.gz"));
    let halves = analysed.connections.iter().flat_map(|one| &one.halves);
    let mut looked_at = 0;
    for half in halves.filter(|half| half.oversized_segments > 0) {
        let least = half.unique_bytes.div_ceil(1460);
        let most = least + half.unique_bytes / 10_000 + half.data_segments;
        let counted = half.segments_on_wire();
        assert!(
            (least..=most).contains(&counted),
            "{counted} for {} octets",
            half.unique_bytes
        );
        assert!(counted > half.data_segments);
        looked_at += 1;
    }
    assert!(looked_at > 0);
}

/// A datagram with the identification of the one before is that one once more.
#[test]
fn datagrams_that_a_mirror_writes_twice() {
    const SYSLOG: &str = "udp-truncation/configured-syslog.pcap.gz";
    let packets = |analysed: &Analysed| {
        let halves = analysed.connections.iter().flat_map(|one| &one.halves);
        halves.map(|half| half.packets).sum::<u64>()
    };
    let whole = packets(&analyse(&captures().join(SYSLOG)));
    let mut capture = Records::read(SYSLOG);
    let originals = std::mem::take(&mut capture.records);
    for record in originals {
        let copy = (record.0 + 20, record.1, record.2.clone());
        capture.records.extend([record, copy]);
    }
    let analysed = capture.analyse("datagrams");
    assert_eq!(packets(&analysed), whole);
    assert_eq!(analysed.kinds(), BTreeSet::from(["duplicate-frames"]));
}
