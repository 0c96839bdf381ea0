//! However the capture is cut into rounds, the connections are the same.

use std::path::{Path, PathBuf};

use pcapdoc_analyzer::Connection;
use pcapdoc_analyzer::capture::{CaptureReader, Input, ReadOptions, Slab};
use pcapdoc_analyzer::connection::Close;
use pcapdoc_analyzer::pipeline::{self, ConnectionSink, Settings};

#[derive(Default)]
struct Collect(Vec<Connection>);

impl ConnectionSink for Collect {
    fn connection(&mut self, connection: &Connection) {
        self.0.push(connection.clone());
    }
}

fn connections(capture: &Path, slab_bytes: usize) -> Vec<Connection> {
    let settings = Settings {
        read: ReadOptions {
            slab_bytes,
            ..ReadOptions::default()
        },
        ..Settings::default()
    };
    let inputs = [Input::Path(capture.to_owned())];
    let (_, sinks) = pipeline::run(&inputs, &settings, Collect::default, |_| {})
        .unwrap_or_else(|error| panic!("{}: {error}", capture.display()));
    let mut all: Vec<Connection> = sinks.into_iter().flat_map(|sink| sink.0).collect();
    all.sort_by_key(|connection| connection.first_frame);
    all
}

fn kernel_captures() -> Vec<PathBuf> {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/captures/kernel");
    ["jitter", "loss-8", "short-loss", "reorder-v6-plain"]
        .map(|scenario| suite.join(scenario).join("server.pcap.gz"))
        .to_vec()
}

#[test]
fn any_slab_size_gives_the_same_connections() {
    for capture in kernel_captures() {
        let whole = connections(&capture, 256 << 10);
        assert!(!whole.is_empty(), "{}", capture.display());
        for slab_bytes in [1, 333, 4_000, 65_537] {
            let cut = connections(&capture, slab_bytes);
            assert!(
                whole == cut,
                "{} in slabs of {slab_bytes}",
                capture.display()
            );
        }
    }
}

#[test]
fn a_long_buffer_is_filled_no_further_than_a_short_one() {
    let frames = |buffer: usize| -> Vec<usize> {
        let inputs = [Input::Path(kernel_captures().remove(0))];
        let mut reader = CaptureReader::open(&inputs, ReadOptions::default()).unwrap();
        reader.read_in_slabs_of(16 << 10);
        let mut slab = Slab {
            bytes: vec![0; buffer],
            ..Slab::default()
        };
        let slabs = std::iter::from_fn(|| {
            let more = reader.read_slab(&mut slab).unwrap();
            more.then_some(slab.frames.len())
        });
        slabs.collect()
    };
    let short = frames(0);
    assert!(short.len() > 4, "{short:?}");
    assert_eq!(frames(1 << 20), short);
}

const SYN: u8 = 2;
const FIN: u8 = 1;
const PUSH: u8 = 8;
const ACK: u8 = 16;

/// A classic pcap of raw IPv4 packets.
struct Pcap(Vec<u8>);

impl Pcap {
    fn new() -> Self {
        let words: [u32; 6] = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 101];
        Self(words.iter().flat_map(|word| word.to_le_bytes()).collect())
    }

    fn tcp(&mut self, micros: u32, up: bool, seq: u32, ack: u32, flags: u8, payload: &[u8]) {
        let total = u16::try_from(40 + payload.len()).expect("a small packet");
        let record = [
            micros / 1_000_000,
            micros % 1_000_000,
            u32::from(total),
            u32::from(total),
        ];
        self.0
            .extend(record.iter().flat_map(|word| word.to_le_bytes()));
        let ends = [([10, 0, 0, 1], 40_000_u16), ([10, 0, 0, 2], 80)];
        let [(src, src_port), (dst, dst_port)] = if up { ends } else { [ends[1], ends[0]] };
        self.0.extend([0x45, 0]);
        self.0.extend(total.to_be_bytes());
        self.0.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        self.0.extend(src);
        self.0.extend::<[u8; 4]>(dst);
        self.0.extend(src_port.to_be_bytes());
        self.0.extend(dst_port.to_be_bytes());
        self.0.extend(seq.to_be_bytes());
        self.0.extend(ack.to_be_bytes());
        self.0.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        self.0.extend(payload);
    }

    /// What it holds; `name` is that of a file.
    fn connections(&self, name: &str) -> Vec<Connection> {
        let path = std::env::temp_dir().join(format!("pcapdoc-{name}-{}.pcap", std::process::id()));
        std::fs::write(&path, &self.0).expect("a temporary file");
        let all = connections(&path, 4_096);
        std::fs::remove_file(&path).expect("it was written");
        all
    }
}

