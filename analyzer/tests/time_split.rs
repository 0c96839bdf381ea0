//! Where a connection's time went: named situations, the kernels' own account of it, and the sum
//! over every capture there is.
//!
//! `tcpi_busy_time` is how long a socket had data that was not acknowledged, `tcpi_rwnd_limited`
//! how long of that the receiver's window held it back, both in ticks of 4 ms. A transfer in one
//! direction is busy from its first octet to the last acknowledgement, so the parts that are
//! neither handshake, thinking nor idle are to add up to it; a round trip is allowed for the FIN,
//! which the kernel counts as well, and for where the capture stands on the path.
//!
//! One disagreement is known: in `small-window` the capture shows a flight that fills the window to
//! the octet for most of the time, of which the kernel counts about 60 % as limited by it.

mod segments;

use std::path::{Path, PathBuf};
use std::time::Duration;

use pcapdoc_analyzer::capture::Input;
use pcapdoc_analyzer::connection::{Connection, TimeSplit};
use pcapdoc_analyzer::decode::TcpFlags;
use pcapdoc_analyzer::pipeline::{self, ConnectionSink, Settings};
use serde_json::Value;

use segments::Capture;

const ACK: u8 = TcpFlags::ACK;
const SYN: u8 = TcpFlags::SYN;

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Equal but for the nanosecond that a round trip has at least.
fn near(one: Duration, other: Duration) {
    assert!(
        one.abs_diff(other) < Duration::from_micros(1),
        "{one:?}, not {other:?}"
    );
}

fn split_of(capture: Capture) -> TimeSplit {
    let connection = capture.finish();
    assert_eq!(connection.time_split.total(), connection.duration());
    connection.time_split
}

#[test]
fn one_exchange() {
    let mut capture = Capture::new();
    capture.handshake();
    capture.client(50_000, ACK, 101, 901, 300);
    capture.server(170_000, ACK, 901, 401, 500);
    capture.client(171_000, ACK, 401, 1401, 0);
    capture.client(400_000, ACK | TcpFlags::FIN, 401, 1401, 0);
    let split = split_of(capture);
    assert_eq!(split.handshake, ms(20));
    assert_eq!(split.client_think, ms(30));
    assert_eq!(split.server_think, ms(120));
    assert_eq!(split.response_transfer, ms(1), "to its acknowledgement");
    assert_eq!(split.idle, ms(229));
}

/// Four full segments fill the window; each time the acknowledgement takes the round trip.
#[test]
fn a_full_window_is_the_receivers() {
    let mut capture = Capture::new();
    capture.handshake();
    capture.server_window(20_000, 901, 101, 4000);
    let mut seq = 101;
    for turn in 1..=5 {
        for _ in 0..4 {
            capture.client(turn * 20_000, ACK, seq, 901, 1000);
            seq += 1000;
        }
        capture.server_window((turn + 1) * 20_000, 901, seq, 4000);
    }
    capture.client(120_000, ACK, seq, 901, 1000);
    capture.server_window(140_000, 901, seq + 1000, 4000);
    let split = split_of(capture);
    assert_eq!(split.receiver_window, ms(100));
    assert_eq!(split.request_transfer, ms(20), "the last, lone segment");
}

/// A window closed for a second, although all in flight had been acknowledged.
#[test]
fn a_closed_window_is_the_receivers() {
    let mut capture = Capture::new();
    capture.handshake();
    capture.client(20_000, ACK, 101, 901, 1000);
    capture.server_window(40_000, 901, 1101, 0);
    capture.server_window(1_040_000, 901, 1101, 60_000);
    capture.client(1_040_000, ACK, 1101, 901, 1000);
    capture.server_window(1_060_000, 901, 2101, 60_000);
    let split = split_of(capture);
    assert_eq!(split.receiver_window, ms(1000));
    assert_eq!(split.request_transfer, ms(40));
}

/// The same silence with an open window: the sending application had nothing.
#[test]
fn a_pause_with_an_open_window_is_the_senders() {
    let mut capture = Capture::new();
    capture.handshake();
    capture.client(20_000, ACK, 101, 901, 1000);
    capture.server_window(40_000, 901, 1101, 60_000);
    capture.client(1_040_000, ACK, 1101, 901, 1000);
    capture.server_window(1_060_000, 901, 2101, 60_000);
    let split = split_of(capture);
    near(split.sender_limited, ms(1000));
    near(split.request_transfer, ms(40));
    assert_eq!(split.receiver_window, Duration::ZERO);
}

