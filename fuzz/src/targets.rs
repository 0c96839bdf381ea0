//! What is fuzzed, and replayed by `tests/fuzz_corpus.rs`: nothing may panic or hang, and what is
//! decoded stays within what was captured.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use analyzer::app::{AppFacts, AppSettings, At, DatagramReader, SegmentShape, StreamReader};
use analyzer::capture::{CaptureReader, Input, ReadOptions, Slab};
use analyzer::decode::{DecodedSlab, decode_slab};
use analyzer::pipeline::{self, ConnectionSink};
use analyzer::{Connection, Direction, Timestamp};
use hostfiles::{HostFiles, Interest, Source};
use rules::engine::{Engine, RuleSink};
use rules::finding::Assessment;
use rules::host::{Acquaintance, Witness};
use rules::settings::RuleSettings;

/// What takes a fuzzer's bytes.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("capture", capture),
    ("pipeline", pipeline),
    ("tcp", tcp),
    ("stream", stream),
    ("service", service),
    ("datagram", datagram),
    ("settings", settings),
    ("hostfiles", hostfiles),
];

/// Bytes as a file; one name per thread and process, so that runs do not meet.
pub fn as_file(bytes: &[u8]) -> PathBuf {
    let name = format!(
        "pcapdoc-fuzz-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    );
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, bytes).expect("the temporary folder takes files");
    path
}

/// Small limits, so that what a compressed file may inflate to does not slow the fuzzer.
fn options() -> ReadOptions {
    ReadOptions {
        slab_bytes: 4096,
        inflated_free_bytes: 1 << 20,
        ..ReadOptions::default()
    }
}

/// A file of a host, whatever its format, laid beside a capture without connections.
fn hostfiles(bytes: &[u8]) {
    let source = Source::Bytes("host/file".to_owned(), bytes.to_vec());
    let files = HostFiles::of(vec![source], &BTreeMap::new(), &|_, _| Interest::Sure);
    for row in &files.facts.sockets {
        assert!(row.place.at.line <= files.files[0].lines);
        let _ = files.quote(row.place.at);
    }
    let witness = Witness::new(files, Acquaintance::default());
    let _ = witness.testify(&mut Assessment::default(), &RuleSettings::default());
}

/// A file of any format, read and decoded.
fn capture(bytes: &[u8]) {
    let path = as_file(bytes);
    if let Ok(mut reader) = CaptureReader::open(&[Input::Path(path.clone())], options()) {
        let (mut slab, mut decoded) = (Slab::default(), DecodedSlab::default());
        let mut number = 0;
        while reader.read_slab(&mut slab).expect("damage is a note") {
            decode_slab(&slab, reader.interfaces(), &mut decoded);
            for frame in &slab.frames {
                number += 1;
                assert_eq!(frame.number, number);
                assert!(frame.captured_len <= frame.original_len);
                assert_eq!(slab.data(frame).len(), frame.captured_len as usize);
            }
            for packet in &decoded.packets {
                assert!(packet.payload_captured <= packet.payload_len);
                let end = packet.payload_start as usize + packet.payload_captured as usize;
                assert!(end <= slab.bytes.len());
            }
        }
        let _ = (
            reader.notes(),
            reader.comments(),
            reader.interface_summaries(),
        );
    }
    let _ = std::fs::remove_file(&path);
}

struct Sink(RuleSink);

impl ConnectionSink for Sink {
    fn connection(&mut self, connection: &Connection) {
        self.0.connection(connection);
    }
}

/// A file of any format, analysed and judged.
fn pipeline(bytes: &[u8]) {
    let path = as_file(bytes);
    let engine = Engine::new(RuleSettings::default());
    let settings = pipeline::Settings {
        read: options(),
        ..pipeline::Settings::default()
    };
    let run = pipeline::run(
        &[Input::Path(path.clone())],
        &settings,
        || Sink(engine.sink()),
        |_| {},
    );
    if let Ok((analysis, sinks)) = run {
        let sinks = sinks.into_iter().map(|sink| sink.0).collect();
        let _ = engine.finish(sinks, &analysis);
    }
    let _ = std::fs::remove_file(&path);
}

