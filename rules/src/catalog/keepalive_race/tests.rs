//! Situations of `keepalive-race`, built by hand.

use analyzer::app::{AppProtocol, At, HttpExchange, HttpFacts};
use analyzer::connection::ResetKind;

use crate::model::severity::Severity;
use crate::testkit::{Builder, C, S, at, figure, findings_of};

/// One exchange, idle until the FIN at `fin_ms`, then a request that has not seen the FIN.
fn race(port: u16, fin_ms: f64) -> analyzer::Connection {
    let mut builder = Builder::tcp(port)
        .protocol(AppProtocol::Http1)
        .handshake(0.0, 1.0)
        .request(1.0, 100)
        .response(2.0, 500);
    let fin_ack = builder.segment(2.5, C, 0x10, 0);
    let builder = builder.fin(fin_ms, S).request(fin_ms + 0.4, 100);
    let mut builder = builder;
    let request = &mut builder.conn.turns.last.as_mut().unwrap().request;
    request.first.relative_ack = fin_ack.relative_ack;
    request.first.ack = fin_ack.ack;
    let ack = request.first.ack;
    let mut conn = builder
        .reset(fin_ms + 0.5, S, ResetKind::AbortedAfterClose)
        .build();
    conn.resets[0].segment.seq = ack;
    conn
}

#[test]
fn request_crossing_the_fin_is_a_race() {
    let connections: Vec<_> = (0..4).map(|n| race(n, 5002.0 + f64::from(n))).collect();
    let findings = findings_of("keepalive-race", &connections);
    assert_eq!(findings.len(), 1);
    let finding = &findings[0];
    assert_eq!(finding.occurrences, 4);
    assert_eq!(finding.severity, Severity::High);
    assert!(finding.confidence > 0.9);
    assert!((figure(finding, "idle_timeout_ms") - 5001.5).abs() < 0.01);
    assert!((figure(finding, "race_gap_ms") - 0.42).abs() < 0.01);
    assert!((figure(finding, "resets") - 4.0).abs() < f64::EPSILON);
    assert!(finding.summary.contains("uvicorn"), "{}", finding.summary);
    assert!(
        finding
            .evidence
            .iter()
            .any(|one| one.note.contains("FIN from server, 5.00 s after"))
    );
}

#[test]
fn late_write_is_said_to_be_one() {
    let conn = Builder::tcp(1)
        .handshake(0.0, 1.0)
        .request(1.0, 100)
        .response(2.0, 500)
        .fin(2002.0, S)
        .request(9000.0, 100)
        .reset(9000.1, S, ResetKind::AbortedAfterClose)
        .build();
    let findings = findings_of("keepalive-race", &[conn]);
    assert_eq!(findings.len(), 1);
    assert!(
        findings[0].summary.contains("already been acknowledged"),
        "{}",
        findings[0].summary
    );
    assert!((figure(&findings[0], "idle_timeout_ms") - 2000.0).abs() < 0.01);
}

/// A request that a lingering server acknowledges after its FIN, without RST, until the client gives up.
fn lingering(protocol: AppProtocol) -> analyzer::Connection {
    let mut builder = Builder::tcp(1).handshake(0.0, 1.0);
    for at in [1.0, 3.0, 5.0] {
        builder = builder.request(at, 100).response(at + 1.0, 500);
    }
    builder
        .fin(2002.0, S)
        .request(2900.0, 100)
        .request_acked(2900.1)
        .fin(2900.4, C)
        .protocol(protocol)
        .build()
}

#[test]
fn a_server_that_lingers_leaves_the_request_unanswered() {
    let findings = findings_of("keepalive-race", &[lingering(AppProtocol::Tls)]);
    assert_eq!(findings.len(), 1);
    assert!((figure(&findings[0], "resets")).abs() < f64::EPSILON);
    assert!(
        findings[0].summary.contains("got no response"),
        "{}",
        findings[0].summary
    );
}

#[test]
fn a_half_close_whose_server_reads_on_is_healthy() {
    assert!(findings_of("keepalive-race", &[lingering(AppProtocol::Unknown)]).is_empty());
}

#[test]
fn request_seen_before_the_fin_at_the_client() {
    let builder = Builder::tcp(1)
        .handshake(0.0, 1.0)
        .request(1.0, 100)
        .response(2.0, 500);
    let mut builder = builder.request(5001.8, 100);
    builder.segment(5002.0, S, 0x11, 0);
    let mut conn = builder
        .reset(5003.0, S, ResetKind::AbortedAfterClose)
        .build();
    // The FIN left before the request arrived: it does not acknowledge it.
    let request = conn.turns.last.unwrap().request.first.relative_seq;
    conn.halves[1].fin.as_mut().unwrap().relative_ack = request;
    assert_eq!(
        findings_of("keepalive-race", std::slice::from_ref(&conn)).len(),
        1
    );
    // Had the FIN acknowledged the request, the server closed on purpose.
    conn.halves[1].fin.as_mut().unwrap().relative_ack = request + 100;
    assert_eq!(findings_of("keepalive-race", &[conn]).len(), 0);
}

