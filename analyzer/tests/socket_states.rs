//! Both ends' states against what `ss` said on the hosts, and by hand where no lab can look.
//!
//! `testdata/lab/socket_states.py` asked both kernels at several moments while it opened and closed
//! connections over a slow path. A state of the end at the capture point is known at once; that of
//! the far end when the packet that proves it passes, which may be a one-way delay after the change
//! or, when a packet is on its way there, before it.

mod segments;

use std::path::{Path, PathBuf};
use std::time::Duration;

use pcapdoc_analyzer::Direction;
use pcapdoc_analyzer::Timestamp;
use pcapdoc_analyzer::capture::Input;
use pcapdoc_analyzer::connection::{Connection, ResetKind, StateSpan, TcpState};
use pcapdoc_analyzer::decode::TcpFlags;
use pcapdoc_analyzer::pipeline::{self, ConnectionSink, Settings};
use serde_json::Value;

use segments::Capture;

use Direction::{ClientToServer as C, ServerToClient as S};
use TcpState::{
    CloseWait, Closed, Closing, Established, FinWait1, FinWait2, LastAck, SynReceived, SynSent,
    TimeWait,
};

const SYN: u8 = TcpFlags::SYN;
const ACK: u8 = TcpFlags::ACK;
const FIN: u8 = TcpFlags::FIN | TcpFlags::ACK;

#[derive(Default)]
struct Collect(Vec<Connection>);

impl ConnectionSink for Collect {
    fn connection(&mut self, connection: &Connection) {
        self.0.push(connection.clone());
    }
}

fn only_connection(capture: &Path) -> Connection {
    let inputs = [Input::Path(capture.to_owned())];
    let (_, sinks) =
        pipeline::run(&inputs, &Settings::default(), Collect::default, |_| {}).expect("a capture");
    let mut all: Vec<Connection> = sinks.into_iter().flat_map(|sink| sink.0).collect();
    assert_eq!(all.len(), 1, "{}", capture.display());
    all.remove(0)
}

/// States of an end at a time, or within `slack` of it.
fn states_at(
    spans: &[StateSpan],
    end: Direction,
    time: Timestamp,
    slack: Duration,
) -> Vec<TcpState> {
    let (from, to) = (time - slack, time + slack);
    let here = spans.iter().filter(|span| {
        span.end == end && span.from <= to && span.to.is_none_or(|until| until >= from)
    });
    here.map(|span| span.state).collect()
}

#[test]
fn the_kernels_said_the_same() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/captures/socket-states");
    let mut truths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the captures")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .collect();
    truths.sort();
    let mut compared = 0;
    for path in truths {
        let text = std::fs::read_to_string(&path).expect("a truth file");
        let truth: Value = serde_json::from_str(&text).expect("valid JSON");
        let connection = only_connection(&path.with_extension("pcap.gz"));
        for sample in truth["states"].as_array().expect("samples") {
            let seconds = sample["time"].as_f64().expect("a time");
            #[expect(clippy::cast_possible_truncation, reason = "nanoseconds since 1970")]
            let time = Timestamp::from_nanos((seconds * 1e9) as i64);
            // Asking takes a while; the way to the far end is 450 ms.
            for (end, name, slack_ms) in [(C, "client", 20), (S, "server", 470)] {
                let said = sample[name].as_str().expect("a state");
                let slack = Duration::from_millis(slack_ms);
                let found = states_at(&connection.states, end, time, slack);
                let agrees = match said {
                    "-" => found.is_empty() || found.contains(&Closed),
                    said => found.iter().any(|state| state.as_str() == said),
                };
                assert!(
                    agrees,
                    "{}: {name} is {said}, not {found:?}, at {seconds}: {:?}",
                    path.display(),
                    connection.states
                );
                compared += 1;
            }
        }
    }
    assert!(compared >= 24, "{compared} samples");
}

/// The states of one end in order, each with the millisecond it began.
fn life(connection: &Connection, end: Direction) -> Vec<(TcpState, u64)> {
    let mut spans: Vec<&StateSpan> = connection
        .states
        .iter()
        .filter(|span| span.end == end)
        .collect();
    spans.sort_by_key(|span| span.from);
    let begun = |span: &&StateSpan| {
        let since = span.from.since(Timestamp::from_nanos(0));
        u64::try_from(since.as_millis()).expect("within the test")
    };
    spans.iter().map(|span| (span.state, begun(span))).collect()
}

