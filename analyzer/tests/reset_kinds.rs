//! Each kind of reset by itself, with the reading that lost and why (docs/glossary.md, Resets).

mod segments;

use pcapdoc_analyzer::connection::{Close, Connection, Reset, ResetKind, ResetShape};
use pcapdoc_analyzer::decode::{TcpFields, TcpFlags};
use pcapdoc_analyzer::event::EventKind;
use pcapdoc_analyzer::flow::tcp::Verdict;

use segments::{Capture, Marks, fields};

const SYN: u8 = TcpFlags::SYN;
const ACK: u8 = TcpFlags::ACK;
const RST: u8 = TcpFlags::RST;
const FIN: u8 = TcpFlags::FIN | TcpFlags::ACK;
const RST_ACK: u8 = RST | ACK;

/// A handshake, a request of 100 octets and its answer of 200, all acknowledged, at 80 ms.
fn after_exchange() -> Capture {
    let mut capture = Capture::new();
    capture.handshake();
    capture.client(30_000, ACK, 101, 901, 100);
    capture.server(60_000, ACK, 901, 201, 200);
    capture.client(61_000, ACK, 201, 1101, 0);
    capture
}

fn reset_of(connection: &Connection) -> &Reset {
    assert_eq!(connection.resets.len(), 1);
    &connection.resets[0]
}

/// Kind, shape, and the runner-up with words that say why it lost.
fn assert_kind(reset: &Reset, kind: ResetKind, shape: ResetShape, lost: ResetKind, why: &str) {
    assert_eq!((reset.kind, reset.shape), (kind, shape));
    let (runner_up, reason) = reset.runner_up.expect("a runner-up");
    assert_eq!(runner_up, lost);
    assert!(reason.contains(why), "{reason}");
    assert!(reset.confidence > 0.3 && reset.confidence < 1.0);
}

#[test]
fn refused() {
    let mut capture = Capture::new();
    capture.client(0, SYN, 100, 0, 0);
    capture.server(20_000, RST_ACK, 0, 101, 0);
    let connection = capture.finish();
    assert_eq!(reset_of(&connection).kind, ResetKind::Refused);
    assert_eq!(reset_of(&connection).runner_up, None);
    assert_eq!(connection.close, Close::Reset);
}

#[test]
fn a_cause_in_the_payload() {
    let reason = |payload: &[u8]| {
        let mut capture = after_exchange();
        let tcp = fields(1101, 201, RST_ACK);
        capture.payload(false, 200_000_000, Marks::default(), tcp, payload);
        reset_of(&capture.finish()).reason.clone()
    };
    assert_eq!(reason(b"VIP down\0").as_deref(), Some("VIP down"));
    assert_eq!(reason(b"\x01\x02\x03\x04"), None);
    assert_eq!(reason(b""), None);
    assert_eq!(reason(&[b'a'; 500]).map(|text| text.len()), Some(80));
}

#[test]
fn linger_zero() {
    let mut capture = after_exchange();
    capture.server(200_000, RST_ACK, 1101, 201, 0);
    let connection = capture.finish();
    assert_kind(
        reset_of(&connection),
        ResetKind::LingerZero,
        ResetShape::Active,
        ResetKind::UnreadData,
        "window did not grow",
    );
}

#[test]
fn unread_data_by_the_window() {
    let mut capture = after_exchange();
    capture.client(100_000, ACK, 201, 1101, 100);
    capture.server_window(120_000, 1101, 301, 30_000);
    capture.server(200_000, RST_ACK, 1101, 301, 0);
    let connection = capture.finish();
    let reset = reset_of(&connection);
    assert_eq!(reset.window_jump, Some(30_000));
    assert_kind(
        reset,
        ResetKind::UnreadData,
        ResetShape::Active,
        ResetKind::LingerZero,
        "window grew",
    );
}

#[test]
fn aborted_after_close() {
    let mut capture = after_exchange();
    capture.server(200_000, FIN, 1101, 201, 0);
    capture.client(201_000, ACK, 201, 1102, 100);
    capture.server(221_000, RST, 1102, 0, 0);
    let connection = capture.finish();
    assert_kind(
        reset_of(&connection),
        ResetKind::AbortedAfterClose,
        ResetShape::Reply,
        ResetKind::HalfOpen,
        "closed the connection itself",
    );
}

#[test]
fn half_open() {
    let mut capture = after_exchange();
    capture.client(60_000_000, ACK, 201, 1101, 100);
    capture.server(60_020_000, RST, 1101, 0, 0);
    let connection = capture.finish();
    assert_kind(
        reset_of(&connection),
        ResetKind::HalfOpen,
        ResetShape::Reply,
        ResetKind::AbortedAfterClose,
        "no FIN of the resetting end",
    );
}

#[test]
fn keepalive_expired() {
    let mut capture = after_exchange();
    for probe in 1..=3 {
        let verdict = capture.client(10_000_000 * probe, ACK, 200, 1101, 0);
        assert_eq!(verdict, Verdict::KeepAlive);
    }
    capture.client(40_000_000, RST_ACK, 201, 1101, 0);
    let connection = capture.finish();
    assert_kind(
        reset_of(&connection),
        ResetKind::KeepaliveExpired,
        ResetShape::Active,
        ResetKind::LingerZero,
        "unanswered",
    );
}

