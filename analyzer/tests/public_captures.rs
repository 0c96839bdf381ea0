//! Agreement with tshark on public captures: packets, and per pair of endpoints the frames and
//! payload bytes of each direction.
//!
//! The captures are not part of the project. They are looked for in `../shared/captures/public`
//! beside the repository, or where `PCAPDOC_PUBLIC_CAPTURES` says; without them the test says
//! that it was skipped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pcapdoc_analyzer::capture::{CaptureReader, Input, ReadOptions, Slab};
use pcapdoc_analyzer::decode::{DecodeStats, DecodedSlab, Packet, PacketKind, decode_slab};
use pcapdoc_analyzer::flow::ip_fragment::Reassembler;
use pcapdoc_analyzer::{Endpoint, Error};
use serde_json::Value;

/// Frames and payload bytes from the smaller to the larger endpoint, and back.
type Counts = [(u64, u64); 2];
/// By transport and the two endpoints as text, smaller first.
type Streams = BTreeMap<(&'static str, String, String), Counts>;

/// Files where we differ from tshark 4.0 on purpose, and why.
const DIFFERENCES: &[(&str, Difference, &str)] = &[
    (
        "tcpdump--brcm-tag.pcap",
        Difference::OnlyWeRead,
        "tshark 4.0 does not know LINKTYPE 281",
    ),
    (
        "tcpdump--kday6.pcap",
        Difference::OnlyWeRead,
        "LINKTYPE 182: a frame we count and name",
    ),
    (
        "wikisamples--forensics5.cap",
        Difference::NotRead,
        "Network Monitor 2: named in the error",
    ),
    (
        "nDPI--teredo.pcap",
        Difference::OuterDatagrams,
        "the IPv6 packets inside are analysed",
    ),
    (
        "tcpdump--gso-ipv4-geneve-ipv6.pcap",
        Difference::OuterDatagrams,
        "GENEVE is a tunnel",
    ),
    (
        "tcpdump--gso-ipv4-vxlan-ipv6.pcap",
        Difference::OuterDatagrams,
        "VXLAN is a tunnel",
    ),
    (
        "zeek--gtp6_gtp_0x32.pcap",
        Difference::OuterDatagrams,
        "GTP-U is a tunnel",
    ),
];

/// What differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Difference {
    /// We refuse the file; tshark reads it.
    NotRead,
    /// We read the file; tshark refuses it.
    OnlyWeRead,
    /// tshark counts the outer UDP datagrams of a tunnel as a stream of their own.
    OuterDatagrams,
}

struct Read {
    packets: u64,
    streams: Streams,
    stats: DecodeStats,
}

fn read(path: &Path) -> Result<Read, Error> {
    let mut reader = CaptureReader::open(&[Input::Path(path.to_owned())], ReadOptions::default())?;
    let (mut slab, mut decoded) = (Slab::default(), DecodedSlab::default());
    let mut reassembler = Reassembler::new();
    let mut read = Read {
        packets: 0,
        streams: Streams::new(),
        stats: DecodeStats::default(),
    };
    while reader.read_slab(&mut slab)? {
        decode_slab(&slab, reader.interfaces(), &mut decoded);
        read.packets += slab.frames.len() as u64;
        for packet in &decoded.packets {
            add(&mut read.streams, packet);
        }
        for fragment in &decoded.fragments {
            if let Some(whole) = reassembler.push(fragment, &slab.bytes) {
                whole
                    .packets
                    .iter()
                    .for_each(|packet| add(&mut read.streams, packet));
            }
        }
        read.stats.merge(&decoded.stats);
    }
    Ok(read)
}

fn add(streams: &mut Streams, packet: &Packet) {
    let transport = match packet.kind {
        PacketKind::Tcp(_) => "tcp",
        PacketKind::Udp => "udp",
        PacketKind::IcmpError { .. } => return,
    };
    let (from, to) = (text(packet.source()), text(packet.destination()));
    count(
        streams,
        transport,
        from,
        to,
        1,
        u64::from(packet.payload_len),
    );
}

fn text(endpoint: Endpoint) -> String {
    endpoint.to_string()
}

