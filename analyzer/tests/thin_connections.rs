//! Repeats on connections of few segments: what their identifications and echoes tell.

mod segments;

use pcapdoc_analyzer::Connection;
use pcapdoc_analyzer::decode::{TcpFields, TcpFlags};
use pcapdoc_analyzer::flow::tcp::Verdict;

use segments::{Capture, MS, Marks, fields};

const ACK: u8 = TcpFlags::ACK;
const PUSH: u8 = ACK | TcpFlags::PSH;
const SYN: u8 = TcpFlags::SYN;
const FIN: u8 = ACK | TcpFlags::FIN;

/// Identification, TSval and TSecr.
const fn stamped(ip_id: u16, value: u32, echo: u32) -> Marks {
    Marks {
        ts: Some((value, echo)),
        ip_id: Some(ip_id),
    }
}

struct Script(Capture);

impl Script {
    fn new() -> Self {
        Self(Capture::new())
    }

    /// A packet of the client at a millisecond.
    fn client(&mut self, at_ms: u64, marks: Marks, tcp: TcpFields, len: u32) -> Verdict {
        self.0.packet(true, at_ms * MS, marks, tcp, len)
    }

    fn server(&mut self, at_ms: u64, marks: Marks, tcp: TcpFields, len: u32) -> Verdict {
        self.0.packet(false, at_ms * MS, marks, tcp, len)
    }

    /// At the server, over 20 ms. The client counts from 1 on.
    fn handshake_at_server(&mut self) {
        self.client(0, stamped(1, 0, 0), fields(100, 0, SYN), 0);
        self.server(0, stamped(0, 500, 0), fields(900, 101, SYN | ACK), 0);
        self.client(20, stamped(2, 20, 500), fields(101, 901, ACK), 0);
    }

    /// A request and its response from these octets on, the response acknowledged or not.
    fn turn(&mut self, at_ms: u32, ids: (u16, u16), offset: u32, acknowledged: bool) {
        let (at, (own, theirs)) = (at_ms.into(), ids);
        let (request, response) = (101 + offset, 901 + offset);
        let asked = fields(request, response, PUSH);
        self.client(at, stamped(own, at_ms, 480 + at_ms), asked, 100);
        let answer = fields(response, request + 100, PUSH);
        self.server(at, stamped(theirs, 500 + at_ms, at_ms), answer, 100);
        if acknowledged {
            let ack = fields(request + 100, response + 100, ACK);
            let marks = stamped(own + 1, at_ms + 20, 500 + at_ms);
            self.client(at + 20, marks, ack, 0);
        }
    }

    fn finish(self) -> Connection {
        self.0.finish()
    }
}

/// A request comes `step` identifications after the acknowledgement of a part of the response before
/// it, and this long after that response.
fn late_request(step: u16, after_ms: u32) -> u64 {
    let mut script = Script::new();
    script.handshake_at_server();
    script.turn(21, (3, 40), 0, true);
    script.turn(71, (5, 41), 100, true);
    script.turn(121, (7, 42), 200, false);
    let rest = fields(1201, 401, PUSH);
    script.server(121, stamped(43, 621, 121), rest, 100);
    let part = fields(401, 1201, ACK);
    script.client(141, stamped(8, 141, 621), part, 0);
    let at = 121 + after_ms;
    let request = fields(401, 1301, PUSH);
    let marks = stamped(8 + step, at, 621);
    script.client(at.into(), marks, request, 100);
    script.finish().from_client().retransmitted_segments
}

#[test]
fn a_request_was_lost_whose_acknowledgement_went_with_it() {
    assert_eq!(late_request(2, 270), 1);
}

#[test]
fn a_request_that_comes_when_no_timer_ran_out_is_none() {
    assert_eq!(late_request(2, 120), 0);
    assert_eq!(late_request(1, 270), 0);
}

/// Of two segments behind a hole, each repeated once, the first repeat comes `late_id`.
fn overtaken_repeat(late_id: u16) -> Verdict {
    let mut script = Script::new();
    script.handshake_at_server();
    for number in 0..4 {
        let data = fields(101 + 100 * u32::from(number), 901, ACK);
        script.client(21, stamped(3 + number, 21, 500), data, 100);
        let ack = fields(901, 201 + 100 * u32::from(number), ACK);
        script.server(21, stamped(40 + number, 521, 21), ack, 0);
    }
    // 7 and 8 are repeats of the first two segments; 9 is new and overtakes them.
    script.client(60, stamped(9, 55, 521), fields(501, 901, ACK), 100);
    script.client(62, stamped(late_id, 50, 521), fields(101, 901, ACK), 100)
}

