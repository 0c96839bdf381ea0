//! How connections end: who closes first, how, and what that meets. Seen at the client, over a
//! path of 20 ms.

mod segments;

use std::time::Duration;

use pcapdoc_analyzer::Direction::{ClientToServer, ServerToClient};
use pcapdoc_analyzer::connection::{EndedBy, Ending};
use pcapdoc_analyzer::decode::TcpFlags;

use segments::Capture;

const ACK: u8 = TcpFlags::ACK;
const FIN: u8 = TcpFlags::FIN | TcpFlags::ACK;
const RST: u8 = TcpFlags::RST;

/// A request of 50 octets at 30 ms, acknowledged at 50 ms.
fn asked() -> Capture {
    let mut capture = Capture::new();
    capture.handshake();
    capture.client(30_000, ACK, 101, 901, 50);
    capture.server(50_000, ACK, 901, 151, 0);
    capture
}

/// The same with an answer of 70 octets at 60 ms.
fn answered() -> Capture {
    let mut capture = asked();
    capture.server(60_000, ACK, 901, 151, 70);
    capture.client(60_100, ACK, 151, 971, 0);
    capture
}

fn ending(capture: Capture) -> Ending {
    capture.finish().ending().expect("an end closed")
}

#[test]
fn an_open_connection_has_no_ending() {
    assert_eq!(answered().finish().ending(), None);
}

#[test]
fn a_client_gives_up_on_an_answer() {
    let mut capture = asked();
    capture.client(5_030_000, FIN, 151, 901, 0);
    // What comes too late is no answer to who has closed.
    capture.server(5_200_000, ACK, 901, 152, 70);
    let ending = ending(capture);
    assert_eq!((ending.by, ending.how), (ClientToServer, EndedBy::Fin));
    let pending = ending.pending.expect("no answer had come");
    assert_eq!(pending.request.octets, 50);
    assert_eq!(ending.silence_before, Some(Duration::from_secs(5)));
    let late = pending.response.expect("it came later").first;
    assert_eq!(ending.had_received(&late), Some(false));
}

#[test]
fn a_server_closes_when_it_is_idle() {
    let mut capture = answered();
    capture.server(2_060_000, FIN, 971, 151, 0);
    capture.client(2_070_000, ACK, 151, 972, 30);
    let connection = capture.finish();
    let ending = connection.ending().expect("the server closed");
    assert_eq!((ending.by, ending.how), (ServerToClient, EndedBy::Fin));
    assert_eq!(
        ending.pending, None,
        "the next request came after the close"
    );
    assert_eq!(ending.silence_before, Some(Duration::from_secs(2)));
    let [before, after] = [connection.turns.before_last, connection.turns.last]
        .map(|turn| turn.expect("a turn").request.first);
    assert_eq!(ending.had_received(&before), Some(true));
    assert_eq!(ending.had_received(&after), Some(false));
}

#[test]
fn the_first_close_counts() {
    let mut capture = answered();
    capture.client(100_000, FIN, 151, 971, 0);
    capture.server(120_000, FIN, 971, 152, 0);
    let ending = ending(capture);
    assert_eq!((ending.by, ending.how), (ClientToServer, EndedBy::Fin));
}

#[test]
fn a_server_aborts() {
    let mut capture = asked();
    capture.server(90_000, RST | ACK, 901, 151, 0);
    let ending = ending(capture);
    assert_eq!((ending.by, ending.how), (ServerToClient, EndedBy::Abort));
    assert!(ending.pending.is_some(), "it had the request");
    assert_eq!(ending.last_acknowledged, Some(51));
}

#[test]
fn a_server_knows_no_such_connection() {
    let mut capture = answered();
    capture.client(9_000_000, ACK, 151, 971, 50);
    capture.server(9_020_000, RST, 971, 0, 0);
    let ending = ending(capture);
    assert_eq!((ending.by, ending.how), (ServerToClient, EndedBy::Refusal));
    assert_eq!(ending.last_acknowledged, None);
    let waited = ending.silence_before.expect("the request before it");
    assert_eq!(waited, Duration::from_millis(20));
}
