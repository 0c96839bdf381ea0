//! What a connection tells about its last request and its end when packets repeat or data streams in.

mod segments;

use pcapdoc_analyzer::connection::ResetKind;
use pcapdoc_analyzer::decode::TcpFlags;

use segments::Capture;

const ACK: u8 = TcpFlags::ACK;
const RESET: u8 = TcpFlags::RST | TcpFlags::ACK;

#[test]
fn a_repeated_request_is_as_long_and_as_old_as_its_first_copy() {
    let mut capture = Capture::new();
    capture.handshake();
    capture.client(50_000, ACK, 101, 901, 300);
    capture.client(290_000, ACK, 101, 901, 300);
    capture.server(310_000, ACK, 901, 401, 0);
    let connection = capture.finish();
    let request = connection.turns.last.expect("a request").request;
    assert_eq!(request.octets, 300);
    assert_eq!(request.last.frame, request.first.frame);
}

/// An upload of `segments` times 1000 octets that the server ends with RST, its window as before.
fn upload_reset(segments: u32) -> ResetKind {
    let mut capture = Capture::new();
    capture.handshake();
    for number in 0..segments {
        let at = 50_000 + u64::from(number) * 1_000;
        capture.client(at, ACK, 101 + number * 1000, 901, 1000);
        capture.server(at + 500, ACK, 901, 1101 + number * 1000, 0);
    }
    capture.server(900_000, RESET, 901, 101 + segments * 1000, 0);
    capture.finish().resets[0].kind
}

#[test]
fn a_stream_that_was_read_is_not_unread() {
    assert_eq!(upload_reset(3), ResetKind::UnreadData);
    assert_eq!(upload_reset(200), ResetKind::LingerZero);
}
