//! Frames cut at every octet, as snap lengths do: whatever header the cut falls into, nothing
//! panics, and what was found says that something is missing.

use std::path::Path;

use pcapdoc_analyzer::capture::{CaptureReader, Frame, Input, Interface, ReadOptions, Slab};
use pcapdoc_analyzer::decode::{DecodeStop, DecodedSlab, Packet, PacketKind, decode_slab};

/// A frame with its octets.
type Record = (Frame, Vec<u8>);

/// The frames of a capture; nothing where it cannot be read.
fn records(path: &Path) -> Option<(Vec<Interface>, Vec<Record>)> {
    let inputs = [Input::Path(path.to_owned())];
    let mut reader = CaptureReader::open(&inputs, ReadOptions::default()).ok()?;
    let (mut slab, mut records) = (Slab::default(), Vec::new());
    while reader.read_slab(&mut slab).expect("damage is a note") {
        let record = |frame: &Frame| (*frame, slab.data(frame).to_vec());
        records.extend(slab.frames.iter().map(record));
    }
    Some((reader.interfaces().to_vec(), records))
}

/// Decodes a frame of which `captured` and no more was captured, of `original` octets.
fn decode(record: &Record, captured: usize, original: u32, of: &[Interface]) -> DecodedSlab {
    let frame = Frame {
        start: 0,
        captured_len: u32::try_from(captured).expect("a small frame"),
        original_len: original,
        ..record.0
    };
    let slab = Slab {
        bytes: record.1[..captured].to_vec(),
        frames: vec![frame],
        ..Slab::default()
    };
    let mut found = DecodedSlab::default();
    decode_slab(&slab, of, &mut found);
    for packet in &found.packets {
        let end = packet.payload_start + packet.payload_captured;
        assert!(packet.payload_captured <= packet.payload_len);
        assert!(end as usize <= captured);
    }
    found
}

/// Whether what was found says that something is missing.
fn says_cut(found: &DecodedSlab) -> bool {
    let packet_cut = |packet: &Packet| match packet.kind {
        PacketKind::Tcp(tcp) => packet.is_cut() || tcp.options_cut || tcp.window_cut,
        PacketKind::Udp => packet.is_cut(),
        PacketKind::IcmpError { icmp, .. } => icmp.quoted_seq.is_none(),
    };
    let stops = &found.stats.stops;
    stops.keys().any(|stop| matches!(stop, DecodeStop::Cut(_)))
        || found.packets.iter().any(packet_cut)
        || found.fragments.iter().any(|one| one.captured < one.len)
}

/// Whether the same was found: the cut fell behind what is decoded, into padding or a trailer, or
/// into the checksum before an empty payload, of which only the place differs then.
fn agree(one: &DecodedSlab, other: &DecodedSlab) -> bool {
    let packets = |found: &DecodedSlab| {
        let mut packets = found.packets.clone();
        let empty = packets.iter_mut().filter(|packet| packet.payload_len == 0);
        empty.for_each(|packet| packet.payload_start = 0);
        packets
    };
    packets(one) == packets(other) && one.stats.stops == other.stats.stops
}

#[test]
fn a_cut_anywhere_is_told() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/formats");
    let (mut cuts, mut silent) = (0, Vec::new());
    for entry in std::fs::read_dir(folder).expect("the captures") {
        let path = entry.expect("an entry").path();
        let Some((interfaces, records)) = records(&path) else {
            continue;
        };
        for record in records {
            let original = record.0.original_len;
            let whole = decode(&record, record.1.len(), original, &interfaces);
            for captured in 0..record.1.len() {
                let cut = decode(&record, captured, original, &interfaces);
                if !says_cut(&cut) && !agree(&cut, &whole) {
                    let (name, frame) = (path.display(), record.0.number);
                    let stops = &cut.stats.stops;
                    silent.push(format!("{name}: frame {frame} at {captured}: {stops:?}"));
                }
                // The same octets as if there had been no more: malformed, perhaps.
                let original = u32::try_from(captured).expect("a small frame");
                decode(&record, captured, original, &interfaces);
                cuts += 1;
            }
        }
    }
    assert!(cuts > 100_000, "{cuts}");
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}

/// Reads and decodes what a file may hold beside its packets; gives how many remarks there are.
fn remarks(path: &Path) -> usize {
    let inputs = [Input::Path(path.to_owned())];
    let Ok(mut reader) = CaptureReader::open(&inputs, ReadOptions::default()) else {
        return 0;
    };
    let (mut slab, mut found) = (Slab::default(), DecodedSlab::default());
    let mut all = 0;
    while reader.read_slab(&mut slab).expect("damage is a note") {
        decode_slab(&slab, reader.interfaces(), &mut found);
        let frames = found.remarks.iter().map(|remark| remark.frame);
        assert!(frames.is_sorted());
        all += found.remarks.len();
    }
    all
}

#[test]
fn no_octet_of_a_mark_can_be_wrong_enough() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/marked");
    let lying = std::env::temp_dir().join(format!("pcapdoc-lying-{}", std::process::id()));
    let mut files = 0;
    for entry in std::fs::read_dir(folder).expect("the captures") {
        let path = entry.expect("an entry").path();
        let whole = std::fs::read(&path).expect("a file");
        assert!(remarks(&path) > 0, "{}", path.display());
        files += 1;
        // What stands before the packets, and the first of them.
        for at in 0..whole.len().min(900) {
            for wrong in [0, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = wrong;
                std::fs::write(&lying, bytes).expect("a temporary file");
                let _ = remarks(&lying);
            }
        }
    }
    let _ = std::fs::remove_file(lying);
    assert!(files >= 10);
}
