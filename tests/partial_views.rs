//! Rules on less than the whole capture: one direction, frames cut to 128 octets, begun or ended in
//! mid-stream. Each may be judged right or not be assessed, but never wrong.

mod common;

use std::io::Read;
use std::path::Path;

use serde_json::Value;

/// Rules whose captures are looked at from all sides.
const RULES: [&str; 15] = [
    "delayed-ack-nagle",
    "dns-failure",
    "http-error",
    "icmp-unreachable",
    "ip-fragment-loss",
    "mtu-black-hole",
    "packet-loss",
    "reordering",
    "retransmit-hol",
    "slow-response",
    "spurious-retransmission",
    "stream-framing",
    "transparent-redirect",
    "udp-single-socket",
    "zero-window-stall",
];

/// A classic capture in memory.
struct Frames {
    header: Vec<u8>,
    link: u32,
    /// Seconds and fraction as stored, true length, octets.
    frames: Vec<([u8; 8], u32, Vec<u8>)>,
}

impl Frames {
    fn read(path: &Path) -> Self {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).expect("the capture is there");
        if path.extension().is_some_and(|extension| extension == "gz") {
            flate2::read::GzDecoder::new(file).read_to_end(&mut bytes)
        } else {
            { file }.read_to_end(&mut bytes)
        }
        .expect("a readable capture");
        let number =
            |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 octets"));
        let (mut frames, mut at) = (Vec::new(), 24);
        while at + 16 <= bytes.len() {
            let end = at + 16 + number(at + 8) as usize;
            let time = bytes[at..at + 8].try_into().expect("8 octets");
            frames.push((time, number(at + 12), bytes[at + 16..end].to_vec()));
            at = end;
        }
        Self {
            header: bytes[..24].to_vec(),
            link: number(20),
            frames,
        }
    }

    /// The frames that `keep` wants by number and octets, each cut to `snaplen`, as a file.
    fn write(
        &self,
        snaplen: usize,
        keep: impl Fn(usize, &[u8]) -> bool,
    ) -> tempfile::NamedTempFile {
        let mut bytes = self.header.clone();
        for (number, (time, length, octets)) in self.frames.iter().enumerate() {
            if keep(number, octets) {
                let kept = &octets[..octets.len().min(snaplen)];
                bytes.extend(time);
                bytes.extend(u32::try_from(kept.len()).expect("a frame").to_le_bytes());
                bytes.extend(length.to_le_bytes());
                bytes.extend(kept);
            }
        }
        let file = tempfile::Builder::new()
            .suffix(".pcap")
            .tempfile()
            .expect("a file");
        std::fs::write(file.path(), bytes).expect("it can be written");
        file
    }

    /// Whether the lab's client sent the frame: 10.9.0.1 or fd09::1.
    fn from_client(&self, octets: &[u8]) -> bool {
        let ip = match self.link {
            1 => 14,
            276 => 20,
            other => panic!("link type {other}"),
        };
        let v6 = [&[0xfd, 9][..], &[0; 13], &[1]].concat();
        octets.get(ip + 12..ip + 16) == Some(&[10, 9, 0, 1])
            || octets.get(ip + 8..ip + 24) == Some(&v6)
    }
}

/// Findings of medium or above that the truth neither expects nor allows.
fn wrong(capture: &Path, truth: &Value) -> Vec<String> {
    let arguments = truth["arguments"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let arguments: Vec<&str> = arguments.iter().filter_map(Value::as_str).collect();
    let document = common::json_with(capture, &arguments);
    let expected = truth["expect"]["findings"]
        .as_array()
        .expect("expectations")
        .iter();
    let may = truth["expect"]["may"].as_array().expect("rules").iter();
    let allowed: Vec<&Value> = expected.map(|wanted| &wanted["rule"]).chain(may).collect();
    let findings = document["findings"].as_array().expect("findings").iter();
    findings
        .filter(|finding| {
            finding["severity"] != "info"
                && finding["severity"] != "low"
                && !allowed.contains(&&finding["rule"])
        })
        .map(|finding| format!("{} ({})", finding["rule"], finding["title"]))
        .collect()
}

#[test]
fn partial_captures_are_never_judged_wrong() {
    let mut failures = Vec::new();
    for (capture, truth) in common::captures_with_truth() {
        let folder = capture
            .parent()
            .and_then(Path::file_name)
            .unwrap_or_default();
        if !RULES.iter().any(|rule| folder == *rule) {
            continue;
        }
        let whole = Frames::read(&capture);
        let count = whole.frames.len();
        let views = [
            ("cut to 128 octets", whole.write(128, |_, _| true)),
            (
                "begun in mid-stream",
                whole.write(usize::MAX, |number, _| number >= count * 3 / 10),
            ),
            (
                "ended early",
                whole.write(usize::MAX, |number, _| number < count * 7 / 10),
            ),
            (
                "client only",
                whole.write(usize::MAX, |_, octets| whole.from_client(octets)),
            ),
            (
                "server only",
                whole.write(usize::MAX, |_, octets| !whole.from_client(octets)),
            ),
        ];
        for (view, file) in views {
            for finding in wrong(file.path(), &truth) {
                failures.push(format!("{}, {view}: {finding}", capture.display()));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
