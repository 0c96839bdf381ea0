//! Identifications that a host counts for all its connections tell nothing of this one's losses.

mod segments;

use pcapdoc_analyzer::connection::Connection;
use pcapdoc_analyzer::decode::TcpFlags;

use segments::{Capture, MS, Marks, fields};

const ACK: u8 = TcpFlags::ACK;

/// A download captured at the client over 60 ms, nothing lost: `steps` are those between the
/// identifications of the server's segments, `pauses` the milliseconds before each.
fn download(hop_limit: u8, steps: &[u16], pauses: &[u64]) -> Connection {
    let mut capture = Capture::new();
    capture.hop_limit = hop_limit;
    let marks = |ip_id: u16| Marks {
        ts: None,
        ip_id: Some(ip_id),
    };
    capture.packet(true, 0, marks(1), fields(100, 0, TcpFlags::SYN), 0);
    let answer = fields(900, 101, TcpFlags::SYN | ACK);
    capture.packet(false, 60 * MS, marks(500), answer, 0);
    capture.packet(true, 60 * MS, marks(2), fields(101, 901, ACK), 0);
    capture.packet(true, 61 * MS, marks(3), fields(101, 901, ACK), 300);
    let (mut at, mut ip_id, mut seq) = (121, 500, 901);
    for ((step, pause), own) in steps.iter().zip(pauses).zip(4..) {
        (at, ip_id) = (at + pause, ip_id + step);
        capture.packet(
            false,
            at * MS,
            marks(ip_id),
            fields(seq, 401, ACK | TcpFlags::PSH),
            1400,
        );
        seq += 1400;
        capture.packet(true, at * MS, marks(own), fields(401, seq, ACK), 0);
    }
    capture.finish()
}

fn lost(connection: &Connection) -> u64 {
    connection.from_server().retransmitted_segments
        + connection.from_server().repeats_lost_before_capture
}

const STEPS: [u16; 14] = [1, 1, 1, 1, 3, 8, 1, 1, 24, 1, 30, 1, 1, 2];
/// Two of the gaps come after pauses in which a repair could have come.
const PAUSES: [u64; 14] = [0, 9, 1, 9, 9, 9, 1, 9, 80, 9, 300, 9, 1, 9];

#[test]
fn of_a_windows_host() {
    assert_eq!(lost(&download(120, &STEPS, &PAUSES)), 0);
}

#[test]
fn of_another_host_by_gaps_where_nothing_is_missing() {
    assert_eq!(lost(&download(60, &STEPS, &PAUSES)), 0);
}

/// At the sender a gap shows what the capture missed: nothing is lost before it gets there.
#[test]
fn at_the_sender_nothing_is_lost_before_the_capture() {
    let mut capture = Capture::new();
    let marks = |ip_id: u16| Marks {
        ts: None,
        ip_id: Some(ip_id),
    };
    capture.packet(true, 0, marks(1), fields(100, 0, TcpFlags::SYN), 0);
    let answer = fields(900, 101, TcpFlags::SYN | ACK);
    capture.packet(false, 60 * MS, marks(7), answer, 0);
    let (mut at, mut ip_id, mut seq) = (60, 1, 101);
    for (step, pause) in [
        (1, 0),
        (1, 60),
        (1, 60),
        (1, 60),
        (1, 60),
        (3, 400),
        (1, 60),
    ] {
        (at, ip_id) = (at + pause, ip_id + step);
        let push = ACK | TcpFlags::PSH;
        capture.packet(true, at * MS, marks(ip_id), fields(seq, 901, push), 100);
        seq += 100;
        capture.packet(false, (at + 60) * MS, marks(8), fields(901, seq, ACK), 0);
    }
    let connection = capture.finish();
    assert_eq!(connection.from_client().retransmitted_segments, 0);
}

/// The same pause with one packet passed over, on a counter that never passed over any: a tail
/// that was lost and repaired.
#[test]
fn a_counter_of_its_own_shows_the_lost_tail() {
    let steps = [1, 1, 1, 1, 1, 1, 1, 1, 2, 1];
    let pauses = [0, 9, 1, 9, 9, 9, 1, 9, 300, 9];
    assert_eq!(lost(&download(60, &steps, &pauses)), 1);
}
