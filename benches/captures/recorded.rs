//! Captures made of recorded ones.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::frames::{FILE_HEADER, RECORD_HEADER};

/// Captures of an archive that can be read, the broken ones beside them, and the octets of each.
const READABLE: u32 = 195;
const BROKEN: u32 = 5;
const ARCHIVED_BYTES: usize = 5_000_000;

/// Copies of a recorded capture, the second octet of 10.x.y.z addresses telling them apart.
pub fn multiply(copies: u8, base: &Path, file: &Path) -> io::Result<()> {
    let mut bytes = Vec::new();
    File::open(base)?.read_to_end(&mut bytes)?;
    let word =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let nanos = match word(0) {
        0xa1b2_c3d4 => 1_000_000,
        0xa1b2_3c4d => 1_000_000_000_u64,
        _ => return Err(io::Error::other("multiply takes a little-endian pcap file")),
    };
    let mut records = Vec::new();
    let mut at = FILE_HEADER;
    while at + RECORD_HEADER <= bytes.len() {
        let end = at + RECORD_HEADER + word(at + 8) as usize;
        if end > bytes.len() {
            break;
        }
        let time = u64::from(word(at)) * nanos + u64::from(word(at + 4));
        records.push((time, at..end));
        at = end;
    }
    let span = records.last().map_or(0, |last| last.0 - records[0].0) + nanos / 100;
    let mut out = BufWriter::with_capacity(1 << 20, File::create(file)?);
    out.write_all(&bytes[..FILE_HEADER])?;
    let mut record = Vec::new();
    for copy in 0..copies {
        for (time, range) in &records {
            record.clear();
            record.extend_from_slice(&bytes[range.clone()]);
            let time = time + span * u64::from(copy);
            record[..4].copy_from_slice(&((time / nanos) as u32).to_le_bytes());
            record[4..8].copy_from_slice(&((time % nanos) as u32).to_le_bytes());
            for address in [26, 30] {
                let address = RECORD_HEADER + address;
                if record.len() > address + 4 && record[address] == 10 {
                    record[address + 1] = record[address + 1].wrapping_add(copy);
                }
            }
            out.write_all(&record)?;
        }
    }
    out.flush()
}

/// The beginning of a recorded capture as an archive of many hosts, and as one file: every second
/// capture is gz, every fourth of the others zst, and five are broken.
pub fn archive(base: &Path, folder: &Path, whole: &Path) -> io::Result<()> {
    let mut base = BufReader::with_capacity(1 << 20, File::open(base)?);
    let mut header = [0; FILE_HEADER];
    base.read_exact(&mut header)?;
    let mut whole = BufWriter::with_capacity(1 << 20, File::create(whole)?);
    whole.write_all(&header)?;
    std::fs::create_dir_all(folder)?;
    let mut records = Vec::new();
    for number in 1..=READABLE {
        records.clear();
        while records.len() < ARCHIVED_BYTES {
            let at = records.len();
            records.resize(at + RECORD_HEADER, 0);
            base.read_exact(&mut records[at..])?;
            let len = [8, 9, 10, 11].map(|byte| records[at + byte]);
            let end = records.len() + u32::from_le_bytes(len) as usize;
            records.resize(end, 0);
            base.read_exact(&mut records[at + RECORD_HEADER..])?;
        }
        whole.write_all(&records)?;
        let name = folder.join(format!("host{number}.pcap"));
        if number % 2 == 0 {
            let file = File::create(name.with_extension("pcap.gz"))?;
            let mut gz = GzEncoder::new(file, Compression::default());
            gz.write_all(&header)?;
            gz.write_all(&records)?;
            gz.finish()?;
        } else if number % 8 == 7 {
            let file = File::create(name.with_extension("pcap.zst"))?;
            let mut zst = zstd::Encoder::new(file, 0)?;
            zst.write_all(&header)?;
            zst.write_all(&records)?;
            zst.finish()?;
        } else {
            let mut file = File::create(name)?;
            file.write_all(&header)?;
            file.write_all(&records)?;
        }
    }
    for number in 1..=BROKEN {
        let name = folder.join(format!("broken{number}.pcap"));
        std::fs::write(name, &[7; 3000][..100 * (number as usize - 1)])?;
    }
    whole.flush()
}
