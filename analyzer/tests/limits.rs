//! Files that lie about lengths and counts, and bombs: bounded, and told.

use std::io::Write;
use std::path::PathBuf;

use pcapdoc_analyzer::QualityKind;
use pcapdoc_analyzer::capture::{CaptureReader, Input, ReadOptions, Slab};

/// The header of a little-endian pcap file of bare IPv4 packets.
const PCAP: [u8; 24] = [
    0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 228, 0, 0, 0,
];

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(4), 0);
    let len = u32::try_from(body.len() + 12)
        .expect("a small block")
        .to_le_bytes();
    [&kind.to_le_bytes(), &len, &body[..], &len].concat()
}

fn section() -> Vec<u8> {
    let body = [
        &0x1a2b_3c4d_u32.to_le_bytes()[..],
        &[1, 0, 0, 0],
        &[0xff; 8],
    ]
    .concat();
    block(0x0a0d_0d0a, &body)
}

/// Reads a file to its end: frames, the largest slab, and the reader.
fn read(name: &str, bytes: &[u8], options: ReadOptions) -> (u64, usize, CaptureReader) {
    let path: PathBuf =
        std::env::temp_dir().join(format!("pcapdoc-limits-{name}-{}", std::process::id()));
    std::fs::write(&path, bytes).expect("a temporary file");
    let mut reader = CaptureReader::open(&[Input::Path(path.clone())], options).expect("a capture");
    let (mut slab, mut frames, mut largest) = (Slab::default(), 0, 0);
    while reader.read_slab(&mut slab).expect("damage is a note") {
        frames += slab.frames.len() as u64;
        largest = largest.max(slab.bytes.len());
    }
    largest = largest.max(slab.bytes.len());
    std::fs::remove_file(&path).expect("the file can go");
    (frames, largest, reader)
}

fn is_cut_short(reader: &CaptureReader) -> bool {
    let notes = reader.notes();
    notes.iter().any(|note| note.kind == QualityKind::CutShort)
}

#[test]
fn bombs_end_early_in_every_compression_that_can_make_one() {
    const INFLATED: usize = 64 << 20;
    let bound = ReadOptions {
        inflated_free_bytes: 4 << 20,
        ..ReadOptions::default()
    };
    let zeros = vec![0; INFLATED];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&PCAP).expect("memory takes it");
    gzip.write_all(&zeros).expect("memory takes it");
    let gzip = gzip.finish().expect("memory takes it");
    let all = [&PCAP[..], &zeros].concat();
    let zstd = zstd::encode_all(&all[..], 1).expect("memory takes it");
    for (name, bomb) in [("gzip", gzip), ("zstd", zstd)] {
        let (frames, largest, reader) = read(name, &bomb, bound.clone());
        // Records of zeros are sixteen bytes each.
        assert!(frames < (INFLATED / 16 / 2) as u64, "{name}: {frames}");
        assert!(largest <= 1 << 20, "{name}: {largest}");
        let notes = reader.notes();
        assert!(
            notes.iter().any(|note| note.note.contains("bomb")),
            "{notes:?}"
        );
    }
}

#[test]
fn lengths_that_files_claim_are_not_allocated() {
    let claims = |captured: u32| {
        let record = [0, 0, captured, captured].map(u32::to_le_bytes).concat();
        [&PCAP[..], &record].concat()
    };
    for captured in [262_144, 262_145, u32::MAX] {
        let (frames, largest, reader) = read("record", &claims(captured), ReadOptions::default());
        assert_eq!(frames, 0);
        assert!(largest <= 1 << 20, "{largest}");
        assert!(is_cut_short(&reader));
    }
    let mut file = section();
    file.extend([0x34, 0x12, 0, 0, 0, 0, 0, 1]);
    file.extend([0; 100]);
    let (_, largest, reader) = read("block", &file, ReadOptions::default());
    assert!(largest <= 1 << 20, "{largest}");
    assert!(is_cut_short(&reader));
}

#[test]
fn interfaces_and_comments_are_counted_out() {
    let mut file = section();
    let interface = block(1, &[1, 0, 0, 0, 0, 0, 0, 0]);
    file.extend(interface.repeat(70_000));
    let comment = [&[1, 0, 0x20, 0x4e][..], &[b'a'; 20_000], &[0; 4]].concat();
    let packet = [&[0; 20][..], &comment].concat();
    file.extend(block(6, &packet).repeat(1500));
    let (frames, _, reader) = read("counts", &file, ReadOptions::default());
    assert_eq!(frames, 1500);
    assert!(reader.interfaces().len() <= 65_536);
    let comments = reader.comments();
    assert_eq!(comments.len(), 1000);
    assert!(comments.iter().all(|comment| comment.text.len() == 4096));
}

