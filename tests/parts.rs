//! `segment`, `judge` and `conclude` give the report of `analyze`, octet for octet, also when each file
//! and each shard is taken by a process of its own.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use analyzer::decode::PacketKind;
use analyzer::pipeline::Arrival;
use polars_arrow::array::{Array, BinaryArray, PrimitiveArray};
use polars_arrow::datatypes::ArrowSchema;
use polars_arrow::io::ipc::read::{StreamReader, StreamState, read_stream_metadata};
use polars_arrow::io::ipc::write::{StreamWriter, WriteOptions};
use polars_arrow::record_batch::RecordBatchT;
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use crate::common;
use crate::packets::{ACK, Capture, FIN, PSH, RST, SYN};
use crate::rotated;
use crate::rotated::{must_be_equal, report};

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

fn output_of(arguments: &[&str]) -> Vec<u8> {
    let mut command = common::pcapdoc(arguments);
    let output = command
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
    output.stdout
}

/// The output of a command, in a file of this name.
fn into_file(arguments: &[&str], path: PathBuf) -> PathBuf {
    fs::write(&path, output_of(arguments)).expect("a writable folder");
    path
}

/// The report of one process.
fn whole(captures: &[PathBuf]) -> String {
    let mut arguments = vec!["analyze", "-f", "json", "-o", "-"];
    arguments.extend(captures.iter().map(|path| text(path)));
    report(&output_of(&arguments))
}

fn conclude(parts: &[PathBuf]) -> String {
    let mut arguments = vec!["conclude", "-f", "json", "-o", "-"];
    arguments.extend(parts.iter().map(|path| text(path)));
    report(&output_of(&arguments))
}

/// The report of three processes, one after the other.
fn in_a_row(captures: &[PathBuf], folder: &Path) -> String {
    let mut arguments = vec!["segment"];
    arguments.extend(captures.iter().map(|path| text(path)));
    let rows = into_file(&arguments, folder.join("rows.arrow"));
    let states = into_file(&["judge", text(&rows)], folder.join("states.arrow"));
    conclude(&[states])
}

/// The same, with what no other file has a part in judged by the first of them.
fn settled(captures: &[PathBuf], folder: &Path) -> String {
    let mut arguments = vec!["segment", "--settle"];
    arguments.extend(captures.iter().map(|path| text(path)));
    let rows = into_file(&arguments, folder.join("rows.arrow"));
    let states = into_file(&["judge", text(&rows)], folder.join("states.arrow"));
    conclude(&[states])
}

/// Rows as they travel: eight columns of numbers, and octets.
#[derive(Clone)]
struct Row {
    int32: [i32; 4],
    int64: [i64; 4],
    bytes: Vec<u8>,
}

impl Row {
    const fn kind(&self) -> i32 {
        self.int32[0]
    }

    const fn shard(&self) -> i32 {
        self.int32[1]
    }

    /// Shard, the file's start, its number, the row's number in it.
    const fn order(&self) -> (i32, i64, i32, i64) {
        (self.int32[1], self.int64[0], self.int32[2], self.int64[1])
    }
}

fn rows_of(path: &Path, rows: &mut Vec<Row>) -> ArrowSchema {
    let mut file = File::open(path).expect("it was written");
    let metadata = read_stream_metadata(&mut file).expect("a stream");
    let schema = metadata.schema.clone();
    for state in StreamReader::new(file, metadata, None) {
        let Ok(StreamState::Some(batch)) = state else {
            panic!("a whole stream");
        };
        let numbers = |at: usize| batch.arrays()[at].as_any();
        let int32 = |at: usize| {
            numbers(at)
                .downcast_ref::<PrimitiveArray<i32>>()
                .expect("int32")
        };
        let int64 = |at: usize| {
            numbers(at)
                .downcast_ref::<PrimitiveArray<i64>>()
                .expect("int64")
        };
        let bytes: &BinaryArray<i32> = numbers(8).downcast_ref().expect("binary");
        for row in 0..batch.len() {
            rows.push(Row {
                int32: [0, 1, 2, 3].map(|at| int32(at).value(row)),
                int64: [4, 5, 6, 7].map(|at| int64(at).value(row)),
                bytes: bytes.value(row).to_vec(),
            });
        }
    }
    schema
}

