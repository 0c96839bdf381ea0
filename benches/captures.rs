//! Makes the large captures that `compare` runs on; benches/README.md says how.
//!
//! `small`, `flood` and `pipe` are generated. `multiply` repeats a recorded capture with other
//! client addresses, one copy after the other in time, so that every copy is new connections.
//! `archive` cuts a capture into many.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const PUSH_ACK: u8 = 0x18;
const FIN_ACK: u8 = 0x11;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// First second of generated captures.
const START: u64 = 1_700_000_000;

/// Length of a pcap file header and of a record header.
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;

const USAGE: &str = "usage: captures small|flood FILE
       captures pipe SECONDS > PIPE
       captures multiply COPIES BASE FILE
       captures archive BASE FOLDER WHOLE";

/// Captures of an archive that can be read, the broken ones beside them, and the octets of each.
const READABLE: u32 = 195;
const BROKEN: u32 = 5;
const ARCHIVED_BYTES: usize = 5_000_000;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["small", file] => small(&mut Capture::create(Path::new(file))?),
        ["flood", file] => flood(&mut Capture::create(Path::new(file))?),
        ["pipe", seconds] => {
            let seconds = seconds.parse().map_err(io::Error::other)?;
            let out = Box::new(io::stdout());
            pipe(&mut Capture::new(out, 262_144)?, seconds)
        }
        ["multiply", copies, base, file] => {
            let copies = copies.parse().map_err(io::Error::other)?;
            multiply(copies, Path::new(base), Path::new(file))
        }
        ["archive", base, folder, whole] => {
            archive(Path::new(base), Path::new(folder), Path::new(whole))
        }
        _ => {
            println!("{USAGE}");
            Ok(())
        }
    }
}

/// Short web connections and name look-ups, cut at 96 bytes: 9 M frames, 680,000 flows, 300 s.
fn small(capture: &mut Capture) -> io::Result<()> {
    capture.snaplen = 96;
    let duration = 300_000_000_u64;
    let mut flows = Flows::default();
    let mut dice = Dice(7);
    for number in 0..305_000_u32 {
        let start = dice.below(duration);
        flows.add(start, Flow::web(number, 5_000 + dice.below(200_000), 10));
    }
    for number in 0..375_000_u32 {
        flows.add(dice.below(duration), Flow::name(number));
    }
    flows.run(capture)
}

/// Five million SYNs from as many addresses to one port, 50 s.
fn flood(capture: &mut Capture) -> io::Result<()> {
    let mut dice = Dice(3);
    for number in 0..5_000_000_u64 {
        let random = dice.next();
        let packet = Packet {
            protocol: TCP,
            from: (
                [11, random as u8, (random >> 8) as u8, (random >> 16) as u8],
                (random >> 24) as u16 | 1,
            ),
            to: ([10, 0, 0, 2], 443),
            seq: (random >> 32) as u32,
            ack: 0,
            flags: SYN,
            options: &[2, 4, 5, 0xb4],
            id: random as u16,
            payload: &[],
            len: 0,
        };
        capture.packet(number * 10, &packet)?;
    }
    capture.out.flush()
}

/// 13,600 new connections in every second of capture time.
fn pipe(capture: &mut Capture, seconds: u64) -> io::Result<()> {
    let mut number = 0_u32;
    let mut flows = Flows::default();
    for second in 0..seconds {
        for at in 0..13_600_u64 {
            flows.add(
                second * 1_000_000 + at * 1_000_000 / 13_600,
                Flow::web(number, 20_000, 1),
            );
            number += 1;
        }
        flows.run_until((second + 1) * 1_000_000, capture)?;
    }
    flows.run(capture)
}

