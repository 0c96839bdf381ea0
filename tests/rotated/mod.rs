//! A set of rotated files whose connections cross their borders, and two ways to its report.

#![allow(
    dead_code,
    reason = "every test file compiles its own copy and uses a part"
)]

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::packets::{ACK, Capture, FIN, PSH, RST, SYN};

const SERVER: (&str, u16) = ("192.0.2.10", 8080);
const BULK: (&str, u16) = ("192.0.2.20", 9000);
const RESOLVER: (&str, u16) = ("192.0.2.53", 53);
const CLIENT: &str = "198.51.100.7";
const REQUEST: &[u8] = b"GET /items HTTP/1.1\r\nHost: shop.example\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const FAILURE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno";
/// Payload of a full segment.
const FULL: u32 = 1400;

/// A connection that lives through all files: where both ends are.
struct Living {
    port: u16,
    sent: u32,
    answered: u32,
}

/// What is under way from file to file.
struct Ring {
    capture: Capture,
    living: Vec<Living>,
    transferred: u32,
    short: u16,
    questions: u16,
}

/// Writes `count` files of one ring and gives their paths in order.
pub fn ring(folder: &Path, count: u32) -> Vec<PathBuf> {
    let living = (0..10).map(|number| Living {
        port: 41_000 + number,
        sent: 101,
        answered: 501,
    });
    let mut ring = Ring {
        capture: Capture::new(),
        living: living.collect(),
        transferred: 0,
        short: 0,
        questions: 0,
    };
    ring.open();
    let write = |number: u32| {
        ring.one_file(number, number + 1 == count);
        let path = folder.join(format!("ring_{number:05}.pcap"));
        std::fs::write(&path, ring.capture.next_file()).expect("a writable folder");
        path
    };
    (0..count).map(write).collect()
}

impl Ring {
    /// Handshakes of what lives through all files.
    fn open(&mut self) {
        for living in &self.living {
            let client = (CLIENT, living.port);
            self.capture.tcp(client, SERVER, SYN, 100, 0, b"");
            self.capture.tcp(SERVER, client, SYN | ACK, 500, 101, b"");
            self.capture.tcp(client, SERVER, ACK, 101, 501, b"");
        }
        let client = (CLIENT, 40_999);
        self.capture.tcp(client, BULK, SYN, 999, 0, b"");
        self.capture.tcp(BULK, client, SYN | ACK, 7_999, 1_000, b"");
        self.capture.tcp(client, BULK, ACK, 1_000, 8_000, b"");
    }

    fn one_file(&mut self, number: u32, is_last: bool) {
        if number > 0 {
            self.answer_the_last();
        }
        self.repeat_what_was_lost(number);
        self.transfer(number);
        for at in 0..self.living.len() {
            self.exchange(at, number);
        }
        for _ in 0..20 {
            self.short_connection();
        }
        if number == 5 {
            self.capture.keepalive_race(CLIENT, SERVER, REQUEST, 3);
        }
        if !is_last {
            self.ask_for_the_next();
        }
        self.capture.wait_ms(900);
    }

    /// A SYN and a question at the end of a file: the answers are in the next one.
    fn ask_for_the_next(&mut self) {
        self.short += 1;
        let client = (CLIENT, 50_000 + self.short);
        self.capture.tcp(client, SERVER, SYN, 100, 0, b"");
        self.capture.udp(
            (CLIENT, 30_000 + self.questions),
            RESOLVER,
            &self.question(1, 0),
        );
    }

    fn answer_the_last(&mut self) {
        self.capture.udp(
            RESOLVER,
            (CLIENT, 30_000 + self.questions),
            &self.question(0x81, 0x82),
        );
        self.questions += 1;
        let client = (CLIENT, 50_000 + self.short);
        if self.short.is_multiple_of(7) {
            self.capture.tcp(SERVER, client, RST | ACK, 0, 101, b"");
            return;
        }
        self.capture.tcp(SERVER, client, SYN | ACK, 500, 101, b"");
        self.capture.tcp(client, SERVER, ACK, 101, 501, b"");
        self.finish_short(client);
    }

    fn question(&self, high: u8, low: u8) -> Vec<u8> {
        let mut question = self.questions.to_be_bytes().to_vec();
        question.extend([high, low, 0, 1, 0, 0, 0, 0, 0, 0]);
        question.extend(b"\x04shop\x07example\0\0\x01\0\x01");
        question
    }