fn write_rows(rows: &[Row], schema: &ArrowSchema, path: PathBuf) -> PathBuf {
    let file = File::create(&path).expect("a writable folder");
    let mut writer = StreamWriter::new(file, WriteOptions { compression: None });
    writer.start(schema, None).expect("a stream");
    for rows in rows.chunks(1000) {
        let mut arrays: Vec<Box<dyn Array>> = Vec::new();
        for at in 0..4 {
            let column: Vec<i32> = rows.iter().map(|row| row.int32[at]).collect();
            arrays.push(Box::new(PrimitiveArray::from_vec(column)));
        }
        for at in 0..4 {
            let column: Vec<i64> = rows.iter().map(|row| row.int64[at]).collect();
            arrays.push(Box::new(PrimitiveArray::from_vec(column)));
        }
        let bytes = rows.iter().map(|row| Some(&row.bytes));
        arrays.push(Box::new(bytes.collect::<BinaryArray<i32>>()));
        let batch = RecordBatchT::new(rows.len(), Arc::new(schema.clone()), arrays);
        writer.write(&batch, None).expect("a writable folder");
    }
    writer.finish().expect("a writable folder");
    path
}

/// What one process for each file hands on: the rows of packets, in order, and a file of all others.
fn segmented(captures: &[PathBuf], folder: &Path, options: &[&str]) -> Segmented {
    let mut rows = Vec::new();
    let mut schema = None;
    // The last file first: nothing depends on who is ready when.
    for (number, capture) in captures.iter().enumerate().rev() {
        let number = number.to_string();
        let mut arguments = vec!["segment", "--source", &number, text(capture)];
        arguments.extend(options);
        let of_file = into_file(&arguments, folder.join("file.arrow"));
        schema = Some(rows_of(&of_file, &mut rows));
    }
    let schema = schema.expect("there are files");
    let (mut packets, rest): (Vec<Row>, Vec<Row>) =
        rows.into_iter().partition(|row| row.kind() == 0);
    packets.sort_by_key(Row::order);
    let name = format!("rest{}.arrow", options.len());
    Segmented {
        packets,
        rest: write_rows(&rest, &schema, folder.join(name)),
        schema,
    }
}

struct Segmented {
    packets: Vec<Row>,
    rest: PathBuf,
    schema: ArrowSchema,
}

impl Segmented {
    /// The report of some processes that judge their share of the shards.
    fn judged(&self, folder: &Path, judges: i32) -> String {
        let mut parts = vec![self.rest.clone()];
        for judge in 0..judges {
            let share = self.packets.iter();
            let share = share.filter(|row| row.shard() % judges == judge);
            let share: Vec<Row> = share.cloned().collect();
            let share = write_rows(&share, &self.schema, folder.join("share.arrow"));
            let arguments = ["judge", text(&share), "--files", text(&self.rest)];
            parts.push(into_file(
                &arguments,
                folder.join(format!("states{judge}.arrow")),
            ));
        }
        conclude(&parts)
    }

    /// Connections with packets here, as their addresses and ports tell them apart.
    fn connections(&self) -> usize {
        let ends = self.packets.iter().map(|row| {
            let (arrival, _) = Arrival::read(&row.bytes).expect("a packet");
            let packet = arrival.packet();
            let (from, to) = (packet.source(), packet.destination());
            let is_tcp = matches!(packet.kind, PacketKind::Tcp(_));
            (from.min(to), from.max(to), is_tcp)
        });
        ends.collect::<BTreeSet<_>>().len()
    }
}

/// The report of a process for each file, and of some that judge their share of the shards.
fn spread(captures: &[PathBuf], folder: &Path, judges: i32) -> String {
    segmented(captures, folder, &[]).judged(folder, judges)
}