/// Segments between two ends. Eight bytes make one: direction and flags, advance of the sequence
/// number, of the acknowledgement, length, window, time. What is known of the connections must be
/// the same when every segment is judged in full.
fn tcp(bytes: &[u8]) {
    let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend([0xff, 0xff, 0, 0, 228, 0, 0, 0]);
    let (mut next, mut micros) = ([1000_u32, 5000], 1_700_000_000_000_000_u64);
    for operation in bytes.as_chunks::<8>().0.iter().take(1024) {
        let &[what, flags, seq, ack, len, window, time, option] = operation;
        let from = usize::from(what & 1);
        micros += u64::from(time).pow(1 + u32::from(what >> 6));
        let jump = |value: u8| i32::from(value.cast_signed()).pow(1 + u32::from(what >> 4 & 3));
        let seq = next[from].wrapping_add_signed(jump(seq));
        let ack = next[1 - from].wrapping_add_signed(jump(ack));
        let mut segment = Vec::new();
        let ports: [u16; 2] = if from == 0 {
            [40_000, 80]
        } else {
            [80, 40_000]
        };
        segment.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
        segment.extend(seq.to_be_bytes());
        segment.extend(ack.to_be_bytes());
        let options: Vec<u8> = match option & 3 {
            0 => vec![],
            1 => [
                &[1, 1, 8, 10][..],
                &u32::from(option).to_be_bytes(),
                &[0; 4],
            ]
            .concat(),
            2 => {
                let edge = ack.wrapping_add(u32::from(option) * 10);
                let right = edge.wrapping_add(500);
                [
                    &[1, 1, 5, 10][..],
                    &edge.to_be_bytes(),
                    &right.to_be_bytes(),
                ]
                .concat()
            }
            _ => vec![2, 4, 5, 0xb4, 1, 3, 3, option >> 4],
        };
        let words = u8::try_from(5 + options.len() / 4).expect("few options");
        segment.extend([words << 4, flags, window, 0, 0, 0, 0, 0]);
        segment.extend(options);
        segment.extend(std::iter::repeat_n(option, len.into()));
        next[from] = seq
            .wrapping_add(len.into())
            .wrapping_add(u32::from(flags & 3 != 0));
        let total = u16::try_from(20 + segment.len()).expect("a short segment");
        let captured = u32::from(total).to_le_bytes();
        file.extend(
            u32::try_from(micros / 1_000_000)
                .unwrap_or(u32::MAX)
                .to_le_bytes(),
        );
        file.extend(
            u32::try_from(micros % 1_000_000)
                .expect("below a million")
                .to_le_bytes(),
        );
        file.extend([captured, captured].concat());
        file.extend([0x45, 0]);
        file.extend(total.to_be_bytes());
        file.extend([0, what, 0, 0, 64, 6, 0, 0, 10, 0, 0]);
        file.push(from.to_le_bytes()[0]);
        file.extend([10, 0, 0, 1 - from.to_le_bytes()[0]]);
        file.extend(segment);
    }
    pipeline(&file);
    let path = as_file(&file);
    let same = connections(&path, false) == connections(&path, true);
    let _ = std::fs::remove_file(&path);
    assert!(same, "judged in full the connections are others");
}

/// The connections of a capture, all segments judged in full or not.
fn connections(capture: &Path, judge_all: bool) -> Vec<Connection> {
    let mut settings = pipeline::Settings {
        read: options(),
        ..pipeline::Settings::default()
    };
    settings.tcp.judge_all = judge_all;
    let inputs = [Input::Path(capture.to_owned())];
    let run = pipeline::run(&inputs, &settings, Connections::default, |_| {});
    let sinks = run.map(|(_, sinks)| sinks).unwrap_or_default();
    sinks.into_iter().flat_map(|sink| sink.0).collect()
}

#[derive(Default)]
struct Connections(Vec<Connection>);

impl ConnectionSink for Connections {
    fn connection(&mut self, connection: &Connection) {
        self.0.push(connection.clone());
    }
}

const fn direction(bit: bool) -> Direction {
    if bit {
        Direction::ServerToClient
    } else {
        Direction::ClientToServer
    }
}

/// A stream in pieces: a head byte says direction, gap or end, and how long the piece is.
fn stream(bytes: &[u8]) {
    let mut app = AppSettings::default();
    let specs = ["u16be", "line", "fixed:7", "u8,adjust=-1", "delimiter:0d0a"];
    if let Some(spec) = bytes.first().and_then(|byte| specs.get(usize::from(*byte))) {
        app.framings.push((80, spec.parse().expect("a framing")));
    }
    let _ = pieces(
        StreamReader::new(&app, 80),
        bytes.get(1..).unwrap_or(&[]),
        0,
    );
}

