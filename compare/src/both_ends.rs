//! Whether files that are given as one capture hold both ends of one path.

use std::collections::BTreeMap;

use analyzer::Error;
use analyzer::capture::{CaptureReader, Input, ReadOptions, Slab};
use analyzer::decode::{DecodedSlab, PacketKind, decode_slab};

use crate::reading::{ACK, SYN};

/// Two files that saw the same connections at different times.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BothEnds {
    /// Names of the files.
    pub files: [String; 2],
    /// Connections whose handshake both saw.
    pub connections: u64,
}

/// Handshakes kept of a file.
const HANDSHAKES: usize = 100_000;

/// Looks for handshakes that two of the files saw at different times.
///
/// # Errors
/// When a file cannot be read.
pub fn both_ends(inputs: &[Input], options: &ReadOptions) -> Result<Option<BothEnds>, Error> {
    let mut known: BTreeMap<(u32, u32), (usize, i64)> = BTreeMap::new();
    let mut common: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    for (index, input) in inputs.iter().enumerate() {
        for (numbers, time) in handshakes(input, options)? {
            match known.get(&numbers) {
                Some((other, seen)) if *other != index => {
                    *common.entry((*other, index)).or_default() += u64::from(*seen != time);
                }
                Some(_) => {}
                None => {
                    known.insert(numbers, (index, time));
                }
            }
        }
    }
    let most = common.into_iter().filter(|(_, count)| *count > 0);
    let most = most.max_by_key(|(pair, count)| (*count, std::cmp::Reverse(*pair)));
    let name = |index: usize| inputs[index].name().display().to_string();
    Ok(most.map(|((one, other), connections)| BothEnds {
        files: [name(one), name(other)],
        connections,
    }))
}

/// Initial sequence numbers of client and server, and when the SYN-ACK was first captured.
fn handshakes(input: &Input, options: &ReadOptions) -> Result<BTreeMap<(u32, u32), i64>, Error> {
    let mut reader = CaptureReader::open(std::slice::from_ref(input), options.clone())?;
    let (mut slab, mut decoded) = (Slab::default(), DecodedSlab::default());
    let mut found = BTreeMap::new();
    while found.len() < HANDSHAKES && reader.read_slab(&mut slab)? {
        decode_slab(&slab, reader.interfaces(), &mut decoded);
        for packet in &decoded.packets {
            if let PacketKind::Tcp(tcp) = packet.kind
                && tcp.flags.has(SYN | ACK)
            {
                let numbers = (tcp.ack.0.wrapping_sub(1), tcp.seq.0);
                found.entry(numbers).or_insert(packet.time.as_nanos());
            }
        }
    }
    Ok(found)
}