/// The second SYN, and the end of the first connection, passed unseen.
#[test]
fn the_answer_to_a_syn_nobody_saw_opens_a_connection() {
    let whole = |again: u32| {
        let mut pcap = Pcap::new();
        pcap.tcp(0, true, 100, 0, SYN, &[]);
        pcap.tcp(100, false, 900, 101, SYN | ACK, &[]);
        pcap.tcp(200, true, 101, 901, ACK, &[]);
        pcap.tcp(300, true, 101, 901, PUSH | ACK, &[7; 10]);
        pcap.tcp(400, false, 901, 111, ACK, &[]);
        pcap.tcp(again, false, 5_900_000, 7_700_101, SYN | ACK, &[]);
        pcap.tcp(again + 100, true, 7_700_101, 5_900_001, ACK, &[]);
        pcap.tcp(
            again + 200,
            true,
            7_700_101,
            5_900_001,
            PUSH | ACK,
            &[7; 20],
        );
        pcap.tcp(again + 300, false, 5_900_001, 7_700_121, ACK, &[]);
        pcap.connections(&format!("unseen-{again}"))
    };
    let all = whole(30_000_000);
    assert_eq!(all.len(), 2);
    assert!(
        all.iter()
            .flat_map(|one| &one.halves)
            .all(|half| half.missing_octets == 0)
    );
    assert_eq!(all[1].from_client().unique_bytes, 20);
    // At once it may as well be forged.
    assert_eq!(whole(500).len(), 1);
}

#[test]
fn a_thousand_incarnations_of_one_tuple_are_a_thousand_connections() {
    let mut pcap = Pcap::new();
    for number in 0..1000_u32 {
        let at = |step: u32| number * 1000 + step * 100;
        let (isn, peer) = (
            number.wrapping_mul(0x9e37_79b9),
            number.wrapping_mul(77_777),
        );
        let (one, other) = (isn.wrapping_add(1), peer.wrapping_add(1));
        let end = one.wrapping_add(10);
        pcap.tcp(at(0), true, isn, 0, SYN, &[]);
        pcap.tcp(at(1), false, peer, one, SYN | ACK, &[]);
        pcap.tcp(at(2), true, one, other, ACK, &[]);
        pcap.tcp(at(3), true, one, other, ACK, &[7; 10]);
        pcap.tcp(at(4), true, end, other, FIN | ACK, &[]);
        pcap.tcp(at(5), false, other, end.wrapping_add(1), FIN | ACK, &[]);
        pcap.tcp(
            at(6),
            true,
            end.wrapping_add(1),
            other.wrapping_add(1),
            ACK,
            &[],
        );
    }
    let all = pcap.connections("incarnations");
    assert_eq!(all.len(), 1000);
    for (number, connection) in all.iter().enumerate() {
        assert_eq!(connection.packets(), 7, "connection {number}");
        assert_eq!(connection.close, Close::Fin, "connection {number}");
        assert_eq!(
            connection.from_client().unique_bytes,
            10,
            "connection {number}"
        );
        assert_eq!(connection.port_reuse, number > 0, "connection {number}");
        assert!(
            connection
                .halves
                .iter()
                .all(|half| half.retransmitted_segments == 0)
        );
    }
}