/// The old connection's ACK answers the SYN; the client refuses that and tries again. None of it
/// is a reset of the connection that opens.
#[test]
fn challenge_ack() {
    let mut capture = Capture::new();
    capture.client(0, SYN, 100, 0, 0);
    capture.server(20_000, ACK, 70_000, 500_000_000, 0);
    capture.client(20_100, RST, 500_000_000, 0, 0);
    capture.client(30_000, SYN, 100, 0, 0);
    capture.server(50_000, SYN | ACK, 900, 101, 0);
    capture.client(50_100, ACK, 101, 901, 0);
    let connection = capture.finish();
    let challenges = connection.events.iter();
    let challenges = challenges.filter(|event| event.kind == EventKind::ChallengeAck);
    assert_eq!(challenges.count(), 2);
    assert!(connection.resets.is_empty());
    assert_eq!(connection.close, Close::Open);
    assert!(connection.handshake.ack.is_some());
}

/// The right answer to a SYN comes too late for its socket, or to a scan that never had one.
#[test]
fn half_open_before_it_is_open() {
    let mut capture = Capture::new();
    capture.client(0, SYN, 100, 0, 0);
    capture.server(20_000, SYN | ACK, 900, 101, 0);
    capture.client(20_100, RST, 101, 0, 0);
    let connection = capture.finish();
    assert_kind(
        reset_of(&connection),
        ResetKind::HalfOpen,
        ResetShape::Reply,
        ResetKind::TimeWait,
        "correctly answers",
    );
}

/// A SYN-ACK of an earlier incarnation: the number acknowledged is not that of this SYN.
#[test]
fn time_wait() {
    let mut capture = Capture::new();
    capture.client(0, SYN, 100, 0, 0);
    capture.server(20_000, SYN | ACK, 900, 51, 0);
    capture.client(20_100, RST, 51, 0, 0);
    let connection = capture.finish();
    assert_kind(
        reset_of(&connection),
        ResetKind::TimeWait,
        ResetShape::Reply,
        ResetKind::HalfOpen,
        "handshake",
    );
}

/// Another hop limit than every other packet of that end bears.
#[test]
fn forged_by_hop_limit() {
    let mut capture = after_exchange();
    capture.hop_limit = 57;
    capture.server(100_000, RST_ACK, 1101, 201, 0);
    let connection = capture.finish();
    let reset = reset_of(&connection);
    assert_eq!((reset.usual_hop_limit, reset.hop_limit), (Some(64), 57));
    assert_eq!(reset.kind, ResetKind::Forged);
    assert!(
        reset
            .runner_up
            .expect("a runner-up")
            .1
            .contains("hop limit")
    );
    assert_eq!(connection.close, Close::Open, "the ends did not end it");
}

/// After a change of route the packets before the RST bear the new hop limit as well.
#[test]
fn a_new_route_is_no_forgery() {
    let mut capture = after_exchange();
    capture.hop_limit = 57;
    capture.server(100_000, ACK, 1101, 201, 10);
    capture.server(200_000, RST_ACK, 1111, 201, 0);
    let connection = capture.finish();
    assert_ne!(reset_of(&connection).kind, ResetKind::Forged);
}

/// The same exchange, in which the server counts its packets up one by one.
fn counted_exchange() -> Capture {
    let mut capture = Capture::new();
    capture.handshake();
    for turn in 0..4 {
        let (at, octets) = (30_000 + 40_000 * u64::from(turn), 100 * turn);
        capture.client(at, ACK, 101 + octets, 901 + octets, 100);
        let tcp = fields(901 + octets, 201 + octets, ACK);
        capture.packet(false, (at + 20_000) * 1000, counted(1_000 + turn), tcp, 100);
    }
    capture
}

/// The marks of a packet with this identification.
fn counted(ip_id: u32) -> Marks {
    Marks {
        ip_id: u16::try_from(ip_id).ok(),
        ..Marks::default()
    }
}

/// Hosts answer from no socket with another start value: 255 at the same distance is no device.
#[test]
fn another_start_value_at_the_same_distance_is_no_forgery() {
    let mut capture = after_exchange();
    capture.hop_limit = 254;
    capture.server(100_000, RST_ACK, 1101, 201, 0);
    let connection = capture.finish();
    assert_ne!(reset_of(&connection).kind, ResetKind::Forged);
}

/// The next number of the sender's own counter proves that it sent the RST, from wherever.
#[test]
fn the_senders_own_counter_proves_its_reset() {
    let kind = |ip_id| {
        let mut capture = counted_exchange();
        capture.hop_limit = 57;
        let tcp = fields(1301, 501, RST_ACK);
        capture.packet(false, 400_000_000, counted(ip_id), tcp, 0);
        reset_of(&capture.finish()).kind
    };
    assert_ne!(kind(1_004), ResetKind::Forged);
    assert_eq!(kind(40_000), ResetKind::Forged);
}

