//! The target `report`: what packets say reaches every rendering, and stays text there.
//!
//! Apart from the other targets because the report needs crates that take minutes to build.

use analyzer::Connection;
use analyzer::capture::Input;
use analyzer::pipeline::{self, ConnectionSink};
use reports::{Afterwards, ConnectionCollector, Document, Draft, Redactor, RunInfo};
use rules::engine::{Engine, RuleSink};
use rules::settings::RuleSettings;

use crate::targets::as_file;

/// Stands before every text that comes from a packet: no page may hold it as it is.
const MARK: &[u8] = b"q7<";
const CLIENT: [u8; 4] = [10, 0, 0, 1];
const SERVER: [u8; 4] = [10, 0, 0, 2];

/// A stored result, when the bytes begin as one; else texts, parted by 0xff, for a capture of an
/// HTTP failure, a name that does not exist, and a refused TLS handshake.
pub fn report(bytes: &[u8]) {
    let document = if bytes.starts_with(b"{") {
        reports::render::json::read(bytes).ok()
    } else {
        Some(analysed(&capture(bytes)))
    };
    let Some(document) = document else { return };
    render(&document);
    if let Ok(redacted) = Redactor::new(&[7; 32]).document(document) {
        render(&redacted);
    }
}

fn render(document: &Document) {
    let page = reports::render::html::render(document).expect("a page");
    let text = reports::render::markdown::render(document);
    let screen =
        reports::render::terminal::render(document, reports::render::terminal::Style::default());
    let summary = reports::render::summary::render(document);
    let mut stored = Vec::new();
    reports::render::json::write(document, &mut stored).expect("memory takes it");
    let again = reports::render::json::read(&stored[..]).expect("what was written can be read");
    let mut twice = Vec::new();
    reports::render::json::write(&again, &mut twice).expect("memory takes it");
    assert!(twice == stored, "a stored result comes back");
    let mark = std::str::from_utf8(MARK).expect("UTF-8");
    assert!(!page.contains(mark), "markup from a packet in the page");
    for text in [&page, &text, &screen, &summary] {
        let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
        assert!(!text.contains(steers), "a control character is shown");
    }
}

struct Sink(RuleSink, ConnectionCollector);

impl ConnectionSink for Sink {
    fn connection(&mut self, connection: &Connection) {
        self.0.connection(connection);
        self.1.connection(connection);
    }
}

fn analysed(capture: &[u8]) -> Document {
    let path = as_file(capture);
    let engine = Engine::new(RuleSettings::default());
    let collector = ConnectionCollector::new(None);
    let run = pipeline::run(
        &[Input::Path(path.clone())],
        &pipeline::Settings::default(),
        || Sink(engine.sink(), collector.share()),
        |_| {},
    );
    let _ = std::fs::remove_file(&path);
    let (analysis, sinks) = run.expect("a capture");
    let (sinks, collectors): (Vec<_>, Vec<_>) =
        sinks.into_iter().map(|sink| (sink.0, sink.1)).unzip();
    let assessment = engine.finish(sinks, &analysis);
    let run = RunInfo {
        version: "0".to_owned(),
        arguments: Vec::new(),
        configuration: Vec::new(),
        configuration_file: None,
    };
    let collector = ConnectionCollector::merged(collectors);
    Draft::new(&analysis, &assessment, collector, &run).finish(Afterwards::default())
}

fn capture(bytes: &[u8]) -> Vec<u8> {
    let mut texts = bytes.split(|byte| *byte == 0xff).map(|text| {
        let text = &text[..text.len().min(57)];
        [MARK, text].concat()
    });
    let mut next = || texts.next().unwrap_or_default();
    let mut file = Pcapng::new(&next(), &next());
    let request = [
        b"GET /",
        &next()[..],
        b" HTTP/1.1\r\nHost: ",
        &next(),
        b"\r\n\r\n",
    ]
    .concat();
    let response = [
        b"HTTP/1.1 503 ",
        &next()[..],
        b"\r\nContent-Length: 0\r\n\r\n",
    ]
    .concat();
    file.connection(40_000, 80, &request, &response);
    let label = next();
    let question = [
        &[u8::try_from(label.len()).expect("short")],
        &label[..],
        b"\0\0\x01\0\x01",
    ]
    .concat();
    for (head, ports, from) in [
        (*b"\0\x07\x01\0\0\x01\0\0\0\0\0\0", [40_001, 53], CLIENT),
        (*b"\0\x07\x81\x83\0\x01\0\0\0\0\0\0", [53, 40_001], SERVER),
    ] {
        let message = [&head[..], &question].concat();
        let len = u16::try_from(8 + message.len()).expect("short");
        let header = [ports[0], ports[1], len, 0].map(u16::to_be_bytes).concat();
        file.packet(17, from, &[header, message].concat());
    }
    file.connection(
        40_002,
        443,
        &client_hello(&next()),
        b"\x15\x03\x03\0\x02\x02\x28",
    );
    file.bytes
}

