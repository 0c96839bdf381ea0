//! Situations of `client-timeout-close`, built by hand.

use analyzer::app::{AppProtocol, At, HttpExchange, HttpFacts};
use analyzer::connection::{ResetKind, TcpState};
use analyzer::decode::TcpFlags;

use super::*;
use crate::model::severity::Severity;
use crate::testkit::script::Capture;
use crate::testkit::{Builder, C, S, at, figure, findings_of};

fn gives_up(port: u16, wait_ms: f64) -> Builder {
    Builder::tcp(port)
        .handshake(0.0, 1.0)
        .request(1.0, 100)
        .request_acked(1.5)
        .fin(1.0 + wait_ms, C)
        .protocol(AppProtocol::Http1)
}

#[test]
fn the_same_wait_on_several_connections_is_a_timeout() {
    let connections: Vec<_> = (0..4)
        .map(|n| gives_up(n, 2000.0 + f64::from(n)).build())
        .collect();
    let findings = findings_of("client-timeout-close", &connections);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].severity, Severity::High);
    assert!((figure(&findings[0], "timeout_ms") - 2001.5).abs() < 0.01);
    assert!((figure(&findings[0], "connections") - 4.0).abs() < f64::EPSILON);
}

#[test]
fn late_response_that_draws_a_reset_proves_it() {
    let conn = gives_up(1, 1340.0)
        .response(3000.0, 500)
        .reset(3000.1, C, ResetKind::AbortedAfterClose)
        .build();
    let findings = findings_of("client-timeout-close", &[conn]);
    assert!((figure(&findings[0], "late_responses") - 1.0).abs() < f64::EPSILON);
    assert!(findings[0].confidence >= 0.9);
}

/// In a protocol that is not known: the server answered before, and closed without answering this.
fn let_go(port: u16, wait_ms: f64, begun_ms: f64) -> Connection {
    Builder::tcp(port)
        .handshake(begun_ms, 1.0)
        .request(begun_ms + 1.0, 100)
        .response(begun_ms + 2.0, 100)
        .request(begun_ms + 3.0, 100)
        .request_acked(begun_ms + 3.5)
        .fin(begun_ms + 3.0 + wait_ms, C)
        .fin(begun_ms + 3.1 + wait_ms, S)
        .build()
}

#[test]
fn a_last_message_may_want_no_answer() {
    let findings = |connections: &[Connection]| findings_of("client-timeout-close", connections);
    assert!(findings(&[let_go(1, 1340.0, 0.0)]).is_empty());
    // The wait is one that people choose.
    let alone = findings(&[let_go(1, 2000.0, 0.0)]);
    assert_eq!(alone[0].severity, Severity::Low);
    // A program that ends: all at once.
    let at_once: Vec<_> = (0..4)
        .map(|n| let_go(n, 1340.0 - f64::from(n), f64::from(n)))
        .collect();
    assert!(findings(&at_once).is_empty());
    // Requests sent at once, and a timer that ran out for all.
    let burst: Vec<_> = (0..4).map(|n| let_go(n, 2000.0, f64::from(n))).collect();
    assert_eq!(findings(&burst)[0].severity, Severity::High);
    // A timer: the same wait at different times.
    let apart: Vec<_> = (0..4)
        .map(|n| let_go(n, 1340.0, f64::from(n) * 500.0))
        .collect();
    assert_eq!(findings(&apart)[0].severity, Severity::High);
}

#[test]
fn what_the_capture_missed_may_have_been_the_answer() {
    let connections: Vec<_> = (0..4)
        .map(|n| {
            gives_up(n, 2000.0)
                .with(|conn| {
                    let turn = conn.turns.last.as_mut().expect("a request");
                    turn.answer_missed = true;
                })
                .build()
        })
        .collect();
    assert!(findings_of("client-timeout-close", &connections).is_empty());
}