fn count(
    streams: &mut Streams,
    transport: &'static str,
    from: String,
    to: String,
    frames: u64,
    bytes: u64,
) {
    let back = from > to;
    let key = if back {
        (transport, to, from)
    } else {
        (transport, from, to)
    };
    let direction = &mut streams.entry(key).or_default()[usize::from(back)];
    direction.0 += frames;
    direction.1 += bytes;
}

/// tshark's streams; incarnations of one pair of endpoints are added up.
fn truth_streams(truth: &Value) -> Streams {
    let mut streams = Streams::new();
    for transport in ["tcp", "udp"] {
        for stream in truth[transport].as_array().into_iter().flatten() {
            let end = |name: &str| normal(stream[name].as_str().unwrap_or_default());
            let number = |name: &str| stream[name].as_u64().unwrap_or(0);
            let (a, b) = (end("a"), end("b"));
            let name = if transport == "tcp" { "tcp" } else { "udp" };
            if number("frames_ab") > 0 {
                let (frames, bytes) = (number("frames_ab"), number("bytes_ab"));
                count(&mut streams, name, a.clone(), b.clone(), frames, bytes);
            }
            if number("frames_ba") > 0 {
                count(
                    &mut streams,
                    name,
                    b,
                    a,
                    number("frames_ba"),
                    number("bytes_ba"),
                );
            }
        }
    }
    streams
}

/// The truth's `address:port` in our form, with brackets around IPv6 addresses.
fn normal(endpoint: &str) -> String {
    let (address, port) = endpoint.rsplit_once(':').unwrap_or((endpoint, "0"));
    let address = address.trim_matches(['[', ']']);
    match (address.parse(), port.parse()) {
        (Ok(ip), Ok(port)) => Endpoint::new(ip, port).to_string(),
        _ => endpoint.to_owned(),
    }
}

fn captures() -> Option<PathBuf> {
    let dir = std::env::var_os("PCAPDOC_PUBLIC_CAPTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures/public"),
        PathBuf::from,
    );
    dir.join("INDEX.tsv").is_file().then_some(dir)
}

#[test]
fn agrees_with_tshark() {
    let Some(dir) = captures() else {
        println!("SKIPPED: the public captures are not here (PCAPDOC_PUBLIC_CAPTURES names them)");
        return;
    };
    let index = std::fs::read_to_string(dir.join("INDEX.tsv")).expect("the index is text");
    let mut wrong = Vec::new();
    let mut compared = 0;
    for name in index
        .lines()
        .skip(1)
        .filter_map(|line| line.split('\t').next())
    {
        let truth = std::fs::read(dir.join("truth").join(format!("{name}.json")))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let truth: Value = serde_json::from_slice(&truth).expect("a truth file is JSON");
        compared += 1;
        wrong.extend(compare(name, &truth, &read(&dir.join(name))));
    }
    assert!(
        wrong.is_empty(),
        "{} disagreements:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    println!("{compared} public captures agree with tshark");
}

fn compare(name: &str, truth: &Value, read: &Result<Read, Error>) -> Vec<String> {
    let allowed = |difference| {
        DIFFERENCES
            .iter()
            .any(|(n, d, _)| *n == name && *d == difference)
    };
    let refused = truth["status"] == "unreadable";
    let read = match read {
        Err(_) if refused || allowed(Difference::NotRead) => return Vec::new(),
        Err(error) => return vec![format!("{name}: {error}")],
        Ok(_) if refused && allowed(Difference::OnlyWeRead) => return Vec::new(),
        Ok(_) if refused => return vec![format!("{name}: read, though tshark does not")],
        Ok(read) => read,
    };
    let mut wrong = Vec::new();
    let packets = truth["packets"].as_u64().unwrap_or(0);
    if packets != read.packets {
        wrong.push(format!(
            "{name}: {packets} packets, we read {}",
            read.packets
        ));
    }
    let theirs = truth_streams(truth);
    let keys: std::collections::BTreeSet<_> = theirs.keys().chain(read.streams.keys()).collect();
    for key in keys {
        let (their, our) = (theirs.get(key), read.streams.get(key));
        let outer = key.0 == "udp" && our.is_none() && allowed(Difference::OuterDatagrams);
        if their != our && !outer {
            let stops = &read.stats.stops;
            wrong.push(format!(
                "{name}: {key:?}: tshark {their:?}, we {our:?} {stops:?}"
            ));
        }
    }
    wrong
}
