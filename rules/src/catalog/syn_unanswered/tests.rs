use super::*;
use crate::model::severity::Severity;
use crate::testkit::{Builder, C, S, at, figure, findings_in, findings_of};

fn silent(port: u16, retries: u32) -> Builder {
    let mut builder = Builder::tcp(port);
    let syns: Vec<_> = (0..=retries)
        .map(|n| builder.segment(f64::from(n) * 1000.0, C, 2, 0))
        .collect();
    builder.with(|conn| {
        conn.handshake.syn_count = retries + 1;
        conn.handshake.syns = syns;
    })
}

#[test]
fn repeated_syns_without_answer() {
    let findings = findings_of(
        "syn-unanswered",
        &[silent(1, 3).build(), silent(2, 2).build()],
    );
    assert_eq!(findings.len(), 1);
    assert!((figure(&findings[0], "attempts") - 2.0).abs() < f64::EPSILON);
    assert!((figure(&findings[0], "waited_ms") - 3000.0).abs() < 0.01);
}

#[test]
fn single_syn_counts_when_the_capture_goes_on() {
    let mut analysis = Analysis::default();
    assert!(findings_in("syn-unanswered", &[silent(1, 0).build()], &analysis).is_empty());
    analysis.summary.last = Some(at(9000.0));
    assert_eq!(
        findings_in("syn-unanswered", &[silent(1, 0).build()], &analysis).len(),
        1
    );
}

#[test]
fn many_senders_of_one_syn_each_look_like_a_flood() {
    let conn = silent(1, 0).build();
    let mut analysis = Analysis::default();
    analysis.summary.last = Some(at(9000.0));
    let listener = analysis.listeners.entry(conn.server).or_default();
    (listener.attempts, listener.unanswered) = (5_000_000, 5_000_000);
    listener.clients = (0..1024_u32)
        .map(|number| IpAddr::V4((0x0b00_0000 + number).into()))
        .collect();
    let findings = findings_in("syn-unanswered", &[conn], &analysis);
    assert!(
        findings[0]
            .summary
            .starts_with("Of 5000000 attempts without an answer")
    );
    assert!(findings[0].remedy[0].text.contains("tcp_syncookies"));
}

#[test]
fn older_connections_that_live_show_that_the_host_is_up() {
    let older = Builder::tcp(9).request(0.0, 50).response(9000.0, 90);
    let findings = findings_of("syn-unanswered", &[silent(1, 3).build(), older.build()]);
    assert_eq!(findings[0].severity, Severity::Low);
}

#[test]
fn answered_connections_are_not_this() {
    let conn = silent(1, 2)
        .with(|conn| {
            conn.handshake.syn_ack_count = 1;
            conn.halves[1].packets = 1;
        })
        .build();
    assert!(findings_of("syn-unanswered", &[conn]).is_empty());
}

#[test]
fn client_that_goes_on_shows_a_one_sided_capture() {
    let mut builder = silent(1, 0);
    builder.segment(5.0, C, 0x18, 100);
    let unseen = builder.build();
    assert!(findings_of("syn-unanswered", std::slice::from_ref(&unseen)).is_empty());
    // Nor is what came back to that client elsewhere.
    let again = silent(3, 3).build();
    assert!(findings_of("syn-unanswered", &[unseen, again]).is_empty());
    let mut answered = silent(2, 1);
    answered.segment(5.0, S, 0x12, 0);
    assert!(findings_of("syn-unanswered", &[answered.build()]).is_empty());
}

#[test]
fn one_way_captures_show_no_answers() {
    let mut analysis = Analysis::default();
    let attempts = [silent(1, 3).build(), silent(2, 3).build()];
    assert_eq!(findings_in("syn-unanswered", &attempts, &analysis).len(), 1);
    analysis.is_one_way = true;
    assert!(findings_in("syn-unanswered", &attempts, &analysis).is_empty());
}

/// One of several attempts of a client at a server of this address, begun at `ms`.
fn silent_at(port: u16, server: &str, ms: f64) -> Connection {
    let mut conn = silent(port, 2)
        .with(|conn| conn.server.ip = server.parse().unwrap())
        .build();
    let shift = Duration::from_secs_f64(ms / 1e3);
    for syn in &mut conn.handshake.syns {
        syn.time = syn.time + shift;
    }
    let last = conn.handshake.syns.last().copied();
    conn.halves[0].last_segment = last;
    conn
}

#[test]
fn destinations_silent_at_one_time_are_one_finding() {
    let connections: Vec<_> = (1..=4_u16)
        .map(|n| silent_at(n, &format!("203.0.113.{n}"), f64::from(n)))
        .collect();
    let findings = findings_of("syn-unanswered", &connections);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].severity, Severity::High);
    assert!(findings[0].title.contains("4 destinations"));
}

#[test]
fn single_attempts_one_after_another_do_not_add_up() {
    let connections: Vec<_> = (1..=4_u16)
        .map(|n| silent_at(n, &format!("203.0.113.{n}"), f64::from(n) * 30_000.0))
        .collect();
    let findings = findings_of("syn-unanswered", &connections);
    assert_eq!(findings.len(), 4);
    assert!(findings.iter().all(|one| one.severity == Severity::Low));
}

#[test]
fn two_that_wait_for_one_destination_at_once_are_no_single_event() {
    let once = findings_of("syn-unanswered", &[silent(1, 3).build()]);
    assert_eq!(once[0].severity, Severity::Low);
    let twice = [silent(1, 3).build(), silent(2, 3).build()];
    let findings = findings_of("syn-unanswered", &twice);
    assert!(findings[0].severity >= Severity::Medium);
}

#[test]
fn what_the_listener_served_before_does_not_excuse_it() {
    let served = Builder::tcp(1).handshake(0.0, 1.0).build();
    let conn = silent_at(2, "10.9.0.2", 500.0);
    let mut analysis = Analysis::default();
    let listener = analysis.listeners.entry(conn.server).or_default();
    let ack = served.handshake.ack.unwrap();
    listener.completed = 1;
    listener.last_completed = Some(analyzer::app::At {
        frame: ack.frame,
        time: ack.time,
    });
    let findings = findings_in("syn-unanswered", &[served, conn], &analysis);
    assert_eq!(findings[0].severity, Severity::High);
}

#[test]
fn listener_that_serves_others_meanwhile_is_not_silent() {
    let served = Builder::tcp(1).handshake(1000.0, 1.0).build();
    let conn = silent_at(2, "10.9.0.2", 500.0);
    assert!(findings_of("syn-unanswered", &[served, conn]).is_empty());
}

#[test]
fn syns_with_an_acknowledgment_number_are_a_tools() {
    let conn = silent(1, 3).with(|conn| {
        for syn in &mut conn.handshake.syns {
            syn.ack = analyzer::seq::SeqNumber(7);
        }
    });
    let findings = findings_of("syn-unanswered", &[conn.build()]);
    assert_eq!(findings[0].severity, Severity::Info);
}
