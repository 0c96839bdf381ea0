use super::*;
use crate::model::severity::Severity;
use crate::testkit::{Builder, C, S, at, figure, findings_of};
use analyzer::app::{AppProtocol, At, TlsFacts};

fn hello(port: u16, alert: Option<u8>) -> Builder {
    let builder = Builder::tcp(port)
        .handshake(0.0, 1.0)
        .request(1.0, 517)
        .protocol(AppProtocol::Tls);
    let frame = builder.conn.last_frame;
    let alerts = alert.map(|description| TlsAlert {
        direction: S,
        level: 2,
        description,
        at: At {
            frame: frame + 1,
            time: at(2.0),
        },
    });
    builder.with(|conn| {
        conn.app.tls = Some(Box::new(TlsFacts {
            client_hello: Some(At {
                frame,
                time: at(1.0),
            }),
            sni: Some("a.example".to_owned()),
            version: Some(0x0303),
            alerts: alerts.into_iter().collect(),
            ..TlsFacts::default()
        }));
    })
}

#[test]
fn alerts_are_named() {
    let connections: Vec<_> = (1..4)
        .map(|n| hello(n, Some(48)).response(2.0, 7).build())
        .collect();
    let findings = findings_of("tls-handshake-failure", &connections);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].severity, Severity::High);
    assert!((figure(&findings[0], "failures") - 3.0).abs() < f64::EPSILON);
    assert!(findings[0].title.contains("unknown certificate authority"));
}

#[test]
fn server_that_closes_on_the_hello() {
    let conn = hello(1, None).fin(2.0, S).build();
    assert_eq!(findings_of("tls-handshake-failure", &[conn]).len(), 1);
}

/// A ClientHello and the server's part of the handshake of TLS 1.3.
fn answered(port: u16) -> Builder {
    let builder = hello(port, None).response(2.0, 1300);
    let server = builder.conn.turns.last.unwrap().response.unwrap().first;
    builder.with(|conn| {
        let tls = conn.app.tls.as_mut().unwrap();
        tls.version = Some(TLS13);
        tls.server_hello = Some(At {
            frame: server.frame,
            time: server.time,
        });
    })
}

#[test]
fn client_that_closes_on_the_certificate_refuses_it() {
    let refused = answered(1).fin(2.5, C).fin(2.6, S).build();
    let findings = findings_of("tls-handshake-failure", &[refused]);
    assert!(findings[0].title.contains("instead of the client's part"));
    let stopped_waiting = answered(1).fin(5002.0, C).build();
    assert!(findings_of("tls-handshake-failure", &[stopped_waiting]).is_empty());
    let went_on = answered(1).request(2.2, 74).fin(2.5, C).build();
    assert!(findings_of("tls-handshake-failure", &[went_on]).is_empty());
}

#[test]
fn server_that_only_sends_an_alert_in_cipher_refuses_the_client() {
    let ended = |octets, wait_ms| {
        let builder = answered(1).request(3.0, 200);
        let request = builder.conn.turns.last.unwrap().request.last;
        builder
            .response(3.0 + wait_ms, octets)
            .fin(3.1 + wait_ms, S)
            .with(|conn| {
                let tls = conn.app.tls.as_mut().unwrap();
                tls.handshake_complete = Some(At {
                    frame: request.frame,
                    time: request.time,
                });
            })
            .build()
    };
    let found = |conn: Connection| findings_of("tls-handshake-failure", &[conn]).len();
    assert_eq!(found(ended(24, 0.5)), 1);
    assert_eq!(found(ended(500, 0.5)), 0);
    assert_eq!(found(ended(24, 5000.0)), 0, "an idle timeout");
}

#[test]
fn goodbye_alert_is_healthy() {
    let conn = hello(1, Some(0)).response(2.0, 7).build();
    assert!(findings_of("tls-handshake-failure", &[conn]).is_empty());
}

#[test]
fn client_that_closes_first_gave_up() {
    let conn = hello(1, None).fin(2.0, C).fin(2.1, S).build();
    assert!(findings_of("tls-handshake-failure", &[conn]).is_empty());
}
