//! Makes the large captures that `compare` runs on; benches/README.md says how.
//!
//! `small`, `flood` and `pipe` are generated. `multiply` repeats a recorded capture with other
//! client addresses, one copy after the other in time, so that every copy is new connections.
//! `archive` cuts a capture into many.

mod frames;
mod recorded;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Write};
use std::path::Path;

use frames::{Capture, Packet, TCP};
use recorded::{archive, multiply};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const PUSH_ACK: u8 = 0x18;
const FIN_ACK: u8 = 0x11;
const UDP: u8 = 17;

const USAGE: &str = "usage: captures small|flood FILE
       captures pipe SECONDS > PIPE
       captures multiply COPIES BASE FILE
       captures archive BASE FOLDER WHOLE";

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
