//! Captures of very many connections: memory stays bounded, and what was left out is told.

#![cfg(target_os = "linux")]

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::common;
use serde_json::Value;

const CLIENT: [u8; 4] = [192, 0, 2, 1];

/// Writes a capture of bare IPv4 packets, ten microseconds apart: for each number the packets that
/// `packets` makes of it.
fn write(path: &Path, count: u32, packets: impl Fn(u32) -> Vec<Vec<u8>>) {
    let mut file = BufWriter::new(std::fs::File::create(path).expect("a temporary file"));
    let mut put = |words: &[u32], octets: &[u8]| {
        let words: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        file.write_all(&words).expect("the disk has room");
        file.write_all(octets).expect("the disk has room");
    };
    put(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 228], &[]);
    for (micros, packet) in (0_u32..).step_by(10).zip((0..count).flat_map(packets)) {
        let len = u32::try_from(packet.len()).expect("a short packet");
        let seconds = 1_700_000_000 + micros / 1_000_000;
        put(&[seconds, micros % 1_000_000, len, len], &packet);
    }
}

/// An IPv4 packet (RFC 791 §3.1).
fn ip(protocol: u8, from: [u8; 4], to: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(20 + payload.len()).expect("a short packet");
    let header = [0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
    let mut packet = [&header[..], &from, &to, payload].concat();
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet
}

/// A TCP segment (RFC 9293 §3.1) between a client's port and port 80, as the payload of a packet.
fn tcp(ports: [u16; 2], flags: u8, seq: u32, ack: u32, payload: &[u8]) -> Vec<u8> {
    let ports = ports.map(u16::to_be_bytes).concat();
    let numbers = [seq, ack].map(u32::to_be_bytes).concat();
    let rest = [0x50, flags, 0xff, 0xff, 0, 0, 0, 0];
    [&ports[..], &numbers, &rest, payload].concat()
}

/// An attempt to connect to a server of its own, which refuses.
fn refused(number: u32) -> Vec<Vec<u8>> {
    let [_, a, b, c] = number.to_be_bytes();
    let server = [10, a, b, c];
    vec![
        ip(6, CLIENT, server, &tcp([40_000, 80], 0x02, 100, 0, b"")),
        ip(6, server, CLIENT, &tcp([80, 40_000], 0x14, 0, 101, b"")),
    ]
}

/// A connection with a request and its failure, which stays open.
fn request(number: u32) -> Vec<Vec<u8>> {
    let [_, a, b, c] = number.to_be_bytes();
    let (client, server) = ([10, a, b, c], CLIENT);
    let (asked, answered) = (
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
    );
    let out = |flags, seq, ack, payload: &[u8]| {
        ip(
            6,
            client,
            server,
            &tcp([40_000, 80], flags, seq, ack, payload),
        )
    };
    let back = |flags, seq, ack, payload: &[u8]| {
        ip(
            6,
            server,
            client,
            &tcp([80, 40_000], flags, seq, ack, payload),
        )
    };
    vec![
        out(0x02, 100, 0, b""),
        back(0x12, 500, 101, b""),
        out(0x10, 101, 501, b""),
        out(0x18, 101, 501, asked),
        back(0x18, 501, 101 + 27, answered),
    ]
}

/// A look-up of a name of its own, and its address (RFC 1035 §4.1).
fn look_up(number: u32) -> Vec<Vec<u8>> {
    let name = format!("{number:08x}");
    let question = [b"\x08", name.as_bytes(), b"\x03com\0\0\x01\0\x01"].concat();
    let address = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\x09\x08\x07";
    let asked = [b"\0\x07\x01\0\0\x01\0\0\0\0\0\0", &question[..]].concat();
    let answered = [
        b"\0\x07\x81\x80\0\x01\0\x01\0\0\0\0",
        &question[..],
        address,
    ]
    .concat();
    let port = 1024 + u16::try_from(number % 60_000).expect("a port");
    let datagram = |ports: [u16; 2], payload: &[u8]| {
        let len = u16::try_from(8 + payload.len()).expect("a short datagram");
        let header = [ports[0], ports[1], len, 0].map(u16::to_be_bytes).concat();
        [header, payload.to_vec()].concat()
    };
    let resolver = [192, 0, 2, 53];
    vec![
        ip(17, CLIENT, resolver, &datagram([port, 53], &asked)),
        ip(17, resolver, CLIENT, &datagram([53, port], &answered)),
    ]
}

/// Peak of the resident memory of a process so far, in kB; nothing when it has ended.
fn peak_kb(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Analyses a flood with 128 MiB allowed; gives the document and the peak in MB.
fn analysed(name: &str, count: u32, packets: fn(u32) -> Vec<Vec<u8>>) -> (Value, u64) {
    let name = format!("pcapdoc-flood-{name}-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    write(&path, count, packets);
    let capture = path.to_str().expect("UTF-8");
    let out = path.with_extension("json");
    let arguments = ["--max-memory", "128M", "--format", "json", "--output"];
    let mut command = common::pcapdoc(&[&["analyze", capture][..], &arguments].concat());
    let child = command.arg(&out).stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = child.spawn().expect("the program starts");
    let mut peak = 0;
    let status = loop {
        peak = peak_kb(child.id()).unwrap_or(0).max(peak);
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success(), "{name}: {status}", name = path.display());
    let document = std::fs::read(&out).expect("a document");
    std::fs::remove_file(&path).expect("the file can go");
    std::fs::remove_file(&out).expect("the file can go");
    (
        serde_json::from_slice(&document).expect("valid JSON"),
        peak / 1000,
    )
}

/// The estimates fall short by some, and allocators hold memory back, and the profiles of hosts and the
/// records of episodes come on top: three times what is allowed.
const BOUND_MB: u64 = 384;

#[test]
fn a_flood_of_servers_is_bounded_and_told() {
    let (document, peak) = analysed("refused", 300_000, refused);
    assert_eq!(document["connection_total"], 300_000);
    assert!(peak < BOUND_MB, "{peak} MB");
    let notes = document["capture"]["quality"].to_string();
    assert!(notes.contains("missing from per-server figures"), "{notes}");
}

#[test]
fn a_flood_of_requests_is_bounded_and_told() {
    let (document, peak) = analysed("requests", 100_000, request);
    assert!(peak < BOUND_MB, "{peak} MB");
    let notes = document["capture"]["quality"].to_string();
    assert!(notes.contains("--max-memory"), "{notes}");
}

#[test]
fn a_flood_of_names_is_bounded() {
    let (document, peak) = analysed("names", 200_000, look_up);
    assert_eq!(document["capture"]["packets"], 400_000);
    assert!(peak < BOUND_MB, "{peak} MB");
}
