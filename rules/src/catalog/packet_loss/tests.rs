//! Situations of `packet-loss`, built by hand.

use std::time::Duration;

use analyzer::event::{RetransmissionKind, SegmentRef};

use super::*;
use crate::model::severity::Severity;
use crate::testkit::{Builder, S, figure, findings_of};

fn lossy(sent: u64, lost: u64, spurious: u64) -> Connection {
    let mut builder = Builder::tcp(1)
        .handshake(0.0, 10.0)
        .request(1.0, 100)
        .response(2.0, 1400);
    let again = builder.segment(30.0, S, 0x10, 1400);
    let kind = EventKind::Retransmission {
        kind: RetransmissionKind::Fast,
        spurious: false,
        presumed: false,
        original_frame: Some(5),
        after: Duration::from_millis(28),
    };
    builder
        .event(again, kind)
        .with(|conn| {
            conn.halves[1].data_segments = sent;
            conn.halves[1].retransmitted_segments = lost + spurious;
            conn.halves[1].spurious_retransmissions = spurious;
            conn.halves[1].lost_after_capture = lost + spurious;
            conn.halves[1].loss_events = lost;
        })
        .build()
}

#[test]
fn rate_over_the_direction_decides_the_severity() {
    let findings = findings_of("packet-loss", &[lossy(1000, 20, 0)]);
    assert_eq!(findings[0].severity, Severity::Medium);
    assert!((figure(&findings[0], "loss_percent") - 2.0).abs() < 0.001);
    assert!((figure(&findings[0], "segments_lost") - 20.0).abs() < f64::EPSILON);
    assert!(
        findings[0].summary.contains("and the client"),
        "{}",
        findings[0].summary
    );
}

#[test]
fn single_loss_is_information() {
    assert_eq!(
        findings_of("packet-loss", &[lossy(10, 1, 0)])[0].severity,
        Severity::Info
    );
}

#[test]
fn needless_retransmissions_are_no_loss() {
    assert!(findings_of("packet-loss", &[lossy(1000, 0, 20)]).is_empty());
}

#[test]
fn repeated_handshakes_are_no_loss_of_data() {
    let mut conn = lossy(100, 10, 0);
    conn.halves[1].lost_after_capture = 0;
    conn.halves[1].retransmissions_by_kind[RetransmissionKind::Control as usize] = 10;
    assert!(findings_of("packet-loss", &[conn]).is_empty());
}

#[test]
fn dead_path_is_no_loss_rate() {
    let mut conn = lossy(100, 10, 0);
    let segment = conn.halves[1].last_data.unwrap();
    conn.halves[1].stuck = Some(analyzer::connection::Stuck {
        first: segment,
        last: segment,
        copies: 7,
        smaller_passed: false,
    });
    assert!(findings_of("packet-loss", &[conn]).is_empty());
}

#[test]
fn one_burst_is_no_rate() {
    let with_events = |events| {
        let mut conn = lossy(200, 32, 0);
        conn.halves[1].loss_events = events;
        findings_of("packet-loss", &[conn])[0].severity
    };
    assert_eq!(
        [1, 2, 3, 4, 5].map(with_events),
        [
            Severity::Low,
            Severity::Low,
            Severity::Medium,
            Severity::Medium,
            Severity::High
        ]
    );
}

#[test]
fn what_is_only_presumed_is_no_loss() {
    let mut conn = lossy(100, 0, 0);
    conn.halves[1].retransmitted_segments = 30;
    conn.halves[1].presumed_repeats = 30;
    assert!(findings_of("packet-loss", &[conn]).is_empty());
}

#[test]
fn an_outage_is_told_by_its_length() {
    let mut conn = lossy(1000, 11, 0);
    let segment = conn.halves[1].last_data.unwrap();
    conn.halves[1].loss_events = 1;
    conn.halves[1].outage = Some(analyzer::connection::Outage {
        since: segment.time,
        first: segment,
        last: segment,
        copies: 6,
        ended: SegmentRef {
            time: segment.time + Duration::from_millis(8700),
            ..segment
        },
    });
    let findings = findings_of("packet-loss", &[conn]);
    assert_eq!(findings[0].severity, Severity::Low);
    assert!(findings[0].title.contains("8.7"), "{}", findings[0].title);
}
