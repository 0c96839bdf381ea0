//! What proves a loss and what only hints at one, packet by packet.

mod segments;

use pcapdoc_analyzer::Connection;
use pcapdoc_analyzer::decode::{TcpFields, TcpFlags};
use pcapdoc_analyzer::event::{EventKind, RetransmissionKind};
use pcapdoc_analyzer::seq::SeqNumber;

use segments::{Capture, MS, Marks, fields};

const ACK: u8 = TcpFlags::ACK;
const PUSH: u8 = ACK | TcpFlags::PSH;
const FIN: u8 = ACK | TcpFlags::FIN;

/// At the client, over 20 ms: flights of two full segments, each a pause after the one before;
/// `ends` is set on the last of a flight, but not on that of the flight `unfinished`.
fn flights(ends: u8, pause_us: u64, unfinished: u32) -> Connection {
    let mut capture = Capture::new();
    capture.handshake();
    capture.client(21_000, PUSH, 101, 901, 10);
    let mut at = 41_000;
    for flight in 0..6 {
        let seq = 901 + flight * 2000;
        let last = if flight == unfinished { ACK } else { ends };
        capture.server(at, ACK, seq, 111, 1000);
        capture.server(at + 10, last, seq + 1000, 111, 1000);
        capture.client(at + 20, ACK, 111, seq + 2000, 0);
        at += pause_us;
    }
    capture.finish()
}

#[test]
fn a_stack_that_never_pushes_shows_no_loss_by_its_pauses() {
    let connection = flights(ACK, 600_000, 0);
    assert_eq!(connection.from_server().retransmitted_segments, 0);
}

#[test]
fn a_write_that_goes_on_after_a_pause_is_presumed_only() {
    let connection = flights(PUSH, 600_000, 3);
    let server = connection.from_server();
    assert_eq!(
        (server.retransmitted_segments, server.presumed_repeats),
        (1, 1)
    );
    assert_eq!((server.lost_before_capture, server.loss_events), (0, 0));
}

/// A download at the client; `steps` between the server's identifications, a pause before each.
fn counted(steps: &[(u16, u64)]) -> Connection {
    let mut capture = Capture::new();
    let marks = |ip_id: u16| Marks {
        ts: None,
        ip_id: Some(ip_id),
    };
    capture.packet(true, 0, marks(1), fields(100, 0, TcpFlags::SYN), 0);
    let answer = fields(900, 101, TcpFlags::SYN | ACK);
    capture.packet(false, 60 * MS, marks(500), answer, 0);
    capture.packet(true, 60 * MS, marks(2), fields(101, 901, ACK), 0);
    capture.packet(true, 61 * MS, marks(3), fields(101, 901, PUSH), 300);
    let (mut at, mut ip_id, mut seq) = (121, 500, 901);
    for ((step, pause), own) in steps.iter().zip(4..) {
        (at, ip_id) = (at + pause, ip_id + step);
        capture.packet(false, at * MS, marks(ip_id), fields(seq, 401, PUSH), 1400);
        seq += 1400;
        capture.packet(true, at * MS, marks(own), fields(401, seq, ACK), 0);
    }
    capture.finish()
}

#[test]
fn more_than_a_window_passed_over_was_sent_to_others() {
    let connection = counted(&[
        (1, 0),
        (1, 90),
        (1, 90),
        (1, 90),
        (121, 400),
        (2, 400),
        (1, 1),
    ]);
    let server = connection.from_server();
    assert_eq!(
        (server.retransmitted_segments, server.suspected.segments),
        (0, 0)
    );
}

#[test]
fn a_counter_seen_moving_in_short_pauses_only_leaves_it_open() {
    let connection = counted(&[(1, 0), (1, 1), (1, 1), (1, 1), (2, 6_000), (1, 1)]);
    let server = connection.from_server();
    assert_eq!(
        (server.retransmitted_segments, server.suspected.segments),
        (0, 1)
    );
    let mut settled = server.clone();
    settled.settle(pcapdoc_analyzer::connection::CounterTrust::PerConnection);
    assert_eq!(
        (settled.retransmitted_segments, settled.presumed_repeats),
        (1, 1)
    );
    settled.settle(pcapdoc_analyzer::connection::CounterTrust::Shared);
    assert_eq!(&settled, server);
}

#[test]
fn a_gap_sooner_than_any_timer_is_no_loss() {
    let connection = counted(&[(1, 0), (1, 90), (1, 90), (1, 90), (2, 70), (1, 1)]);
    let server = connection.from_server();
    assert_eq!(
        (server.retransmitted_segments, server.suspected.segments),
        (0, 0)
    );
}