/// At the right hop limit a number far from the counter proves the opposite.
#[test]
fn forged_by_identification() {
    let kind = |ip_id| {
        let mut capture = counted_exchange();
        let tcp = fields(1301, 501, RST_ACK);
        capture.packet(false, 400_000_000, counted(ip_id), tcp, 0);
        reset_of(&capture.finish()).kind
    };
    assert_eq!(kind(40_000), ResetKind::Forged);
    assert_ne!(kind(1_009), ResetKind::Forged);
    assert_ne!(
        kind(0),
        ResetKind::Forged,
        "hosts without a socket send zero"
    );
}

/// After the peer's FIN there is nothing left to break.
#[test]
fn what_comes_after_a_close_is_no_forgery() {
    for (from_client, seq, ack) in [(true, 201, 1101), (false, 1101, 201)] {
        let mut capture = after_exchange();
        capture.packet(
            from_client,
            90_000_000,
            Marks::default(),
            fields(seq, ack, FIN),
            0,
        );
        capture.hop_limit = 57;
        capture.server(100_000, RST_ACK, 1101 + u32::from(!from_client), 202, 0);
        assert_ne!(reset_of(&capture.finish()).kind, ResetKind::Forged);
    }
}

/// A tool opens connections with raw packets, of which its own host knows nothing.
#[test]
fn a_host_that_refuses_what_its_tool_asked_for_is_no_device() {
    let mut capture = Capture::new();
    capture.client(0, SYN, 100, 0, 0);
    capture.server(20_000, SYN | ACK, 900, 101, 0);
    capture.client(20_040, RST, 101, 0, 0);
    capture.client(21_000, ACK, 101, 901, 0);
    capture.client(22_000, ACK, 101, 901, 50);
    let connection = capture.finish();
    let reset = reset_of(&connection);
    assert!(!reset.sender_carried_on);
    assert_ne!(reset.kind, ResetKind::Forged);
}

/// Data that does not continue the sender's stream and counter may be what is forged.
#[test]
fn foreign_data_is_no_carrying_on() {
    let kind = |seq, ip_id| {
        let mut capture = counted_exchange();
        let reset = fields(1301, 501, RST_ACK);
        capture.packet(false, 400_000_000, counted(1_004), reset, 0);
        let data = fields(seq, 501, ACK);
        capture.packet(false, 420_000_000, counted(ip_id), data, 50);
        reset_of(&capture.finish()).kind
    };
    assert_eq!(kind(1301, 1_005), ResetKind::Forged);
    assert_ne!(kind(2336, 1_005), ResetKind::Forged, "a gap");
    assert_ne!(kind(1301, 60_000), ResetKind::Forged, "another counter");
}

/// Who goes on with new data did not send the RST.
#[test]
fn forged_because_the_sender_carries_on() {
    let mut capture = after_exchange();
    capture.server(100_000, RST_ACK, 1101, 201, 0);
    capture.server(101_000, ACK, 1101, 201, 500);
    let connection = capture.finish();
    let reset = reset_of(&connection);
    assert!(reset.sender_carried_on);
    assert_kind(
        reset,
        ResetKind::Forged,
        ResetShape::Active,
        ResetKind::LingerZero,
        "kept sending",
    );
}

/// Octets sent before the RST and captured behind it carry nothing on.
#[test]
fn a_repeat_at_once_is_not_carrying_on() {
    let mut capture = after_exchange();
    capture.server(100_000, RST_ACK, 1101, 201, 0);
    capture.server(101_000, ACK, 901, 201, 200);
    let connection = capture.finish();
    assert!(!reset_of(&connection).sender_carried_on);
}

/// One RST for each segment that is still under way is one reset.
#[test]
fn many_for_one() {
    let mut capture = after_exchange();
    capture.server(200_000, FIN, 1101, 201, 0);
    for number in 0..5 {
        let at = 201_000 + u64::from(number) * 100;
        capture.client(at, ACK, 201 + 100 * number, 1102, 100);
    }
    for number in 0..5 {
        capture.server(221_000 + number * 100, RST, 1102, 0, 0);
    }
    let connection = capture.finish();
    assert_eq!(reset_of(&connection).count, 5);
}

/// Numbers that fit nothing, and nothing else to go by.
#[test]
fn unknown() {
    let mut capture = after_exchange();
    capture.server(100_000, RST, 777_777, 0, 0);
    let connection = capture.finish();
    let reset = reset_of(&connection);
    assert_eq!(
        (reset.kind, reset.shape),
        (ResetKind::Unknown, ResetShape::Unclear)
    );
    assert!(reset.confidence <= 0.3);
}

/// A RST whose window cannot be scaled as no SYN was seen still says no more than it can.
#[test]
fn in_mid_stream() {
    let mut capture = Capture::new();
    capture.client(0, ACK, 101, 901, 100);
    capture.server(20_000, ACK, 901, 201, 200);
    let tcp = TcpFields {
        window_field: 60_000,
        ..fields(1101, 201, RST_ACK)
    };
    capture.packet(false, 30_000_000, Marks::default(), tcp, 0);
    let connection = capture.finish();
    assert_eq!(reset_of(&connection).kind, ResetKind::LingerZero);
}