/// Seen at the receiver, data needs a round trip after the acknowledgement that let it go; only
/// what is beyond is a pause.
#[test]
fn at_the_receiver_a_round_trip_is_no_pause() {
    let mut capture = Capture::new();
    capture.client(0, SYN, 100, 0, 0);
    capture.server(0, SYN | ACK, 900, 101, 0);
    capture.client(20_000, ACK, 101, 901, 0);
    for turn in 1_u32..=3 {
        let at = 20_000 * u64::from(turn);
        let seq = 101 + 1000 * (turn - 1);
        let push = if turn == 3 { TcpFlags::PSH } else { 0 };
        let size = if turn == 3 { 900 } else { 1000 };
        capture.client(at, ACK | push, seq, 901, size);
        capture.server_window(at, 901, seq + size, 60_000);
    }
    capture.client(580_000, ACK, 3001, 901, 1000);
    let split = split_of(capture);
    near(split.request_transfer, ms(60));
    near(split.sender_limited, ms(500));
}

/// Without the handshake the scale is unknown: a window that looks full says nothing.
#[test]
fn in_mid_stream_a_small_window_proves_nothing() {
    let mut capture = Capture::new();
    capture.client(0, ACK, 101, 901, 1000);
    capture.server_window(20_000, 901, 1101, 500);
    capture.client(20_000, ACK, 1101, 901, 1000);
    capture.server_window(40_000, 901, 2101, 500);
    let split = split_of(capture);
    assert_eq!(split.receiver_window, Duration::ZERO);
    assert_eq!(split.request_transfer, ms(40));
}

/// A download during which the client speaks now and then (HTTP/2 window updates): nobody thinks.
#[test]
fn an_end_with_octets_under_way_sends_on() {
    let mut capture = Capture::new();
    capture.handshake();
    capture.client(20_000, ACK, 101, 901, 100);
    capture.server(60_000, ACK, 901, 201, 1000);
    capture.server(61_000, ACK, 1901, 201, 1000);
    capture.client(62_000, ACK, 201, 1901, 13);
    capture.server(63_000, ACK, 2901, 201, 1000);
    let split = split_of(capture);
    assert_eq!(split.server_think, ms(40));
    assert_eq!(split.response_transfer, ms(2));
    assert_eq!(split.client_think, ms(1));
}

#[test]
fn a_repair_takes_what_it_waited_for() {
    let mut capture = Capture::new();
    capture.handshake();
    capture.client(20_000, ACK, 101, 901, 1000);
    capture.client(320_000, ACK, 101, 901, 1000);
    capture.server(340_000, ACK, 901, 1101, 0);
    let split = split_of(capture);
    assert_eq!(split.recovery_timeout, ms(300));
    assert_eq!(split.request_transfer, ms(20));
}

/// Frames written out of order of time, also before the first: the parts still add up.
#[test]
fn time_before_the_first_frame_adds_up() {
    let mut capture = Capture::new();
    capture.client(30_000, SYN, 100, 0, 0);
    capture.server(10_000, SYN | ACK, 900, 101, 0);
    capture.client(50_000, ACK, 101, 901, 100);
    capture.server(40_000, ACK, 901, 201, 100);
    capture.client(0, ACK, 201, 1001, 100);
    split_of(capture);
}

#[derive(Default)]
struct Collect(Vec<Connection>);

impl ConnectionSink for Collect {
    fn connection(&mut self, connection: &Connection) {
        self.0.push(connection.clone());
    }
}

fn connections(capture: &Path) -> Vec<Connection> {
    let inputs = [Input::Path(capture.to_owned())];
    let (_, sinks) = pipeline::run(&inputs, &Settings::default(), Collect::default, |_| {})
        .unwrap_or_else(|error| panic!("{}: {error}", capture.display()));
    sinks.into_iter().flat_map(|sink| sink.0).collect()
}

fn captures_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        if path.is_dir() {
            captures_below(&path, found);
        } else if name.contains(".pcap") {
            found.push(path);
        }
    }
}

#[test]
fn parts_add_up_in_every_capture() {
    let mut captures = Vec::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/captures");
    captures_below(&folder, &mut captures);
    let mut checked = 0;
    for capture in &captures {
        for connection in connections(capture) {
            if connection.transport == pcapdoc_analyzer::Transport::Tcp {
                let total = connection.time_split.total();
                assert_eq!(total, connection.duration(), "{}", connection.label());
                checked += 1;
            }
        }
    }
    assert!(checked > 1000, "{checked} connections");
}

/// One connection of a kernel scenario that sends in one direction only.
struct Account {
    name: String,
    at_sender: bool,
    split: TimeSplit,
    rtt: Duration,
    busy: Duration,
    /// The receiver's own busy time: its FIN.
    busy_back: Duration,
    window: Duration,
}

impl Account {
    fn sending(&self) -> Duration {
        let split = &self.split;
        split.request_transfer
            + split.response_transfer
            + split.recovery_fast
            + split.recovery_timeout
            + split.receiver_window
    }