/// HTTP/2: a request, the server's settings, and their acknowledgment, two seconds before the close.
fn stream_given_up(cancelled: u64) -> Connection {
    let mut builder = Builder::tcp(1).handshake(0.0, 1.0).request(1.0, 100);
    let request = builder.conn.turns.last.unwrap().request.last;
    let asked = At {
        frame: request.frame,
        time: request.time,
    };
    let stream = HttpExchange {
        method: "GET".into(),
        target: "/slow".to_owned(),
        host: None,
        request_start: asked,
        request_end: Some(asked),
        status: None,
        response_start: None,
        response_end: None,
        connection_close: false,
    };
    builder = builder
        .response(2.0, 51)
        .request(3.0, 9)
        .request_acked(3.5)
        .fin(2001.0, C)
        .protocol(AppProtocol::Http2);
    builder.conn.app.http = Some(Box::new(HttpFacts {
        kept: vec![stream],
        reset_streams: [cancelled, 0],
        ..HttpFacts::default()
    }));
    builder.build()
}

#[test]
fn an_open_stream_is_what_waits_in_http2() {
    let findings = findings_of("client-timeout-close", &[stream_given_up(0)]);
    assert!((figure(&findings[0], "timeout_ms") - 2000.0).abs() < 0.1);
    let cancelled = findings_of("client-timeout-close", &[stream_given_up(1)]);
    assert!(cancelled.is_empty());
}

#[test]
fn a_response_behind_a_hole_answers_nobody() {
    let connections: Vec<_> = (0..3)
        .map(|n| {
            let builder = Builder::tcp(n).handshake(0.0, 1.0).request(1.0, 100);
            let builder = builder.request_acked(1.5).response(2.0, 500).fin(8001.0, C);
            let mut conn = builder.protocol(AppProtocol::Http1).build();
            let response = conn.turns.last.as_mut().unwrap().response.as_mut().unwrap();
            response.first.relative_seq += 2896;
            conn.halves[0].fin.as_mut().unwrap().relative_ack = 1;
            conn
        })
        .collect();
    let findings = findings_of("client-timeout-close", &connections);
    assert!((figure(&findings[0], "timeout_ms") - 8000.0).abs() < 0.1);
    assert!(findings[0].summary.contains("lost on the path"));
}

#[test]
fn half_close_whose_answer_is_accepted_is_healthy() {
    let conn = gives_up(1, 1000.0)
        .response(3000.0, 500)
        .fin(3000.1, S)
        .build();
    assert!(findings_of("client-timeout-close", &[conn]).is_empty());
}

#[test]
fn close_after_the_response_is_healthy() {
    let conn = Builder::tcp(1)
        .handshake(0.0, 1.0)
        .request(1.0, 100)
        .response(2.0, 100)
        .fin(2000.0, C)
        .build();
    assert!(findings_of("client-timeout-close", &[conn]).is_empty());
}

#[test]
fn one_way_streams_want_no_answer() {
    let stream = |port, wait| gives_up(port, wait).protocol(AppProtocol::Unknown).build();
    let connections = [stream(1, 1700.0), stream(2, 9000.0), stream(3, 400.0)];
    assert!(findings_of("client-timeout-close", &connections).is_empty());
}

#[test]
fn tls_housekeeping_is_no_request() {
    let conn = Builder::tcp(1)
        .handshake(0.0, 1.0)
        .request(1.0, 517)
        .response(2.0, 3000)
        .request(3.0, 500)
        .response(4.0, 3000)
        .request(5.0, 35)
        .request_acked(5.1)
        .fin(90_000.0, C)
        .protocol(AppProtocol::Tls)
        .build();
    assert!(findings_of("client-timeout-close", &[conn]).is_empty());
}

#[test]
fn time_in_fin_wait_2_is_told() {
    let conn = gives_up(1, 2000.0)
        .with(|conn| {
            conn.states = vec![analyzer::connection::StateSpan {
                end: C,
                state: TcpState::FinWait2,
                from: at(2001.0),
                to: None,
                inferred: false,
            }];
            conn.end = at(9001.0);
        })
        .build();
    let findings = findings_of("client-timeout-close", &[conn]);
    assert!(
        findings[0]
            .why
            .iter()
            .any(|why| why.contains("FIN-WAIT-2 for 7.00 s")),
        "{:?}",
        findings[0].why
    );
}

