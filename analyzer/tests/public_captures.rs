//! Agreement with tshark on public captures: packets, and per pair of endpoints the frames and
//! payload bytes of each direction.
//!
//! The captures are not part of the project. They are looked for in `../shared/captures/public`
//! beside the repository, or where `PCAPDOC_PUBLIC_CAPTURES` says; without them the test says
//! that it was skipped.

mod streams;

use std::path::{Path, PathBuf};

use pcapdoc_analyzer::Error;
use serde_json::Value;
use streams::{Read, Streams, count, normal, read};

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