    /// Ticks at both ends, the FIN's round trip and a tenth.
    fn allowed(&self) -> Duration {
        ms(8) + self.rtt * 2 + self.busy / 10
    }

    fn busy_agrees(&self) -> bool {
        let (sending, allowed) = (self.sending(), self.allowed());
        sending + allowed >= self.busy && sending <= self.busy + self.busy_back + allowed
    }

    fn window_agrees(&self) -> bool {
        self.split.receiver_window.abs_diff(self.window) <= self.allowed()
    }
}

fn accounts(scenario: &Path) -> Vec<Account> {
    let text = std::fs::read_to_string(scenario.join("truth.json")).expect("a truth file");
    let truth: Value = serde_json::from_str(&text).expect("valid JSON");
    let mut found = Vec::new();
    for side in ["client", "server"] {
        let connections = connections(&scenario.join(format!("{side}.pcap.gz")));
        for row in truth["connections"].as_array().expect("connections") {
            let number =
                |way: &str, name: &str| row[way]["kernel"][name].as_u64().expect("a number");
            let [up, down] = ["client_to_server", "server_to_client"];
            let (way, back, sender) = match (number(up, "bytes_acked"), number(down, "bytes_acked"))
            {
                (100_000.., ..1000) => (up, down, "client"),
                (..1000, 100_000..) => (down, up, "server"),
                _ => continue,
            };
            let time = |way, name| Duration::from_micros(number(way, name));
            let connection = connections
                .iter()
                .find(|known| row["client"] == known.client.to_string())
                .expect("the connection");
            found.push(Account {
                name: format!("{} at {side}", connection.label()),
                at_sender: side == sender,
                split: connection.time_split,
                rtt: time(way, "min_rtt"),
                busy: time(way, "busy_time"),
                busy_back: time(back, "busy_time"),
                window: time(way, "rwnd_limited"),
            });
        }
    }
    found
}

fn scenarios() -> Vec<PathBuf> {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/captures/kernel");
    let mut scenarios: Vec<PathBuf> = std::fs::read_dir(suite)
        .expect("the kernel suite")
        .map(|entry| entry.expect("a folder").path())
        .filter(|path| path.join("truth.json").is_file())
        .collect();
    scenarios.sort();
    scenarios
}

/// `PCAPDOC_KERNEL_MISSES=1` lists every disagreement.
#[test]
fn agrees_with_the_kernels_account() {
    let mut cases = [0_u32; 2];
    let mut right = [[0_u32; 2]; 2];
    for scenario in scenarios() {
        for one in accounts(&scenario) {
            let at = usize::from(one.at_sender);
            let agrees = [one.busy_agrees(), one.window_agrees()];
            cases[at] += 1;
            for (sum, agrees) in right[at].iter_mut().zip(agrees) {
                *sum += u32::from(agrees);
            }
            if agrees != [true; 2] && std::env::var_os("PCAPDOC_KERNEL_MISSES").is_some() {
                println!(
                    "  {}, {}: sending {:?}, the kernel {:?}; window {:?}, the kernel {:?}; {:?}",
                    scenario.display(),
                    one.name,
                    one.sending(),
                    one.busy,
                    one.split.receiver_window,
                    one.window,
                    one.split
                );
            }
        }
    }
    for (at, name, [busy_share, window_share]) in
        [(1, "sender", [0.99, 0.98]), (0, "receiver", [0.95, 0.95])]
    {
        let share = |count: u32| f64::from(count) / f64::from(cases[at]);
        let [busy, window] = right[at].map(share);
        println!(
            "at the {name}: time of sending right in {:.1} % of {} connections, limited by the window in {:.1} %",
            busy * 100.0,
            cases[at],
            window * 100.0
        );
        assert!(cases[at] > 150);
        assert!(busy >= busy_share, "time of sending at the {name}");
        assert!(window >= window_share, "window-limited time at the {name}");
    }
}

/// The scenarios made for it: each has one limit, which takes most of the time.
#[test]
fn each_limit_is_found_where_it_was_made() {
    type Part = fn(&TimeSplit) -> Duration;
    let limits: [(&str, Part); 4] = [
        ("slow-reader", |split| split.receiver_window),
        ("small-window", |split| split.receiver_window),
        ("paced-writer", |split| split.sender_limited),
        ("small-send-buffer", |split| split.request_transfer),
    ];
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/captures/kernel");
    for (name, part) in limits {
        let accounts = accounts(&suite.join(name));
        assert!(accounts.len() >= 4, "{name}");
        for one in accounts {
            let part = part(&one.split);
            assert!(
                part * 2 > one.split.total(),
                "{name}: {} {:?}",
                one.name,
                one.split
            );
        }
    }
}
