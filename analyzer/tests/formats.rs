//! Every format, link type and tunnel has a small capture in `testdata/formats`, with what tshark
//! counts in it.

mod streams;

use std::path::{Path, PathBuf};

use pcapdoc_analyzer::decode::{DecodeStats, DecodeStop, Protocol};
use streams::{Streams, count, normal, read};

/// Captures in which we see more than tshark 4.0 does, or something else, and why.
const DIFFERENCES: &[(&str, &str)] = &[
    (
        "capwap5247t",
        "tshark expects the frame control field the wrong way round, as some write it",
    ),
    (
        "junip_ether_noL2",
        "tshark does not look behind the protocol number",
    ),
    (
        "bsdslip8",
        "tshark takes the header that BSD writes for the packet",
    ),
    ("chdlcdir205", "tshark does not know the link type"),
    ("clip106llc", "tshark expects bare packets"),
    ("dsa_brcm281", "tshark does not know the link type"),
    (
        "deepipip",
        "twenty encapsulations in each other: sixteen are followed",
    ),
    (
        "fabricpath",
        "tshark takes the end of the inner frame for its check sequence",
    ),
    (
        "fr107",
        "tshark counts both flows of datagrams on one circuit as one",
    ),
    ("frdir206", "tshark does not know the link type"),
    (
        "isl",
        "tshark takes the end of the inner frame for its check sequence",
    ),
    ("l2tpv3", "tshark does not guess what is tunnelled"),
    ("lsrr", "the truth shows the next hop; both use the last"),
    ("mplspw", "tshark does not guess what is under the labels"),
    (
        "null",
        "address families and byte orders that no system is known for in this place",
    ),
    ("pppd166", "tshark does not know the link type"),
    ("rh0", "the truth shows the next hop; both use the last"),
    ("snap48", "tshark needs more of a TCP header"),
    ("srh", "the truth shows the next hop; both use the last"),
    ("tso06", "tshark knows an absent length in IPv4 only"),
    ("vlan9200", "an old number for stacked tags"),
    ("vxlan8472", "the port that Linux used before the standard"),
];

/// Tunnels whose outer datagrams tshark counts as conversations of their own.
fn is_outer(key: &(&'static str, String, String)) -> bool {
    let of_the_tunnels =
        |end: &str| end.starts_with("192.0.2.") || end.starts_with("[2001:db8:ffff:");
    key.0 == "udp" && of_the_tunnels(&key.1) && of_the_tunnels(&key.2)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/formats")
}

fn expected(columns: &[&str]) -> Streams {
    let mut streams = Streams::new();
    for stream in columns {
        let fields: Vec<&str> = stream.split(' ').collect();
        let [transport, a, b, frames_ab, frames_ba, bytes_ab, bytes_ba] = fields[..] else {
            panic!("not a conversation: {stream}");
        };
        let transport = if transport == "tcp" { "tcp" } else { "udp" };
        let number = |text: &str| text.parse::<u64>().expect("a number");
        let (a, b) = (normal(a), normal(b));
        for (from, to, frames, bytes) in [
            (&a, &b, number(frames_ab), number(bytes_ab)),
            (&b, &a, number(frames_ba), number(bytes_ba)),
        ] {
            if frames > 0 {
                count(
                    &mut streams,
                    transport,
                    from.clone(),
                    to.clone(),
                    frames,
                    bytes,
                );
            }
        }
    }
    streams.retain(|key, _| !is_outer(key));
    streams
}

#[test]
fn every_format_and_tunnel_agrees_with_tshark() {
    let truth = std::fs::read_to_string(folder().join("TRUTH.tsv")).expect("the truth is text");
    let mut wrong = Vec::new();
    for line in truth.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = line.split('\t').collect();
        let (name, packets) = (columns[0], columns[1].parse::<u64>().expect("a number"));
        if DIFFERENCES
            .iter()
            .any(|(prefix, _)| name.starts_with(prefix))
        {
            read(&folder().join(name)).unwrap_or_else(|error| panic!("{error}"));
            continue;
        }
        match read(&folder().join(name)) {
            Err(_) if packets == 0 => {}
            Err(error) => wrong.push(error.to_string()),
            Ok(found) => {
                let mut streams = found.streams;
                streams.retain(|key, _| !is_outer(key));
                if found.packets != packets {
                    wrong.push(format!(
                        "{name}: {packets} packets, we read {}",
                        found.packets
                    ));
                }
                if streams != expected(&columns[2..]) {
                    let stops = &found.stats.stops;
                    wrong.push(format!("{name}: we see {streams:?} {stops:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the frames of one of the captures were met as.
fn stats(name: &str) -> DecodeStats {
    let found = read(&folder().join(name));
    found.unwrap_or_else(|error| panic!("{error}")).stats
}

#[test]
fn nesting_ends_at_a_bound() {
    let stops = stats("deepipip.pcap").stops;
    assert_eq!(stops.get(&DecodeStop::TooDeep), Some(&10));
}

#[test]
fn encrypted_traffic_is_counted_by_its_ends() {
    for (name, protocol, counts) in [
        ("esp.pcap", Protocol::Esp, vec![4, 4]),
        ("wireguard.pcap", Protocol::WireGuard, vec![6]),
    ] {
        let opaque = stats(name).opaque;
        assert!(opaque.keys().all(|flow| flow.kind == protocol), "{name}");
        let frames: Vec<u64> = opaque.values().map(|(frames, _)| *frames).collect();
        assert_eq!(frames, counts, "{name}");
    }
}

#[test]
fn link_types_that_are_not_decoded_are_named() {
    let stops = stats("usb189.pcap").stops;
    let named: Vec<_> = stops
        .iter()
        .map(|(stop, n)| (stop.to_string(), *n))
        .collect();
    assert_eq!(named, [("link type USB_LINUX".to_owned(), 4)]);
}
