//! Situations of `transparent-redirect`, built by hand.

use super::*;
use crate::model::figure::FigureValue;
use crate::model::severity::Severity;
use crate::testkit::{Builder, C, S, findings_in, findings_of};
use analyzer::app::{At, HttpExchange, HttpFacts};

fn text(finding: &crate::Finding, name: &str) -> String {
    match &finding
        .figures
        .iter()
        .find(|figure| figure.name == name)
        .unwrap()
        .value
    {
        FigureValue::Text(text) => text.clone(),
        FigureValue::Number(number) => number.to_string(),
    }
}

fn exchange(port: u16) -> Builder {
    Builder::tcp(port)
        .handshake(0.0, 0.1)
        .request(1.0, 100)
        .response(2.0, 100)
}

fn host(name: &str) -> HttpFacts {
    let at = At {
        frame: 4,
        time: crate::testkit::at(1.0),
    };
    let exchange = HttpExchange {
        method: "GET".into(),
        target: "/".to_owned(),
        host: Some(name.to_owned()),
        request_start: at,
        request_end: Some(at),
        status: Some(200),
        response_start: Some(at),
        response_end: Some(at),
        connection_close: false,
    };
    HttpFacts {
        kept: vec![exchange],
        responses: 1,
        ..HttpFacts::default()
    }
}

#[test]
fn loopback_from_elsewhere_is_a_redirect() {
    let conn = exchange(1)
        .with(|conn| {
            conn.turns.count = 3;
            conn.server.ip = "127.0.0.1".parse().unwrap();
            conn.app.http = Some(Box::new(host("api.example.com")));
        })
        .build();
    let findings = findings_of("transparent-redirect", &[conn]);
    assert_eq!(findings[0].severity, Severity::High);
    assert_eq!(text(&findings[0], "actual"), "127.0.0.1:80");
    assert_eq!(text(&findings[0], "intended"), "api.example.com");
}

#[test]
fn answer_from_the_intended_address_joins_both_halves() {
    let conn = exchange(1)
        .with(|conn| {
            conn.server = Endpoint::new("203.0.113.10".parse().unwrap(), 80);
            conn.translated_from = Some(Endpoint::new("127.0.0.1".parse().unwrap(), 8080));
        })
        .build();
    let findings = findings_of("transparent-redirect", &[conn]);
    assert_eq!(text(&findings[0], "intended"), "203.0.113.10:80");
    assert_eq!(text(&findings[0], "actual"), "127.0.0.1:8080");
}

#[test]
fn one_syn_towards_two_destinations() {
    let first = exchange(1).build();
    let mut second = exchange(1).build();
    second.first_frame += 1;
    second.server.ip = "10.9.0.9".parse().unwrap();
    let findings = findings_of("transparent-redirect", &[first, second]);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].severity, Severity::Low);
    assert_eq!(text(&findings[0], "actual"), "10.9.0.9:80");
}

#[test]
fn plain_traffic_and_loopback_are_healthy() {
    let loopback = exchange(2)
        .with(|conn| {
            conn.client.ip = "127.0.0.1".parse().unwrap();
            conn.server.ip = "127.0.0.1".parse().unwrap();
        })
        .build();
    assert!(findings_of("transparent-redirect", &[exchange(1).build(), loopback]).is_empty());
}

#[test]
fn proxy_that_passes_the_name_on_is_healthy() {
    let conn = exchange(1)
        .with(|conn| conn.app.http = Some(Box::new(host("www.example.com"))))
        .build();
    let mut analysis = Analysis::default();
    analysis.dns_names.insert(
        "www.example.com".to_owned(),
        BTreeSet::from(["192.0.2.1".parse().unwrap()]),
    );
    assert!(findings_in("transparent-redirect", &[conn], &analysis).is_empty());
}

/// Datagrams of `10.9.0.1` to a port of 127.0.0.1, answered or not.
fn datagrams(port: u16, answered: bool) -> Connection {
    let mut builder = Builder::udp(1);
    builder.segment(1.0, C, 0, 40);
    if answered {
        builder.segment(2.0, S, 0, 40);
    }
    let loopback = Endpoint::new("127.0.0.1".parse().unwrap(), port);
    builder.with(|conn| conn.server = loopback).build()
}

#[test]
fn datagrams_to_loopback_count_when_they_are_answered() {
    let findings = findings_of("transparent-redirect", &[datagrams(9_125, true)]);
    assert_eq!(findings[0].severity, Severity::Medium);
    assert!(findings_of("transparent-redirect", &[datagrams(4_342, false)]).is_empty());
}

#[test]
fn probes_of_mpls_paths_go_to_loopback_by_design() {
    assert!(findings_of("transparent-redirect", &[datagrams(3_503, true)]).is_empty());
}

#[test]
fn answer_from_another_port_of_the_same_address_is_that_of_another_probe() {
    let conn = exchange(1)
        .with(|conn| conn.translated_from = Some(Endpoint::new(conn.server.ip, 445)))
        .build();
    assert!(findings_of("transparent-redirect", &[conn]).is_empty());
}

#[test]
fn scan_with_one_sequence_number_is_no_redirect() {
    let mut scan: Vec<_> = (0..3).map(|_| exchange(1).build()).collect();
    for (index, conn) in (0..).zip(&mut scan) {
        conn.first_frame += u64::from(index);
        conn.server.port += index;
    }
    assert!(findings_of("transparent-redirect", &scan).is_empty());
    for (index, conn) in (10..).zip(&mut scan) {
        conn.server.ip = [10, 9, 0, index].into();
    }
    assert!(findings_of("transparent-redirect", &scan).is_empty());
}