#[test]
fn a_number_that_never_passed_is_nobodys_copy() {
    assert!(matches!(overtaken_repeat(7), Verdict::Retransmission(_)));
}

#[test]
fn a_fin_is_repeated_in_vain_when_the_answer_echoes_the_first() {
    for (echo, needless) in [(100, 1), (330, 0)] {
        let mut script = Script::new();
        script.client(0, stamped(1, 0, 0), fields(100, 0, SYN), 0);
        script.server(20, stamped(0, 500, 0), fields(900, 101, SYN | ACK), 0);
        script.client(20, stamped(2, 20, 500), fields(101, 901, ACK), 0);
        script.client(100, stamped(3, 100, 500), fields(101, 901, FIN), 0);
        script.client(330, stamped(4, 330, 500), fields(101, 901, FIN), 0);
        script.server(351, stamped(9, 830, echo), fields(901, 102, FIN), 0);
        let connection = script.finish();
        let client = connection.from_client();
        assert_eq!(client.retransmitted_segments, 1);
        assert_eq!(client.spurious_retransmissions, needless, "{echo}");
    }
}

#[test]
fn a_syn_is_repeated_in_vain_when_the_answer_echoes_the_first() {
    for (echo, needless) in [(1, 1), (1001, 0)] {
        let mut script = Script::new();
        script.client(1, stamped(1, 1, 0), fields(100, 0, SYN), 0);
        script.client(1001, stamped(2, 1001, 0), fields(100, 0, SYN), 0);
        let answer = fields(900, 101, SYN | ACK);
        script.server(1021, stamped(0, 500, echo), answer, 0);
        script.client(1021, stamped(3, 1021, 500), fields(101, 901, ACK), 0);
        let connection = script.finish();
        let client = connection.from_client();
        assert_eq!(client.retransmitted_segments, 1);
        assert_eq!(client.spurious_retransmissions, needless, "{echo}");
    }
}

/// At the client: a response of one segment and a FIN, with a pause before it; the SYN-ACK bears
/// `first`.
fn short_answer(first: u16) -> u64 {
    let mut script = Script::new();
    script.client(0, stamped(1, 0, 0), fields(100, 0, SYN), 0);
    let answer = fields(900, 101, SYN | ACK);
    script.server(20, stamped(first, 500, 0), answer, 0);
    script.client(20, stamped(2, 20, 500), fields(101, 901, ACK), 0);
    script.client(21, stamped(3, 21, 500), fields(101, 901, PUSH), 100);
    script.server(41, stamped(70, 521, 21), fields(901, 201, ACK), 0);
    script.server(41, stamped(71, 521, 21), fields(901, 201, PUSH), 100);
    script.client(41, stamped(4, 41, 521), fields(201, 1001, FIN), 0);
    script.server(285, stamped(73, 764, 41), fields(1001, 202, FIN), 0);
    script.client(285, stamped(5, 285, 764), fields(202, 1002, ACK), 0);
    script.finish().from_server().retransmitted_segments
}

#[test]
fn who_answers_syns_with_zero_counts_for_each_socket() {
    assert_eq!(short_answer(0), 1);
    assert_eq!(short_answer(69), 0);
}

#[test]
fn an_answer_in_time_wait_does_not_break_the_count() {
    let mut script = Script::new();
    script.handshake_at_server();
    script.turn(21, (3, 40), 0, true);
    // 5 was lost.
    script.turn(271, (6, 41), 100, true);
    script.client(300, stamped(8, 300, 771), fields(301, 1101, FIN), 0);
    script.server(300, stamped(42, 800, 300), fields(1101, 302, FIN), 0);
    script.server(540, stamped(43, 1040, 300), fields(1101, 302, FIN), 0);
    let last = fields(302, 1102, ACK);
    script.client(560, stamped(0, 560, 800), last, 0);
    let connection = script.finish();
    assert_eq!(connection.from_client().retransmitted_segments, 1);
    // Its echo tells that the FIN had arrived.
    assert_eq!(connection.from_server().spurious_retransmissions, 1);
}