/// A closed window, probed three times with the next octet; then it opens.
#[test]
fn the_next_octet_into_a_closed_window_is_a_probe() {
    let mut capture = Capture::new();
    capture.handshake();
    capture.client(25_000, PUSH, 101, 901, 1000);
    capture.server_window(45_000, 901, 1101, 0);
    for number in 1..=3 {
        let at = 45_000 + number * 400_000;
        let verdict = capture.client(at, PUSH, 1101, 901, 1);
        assert_eq!(verdict.name(), "zero-window-probe");
        capture.server_window(at + 20_000, 901, 1101, 0);
    }
    capture.server_window(1_500_000, 901, 1101, 60_000);
    let verdict = capture.client(1_520_000, PUSH, 1101, 901, 1000);
    assert_eq!(verdict.name(), "partly-new");
    capture.server(1_540_000, ACK, 901, 2101, 0);
    let connection = capture.finish();
    let client = connection.from_client();
    assert_eq!(
        (client.zero_window_probes, client.retransmitted_segments),
        (3, 0)
    );
    assert_eq!((client.unique_bytes, client.unacked_at_end), (2000, 0));
    assert_eq!(
        (
            connection.holes.count(),
            connection.from_server().duplicate_acks
        ),
        (0, 0)
    );
}

#[test]
fn one_octet_repeated_into_an_open_window_is_a_repeat() {
    let mut capture = Capture::new();
    capture.handshake();
    capture.client(25_000, PUSH, 101, 901, 1);
    let verdict = capture.client(300_000, PUSH, 101, 901, 1);
    assert_eq!(verdict.name(), "retransmission");
}

#[test]
fn a_syn_written_after_its_answer_is_no_repeat() {
    let mut capture = Capture::new();
    capture.server(20_000, TcpFlags::SYN | ACK, 900, 101, 0);
    assert_eq!(
        capture.client(20_010, TcpFlags::SYN, 100, 0, 0).name(),
        "new"
    );
    assert_eq!(
        capture.client(3_000_000, TcpFlags::SYN, 100, 0, 0).name(),
        "retransmission"
    );
}

fn kinds(connection: &Connection) -> Vec<RetransmissionKind> {
    let events = connection.events.iter();
    events
        .filter_map(|event| match event.kind {
            EventKind::Retransmission { kind, .. } => Some(kind),
            _ => None,
        })
        .collect()
}

/// At the server, over 280 ms: one lost segment, and its repair a round trip after the duplicate
/// ACKs, or so late that only the timer can have sent it.
fn repaired_at_receiver(repair_us: u64) -> Vec<RetransmissionKind> {
    let mut capture = Capture::new();
    capture.client(0, TcpFlags::SYN, 100, 0, 0);
    capture.server(100, TcpFlags::SYN | ACK, 900, 101, 0);
    capture.client(280_100, ACK, 101, 901, 0);
    capture.client(281_000, ACK, 101, 901, 1000);
    capture.server(281_100, ACK, 901, 1101, 0);
    for number in 0..5 {
        let at = 300_000 + 100 * number;
        capture.client(
            at,
            ACK,
            2101 + 1000 * u32::try_from(number).unwrap(),
            901,
            1000,
        );
        capture.server(at + 20, ACK, 901, 1101, 0);
    }
    capture.client(repair_us, ACK, 1101, 901, 1000);
    kinds(&capture.finish())
}

#[test]
fn a_round_trip_after_duplicate_acks_it_is_a_fast_retransmission() {
    assert_eq!(repaired_at_receiver(580_000), [RetransmissionKind::Fast]);
    assert_eq!(
        repaired_at_receiver(2_000_000),
        [RetransmissionKind::Timeout]
    );
}

/// At the client: two of five segments lost behind it; the second is repaired when the first repair
/// is acknowledged.
#[test]
fn a_partial_acknowledgement_draws_the_next_repair() {
    let mut capture = Capture::new();
    capture.handshake();
    for number in 0..6 {
        capture.client(25_000, ACK, 101 + 1000 * number, 901, 1000);
    }
    for number in 0..4 {
        capture.server(45_000 + number, ACK, 901, 101, 0);
    }
    capture.client(45_100, ACK, 101, 901, 1000);
    capture.server(65_200, ACK, 901, 2101, 0);
    capture.client(65_250, ACK, 2101, 901, 1000);
    capture.server(85_300, ACK, 901, 6101, 0);
    let connection = capture.finish();
    assert_eq!(kinds(&connection), [RetransmissionKind::Fast; 2]);
    assert_eq!(connection.from_client().loss_events, 1);
}

