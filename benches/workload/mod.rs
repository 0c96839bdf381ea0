//! The generated capture that benches read: clients that fetch pages, interleaved.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Connections in the capture.
const CONNECTIONS: u16 = 500;

/// Connections alive at once.
const ALIVE: u16 = 50;

/// Segments of one response.
const SEGMENTS: u32 = 40;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const PUSH_ACK: u8 = 0x18;
const FIN_ACK: u8 = 0x11;

/// A capture on disk, removed when dropped.
pub struct Workload {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Frames in it.
    pub frames: u64,
}

impl Workload {
    /// Writes it to the temporary folder.
    pub fn write() -> Self {
        let name = format!("pcapdoc-bench-{}.pcap", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut capture = Capture::new(&path);
        for first in (0..CONNECTIONS).step_by(usize::from(ALIVE)) {
            let connections: Vec<_> = (first..first + ALIVE).map(steps).collect();
            let longest = connections.iter().map(Vec::len).max().unwrap_or(0);
            for step in 0..longest {
                for segment in connections.iter().filter_map(|steps| steps.get(step)) {
                    capture.frame(segment);
                }
            }
        }
        let frames = capture.frames;
        capture.out.flush().expect("the capture can be written");
        let bytes = path.metadata().expect("the capture").len();
        Self {
            path,
            bytes,
            frames,
        }
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        // A temporary file that stays behind harms nobody.
        let _ = std::fs::remove_file(&self.path);
    }
}

struct Segment {
    port: u16,
    from_client: bool,
    flags: u8,
    seq: u32,
    ack: u32,
    payload: Vec<u8>,
}

/// Handshake, request, response with an acknowledgement of every second segment, close.
fn steps(number: u16) -> Vec<Segment> {
    let port = 20_000 + number;
    let (mut client, mut server) = (u32::from(number) * 7_919, u32::from(number) * 104_729);
    let mut steps = Vec::new();
    let mut send = |from_client: bool, flags: u8, payload: Vec<u8>| {
        let (seq, ack) = if from_client {
            (client, server)
        } else {
            (server, client)
        };
        let used = u32::try_from(payload.len()).expect("a segment") + u32::from(flags & 0x03 != 0);
        if from_client {
            client = client.wrapping_add(used);
        } else {
            server = server.wrapping_add(used);
        }
        let ack = if flags & ACK == 0 { 0 } else { ack };
        steps.push(Segment {
            port,
            from_client,
            flags,
            seq,
            ack,
            payload,
        });
    };
    send(true, SYN, Vec::new());
    send(false, SYN | ACK, Vec::new());
    send(true, ACK, Vec::new());
    send(
        true,
        PUSH_ACK,
        b"GET /page HTTP/1.1\r\nHost: shop.example\r\n\r\n".to_vec(),
    );
    let length = SEGMENTS * 1448;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    send(false, PUSH_ACK, head.into_bytes());
    for segment in 0..SEGMENTS {
        send(false, PUSH_ACK, vec![b'x'; 1448]);
        if segment % 2 == 1 {
            send(true, ACK, Vec::new());
        }
    }
    send(true, FIN_ACK, Vec::new());
    send(false, FIN_ACK, Vec::new());
    send(true, ACK, Vec::new());
    steps
}

struct Capture {
    out: BufWriter<File>,
    frames: u64,
}

impl Capture {
    fn new(path: &Path) -> Self {
        let mut out = BufWriter::new(File::create(path).expect("a temporary file"));
        let mut head = Vec::new();
        for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1] {
            head.extend(word.to_le_bytes());
        }
        out.write_all(&head).expect("the head");
        Self { out, frames: 0 }
    }

    /// One frame, 10 µs after the last.
    fn frame(&mut self, segment: &Segment) {
        let (client, server) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let ((from, from_port), (to, to_port)) = if segment.from_client {
            ((client, segment.port), (server, 80))
        } else {
            ((server, 80), (client, segment.port))
        };
        let mut frame = vec![0x02; 12];
        frame.extend([0x08, 0x00, 0x45, 0]);
        let total = u16::try_from(40 + segment.payload.len()).expect("a packet");
        frame.extend(total.to_be_bytes());
        frame.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        frame.extend(from);
        frame.extend(to);
        frame.extend(from_port.to_be_bytes());
        frame.extend(to_port.to_be_bytes());
        frame.extend(segment.seq.to_be_bytes());
        frame.extend(segment.ack.to_be_bytes());
        frame.extend([0x50, segment.flags, 0xff, 0xff, 0, 0, 0, 0]);
        frame.extend(&segment.payload);
        let micros = self.frames * 10;
        let length = u32::try_from(frame.len()).expect("a frame");
        let second = u32::try_from(1_700_000_000 + micros / 1_000_000).expect("this century");
        let micros = u32::try_from(micros % 1_000_000).expect("below a second");
        for word in [second, micros, length, length] {
            self.out.write_all(&word.to_le_bytes()).expect("a record");
        }
        self.out.write_all(&frame).expect("a frame");
        self.frames += 1;
    }
}