/// What travels when each file is settled by a process of its own.
fn travelling(captures: &[PathBuf], folder: &Path) -> Segmented {
    let first = segmented(captures, folder, &["--heads"]);
    assert!(
        first.packets.is_empty(),
        "the first reading hands on nothing"
    );
    segmented(
        captures,
        folder,
        &["--settle", "--files", text(&first.rest)],
    )
}

#[test]
fn single_files_come_out_the_same() {
    let all = common::captures_with_truth().into_par_iter();
    all.for_each(|(capture, _)| {
        let folder = tempfile::tempdir().expect("a folder");
        let captures = [capture];
        let in_parts = in_a_row(&captures, folder.path());
        let one = whole(&captures);
        must_be_equal(&one, &in_parts, text(&captures[0]));
        must_be_equal(&one, &settled(&captures, folder.path()), text(&captures[0]));
    });
}

#[test]
fn what_captures_say_of_packets_travels_with_them() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["ptcpdump.pcapng", "f5-old.pcap", "multipath-reset.pcap"] {
        let captures = [common::root().join("testdata/marked").join(name)];
        let in_parts = in_a_row(&captures, folder.path());
        must_be_equal(&whole(&captures), &in_parts, name);
        // What is cut off payloads is not cut off that.
        let rows = ["segment", "--snap", "40", text(&captures[0])];
        let rows = into_file(&rows, folder.path().join("cut.arrow"));
        let states = into_file(
            &["judge", text(&rows)],
            folder.path().join("cut-states.arrow"),
        );
        let cut = conclude(&[states]);
        assert!(
            cut.contains("\"proxied_to\"")
                || cut.contains("\"stated\"")
                || cut.contains("\"process\""),
            "{name}"
        );
    }
}

#[test]
fn a_ring_comes_out_the_same_however_it_is_spread() {
    let folder = tempfile::tempdir().expect("a folder");
    let captures = rotated::ring(folder.path(), 60);
    let one = whole(&captures);
    assert!(
        one.contains("\"rule\": \"http-error\""),
        "the ring has findings"
    );
    must_be_equal(&one, &in_a_row(&captures, folder.path()), "in a row");
    let all = segmented(&captures, folder.path(), &[]);
    for judges in [1, 3, 32] {
        let spread = all.judged(folder.path(), judges);
        must_be_equal(&one, &spread, &format!("{judges} judges"));
    }
    must_be_equal(&one, &settled(&captures, folder.path()), "settled in a row");
    let border = travelling(&captures, folder.path());
    must_be_equal(&one, &border.judged(folder.path(), 3), "settled and spread");
    let share = border.connections() as f64 / all.connections() as f64;
    println!("{:.1} % of the connections travel", share * 100.0);
    assert!(share <= 0.15, "{share} of the connections travel");
}

