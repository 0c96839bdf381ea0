//! Situations of `listen-overflow`, built by hand.

use super::*;
use crate::model::severity::Severity;
use crate::testkit::{Builder, C, S, figure, findings_in};
use analyzer::analysis::ListenerFacts;

fn analysis(completed: u64) -> Analysis {
    let mut analysis = Analysis::default();
    let server = Builder::tcp(1).build().server;
    let facts = ListenerFacts {
        attempts: completed + 4,
        completed,
        ..ListenerFacts::default()
    };
    analysis.listeners.insert(server, facts);
    analysis
}

fn dropped_syn(port: u16, retries: u32) -> Connection {
    let mut builder = Builder::tcp(port);
    let syns: Vec<_> = (0..=retries)
        .map(|n| builder.segment(f64::from(n) * 1000.0, C, 2, 0))
        .collect();
    builder
        .with(|conn| {
            conn.handshake.syn_count = retries + 1;
            conn.handshake.syns = syns;
        })
        .build()
}

fn ignored_ack(port: u16) -> Connection {
    let mut builder = Builder::tcp(port).handshake(0.0, 1.0).request(1.0, 50);
    let again = builder.segment(1000.0, S, 0x12, 0);
    builder
        .with(|conn| {
            conn.handshake.syn_acks.push(again);
            conn.handshake.syn_ack_count = 2;
            conn.handshake.syn_acks_after_ack = 1;
        })
        .build()
}

fn healthy(port: u16) -> Connection {
    Builder::tcp(port)
        .handshake(0.0, 1.0)
        .request(1.0, 50)
        .response(2.0, 50)
        .request(8_999.0, 50)
        .response(9_000.0, 50)
        .build()
}

#[test]
fn syn_ack_repeated_after_the_ack() {
    let connections = [ignored_ack(1), ignored_ack(2), healthy(3)];
    let findings = findings_in("listen-overflow", &connections, &analysis(9));
    assert_eq!(findings.len(), 1);
    assert!(findings[0].severity >= Severity::Medium);
    assert!((figure(&findings[0], "synack_retransmits") - 2.0).abs() < f64::EPSILON);
    assert!((figure(&findings[0], "connections") - 2.0).abs() < f64::EPSILON);
}

#[test]
fn burst_of_unanswered_syns_on_a_listener_that_serves_others() {
    let connections: Vec<_> = (1..5)
        .map(|n| dropped_syn(n, 2))
        .chain([healthy(9)])
        .collect();
    let findings = findings_in("listen-overflow", &connections, &analysis(1));
    assert!((figure(&findings[0], "syn_retransmits") - 8.0).abs() < f64::EPSILON);
}

#[test]
fn a_lost_syn_now_and_then_is_loss() {
    let connections: Vec<_> = (1..40).map(healthy).chain([dropped_syn(50, 1)]).collect();
    assert!(findings_in("listen-overflow", &connections, &analysis(39)).is_empty());
}

#[test]
fn older_connections_show_that_the_listener_is_up() {
    let older = Builder::tcp(9).request(0.0, 50).response(9000.0, 90);
    let connections: Vec<_> = (1..5)
        .map(|n| dropped_syn(n, 2))
        .chain([older.build()])
        .collect();
    let findings = findings_in("listen-overflow", &connections, &analysis(0));
    assert!(findings[0].confidence <= 0.5, "a new rule of a firewall");
    assert!(
        findings[0]
            .summary
            .contains("1 connection from before the capture")
    );
}

#[test]
fn nobody_ever_answered_is_another_rule() {
    let connections: Vec<_> = (1..5).map(|n| dropped_syn(n, 2)).collect();
    assert!(findings_in("listen-overflow", &connections, &analysis(0)).is_empty());
}

#[test]
fn syns_that_nobody_answers_while_data_is_sent_in_vain_tell_of_the_path() {
    let repeated = |ms: f64| {
        let mut builder = Builder::tcp(9).handshake(0.0, 1.0).request(1.0, 50);
        builder = builder.response(2.0, 50);
        let first = builder.segment(ms, C, 0x18, 70);
        for (after, at) in [(300.0, ms + 300.0), (4_000.0, ms + 4_300.0)] {
            let again = SegmentRef {
                time: crate::testkit::at(at),
                ..first
            };
            let kind = EventKind::Retransmission {
                kind: analyzer::event::RetransmissionKind::Timeout,
                spurious: false,
                presumed: false,
                original_frame: Some(first.frame),
                after: Duration::from_secs_f64(after / 1e3),
            };
            builder = builder.event(again, kind);
        }
        builder.build()
    };
    let found = |other: Connection| {
        let syns = (1..5).map(|n| dropped_syn(n, 2));
        let connections: Vec<_> = syns.chain([healthy(20), other]).collect();
        findings_in("listen-overflow", &connections, &analysis(1)).len()
    };
    // The SYNs are sent at 0 s.
    assert_eq!(found(repeated(-1_000.0)), 0);
    assert_eq!(found(repeated(60_000.0)), 1);
}