/// Copies of a recorded capture, the second octet of 10.x.y.z addresses telling them apart.
fn multiply(copies: u8, base: &Path, file: &Path) -> io::Result<()> {
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
fn archive(base: &Path, folder: &Path, whole: &Path) -> io::Result<()> {
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

/// A small generator of numbers that are alike in every run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// One flow and how far it is.
struct Flow {
    number: u32,
    web: bool,
    step: u32,
    /// Microseconds between exchanges.
    pause: u64,
    exchanges: u32,
    client: u32,
    server: u32,
}

impl Flow {
    /// An HTTP connection.
    fn web(number: u32, pause: u64, exchanges: u32) -> Self {
        Self {
            number,
            web: true,
            step: 0,
            pause,
            exchanges,
            client: number.wrapping_mul(7_919),
            server: number.wrapping_mul(104_729),
        }
    }

    /// A DNS question.
    fn name(number: u32) -> Self {
        Self {
            number,
            web: false,
            step: 0,
            pause: 0,
            exchanges: 1,
            client: 0,
            server: 0,
        }
    }

    fn client_end(&self) -> ([u8; 4], u16) {
        let number = self.number;
        let port = 32_768 + (number % 28_000) as u16;
        let host = number / 28_000;
        (
            [
                10,
                if self.web { 1 } else { 2 },
                (host >> 8) as u8,
                host as u8,
            ],
            port,
        )
    }

    /// Writes the next packet; gives the time until the one after it.
    fn advance(&mut self, time: u64, capture: &mut Capture) -> io::Result<Option<u64>> {
        if self.web {
            self.web_step(time, capture)
        } else {
            self.name_step(time, capture)
        }
    }

    fn web_step(&mut self, time: u64, capture: &mut Capture) -> io::Result<Option<u64>> {
        let body = self.exchanges * 2;
        let step = self.step;
        self.step += 1;
        let (from_client, flags, payload, wait): (bool, u8, &[u8], u64) = match step {
            0 => (true, SYN, b"", 300),
            1 => (false, SYN | ACK, b"", 40),
            2 => (true, ACK, b"", 20),
            _ if step < 3 + body && (step - 3).is_multiple_of(2) => (
                true,
                PUSH_ACK,
                b"GET /cart/items?page=2 HTTP/1.1\r\nHost: shop.example\r\nAccept: */*\r\n\r\n",
                900,
            ),
            _ if step < 3 + body => (
                false,
                PUSH_ACK,
                b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 40\r\n\r\n{\"items\":[1,2,3,4,5,6,7,8,9,10,11,12,13]}"
                    .split_at(95)
                    .0,
                self.pause,
            ),
            _ => match step - 3 - body {
                0 => (true, FIN_ACK, b"", 300),
                1 => (false, FIN_ACK, b"", 40),
                _ => (true, ACK, b"", 0),
            },
        };
        let (client, server) = (
            self.client_end(),
            ([10, 9, 0, (self.number % 16) as u8], 80),
        );
        let (from, to) = if from_client {
            (client, server)
        } else {
            (server, client)
        };
        let (seq, ack) = if from_client {
            (self.client, self.server)
        } else {
            (self.server, self.client)
        };
        let used = payload.len() as u32 + u32::from(flags & 3 != 0);
        *(if from_client {
            &mut self.client
        } else {
            &mut self.server
        }) = seq.wrapping_add(used);
        let mut options = [
            2, 4, 5, 0xb4, 1, 3, 3, 7, 1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        let stamp = (time / 1000) as u32;
        options[12..16].copy_from_slice(&stamp.to_be_bytes());
        options[16..20].copy_from_slice(&(if flags == SYN { 0 } else { stamp }).to_be_bytes());
        let options = if flags & SYN != 0 {
            &options[..]
        } else {
            &options[8..]
        };
        let ack = if flags & ACK != 0 { ack } else { 0 };
        let packet = Packet {
            protocol: TCP,
            from,
            to,
            seq,
            ack,
            flags,
            options,
            id: step as u16 + 1,
            payload,
            len: payload.len(),
        };
        capture.packet(time, &packet)?;
        Ok((wait > 0).then_some(wait))
    }

    fn name_step(&mut self, time: u64, capture: &mut Capture) -> io::Result<Option<u64>> {
        let step = self.step;
        self.step += 1;
        let mut message = vec![
            (self.number >> 8) as u8,
            self.number as u8,
            1,
            0,
            0,
            1,
            0,
            0,
            0,
            0,
            0,
            0,
        ];
        message.extend(b"\x03api\x04shop\x07example\0\0\x01\0\x01");
        let (client, server) = (self.client_end(), ([10, 9, 1, 53], 53));
        let (from, to) = if step == 0 {
            (client, server)
        } else {
            message[2] = 0x81;
            message[3] = 0x80;
            message[7] = 1;
            message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
            (server, client)
        };
        let packet = Packet {
            protocol: UDP,
            from,
            to,
            seq: 0,
            ack: 0,
            flags: 0,
            options: &[],
            id: self.number as u16,
            payload: &message,
            len: message.len(),
        };
        capture.packet(time, &packet)?;
        Ok((step == 0).then_some(2_000))
    }
}

/// Flows in the order of their next packets.
#[derive(Default)]
struct Flows {
    all: Vec<Option<Flow>>,
    free: Vec<usize>,
    next: BinaryHeap<Reverse<(u64, usize)>>,
}

impl Flows {
    fn add(&mut self, time: u64, flow: Flow) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.all.push(None);
            self.all.len() - 1
        });
        self.all[place] = Some(flow);
        self.next.push(Reverse((time, place)));
    }

    fn run_until(&mut self, end: u64, capture: &mut Capture) -> io::Result<()> {
        while let Some(&Reverse((time, place))) = self.next.peek() {
            if time >= end {
                return Ok(());
            }
            self.next.pop();
            let Some(flow) = &mut self.all[place] else {
                continue;
            };
            match flow.advance(time, capture)? {
                Some(wait) => self.next.push(Reverse((time + wait, place))),
                None => {
                    self.all[place] = None;
                    self.free.push(place);
                }
            }
        }
        Ok(())
    }

    fn run(&mut self, capture: &mut Capture) -> io::Result<()> {
        self.run_until(u64::MAX, capture)?;
        capture.out.flush()
    }
}

struct Packet<'a> {
    protocol: u8,
    from: ([u8; 4], u16),
    to: ([u8; 4], u16),
    seq: u32,
    ack: u32,
    flags: u8,
    options: &'a [u8],
    id: u16,
    payload: &'a [u8],
    len: usize,
}

