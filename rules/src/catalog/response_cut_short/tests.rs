//! Responses that end too early, and what looks like it.

use analyzer::Connection;
use analyzer::decode::TcpFlags;

use crate::model::finding::Finding;
use crate::model::severity::Severity;
use crate::testkit::script::{Capture, Marks, fields};
use crate::testkit::{figure, findings_of};

const ACK: u8 = TcpFlags::ACK;
const FIN: u8 = TcpFlags::FIN | TcpFlags::ACK;
const RST: u8 = TcpFlags::RST | TcpFlags::ACK;

/// A connection on which a client asks once.
struct Talk {
    capture: Capture,
    at_us: u64,
    /// Next sequence numbers of client and server.
    next: [u32; 2],
}

impl Talk {
    fn asks(number: u16, request: &str) -> Self {
        let mut capture = Capture::of_client(40_000 + number, u64::from(number) * 100 + 1);
        capture.handshake();
        let talk = Self {
            capture,
            at_us: 20_000,
            next: [101, 901],
        };
        talk.says(true, ACK, request.as_bytes())
    }

    /// Ten milliseconds later one end sends a segment.
    fn says(mut self, from_client: bool, flags: u8, payload: &[u8]) -> Self {
        self.at_us += 10_000;
        let [own, peer] = if from_client { [0, 1] } else { [1, 0] };
        let tcp = fields(self.next[own], self.next[peer], flags);
        self.capture.payload(
            from_client,
            self.at_us * 1000,
            Marks::default(),
            tcp,
            payload,
        );
        self.next[own] += payload.len() as u32 + u32::from(TcpFlags(flags).fin());
        self
    }

    fn answers(self, head: &str, body: usize) -> Self {
        let octets = [head.as_bytes(), &vec![b'x'; body]].concat();
        self.says(false, ACK, &octets).says(true, ACK, b"")
    }

    fn server_ends(self) -> Connection {
        let ended = self.says(false, FIN, b"").says(true, FIN, b"");
        ended.says(false, ACK, b"").capture.finish()
    }
}

const GET: &str = "GET /report HTTP/1.1\r\nHost: shop.example\r\n\r\n";
const THOUSAND: &str = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

fn told(connections: impl IntoIterator<Item = Connection>) -> Vec<Finding> {
    let connections: Vec<_> = connections.into_iter().collect();
    findings_of("response-cut-short", &connections)
}

fn silent(connection: Connection) {
    let findings = told([connection]);
    assert!(findings.is_empty(), "{findings:#?}");
}

#[test]
fn fewer_octets_than_promised() {
    let findings = told([Talk::asks(1, GET).answers(THOUSAND, 400).server_ends()]);
    assert_eq!(findings.len(), 1);
    let finding = &findings[0];
    assert_eq!(finding.severity, Severity::Medium);
    assert!((figure(finding, "promised_bytes") - 1000.0).abs() < f64::EPSILON);
    assert!((figure(finding, "missing_bytes") - 600.0).abs() < f64::EPSILON);
    assert!(
        finding.summary.contains("GET /report of shop.example"),
        "{}",
        finding.summary
    );
    assert_eq!(finding.evidence.iter().filter(|one| one.proves).count(), 2);
}

#[test]
fn no_last_chunk() {
    let within = Talk::asks(1, GET).answers(&format!("{CHUNKED}64\r\n"), 40);
    let between = Talk::asks(2, GET).answers(&format!("{CHUNKED}4\r\n1234\r\n"), 0);
    let findings = told([within.server_ends(), between.server_ends()]);
    assert_eq!((findings.len(), findings[0].occurrences), (1, 2));
    let trailer = Talk::asks(1, GET).answers(&format!("{CHUNKED}4\r\n1234\r\n0\r\n"), 0);
    silent(trailer.server_ends());
}

#[test]
fn three_are_grave_and_a_repeat_that_is_served_is_not() {
    let cut = |number| Talk::asks(number, GET).answers(THOUSAND, 400).server_ends();
    assert_eq!(told((1..4).map(cut))[0].severity, Severity::High);
    let mut again = Talk::asks(2, "");
    again.at_us = 500_000;
    let again = again
        .says(true, ACK, GET.as_bytes())
        .answers(THOUSAND, 1000);
    let findings = told([cut(1), again.server_ends()]);
    assert_eq!(findings[0].severity, Severity::Low);
}

#[test]
fn whole_responses_and_those_without_a_length_are_silent() {
    silent(Talk::asks(1, GET).answers(THOUSAND, 1000).server_ends());
    silent(
        Talk::asks(1, GET)
            .answers("HTTP/1.0 200 OK\r\n\r\n", 400)
            .server_ends(),
    );
    let head = GET.replace("GET", "HEAD");
    silent(Talk::asks(1, &head).answers(THOUSAND, 0).server_ends());
    for status in ["204 No Content", "304 Not Modified"] {
        let answer = THOUSAND.replace("200 OK", status);
        silent(Talk::asks(1, GET).answers(&answer, 0).server_ends());
    }
    let upgraded = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    silent(Talk::asks(1, GET).answers(upgraded, 40).server_ends());
    let events = CHUNKED.replace("Transfer", "Content-Type: text/event-stream\r\nTransfer");
    silent(
        Talk::asks(1, GET)
            .answers(&format!("{events}4\r\n1234\r\n"), 0)
            .server_ends(),
    );
}

#[test]
fn a_client_that_left_first_had_enough() {
    for flags in [FIN, RST] {
        let left = Talk::asks(1, GET)
            .answers(THOUSAND, 400)
            .says(true, flags, b"");
        silent(left.says(false, FIN, b"").capture.finish());
    }
}

#[test]
fn octets_that_were_lost_on_the_way_are_no_cut() {
    let mut lost = Talk::asks(1, GET).answers(THOUSAND, 400);
    lost.next[1] += 600;
    silent(lost.server_ends());
    // They passed unseen: the client acknowledges them.
    let mut unseen = Talk::asks(1, GET).answers(THOUSAND, 400);
    unseen.next[1] += 600;
    silent(unseen.says(true, ACK, b"").server_ends());
}

#[test]
fn open_responses_and_those_of_unknown_requests_are_silent() {
    silent(Talk::asks(1, GET).answers(THOUSAND, 400).capture.finish());
    silent(Talk::asks(1, "").answers(THOUSAND, 400).server_ends());
}

#[test]
fn an_error_page_that_is_cut_was_an_error_before() {
    let page = THOUSAND.replace("200 OK", "500 Internal Server Error");
    let findings = told([Talk::asks(1, GET).answers(&page, 400).server_ends()]);
    assert_eq!(findings[0].severity, Severity::Low);
}