/// Files between which everything crosses that can: ports used again soon and after hours, packets behind
/// the end of their connection, an ICMP error behind its datagram, a flood of SYNs.
fn crossing(folder: &Path) -> Vec<PathBuf> {
    const SERVER: (&str, u16) = ("192.0.2.10", 8080);
    let client = |port: u16| ("198.51.100.7", port);
    let mut capture = Capture::new();
    let mut files = Vec::new();
    let mut next = |capture: &mut Capture, wait_ms: u64| {
        let path = folder.join(format!("crossing_{}.pcap", files.len()));
        fs::write(&path, capture.next_file()).expect("a writable folder");
        files.push(path);
        capture.wait_ms(wait_ms);
        files.clone()
    };
    let open = |capture: &mut Capture, port: u16, number: u32| {
        capture.tcp(client(port), SERVER, SYN, number, 0, b"");
        capture.tcp(SERVER, client(port), SYN | ACK, 500, number + 1, b"");
        capture.tcp(
            client(port),
            SERVER,
            ACK,
            number + 1,
            501,
            b"GET / HTTP/1.1\r\n\r\n",
        );
    };
    let close = |capture: &mut Capture, port: u16, number: u32| {
        capture.tcp(client(port), SERVER, FIN | ACK, number + 19, 501, b"");
        capture.tcp(SERVER, client(port), FIN | ACK, 501, number + 20, b"");
        capture.tcp(client(port), SERVER, ACK, number + 20, 502, b"");
    };
    for port in 2_000..2_006 {
        open(&mut capture, port, 100);
    }
    close(&mut capture, 2_000, 100);
    close(&mut capture, 2_001, 100);
    capture.tcp(SERVER, client(2_002), RST, 501, 0, b"");
    close(&mut capture, 2_004, 100);
    capture.udp(client(3_000), ("192.0.2.10", 4_000), b"anybody there?");
    next(&mut capture, 400);
    // The same ports again, a FIN again, data after a RST, an error that quotes what was sent before.
    open(&mut capture, 2_000, 90_000);
    capture.tcp(SERVER, client(2_001), FIN | ACK, 501, 120, b"");
    capture.tcp(client(2_002), SERVER, ACK, 119, 501, b"more");
    capture.port_unreachable(client(3_000), ("192.0.2.10", 4_000));
    capture.wait_ms(20_000);
    capture.tcp(client(2_002), SERVER, ACK, 123, 501, b"and more");
    capture.tcp(SERVER, client(2_001), FIN | ACK, 501, 120, b"");
    next(&mut capture, 5_000);
    open(&mut capture, 2_004, 70_000);
    capture.tcp(
        SERVER,
        client(2_003),
        PSH | ACK,
        501,
        119,
        b"HTTP/1.1 500 No\r\n\r\n",
    );
    next(&mut capture, 8_000_000);
    // After two hours it is another connection, whoever has seen the one before.
    open(&mut capture, 2_005, 100);
    capture.tcp(client(2_003), SERVER, ACK, 119, 525, b"still there?");
    let mut crossed = Vec::new();
    for file in 0..3 {
        for number in 0..2_500_u16 {
            let host = format!("198.51.{}.{}", 101 + number % 100, 1 + file);
            capture.tcp(
                (&host, 10_000 + number),
                ("192.0.2.99", 443),
                SYN,
                7,
                0,
                b"",
            );
        }
        open(&mut capture, 5_000 + file, 100);
        crossed = next(&mut capture, 300);
    }
    crossed
}

#[test]
fn what_crosses_the_borders_of_files_comes_out_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let captures = crossing(folder.path());
    let one = whole(&captures);
    must_be_equal(&one, &in_a_row(&captures, folder.path()), "in a row");
    must_be_equal(&one, &settled(&captures, folder.path()), "settled");
    let border = travelling(&captures, folder.path());
    must_be_equal(&one, &border.judged(folder.path(), 2), "settled and spread");
}

#[test]
fn files_that_cannot_be_read_cost_nothing_but_themselves() {
    let folder = tempfile::tempdir().expect("a folder");
    let captures = rotated::ring(folder.path(), 8);
    fs::write(&captures[3], "no capture at all").expect("a writable folder");
    fs::remove_file(&captures[5]).expect("it was written");
    let cut = fs::read(&captures[6]).expect("it was written");
    fs::write(&captures[6], &cut[..cut.len() / 2]).expect("a writable folder");
    let one = whole(&captures);
    assert!(one.contains("not read: "), "the report names them");
    must_be_equal(&one, &in_a_row(&captures, folder.path()), "in a row");
    must_be_equal(&one, &spread(&captures, folder.path(), 2), "spread");
    must_be_equal(&one, &settled(&captures, folder.path()), "settled");
    let border = travelling(&captures, folder.path());
    must_be_equal(&one, &border.judged(folder.path(), 2), "settled and spread");
}