fn client_hello(name: &[u8]) -> Vec<u8> {
    let sized = |bytes: &[u8]| {
        let len = u16::try_from(bytes.len()).expect("short").to_be_bytes();
        [&len[..], bytes].concat()
    };
    let server_name = sized(&[&[0][..], &sized(name)].concat());
    let extensions = sized(&[&[0, 0][..], &sized(&server_name)].concat());
    let hello = [
        b"\x03\x03",
        &[0; 32][..],
        b"\0\0\x02\x13\x01\x01\0",
        &extensions,
    ]
    .concat();
    let handshake = [&[1, 0][..], &sized(&hello)].concat();
    [b"\x16\x03\x01", &sized(&handshake)[..]].concat()
}

/// A pcapng file of bare IPv4 packets, a millisecond apart.
struct Pcapng {
    bytes: Vec<u8>,
    micros: u32,
}

impl Pcapng {
    fn new(interface: &[u8], comment: &[u8]) -> Self {
        let mut file = Self {
            bytes: Vec::new(),
            micros: 0,
        };
        let section = [&[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0][..], &[0xff; 8]].concat();
        file.block(0x0a0d_0d0a, &[section, option(1, comment)].concat());
        file.block(
            1,
            &[vec![228, 0, 0, 0, 0, 0, 0, 0], option(2, interface)].concat(),
        );
        file
    }

    fn block(&mut self, kind: u32, body: &[u8]) {
        let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
        let len = u32::try_from(body.len() + padding.len() + 12)
            .expect("short")
            .to_le_bytes();
        let block = [&kind.to_le_bytes()[..], &len, body, &padding, &len].concat();
        self.bytes.extend(block);
    }

    fn packet(&mut self, protocol: u8, from: [u8; 4], payload: &[u8]) {
        let to = if from == CLIENT { SERVER } else { CLIENT };
        let len = u16::try_from(20 + payload.len())
            .expect("short")
            .to_be_bytes();
        let header = [
            &[0x45, 0][..],
            &len,
            &[0, 0, 0, 0, 64, protocol, 0, 0],
            &from,
            &to,
        ]
        .concat();
        let packet = [&header, payload].concat();
        let len = u32::try_from(packet.len()).expect("short");
        self.micros += 1000;
        let head = [0, 0, self.micros, len, len].map(u32::to_le_bytes).concat();
        self.block(6, &[head, packet].concat());
    }

    /// A connection of one request and one response.
    fn connection(&mut self, client: u16, server: u16, request: &[u8], response: &[u8]) {
        const FIN: u8 = 1;
        const SYN: u8 = 2;
        const PSH: u8 = 8;
        const ACK: u8 = 16;
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).expect("short");
        let (asked, answered) = (101 + len(request), 501 + len(response));
        let segments: [(bool, u8, u32, u32, &[u8]); 8] = [
            (true, SYN, 100, 0, b""),
            (false, SYN | ACK, 500, 101, b""),
            (true, ACK, 101, 501, b""),
            (true, PSH | ACK, 101, 501, request),
            (false, PSH | ACK, 501, asked, response),
            (true, FIN | ACK, asked, answered, b""),
            (false, FIN | ACK, answered, asked + 1, b""),
            (true, ACK, asked + 1, answered + 1, b""),
        ];
        for (sent, flags, seq, ack, payload) in segments {
            let (from, ports) = if sent {
                (CLIENT, [client, server])
            } else {
                (SERVER, [server, client])
            };
            let ports = ports.map(u16::to_be_bytes).concat();
            let numbers = [seq, ack].map(u32::to_be_bytes).concat();
            let rest = [0x50, flags, 0xff, 0xff, 0, 0, 0, 0];
            let segment = [&ports[..], &numbers, &rest, payload].concat();
            self.packet(6, from, &segment);
        }
    }
}

/// A pcapng option with its padding.
fn option(code: u16, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(value.len()).expect("short");
    let mut option = [code, len].map(u16::to_le_bytes).concat();
    option.extend_from_slice(value);
    option.resize(option.len().next_multiple_of(4), 0);
    option
}
