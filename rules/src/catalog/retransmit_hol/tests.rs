//! Situations of `retransmit-hol`, built by hand.

use super::*;
use crate::model::severity::Severity;
use crate::testkit::{Builder, S, figure, findings_of};
use analyzer::connection::Holes;

fn with_hole(stall_ms: f64, blocked: u64) -> Connection {
    let mut builder = Builder::tcp(1)
        .handshake(0.0, 40.0)
        .request(50.0, 100)
        .response(100.0, 1400);
    let opened = builder.segment(101.0, S, 0x10, 1400);
    let filled = builder.segment(101.0 + stall_ms, S, 0x10, 1400);
    let hole = HoleEpisode {
        direction: S,
        opened,
        filled,
        at_least: false,
        too_large: false,
        repair: Some(filled),
        repair_kind: RetransmissionKind::Timeout,
        repairs: 1,
        missing_octets: 1400,
        blocked_octets: blocked,
        stall: Duration::from_secs_f64(stall_ms / 1e3),
        seen_at_sender: false,
        confirmed: false,
        blocked_messages: 0,
        message_unit: MessageUnit::Unknown,
    };
    builder
        .with(|conn| {
            conn.holes = with_waits(hole);
        })
        .build()
}

fn with_waits(hole: HoleEpisode) -> Holes {
    let mut holes = Holes::default();
    if hole.blocked_octets > 0 {
        let end = hole.opened.time + hole.stall;
        holes.waits[S.index()].add(hole.opened.time, end, hole.blocked_octets);
        holes.longest.push(hole);
    }
    holes
}

#[test]
fn time_on_the_clock_counts_once() {
    let mut other = with_hole(2500.0, 4200);
    other.client.port = 999;
    let findings = findings_of("retransmit-hol", &[with_hole(2000.0, 4200), other]);
    assert!((figure(&findings[0], "stall_ms_total") - 2500.0).abs() < 0.01);
    assert!((figure(&findings[0], "holes") - 2.0).abs() < f64::EPSILON);
}

#[test]
fn subflows_and_too_large_segments_are_silent() {
    let mut conn = with_hole(2000.0, 4200);
    conn.handshake.multipath_offers = 2;
    assert!(findings_of("retransmit-hol", &[conn]).is_empty());
    let mut conn = with_hole(2000.0, 4200);
    conn.holes.longest[0].too_large = true;
    assert!(findings_of("retransmit-hol", &[conn]).is_empty());
}

#[test]
fn timeout_behind_data_stalls() {
    let findings = findings_of("retransmit-hol", &[with_hole(250.0, 4200)]);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].severity, Severity::Medium);
    assert!((figure(&findings[0], "stall_ms_max") - 250.0).abs() < 0.01);
    assert!((figure(&findings[0], "blocked_bytes") - 4200.0).abs() < 0.01);
    assert!(findings[0].title.contains("server"));
}

#[test]
fn three_seconds_of_waiting_are_high() {
    let severity = |ms| findings_of("retransmit-hol", &[with_hole(ms, 10)])[0].severity;
    assert_eq!(severity(3500.0), Severity::High);
    assert_eq!(severity(1500.0), Severity::Medium);
}

#[test]
fn short_reordering_is_silent() {
    assert!(findings_of("retransmit-hol", &[with_hole(5.0, 4200)]).is_empty());
}

#[test]
fn a_hole_that_only_the_capture_shows_is_silent() {
    let with = |confirmed: bool| {
        let mut conn = with_hole(250.0, 4200);
        conn.halves[S.index()].missing_octets = 1400;
        conn.holes.longest[0].confirmed = confirmed;
        findings_of("retransmit-hol", &[conn]).len()
    };
    assert_eq!((with(false), with(true)), (0, 1));
}

#[test]
fn at_the_sender_a_hole_without_a_repair_is_the_captures() {
    let at = |point: CapturePoint| {
        let mut conn = with_hole(250.0, 4200);
        conn.capture_point = point;
        conn.halves[S.index()].missing_octets = 1400;
        let hole = &mut conn.holes.longest[0];
        (hole.confirmed, hole.repair) = (true, None);
        findings_of("retransmit-hol", &[conn]).len()
    };
    assert_eq!((at(CapturePoint::Server), at(CapturePoint::Client)), (0, 1));
}

#[test]
fn lost_tail_blocks_nothing() {
    assert!(findings_of("retransmit-hol", &[with_hole(250.0, 0)]).is_empty());
}