#[test]
fn rows_of_a_dataset_come_out_the_same() {
    const TABLES: [(&str, &str); 7] = [
        (
            "connections",
            "first_frame, last_frame, client, server, close, packets, bytes, response_max_ms",
        ),
        (
            "requests",
            "first_frame, request_frame, target, status, response_ms",
        ),
        ("dns", "first_frame, asked_frame, name, answered"),
        (
            "findings",
            "finding, rule, severity, occurrences, capture_set",
        ),
        ("evidence", "finding, rule, frame, note"),
        (
            "intervals",
            "start_time, opened, failed, client_established",
        ),
        (
            "captures",
            "capture_set, packets, tcp_connections, findings",
        ),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let captures = rotated::ring(folder, 6);
    let one = folder.join("one");
    let mut arguments = vec!["analyze", "-f", "parquet", "-o", text(&one)];
    arguments.extend(captures.iter().map(|path| text(path)));
    output_of(&arguments);
    let parted = folder.join("parted");
    let rows = ["--rows", text(&parted), "--set", "ring_00000"];
    let mut arguments = vec!["segment", "--settle"];
    arguments.extend(rows);
    arguments.extend(captures.iter().map(|path| text(path)));
    let packets = into_file(&arguments, folder.join("rows.arrow"));
    let arguments = [&["judge", text(&packets)], &rows[..]].concat();
    let states = into_file(&arguments, folder.join("states.arrow"));
    let arguments = [
        &["conclude", text(&states), "-f", "json", "-o", "-"],
        &rows[..],
    ]
    .concat();
    output_of(&arguments);
    for (table, columns) in TABLES {
        let all = format!("SELECT {columns} FROM {table} ORDER BY {columns}");
        let of = |dataset: &Path| {
            let rows = output_of(&["query", "-f", "csv", text(dataset), &all]);
            String::from_utf8(rows).expect("UTF-8")
        };
        assert!(of(&one).lines().count() > 1, "{table} has rows");
        must_be_equal(&of(&one), &of(&parted), table);
    }
}

/// What a command says when it refuses its input.
fn refusal(arguments: &[&str]) -> String {
    let output: Result<_, _> = Command::output(common::pcapdoc(arguments).stdin(Stdio::null()));
    let output = output.expect("the program starts");
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(told.trim_end().lines().count(), 1, "{told}");
    told
}

#[test]
fn rows_that_do_not_fit_are_refused_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let captures = rotated::ring(folder, 2);
    let rows = into_file(&["segment", text(&captures[0])], folder.join("rows.arrow"));
    let told = refusal(&["judge", text(&rows), "--host", "192.0.2.10"]);
    assert!(told.contains("with other options"), "{told}");
    let told = refusal(&["judge", text(&rows), "--files", text(&rows)]);
    assert!(told.contains("not sorted by shard"), "{told}");
    let heads = into_file(
        &["segment", "--heads", text(&captures[0])],
        folder.join("heads.arrow"),
    );
    let capture = text(&captures[1]);
    let told = refusal(&[
        "segment",
        "--settle",
        "--files",
        text(&heads),
        "--source",
        "1",
        capture,
    ]);
    assert!(
        told.contains("file 1 is not among those of --files"),
        "{told}"
    );
    let told = refusal(&["segment", "--files", text(&heads), "--settle", capture]);
    assert!(told.contains("changed between its two readings"), "{told}");
    let told = refusal(&["segment", "--settle", "-"]);
    assert!(told.contains("--settle reads captures twice"), "{told}");
    let told = refusal(&["judge", text(&captures[0])]);
    assert!(told.contains("no stream of rows"), "{told}");
    let whole = fs::read(&rows).expect("it was written");
    let cut = folder.join("cut.arrow");
    fs::write(&cut, &whole[..whole.len() - 8]).expect("a writable folder");
    let told = refusal(&["judge", text(&cut)]);
    assert!(told.contains("ends before its end"), "{told}");
    // The same bytes as if an older version had written them.
    let mark = b"pcapdoc:";
    let states = into_file(&["judge", text(&rows)], folder.join("states.arrow"));
    let mut older = fs::read(&states).expect("it was written");
    let places: Vec<usize> = (0..older.len())
        .filter(|at| older[*at..].starts_with(mark))
        .collect();
    for at in places {
        older[at + mark.len() + 1] = b'0';
    }
    fs::write(&states, older).expect("a writable folder");
    let told = refusal(&["conclude", text(&states), "-f", "json", "-o", "-"]);
    assert!(told.contains("another version of pcapdoc"), "{told}");
}
