//! What one connection may cost: orders of segments that make naive lists quadratic, and pieces
//! behind a hole that nothing fills.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use pcapdoc_analyzer::capture::Input;
use pcapdoc_analyzer::pipeline::{self, ConnectionSink};
use pcapdoc_analyzer::{Connection, Direction};

const CLIENT: u8 = 1;
const SERVER: u8 = 2;
/// Segments of each capture: fast by far when each costs little, minutes when each costs as much
/// as there are.
const SEGMENTS: u32 = 150_000;

/// A little-endian pcap file of bare IPv4 packets, 50 µs apart.
struct Capture {
    bytes: Vec<u8>,
    packets: u32,
}

impl Capture {
    /// With a handshake, and a request whose body goes on for long; says where that begins.
    fn new() -> (Self, u32) {
        let header = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 228_u32];
        let mut capture = Self {
            bytes: header.map(u32::to_le_bytes).concat(),
            packets: 0,
        };
        let scale = [2, 4, 5, 0xb4, 1, 3, 3, 14];
        capture.segment(CLIENT, 0, 0, 2, &scale, b"", 0);
        capture.segment(SERVER, 0, 1, 0x12, &scale, b"", 0);
        capture.segment(CLIENT, 1, 1, 0x10, &[], b"", 0);
        let head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 900000000\r\n\r\n";
        capture.data(1, head);
        (capture, 1 + u32::try_from(head.len()).expect("short"))
    }

    fn data(&mut self, seq: u32, payload: &[u8]) {
        self.segment(CLIENT, seq, 1, 0x18, &[], payload, 0);
    }

    /// As [`Self::data`], cut by the snap length after the TCP header.
    fn cut_data(&mut self, seq: u32, len: u16) {
        self.segment(CLIENT, seq, 1, 0x18, &[], b"", len);
    }

    fn ack(&mut self, ack: u32, sack: &[[u32; 2]]) {
        let mut options = Vec::new();
        if !sack.is_empty() {
            let len = u8::try_from(2 + 8 * sack.len()).expect("short");
            options.extend([1, 1, 5, len]);
            options.extend(
                sack.as_flattened()
                    .iter()
                    .flat_map(|edge| edge.to_be_bytes()),
            );
        }
        self.segment(SERVER, 1, ack, 0x10, &options, b"", 0);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a segment")]
    fn segment(
        &mut self,
        from: u8,
        seq: u32,
        ack: u32,
        flags: u8,
        options: &[u8],
        payload: &[u8],
        cut: u16,
    ) {
        let (to, ports) = if from == CLIENT {
            (SERVER, [40_000_u16, 80])
        } else {
            (CLIENT, [80, 40_000])
        };
        let words = u8::try_from(5 + options.len() / 4).expect("short");
        let rest = [words << 4, flags, 0xff, 0xff, 0, 0, 0, 0];
        let tcp = [
            &ports.map(u16::to_be_bytes).concat()[..],
            &[seq, ack].map(u32::to_be_bytes).concat(),
            &rest,
            options,
            payload,
        ]
        .concat();
        let total = u16::try_from(20 + tcp.len()).expect("short") + cut;
        let [high, low] = total.to_be_bytes();
        let ip = [
            0x45, 0, high, low, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, from, 10, 0, 0, to,
        ];
        let captured = u32::try_from(20 + tcp.len()).expect("short");
        let (second, micros) = (self.packets / 20_000, self.packets % 20_000 * 50);
        let head = [1_700_000_000 + second, micros, captured, u32::from(total)];
        self.bytes.extend(head.map(u32::to_le_bytes).concat());
        self.bytes.extend(ip);
        self.bytes.extend(tcp);
        self.packets += 1;
    }
}

#[derive(Default)]
struct Sums {
    packets: u64,
    payload: u64,
}

impl ConnectionSink for Sums {
    fn connection(&mut self, connection: &Connection) {
        for direction in Direction::BOTH {
            let half = &connection.halves[direction.index()];
            self.packets += half.packets;
            self.payload += half.payload_bytes;
        }
    }
}

/// Analyses a capture; all its packets must be counted, and soon.
fn soon(name: &str, capture: &Capture) -> Sums {
    let path: PathBuf =
        std::env::temp_dir().join(format!("pcapdoc-one-{name}-{}", std::process::id()));
    std::fs::write(&path, &capture.bytes).expect("a temporary file");
    let start = Instant::now();
    let run = pipeline::run(
        &[Input::Path(path.clone())],
        &pipeline::Settings::default(),
        Sums::default,
        |_| {},
    );
    let took = start.elapsed();
    std::fs::remove_file(&path).expect("the file can go");
    let (_, sinks) = run.expect("a capture");
    let sums = sinks.iter().fold(Sums::default(), |sum, sink| Sums {
        packets: sum.packets + sink.packets,
        payload: sum.payload + sink.payload,
    });
    assert!(took < Duration::from_secs(30), "{name}: {took:?}");
    assert!(sums.packets <= u64::from(capture.packets), "{name}");
    sums
}

#[test]
fn pieces_behind_a_hole_are_handed_over_one_by_one() {
    let (mut capture, start) = Capture::new();
    for at in 0..SEGMENTS {
        capture.data(start + 1 + at, b"x");
    }
    capture.data(start, b"x");
    let sums = soon("hole", &capture);
    assert_eq!(sums.payload, u64::from(start - 1 + SEGMENTS + 1));
}

#[test]
fn pieces_without_octets_are_not_kept_without_end() {
    let (mut capture, start) = Capture::new();
    for at in 0..SEGMENTS {
        capture.cut_data(start + 1 + at * 1000, 1000);
    }
    capture.data(start, b"x");
    let sums = soon("cut", &capture);
    assert_eq!(sums.payload, u64::from(start) + u64::from(SEGMENTS) * 1000);
}

#[test]
fn segments_in_reverse_order_find_their_place() {
    for step in [1, 2] {
        let (mut capture, start) = Capture::new();
        for at in 0..SEGMENTS {
            capture.data(start + step * (SEGMENTS - at), b"x");
        }
        capture.data(start, b"xx");
        soon("reverse", &capture);
    }
}

#[test]
fn blocks_that_sack_reports_downwards_are_bounded() {
    let (mut capture, start) = Capture::new();
    let top = start + 100 * SEGMENTS;
    capture.data(top, b"x");
    for at in 0..SEGMENTS {
        let edge = top - 100 * at - 50;
        capture.ack(
            start,
            &[
                [edge - 10, edge],
                [edge - 30, edge - 20],
                [edge - 50, edge - 40],
            ],
        );
    }
    soon("sack", &capture);
}

#[test]
fn octets_acknowledged_unseen_are_bounded() {
    let (mut capture, start) = Capture::new();
    for at in 0..SEGMENTS {
        capture.data(start + 2 * at + 1, b"x");
        capture.ack(start + 2 * at + 2, &[]);
    }
    soon("unseen", &capture);
}

#[test]
fn repeats_of_a_long_flight_are_judged_soon() {
    let (mut capture, start) = Capture::new();
    for _ in 0..4 {
        for at in 0..SEGMENTS / 4 {
            capture.data(start + at, b"x");
        }
    }
    for _ in 0..SEGMENTS / 4 {
        capture.ack(start, &[]);
    }
    soon("again", &capture);
}