#[test]
fn equal_waits_right_before_the_end_of_the_capture_are_given_up() {
    let mut analysis = analyzer::Analysis::default();
    analysis.summary.last = Some(at(3100.0));
    let severity = |count: u16, wait_ms: f64| {
        let connections: Vec<_> = (1..=count).map(|n| gives_up(n, wait_ms).build()).collect();
        crate::testkit::findings_in("client-timeout-close", &connections, &analysis)[0].severity
    };
    assert_eq!(
        severity(1, 3000.0),
        Severity::Low,
        "it may still read the answer"
    );
    assert!(
        severity(4, 3000.0) >= Severity::High,
        "a timer closed all four"
    );
    assert_eq!(
        severity(4, 2640.0),
        Severity::Low,
        "a program that half-closes may take as long"
    );
}

/// A TLS-like exchange over packets: a request at 30 ms, then what `then` lets pass.
fn scripted(port: u16, then: impl Fn(&mut Capture)) -> Connection {
    let mut capture = Capture::of_client(port, u64::from(port) * 100 + 1);
    capture.handshake();
    capture.client(30_000, DATA, 101, 901, 100);
    then(&mut capture);
    let mut conn = capture.finish();
    conn.app.protocol = AppProtocol::Http1;
    conn
}

/// Four connections alike, whose clients would wait for the same time.
fn four(then: impl Fn(&mut Capture)) -> Option<Severity> {
    let connections: Vec<_> = (1..=4).map(|port| scripted(port, &then)).collect();
    let findings = findings_of("client-timeout-close", &connections);
    findings.first().map(|finding| finding.severity)
}

const ACK: u8 = TcpFlags::ACK;
const DATA: u8 = TcpFlags::ACK | TcpFlags::PSH;
const FIN: u8 = TcpFlags::ACK | TcpFlags::FIN;
const TWO_SECONDS: u64 = 2_030_000;

#[test]
fn the_request_must_have_been_acknowledged_before_the_close() {
    let given_up = |acked_us: u64| {
        four(move |capture| {
            if acked_us < TWO_SECONDS {
                capture.server(acked_us, ACK, 901, 201, 0);
            }
            capture.client(TWO_SECONDS, FIN, 201, 901, 0);
            if acked_us > TWO_SECONDS {
                capture.server(acked_us, ACK, 901, 202, 0);
            }
        })
    };
    assert_eq!(given_up(50_000), Some(Severity::High));
    assert_eq!(given_up(TWO_SECONDS + 50_000), None);
}

#[test]
fn a_close_that_acknowledges_more_was_answered() {
    let acknowledging = |octets: u32| {
        four(move |capture| {
            capture.server(50_000, ACK, 901, 201, 0);
            capture.client(TWO_SECONDS, FIN, 201, 901 + octets, 0);
        })
    };
    assert_eq!(acknowledging(0), Some(Severity::High));
    assert_eq!(acknowledging(657), None, "the answer was not captured");
}

#[test]
fn crossing_closes_are_nobodys_timeout() {
    let server_fin_acks = |acked: u32| {
        four(move |capture| {
            capture.server(50_000, ACK, 901, 201, 0);
            capture.client(TWO_SECONDS, FIN, 201, 901, 0);
            capture.server(TWO_SECONDS + 10_000, FIN, 901, acked, 0);
        })
    };
    assert_eq!(server_fin_acks(202), Some(Severity::High));
    assert_eq!(server_fin_acks(201), None);
}

#[test]
fn an_answer_that_lay_ready_answers() {
    let answered_at = |answer_us: u64| {
        four(move |capture| {
            capture.server(50_000, ACK, 901, 201, 0);
            capture.server(answer_us, DATA, 901, 201, 59);
            capture.client(TWO_SECONDS, FIN, 201, 901, 0);
            capture.client(TWO_SECONDS + 5_000, TcpFlags::RST, 202, 0, 0);
        })
    };
    assert_eq!(answered_at(TWO_SECONDS - 31_000), None);
}

#[test]
fn one_wait_alone_may_be_a_user_who_left() {
    let findings = findings_of("client-timeout-close", &[gives_up(1, 1005.0).build()]);
    assert_eq!(findings[0].severity, Severity::Low);
    assert!(findings[0].title.starts_with("10.9.0.1 gives up on"));
}

#[test]
fn waits_that_differ_are_given_as_a_range() {
    let waits = [gives_up(1, 306.0).build(), gives_up(2, 2980.0).build()];
    let findings = findings_of("client-timeout-close", &waits);
    let title = &findings[0].title;
    assert!(title.ends_with(" after 306 ms to 2.98 s"), "{title}");
}
