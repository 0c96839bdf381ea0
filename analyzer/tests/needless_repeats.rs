//! Repeats that were not needed, proved without SACK: by time, or by the timestamp echoed
//! (RFC 3522). Seen at the sender, over a path of 20 ms.

mod segments;

use std::time::Duration;

use pcapdoc_analyzer::decode::TcpFlags;
use pcapdoc_analyzer::event::EventKind;

use segments::{Capture, MS, Marks, fields};

const ACK: u8 = TcpFlags::ACK;

/// Five segments, three duplicate ACKs, a fast retransmission at 45 ms.
fn fast_retransmission() -> Capture {
    let mut capture = Capture::new();
    capture.handshake();
    for number in 0..5 {
        capture.client(25_000, ACK, 101 + 1000 * number, 901, 1000);
    }
    for number in 0..4 {
        capture.server(45_000 + number, ACK, 901, 101, 0);
    }
    let verdict = capture.client(45_100, ACK, 101, 901, 1000);
    assert_eq!(verdict.name(), "retransmission");
    capture
}

fn spurious(capture: Capture) -> u64 {
    let connection = capture.finish();
    assert_eq!(connection.from_client().retransmitted_segments, 1);
    connection.from_client().spurious_retransmissions
}

/// The original was only late: its acknowledgement comes 4 ms after the repeat.
#[test]
fn acknowledged_sooner_than_a_round_trip() {
    let mut capture = fast_retransmission();
    capture.server(49_000, ACK, 901, 5101, 0);
    assert_eq!(spurious(capture), 1);
}

#[test]
fn acknowledged_after_a_round_trip() {
    let mut capture = fast_retransmission();
    capture.server(65_200, ACK, 901, 5101, 0);
    assert_eq!(spurious(capture), 0);
}

/// An acknowledgement that does not cover the repeat says nothing of it.
#[test]
fn acknowledged_in_part() {
    let mut capture = fast_retransmission();
    capture.server(49_000, ACK, 901, 600, 0);
    capture.server(66_000, ACK, 901, 5101, 0);
    assert_eq!(spurious(capture), 0);
}

/// A timeout that came too early; the path stands still for long, so time proves nothing, but the
/// echo is that of the original.
fn late_echo(echo: u32) -> u64 {
    let mut capture = Capture::new();
    let stamps = |value, echo| Marks {
        ts: Some((value, echo)),
        ip_id: None,
    };
    let syn = fields(100, 0, TcpFlags::SYN);
    capture.packet(true, 0, stamps(1000, 0), syn, 0);
    let answer = fields(900, 101, TcpFlags::SYN | ACK);
    capture.packet(false, 20 * MS, stamps(5, 1000), answer, 0);
    let data = fields(101, 901, ACK);
    capture.packet(true, 20 * MS, stamps(1020, 5), data, 1000);
    capture.packet(true, 300 * MS, stamps(1300, 5), data, 1000);
    let ack = fields(901, 1101, ACK);
    capture.packet(false, 400 * MS, stamps(385, echo), ack, 0);
    spurious(capture)
}

#[test]
fn the_original_is_echoed() {
    assert_eq!(late_echo(1020), 1);
    assert_eq!(late_echo(1300), 0);
}

/// Repeats that are cut otherwise than the originals follow each other at once; none repeats the other.
#[test]
fn repeats_cut_otherwise() {
    let mut capture = fast_retransmission();
    for (number, start) in [1101, 1801, 2501, 3201].into_iter().enumerate() {
        let verdict = capture.client(45_200 + number as u64, ACK, start, 901, 700);
        assert_eq!(verdict.name(), "retransmission");
    }
    capture.server(65_500, ACK, 901, 3901, 0);
    let connection = capture.finish();
    assert_eq!(connection.from_client().retransmitted_segments, 5);
    assert_eq!(connection.from_client().spurious_retransmissions, 0);
}

/// A repeat that takes new octets along, `after` milliseconds.
fn taken_along(after: u64) -> (u64, EventKind) {
    let mut capture = Capture::new();
    capture.handshake();
    capture.client(25_000, ACK, 101, 901, 300);
    let verdict = capture.client(25_000 + after * 1_000, ACK, 101, 901, 500);
    assert_eq!(verdict.name(), "partly-new");
    capture.server(600_000, ACK, 901, 601, 0);
    let connection = capture.finish();
    let spurious = connection.from_client().spurious_retransmissions;
    (
        spurious,
        connection.events.last().expect("an event").kind.clone(),
    )
}

#[test]
fn a_repeat_with_new_octets_names_its_original() {
    let (spurious, event) = taken_along(500);
    let EventKind::Retransmission {
        original_frame,
        after,
        ..
    } = event
    else {
        panic!("{event:?}");
    };
    assert_eq!((spurious, original_frame), (0, Some(4)));
    assert_eq!(after, Duration::from_millis(500));
    // Nobody knows of a loss so soon.
    assert_eq!(taken_along(5).0, 1);
}