/// Client data that the server ignores until it repeats its SYN-ACK, which echoes `echo`; the SYN
/// bore 1,000 and the data 1,001. Captured at the client.
fn ignored_at_client(echo: u32, with_data: bool) -> Connection {
    use crate::testkit::script::{Capture, MS, Marks, fields};
    use analyzer::decode::TcpFlags;
    const SYN: u8 = TcpFlags::SYN;
    const ACK: u8 = TcpFlags::ACK;
    let mut capture = Capture::new();
    let mut pass = |from_client, at_ms: u64, ts, segment, len| {
        let marks = Marks {
            ts: Some(ts),
            ip_id: None,
        };
        capture.packet(from_client, at_ms * MS, marks, segment, len);
    };
    pass(true, 0, (1_000, 0), fields(100, 0, SYN), 0);
    pass(false, 20, (7, 1_000), fields(900, 101, SYN | ACK), 0);
    pass(true, 20, (1_000, 7), fields(101, 901, ACK), 0);
    if with_data {
        pass(true, 21, (1_001, 7), fields(101, 901, ACK), 50);
        pass(true, 321, (1_301, 7), fields(101, 901, ACK), 50);
    }
    pass(false, 1_100, (1_087, echo), fields(900, 101, SYN | ACK), 0);
    pass(
        true,
        1_101,
        (2_081, 7),
        fields(101 + 50 * u32::from(with_data), 901, ACK),
        0,
    );
    capture.finish()
}

#[test]
fn echoed_timestamp_proves_arrival_at_any_capture_point() {
    let found = |conn: Connection| {
        let mut analysis = analysis(9);
        let facts = analysis.listeners.values().next().cloned();
        analysis.listeners.insert(conn.server, facts.unwrap());
        findings_in("listen-overflow", &[conn], &analysis)
    };
    let findings = found(ignored_at_client(1_301, true));
    assert_eq!(findings.len(), 1);
    assert!(findings[0].severity >= Severity::Medium);
    // The SYN's own timestamp proves nothing: the ACK and the data may have been lost.
    assert!(found(ignored_at_client(1_000, true)).is_empty());
    // A listener that defers accepting repeats its SYN-ACK until data comes.
    assert!(found(ignored_at_client(1_000, false)).is_empty());
}

#[test]
fn first_data_that_was_acknowledged_was_not_ignored() {
    let mut builder = Builder::tcp(1).handshake(0.0, 1.0).request(1.0, 50);
    builder = builder.response(5.0, 132);
    let first = builder.conn.halves[0].first_data.unwrap();
    let again = SegmentRef {
        time: crate::testkit::at(9_282.0),
        ..first
    };
    let kind = EventKind::Retransmission {
        kind: analyzer::event::RetransmissionKind::Timeout,
        spurious: false,
        original_frame: Some(first.frame),
        after: Duration::from_secs(9),
        presumed: false,
    };
    let conn = builder.event(again, kind).build();
    assert!(findings_in("listen-overflow", &[conn, healthy(2)], &analysis(9)).is_empty());
}

#[test]
fn host_whose_connections_do_not_live_on_was_restarted() {
    let before = Builder::tcp(9)
        .handshake(-9_000.0, 1.0)
        .request(-8_900.0, 50);
    let before = before.response(-8_800.0, 50).build();
    let connections: Vec<_> = (1..5).map(|n| dropped_syn(n, 2)).chain([before]).collect();
    assert!(findings_in("listen-overflow", &connections, &analysis(1)).is_empty());
}

#[test]
fn few_lost_syns_of_one_client_are_as_likely_loss() {
    let connections: Vec<_> = (1..4)
        .map(|n| dropped_syn(n, 2))
        .chain([healthy(9)])
        .collect();
    let findings = findings_in("listen-overflow", &connections, &analysis(1));
    assert_eq!(findings[0].severity, Severity::Low);
}