/// A custom block that Wireshark gives up at: nothing of it is kept, and what follows is read.
#[test]
fn blocks_larger_than_any_that_is_read_are_passed_over() {
    let mut file = section();
    file.extend(block(1, &[1, 0, 0, 0, 0, 0, 0, 0]));
    let packet = block(6, &[0; 20]);
    file.extend_from_slice(&packet);
    let before = file.len();
    file.extend(block(0xbad, &vec![7; 20 << 20]));
    file.extend_from_slice(&packet);
    let (frames, largest, reader) = read("large", &file, ReadOptions::default());
    // Wireshark numbers custom blocks, too.
    assert_eq!(frames, 3);
    assert!(largest <= 1 << 20, "{largest}");
    let notes = reader.notes();
    assert!(
        notes[0].note.contains("skipped") && notes[0].note.contains(&before.to_string()),
        "{notes:?}"
    );
    // One that does not repeat its length, one that the end cuts, one without which packets would
    // be read wrongly.
    let wrong = [&file[..before], &block(0x9999, &vec![7; 20 << 20])].concat();
    let mut lies = wrong.clone();
    let end = lies.len();
    lies[end - 1] = 9;
    let mut interface = wrong.clone();
    interface[before] = 1;
    interface[before + 1] = 0;
    for (name, bytes) in [
        ("lies", &lies[..]),
        ("cut", &wrong[..end - 5]),
        ("early", &wrong[..before + 30]),
        ("interface", &interface[..]),
    ] {
        let (frames, largest, reader) = read(name, bytes, ReadOptions::default());
        assert_eq!(frames, 1, "{name}");
        assert!(largest <= 1 << 20, "{name}: {largest}");
        let notes = reader.notes();
        assert_eq!(notes.len(), 1, "{name}: {notes:?}");
        assert!(!notes[0].note.contains("skipped"), "{name}: {notes:?}");
        assert!(is_cut_short(&reader));
    }
}

/// A file that ends within its second record is no file with longer record headers.
#[test]
fn cut_files_keep_their_record_headers() {
    let record = |seconds: u32| {
        let header = [seconds, 0, 60, 60].map(u32::to_le_bytes).concat();
        [&header[..], &[0x45; 60]].concat()
    };
    let file = [&PCAP[..], &record(1_700_000_000), &record(1_700_000_001)].concat();
    for cut in 1..76 {
        if cut == 72 {
            // Four bytes left: just so would a file of one record with a longer header look.
            continue;
        }
        let (frames, _, reader) = read("second", &file[..file.len() - cut], ReadOptions::default());
        assert_eq!(frames, 1, "{cut} bytes cut");
        assert!(is_cut_short(&reader));
    }
}

/// AIX: numbers of RFC 1573 for link types, and nanoseconds, in version 2.2.
#[test]
fn files_of_aix_are_told_by_their_link_type() {
    for (network, link_type, nanos) in [
        (6, "ETHERNET", 5),
        (9, "IEEE802_5", 5),
        (1, "ETHERNET", 5000),
    ] {
        let mut file = PCAP.to_vec();
        (file[6], file[20]) = (2, network);
        file.extend([1_700_000_000, 5, 20, 20].map(u32::to_le_bytes).concat());
        file.extend([0; 20]);
        let (frames, _, reader) = read("aix", &file, ReadOptions::default());
        assert_eq!(frames, 1);
        let first = reader.files()[0].first.expect("a frame");
        assert_eq!(first.as_nanos() % 1_000_000_000, nanos);
        assert_eq!(reader.interfaces()[0].link_type.to_string(), link_type);
    }
}

/// Somebody cuts the file while it is read, as a full disk or a rotation does.
#[test]
fn a_file_that_shrinks_while_it_is_read_ends_there() {
    let record = |captured: u32| {
        let header = [1_700_000_000, 0, captured, captured].map(u32::to_le_bytes);
        [&header.concat()[..], &[0x45; 1000][..captured as usize]].concat()
    };
    let file = [&PCAP[..], &record(1000).repeat(4000)].concat();
    let path = std::env::temp_dir().join(format!("pcapdoc-shrinks-{}", std::process::id()));
    std::fs::write(&path, &file).expect("a temporary file");
    let inputs = [Input::Path(path.clone())];
    let mut reader = CaptureReader::open(&inputs, ReadOptions::default()).expect("a capture");
    let mut slab = Slab::default();
    assert!(reader.read_slab(&mut slab).expect("damage is a note"));
    let mut frames = slab.frames.len();
    let shrunk = std::fs::File::options().write(true).open(&path);
    // In the middle of a record that was not read yet.
    shrunk
        .expect("the file")
        .set_len(24 + 1016 * 2000 + 500)
        .expect("a shorter file");
    while reader.read_slab(&mut slab).expect("damage is a note") {
        frames += slab.frames.len();
    }
    std::fs::remove_file(&path).expect("the file can go");
    assert_eq!(frames, 2000);
    assert!(is_cut_short(&reader));
}
