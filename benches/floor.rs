//! The least that any analysis must do, on one thread: read(2) into 1 MiB, walk the records, read
//! the Ethernet, IPv4 and TCP/UDP headers, hash the five-tuple. `compare.py` measures against it.

use std::fs::File;
use std::io::{self, Read};

use foldhash::fast::FixedState;
use std::hash::BuildHasher;

fn main() -> io::Result<()> {
    let Some(path) = std::env::args()
        .skip(1)
        .find(|argument| argument != "--bench")
    else {
        println!("usage: floor FILE");
        return Ok(());
    };
    let mut file = File::open(path)?;
    let mut buffer = vec![0_u8; 1 << 20];
    let (mut filled, mut header) = (0, 24);
    let (mut packets, mut mixed) = (0_u64, 0_u64);
    let state = FixedState::default();
    loop {
        let got = file.read(&mut buffer[filled..])?;
        if got == 0 {
            break;
        }
        filled += got;
        let mut at = std::mem::take(&mut header);
        while let Some(record) = buffer[..filled].get(at..at + 16) {
            let captured = u32::from_le_bytes([record[8], record[9], record[10], record[11]]);
            let end = at + 16 + captured as usize;
            let Some(frame) = buffer[..filled].get(at + 16..end) else {
                break;
            };
            if let Some(tuple) = five_tuple(frame) {
                mixed ^= state.hash_one(tuple);
            }
            packets += 1;
            at = end;
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
    }
    println!("{packets} packets, {mixed:016x}");
    Ok(())
}

/// Addresses, ports and protocol, and for TCP what else every segment is judged by.
fn five_tuple(frame: &[u8]) -> Option<(u64, u32, u8, u32)> {
    if frame.get(12..14)? != [8, 0] {
        return None;
    }
    let ip = frame.get(14..)?;
    let header = usize::from(ip.first()? & 15) * 4;
    let addresses = u64::from_be_bytes(*ip.get(12..)?.first_chunk()?);
    let protocol = *ip.get(9)?;
    let transport = ip.get(header..)?;
    let ports = u32::from_be_bytes(*transport.first_chunk()?);
    let seq = match protocol {
        6 => {
            u32::from_be_bytes(*transport.get(4..)?.first_chunk()?)
                & u32::from(transport.get(13)? & 2)
        }
        _ => 0,
    };
    Some((addresses, ports, protocol, seq))
}