#[test]
fn clean_idle_close_is_no_race() {
    let conn = Builder::tcp(1)
        .handshake(0.0, 1.0)
        .request(1.0, 100)
        .response(2.0, 500)
        .fin(5002.0, S)
        .fin(5002.4, C)
        .build();
    assert!(findings_of("keepalive-race", &[conn]).is_empty());
}

#[test]
fn announced_close_is_no_race() {
    let mut conn = race(1, 5002.0);
    let exchange = HttpExchange {
        method: "GET".into(),
        target: "/".to_owned(),
        host: None,
        request_start: At {
            frame: 4,
            time: at(1.0),
        },
        request_end: None,
        status: Some(200),
        response_start: None,
        response_end: None,
        connection_close: true,
    };
    conn.app.http = Some(Box::new(HttpFacts {
        kept: vec![exchange],
        ..HttpFacts::default()
    }));
    assert!(findings_of("keepalive-race", &[conn]).is_empty());
}

#[test]
fn tls_goodbye_after_the_fin_is_no_request() {
    let conn = Builder::tcp(1)
        .handshake(0.0, 1.0)
        .request(1.0, 517)
        .response(2.0, 2500)
        .fin(5002.0, S)
        .request(5002.3, 24)
        .fin(5002.3, C)
        .reset(5002.8, S, ResetKind::AbortedAfterClose)
        .protocol(AppProtocol::Tls)
        .build();
    assert!(findings_of("keepalive-race", &[conn]).is_empty());
}

#[test]
fn client_that_closes_first_is_no_race() {
    let conn = Builder::tcp(1)
        .handshake(0.0, 1.0)
        .request(1.0, 100)
        .response(2.0, 500)
        .fin(5002.0, C)
        .fin(5002.1, S)
        .build();
    assert!(findings_of("keepalive-race", &[conn]).is_empty());
}

#[test]
fn closes_at_one_instant_after_different_idle_times_are_a_restart() {
    let restart = |port: u16, served: f64| {
        let mut conn = race(port, 9000.0);
        let data = conn.halves[1].last_data.as_mut().unwrap();
        data.time = at(served);
        conn
    };
    let connections: Vec<_> = (0..5).map(|n| restart(n, f64::from(n) * 1500.0)).collect();
    let findings = findings_of("keepalive-race", &connections);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].severity, Severity::Low);
    assert!(findings[0].title.contains("restart"));
}

/// A race of which nothing before the FIN was captured.
fn begun_before_the_capture(port: u16, fin_ms: f64) -> analyzer::Connection {
    let builder = Builder::tcp(port).protocol(AppProtocol::Http1);
    let mut builder = builder.fin(fin_ms, S).request(fin_ms + 2.0, 100);
    let request = &mut builder.conn.turns.last.as_mut().unwrap().request;
    request.first.relative_ack = 0;
    let ack = request.first.ack;
    let mut conn = builder
        .reset(fin_ms + 2.1, S, ResetKind::AbortedAfterClose)
        .build();
    conn.resets[0].segment.seq = ack;
    conn
}

#[test]
fn race_whose_last_exchange_lies_before_the_capture() {
    let conn = begun_before_the_capture;
    let mut analysis = analyzer::Analysis::default();
    analysis.summary.first = Some(at(1000.0));
    let connections = [conn(1, 41_000.0), conn(2, 43_000.0)];
    let findings = crate::testkit::findings_in("keepalive-race", &connections, &analysis);
    assert_eq!(findings[0].occurrences, 2);
    assert!(
        findings[0].title.contains("after more than 42"),
        "{}",
        findings[0].title
    );
    let named = |one: &crate::model::figure::Figure| one.name == "idle_timeout_ms";
    assert!(
        !findings[0].figures.iter().any(named),
        "a bound is no measurement"
    );
    // Silence shorter than any idle timeout proves nothing.
    analysis.summary.first = Some(at(40_900.0));
    let early = [conn(1, 41_000.0)];
    assert!(crate::testkit::findings_in("keepalive-race", &early, &analysis).is_empty());
}

#[test]
fn unknown_idle_times_that_end_together_may_be_a_restart() {
    let mut analysis = analyzer::Analysis::default();
    analysis.summary.first = Some(at(0.0));
    let closes = |apart_ms: f64| {
        let conn = |n: u16| begun_before_the_capture(n, 9000.0 + f64::from(n) * apart_ms);
        let connections: Vec<_> = (1..6).map(conn).collect();
        crate::testkit::findings_in("keepalive-race", &connections, &analysis)
    };
    assert_eq!(closes(0.1)[0].severity, Severity::Low);
    assert!(closes(0.1)[0].summary.contains("lies before the capture"));
    assert_eq!(closes(400.0)[0].severity, Severity::High);
}

#[test]
fn a_last_message_unlike_the_others_may_be_a_goodbye() {
    let severity = |octets: u32| {
        let conn = Builder::tcp(1)
            .handshake(0.0, 1.0)
            .request(1.0, 92)
            .response(2.0, 128)
            .fin(60_002.0, S)
            .request(60_002.4, octets)
            .reset(60_003.0, S, ResetKind::AbortedAfterClose)
            .build();
        findings_of("keepalive-race", &[conn])[0].severity
    };
    assert_eq!(severity(92), Severity::Medium);
    assert_eq!(severity(72), Severity::Low);
}
