//! Classic captures read and cut by the tests themselves, without the program's readers.

#![allow(
    dead_code,
    reason = "every test file compiles its own copy and uses a part"
)]

use std::io::Read;
use std::path::Path;

/// A classic capture in memory.
#[derive(Clone)]
pub struct Frames {
    header: Vec<u8>,
    link: u32,
    /// Seconds and fraction as stored, true length, octets.
    pub frames: Vec<([u8; 8], u32, Vec<u8>)>,
}

impl Frames {
    pub fn read(path: &Path) -> Self {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).expect("the capture is there");
        if path.extension().is_some_and(|extension| extension == "gz") {
            flate2::read::GzDecoder::new(file).read_to_end(&mut bytes)
        } else {
            { file }.read_to_end(&mut bytes)
        }
        .expect("a readable capture");
        let number =
            |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 octets"));
        let (mut frames, mut at) = (Vec::new(), 24);
        while at + 16 <= bytes.len() {
            let end = at + 16 + number(at + 8) as usize;
            let time = bytes[at..at + 8].try_into().expect("8 octets");
            frames.push((time, number(at + 12), bytes[at + 16..end].to_vec()));
            at = end;
        }
        Self {
            header: bytes[..24].to_vec(),
            link: number(20),
            frames,
        }
    }

    /// The frames that `keep` wants by number and octets, each cut to `snaplen`, as a file.
    pub fn write(
        &self,
        snaplen: usize,
        keep: impl Fn(usize, &[u8]) -> bool,
    ) -> tempfile::NamedTempFile {
        let mut bytes = self.header.clone();
        for (number, (time, length, octets)) in self.frames.iter().enumerate() {
            if keep(number, octets) {
                let kept = &octets[..octets.len().min(snaplen)];
                bytes.extend(time);
                bytes.extend(u32::try_from(kept.len()).expect("a frame").to_le_bytes());
                bytes.extend(length.to_le_bytes());
                bytes.extend(kept);
            }
        }
        let file = tempfile::Builder::new()
            .suffix(".pcap")
            .tempfile()
            .expect("a file");
        std::fs::write(file.path(), bytes).expect("it can be written");
        file
    }

    /// Every other pair of seven neighbours has changed places where they are less than 50 µs apart,
    /// as where a capture writes one queue of an interface after the other.
    pub fn swapped(&self) -> Self {
        let mut swapped = self.clone();
        for near in swapped.frames.chunks_exact_mut(7) {
            if microseconds(&near[1].0).saturating_sub(microseconds(&near[0].0)) < 50 {
                near.swap(0, 1);
            }
        }
        swapped
    }

    /// Every frame comes again 20 µs later, as from a mirror port that copies what enters and what
    /// leaves.
    pub fn doubled(&self) -> Self {
        let mut doubled = self.clone();
        for (time, length, octets) in &self.frames {
            let later = microseconds(time) + 20;
            let [seconds, fraction] = [later / 1_000_000, later % 1_000_000]
                .map(|part| u32::try_from(part).expect("32 bits").to_le_bytes());
            let time = [seconds, fraction].concat().try_into().expect("8 octets");
            doubled.frames.push((time, *length, octets.clone()));
        }
        doubled.frames.sort_by_key(|(time, ..)| microseconds(time));
        doubled
    }

    /// Where the IP header begins.
    fn ip_header(&self) -> usize {
        match self.link {
            1 => 14,
            276 => 20,
            other => panic!("link type {other}"),
        }
    }

    /// Whether the lab's client sent the frame: 10.9.0.1 or fd09::1.
    pub fn is_from_client(&self, octets: &[u8]) -> bool {
        let ip = self.ip_header();
        let v6 = [&[0xfd, 9][..], &[0; 13], &[1]].concat();
        octets.get(ip + 12..ip + 16) == Some(&[10, 9, 0, 1])
            || octets.get(ip + 8..ip + 24) == Some(&v6)
    }

    /// The TCP segment in a frame counted from 1, over IPv4 or IPv6 without extension headers.
    pub fn segment(&self, number: u64) -> Option<Segment> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        let (time, _, octets) = self.frames.get(index)?;
        let ip = octets.get(self.ip_header()..)?;
        let word = |bytes: &[u8], at: usize| {
            let bytes = bytes.get(at..at + 4)?;
            Some(u32::from_be_bytes(bytes.try_into().ok()?))
        };
        let half = |bytes: &[u8], at: usize| {
            let bytes = bytes.get(at..at + 2)?;
            Some(usize::from(u16::from_be_bytes(bytes.try_into().ok()?)))
        };
        let (protocol, tcp_at, end) = match ip.first()? >> 4 {
            4 => (*ip.get(9)?, usize::from(ip[0] & 15) * 4, half(ip, 2)?),
            6 => (*ip.get(6)?, 40, half(ip, 4)? + 40),
            _ => return None,
        };
        let tcp = ip.get(tcp_at..).filter(|_| protocol == 6)?;
        let data = usize::from(tcp.get(12)? >> 4) * 4;
        Some(Segment {
            time_us: microseconds(time),
            ports: (half(tcp, 0)?, half(tcp, 2)?),
            seq: word(tcp, 4)?,
            ack: word(tcp, 8)?,
            flags: *tcp.get(13)?,
            payload_len: end.checked_sub(tcp_at + data)?,
        })
    }
}

/// A stored time in microseconds since the epoch.
fn microseconds(time: &[u8; 8]) -> u64 {
    let stored = |at: usize| u32::from_le_bytes(time[at..at + 4].try_into().expect("4 octets"));
    u64::from(stored(0)) * 1_000_000 + u64::from(stored(4))
}

/// What stands in a TCP header.
pub struct Segment {
    /// Microseconds since the epoch.
    pub time_us: u64,
    /// Source and destination.
    pub ports: (usize, usize),
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub payload_len: usize,
}

impl Segment {
    /// Whether exactly these of FIN (1), SYN (2), RST (4) and ACK (16) are set.
    pub fn is(&self, flags: u8) -> bool {
        self.flags & 0x17 == flags
    }
}