fn with_sack(tcp: TcpFields, blocks: &[(u32, u32)]) -> TcpFields {
    let mut tcp = TcpFields {
        sack_count: u8::try_from(blocks.len()).unwrap(),
        ..tcp
    };
    for (slot, (left, right)) in tcp.sack_blocks.iter_mut().zip(blocks) {
        (slot.left_edge, slot.right_edge) = (SeqNumber(*left), SeqNumber(*right));
    }
    tcp
}

/// A handshake over 20 ms on which both ends permit SACK.
fn sack_handshake() -> Capture {
    let mut capture = Capture::new();
    let permitted = |tcp| TcpFields {
        sack_permitted: true,
        mss: Some(1460),
        ..tcp
    };
    let none = Marks::default();
    capture.packet(true, 0, none, permitted(fields(100, 0, TcpFlags::SYN)), 0);
    let answer = permitted(fields(900, 101, TcpFlags::SYN | ACK));
    capture.packet(false, 20 * MS, none, answer, 0);
    capture.packet(true, 20 * MS, none, fields(101, 901, ACK), 0);
    capture
}

fn spurious_frames(connection: &Connection) -> Vec<u64> {
    let events = connection.events.iter();
    events
        .filter(|event| matches!(event.kind, EventKind::Retransmission { spurious: true, .. }))
        .map(|event| event.segment.frame)
        .collect()
}

/// The first repeat filled the hole, the second drew the report.
#[test]
fn a_dsack_names_the_copy_that_drew_it() {
    let mut capture = sack_handshake();
    capture.client(25_000, ACK, 101, 901, 1000);
    capture.client(300_000, ACK, 101, 901, 1000);
    capture.client(900_000, ACK, 101, 901, 1000);
    capture.server(910_000, ACK, 901, 1101, 0);
    let report = with_sack(fields(901, 1101, ACK), &[(101, 1101)]);
    capture.packet(false, 921 * MS, Marks::default(), report, 0);
    let second = 6;
    assert_eq!(spurious_frames(&capture.finish()), [second]);
}

#[test]
fn a_dsack_of_a_part_names_no_whole_segment() {
    let mut capture = sack_handshake();
    capture.client(25_000, ACK, 101, 901, 1000);
    capture.client(300_000, ACK, 101, 901, 1000);
    let report = with_sack(fields(901, 1101, ACK), &[(101, 601)]);
    capture.packet(false, 330 * MS, Marks::default(), report, 0);
    assert!(spurious_frames(&capture.finish()).is_empty());
}

/// A receiver that permits SACK and never reports what it gets twice.
#[test]
fn octets_acknowledged_before_the_copy_had_arrived() {
    let mut capture = sack_handshake();
    capture.client(25_000, ACK, 101, 901, 1000);
    capture.server(45_000, ACK, 901, 1101, 0);
    capture.client(300_000, ACK, 101, 901, 1000);
    assert_eq!(spurious_frames(&capture.finish()).len(), 1);
}

/// At the client: a slow link to a receiver that acknowledges each segment; the sender's timer is
/// too short for it. Every copy draws its acknowledgement, unless some are lost.
fn slow_link(acks_per_copy: u32) -> u64 {
    let mut capture = Capture::new();
    capture.handshake();
    let mut at = 30_000;
    for number in 0..20 {
        let seq = 101 + 1000 * number;
        capture.client(at, ACK, seq, 901, 1000);
        capture.client(at + 320_000, ACK, seq, 901, 1000);
        capture.server(at + 600_000, ACK, 901, seq + 1000, 0);
        capture.client(at + 601_000, ACK, seq + 1000, 901, 1000);
        if acks_per_copy > 1 {
            capture.server(at + 800_000, ACK, 901, seq + 1000, 0);
        }
        at += 1_000_000;
    }
    let connection = capture.finish();
    let client = connection.from_client();
    assert_eq!(client.retransmitted_segments, 39);
    client.retransmitted_segments - client.spurious_retransmissions
}

#[test]
fn as_many_acknowledgements_as_copies_prove_that_all_arrived() {
    assert!(slow_link(2) <= 22, "{}", slow_link(2));
    assert_eq!(slow_link(1), 39);
}

/// At the server: data behind a hole of 1000 octets, filled after 300 ms. What `between` sends
/// comes before the fill.
fn hole(between: impl FnOnce(&mut Capture), filled: bool) -> Connection {
    let mut capture = Capture::new();
    capture.client(0, TcpFlags::SYN, 100, 0, 0);
    capture.server(100, TcpFlags::SYN | ACK, 900, 101, 0);
    capture.client(20_100, ACK, 101, 901, 0);
    capture.client(21_000, PUSH, 101, 901, 100);
    capture.server(21_100, ACK, 901, 201, 0);
    between(&mut capture);
    if filled {
        capture.client(330_000, ACK, 201, 901, 1000);
        capture.server(330_100, ACK, 901, 2201, 0);
    }
    capture.finish()
}