struct Capture {
    out: BufWriter<Box<dyn Write>>,
    snaplen: usize,
    record: Vec<u8>,
}

impl Capture {
    fn create(path: &Path) -> io::Result<Self> {
        Self::new(Box::new(File::create(path)?), 262_144)
    }

    fn new(out: Box<dyn Write>, snaplen: usize) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(1 << 20, out);
        for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1] {
            out.write_all(&word.to_le_bytes())?;
        }
        Ok(Self {
            out,
            snaplen,
            record: Vec::new(),
        })
    }

    /// One frame at `time` microseconds after the start.
    fn packet(&mut self, time: u64, packet: &Packet<'_>) -> io::Result<()> {
        let record = &mut self.record;
        record.clear();
        record.extend([0; RECORD_HEADER]);
        record.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
        let transport = if packet.protocol == TCP {
            20 + packet.options.len()
        } else {
            8
        };
        let total = (20 + transport + packet.len) as u16;
        record.extend([0x45, 0]);
        record.extend(total.to_be_bytes());
        record.extend(packet.id.to_be_bytes());
        record.extend([0x40, 0, 64, packet.protocol, 0, 0]);
        record.extend(packet.from.0);
        record.extend(packet.to.0);
        record.extend(packet.from.1.to_be_bytes());
        record.extend(packet.to.1.to_be_bytes());
        if packet.protocol == TCP {
            record.extend(packet.seq.to_be_bytes());
            record.extend(packet.ack.to_be_bytes());
            record.extend([
                (transport as u8 / 4) << 4,
                packet.flags,
                0xfa,
                0xf0,
                0,
                0,
                0,
                0,
            ]);
            record.extend(packet.options);
        } else {
            record.extend((8 + packet.len as u16).to_be_bytes());
            record.extend([0, 0]);
        }
        record.extend(packet.payload);
        let original = record.len() - RECORD_HEADER;
        record.truncate(RECORD_HEADER + original.min(self.snaplen));
        let captured = record.len() - RECORD_HEADER;
        let words = [
            START + time / 1_000_000,
            time % 1_000_000,
            captured as u64,
            original as u64,
        ];
        for (at, word) in words.iter().enumerate() {
            record[at * 4..at * 4 + 4].copy_from_slice(&(*word as u32).to_le_bytes());
        }
        self.out.write_all(record)
    }
}
