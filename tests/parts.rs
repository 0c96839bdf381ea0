//! `segment`, `judge` and `conclude` give the report of `analyze`, octet for octet, also when each file
//! and each shard is taken by a process of its own.

mod common;
mod packets;
mod rotated;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use polars_arrow::array::{Array, BinaryArray, PrimitiveArray};
use polars_arrow::datatypes::ArrowSchema;
use polars_arrow::io::ipc::read::{StreamReader, StreamState, read_stream_metadata};
use polars_arrow::io::ipc::write::{StreamWriter, WriteOptions};
use polars_arrow::record_batch::RecordBatchT;

use rotated::{must_be_equal, report};

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

/// The report of a process for each file, and of some that judge their share of the shards.
fn spread(captures: &[PathBuf], folder: &Path, judges: i32) -> String {
    let mut rows = Vec::new();
    let mut schema = None;
    // The last file first: nothing depends on who is ready when.
    for (number, capture) in captures.iter().enumerate().rev() {
        let number = number.to_string();
        let arguments = ["segment", "--source", &number, text(capture)];
        let of_file = into_file(&arguments, folder.join("file.arrow"));
        schema = Some(rows_of(&of_file, &mut rows));
    }
    let schema = schema.expect("there are files");
    let (mut packets, files): (Vec<Row>, Vec<Row>) =
        rows.into_iter().partition(|row| row.kind() == 0);
    packets.sort_by_key(Row::order);
    let files = write_rows(&files, &schema, folder.join("files.arrow"));
    let mut parts = vec![files.clone()];
    for judge in 0..judges {
        let share = packets.iter().filter(|row| row.shard() % judges == judge);
        let share: Vec<Row> = share.cloned().collect();
        let share = write_rows(&share, &schema, folder.join("share.arrow"));
        let arguments = ["judge", text(&share), "--files", text(&files)];
        parts.push(into_file(
            &arguments,
            folder.join(format!("states{judge}.arrow")),
        ));
    }
    conclude(&parts)
}

#[test]
fn single_files_come_out_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    for (capture, _) in common::captures_with_truth() {
        let captures = [capture];
        let in_parts = in_a_row(&captures, folder.path());
        must_be_equal(&whole(&captures), &in_parts, text(&captures[0]));
    }
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
    for judges in [1, 3, 32] {
        let spread = spread(&captures, folder.path(), judges);
        must_be_equal(&one, &spread, &format!("{judges} judges"));
    }
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