/// How streams of services begin by which they are recognised: of the client and of the server.
const OPENINGS: [(Direction, &[u8]); 16] = [
    (Direction::ServerToClient, b"\x4a\0\0\0\x0a5.5.5-10.11"),
    (
        Direction::ServerToClient,
        b"\x17\0\0\0\xff\x10\x04Too many connections",
    ),
    (
        Direction::ClientToServer,
        b"\0\0\0\x16\0\x03\0\0user\0shop\0\0\0\0\0",
    ),
    (Direction::ClientToServer, b"*1\r\n$4\r\nPING\r\n"),
    (
        Direction::ServerToClient,
        b"-ERR max number of clients reached\r\n",
    ),
    (Direction::ClientToServer, b"AMQP\0\0\x09\x01"),
    (Direction::ClientToServer, &[0xff; 16]),
    (Direction::ServerToClient, b"220 mail.example ESMTP\r\n"),
    (Direction::ServerToClient, b"421 too many users\r\n"),
    (
        Direction::ClientToServer,
        b"\x15\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0",
    ),
    (Direction::ServerToClient, b"INFO {\"server_id\":\"a\"}\r\n"),
    (Direction::ServerToClient, b"STORED\r\n"),
    (
        Direction::ClientToServer,
        b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0",
    ),
    (
        Direction::ClientToServer,
        b"\0\0\0\x0e\0\x12\0\x03\0\0\0\x01\0\x04labs",
    ),
    (Direction::ServerToClient, b"SIP/2.0 503 Gone\r\n\r\n"),
    (
        Direction::ClientToServer,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ),
];

fn service(bytes: &[u8]) {
    let _ = service_facts(bytes);
}

/// What is known of a stream of a service whose errors are read: the first byte names its beginning,
/// pieces follow.
pub fn service_facts(bytes: &[u8]) -> AppFacts {
    let Some((which, rest)) = bytes.split_first() else {
        return AppFacts::default();
    };
    let (from, opening) = OPENINGS[usize::from(which & 15)];
    let mut reader = StreamReader::new(&AppSettings::default(), 80);
    let at = At {
        frame: 1,
        time: Timestamp::from_nanos(1_000_000),
    };
    reader.data(from, opening, at);
    pieces(reader, rest, 1)
}

/// Gives a reader the pieces that follow frame `frame`, and its end.
fn pieces(mut reader: StreamReader, mut rest: &[u8], mut frame: u64) -> AppFacts {
    while let [head, tail @ ..] = rest {
        frame += 1;
        let at = At {
            frame,
            time: Timestamp::from_nanos(1_000_000 * frame.cast_signed()),
        };
        let direction = direction(head & 1 != 0);
        let len = (usize::from(head >> 3) * 9).min(tail.len());
        match head >> 1 & 3 {
            3 if head & 8 != 0 => reader.gap(direction, 1 << (head >> 3), at),
            2 if head & 0xf0 == 0xf0 => reader.fin(direction, at),
            1 => {
                let shape = SegmentShape {
                    oversized: head & 8 != 0,
                    tail_cut: head & 16 != 0,
                };
                reader.segment_boundary(direction, shape);
            }
            _ => reader.data(direction, &tail[..len], at),
        }
        rest = &tail[len..];
    }
    let _ = reader.message_position(Direction::ClientToServer);
    reader.finish()
}

fn datagram(bytes: &[u8]) {
    let _ = datagram_facts(bytes);
}

/// What is known of datagrams: two bytes say direction, port and length of each.
pub fn datagram_facts(bytes: &[u8]) -> AppFacts {
    const PORTS: [u16; 16] = [
        53, 443, 5353, 161, 123, 5060, 4500, 1900, 67, 68, 1812, 1813, 500, 69, 3478, 514,
    ];
    let mut reader = DatagramReader::default();
    let (mut rest, mut frame) = (bytes, 0);
    while let [head, len, tail @ ..] = rest {
        frame += 1;
        let at = At {
            frame,
            time: Timestamp::from_nanos(1_000_000 * frame.cast_signed()),
        };
        let port = PORTS[usize::from(head >> 1 & 7) + 8 * usize::from(len & 1)];
        let len = (usize::from(*len) * 2).min(tail.len());
        let true_len = u32::try_from(len).unwrap_or(0) + u32::from(head >> 4);
        reader.datagram(
            direction(head & 1 != 0),
            &tail[..len],
            true_len,
            at,
            (40_000, port),
        );
        rest = &tail[len..];
    }
    let _ = reader.protocol();
    reader.finish()
}

/// A configuration file, and its text as a framing.
fn settings(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = RuleSettings::from_toml(&text, "fuzz.toml");
    let _ = text.parse::<analyzer::app::FramingSpec>();
}
