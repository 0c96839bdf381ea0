//! Situations of `udp-truncation`, built by hand.

use analyzer::Connection;
use analyzer::connection::SizeClass;

use super::*;
use crate::RuleSettings;
use crate::model::severity::Severity;
use crate::testkit::{Builder, C, S, assess_with, figure, findings_of};

/// A flow with `(request length, requests, answer length or 0)`; what is not answered is asked again.
fn flow(sizes: &[(u32, u64, u32)]) -> Connection {
    let mut builder = Builder::udp(1);
    let mut classes = Vec::new();
    for &(request_len, requests, answer) in sizes {
        let first_request = builder.segment(1.0, C, 0, request_len);
        let first_answer = (answer > 0).then(|| builder.segment(1.1, S, 0, answer));
        classes.push(SizeClass {
            request_len,
            requests,
            answered: if answer > 0 { requests } else { 0 },
            answer_min: answer,
            answer_max: answer,
            first_request,
            first_answer,
            first_repeat: (answer == 0 && requests > 1).then_some(first_request),
        });
    }
    builder
        .with(|conn| {
            let udp = conn.udp.as_mut().unwrap();
            udp.size_counts = sizes.iter().map(|size| (size.0, size.1)).collect();
            udp.size_classes = classes;
        })
        .build()
}

#[test]
fn echo_that_stops_growing_proves_the_buffer() {
    let conn = flow(&[
        (100, 5, 100),
        (900, 5, 900),
        (1400, 5, 1024),
        (3000, 5, 1024),
    ]);
    let findings = findings_of("udp-truncation", &[conn]);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].severity, Severity::High);
    assert!((figure(&findings[0], "receive_buffer_bytes") - 1024.0).abs() < f64::EPSILON);
    assert!((figure(&findings[0], "largest_datagram_bytes") - 3000.0).abs() < f64::EPSILON);
    assert!((figure(&findings[0], "datagrams") - 10.0).abs() < f64::EPSILON);
}

#[test]
fn echo_with_a_prefix_is_seen_through() {
    let conn = flow(&[(100, 5, 104), (900, 5, 904), (1400, 5, 1028)]);
    let findings = findings_of("udp-truncation", &[conn]);
    assert!((figure(&findings[0], "receive_buffer_bytes") - 1024.0).abs() < f64::EPSILON);
}

#[test]
fn configured_buffer_is_exceeded() {
    let conn = flow(&[(100, 5, 0), (2500, 3, 0)]);
    let settings =
        RuleSettings::from_toml("[udp]\nrecv_buffer = { \"80\" = 2048 }", "pcapdoc.toml").unwrap();
    let findings = assess_with(settings, &[conn], &Analysis::default()).findings;
    assert_eq!(findings[0].rule, "udp-truncation");
    assert!((figure(&findings[0], "receive_buffer_bytes") - 2048.0).abs() < f64::EPSILON);
    assert!((figure(&findings[0], "datagrams") - 3.0).abs() < f64::EPSILON);
}

#[test]
fn large_requests_that_are_never_answered() {
    let conn = flow(&[(100, 5, 2), (500, 5, 2), (800, 4, 0)]);
    let findings = findings_of("udp-truncation", &[conn]);
    assert_eq!(findings[0].severity, Severity::High);
    assert!((figure(&findings[0], "receive_buffer_bytes") - 512.0).abs() < f64::EPSILON);
}

#[test]
fn large_datagrams_that_nobody_repeats_want_no_answer() {
    let mut once = flow(&[(100, 5, 2), (500, 5, 2), (800, 4, 0)]);
    if let Some(udp) = &mut once.udp {
        udp.size_classes[2].first_repeat = None;
    }
    assert!(findings_of("udp-truncation", &[once]).is_empty());
}

#[test]
fn other_answers_below_any_usual_buffer_are_other_contents() {
    let conn = flow(&[(120, 5, 151), (174, 5, 151), (179, 4, 165), (259, 4, 165)]);
    assert!(findings_of("udp-truncation", &[conn]).is_empty());
    let conn = flow(&[(900, 5, 2), (1000, 5, 2), (1100, 4, 14), (1150, 4, 14)]);
    assert_eq!(
        findings_of("udp-truncation", &[conn])[0].severity,
        Severity::High
    );
}

#[test]
fn announcements_to_a_group_have_no_single_reader() {
    let mut conn = flow(&[(100, 5, 2), (500, 5, 2), (800, 4, 0)]);
    conn.server.ip = "239.255.255.250".parse().unwrap();
    assert!(findings_of("udp-truncation", &[conn]).is_empty());
}

#[test]
fn full_echo_is_healthy() {
    let conn = flow(&[
        (100, 5, 100),
        (900, 5, 900),
        (1400, 5, 1400),
        (9000, 5, 9000),
    ]);
    assert!(findings_of("udp-truncation", &[conn]).is_empty());
}

#[test]
fn constant_answers_prove_nothing() {
    let conn = flow(&[(100, 5, 2), (400, 5, 2), (500, 5, 2)]);
    assert!(findings_of("udp-truncation", &[conn]).is_empty());
}

#[test]
fn tunnels_and_media_are_left_alone() {
    let conn = flow(&[(100, 50, 0), (1400, 5, 0)]);
    let conn = Connection {
        udp: conn.udp.clone().map(|udp| analyzer::connection::UdpFacts {
            protocol: Some("quic"),
            ..udp
        }),
        ..conn
    };
    assert!(findings_of("udp-truncation", &[conn]).is_empty());
}