    /// Part of a long transfer; its last segment in every third file is lost before the capture.
    fn transfer(&mut self, number: u32) {
        let client = (CLIENT, 40_999);
        let payload = [b'x'; FULL as usize];
        for at in 0..40 {
            let seq = 1_000 + self.transferred;
            self.transferred += FULL;
            let is_lost = at == 37 && number.is_multiple_of(3);
            if !is_lost {
                self.capture.tcp(client, BULK, ACK, seq, 8_000, &payload);
            }
            let ack = if at >= 37 && number.is_multiple_of(3) {
                1_000 + self.transferred - FULL * (at - 36)
            } else {
                1_000 + self.transferred
            };
            self.capture.tcp(BULK, client, ACK, 8_000, ack, b"");
        }
    }

    fn repeat_what_was_lost(&mut self, number: u32) {
        if number % 3 != 1 {
            return;
        }
        let client = (CLIENT, 40_999);
        let seq = 1_000 + self.transferred - FULL * 3;
        self.capture
            .tcp(client, BULK, ACK, seq, 8_000, &[b'x'; FULL as usize]);
        self.capture
            .tcp(BULK, client, ACK, 8_000, 1_000 + self.transferred, b"");
    }

    /// A request and its answer on a connection that stays open.
    fn exchange(&mut self, at: usize, number: u32) {
        let living = &mut self.living[at];
        let client = (CLIENT, living.port);
        let response = if number % 9 == 4 { FAILURE } else { RESPONSE };
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("short");
        let (sent, answered) = (living.sent, living.answered);
        self.capture
            .tcp(client, SERVER, PSH | ACK, sent, answered, REQUEST);
        living.sent += length(REQUEST);
        living.answered += length(response);
        let sent = living.sent;
        let slow = if at == 3 { 1_400 } else { 3 };
        self.capture.wait_ms(slow);
        self.capture
            .tcp(SERVER, client, PSH | ACK, answered, sent, response);
        self.capture
            .tcp(client, SERVER, ACK, sent, answered + length(response), b"");
    }

    /// A connection that begins and ends within a file.
    fn short_connection(&mut self) {
        self.short += 1;
        let client = (CLIENT, 50_000 + self.short);
        self.capture.tcp(client, SERVER, SYN, 100, 0, b"");
        if self.short % 5 == 2 {
            self.capture.tcp(SERVER, client, RST | ACK, 0, 101, b"");
            return;
        }
        self.capture.tcp(SERVER, client, SYN | ACK, 500, 101, b"");
        self.capture.tcp(client, SERVER, ACK, 101, 501, b"");
        self.finish_short(client);
    }

    fn finish_short(&mut self, client: (&str, u16)) {
        let (request, response) = (REQUEST.len() as u32, RESPONSE.len() as u32);
        self.capture
            .tcp(client, SERVER, PSH | ACK, 101, 501, REQUEST);
        self.capture.wait_ms(2);
        self.capture
            .tcp(SERVER, client, PSH | ACK, 501, 101 + request, RESPONSE);
        self.capture.tcp(
            client,
            SERVER,
            FIN | ACK,
            101 + request,
            501 + response,
            b"",
        );
        self.capture.tcp(
            SERVER,
            client,
            FIN | ACK,
            501 + response,
            102 + request,
            b"",
        );
        self.capture
            .tcp(client, SERVER, ACK, 102 + request, 502 + response, b"");
    }
}

/// A report as it must be the same whichever way it was made: without how the program was called.
pub fn report(json: &[u8]) -> String {
    let mut document: Value = serde_json::from_slice(json).expect("valid JSON");
    document["tool"]["arguments"] = Value::Null;
    serde_json::to_string_pretty(&document).expect("it was JSON before")
}

/// Says where two reports part, for a message.
pub fn must_be_equal(one: &str, other: &str, what: &str) {
    if one == other {
        return;
    }
    let lines = one.lines().zip(other.lines()).enumerate();
    let parted = lines.filter(|(_, (one, other))| one != other).take(12);
    let parted: Vec<_> = parted.collect();
    panic!("{what}: {parted:#?}");
}