#[test]
fn an_ordinary_life() {
    let mut capture = Capture::new();
    capture.handshake();
    capture.client(100_000, FIN, 101, 901, 0);
    capture.server(120_000, ACK, 901, 102, 0);
    capture.server(500_000, FIN, 901, 102, 0);
    capture.client(500_000, ACK, 102, 902, 0);
    let connection = capture.finish();
    assert_eq!(
        life(&connection, C),
        [
            (SynSent, 0),
            (Established, 20),
            (FinWait1, 100),
            (FinWait2, 120),
            (TimeWait, 500)
        ]
    );
    assert_eq!(
        life(&connection, S),
        [
            (SynReceived, 20),
            (Established, 20),
            (CloseWait, 120),
            (LastAck, 500),
            (Closed, 500)
        ]
    );
    assert!(connection.states.iter().all(|span| !span.inferred));
}

/// RFC 9293 §3.6 case 3: both FINs cross, so neither acknowledges the other.
#[test]
fn simultaneous_close() {
    let mut capture = Capture::new();
    capture.handshake();
    capture.client(100_000, FIN, 101, 901, 0);
    capture.server(110_000, FIN, 901, 101, 0);
    capture.client(111_000, ACK, 102, 902, 0);
    capture.server(120_000, ACK, 902, 102, 0);
    let connection = capture.finish();
    assert_eq!(
        life(&connection, C)[2..],
        [(FinWait1, 100), (Closing, 111), (TimeWait, 120)]
    );
    let server = life(&connection, S);
    assert_eq!(server[2], (FinWait1, 110));
    assert_eq!(*server.last().expect("states"), (TimeWait, 111));
    assert!(!server.iter().any(|(state, _)| *state == CloseWait));
}

/// RFC 9293 §3.5: both SYNs cross. One connection, and nothing of it was sent twice.
#[test]
fn simultaneous_open() {
    let mut capture = Capture::new();
    capture.client(0, SYN, 100, 0, 0);
    capture.server(10_000, SYN, 900, 0, 0);
    capture.client(10_000, SYN | ACK, 100, 901, 0);
    capture.server(20_000, SYN | ACK, 900, 101, 0);
    capture.client(40_000, ACK, 101, 901, 300);
    let connection = capture.finish();
    assert_eq!(
        life(&connection, C),
        [(SynSent, 0), (SynReceived, 10), (Established, 20)]
    );
    assert_eq!(
        life(&connection, S)[..2],
        [(SynSent, 10), (SynReceived, 20)]
    );
    assert_eq!(connection.handshake.syn_count, 1);
    assert_eq!(connection.handshake.syn_ack_count, 1);
    for half in &connection.halves {
        assert_eq!(half.retransmitted_segments, 0);
    }
}

/// A FIN that nobody acknowledges tells nothing of the peer.
#[test]
fn an_unheard_fin() {
    let mut capture = Capture::new();
    capture.handshake();
    capture.client(100_000, FIN, 101, 901, 0);
    capture.client(400_000, FIN, 101, 901, 0);
    let connection = capture.finish();
    assert_eq!(life(&connection, C).last(), Some(&(FinWait1, 100)));
    assert_eq!(life(&connection, S).last(), Some(&(Established, 20)));
}

/// In mid-stream what came before is inferred, and said to be.
#[test]
fn mid_stream_is_inferred() {
    let mut capture = Capture::new();
    capture.client(0, ACK, 101, 901, 300);
    capture.server(20_000, ACK, 901, 401, 0);
    let connection = capture.finish();
    assert!(
        connection
            .states
            .iter()
            .all(|span| span.inferred && span.state == Established)
    );
}

/// An orphan in FIN-WAIT-2: the closed socket answers data with RST, which ends the peer's
/// CLOSE-WAIT; that it arrives there is inferred.
#[test]
fn an_orphan_refuses_data() {
    let mut capture = Capture::new();
    capture.handshake();
    capture.client(100_000, FIN, 101, 901, 0);
    capture.server(120_000, ACK, 901, 102, 0);
    capture.server(3_000_000, ACK, 901, 102, 50);
    capture.client(3_000_000, TcpFlags::RST, 102, 0, 0);
    let connection = capture.finish();
    assert_eq!(connection.resets[0].kind, ResetKind::AbortedAfterClose);
    assert_eq!(life(&connection, C)[3..], [(FinWait2, 120), (Closed, 3000)]);
    assert_eq!(
        life(&connection, S)[2..],
        [(CloseWait, 120), (Closed, 3000)]
    );
    let closed = |end| {
        connection
            .states
            .iter()
            .find(|span| span.end == end && span.state == Closed)
    };
    assert!(!closed(C).expect("closed").inferred);
    assert!(closed(S).expect("closed").inferred);
}
