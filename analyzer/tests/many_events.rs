//! A connection with more events than are kept: what is not in the list is told by counters, and
//! nothing takes silence for health.

mod segments;

use pcapdoc_analyzer::decode::TcpFlags;
use pcapdoc_analyzer::event::EventKind;

use segments::Capture;

const ACK: u8 = TcpFlags::ACK;

/// Keep-alive probes of the client, each answered: two events every second.
const PROBES: u64 = 5_000;

/// A connection that was kept alive for long, to its latest second.
fn kept_alive() -> (Capture, u64) {
    let mut capture = Capture::new();
    capture.handshake();
    capture.client(30_000, ACK, 101, 901, 50);
    capture.server(50_000, ACK, 901, 151, 70);
    capture.client(50_100, ACK, 151, 971, 0);
    for second in 1..=PROBES {
        capture.client(second * 1_000_000, ACK, 150, 971, 0);
        capture.server(second * 1_000_000 + 20_000, ACK, 971, 151, 0);
    }
    (capture, PROBES * 1_000_000)
}

#[test]
fn a_cut_list_is_not_taken_for_the_whole() {
    let (capture, _) = kept_alive();
    let last = capture.frame;
    let connection = capture.finish();
    assert_eq!(connection.from_client().keep_alives, PROBES);
    assert_eq!(
        connection.events_dropped,
        2 * PROBES - connection.events.len() as u64
    );
    assert_eq!(connection.all_events(), None);
    let early = connection.events_within(1..=10).expect("all were kept");
    let probes = early.filter(|event| event.kind == EventKind::KeepAlive);
    assert_eq!(probes.count(), 2);
    assert!(connection.events_within(1..=last).is_none());
    assert!(connection.events_within(last..=last).is_none());
}

#[test]
fn a_turn_counts_its_own_repeats() {
    let (mut capture, now) = kept_alive();
    capture.client(now + 500_000, ACK, 151, 971, 40);
    capture.client(now + 900_000, ACK, 151, 971, 40);
    capture.client(now + 1_700_000, ACK, 151, 971, 40);
    capture.server(now + 1_720_000, ACK, 971, 191, 60);
    capture.server(now + 2_100_000, ACK, 971, 191, 60);
    let turns = capture.finish().turns;
    let [before, last] = [turns.before_last, turns.last].map(|turn| turn.expect("a turn"));
    assert_eq!(
        (before.repeats, last.repeats),
        (0, 2),
        "the last one came after the response"
    );
}

#[test]
fn probes_that_nobody_answers_are_known() {
    let (mut capture, now) = kept_alive();
    assert_eq!(capture.frame, 6 + 2 * PROBES);
    for second in 1..=3 {
        capture.client(now + second * 1_000_000, ACK, 150, 971, 0);
    }
    let connection = capture.finish();
    let probes = connection.from_client().unanswered_probes.expect("three");
    assert_eq!(probes.count, 3);
    assert_eq!(probes.first.frame, 7 + 2 * PROBES);
    assert_eq!(probes.last.frame, 9 + 2 * PROBES);
    assert_eq!(connection.from_server().unanswered_probes, None);
}