fn stall_ms(connection: &Connection) -> u128 {
    connection.holes.stall_total().as_millis()
}

#[test]
fn what_waits_is_payload() {
    let data = |capture: &mut Capture| {
        capture.client(30_000, ACK, 1201, 901, 1000);
    };
    assert_eq!(stall_ms(&hole(data, true)), 300);
    let fin = |capture: &mut Capture| {
        capture.client(30_000, FIN, 1201, 901, 0);
    };
    assert_eq!(stall_ms(&hole(fin, true)), 0);
    let ack_then_data = |capture: &mut Capture| {
        capture.client(30_000, ACK, 1201, 901, 0);
        capture.client(230_000, ACK, 1201, 901, 1000);
    };
    assert_eq!(stall_ms(&hole(ack_then_data, true)), 100);
}

#[test]
fn nobody_waits_after_its_own_fin() {
    let closed = |capture: &mut Capture| {
        capture.client(30_000, ACK, 1201, 901, 1000);
        capture.server(130_000, FIN, 901, 201, 0);
    };
    assert_eq!(stall_ms(&hole(closed, true)), 100);
}

/// The capture ends before the hole is filled; the receiver has said that it lacks the octets.
#[test]
fn a_hole_that_stays_open_counts_to_the_end() {
    let mut capture = sack_handshake();
    capture.client(21_000, PUSH, 101, 901, 100);
    capture.client(30_000, ACK, 1201, 901, 1000);
    for at in [30, 500] {
        let report = with_sack(fields(901, 201, ACK), &[(1201, 2201)]);
        capture.packet(false, at * MS + 1, Marks::default(), report, 0);
    }
    let connection = capture.finish();
    assert!(connection.holes.longest[0].at_least);
    assert_eq!(stall_ms(&connection), 470);
}

/// A segment of 1400 octets is sent three times in vain, while smaller ones behind it arrive; then
/// the first 500 of its octets get through at once.
#[test]
fn a_smaller_piece_that_passes_tells_of_the_size() {
    let with_pieces = |copies: u64| {
        let mut capture = sack_handshake();
        capture.client(25_000, ACK, 101, 901, 1400);
        capture.client(25_010, PUSH, 1501, 901, 500);
        let report = with_sack(fields(901, 101, ACK), &[(1501, 2001)]);
        capture.packet(false, 45 * MS, Marks::default(), report, 0);
        for copy in 1..copies {
            capture.client(copy * 1_000_000, ACK, 101, 901, 1400);
        }
        let at = copies * 1_000_000;
        capture.client(at, ACK, 101, 901, 500);
        let report = with_sack(fields(901, 601, ACK), &[(1501, 2001)]);
        capture.packet(false, (at + 20_000) * 1000, Marks::default(), report, 0);
        capture.client(at + 21_000, ACK, 601, 901, 900);
        capture.server(at + 41_000, ACK, 901, 2001, 0);
        capture.finish()
    };
    let connection = with_pieces(3);
    assert!(connection.holes.longest[0].too_large);
    let too_large = connection
        .from_client()
        .too_large
        .expect("a size that never passed");
    assert_eq!((too_large.copies, too_large.first.payload_len), (3, 1400));
    let connection = with_pieces(2);
    assert!(!connection.holes.longest[0].too_large);
    assert_eq!(connection.from_client().too_large, None);
}

/// Timestamps that only one end offered are on no segment: a full one is one.
#[test]
fn options_that_one_end_offered_take_no_room() {
    let mut capture = Capture::new();
    let sized = |tcp| TcpFields {
        mss: Some(1460),
        ..tcp
    };
    let offer = Marks {
        ts: Some((1, 0)),
        ip_id: None,
    };
    let none = Marks::default();
    capture.packet(true, 0, offer, sized(fields(100, 0, TcpFlags::SYN)), 0);
    let answer = sized(fields(900, 101, TcpFlags::SYN | ACK));
    capture.packet(false, 20 * MS, none, answer, 0);
    capture.packet(true, 20 * MS, none, fields(101, 901, ACK), 0);
    for at in [25, 400] {
        capture.packet(true, at * MS, none, fields(101, 901, ACK), 1460);
    }
    let connection = capture.finish();
    assert_eq!(connection.from_client().retransmitted_segments, 1);
}
