//! What a GOAWAY or a reset stream cost.

use super::*;
use crate::model::severity::Severity;
use crate::testkit::{Builder, C, S, at, figure, findings_in, findings_of};
use analyzer::app::{AppProtocol, At, HttpUnanswered};

fn place(ms: f64) -> At {
    At {
        frame: 6,
        time: at(ms),
    }
}

fn goaway(code: u32, unprocessed: u64, unanswered: u64) -> HttpGoaway {
    let left = |count: u64| HttpUnanswered {
        count,
        first: (count > 0).then(|| place(3.0)),
    };
    HttpGoaway {
        direction: S,
        code,
        last_stream: 5,
        debug: String::new(),
        at: place(4.0),
        unprocessed: left(unprocessed),
        unanswered: left(unanswered),
    }
}

fn session(number: u16, change: impl FnOnce(&mut HttpFacts)) -> Connection {
    let mut http = HttpFacts {
        streams: 10,
        ..HttpFacts::default()
    };
    change(&mut http);
    Builder::tcp(number)
        .handshake(0.0, 1.0)
        .request(1.0, 100)
        .response(2.0, 100)
        .protocol(AppProtocol::Http2)
        .with(|conn| conn.app.http = Some(Box::new(http)))
        .build()
}

fn with_goaway(goaway: HttpGoaway) -> Connection {
    session(1, |http| http.goaway = Some(Box::new(goaway)))
}

/// A capture that goes on long enough to know.
fn long() -> Analysis {
    let mut analysis = Analysis::default();
    analysis.summary.last = Some(at(60_000.0));
    analysis
}

#[test]
fn streams_that_cross_a_goaway_are_lost() {
    let findings = findings_in("http2-goaway", &[with_goaway(goaway(0, 2, 0))], &long());
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].severity, Severity::Medium);
    assert!((figure(&findings[0], "streams") - 2.0).abs() < f64::EPSILON);
    // Where the capture ends with it, nobody knows.
    let findings = findings_of("http2-goaway", &[with_goaway(goaway(0, 2, 0))]);
    assert_eq!(findings[0].severity, Severity::Low);
}

#[test]
fn who_asks_again_is_served() {
    let again = session(2, |http| {
        http.kept = vec![analyzer::app::HttpExchange {
            method: "GET".into(),
            target: "/".into(),
            host: None,
            request_start: place(50.0),
            request_end: None,
            status: Some(200),
            response_start: Some(place(51.0)),
            response_end: None,
            connection_close: false,
        }];
    });
    let findings = findings_in(
        "http2-goaway",
        &[with_goaway(goaway(0, 2, 0)), again],
        &long(),
    );
    assert_eq!(findings[0].severity, Severity::Low);
}

#[test]
fn a_session_that_ends_when_all_is_done_is_not_this() {
    assert!(findings_of("http2-goaway", &[with_goaway(goaway(0, 0, 0))]).is_empty());
    // An open stream at the end of the capture is not lost by a graceful shutdown.
    assert!(findings_of("http2-goaway", &[with_goaway(goaway(0, 0, 1))]).is_empty());
}

#[test]
fn a_code_says_why() {
    let mut calm = goaway(11, 0, 1);
    calm.debug = "too_many_pings".to_owned();
    let findings = findings_in("http2-goaway", &[with_goaway(calm)], &long());
    assert!(
        findings[0]
            .title
            .ends_with("ENHANCE_YOUR_CALM (too_many_pings)")
    );
    assert_eq!(findings[0].severity, Severity::Medium);
}

#[test]
fn refused_streams_and_storms() {
    let resets = |direction, code, count, seconds: f64| {
        let resets = HttpStreamResets {
            direction,
            code,
            count,
            first: place(4.0),
            last: place(4.0 + seconds * 1e3),
        };
        session(1, |http| {
            http.streams = 120;
            http.stream_resets = vec![resets];
        })
    };
    let found = |conn| findings_of("http2-goaway", &[conn]);
    assert_eq!(
        found(resets(S, REFUSED_STREAM, 3, 1.0))[0].severity,
        Severity::Low
    );
    assert_eq!(found(resets(C, CANCEL, 110, 2.0)).len(), 1);
    // Slowly, or few of all: deadlines of single calls.
    assert!(found(resets(C, CANCEL, 110, 60.0)).is_empty());
    assert!(found(resets(C, CANCEL, 50, 1.0)).is_empty());
}
